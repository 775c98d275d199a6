"""The words that each head can say, and how a record becomes its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.training.manifest import Record

GATE = ("other", "xray")
TYPES = (
    "chest",
    "hand",
    "wrist",
    "finger",
    "forearm",
    "elbow",
    "humerus",
    "shoulder",
    "spine",
    "hip",
    "femur",
    "knee",
    "leg",
    "ankle",
    "foot",
    "skull",
    "dental",
    "mammography",
)
CHEST14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
CHEST = ("abnormal", *CHEST14)
HEADS = {"gate": GATE, "type": TYPES, "chest": CHEST}
# Fewer positives than this in training or validation: reported, but marked experimental.
EXPERIMENTAL_BELOW = {"train": 100, "val": 20}
IGNORE = -1


@dataclass(frozen=True)
class Targets:
    """Targets of N records: class indices (-1 unknown) and chest truths (NaN unknown)."""

    gate: NDArray[np.int64]
    type: NDArray[np.int64]
    chest: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.gate)


def chest_row(record: Record) -> list[float]:
    """1 known present, 0 known absent, NaN unknown, in the order of :data:`CHEST`."""
    unknown = float("nan")
    abnormal = unknown if record.abnormal is None else float(record.abnormal)
    row = [abnormal]
    for name in CHEST14:
        row.append(1.0 if name in record.positive else 0.0 if name in record.negative else unknown)
    return row


def targets(records: Sequence[Record]) -> Targets:
    """Targets of all heads for `records`, in their order."""
    gate = [IGNORE if r.is_xray is None else int(r.is_xray) for r in records]
    kinds = [TYPES.index(r.xray_type) if r.xray_type in TYPES else IGNORE for r in records]
    chest = np.array([chest_row(r) for r in records], dtype=np.float32).reshape(-1, len(CHEST))
    return Targets(np.array(gate, dtype=np.int64), np.array(kinds, dtype=np.int64), chest)
