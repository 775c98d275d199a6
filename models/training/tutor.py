"""Tutors: EfficientNets fine-tuned on the same chests, from whose answers the DenseNet learns.

Labels mined from reports are few and noisy; what a network that started from ImageNet makes of
them says more about an image than they do (Hinton et al. 2015, "Distilling the knowledge in a
neural network"). A tutor is a finished joint run with `network = "lite0"` or `"lite2"`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.training import checkpoint, teacher
from models.training.config import TrainConfig, restored
from models.training.data import DataSet, inputs
from models.training.errors import CheckpointError
from models.training.network import PREFIX, MultiHead

log = logging.getLogger(__name__)
BATCH = 32
FAR = 6.0
"""Features are cut off so many standard deviations from their mean."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Answers:
    """A tutor's logits (n, L) and pooled features (n, D), averaged over an image and its mirror."""

    logits: Floats
    features: Floats


def taught(data: DataSet, folders: Sequence[Path], cache: Path, device: torch.device) -> DataSet:
    """The data with the tutors' mean logits, and their features side by side as the teacher's.

    A row is NaN for images that aren't trained on and for data sets that a tutor hasn't learnt
    from. Raises CheckpointError when a folder holds no finished tutor.
    """
    logits, features = [], []
    for folder in folders:
        config = _config(folder)
        rows = data.chests(config)
        answers = _kept(folder, config, data.images[rows], cache, device)
        logits.append(_spread(answers.logits, rows, len(data.records)))
        values = teacher.standardized(answers.features, np.arange(len(rows)))
        features.append(_spread(np.clip(values, -FAR, FAR), rows, len(data.records)))
    return replace(data, tutor=np.mean(logits, axis=0), teacher=np.concatenate(features, 1))


def _config(folder: Path) -> TrainConfig:
    path = folder / "config.json"
    try:
        config = restored(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"{path}: no configuration of a run there: {error}") from error
    if "chest" not in config.heads:
        raise CheckpointError(f"{folder}: a tutor has a chest head, this one {config.heads}")
    if (done := checkpoint.load(folder)["step"]) < config.steps:
        raise CheckpointError(f"{folder}: not finished, step {done} of {config.steps}; go on first")
    return config


def _kept(
    folder: Path,
    config: TrainConfig,
    images: NDArray[np.uint8],
    cache: Path,
    device: torch.device,
) -> Answers:
    """The answers, from the cache when the same tutor was asked about the same images before."""
    seen = hashlib.sha256((folder / checkpoint.FILE).read_bytes())
    seen.update(np.ascontiguousarray(images).data)
    target = cache / f"tutor-{seen.hexdigest()[:16]}.npz"
    if not target.is_file():
        log.info("asking the tutor %s about %d images", folder.name, len(images))
        target.parent.mkdir(parents=True, exist_ok=True)
        found = _ask(folder, config, images, device)
        part = target.with_suffix(".part.npz")
        np.savez(part, logits=found.logits, features=found.features)
        part.replace(target)
    with np.load(target) as stored:
        return Answers(stored["logits"], stored["features"])


@torch.inference_mode()
def _ask(
    folder: Path, config: TrainConfig, images: NDArray[np.uint8], device: torch.device
) -> Answers:
    network = MultiHead(config.heads, network=config.network)
    state = checkpoint.averaged(folder)
    network.load_state_dict({k: v for k, v in state.items() if k in network.state_dict()})
    network = network.eval().to(device).to(memory_format=torch.channels_last)
    head = network.heads[PREFIX + "chest"]
    logits, features = [], []
    for start in range(0, len(images), BATCH):
        batch = np.ascontiguousarray(images[start : start + BATCH])
        x = inputs(batch, config.input_spec).to(device)
        both = [network.trunk.forward_features(v).mean((2, 3)) for v in (x, x.flip(-1))]
        pooled = torch.stack(both).mean(0)
        features.append(pooled.cpu().numpy())
        logits.append(head(pooled).cpu().numpy())
    return Answers(np.concatenate(logits), np.concatenate(features))


def _spread(values: Floats, rows: NDArray[np.intp], count: int) -> Floats:
    whole = np.full((count, values.shape[1]), np.nan, dtype=np.float32)
    whole[rows] = values
    return whole
