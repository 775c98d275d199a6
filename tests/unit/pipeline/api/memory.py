"""A storage and a broker that live in memory, and the application over them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import Any, BinaryIO, cast

from fastapi import FastAPI
from sqlmodel import SQLModel

from models.catalogue import STAGES
from pipeline.api.app import create_app
from pipeline.api.gauges import Gauges
from pipeline.api.readiness import readiness_of
from pipeline.api.uploads import Gate
from pipeline.context import Context
from pipeline.db import open_engine
from pipeline.dispatch import Dispatcher
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.storage import ObjectMissing, ObjectRef, ObjectStore, StorageError, object_key
from tests.stand_in.finished import MemoryStore


@dataclass
class Store(MemoryStore):
    """The storage of the application; set `broken` and it fails so."""

    broken: StorageError | None = None

    def ensure_bucket(self) -> None:
        self._work()

    def put_file(
        self, prefix: str, file: BinaryIO, digest: str, size: int, content_type: str
    ) -> ObjectRef:
        self._work()
        ref = ObjectRef(object_key(prefix, digest), 0, size, digest)
        self.blobs[str(ref)] = file.read()
        return ref

    def put_pack(self, prefix: str, blobs: Sequence[bytes]) -> list[ObjectRef]:
        return [
            self.put_file(prefix, BytesIO(blob), sha256(blob).hexdigest(), len(blob), "")
            for blob in blobs
        ]

    def get(self, ref: ObjectRef) -> bytes:
        self._work()
        if str(ref) not in self.blobs:
            raise ObjectMissing
        return self.blobs[str(ref)]

    def _work(self) -> None:
        if self.broken is not None:
            raise self.broken


@dataclass
class Broker:
    """A broker that takes everything; set `broken` and it answers no ping."""

    sent: list[Nudge] = field(default_factory=list)
    broken: Exception | None = None

    def publish(self, nudges: list[Nudge], root_id: str | None = None) -> list[str]:
        self.sent += nudges
        return [nudge.id for nudge in nudges]

    def ping(self) -> None:
        if self.broken is not None:
            raise self.broken


def opened_context(settings: Settings, store: Store, broker: Broker) -> Context:
    """What the application works with; the database is a file."""
    engine = open_engine(settings.database)
    SQLModel.metadata.create_all(engine)
    return Context(settings, engine, cast(ObjectStore, store), cast(Dispatcher, broker), STAGES)


def opened_app(context: Context) -> FastAPI:
    """The application as its lifespan leaves it."""
    app = create_app(context.settings)
    app.state.context = context
    app.state.gate = Gate()
    app.state.readiness = readiness_of(context)
    app.state.gauges = Gauges(context)
    return app


def problem(response: Any, status: int, slug: str) -> dict[str, Any]:
    """The problem of a response that has to be of this status and kind."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"/docs#problem-{slug}"
    assert body["status"] == status
    return body
