"""The migrations make the tables that the code has, and take them away again."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect
from sqlmodel import SQLModel

from pipeline import db
from pipeline.settings import Settings


def test_the_newest_migration_is_what_the_code_has(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


def test_a_second_upgrade_changes_nothing_and_a_downgrade_leaves_nothing(
    config: Settings, engine: Engine
) -> None:
    db.upgrade(config)
    command.downgrade(db.migrations(config), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    db.upgrade(config)
    assert "image" in inspect(engine).get_table_names()
