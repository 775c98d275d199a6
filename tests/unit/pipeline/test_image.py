"""The decoder's door: formats by their bytes, bad input, and the stored form."""

import io
import pickle
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.image import (
    FORMATS,
    Limits,
    ReasonCode,
    Unreadable,
    decode,
    decode_prepared,
    encode_prepared,
    sniff,
)

pytest_plugins = ("tests.unit.pipeline.image_samples",)


def encoded(pixels: np.ndarray, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, fmt, **options)
    return buffer.getvalue()


def refusal(data: bytes, limits: Limits | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        decode(data, limits)
    return caught.value


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f != "DICOM"])
def test_every_format_is_known_by_its_bytes(fmt, stored):
    data = encoded(stored(8), fmt)
    assert sniff(data[:512]) == fmt
    decoded = decode(data)
    assert decoded.format == fmt
    assert (decoded.width_px, decoded.height_px) == (48, 64)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"B",
        b"BM is how this sentence about bitmaps begins",
        b"plain text",
        b"GIF89a......",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"RIFF....WAVE",
        b"\x00" * 512,
        b"\xff" * 512,
    ],
)
def test_other_bytes_are_no_format(head):
    assert sniff(head) is None


def test_a_dicom_preamble_that_looks_like_something_else_does_not_hide_the_dicom(
    make_dicom, stored
):
    plain = make_dicom(stored(8))
    for disguise in (b"II*\x00", b"MZ\x90\x00", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04"):
        data = disguise.ljust(128, b"\0") + plain[128:]
        assert sniff(data[:512]) == "DICOM"
        assert np.array_equal(decode(data).pixels, decode(plain).pixels)


def test_empty_file():
    assert refusal(b"").code is ReasonCode.EMPTY_FILE


def test_text_file_is_refused_by_name():
    refused = refusal(b"patient list\nnothing to see here\n" * 100)
    assert refused.code is ReasonCode.UNSUPPORTED_FORMAT
    assert "text" in refused.message
    assert "DICOM" in refused.message


def test_a_pdf_is_refused_by_name():
    assert "PDF" in refusal(b"%PDF-1.7\n" + bytes(100)).message


def test_an_encrypted_dicom_file_is_refused_as_such():
    cms = b"\x30\x82\x10\x00\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + bytes(100)
    assert refusal(cms).code is ReasonCode.ENCRYPTED


def test_too_many_bytes(stored):
    data = encoded(stored(8), "BMP")
    refused = refusal(data, Limits(max_bytes=len(data) - 1))
    assert refused.code is ReasonCode.TOO_MANY_BYTES


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files(fmt, share, radiograph):
    noise = np.random.default_rng(3).integers(0, 60, (256, 256))
    data = encoded((radiograph(256, 256) * 180 + noise).astype(np.uint8), fmt)
    refused = refusal(data[: int(len(data) * share)])
    assert refused.code in (ReasonCode.TRUNCATED, ReasonCode.CORRUPT)
    if fmt in ("PNG", "JPEG"):
        assert refused.code is ReasonCode.TRUNCATED


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((0, 0), ReasonCode.CORRUPT),  # which the format forbids
        ((0, 400), ReasonCode.CORRUPT),
        ((1, 1), ReasonCode.TOO_SMALL),
        ((15, 400), ReasonCode.TOO_SMALL),
        ((400, 15), ReasonCode.TOO_SMALL),
    ],
)
def test_images_of_no_size(size, code):
    assert refusal(png_claiming(*size)).code is code


def test_one_pixel_in_each_format():
    for fmt in ("PNG", "JPEG", "BMP", "TIFF", "WEBP"):
        assert refusal(encoded(np.zeros((1, 1), np.uint8), fmt)).code is ReasonCode.TOO_SMALL


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = png_claiming(40_000, 40_000)
    tracemalloc.start()
    started = time.perf_counter()
    refused = refusal(bomb)
    elapsed_s = time.perf_counter() - started
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.code is ReasonCode.DECOMPRESSION_BOMB
    assert elapsed_s < 1
    assert peak_bytes < 5_000_000


def test_between_once_and_twice_the_limit_is_refused_too():
    assert refusal(png_claiming(10_000, 10_000)).code is ReasonCode.DECOMPRESSION_BOMB


def test_a_large_honest_image_is_called_large(radiograph):
    data = encoded((radiograph(100, 100) * 255).astype(np.uint8), "BMP")
    assert refusal(data, Limits(max_pixels=9_999)).code is ReasonCode.TOO_LARGE


def test_pillows_own_limit_is_never_lifted(stored):
    before = Image.MAX_IMAGE_PIXELS
    decode(encoded(stored(8), "PNG"))
    assert before == Image.MAX_IMAGE_PIXELS == Limits().max_pixels


@pytest.mark.parametrize(
    ("size", "prepared"),
    [((1000, 500), (512, 256)), ((500, 1000), (256, 512)), ((512, 512), (512, 512)),
     ((100, 60), (100, 60)), ((5000, 16), (512, 2))],
)  # fmt: skip
def test_the_longer_side_is_bounded_and_the_aspect_kept(size, prepared, radiograph):
    width, height = size
    decoded = decode(encoded((radiograph(height, width) * 255).astype(np.uint8), "PNG"))
    assert decoded.pixels.shape == prepared[::-1]
    assert (decoded.width_px, decoded.height_px) == size


def test_shrinking_averages_instead_of_picking():
    stripes = np.tile(np.array([0, 255], np.uint8), (2048, 1024))
    pixels = decode(encoded(stripes, "PNG")).pixels
    assert abs(pixels.astype(int) - 127).max() <= 2


def test_the_same_bytes_give_the_same_array(radiograph, make_dicom):
    image = (radiograph(900, 700) * 255).astype(np.uint8)
    for data in (encoded(image, "PNG"), encoded(image, "JPEG"), make_dicom(image)):
        assert np.array_equal(decode(data).pixels, decode(data).pixels)


def test_the_prepared_form_survives_a_round_trip(stored):
    pixels = decode(encoded(stored(8), "PNG")).pixels
    again = decode_prepared(encode_prepared(pixels))
    assert again.dtype == np.uint8
    assert np.array_equal(pixels, again)
    assert len(encode_prepared(pixels)) == pixels.size + 128


def test_only_prepared_images_are_encoded_and_decoded():
    with pytest.raises(ValueError, match="2-D uint8"):
        encode_prepared(np.zeros((4, 4), np.float32))  # type: ignore[arg-type]
    pickled = io.BytesIO()
    np.save(pickled, np.array([[{}]], object), allow_pickle=True)
    floats = io.BytesIO()
    np.save(floats, np.zeros((4, 4)))
    for data in (b"", b"junk", pickled.getvalue(), floats.getvalue(), pickle.dumps({})):
        with pytest.raises(ValueError, match=r"."):
            decode_prepared(data)


def test_every_reason_has_a_meaning_and_survives_a_process_boundary():
    for code in ReasonCode:
        assert code.meaning.endswith(".")
        assert code == code.value
        again = pickle.loads(pickle.dumps(Unreadable(code, "in words")))
        assert (again.code, again.message) == (code, "in words")
        assert str(again) == f"{code.value}: in words"
