"""A finished job: rows in a real database, objects in memory, as the workers leave them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image as Picture
from sqlalchemy import Engine, insert

from pipeline.prepared import encode_prepared
from pipeline.records import results
from pipeline.records.results import ImageView
from pipeline.states import Priority, State
from pipeline.storage import ObjectMissing, ObjectRef, StorageError
from pipeline.tables import findings, images, stage_runs

CHEST_SCORES = {"abnormal": 0.91, "Effusion": 0.72, "Hernia": 0.4, "Mass": 0.2}


@dataclass
class MemoryStore:
    """A storage that counts how it is asked."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def put(self, blob: bytes) -> str:
        digest = sha256(blob).hexdigest()
        ref = str(ObjectRef(f"heatmaps/{digest[:2]}/{digest}", 0, len(blob), digest))
        self.blobs[ref] = blob
        return ref

    def get_many(self, refs: Sequence[ObjectRef]) -> list[bytes | StorageError]:
        self.asked.append(len(refs))
        return [self.blobs.get(str(ref), ObjectMissing()) for ref in refs]


@dataclass
class FinishedJob:
    """A job and what came of its images."""

    engine: Engine
    store: MemoryStore
    job_id: str
    count: int = 0

    def add(self, name: str, state: State = State.DONE, **columns: Any) -> str:
        self.count += 1
        image_id = f"{self.count:032x}"
        values: dict[str, Any] = {
            "id": image_id,
            "job_id": self.job_id,
            "name": name,
            "priority": Priority.BULK,
            "state": state,
            "sha256": sha256(name.encode()).hexdigest(),
            "created_at": 1_700_000_000.0 + self.count,
            "finished_at": 1_700_000_060.0 + self.count,
            "size_bytes": 1000,
            "token": 1,
            "attempts": 0,
        }
        with self.engine.begin() as connection:
            connection.execute(insert(images).values(**values | columns))
        return image_id

    def run(
        self, image_id: str, stage: str, answer: str | None, scores: dict[str, float], **more: Any
    ) -> None:
        values: dict[str, Any] = {
            "image_id": image_id,
            "stage": stage,
            "model_version": f"{stage}-1.0.0+00000000",
            "answer": answer,
            "scores": scores,
            "operating_point": "balanced",
            "wait_ms": 10.0,
            "compute_ms": 20.0,
            "worker": "w",
            "created_at": 1_700_000_010.0,
        }
        with self.engine.begin() as connection:
            connection.execute(insert(stage_runs).values(**values | more))

    def find(self, image_id: str, label: str, score: float, **more: Any) -> None:
        values: dict[str, Any] = {
            "image_id": image_id,
            "stage": "chest",
            "model_version": "chest-1.0.0+00000000",
            "label": label,
            "score": score,
            "threshold": 0.5,
            "positive": True,
            "experimental": False,
            "heatmap": self.store.put(png(label)),
        }
        with self.engine.begin() as connection:
            connection.execute(insert(findings).values(**values | more))

    def chest(self, name: str, abnormality: float = 0.91, **columns: Any) -> str:
        """A chest image that all three stages have answered."""
        image_id = self.add(name, prepared=self.store.put(prepared()), **columns)
        self.run(image_id, "gate", "xray", {"other": 0.01, "xray": 0.99}, created_at=1.0)
        self.run(image_id, "type", "chest", {"chest": 0.97, "hand": 0.03}, created_at=2.0)
        self.run(image_id, "chest", None, CHEST_SCORES | {"abnormal": abnormality}, created_at=3.0)
        if abnormality >= 0.5:
            self.find(image_id, "abnormal", abnormality)
            self.find(image_id, "Effusion", 0.72)
            self.find(image_id, "Hernia", 0.6, experimental=True)
        return image_id

    def view(self, image_id: str) -> ImageView:
        view = results.image(self.engine, image_id)
        assert view is not None
        return view

    def views(self) -> list[ImageView]:
        return results.page(self.engine, self.job_id)


def prepared() -> bytes:
    return encode_prepared(np.tile(np.arange(256, dtype=np.uint8), (300, 1)))


def png(label: str) -> bytes:
    buffer = io.BytesIO()
    Picture.new("RGB", (300, 300), f"#{sha256(label.encode()).hexdigest()[:6]}").save(buffer, "PNG")
    return buffer.getvalue()
