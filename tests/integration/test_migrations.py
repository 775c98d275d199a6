"""Every migration up and down, on SQLite and on PostgreSQL whatever the switch says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, inspect
from sqlalchemy.schema import CreateIndex, CreateTable

from pipeline import db
from pipeline.settings import Settings
from tests.stand_in.databases import Databases

BASE = "base"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings with an empty database."""
    if request.param == "postgresql":
        databases: Databases = request.getfixturevalue("postgres_databases")
        with databases.fresh() as url:
            yield Settings(data_dir=tmp_path, database_url=url)
        return
    made = Settings(data_dir=tmp_path)
    yield made
    db.engine(made).dispose()


def described(settings: Settings) -> set[str]:
    """The statements that would make the tables and indices that are there."""
    engine, found = db.engine(settings), MetaData()
    found.reflect(engine)
    tables = [table for table in found.sorted_tables if table.name != "alembic_version"]
    made = [CreateTable(table) for table in tables]
    made += [CreateIndex(index) for table in tables for index in table.indexes]
    return {str(one.compile(engine)) for one in made}


def test_each_way_down_undoes_its_way_up(settings: Settings) -> None:
    """Up one by one to the newest, down one by one, and up again: the same tables at each stop."""
    config = db.migrations(settings)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    stops: dict[str, set[str]] = {BASE: described(settings)}
    for revision in reversed(revisions):
        command.upgrade(config, revision)
        stops[revision] = described(settings)
    assert len({frozenset(stop) for stop in stops.values()}) == len(stops), "each changes something"
    for revision in [*revisions[1:], BASE]:
        command.downgrade(config, revision)
        assert described(settings) == stops[revision], revision
    assert inspect(db.engine(settings)).get_table_names() == ["alembic_version"]
    db.upgrade(settings)
    assert described(settings) == stops[revisions[0]]
