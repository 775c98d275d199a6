"""All images of a data set as one uint8 array, so that no step decodes a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.preprocess import Prepared, resize
from models.training.errors import ManifestError
from models.training.manifest import Record

PREPARED_MAX_PX = 512


def read_gray(path: Path) -> Prepared:
    """A prepared image (H, W), uint8, longer side at most 512 px; colour by ITU-R 601 ('L').

    Raises ManifestError when the file is missing or is no image.
    """
    try:
        with Image.open(path) as picture:
            gray = picture.convert("L")
    except (FileNotFoundError, UnidentifiedImageError, OSError) as error:
        raise ManifestError(f"{path}: can't be read as an image: {error}") from error
    if max(gray.size) > PREPARED_MAX_PX:
        gray.thumbnail((PREPARED_MAX_PX, PREPARED_MAX_PX), Image.Resampling.BILINEAR)
    return np.asarray(gray)


def pack(records: Sequence[Record], side_px: int, cache: Path | None = None) -> NDArray[np.uint8]:
    """Images (N, side_px, side_px), uint8, stretched; kept in the folder `cache` when given."""
    target = None if cache is None else cache / f"pack-{_key(records, side_px)}.npy"
    if target is not None and target.is_file():
        return np.asarray(np.load(target, mmap_mode="r"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda r: resize(read_gray(r.path), side_px), records))
    packed = np.stack(images)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part.npy")
        np.save(part, packed)
        part.replace(target)
    return packed


def shrink(images: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Packed images (N, P, P) at a smaller size; as they are when they aren't larger."""
    if images.shape[-1] <= side_px:
        return images
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(lambda image: resize(image, side_px), images)))


def _key(records: Sequence[Record], side_px: int) -> str:
    names = "\n".join(str(record.path) for record in records)
    return f"{side_px}-{hashlib.sha256(names.encode()).hexdigest()[:16]}"
