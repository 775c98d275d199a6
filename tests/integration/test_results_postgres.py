"""The queries behind results as DICOM, on the other database."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

from models.catalogue import STAGES
from pipeline import db
from pipeline.context import Context
from pipeline.delivery import Sender
from pipeline.dicom import results
from pipeline.dicom.uids import study_of_image
from pipeline.dispatch import Dispatcher
from pipeline.records import deliveries
from pipeline.records.deliveries import Delivered
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from tests.stand_in.databases import Databases
from tests.stand_in.dicom_study import STUDY, study
from tests.stand_in.finished import FinishedJob
from tests.stand_in.peers import sent_to, storage_scp
from tests.unit.pipeline.api.memory import Broker, Store


@pytest.fixture
def context(tmp_path: Path, postgres_databases: Databases) -> Iterator[Context]:
    """A migrated PostgreSQL database of its own, and a storage in memory."""
    with postgres_databases.fresh(migrated=True) as url:
        settings = Settings(data_dir=tmp_path, database_url=url)
        store, broker = cast(ObjectStore, Store()), cast(Dispatcher, Broker())
        yield Context(settings, db.engine(settings), store, broker, STAGES)


def test_studies_are_found_and_sent_on_postgres(context: Context) -> None:
    with context.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    job_id = study(context)
    own = FinishedJob(context.engine, context.store, job_id, count=9).chest("a.png")  # type: ignore[arg-type]
    listed = [found[0].study_uid for found in results.studies(context)]
    assert listed == [study_of_image(own), STUDY]
    assert len(results.of_study(context, STUDY)) == 4
    assert len(results.of_study(context, study_of_image(own))) == 5
    with storage_scp() as (peer, address):
        seen = sent_to(context, address)
        assert Sender(seen).once() == 9
        assert Sender(seen).once() == 0
        assert Sender(seen).again(job_id) == 0
    assert len(set(peer.uids)) == 9
    assert deliveries.counts(context.engine) == {Delivered.DELIVERED: 9}
