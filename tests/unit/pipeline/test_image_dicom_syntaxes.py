"""DICOM transfer syntaxes, against files of other writers: pydicom's own and DCMTK's."""

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000, JPEG2000Lossless, RLELossless

from pipeline.image import Limits, ReasonCode, Unreadable, decode

pytest_plugins = ("tests.unit.pipeline.image_samples",)

DATA = Path(__file__).parent / "data"


def as_dx(name: str) -> bytes:
    """Return one of pydicom's test files with its modality changed to one that is read."""
    dataset = original(name)
    dataset.Modality = "DX"
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def original(name: str) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about what is odd in its test files
        return pydicom.dcmread(get_testdata_file(name, download=False))


def grey(data: bytes, whole: Limits) -> np.ndarray:
    return decode(data, whole).pixels.astype(int)


def windowed(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """PS3.3 C.11.1.1.2 and C.11.2.1.2.1 in floating point."""
    values = stored * float(dataset.get("RescaleSlope", 1)) + float(
        dataset.get("RescaleIntercept", 0)
    )
    first = [np.atleast_1d(dataset[k].value)[0] for k in ("WindowCenter", "WindowWidth")]
    center, width = map(float, first)
    return np.rint(np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255)


@pytest.mark.parametrize(
    "name",
    [
        "big_endian_12",
        "deflated_12",
        "implicit_12",
        "jpeg_baseline_8",
        "jpeg_extended_12",
        "jpeg_lossless_12",
        "jpeg_lossless_sv1_16",
        "jpeg_ls_12",
        "jpeg_progressive_8",
        "rle_12",
    ],
)
def test_files_written_by_dcmtk(name, stored, whole):
    lossy = name.split("_")[1] in ("baseline", "extended", "progressive")
    gap = abs(grey((DATA / f"{name}.dcm").read_bytes(), whole) - stored(8))
    assert gap.max() <= (9 if lossy else 1)
    assert gap.mean() <= (1.1 if lossy else 0.1)


def test_a_near_lossless_file_written_by_dcmtk(stored, whole):
    data = (DATA / "jpeg_ls_near_lossless_12.dcm").read_bytes()
    assert abs(grey(data, whole) - stored(8)).max() <= 1  # at most 2 of 4,096 levels away


@pytest.mark.parametrize("compress", [RLELossless, JPEG2000Lossless, JPEG2000])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_files_written_by_pydicom(compress, bits, make_dicom, stored, whole):
    ratio = {"PhotometricInterpretation": "MONOCHROME2"}
    if compress == JPEG2000:
        dataset = pydicom.dcmread(io.BytesIO(make_dicom(stored(bits), bits, **ratio)))
        dataset.compress(JPEG2000, j2k_cr=[2], generate_instance_uid=False)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        data = buffer.getvalue()
    else:
        data = make_dicom(stored(bits), bits, compress=compress)
    assert abs(grey(data, whole) - stored(8)).max() <= 1


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_lossless_versions_of_one_signed_image_are_equal(name, whole):
    plain = as_dx("MR_small.dcm")
    dataset = pydicom.dcmread(io.BytesIO(plain))
    expected = windowed(np.frombuffer(dataset.PixelData, "<i2").reshape(64, 64), dataset)
    assert abs(grey(plain, whole) - expected).max() <= 1
    assert np.array_equal(grey(as_dx(name), whole), grey(plain, whole))


@pytest.mark.parametrize("name", ["693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_jpeg_2000_of_other_writers(name, whole):
    dataset = original(name)
    expected = windowed(dataset.pixel_array.astype(float), dataset)
    assert abs(grey(as_dx(name), whole) - expected).max() <= 1


def test_jpeg_extended_and_jpeg_2000_versions_of_one_image_agree(whole):
    reference = grey(as_dx("JPEG2000.dcm"), whole)
    extended = grey(as_dx("JPGExtended.dcm"), whole)
    assert np.corrcoef(extended.ravel(), reference.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    "name",
    [
        "JPEG-lossy.dcm",  # its scan header is out of bounds
        "JPEG2000-embedded-sequence-delimiter.dcm",  # its size was overwritten
    ],
)
def test_codestreams_that_break_their_standard_are_refused(name):
    with pytest.raises(Unreadable) as caught:
        decode(as_dx(name))
    assert caught.value.code is ReasonCode.CORRUPT


@pytest.mark.parametrize("name", ["JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"])
def test_near_lossless_jpeg_ls(name, whole):
    dataset = original(name)
    top = (1 << dataset.BitsStored) - 1
    expected = np.rint(dataset.pixel_array / top * 255)
    assert abs(grey(as_dx(name), whole) - expected).max() <= 1


SAME_COLOURS = [  # the versions of pydicom's colour bars, against its run-length encoded one
    ("SC_ybr_full_422_uncompressed.dcm", 8),  # the chroma of neighbours is shared
    ("SC_rgb_rle_2frame.dcm", 0),
    ("SC_rgb_rle_16bit.dcm", 0),
    ("SC_rgb_rle_16bit_2frame.dcm", 0),
    ("SC_rgb_rle_32bit.dcm", 0),
    ("SC_rgb_rle_32bit_2frame.dcm", 0),
    ("SC_rgb_jpeg_gdcm.dcm", 0),
    ("SC_rgb_gdcm_KY.dcm", 0),
    ("SC_rgb_jls_lossy_line.dcm", 2),
    ("SC_rgb_jls_lossy_sample.dcm", 2),
    ("SC_rgb_jpeg_lossy_gdcm.dcm", 8),
    ("SC_rgb_dcmtk_+eb+cr.dcm", 1),
    ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 8),
    ("SC_rgb_dcmtk_+eb+cy+n2.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cy+np.dcm", 8),
    ("SC_rgb_dcmtk_+eb+cy+s2.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cy+s4.dcm", 2),
    ("SC_rgb_jpeg_dcmtk.dcm", 2),
]


@pytest.mark.parametrize(("name", "tolerance"), SAME_COLOURS)
def test_versions_of_one_colour_image(name, tolerance, whole):
    reference = grey(as_dx("SC_rgb_rle.dcm"), whole)
    assert abs(grey(as_dx(name), whole) - reference).max() <= tolerance


def test_a_file_in_implicit_vr_that_claims_to_be_explicit(whole):
    names = ("SC_rgb_jpeg.dcm", "SC_rgb_jpeg_dcmd.dcm")  # the second decompressed by another
    lying, honest = (Path(get_testdata_file(name, download=False)) for name in names)
    gap = abs(grey(lying.read_bytes(), whole) - grey(honest.read_bytes(), whole))
    assert gap.max() <= 2


def test_palette_of_another_writer(whole):
    dataset = original("examples_palette.dcm")
    rgb = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset) / 65_535 * 255
    expected = np.rint(rgb @ (0.299, 0.587, 0.114))
    assert abs(grey(as_dx("examples_palette.dcm"), whole) - expected).max() <= 1


@pytest.mark.parametrize(
    "name", ["examples_rgb_color.dcm", "examples_jpeg2k.dcm", "ExplVR_BigEnd.dcm"]
)
def test_colour_of_other_writers(name, whole):
    dataset = original(name)
    expected = np.rint(dataset.pixel_array @ (0.299, 0.587, 0.114))
    assert abs(grey(as_dx(name), whole) - expected).max() <= 1


def test_a_multi_frame_jpeg_of_another_writer(whole):
    decoded = decode(as_dx("examples_ybr_color.dcm"), whole)
    assert decoded.pixels.shape == (240, 320)
    assert decoded.header["number_of_frames"] == 30


def test_a_deflated_file_of_another_writer(whole):
    dataset = original("image_dfl.dcm")
    stored = np.frombuffer(dataset.PixelData, np.uint8).reshape(512, 512)
    assert np.array_equal(grey(as_dx("image_dfl.dcm"), whole), stored)


def test_bit_packed_pixels_of_another_writer(whole):
    for name in ("liver_1frame.dcm", "liver_expb_1frame.dcm"):
        dataset = original(name)
        assert np.array_equal(grey(as_dx(name), whole), dataset.pixel_array * 255)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CT_small.dcm", ReasonCode.NOT_A_PROJECTION_RADIOGRAPH),
        ("MR_small.dcm", ReasonCode.NOT_A_PROJECTION_RADIOGRAPH),
        ("reportsi.dcm", ReasonCode.NOT_A_PROJECTION_RADIOGRAPH),
        ("rtstruct.dcm", ReasonCode.NOT_A_PROJECTION_RADIOGRAPH),
        ("waveform_ecg.dcm", ReasonCode.NOT_A_PROJECTION_RADIOGRAPH),
        ("SC_rgb_small_odd.dcm", ReasonCode.TOO_SMALL),
        ("priv_SQ.dcm", ReasonCode.NO_PIXELS),
        ("zipMR.gz", ReasonCode.UNSUPPORTED_FORMAT),
    ],
)
def test_files_that_are_refused(name, code):
    data = Path(get_testdata_file(name, download=False)).read_bytes()
    with pytest.raises(Unreadable) as caught:
        decode(data)
    assert caught.value.code is code


def test_a_truncated_file_of_another_writer():
    with pytest.raises(Unreadable) as caught:
        decode(as_dx("MR_truncated.dcm"))
    assert caught.value.code is ReasonCode.TRUNCATED
