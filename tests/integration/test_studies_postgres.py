"""Study jobs and the migration under them, on the other database."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from alembic import command

from models.catalogue import STAGES
from pipeline import db
from pipeline.context import Context
from pipeline.dispatch import Dispatcher
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from tests.stand_in import study_races
from tests.stand_in.databases import Databases
from tests.unit.pipeline.api.memory import Broker, Store
from tests.unit.pipeline.records.test_migration_in_place import check_in_place


@pytest.fixture
def settings(postgres_databases: Databases, tmp_path: Path) -> Iterator[Settings]:
    """An empty database of PostgreSQL, whatever the other tests run on."""
    with postgres_databases.fresh() as url:
        yield Settings(data_dir=tmp_path, database_url=url, disk_watermark_bytes=0)


def test_many_at_once(settings: Settings) -> None:
    db.upgrade(settings)
    engine = db.engine(settings)
    context = Context(
        settings, engine, cast(ObjectStore, Store()), cast(Dispatcher, Broker()), STAGES
    )
    study_races.all_get_the_same_job(context)
    study_races.the_same_instance_is_stored_once(context)
    study_races.none_comes_into_a_closed_job(context)


def test_rows_of_the_first_tables_survive_both_ways(settings: Settings) -> None:
    command.upgrade(db.migrations(settings), "0001")
    check_in_place(db.engine(settings), settings)
