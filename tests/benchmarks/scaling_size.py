"""What a queued image takes in the broker, and a finished one in either database."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, insert, select, text

from pipeline import db
from pipeline.dispatch import Dispatcher, make_app, queue_of
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.tables import findings, images, jobs, stage_runs
from pipeline.uid import new_id
from tests.benchmarks.scaling_servers import Servers, cpu_of

MESSAGES = 1000
"""Put into a line for each measurement."""
CHUNKS = (1, 32)
BATCH = 1000
TABLES = (jobs, images, stage_runs, findings)

Row = dict[str, Any]


def broker_bytes(servers: Servers) -> dict[str, float]:
    """Ids in a message -> bytes of broker memory for each image that waits. Nobody may consume."""
    dispatcher = Dispatcher(servers.settings)
    dispatcher.publish([_nudge(1)])  # what the first message makes is there for good
    found = {}
    for chunk in CHUNKS:
        before = servers.broker.info("memory")["used_memory"]
        nudges = [_nudge(chunk) for _ in range(MESSAGES)]
        sent = dispatcher.publish(nudges)
        assert len(sent) == len(nudges)
        after = servers.broker.info("memory")["used_memory"]
        found[str(chunk)] = (after - before) / (MESSAGES * chunk)
    servers.broker.ask("FLUSHALL")
    return found


def broker_cpu_s(servers: Servers) -> float:
    """CPU seconds of the broker for one message that is sent, fetched and acknowledged.

    Apart from the run, in which the few messages of some hundred images would not show.
    """
    settings = servers.settings
    nudges = [_nudge(max(CHUNKS)) for _ in range(MESSAGES)]
    before = cpu_of(servers.broker)
    assert len(Dispatcher(settings).publish(nudges)) == MESSAGES
    with (
        make_app(settings).connection_for_read() as connection,
        connection.SimpleQueue(queue_of("gate")) as queue,
    ):
        for _ in range(MESSAGES):
            queue.get(block=True, timeout=30).ack()
    used = cpu_of(servers.broker) - before
    servers.broker.ask("FLUSHALL")
    return used / MESSAGES


def _nudge(chunk: int) -> Nudge:
    return Nudge(new_id(), "gate", Priority.BULK, [new_id() for _ in range(chunk)])


def database_bytes(servers: Servers, count: int) -> dict[str, float]:
    """Database -> bytes for each finished image: the rows of the run, copied `count` times over.

    Measured between half of the copies and all of them, so that what is there once counts not.
    """
    with db.engine(servers.settings).connect() as connection:
        finished = select(images.c.job_id).where(images.c.finished_at.is_not(None)).distinct()
        wanted = set(connection.execute(finished).scalars())
        rows = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in TABLES
        }
    rows["job"] = [row for row in rows["job"] if row["id"] in wanted]
    folder: Path = servers.settings.data_dir / "copies"
    postgres = servers.database.database("copies")
    places = {
        "PostgreSQL": servers.settings.model_copy(update={"database_url": postgres}),
        "SQLite": Settings(data_dir=folder),
    }
    return {name: _grown(settings, rows, count) for name, settings in places.items()}


def _grown(settings: Settings, rows: Mapping[str, Sequence[Row]], count: int) -> float:
    db.upgrade(settings)
    engine = db.engine(settings)
    each = len(rows["image"])
    half = max(1, count // 2 // each)
    _copy(engine, rows, half)
    before = _size(engine)
    _copy(engine, rows, half)
    grown = (_size(engine) - before) / (half * each)
    engine.dispose()
    return grown


def _copy(engine: Engine, rows: Mapping[str, Sequence[Row]], times: int) -> None:
    for _ in range(times):
        new = {row["id"]: new_id() for name in ("job", "image") for row in rows[name]}
        with engine.execution_options(writes=True).begin() as connection:
            for table in TABLES:
                copies = list(_renamed(table, rows[table.name], new))
                for start in range(0, len(copies), BATCH):
                    connection.execute(insert(table), copies[start : start + BATCH])


def _renamed(table: Table, rows: Sequence[Row], new: Mapping[str, str]) -> Iterator[Row]:
    for row in rows:
        # The database computes these itself.
        copy = {k: v for k, v in row.items() if table.c[k].computed is None}
        for key in ("id", "job_id", "image_id"):
            if key in copy:
                copy[key] = new[copy[key]]
        if "sha256" in copy:  # equal ones would share an entry of the index
            copy["sha256"] = (new_id() + new_id())[:64]
        yield copy


def _size(engine: Engine) -> int:
    """Bytes of the whole database, after what a server does by itself in its idle time."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            return int(pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    alone = create_engine(engine.url, isolation_level="AUTOCOMMIT")
    with alone.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
        found = connection.execute(text("SELECT pg_database_size(current_database())"))
        size = int(found.scalar_one())
    alone.dispose()
    return size
