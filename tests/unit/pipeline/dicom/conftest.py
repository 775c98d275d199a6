"""A finished job over a database file, with a storage in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.context import Context
from pipeline.records.intake import close_job, open_job
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.api.memory import Broker, Store, opened_context


@pytest.fixture
def store() -> Store:
    """The storage."""
    return Store()


@pytest.fixture
def context(tmp_path: Path, store: Store) -> Iterator[Context]:
    """What results are made with."""
    context = opened_context(Settings(data_dir=tmp_path), store, Broker())
    yield context
    context.engine.dispose()


@pytest.fixture
def job(context: Context, store: Store) -> FinishedJob:
    """A closed job; add images to it."""
    job_id = open_job(context.engine, "dicom", Priority.ROUTINE)
    close_job(context.engine, job_id)
    return FinishedJob(context.engine, store, job_id)
