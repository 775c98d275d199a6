"""DICOM files with gaps and contradictions: mended where possible, else refused with a reason."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from pipeline.image import Limits, ReasonCode, Unreadable, decode, sniff

pytest_plugins = ("tests.unit.pipeline.image_samples",)


def gap(data: bytes, expected: np.ndarray) -> float:
    pixels = decode(data, Limits(min_px=8)).pixels
    assert pixels.shape == expected.shape
    return float(abs(pixels.astype(float) - expected).max())


def refusal(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        decode(data)
    return caught.value


def as_dataset(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def as_bytes(dataset: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


class TestMendedHeaders:
    @pytest.mark.parametrize(
        "without",
        [
            ("SamplesPerPixel",),
            ("PhotometricInterpretation",),
            ("HighBit",),
            ("PixelRepresentation",),
            ("SamplesPerPixel", "PhotometricInterpretation", "HighBit", "PixelRepresentation"),
            ("SOPClassUID", "SOPInstanceUID", "Modality"),
        ],
    )
    def test_missing_elements(self, without, make_dicom, stored):
        data = make_dicom(stored(12), 12)
        dataset = as_dataset(data)
        for keyword in without:
            del dataset[keyword]
        assert gap(as_bytes(dataset), stored(8)) <= 1

    def test_missing_bits_stored_means_all_bits(self, make_dicom, stored):
        assert gap(make_dicom(stored(16), 16, without=("BitsStored", "HighBit")), stored(8)) <= 1

    def test_contradictory_photometric_interpretation(self, make_dicom, stored):
        data = make_dicom(stored(12), 12, PhotometricInterpretation="RGB")
        assert gap(data, stored(8)) <= 1

    @pytest.mark.parametrize("without", [("Rows",), ("Columns",), ("BitsAllocated",)])
    def test_elements_that_nothing_can_replace(self, without, make_dicom, stored):
        assert refusal(make_dicom(stored(12), 12, without=without)).code in (
            ReasonCode.CORRUPT,
            ReasonCode.NO_PIXELS,
        )

    def test_no_preamble(self, make_dicom, stored):
        data = make_dicom(stored(12), 12)
        for headless in (data[128:], data[132:]):
            assert sniff(headless[:512]) == "DICOM"
            assert gap(headless, stored(8)) <= 1

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    def test_no_file_meta(self, syntax, make_dicom, stored):
        data = make_dicom(stored(12), 12, syntax=syntax)
        (length,) = np.frombuffer(data[140:144], "<u4")
        bare = data[144 + length :]
        assert sniff(bare[:512]) == "DICOM"
        assert gap(bare, stored(8)) <= 1

    def test_no_transfer_syntax(self, make_dicom, stored):
        data = make_dicom(stored(12), 12)
        dataset = as_dataset(data)
        del dataset.file_meta.TransferSyntaxUID
        buffer = io.BytesIO()
        dataset.save_as(buffer, implicit_vr=False, little_endian=True)
        assert gap(buffer.getvalue(), stored(8)) <= 1

    def test_a_compressed_image_that_claims_to_be_plain(self, make_dicom, stored):
        data = make_dicom(stored(12), 12, compress=JPEG2000Lossless)
        lying = data.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.1\0\0\0")
        assert len(lying) == len(data)
        assert gap(lying, stored(8)) <= 1

    def test_a_plain_image_that_claims_to_be_compressed(self, make_dicom, stored):
        data = make_dicom(stored(12), 12)
        dataset = as_dataset(data)
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        with pytest.raises(ValueError, match="encapsulated"):
            as_bytes(dataset)
        longer = data.replace(
            b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.4.90"
        )
        assert gap(longer, stored(8)) <= 1

    def test_a_codestream_of_another_size_is_refused(self, make_dicom, stored):
        dataset = as_dataset(make_dicom(stored(12), 12, compress=JPEG2000Lossless))
        dataset.Rows = 4000
        refused = refusal(as_bytes(dataset))
        assert refused.code is ReasonCode.CORRUPT
        assert "4000" in refused.message


class TestRefusals:
    @pytest.mark.parametrize("modality", ["CT", "MR", "US", "PT", "NM", "SR", "DOC", "RTDOSE"])
    def test_other_modalities_by_name(self, modality, make_dicom, stored):
        refused = refusal(make_dicom(stored(8), Modality=modality))
        assert refused.code is ReasonCode.NOT_A_PROJECTION_RADIOGRAPH
        assert refused.message == f"modality {modality} is not a projection radiograph"

    @pytest.mark.parametrize("modality", ["CR", "DX", "RG", "MG", "IO", "PX", "OT", "dx", None])
    def test_projection_radiography_isas_dataset(self, modality, make_dicom, stored):
        assert gap(make_dicom(stored(8), Modality=modality), stored(8)) == 0

    def test_where_the_modality_is_missing_the_sop_class_decides(self, make_dicom, stored):
        ct = make_dicom(stored(8), Modality=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
        refused = refusal(ct)
        assert refused.code is ReasonCode.NOT_A_PROJECTION_RADIOGRAPH
        assert refused.message == "CT Image Storage is not a projection radiograph"

    def test_other_modalities_are_refused_before_their_pixels_are_decoded(self, make_dicom):
        data = make_dicom(np.zeros((8, 8), np.uint8), Modality="CT", PixelData=b"not pixels")
        assert refusal(data).code is ReasonCode.NOT_A_PROJECTION_RADIOGRAPH

    def test_no_pixels(self, make_dicom, stored):
        assert refusal(make_dicom(stored(8), without=("PixelData",))).code is ReasonCode.NO_PIXELS

    def test_too_few_pixels(self, make_dicom, stored):
        refused = refusal(make_dicom(stored(8), PixelData=stored(8).tobytes()[:1000]))
        assert refused.code is ReasonCode.TRUNCATED

    @pytest.mark.parametrize("compress", [None, RLELossless, JPEG2000Lossless])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_truncated_files(self, compress, share, make_dicom, stored):
        data = make_dicom(stored(12), 12, compress=compress)
        refused = refusal(data[: int(len(data) * share)])
        assert refused.code in (ReasonCode.TRUNCATED, ReasonCode.CORRUPT)

    def test_a_header_that_claims_a_huge_image(self, make_dicom, stored):
        data = make_dicom(stored(8), Rows=65_535, Columns=65_535)
        assert refusal(data).code is ReasonCode.DECOMPRESSION_BOMB

    def test_a_codestream_that_claims_a_huge_image(self, make_dicom, stored):
        dataset = as_dataset(make_dicom(stored(8), compress=JPEG2000Lossless))
        size = dataset.PixelData.index(b"\xff\x4f\xff\x51") + 8
        grown = bytearray(dataset.PixelData)
        grown[size : size + 8] = b"\0\0\xff\xff" * 2
        dataset.PixelData = bytes(grown)
        del dataset.Rows, dataset.Columns
        assert refusal(as_bytes(dataset)).code is ReasonCode.DECOMPRESSION_BOMB

    def test_a_deflated_bomb(self, make_dicom, stored):
        zeros = np.zeros((2000, 2000), np.uint8)
        data = make_dicom(zeros, syntax=DeflatedExplicitVRLittleEndian)
        assert len(data) < 10_000
        assert decode(data).width_px == 2000
        with pytest.raises(Unreadable) as caught:
            decode(data, Limits(max_bytes=1_000_000))
        assert caught.value.code is ReasonCode.DECOMPRESSION_BOMB

    def test_unknown_compression(self, make_dicom, stored):
        dataset = as_dataset(make_dicom(stored(8), compress=RLELossless))
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"  # MPEG-4
        refused = refusal(as_bytes(dataset))
        assert refused.code is ReasonCode.UNSUPPORTED_TRANSFER_SYNTAX
        assert "MPEG-4" in refused.message

    def test_sequences_nested_without_end(self, make_dicom, stored):
        data = make_dicom(stored(8), syntax=ImplicitVRLittleEndian)
        open_sequence = b"\x09\x00\x10\x10\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        refused = refusal(data[:-3080] + open_sequence * 100_000)
        assert refused.code in (ReasonCode.CORRUPT, ReasonCode.TRUNCATED)

    @pytest.mark.parametrize(
        "endless",
        [
            b"\x09\x00\x10\x10UI\0\0" * 150_000,
            b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 150_000,
        ],
    )
    def test_headers_without_end(self, endless, make_dicom, stored):
        data = make_dicom(stored(8))
        at = data.index(b"\xe0\x7f\x10\x00")
        refused = refusal(data[:at] + endless + data[at:])
        assert refused.code is ReasonCode.CORRUPT
        assert "more than" in refused.message

    def test_an_element_longer_than_the_file(self, make_dicom, stored):
        data = make_dicom(stored(8))
        at = data.index(b"\xe0\x7f\x10\x00")
        refused = refusal(data[:at] + b"\x09\x00\x10\x10OB\0\0\xf0\xff\xff\xff" + bytes(100))
        assert refused.code in (ReasonCode.NO_PIXELS, ReasonCode.TRUNCATED)
