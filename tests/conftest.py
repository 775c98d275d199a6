"""For all tests: which database those of real servers use (`make postgres`), and a clean log."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from tests.faults.servers import Postgres
from tests.stand_in import databases
from tests.stand_in.databases import Databases

NewDatabase = Callable[..., AbstractContextManager[str | None]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the session, started for the first test that needs it."""
    with databases.open_folder() as folder:
        server = Postgres(folder, databases.OPTIONS)
        server.start()
        yield server
        server.restart_fast()


@pytest.fixture(scope="session")
def postgres_databases(postgres: Postgres) -> Databases:
    """Its databases, for tests that are about PostgreSQL whatever the switch says."""
    return Databases(postgres)


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """Blocks with a fresh database: `with new_database() as url`, or `(migrated=True)`.

    None stands for SQLite: the file below the data folder, which is fresh where the folder is.
    """
    if databases.chosen() == databases.SQLITE:
        return lambda migrated=False: nullcontext(None)
    made: Databases = request.getfixturevalue("postgres_databases")
    return made.fresh


@pytest.fixture
def database_url(new_database: NewDatabase) -> Iterator[str | None]:
    """An empty database for one test; None for SQLite."""
    with new_database() as url:
        yield url


@pytest.fixture
def migrated_url(new_database: NewDatabase) -> Iterator[str | None]:
    """A database with all tables for one test; None for SQLite, whose file is made by `upgrade`."""
    with new_database(migrated=True) as url:
        yield url


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that a test calls sets up logging to the test's own standard error: undo that."""
    root = logging.getLogger()
    before, level = set(root.handlers), root.level
    yield
    for handler in set(root.handlers) - before:
        root.removeHandler(handler)
    root.setLevel(level)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is about SQLite itself where the tests run on PostgreSQL."""
    if databases.chosen() == databases.SQLITE:
        return
    for item in items:
        if (mark := item.get_closest_marker("sqlite")) is not None:
            item.add_marker(pytest.mark.skip(reason=f"about SQLite: {mark.args[0]}"))
