"""The database connection: one engine a process, made after fork; SQLite or PostgreSQL."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float

from pipeline.retry import Policy, call, classify_database
from pipeline.settings import Settings

T = TypeVar("T")

PATIENCE = Policy(attempts=60, base_s=0.05, cap_s=2.0, total_s=60.0)
"""How long a write waits for a locked or restarting database before it gives up."""

SILENCE_S = 20
"""How long data may go without an acknowledgement before a connection counts as lost.

Keepalives are sent on idle connections only; a call that is on its way when the network is cut
would be sent again for a quarter of an hour, and find out minutes after the network is back.
"""

_POSTGRES = f"""
SET idle_in_transaction_session_timeout = '20s'; SET tcp_user_timeout = '{SILENCE_S}s';
SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3
"""
"""A client that froze or was cut off in mid-transaction gives its locks back after a while."""

_LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_S * 1000,  # ms
}
"""A server that vanished without a word is noticed as well.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""


class now_s(FunctionElement[float]):  # noqa: N801 - reads as the SQL function that it is
    """Seconds since 1970 by the database's clock, so that hosts' clocks need not agree."""

    inherit_cache = True
    type = Float()


@compiles(now_s, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now_s, "postgresql")
def _postgres_now(*_: Any, **__: Any) -> str:
    # Not clock_timestamp(), which differs from row to row: no index serves a comparison with it.
    return "extract(epoch from statement_timestamp())::float8"


def open_engine(address: str) -> Engine:
    """Engine for an address; SQLite gets WAL mode and write-intent transactions."""
    if not address.startswith("sqlite"):
        engine = create_engine(
            address,
            connect_args=_LIBPQ,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=8,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _tune_postgres)
        event.listen(engine, "handle_error", _quote_no_row)
        return engine
    Path(address.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    # Parameters are file names and header facts: never in an error's words.
    engine = create_engine(
        address,
        connect_args={"timeout": 15, "check_same_thread": False},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _tune_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _quote_no_row(context: ExceptionContext) -> None:
    # Below its first line the server quotes keys and rows: paths, UIDs, header facts. The words
    # of an error end in logs. SQLAlchemy has made its own of them before anybody is asked.
    for error in (context.original_exception, context.sqlalchemy_exception):
        if error is not None and error.args:
            first, *_ = str(error.args[0]).partition("\n")
            error.args = (first, *error.args[1:])


def _tune_postgres(connection: Any, _record: Any) -> None:
    connection.execute(_POSTGRES)
    connection.commit()


def _tune_sqlite(connection: Any, _record: Any) -> None:
    # Autocommit in the driver: transactions are begun by `_begin_sqlite`, not guessed by it.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "busy_timeout=15000",
        "foreign_keys=ON",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("single", False):
        return
    # A transaction that reads and then writes must hold the write lock from the start: SQLite
    # can't upgrade a snapshot that another writer has made stale.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes", False) else "BEGIN")


@cache
def engine_of(address: str) -> Engine:
    """This process's engine for an address. Call it after fork, never before."""
    return open_engine(address)


def engine(settings: Settings) -> Engine:
    """This process's engine for the database in use."""
    return engine_of(settings.database)


def write(engine: Engine, work: Callable[[Connection], T], *, single: bool = False) -> T:
    """Run `work` in one write transaction; a locked or lost database is waited for.

    Where it is a `single` statement whose rows are all fetched, that is a transaction by itself
    on SQLite: other writers need not wait for the way from BEGIN through Python to COMMIT.
    Raises the database's own error once `PATIENCE` is used up.
    """

    def once() -> T:
        with (
            engine.connect() as connection,
            connection.execution_options(writes=True, single=single).begin(),
        ):
            return work(connection)

    return call(once, classify_database, PATIENCE, server="database")


def read(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run `work` on a connection that only reads, as patiently as `write`."""

    def once() -> T:
        with engine.connect() as connection:
            return work(connection)

    return call(once, classify_database, PATIENCE, server="database")


def migrations(settings: Settings) -> Config:
    """Alembic's configuration for the database in use."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["engine"] = engine(settings)
    return config


def upgrade(settings: Settings) -> None:
    """Bring the database to the newest migration; does nothing where it is there already."""
    command.upgrade(migrations(settings), "head")


def revisions(settings: Settings) -> tuple[str | None, str | None]:
    """Revision of the tables that are there (None: there are none), and of this code.

    Waits for a database that is about to start; raises its error once `PATIENCE` is used up.
    """
    head = ScriptDirectory.from_config(migrations(settings)).get_current_head()

    def current(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    return read(engine(settings), current), head
