"""A job whose results are there to be reported."""

from pathlib import Path

import pytest
from sqlmodel import SQLModel

from pipeline.db import open_engine
from pipeline.records.intake import open_job
from pipeline.states import Priority
from tests.stand_in.finished import FinishedJob, MemoryStore


@pytest.fixture
def job(tmp_path: Path) -> FinishedJob:
    """An empty job; add images to it."""
    engine = open_engine(f"sqlite:///{tmp_path}/database/x.sqlite3")
    SQLModel.metadata.create_all(engine)
    return FinishedJob(engine, MemoryStore(), open_job(engine, "cli", Priority.BULK))
