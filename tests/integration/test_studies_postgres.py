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
from tests.faults.servers import Postgres
from tests.stand_in import study_races
from tests.unit.pipeline.api.memory import Broker, Store
from tests.unit.pipeline.records.test_migration_in_place import check_in_place


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A cluster for these tests."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.kill()


def settings_of(server: Postgres, name: str, folder: Path) -> Settings:
    return Settings(data_dir=folder, database_url=server.database(name), disk_watermark_bytes=0)


def test_many_at_once(postgres: Postgres, tmp_path: Path) -> None:
    settings = settings_of(postgres, "races", tmp_path)
    db.upgrade(settings)
    engine = db.engine(settings)
    context = Context(
        settings, engine, cast(ObjectStore, Store()), cast(Dispatcher, Broker()), STAGES
    )
    study_races.all_get_the_same_job(context)
    study_races.the_same_instance_is_stored_once(context)
    study_races.none_comes_into_a_closed_job(context)
    engine.dispose()


def test_rows_of_the_first_tables_survive_both_ways(postgres: Postgres, tmp_path: Path) -> None:
    settings = settings_of(postgres, "in_place", tmp_path)
    command.upgrade(db.migrations(settings), "0001")
    engine = db.engine(settings)
    check_in_place(engine, settings)
    engine.dispose()
