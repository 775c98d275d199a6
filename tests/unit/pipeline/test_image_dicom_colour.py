"""DICOM in colour and in several frames."""

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from pipeline.image import Limits, ReasonCode, Unreadable, decode

pytest_plugins = ("tests.unit.pipeline.image_samples",)


def gap(data: bytes, expected: np.ndarray) -> float:
    pixels = decode(data, Limits(min_px=8)).pixels
    assert pixels.shape == expected.shape
    return float(abs(pixels.astype(float) - expected).max())


def refusal(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        decode(data)
    return caught.value


class TestColour:
    def expected(self, rgb: np.ndarray) -> np.ndarray:
        return np.rint(rgb @ (0.299, 0.587, 0.114))

    @pytest.fixture
    def rgb(self, stored) -> np.ndarray:
        return np.stack([stored(8), 255 - stored(8), stored(8) // 2], axis=-1)

    def test_rgb(self, make_dicom, rgb):
        assert gap(make_dicom(rgb), self.expected(rgb)) <= 1

    def test_rgb_by_plane(self, make_dicom, rgb):
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
        data = make_dicom(rgb, PlanarConfiguration=1, PixelData=planes.tobytes())
        assert gap(data, self.expected(rgb)) <= 1

    def test_rgb_of_16_bits(self, make_dicom, rgb):
        assert gap(make_dicom(rgb.astype(np.uint16) * 257), self.expected(rgb)) <= 1

    def test_ybr_full(self, make_dicom, rgb):
        ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
        data = make_dicom(ybr, PhotometricInterpretation="YBR_FULL")
        assert gap(data, self.expected(rgb)) <= 2

    def test_ybr_full_422_that_is_not_subsampled(self, make_dicom, rgb):
        ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
        data = make_dicom(ybr, PhotometricInterpretation="YBR_FULL_422")
        assert gap(data, self.expected(rgb)) <= 2

    @pytest.mark.parametrize("entry_bits", [8, 16])
    def test_palette(self, entry_bits, make_dicom, stored):
        indices, top = stored(8), (1 << entry_bits) - 1
        dtype = f"<u{entry_bits // 8}"
        elements, columns = {}, []
        for colour, power in (("Red", 1.0), ("Green", 0.5), ("Blue", 2.0)):
            entries = np.rint((np.arange(256) / 255) ** power * top)
            columns.append(entries[indices] / top * 255)
            stem = f"{colour}PaletteColorLookupTable"
            elements[f"{stem}Descriptor"] = [256, 0, entry_bits]
            elements[f"{stem}Data"] = entries.astype(dtype).tobytes()
        data = make_dicom(indices, PhotometricInterpretation="PALETTE COLOR", **elements)
        assert gap(data, self.expected(np.stack(columns, axis=-1))) <= 1

    def test_segmented_palette(self, make_dicom, stored):
        segments = np.array([0, 1, 0, 1, 255, 65_535], "<u2")  # one entry, then a line up
        elements = {}
        for colour in ("Red", "Green", "Blue"):
            elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
            elements[f"Segmented{colour}PaletteColorLookupTableData"] = segments.tobytes()
        data = make_dicom(stored(8), PhotometricInterpretation="PALETTE COLOR", **elements)
        assert gap(data, stored(8)) <= 1

    def test_a_palette_without_its_table_is_refused(self, make_dicom, stored):
        data = make_dicom(stored(8), PhotometricInterpretation="PALETTE COLOR")
        assert refusal(data).code is ReasonCode.CORRUPT

    @pytest.mark.parametrize("photometric", ["HSV", "ARGB", "YBR_PARTIAL_422"])
    def test_other_colour_models_are_refused(self, photometric, make_dicom, rgb):
        data = make_dicom(rgb, PhotometricInterpretation=photometric)
        assert refusal(data).code is ReasonCode.UNSUPPORTED_PIXELS


class TestFrames:
    def test_the_first_of_several_frames(self, make_dicom, stored):
        frames = np.concatenate([stored(12), 4095 - stored(12), stored(12) * 0])
        data = make_dicom(frames, 12, Rows=64, NumberOfFrames=3)
        assert gap(data, stored(8)) <= 1
        assert decode(data).header["number_of_frames"] == 3

    @pytest.mark.parametrize("compress", [RLELossless, JPEG2000Lossless])
    def test_the_first_of_several_compressed_frames(self, compress, make_dicom, stored):
        frames = np.concatenate([stored(12), 4095 - stored(12)])
        data = make_dicom(frames, 12, Rows=64, NumberOfFrames=2, compress=compress)
        assert gap(data, stored(8)) <= 1
