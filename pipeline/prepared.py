"""The prepared image: what every decoder returns and every network starts from."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Version 1.0 of the .npy format: magic, version, length of the header, the header as Python text.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>[\x00-\xff]{2})"
    rb"\{'descr': '\|u1', 'fortran_order': False, 'shape': \((?P<height>\d+), (?P<width>\d+)\), \}"
)

HeaderValue = str | int | float | tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One image, ready for the networks.

    ``pixels`` is uint8 of shape (height, width), bright bone on dark air, the longer side at most
    ``Limits.prepared_px``; never enlarged. ``width_px`` and ``height_px`` are those of the
    original as a viewer shows it, that is after EXIF orientation. ``format`` is one of
    ``pipeline.image.FORMATS``. ``header`` holds facts from an allow-list only and no personal
    data; its keys are snake_case of the DICOM keywords, empty for most other formats.
    """

    pixels: NDArray[np.uint8]
    width_px: int
    height_px: int
    format: str
    header: Mapping[str, HeaderValue]


def prepared_size(width_px: int, height_px: int, longer_px: int) -> tuple[int, int]:
    """(width, height) after fitting the longer side into ``longer_px``, aspect kept."""
    longer = max(width_px, height_px)
    if longer <= longer_px:
        return width_px, height_px
    scale = longer_px / longer
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize an ``L`` image to ``size`` (width, height) with antialiasing."""
    if image.size == size:
        return image
    # reducing_gap lets Pillow average whole blocks down to about twice the size first: half the
    # time on a 2,500 x 3,000 image, less than one grey level away on average.
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def encode_prepared(pixels: NDArray[np.uint8]) -> bytes:
    """Return ``pixels`` (uint8, 2-D) in its stored form: an .npy file, uncompressed."""
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"a prepared image is 2-D uint8, not {pixels.ndim}-D {pixels.dtype}")
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(pixels), allow_pickle=False)
    return buffer.getvalue()


def decode_prepared(data: bytes) -> NDArray[np.uint8]:
    """Return the array that ``encode_prepared`` stored. Raises ValueError for anything else."""
    # `np.load` parses the header as Python source, which takes longer than all else here; ours
    # has one known form.
    header = _HEADER.match(data)
    if header is None:
        raise ValueError("not a prepared image")
    height, width = int(header["height"]), int(header["width"])
    start = 10 + int.from_bytes(header["length"], "little")
    if len(data) != start + height * width:
        raise ValueError("not a prepared image: its length is not that of its array")
    return np.frombuffer(data, np.uint8, offset=start).reshape(height, width)
