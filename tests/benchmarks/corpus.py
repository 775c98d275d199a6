"""Images to send: chests that differ in their bytes, and squares that cost nothing to decode."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "samples" / "images" / "chest"
SIDE_PX = 1024
"""Of the chest images: hospital images are larger than the samples."""


def chests(count: int) -> list[bytes]:
    """JPEG files of `SIDE_PX` squares from the sample chests, no two alike."""
    originals = sorted(SAMPLES.glob("*.jpg"))
    if not originals:
        raise FileNotFoundError(f"no chest images in {SAMPLES}")
    rng = np.random.default_rng(0)
    large = [_large(path) for path in originals]
    return [_variant(large[n % len(large)], rng) for n in range(count)]


def squares(count: int) -> list[bytes]:
    """PNG files of 64 x 64 pixels, four gray levels, no two alike."""
    rng = np.random.default_rng(0)
    files = []
    for n in range(count):
        level = (20, 100, 150, 220)[n % 4]
        pixels = (rng.random((64, 64)) * 20 + level).astype(np.uint8)
        files.append(_file(Image.fromarray(pixels), "PNG"))
    return files


def _large(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def _variant(image: Image.Image, rng: np.random.Generator) -> bytes:
    gain = rng.uniform(0.9, 1.1)
    return _file(image.point(lambda value: min(255.0, value * gain)), "JPEG")


def _file(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()
