"""Alembic's entry: runs the migrations over the engine that `pipeline.db` hands in."""

from alembic import context
from sqlmodel import SQLModel

from pipeline import tables  # noqa: F401 - fills the metadata


def run() -> None:
    """Run every migration that is due, in one transaction."""
    engine = context.config.attributes["engine"].execution_options(writes=True)
    with engine.begin() as connection:
        context.configure(
            connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True
        )
        with context.begin_transaction():
            context.run_migrations()


run()
