"""The database that tests of real servers use: SQLite, or PostgreSQL where the switch says so."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from pipeline import db
from pipeline.settings import Settings
from tests.faults.servers import Postgres

SWITCH = "XRAYTRIAGE_TEST_DATABASE"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
TEMPLATE = "migrated"
"""A database with all tables; a copy of it is made in a fraction of the time of a migration."""

OPTIONS = ("-c", "fsync=off", "-c", "max_connections=400")
"""Nobody cuts this server's power; many a test's processes open their pools at a time."""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that a server of another user may enter: pytest closes its own at each start."""
    with TemporaryDirectory(prefix="xraytriage-postgres-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def chosen() -> str:
    """What the switch says. Raises ValueError for a word that is neither."""
    found = os.environ.get(SWITCH, SQLITE)
    if found not in (SQLITE, POSTGRESQL):
        raise ValueError(f"{SWITCH} is {SQLITE} or {POSTGRESQL}, not {found}")
    return found


class Databases:
    """Databases of one server, each used by one test (or one stack) and dropped afterwards."""

    def __init__(self, server: Postgres) -> None:
        """The server runs; nothing is made yet."""
        self._server = server
        self._numbers = count()
        self._has_template = False

    @contextmanager
    def fresh(self, *, migrated: bool = False) -> Iterator[str]:
        """The SQLAlchemy address of a database that nobody used before."""
        name = f"fresh_{next(self._numbers)}"
        if migrated:
            self._need_template()
            self._tell(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        else:
            self._tell(f"CREATE DATABASE {name}")
        address = self._server.address(name)
        try:
            yield address
        finally:
            # Ours are closed in good order; those of processes that were killed are ended.
            db.engine_of(address).dispose()
            self._tell(f"DROP DATABASE {name} WITH (FORCE)")

    def _need_template(self) -> None:
        if not self._has_template:
            self._tell(f"CREATE DATABASE {TEMPLATE}")
            settings = Settings(database_url=self._server.address(TEMPLATE))
            db.upgrade(settings)
            db.engine(settings).dispose()  # nobody may be connected to a template
            self._has_template = True

    def _tell(self, statement: str) -> None:
        engine = create_engine(
            self._server.address("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool
        )
        with engine.connect() as connection:
            connection.execute(text(statement))
