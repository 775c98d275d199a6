"""PNG, JPEG, TIFF, WebP, BMP and JPEG 2000: every depth, colour model and orientation."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline import codestream
from pipeline.codestream import Coding
from pipeline.image import Limits, ReasonCode, Unreadable, decode

pytest_plugins = ("tests.unit.pipeline.image_samples",)


def saved(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def grey(stored) -> np.ndarray:
    return stored(8)


@pytest.fixture(scope="module")
def colour(grey) -> Image.Image:
    return Image.fromarray(np.stack([grey, 255 - grey, grey // 2], axis=-1))


def luma(image: Image.Image) -> np.ndarray:
    """ITU-R BT.601, in floating point."""
    return np.rint(np.asarray(image, float) @ (0.299, 0.587, 0.114))


def difference(data: bytes, expected: np.ndarray, limits: Limits | None = None) -> int:
    pixels = decode(data, limits or Limits(min_px=8)).pixels
    assert pixels.shape == expected.shape
    return int(abs(pixels.astype(int) - expected).max())


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF"])
def test_8_bits_are_kept_as_they_are(fmt, grey):
    assert difference(saved(Image.fromarray(grey), fmt), grey) == 0


def test_8_bits_of_low_contrast_are_not_stretched(grey):
    dim = (grey // 8 + 100).astype(np.uint8)
    assert difference(saved(Image.fromarray(dim), "PNG"), dim) == 0


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(bits, grey):
    levels = grey >> (8 - bits)
    palette = np.repeat(np.arange(1 << bits) * 255 // ((1 << bits) - 1), 3)
    image = Image.fromarray(levels).convert("P")
    image.putpalette(palette.astype(np.uint8).tobytes())
    expected = levels.astype(int) * 255 // ((1 << bits) - 1)
    assert difference(saved(image, "PNG", bits=bits), expected) == 0
    assert difference(saved(Image.fromarray(expected > 128), "PNG"), (expected > 128) * 255) == 0


def interlaced(pixels: np.ndarray) -> bytes:
    """Write an 8-bit grey PNG with Adam7 interlacing, which Pillow cannot write."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
              (1, 0, 2, 1))  # fmt: skip
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, right in passes
        for row in pixels[top::down, left::right]
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_interlaced_png(grey):
    assert difference(interlaced(grey), grey) == 0


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_images_look_like_the_8_bit_one(fmt, bits, stored, grey):
    image = Image.fromarray(stored(bits))
    assert image.mode == "I;16"
    assert difference(saved(image, fmt), grey) <= 1


def test_deep_images_that_use_little_of_their_depth_are_stretched(radiograph):
    words = np.rint(radiograph() * 2000 + 30_000).astype(np.uint16)
    pixels = decode(saved(Image.fromarray(words), "PNG")).pixels
    assert pixels.min() == 0
    assert pixels.max() == 255


def test_one_burnt_in_marker_does_not_darken_the_image(stored, grey):
    words = stored(12)
    words[2, 2] = 65_535
    pixels = decode(saved(Image.fromarray(words), "PNG")).pixels
    assert np.corrcoef(pixels.ravel(), grey.ravel())[0, 1] > 0.99
    assert pixels.std() >= grey.std()


def test_flat_deep_images_are_no_trouble():
    for level in (0, 700, 65_535):
        flat = np.full((32, 32), level, np.uint16)
        assert len(np.unique(decode(saved(Image.fromarray(flat), "PNG")).pixels)) == 1


def test_tiff_where_white_is_zero(stored, grey):
    for words in (255 - stored(8), 65_535 - stored(16)):
        image = Image.fromarray(words)
        data = saved(image, "TIFF", tiffinfo={262: 0})
        if words.dtype == np.uint8:  # Pillow writes the samples inverted for this tag by itself
            assert difference(data, 255 - grey.astype(int)) == 0
        else:
            assert difference(data, grey) <= 1


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "raw"])
def test_tiff_compressions(compression, stored, grey):
    data = saved(Image.fromarray(stored(16)), "TIFF", compression=compression)
    assert difference(data, grey) <= 1


def test_tiff_of_several_pages_gives_the_first(grey):
    page = Image.fromarray(grey)
    others = [Image.new("L", (30, 30), 200)] * 2
    assert difference(saved(page, "TIFF", save_all=True, append_images=others), grey) == 0


def test_tiff_of_floats_and_signed_integers(radiograph, grey):
    unit = Image.fromarray(radiograph().astype(np.float32))
    assert difference(saved(unit, "TIFF"), grey) <= 1
    signed = Image.fromarray(np.rint(radiograph() * 4095 - 2048).astype(np.int32))
    pixels = decode(saved(signed, "TIFF")).pixels
    assert np.corrcoef(pixels.ravel(), grey.ravel())[0, 1] > 0.99


def test_pixels_that_are_no_number(radiograph, grey):
    samples = radiograph().astype(np.float32)
    samples[0, :3] = np.nan, np.inf, -np.inf
    pixels = decode(saved(Image.fromarray(samples), "TIFF")).pixels
    assert pixels[0, :3].tolist() == [0, 255, 0]
    assert abs(pixels[1:].astype(int) - grey[1:]).max() <= 1
    nothing = np.full((32, 32), np.nan, np.float32)
    assert not decode(saved(Image.fromarray(nothing), "TIFF")).pixels.any()


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "BMP"])
def test_colours_become_luma(fmt, colour):
    assert difference(saved(colour, fmt), luma(colour)) <= 1


def test_palette(colour):
    indexed = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    assert difference(saved(indexed, "PNG"), luma(indexed.convert("RGB"))) <= 1


def test_transparent_pixels_are_black(grey, colour):
    alpha = np.full(grey.shape, 255, np.uint8)
    alpha[:10] = 0
    image = Image.fromarray(grey)
    image.putalpha(Image.fromarray(alpha))
    expected = np.where(alpha == 0, 0, grey)
    assert difference(saved(image, "PNG"), expected) == 0
    assert difference(saved(image, "WEBP", lossless=True), expected) <= 1
    rgba = colour.copy()
    rgba.putalpha(Image.fromarray(alpha))
    assert difference(saved(rgba, "PNG"), np.where(alpha == 0, 0, luma(colour))) <= 1


def test_alpha_of_zero_everywhere_hides_nothing(grey):
    image = Image.fromarray(grey)
    image.putalpha(0)
    assert difference(saved(image, "PNG"), grey) == 0


def test_a_transparent_colour(grey):
    image = Image.fromarray(grey)
    key = int(grey[5, 5])
    expected = np.where(grey == key, 0, grey)
    assert difference(saved(image, "PNG", transparency=key), expected) == 0


def test_an_animation_gives_its_first_frame(grey):
    frames = [Image.new("L", (48, 64), 200)]
    data = saved(Image.fromarray(grey), "PNG", save_all=True, append_images=frames)
    assert difference(data, grey) == 0


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 95}])
def test_jpeg(options, grey):
    data = saved(Image.fromarray(grey), "JPEG", **options)
    reference = np.asarray(Image.open(io.BytesIO(data)))
    assert difference(data, reference) == 0


def test_colour_jpeg_is_its_luma(colour):
    data = saved(colour, "JPEG", quality=95)
    reference = luma(Image.open(io.BytesIO(data)))
    assert difference(data, reference) <= 2  # Pillow rounds to RGB first, we do not


def test_cmyk_jpeg(grey):
    data = saved(Image.fromarray(grey).convert("CMYK"), "JPEG", quality=95)
    assert np.corrcoef(decode(data).pixels.ravel(), grey.ravel())[0, 1] > 0.99
    assert difference(data, grey) <= 20


def test_decoding_a_jpeg_at_reduced_size_changes_next_to_nothing(radiograph):
    texture = np.random.default_rng(5).normal(0, 8, (2000, 1600))
    pixels = (radiograph(2000, 1600) * 200 + 20 + texture).clip(0, 255).astype(np.uint8)
    data = saved(Image.fromarray(pixels), "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).resize((410, 512), Image.Resampling.BICUBIC)
    gap = abs(decode(data).pixels.astype(int) - np.asarray(full))
    assert gap.mean() < 0.6
    assert np.percentile(gap, 99) <= 3


ORIENTATIONS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.transpose(a), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(fmt, orientation, grey):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if fmt == "WEBP" else {}
    image = Image.fromarray(grey)
    plain = decode(saved(image, fmt, **options)).pixels
    turned = decode(saved(image, fmt, exif=exif, **options))
    assert np.array_equal(turned.pixels, ORIENTATIONS[orientation](plain))
    assert turned.pixels.shape == (turned.height_px, turned.width_px)


def test_a_damaged_exif_block_is_no_reason_to_refuse(grey):
    data = saved(Image.fromarray(grey), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff\xff")
    assert decode(data).pixels.shape == grey.shape


def test_12_bit_jpeg_is_refused_by_name(grey):
    data = bytearray(saved(Image.fromarray(grey), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(Unreadable, match="12-bit JPEG") as caught:
        decode(bytes(data))
    assert caught.value.code is ReasonCode.UNSUPPORTED_PIXELS


def test_codestreams_say_what_they_are(grey, stored):
    jpeg = codestream.inspect(saved(Image.fromarray(grey), "JPEG"))
    assert jpeg == codestream.Codestream(Coding.JPEG_BASELINE, 48, 64, 8, 1)
    progressive = codestream.inspect(saved(Image.fromarray(grey), "JPEG", progressive=True))
    assert progressive is not None
    assert progressive.coding is Coding.JPEG_PROGRESSIVE
    for options in ({}, {"no_jp2": True}):
        jpeg2000 = codestream.inspect(saved(Image.fromarray(stored(12)), "JPEG2000", **options))
        assert jpeg2000 == codestream.Codestream(Coding.JPEG_2000, 48, 64, 16, 1)
    assert codestream.inspect(b"\xff\xd8\xff") is None
    assert codestream.inspect(b"") is None
