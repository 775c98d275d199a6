"""DICOM as a radiologist would see it: depth, sign, modality, window, inversion, padding.

Expected arrays come from the formulas of PS3.3, written out here in floating point.
"""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline.image import Limits, ReasonCode, Unreadable, decode

pytest_plugins = ("tests.unit.pipeline.image_samples",)


def levels(shares: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(shares, 0, 1) * 255)


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1."""
    return levels((values - (center - 0.5)) / (width - 1) + 0.5)


def gap(data: bytes, expected: np.ndarray) -> float:
    pixels = decode(data, Limits(min_px=8)).pixels
    assert pixels.shape == expected.shape
    return float(abs(pixels.astype(float) - expected).max())


@pytest.fixture
def values(stored) -> np.ndarray:
    return stored(12).astype(float)


def lut_item(first: int, bits: int, entries: np.ndarray, vr: str = "OW") -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65_536, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = entries.astype("<u2").tobytes() if vr == "OW" else entries.tolist()
    item["LUTData"].VR = vr
    return item


DAMAGED = [[4096, 0], [4096, 0, 40], [4096, 0, 0]]


class TestDepth:
    @pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
    def test_versions_of_one_image_in_all_depths_look_alike(self, bits, make_dicom, stored):
        assert gap(make_dicom(stored(bits), bits), stored(8)) <= 1

    @pytest.mark.parametrize("bits", [8, 10, 12, 16])
    def test_windowed_versions_in_all_depths_look_alike(self, bits, make_dicom, stored, radiograph):
        top = (1 << bits) - 1
        data = make_dicom(stored(bits), bits, WindowCenter=0.4 * top, WindowWidth=0.6 * top + 1)
        assert gap(data, levels((radiograph() - 0.4) / 0.6 + 0.5)) <= 2

    def test_an_image_that_uses_little_of_its_depth_is_stretched(self, make_dicom, stored):
        decoded = decode(make_dicom(stored(12), 16))
        assert (decoded.pixels.min(), decoded.pixels.max()) == (0, 255)
        assert decoded.header["grey_range_from"] == "range"

    def test_bits_above_bits_stored_mean_nothing(self, make_dicom, stored):
        dirty = stored(12) | (np.arange(48, dtype=np.uint16) % 16 << 12)
        assert gap(make_dicom(dirty, 12), decode(make_dicom(stored(12), 12)).pixels) == 0

    def test_high_bit(self, make_dicom, stored):
        dirty = (stored(12) << 4) | 9
        assert gap(make_dicom(dirty, 12, HighBit=15), stored(8)) <= 1

    def test_signed_pixels(self, make_dicom, stored, values):
        signed = stored(12).astype(np.int16) - 2048
        data = make_dicom(signed, 12, WindowCenter=-100, WindowWidth=2000)
        assert gap(data, linear(values - 2048, -100, 2000)) <= 1

    def test_signed_pixels_without_sign_in_the_unused_bits(self, make_dicom, stored, values):
        words = (stored(12).astype(np.int16) - 2048).view(np.uint16) & 0xFFF
        data = make_dicom(words, 12, PixelRepresentation=1, WindowCenter=-100, WindowWidth=2000)
        assert gap(data, linear(values - 2048, -100, 2000)) <= 1

    def test_one_bit(self, make_dicom, stored):
        white = stored(8) > 128
        packed = np.packbits(white, bitorder="little")
        data = make_dicom(
            packed.reshape(1, -1), Rows=64, Columns=48, BitsAllocated=1, BitsStored=1, HighBit=0
        )
        assert gap(data, white * 255) == 0

    @pytest.mark.parametrize("bits_allocated", [12, 32, 64])
    def test_other_depths_are_refused(self, bits_allocated, make_dicom):
        data = make_dicom(np.zeros((64, 64), np.uint64), BitsAllocated=bits_allocated)
        with pytest.raises(Unreadable) as caught:
            decode(data)
        assert caught.value.code is ReasonCode.UNSUPPORTED_PIXELS


class TestModality:
    def test_slope_and_intercept(self, make_dicom, stored, values):
        data = make_dicom(
            stored(12), 12, RescaleSlope="0.75", RescaleIntercept="-1000",
            WindowCenter="-200.3", WindowWidth="1500",
        )  # fmt: skip
        assert gap(data, linear(values * 0.75 - 1000, -200.3, 1500)) <= 1

    def test_negative_slope_without_a_window(self, make_dicom, stored):
        inverted = (4095 - stored(12)).astype(np.uint16)
        data = make_dicom(inverted, 12, RescaleSlope="-1", RescaleIntercept="4095")
        assert gap(data, stored(8)) <= 1

    @pytest.mark.parametrize("vr", ["OW", "US"])
    def test_modality_lut_of_12_bits(self, vr, make_dicom, stored, values):
        entries = np.rint((np.arange(4096) / 4095) ** 2 * 4095)
        item = lut_item(0, 12, entries.astype(int), vr)
        item.ModalityLUTType = "US"
        data = make_dicom(
            stored(12), 12, ModalityLUTSequence=[item], WindowCenter=1500, WindowWidth=2000
        )
        assert gap(data, linear(entries[values.astype(int)], 1500, 2000)) <= 1

    @pytest.mark.parametrize("descriptor", DAMAGED)
    def test_a_damaged_modality_lut_is_a_reason_to_refuse(self, descriptor, make_dicom, stored):
        item = lut_item(0, 16, np.arange(4096))
        item.LUTDescriptor = descriptor
        with pytest.raises(Unreadable) as caught:
            decode(make_dicom(stored(12), 12, ModalityLUTSequence=[item]))
        assert caught.value.code is ReasonCode.CORRUPT

    def test_a_lut_whose_first_value_is_negative(self, make_dicom, stored, values):
        signed = stored(12).astype(np.int16) - 2048
        item = lut_item(-1000, 16, np.arange(2000) * 30)
        data = make_dicom(
            signed, 12, ModalityLUTSequence=[item], WindowCenter=30_000, WindowWidth=50_000
        )
        expected = np.clip(values - 2048 + 1000, 0, 1999) * 30
        assert gap(data, linear(expected, 30_000, 50_000)) <= 1


class TestVoi:
    def test_window(self, make_dicom, stored, values):
        data = make_dicom(stored(12), 12, WindowCenter="1500.5", WindowWidth="1800")
        assert gap(data, linear(values, 1500.5, 1800)) <= 1
        assert decode(data).header["grey_range_from"] == "window"

    def test_of_several_windows_the_first(self, make_dicom, stored, values):
        data = make_dicom(stored(12), 12, WindowCenter=["1500", "300"], WindowWidth=["1800", "200"])
        assert gap(data, linear(values, 1500, 1800)) <= 1

    def test_linear_exact(self, make_dicom, stored, values):
        data = make_dicom(
            stored(12), 12, WindowCenter="1500", WindowWidth="1800", VOILUTFunction="LINEAR_EXACT"
        )
        assert gap(data, levels((values - 1500) / 1800 + 0.5)) <= 1

    def test_sigmoid(self, make_dicom, stored, values):
        data = make_dicom(
            stored(12), 12, WindowCenter="1500", WindowWidth="1800", VOILUTFunction="SIGMOID"
        )
        assert gap(data, levels(1 / (1 + np.exp(-4 * (values - 1500) / 1800)))) <= 1

    def test_a_window_of_width_one_is_a_threshold(self, make_dicom, stored):
        decoded = decode(make_dicom(stored(12), 12, WindowCenter="1500", WindowWidth="1"))
        assert decoded.header["grey_range_from"] == "range"  # a threshold shows no radiograph

    @pytest.mark.parametrize(
        "window", [("1500", "0"), ("1500", "-5"), ("90000", "10"), ("", ""), ("1500", "")]
    )
    def test_useless_windows_are_ignored(self, window, make_dicom, stored):
        data = make_dicom(stored(12), 12, WindowCenter=window[0], WindowWidth=window[1])
        assert gap(data, stored(8)) <= 1
        assert decode(data).header["grey_range_from"] == "range"

    def test_voi_lut_goes_before_the_window(self, make_dicom, stored, values):
        entries = np.rint((np.arange(4096) / 4095) ** 2 * 65_535)
        data = make_dicom(
            stored(12), 12, VOILUTSequence=[lut_item(0, 16, entries)],
            WindowCenter="100", WindowWidth="100",
        )  # fmt: skip
        assert gap(data, levels(entries[values.astype(int)] / 65_535)) <= 1
        assert decode(data).header["grey_range_from"] == "voi_lut"

    def test_a_voi_lut_shorter_than_the_range_goes_on_with_its_ends(
        self, make_dicom, stored, values
    ):
        entries = np.linspace(0, 4095, 2000).round()
        data = make_dicom(stored(12), 12, VOILUTSequence=[lut_item(1000, 12, entries)])
        expected = entries[np.clip(values - 1000, 0, 1999).astype(int)]
        assert gap(data, levels(expected / 4095)) <= 1

    def test_a_voi_lut_that_names_its_container_as_its_depth(self, make_dicom, stored, values):
        data = make_dicom(stored(12), 12, VOILUTSequence=[lut_item(0, 16, np.arange(4096))])
        assert gap(data, levels(values / 4095)) <= 1

    def test_packed_8_bit_voi_lut(self, make_dicom, stored, values):
        item = lut_item(0, 8, np.zeros(4096))
        item.LUTData = (np.arange(4096) // 16).astype(np.uint8).tobytes()
        data = make_dicom(stored(12), 12, VOILUTSequence=[item])
        assert gap(data, levels((values // 16) / 255)) <= 1

    @pytest.mark.parametrize("descriptor", DAMAGED)
    def test_a_damaged_voi_lut_is_ignored(self, descriptor, make_dicom, stored):
        item = lut_item(0, 16, np.arange(4096))
        item.LUTDescriptor = descriptor
        data = make_dicom(stored(12), 12, VOILUTSequence=[item])
        assert gap(data, stored(8)) <= 1
        assert decode(data).header["grey_range_from"] == "range"


class TestPresentation:
    @pytest.mark.parametrize("window", [{}, {"WindowCenter": "1500", "WindowWidth": "1800"}])
    def test_monochrome1_and_2_versions_give_the_same_array(self, window, make_dicom, stored):
        white_is_greatest = make_dicom(stored(12), 12, **window)
        # C.11.2.1.2.1 is not symmetric: the mirror of center c is 4095 - c + 1.
        mirrored = {**window, "WindowCenter": "2596"} if window else {}
        white_is_least = make_dicom(
            4095 - stored(12), 12, PhotometricInterpretation="MONOCHROME1", **mirrored
        )
        assert np.array_equal(decode(white_is_greatest).pixels, decode(white_is_least).pixels)

    def test_bones_of_a_stretched_monochrome1_image_are_bright(self, make_dicom, stored):
        plain = decode(make_dicom(stored(12), 16)).pixels
        inverted = make_dicom(5000 - stored(12), 16, PhotometricInterpretation="MONOCHROME1")
        assert abs(decode(inverted).pixels.astype(int) - plain).max() <= 1

    def test_presentation_lut_shape_says_it_once_more(self, make_dicom, stored):
        inverted = 4095 - stored(12)
        once = make_dicom(inverted, 12, PresentationLUTShape="INVERSE")
        twice = make_dicom(
            inverted, 12, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"
        )
        assert np.array_equal(decode(once).pixels, decode(twice).pixels)
        assert gap(twice, stored(8)) <= 1


class TestPadding:
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_black_and_out_of_the_range(self, photometric, make_dicom, stored):
        words = stored(12) // 2 + 100 if photometric == "MONOCHROME2" else 4000 - stored(12) // 2
        unpadded = make_dicom(words, 16, PhotometricInterpretation=photometric)
        padded = words.astype(np.uint16)
        padded[:8] = 65_535
        data = make_dicom(
            padded, 16, PhotometricInterpretation=photometric, PixelPaddingValue=65_535
        )
        pixels = decode(data).pixels
        assert not pixels[:8].any()
        assert abs(pixels[8:].astype(int) - decode(unpadded).pixels[8:]).max() <= 12

    def test_padding_range(self, make_dicom, stored):
        words = stored(12)
        words[:8] = np.arange(48) % 4 + 4092
        data = make_dicom(words, 12, PixelPaddingValue=4092, PixelPaddingRangeLimit=4095)
        assert not decode(data).pixels[:8].any()

    def test_padding_outside_the_stored_bits(self, make_dicom, stored):
        words = stored(12)
        words[:8] = 63_536  # -2000, as some writers pad unsigned 12-bit images
        data = make_dicom(words, 12, PixelPaddingValue=63_536)
        pixels = decode(data).pixels
        assert not pixels[:8].any()
        assert abs(pixels[8:].astype(int) - stored(8)[8:]).max() <= 1

    def test_an_image_of_nothing_but_padding_is_shown(self, make_dicom):
        data = make_dicom(np.full((64, 64), 200, np.uint8), PixelPaddingValue=200)
        assert (decode(data).pixels == 200).all()
