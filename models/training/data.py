"""A data set in memory: packed images, targets of every head, and the teacher's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.preprocess import InputSpec, to_input
from models.training import teacher
from models.training.boxes import Drawn, read_boxes
from models.training.config import TrainConfig
from models.training.errors import ManifestError
from models.training.labels import Targets, targets
from models.training.manifest import Record, of_split
from models.training.pixels import pack


@dataclass(frozen=True)
class DataSet:
    """N records with their images (N, P, P) uint8; `teacher` is (N, D) or empty (N, 0).

    `tutor` (N, L) holds the tutors' logits of the chest labels, NaN where they have none, or is
    empty (N, 0).

    `boxes` is None when nothing is to be learnt from boxes.
    """

    records: list[Record]
    images: NDArray[np.uint8]
    targets: Targets
    teacher: NDArray[np.float32]
    tutor: NDArray[np.float32]
    boxes: Drawn | None = None

    def rows(self, split: str) -> NDArray[np.intp]:
        """The indices of one split."""
        return np.array([i for i, r in enumerate(self.records) if r.split == split], dtype=np.intp)

    def chests(self, config: TrainConfig) -> NDArray[np.intp]:
        """The chests that a configuration trains on: indices of the train split."""
        kept = [self.records[i] for i in self.rows("train")]
        shared = [r.xray_type == "chest" and config.chest_share(r.dataset) > 0 for r in kept]
        return np.asarray(self.rows("train")[np.array(shared, dtype=bool)], dtype=np.intp)


def load(
    records: Sequence[Record], config: TrainConfig, cache: Path, boxes: Path | None = None
) -> DataSet:
    """Pack the images once and, when the loss asks for it, compute the frozen teacher's features.

    `boxes` is a CSV of findings' boxes; its file names are relative to its folder. Raises
    ManifestError when the loss asks for boxes and no record has one.
    """
    kept = list(records)
    if not of_split(kept, "train") or not of_split(kept, "val"):
        raise ManifestError("training needs images of both splits, 'train' and 'val'")
    images = pack(kept, config.pack_px, cache)
    truth = targets(kept)
    empty = np.zeros((len(kept), 0), dtype=np.float32)
    data = DataSet(kept, images, truth, empty, empty, _drawn(kept, config, boxes))
    if not config.loss.teacher or config.loss.tutor:
        return data
    taught = teacher.standardized(teacher.features(images, cache), data.rows("train"))
    return replace(data, teacher=taught)


def _drawn(records: list[Record], config: TrainConfig, boxes: Path | None) -> Drawn | None:
    if not config.loss.where:
        return None
    if boxes is None:
        raise ManifestError("the configuration has where > 0 under [loss]: name a file, --boxes")
    drawn = Drawn(records, read_boxes(boxes), boxes.parent)
    if not len(drawn):
        raise ManifestError(f"{boxes}: no box belongs to an image of the data")
    return drawn


def inputs(images: NDArray[np.uint8], spec: InputSpec) -> Tensor:
    """Network inputs (B, 1, S, S) of packed images (B, P, P)."""
    return torch.from_numpy(np.stack([to_input(image, spec) for image in images]))
