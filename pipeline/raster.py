"""Decoding of PNG, JPEG, TIFF, WebP, BMP and JPEG 2000 through Pillow."""

import io
import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from pipeline import codestream, grayscale
from pipeline.limits import Limits
from pipeline.prepared import Decoded, prepared_size, shrink
from pipeline.reasons import ReasonCode, Unreadable

# What Pillow's readers raise for bytes that break their format, apart from its own errors.
# MemoryError is not among them: it says more of the machine than of the image.
_PILLOW_ERRORS: Final = (
    OSError,  # includes UnidentifiedImageError and "image file is truncated"
    SyntaxError,  # "broken PNG file", "cannot handle 12-bit layers"
    ValueError,
    EOFError,
    IndexError,
    KeyError,  # a TIFF without a tag that it needs
    TypeError,
    OverflowError,
    ZeroDivisionError,
    AttributeError,
    RuntimeError,
    NotImplementedError,
    struct.error,
    zlib.error,
)

_ENDINGS: Final = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_ENDING_BYTES: Final = 64

# TIFF 6.0: tag 262 PhotometricInterpretation, value 0 WhiteIsZero
_TIFF_PHOTOMETRIC: Final = 262
_TIFF_WHITE_IS_ZERO: Final = 0

# Exif 2.32, 4.6.4 A: what to do to show the stored image upright. Keys are the tag's values.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset((5, 6, 7, 8))


def decode_raster(data: bytes, fmt: str, limits: Limits) -> Decoded:
    """Decode the first frame or page of ``data``, which ``sniff`` found to be ``fmt``.

    Samples of up to 8 bits are kept as they are; deeper ones are brought to 8 bits by
    ``grayscale.display_range``. Colours become their luma (ITU-R BT.601), transparent pixels
    black, EXIF orientation is applied, colour profiles are ignored.

    Raises Unreadable: truncated, corrupt, too_small, too_large, decompression_bomb,
    unsupported_pixels.
    """
    if fmt == "JPEG":
        _refuse_deep_jpeg(data)
    try:
        with Image.open(io.BytesIO(data), formats=[fmt]) as image:
            limits.check_pixels(*image.size, len(data))
            width_px, height_px = image.size
            # JPEG only, no effect elsewhere: decode luma alone, at 1/2, 1/4 or 1/8 of the size
            # while that is still larger than needed.
            image.draft("L", prepared_size(width_px, height_px, limits.prepared_px))
            image.load()
            if fmt != "JPEG":  # Pillow turns a TIFF upright by itself
                width_px, height_px = image.size
            orientation = _orientation(image)
            grey = _to_grey(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(
            ReasonCode.DECOMPRESSION_BOMB, f"the {fmt} claims far more pixels than the limit"
        ) from error
    except _PILLOW_ERRORS as error:
        raise _broken(data, fmt, error) from error
    grey = shrink(grey, prepared_size(width_px, height_px, limits.prepared_px))
    if orientation in _UPRIGHT:
        grey = grey.transpose(_UPRIGHT[orientation])
    if orientation in _SIDEWAYS:
        width_px, height_px = height_px, width_px
    return Decoded(np.array(grey, np.uint8), width_px, height_px, fmt, {})


def _refuse_deep_jpeg(data: bytes) -> None:
    stream = codestream.inspect(data)
    if stream and stream.precision != 8:
        raise Unreadable(
            ReasonCode.UNSUPPORTED_PIXELS,
            f"a {stream.precision}-bit JPEG is read inside DICOM only",
        )


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _PILLOW_ERRORS:  # a damaged EXIF block is no reason to refuse the image
        return 1
    return value if isinstance(value, int) else 1


def _broken(data: bytes, fmt: str, error: Exception) -> Unreadable:
    ending = _ENDINGS.get(fmt)
    cut_short = "truncated" in str(error).lower() or "unexpected end" in str(error).lower()
    if ending is not None and ending not in data[-_ENDING_BYTES:]:
        cut_short = True
    if cut_short:
        return Unreadable(ReasonCode.TRUNCATED, f"the {fmt} ends before its image does")
    return Unreadable(ReasonCode.CORRUPT, f"the {fmt} is damaged")


def _to_grey(image: Image.Image) -> Image.Image:
    """Return a loaded image in mode ``L``."""
    if image.mode == "L" and not image.has_transparency_data:
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_deep_to_grey(np.asarray(image), _is_white_zero(image)))
    if image.has_transparency_data:
        return _on_black(image)
    return image.convert("L")


def _on_black(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    grey, alpha = rgba.convert("L"), rgba.getchannel("A")
    # Some exporters leave alpha at zero everywhere: that hides the image from no other viewer.
    if alpha.getextrema() == (0, 0):
        return grey
    return Image.composite(grey, Image.new("L", grey.size), alpha)


def _is_white_zero(image: Image.Image) -> bool:
    # Pillow inverts WhiteIsZero for samples of up to 8 bits only.
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO


def _deep_to_grey(samples: NDArray[np.generic], is_white_zero: bool) -> NDArray[np.uint8]:
    """Map samples deeper than 8 bits, 2-D of any number type, to grey levels."""
    if samples.dtype.kind in "ui" and samples.min() >= 0 and samples.max() < 1 << 16:
        words = samples.astype(np.uint16, copy=False)
        values = np.arange(1 << 16, dtype=np.float64)
        full = float((1 << grayscale.depth_in_use(int(words.max()))) - 1)
        low, high = grayscale.display_range(
            values, grayscale.histogram(words, values.size), (0.0, full)
        )
        shares = grayscale.scale(values, low, high)
        table = grayscale.to_levels(1 - shares if is_white_zero else shares)
        return grayscale.look_up(table, words)
    return _floats_to_grey(samples, is_white_zero)


def _floats_to_grey(samples: NDArray[np.generic], is_white_zero: bool) -> NDArray[np.uint8]:
    """Map floats, or integers of any range; what is no number is shown as the least."""
    step = max(1, int((samples.size / 250_000) ** 0.5))
    sample = samples[::step, ::step].astype(np.float64).ravel()
    low, high = _float_range(sample[np.isfinite(sample)])
    grey = np.empty(samples.shape, np.uint8)
    for start in range(0, samples.shape[0], 64):  # in blocks: 64-bit copies of all are large
        block = slice(start, start + 64)
        values = np.nan_to_num(samples[block].astype(np.float64), nan=low, posinf=high, neginf=low)
        shares = grayscale.scale(values, low, high)
        grey[block] = grayscale.to_levels(1 - shares if is_white_zero else shares)
    return grey


def _float_range(sample: NDArray[np.float64]) -> tuple[float, float]:
    least, greatest = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 0.0)
    if least >= 0 and greatest <= 1:
        full = (0.0, 1.0)
    else:
        full = (least, greatest) if greatest > least else (least, least + 1)
    if not sample.size:
        return full
    return grayscale.display_range(sample, np.ones(sample.size, np.int64), full)
