"""Where in the image a label was seen: Grad-CAM in closed form, and the picture of it."""

import io
import struct
from functools import lru_cache

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from PIL import Image

Float32 = NDArray[np.float32]

# Matplotlib's "inferno" (CC0) at nine equal steps: lightness grows evenly, also in grayscale
# and for colour-blind readers.
_INFERNO = np.array(
    [
        (0, 0, 4),
        (33, 12, 74),
        (87, 16, 110),
        (138, 34, 106),
        (188, 55, 84),
        (228, 90, 49),
        (249, 142, 9),
        (249, 203, 53),
        (252, 255, 164),
    ],
    dtype=np.float64,
)
_INVISIBLE_BELOW = 0.25
"""Under this share of the map's maximum nothing is drawn: the reader sees the anatomy."""
_GRAY, _RGB, _INDEXED = 0, 2, 3
_COLOUR_TYPE = 25
"""Where a PNG says which of these it is (PNG 1.2, 4.1.1)."""
_OPACITY = 0.6
"""Opacity at the maximum; under 1, so that the finding itself stays visible."""


def grad_cam(features: Float32, weights: Float32) -> Float32:
    """The Grad-CAM map of one label, float32 (height, width) in 0..1, without a backward pass.

    features: the last feature maps after their ReLU, float32 (channels, height, width).
    weights: the label's row of the linear head, float32 (channels,).

    For ReLU, global average pooling and a linear head, the gradient of a logit by a feature
    map is its head weight divided by the number of pixels, the same at every pixel. So
    Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), relu(sum_k alpha_k A_k), is up to that
    constant the class activation map of Zhou et al. 2016 (arXiv 1512.04150) with its negative
    part cut: relu(sum_k w_k A_k). Divided by its maximum, the constant is gone.

    A rare label may be over its low threshold while every place speaks against it. Then
    Grad-CAM is empty, and the map shows instead where it does so least (from 0 at the minimum).
    """
    evidence: Float32 = np.tensordot(weights, features, axes=1).astype(np.float32)
    floor = 0 if evidence.max() > 0 else evidence.min()
    raw: Float32 = np.maximum(evidence - floor, 0)
    peak = raw.max()
    return raw / peak if peak > 0 else raw


def layer(heatmap: Float32, shape: tuple[int, ...]) -> bytes:
    """The map in colour, to be laid over an image of `shape` (height, width), as a PNG.

    heatmap: float32 in 0..1 of any size, laid over the whole image and smoothly enlarged. The PNG
    is indexed: an index is a level of the map, its opacity stands in tRNS (PNG 1.2, 4.2.1.1).
    Raises ValueError for other shapes.
    """
    if heatmap.ndim != 2 or len(shape) != 2:
        raise ValueError("layer() takes a two-dimensional map and the shape of a gray image")
    level = _enlarged(heatmap, shape)
    # What is not seen need not be stored.
    np.multiply(level, level >= _INVISIBLE_BELOW * 255, out=level)
    return _png(level, _INDEXED, (b"PLTE", _PALETTE), (b"tRNS", _OPACITIES))


def has_image(png: bytes) -> bool:
    """Whether a stored heatmap is no layer: earlier versions drew the image into it."""
    return png[_COLOUR_TYPE : _COLOUR_TYPE + 1] != bytes([_INDEXED])


def overlay(image: NDArray[np.uint8], layer: bytes) -> bytes:
    """The image with a `layer` over it, as an RGB PNG of the image's size.

    image: the prepared image, uint8 (height, width). Raises ValueError for another image, and
    where the layer is no picture, or one of another size.
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError("overlay() takes a two-dimensional uint8 image")
    try:
        with Image.open(io.BytesIO(layer)) as picture:
            level = np.asarray(picture)
            palette, opacities = bytes(picture.getpalette() or ()), picture.info["transparency"]
    except (OSError, KeyError) as error:
        raise ValueError("the layer is no picture") from error
    if level.shape != image.shape:
        raise ValueError(f"a layer of {level.shape} pixels for an image of {image.shape}")
    index = np.left_shift(level, 8, dtype=np.uint16)
    index |= image
    # "clip" only spares a check: every index is in the table.
    mixed = _mixed(palette, opacities).take(index, mode="clip")
    height, width = image.shape
    pixels = Image.frombuffer("RGBX", (width, height), mixed, "raw", "RGBX", 0, 1)
    rgb = np.frombuffer(pixels.tobytes("raw", "RGB"), np.uint8)
    return _png(rgb.reshape(height, width, 3), _RGB)


@lru_cache(maxsize=4)
def _mixed(palette: bytes, opacities: bytes) -> NDArray[np.uint32]:
    """(65536,): R, G, B and a byte of nothing for each level of a layer and gray of the image.

    One look-up a pixel is faster than Pillow's compositing, and a big archive has many overlays.
    """
    opacity = np.frombuffer(opacities, np.uint8)[:, None, None] / 255
    colours = np.frombuffer(palette, np.uint8).reshape(256, 1, 3)
    gray = np.arange(256)[None, :, None]
    mixed = np.zeros((256, 256, 4), np.uint8)
    mixed[..., :3] = (gray * (1 - opacity) + colours * opacity).round()
    return mixed.view(np.uint32).ravel()


def raw_png(heatmap: Float32) -> bytes:
    """The map itself, as an 8-bit grayscale PNG at the map's own size (255 is 1.0)."""
    return _png(_levels(heatmap), _GRAY)


def _enlarged(heatmap: Float32, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The map in levels 0..255, smoothly enlarged to `shape` (height, width)."""
    down, across = (_bicubic(new, old) for new, old in zip(shape, heatmap.shape, strict=True))
    # Bicubic curves overshoot a little at both ends; two overshoots must not multiply.
    wide = np.clip(np.clip(heatmap, 0, 1) @ across.T, 0, 1)
    # Half a level makes the cut to integers a rounding; the weights of a row sum up to one.
    bright = wide * np.float32(255) + np.float32(0.5)
    # Not "@": BLAS would wake its threads, which then spin beside the other stages' work.
    smooth: Float32 = np.einsum("ij,jk->ik", down, bright)
    return np.clip(smooth, 0, 255, out=smooth).astype(np.uint8)


@lru_cache(maxsize=64)
def _bicubic(new: int, old: int) -> Float32:
    """Pillow's bicubic resampling of `old` samples as a matrix (new, old)."""
    each = Image.fromarray(np.eye(old, dtype=np.float32))
    return np.asarray(each.resize((old, new), Image.Resampling.BICUBIC))


def _levels(heatmap: Float32) -> NDArray[np.uint8]:
    return (np.clip(heatmap, 0, 1) * 255 + 0.5).astype(np.uint8)


def _png(pixels: NDArray[np.uint8], colour_type: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of uint8 (height, width) or (height, width, 3); `more` are chunks before the pixels.

    Every row is stored as the difference to the row above (filter type 2, "Up"), which suits
    radiographs and smooth maps; encoders that try all five filters for each row take more than
    twice as long for a larger file. ISA-L compresses four times as fast as zlib. Its level 0 needs
    no work space, so equal pixels give equal bytes, and equal objects in the storage; level 1 saves
    a tenth, but of a few pixels it sometimes makes other bytes.
    """
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = isal_zlib.compress(filtered, 0)
    chunks = (b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def _palette() -> bytes:
    """256 RGB triples between the steps of the colour map."""
    steps = np.linspace(0, 255, len(_INFERNO))
    channels = [np.interp(np.arange(256), steps, channel) for channel in _INFERNO.T]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()


def _opacities() -> bytes:
    """Opacity 0..255 per level of the map: none while it is low, then a rising curve."""
    share = (np.arange(256) / 255 - _INVISIBLE_BELOW) / (1 - _INVISIBLE_BELOW)
    visible = np.clip(share, 0, 1) ** 0.7 * _OPACITY * 255
    return visible.round().astype(np.uint8).tobytes()


_PALETTE = _palette()
_OPACITIES = _opacities()
