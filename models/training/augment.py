"""Batched augmentation on gray images: what other hospitals, scanners and viewers would change.

Most classes of our data come from one source each, so the camera would give the class away; every
operation here removes one such clue. All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional


@dataclass(frozen=True)
class AugmentConfig:
    """How hard to augment; probabilities are per image, amounts are half-widths of a range."""

    rotate_deg: float = 10.0
    turn: float = 0.0
    flip: float = 0.5
    zoom: float = 0.25
    aspect: float = 0.2
    shift: float = 0.08
    contrast: float = 0.3
    gamma: float = 0.35
    invert: float = 0.05
    equalize: float = 0.12
    blur: float = 0.15
    noise: float = 0.2
    coarse: float = 0.1
    border: float = 0.15
    marker: float = 0.2
    erase: float = 0.08


def augment(
    images: Tensor,
    side_px: int,
    config: AugmentConfig,
    generator: Generator,
    maps: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Augmented images (B, 1, side_px, side_px), float32 in 0..1, of uint8 images (B, P, P).

    P should be :func:`working_px`: warping samples between neighbours, without antialiasing.
    `maps` (B, L, M, M), places marked on the images, come back warped with them.
    """
    x = images.float().div_(255.0).unsqueeze(1)
    theta = _warp(len(x), config, generator)
    # Mostly black outside, as collimated films are; sometimes white or gray.
    fill = _uniform(len(x), -1.0, 1.0, generator).clamp(min=0.0).view(-1, 1, 1, 1)
    x = _sample(x - fill, theta, side_px) + fill
    if maps is not None:
        maps = _sample(maps, theta, maps.shape[-1])
    x = _some(x, config.equalize, generator, equalize)
    x = _tone(x, config, generator)
    x = _some(x, config.invert, generator, lambda part: 1.0 - part)
    x = _some(x, config.blur, generator, _blur)
    x = _some(x, config.coarse, generator, _coarse)
    x = _boxes(x, config, generator)
    return _noise(x, config, generator).clamp_(0.0, 1.0), maps


def working_px(side_px: int) -> int:
    """The size to warp from for a final size: cheap to sample, and large enough to zoom into."""
    return round(side_px * 1.25)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def _some(x: Tensor, chance: float, generator: Generator, change: object) -> Tensor:
    chosen = torch.rand(len(x), generator=generator) < chance
    if bool(chosen.any()):
        x[chosen] = change(x[chosen])  # type: ignore[operator]
    return x


def _warp(n: int, c: AugmentConfig, g: Generator) -> Tensor:
    """Affine maps (n, 2, 3) that rotate, zoom, stretch, shift and flip in one resampling."""
    angle = _uniform(n, -c.rotate_deg, c.rotate_deg, g) * (math.pi / 180.0)
    quarter = torch.randint(1, 4, (n,), generator=g) * (torch.rand(n, generator=g) < c.turn)
    angle = angle + quarter * (math.pi / 2.0)
    # Zooming in twice as far as out: crops are what other sources differ in most.
    zoom = torch.exp(_uniform(n, -c.zoom, c.zoom / 2.0, g))
    stretch = torch.exp(_uniform(n, -c.aspect, c.aspect, g) / 2.0)
    flip = 1.0 - 2.0 * (torch.rand(n, generator=g) < c.flip)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    return torch.stack(
        [
            torch.stack([cos * stretch * flip, -sin / stretch, _uniform(n, -c.shift, c.shift, g)]),
            torch.stack([sin * stretch * flip, cos / stretch, _uniform(n, -c.shift, c.shift, g)]),
        ]
    ).permute(2, 0, 1)


def _sample(x: Tensor, theta: Tensor, side_px: int) -> Tensor:
    size = [*x.shape[:2], side_px, side_px]
    grid = functional.affine_grid(theta, size, align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def equalize(x: Tensor) -> Tensor:
    """Histogram-equalised images (B, 1, H, W) in 0..1: what CLAHE viewers and datasets do."""
    bins = (x * 255.0).long().clamp_(0, 255).flatten(1)
    counts = torch.zeros(len(x), 256).scatter_add_(1, bins, torch.ones(bins.shape))
    cdf = counts.cumsum(1) / bins.shape[1]
    return cdf.gather(1, bins).view_as(x)


def _tone(x: Tensor, c: AugmentConfig, g: Generator) -> Tensor:
    n = len(x)
    gamma = torch.exp(_uniform(n, -c.gamma, c.gamma, g)).view(n, 1, 1, 1)
    gain = torch.exp(_uniform(n, -c.contrast, c.contrast, g)).view(n, 1, 1, 1)
    offset = _uniform(n, -c.contrast, c.contrast, g).view(n, 1, 1, 1) * 0.4
    x = x.clamp_(1e-4, 1.0).pow_(gamma)
    middle = x.mean((1, 2, 3), keepdim=True)
    return ((x - middle) * gain + middle + offset).clamp_(0.0, 1.0)


def _blur(x: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)


def _coarse(x: Tensor) -> Tensor:
    side = x.shape[-1]
    small = functional.interpolate(x, scale_factor=0.6, mode="bilinear", antialias=True)
    return functional.interpolate(small, size=(side, side), mode="bilinear")


def _noise(x: Tensor, c: AugmentConfig, g: Generator) -> Tensor:
    amount = _uniform(len(x), 0.0, 0.05, g) * (torch.rand(len(x), generator=g) < c.noise)
    return x + torch.randn(x.shape, generator=g) * amount.view(-1, 1, 1, 1)


def _boxes(x: Tensor, c: AugmentConfig, g: Generator) -> Tensor:
    """Borders (bars along an edge), bright marker boxes and erased patches, on some images."""
    draws = torch.rand(len(x), 3, generator=g)
    for i in range(len(x)):
        if draws[i, 0] < c.border:
            _border(x[i, 0], g)
        if draws[i, 1] < c.marker:
            _fill(x[i, 0], 0.03, 0.12, 0.7 + 0.3 * float(torch.rand((), generator=g)), g)
        if draws[i, 2] < c.erase:
            _fill(x[i, 0], 0.1, 0.35, float(torch.rand((), generator=g)), g)
    return x


def _border(image: Tensor, g: Generator) -> None:
    side = image.shape[-1]
    value = float(torch.rand((), generator=g).mul(1.6).sub(0.6).clamp(min=0.0))
    width = max(1, int(side * 0.14 * float(torch.rand((), generator=g))))
    edge = int(torch.randint(0, 6, (), generator=g))
    if edge in (0, 4):
        image[:width] = value
    if edge in (1, 4):
        image[-width:] = value
    if edge in (2, 5):
        image[:, :width] = value
    if edge in (3, 5):
        image[:, -width:] = value


def _fill(image: Tensor, low: float, high: float, value: float, g: Generator) -> None:
    side = image.shape[-1]
    high_px, wide_px = (max(1, int(side * v)) for v in _uniform(2, low, high, g).tolist())
    top, left = (torch.rand(2, generator=g) * torch.tensor([side - high_px, side - wide_px])).int()
    image[top : top + high_px, left : left + wide_px] = value
