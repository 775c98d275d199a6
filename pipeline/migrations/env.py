"""Alembic's entry: runs the migrations over the engine that `pipeline.db` hands in."""

from alembic import context
from sqlalchemy import func, select
from sqlmodel import SQLModel

from pipeline import tables  # noqa: F401 - fills the metadata

LOCK = 0x78726179
"""Of PostgreSQL's advisory locks, the one that migrations take."""


def run() -> None:
    """Run every migration that is due, in one transaction."""
    engine = context.config.attributes["engine"].execution_options(writes=True)
    with engine.begin() as connection:
        context.configure(
            connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True
        )
        if engine.dialect.name == "postgresql":
            # Two that migrate at a time: the second waits, and then finds nothing left to do.
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        with context.begin_transaction():
            context.run_migrations()


run()
