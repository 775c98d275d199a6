"""What came in: jobs and images as they are in the database, originals as they are stored."""

from collections.abc import Callable

from sqlalchemy import RowMapping, select

from pipeline.context import Context
from pipeline.storage import ObjectRef
from pipeline.tables import images, jobs
from tests.stand_in.dicom_peer import Listener

NewListener = Callable[..., Listener]
"""(**settings) -> a listener that answers."""


def stored(context: Context) -> list[RowMapping]:
    """All images, oldest first."""
    with context.engine.connect() as connection:
        return list(connection.execute(select(images).order_by(images.c.id)).mappings())


def all_jobs(context: Context) -> list[RowMapping]:
    with context.engine.connect() as connection:
        return list(connection.execute(select(jobs).order_by(jobs.c.id)).mappings())


def original(context: Context, row: RowMapping) -> bytes:
    return context.store.get(ObjectRef.parse(row["original"]))
