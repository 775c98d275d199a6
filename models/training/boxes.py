"""Where radiologists drew a finding: boxes read from a CSV, and as targets for training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.training.errors import ManifestError
from models.training.labels import CHEST
from models.training.manifest import Record

# Cells a side of a drawn box: finer than any feature map, so that warping keeps small boxes.
GRID = 48
COLUMNS = ("file", "finding", "x", "y", "width", "height")


@dataclass(frozen=True)
class Box:
    """A finding's box; all in fractions of the image's width and height."""

    file: str
    finding: str
    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """The share of the image inside the box: the hit rate of a random point."""
        return self.width * self.height

    def holds(self, x: float, y: float) -> bool:
        """Whether a point (fractions) lies inside."""
        return self.x <= x <= self.x + self.width and self.y <= y <= self.y + self.height


def read_boxes(path: Path) -> list[Box]:
    """The boxes of a CSV. Raises ManifestError when a column is missing."""
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise ManifestError(f"{path}: needs the columns {', '.join(COLUMNS)}")
        return [
            Box(row["file"], row["finding"], *(float(row[name]) for name in COLUMNS[2:]))
            for row in reader
        ]


class Drawn:
    """The boxes of a list of records, as coverage maps on demand."""

    def __init__(self, records: Sequence[Record], boxes: Sequence[Box], root: Path) -> None:
        rows = {str(record.path): row for row, record in enumerate(records)}
        self._by_row: dict[int, list[Box]] = {}
        for box in boxes:
            row = rows.get(str(root / box.file))
            if row is not None and box.finding in CHEST:
                self._by_row.setdefault(row, []).append(box)

    def __len__(self) -> int:
        return len(self._by_row)

    def maps(self, rows: Sequence[int]) -> Tensor:
        """1 inside a label's boxes, 0 outside: (B, labels, GRID, GRID), float32.

        A label without a box is 0 everywhere: nobody said where it is.
        """
        found = torch.zeros(len(rows), len(CHEST), GRID, GRID)
        for i, row in enumerate(rows):
            for box in self._by_row.get(int(row), ()):
                columns = _cells(box.x, box.x + box.width)
                lines = _cells(box.y, box.y + box.height)
                found[i, CHEST.index(box.finding), lines, columns] = 1.0
        return found


def _cells(start: float, end: float) -> slice:
    first = int(np.clip(round(start * GRID), 0, GRID - 1))
    return slice(first, max(first + 1, round(end * GRID)))
