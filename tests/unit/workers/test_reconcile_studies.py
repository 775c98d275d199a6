"""The reconciler closes the jobs of quiet studies: a dead listener leaves none open."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from pipeline import db
from pipeline.context import Context
from pipeline.records import studies
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.tables import jobs
from tests.unit.pipeline.api.memory import Broker, Store, opened_context
from workers.reconcile import scan


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    context = opened_context(Settings(data_dir=tmp_path, dicom_quiet_s=30.0), Store(), Broker())
    yield context
    context.engine.dispose()


def test_a_scan_closes_quiet_studies_and_no_others(context: Context) -> None:
    quiet, busy = (
        studies.open_study(context.engine, uid, "ROOM1", "dicom", Priority.ROUTINE)
        for uid in ("2.25.1", "2.25.2")
    )
    older = update(jobs).where(jobs.c.id == quiet).values(last_arrival_at=db.now_s() - 31.0)
    db.write(context.engine, lambda connection: connection.execute(older))
    scan(context)
    with context.engine.connect() as connection:
        still_open = select(jobs.c.id).where(jobs.c.closed_at.is_(None))
        assert connection.execute(still_open).scalars().all() == [busy]
