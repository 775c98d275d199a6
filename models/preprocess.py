"""From a prepared image to the network's input; the one place where both are defined.

A *prepared image* is a uint8 grayscale array (H, W) as the reader sees it (bright bone), with the
longer side at most 512 px. Training and inference both call :func:`to_input`, so they agree.
No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Prepared = NDArray[np.uint8]


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to see: `input_px` square, pixels (x / 255 - mean) / std."""

    input_px: int
    mean: float
    std: float

    def __post_init__(self) -> None:
        if self.input_px < 32:
            raise ValueError(f"input_px is {self.input_px}; DenseNet-121 needs at least 32")
        if self.std <= 0:
            raise ValueError(f"std is {self.std}; it must be above zero")


def resize(image: NDArray[Any], side_px: int) -> Prepared:
    """The whole image (H, W) stretched to (side_px, side_px), antialiased, still uint8.

    No crop: a position in the result is the same fraction of width and height in the image, so a
    heatmap maps back by a plain stretch. Raises ValueError unless `image` is 2-D uint8.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"expected a non-empty uint8 array (H, W), got {image.dtype} of shape {image.shape}; "
            "convert colour to gray (Pillow 'L') and scale to 0..255 first"
        )
    if image.shape == (side_px, side_px):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((side_px, side_px), Image.Resampling.BILINEAR))


def to_input(image: Prepared, spec: InputSpec) -> NDArray[np.float32]:
    """Network input (1, S, S), float32, of one prepared image (H, W), uint8."""
    pixels = resize(image, spec.input_px).astype(np.float32) / np.float32(255.0)
    return ((pixels - np.float32(spec.mean)) / np.float32(spec.std))[None]
