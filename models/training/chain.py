"""The three stages run one after the other, as the pipeline does, on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.preprocess import Prepared
from models.stage import Prediction, Stage, load
from models.training.errors import ManifestError
from models.training.labels import GATE, TYPES
from models.training.manifest import Record
from models.training.pixels import read_gray

CHUNK = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Walk:
    """What each stage said about one image; None for a stage that it didn't reach.

    `type_alone` is the type stage's word on an image that the gate refused, and `chest_alone` the
    chest stage's on a chest radiograph that the chain lost before.
    """

    record: Record
    gate: Prediction
    type: Prediction | None
    chest: Prediction | None
    type_alone: Prediction | None = None
    chest_alone: Prediction | None = None

    @property
    def type_any(self) -> Prediction | None:
        """The type stage's word, whether or not the gate let the image pass."""
        return self.type or self.type_alone

    @property
    def chest_any(self) -> Prediction | None:
        """The chest stage's word, whether or not the chain reached it."""
        return self.chest or self.chest_alone

    @property
    def correct(self) -> bool | None:
        """Whether the whole chain ended right; None when the record doesn't say what is right.

        Not an X-ray: refused. A radiograph: passed, and the part named; of a chest with a known
        answer also 'abnormal' or not. What an earlier stage lost counts as an error.
        """
        record = self.record
        if record.is_xray is None:
            return None
        if not record.is_xray:
            return self.type is None
        if record.xray_type not in TYPES:
            return None
        if self.type is None or self.type.answer != record.xray_type:
            return False
        if record.xray_type != "chest" or record.abnormal is None:
            return True
        return self.chest is not None and ("abnormal" in self.chest.positives) == record.abnormal


@dataclass(frozen=True)
class Chain:
    """The loaded stages, by the names of their folders."""

    gate: Stage
    type: Stage
    chest: Stage

    @classmethod
    def load(cls, weights: Path, operating_point: str | None = None) -> Chain:
        """The stages in `weights`/gate, /type and /chest. Raises the stage's own errors."""
        parts = {
            name: load(weights / name, operating_point=operating_point if name != "type" else None)
            for name in ("gate", "type", "chest")
        }
        return cls(**parts)

    def walk(self, records: Sequence[Record], progress: Progress) -> list[Walk]:
        """Run the chain on every record's image. Raises ManifestError for one that can't run."""
        walks: list[Walk] = []
        for start in range(0, len(records), CHUNK):
            walks += self._chunk(records[start : start + CHUNK])
            progress(len(walks), len(records))
        return walks

    def _chunk(self, records: Sequence[Record]) -> list[Walk]:
        images = [read_gray(r.path) for r in records]
        gates = self.gate.predict(images)
        for record, prediction in zip(records, gates, strict=True):
            if prediction.error:
                raise ManifestError(f"{record.path}: {prediction.error}")
        passed = [p.answer == GATE[1] for p in gates]
        types = self.type.predict(images)
        chests = [ok and t.answer == "chest" for ok, t in zip(passed, types, strict=True)]
        run = [
            reached or r.xray_type == "chest" for reached, r in zip(chests, records, strict=True)
        ]
        found = self._some(self.chest, images, run)
        return [
            Walk(
                record,
                gates[i],
                types[i] if passed[i] else None,
                found[i] if chests[i] else None,
                None if passed[i] else types[i],
                None if chests[i] else found[i],
            )
            for i, record in enumerate(records)
        ]

    @staticmethod
    def _some(
        stage: Stage, images: Sequence[Prepared], wanted: Sequence[bool]
    ) -> list[Prediction | None]:
        chosen = [i for i, want in enumerate(wanted) if want]
        found: list[Prediction | None] = [None] * len(images)
        predictions = stage.predict([images[i] for i in chosen]) if chosen else []
        for i, prediction in zip(chosen, predictions, strict=True):
            found[i] = prediction
        return found
