"""Real servers for one run, and what each of them counted and used up."""

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from pipeline import db
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from tests.faults.servers import Postgres, Server, Valkey, Weed, free_port

DATABASE = "scaling"
WRITES = ("tup_inserted", "tup_updated", "tup_deleted")


class MeteredWeed(Weed):
    """The object storage with its own counters on a port."""

    def __init__(self, folder: Path) -> None:
        """Choose one port more."""
        super().__init__(folder)
        self._metrics_port = free_port()

    def command(self) -> list[str]:
        """As ever, and the counters."""
        return [*super().command(), f"-metricsPort={self._metrics_port}", "-metricsIp=127.0.0.1"]

    def requests(self) -> dict[str, float]:
        """S3 requests since its start, by their method: PUT, GET …"""
        address = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        found: dict[str, float] = {}
        for family in families:
            for sample in family.samples:
                if sample.name == "SeaweedFS_s3_request_total":
                    kind = sample.labels["type"]
                    found[kind] = found.get(kind, 0.0) + sample.value
        return found


@dataclass(frozen=True, slots=True)
class Counters:
    """What the servers have counted and used since they began."""

    s3_requests: dict[str, float]
    broker_messages: float
    """Signatures that were put into a line."""
    broker_commands: float
    """All commands, events and looks into empty lines among them."""
    row_writes: float
    commits: float
    wal_bytes: float
    cpu_s: dict[str, float]
    """By server."""

    def __sub__(self, other: "Counters") -> "Counters":
        """What was counted since the other; never below zero, which only an idle time can cause."""
        return self._with(other, lambda ours, theirs: max(0.0, ours - theirs))

    def __mul__(self, factor: float) -> "Counters":
        """The same for so many times the images, or seconds."""
        return self._with(self, lambda ours, _: ours * factor)

    def _with(self, other: "Counters", how: Callable[[float, float], float]) -> "Counters":
        made: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            ours, theirs = getattr(self, name), getattr(other, name)
            if isinstance(ours, dict):
                made[name] = {key: how(ours[key], theirs.get(key, 0.0)) for key in ours}
            else:
                made[name] = how(ours, theirs)
        return Counters(**made)


@dataclass(frozen=True, slots=True)
class Servers:
    """Broker, storage and database, and the settings that reach them."""

    broker: Valkey
    storage: MeteredWeed
    database: Postgres
    settings: Settings

    def counters(self) -> Counters:
        """Look once. PostgreSQL tells what sessions counted when they have ended."""
        commands = self.broker.info("commandstats")
        calls = {name: float(told["calls"]) for name, told in _told(commands)}
        rows = self._rows()
        used = {"broker": self.broker, "storage": self.storage, "database": self.database}
        return Counters(
            self.storage.requests(),
            calls.get("cmdstat_lpush", 0.0),
            sum(calls.values()),
            sum(float(rows[name]) for name in WRITES),
            float(rows["xact_commit"]),
            float(rows["wal"]),
            {name: cpu_of(server) for name, server in used.items()},
        )

    def _rows(self) -> dict[str, Any]:
        db.engine(self.settings).dispose()  # our own sessions tell, too
        query = "SELECT *, pg_current_wal_lsn() - '0/0'::pg_lsn AS wal FROM pg_stat_database"
        with db.engine(self.settings).connect() as connection:
            found = connection.execute(text(f"{query} WHERE datname = :name"), {"name": DATABASE})
            return dict(found.mappings().one())


def _told(commands: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from ((name, told) for name, told in commands.items() if isinstance(told, dict))


def cpu_of(server: Server) -> float:
    """CPU seconds of a server and all that it forked."""
    assert server.process is not None
    return cpu_of_tree(server.process.pid)


def cpu_of_tree(pid: int) -> float:
    """CPU seconds, user and system, of a process, its children and those that ended."""
    root = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in (root, *root.children(recursive=True)))


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Start all three, with a bucket and tables; end them."""
    broker = Valkey(folder / "broker", durable=False)
    storage = MeteredWeed(folder / "storage")
    database = Postgres(folder / "database")
    started: list[Server] = []
    try:
        for server in (broker, storage, database):
            started.append(server)
            server.start()
        settings = Settings(
            data_dir=folder,
            broker_url=broker.url,
            database_url=database.database(DATABASE),
            # The deadline of a publish is for outages; here one call sends hundreds of messages.
            publish_timeout_s=60.0,
            model_threads=1,
            **storage.values(),
        )
        patient = settings.model_copy(update={"s3_patience_s": 60.0, "s3_attempts": 100})
        store = ObjectStore(patient)
        store.ensure_bucket()
        store.put_pack("warm-up", [b"first"])
        db.upgrade(settings)
        yield Servers(broker, storage, database, settings)
        db.engine(settings).dispose()
    finally:
        for server in reversed(started):
            server.kill()
