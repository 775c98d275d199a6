"""An installation on three hosts under test: what is sent to it, and who did what."""

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psutil
import redis
from sqlalchemy import func, select
from sqlalchemy import text as sql

from pipeline import db
from pipeline.context import Context
from pipeline.settings import Settings
from pipeline.states import TERMINAL
from pipeline.tables import images, stage_runs
from tests.faults.pictures import name_of, picture
from tests.faults.servers import wait_until
from tests.hosts.network import Hosts
from tests.integration.infra.containers import ROOT, Image

SERVERS, OURS = ("broker", "storage", "database"), ("migrate", "api", "reconcile")
WORKERS = {"worker-prepare": ("prepare",), "worker-gate": ("gate", "type", "chest")}
"""One process for all models: stand-ins need no more."""
HOMES = {"a": (*SERVERS, *OURS), "b": (), "c": ()}
QUICK = {
    "LEASE_S": 6.0,
    "SCAN_S": 0.5,
    "CHUNK_SIZE": 8,
    "S3_TIMEOUT_S": 2.0,
    "S3_PATIENCE_S": 4.0,
    "METRICS_PORT": 0,
}
"""Settings that differ from compose's: so that recovery takes seconds."""
SLOW_S = 0.04
"""For each image and stage: so that there is work in hand whenever somebody looks."""
BATCH = 32
START_S = 180.0


@dataclass(frozen=True, slots=True)
class Held:
    """An image in a worker's hand."""

    image_id: str
    stage: str
    token: int


class Crew:
    """Host a serves, hosts b and c work."""

    def __init__(
        self, services: Mapping[str, dict[str, Any]], images: Mapping[str, Image], folder: Path
    ) -> None:
        """`services` are compose's. Nothing is started yet."""
        kept = {name: dict(services[name]) for name in (*SERVERS, *OURS, *WORKERS)}
        quick = {f"XRAYTRIAGE_{name}": str(value) for name, value in QUICK.items()}
        for name in (*OURS, *WORKERS):
            kept[name]["environment"] = {**kept[name]["environment"], **quick}
        for service in kept.values():
            service.pop("depends_on", None)
        self.net = Hosts(HOMES, kept, images, folder)
        self.accepted: set[str] = set()
        self._open = ExitStack()
        self._next = 0
        self._freezer = "/tmp/frozen-once"

    def __enter__(self) -> "Crew":
        """Make the hosts; nothing runs on them yet."""
        self._open.enter_context(self.net)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything on all hosts."""
        self._open.close()

    def start(self) -> None:
        """Start servers, then what needs them, then the workers; all of them have worked once."""
        for name in SERVERS:
            self.net.run("a", name)
        self.context = Context.open(Settings(**self._reached()))
        self._open.callback(db.engine_of.cache_clear)
        self._open.callback(self.context.engine.dispose)
        wait_until(self._servers_answer, "the servers answer", START_S)
        code, said = self.net.ask("a", "migrate", self.net.services["migrate"]["command"])
        assert code == 0, said
        self.context.store.ensure_bucket()
        for name in ("api", "reconcile"):
            self.net.run("a", name)
        for host in ("b", "c"):
            self._staff(host)
        address = f"http://{self.net.address('api')}:8000"
        self.http = self._open.enter_context(httpx.Client(base_url=address, timeout=60.0))
        wait_until(self._api_answers, "the API answers", START_S)
        self.until_both_work()

    def _staff(self, host: str) -> None:
        # The mark makes it run on at a commit; without the mark it falls asleep there.
        stops = {"STAND_IN_STOP_AT": "before_commit", "STAND_IN_DIE_ONCE": self._freezer}
        assert self.net.ask(host, "worker-gate", ["touch", self._freezer])[0] == 0
        for service, stages in WORKERS.items():
            command = ["python", "-m", "tests.stand_in.worker", *stages, "--concurrency=2"]
            extra = stops if service == "worker-gate" else {}
            env = {"PYTHONPATH": str(ROOT), "STAND_IN_SLOW_S": str(SLOW_S), **extra}
            self.net.run(host, service, command, **env)

    def submit(self, count: int = BATCH) -> None:
        """Send so many images through the API, over the network."""
        numbers = range(self._next, self._next + count)
        self._next += count
        files = [("files", (name_of(number), picture(number))) for number in numbers]
        answer = self.http.post("/v1/jobs", files=files)
        answer.raise_for_status()
        taken = [image["id"] for image in answer.json()["images"]]
        assert len(taken) == count
        self.accepted.update(taken)

    def until_both_work(self, deadline_s: float = START_S) -> None:
        """Keep both hosts busy until each has written results newer than now, of each stage."""
        since = self.now()

        def both() -> bool:
            if self.unfinished() < BATCH:
                self.submit()
            wanted = {(host, stage) for host in "bc" for stage in ("gate", "type", "chest")}
            return wanted <= self.written(since).keys()

        wait_until(both, f"both hosts work; so far {self.written(since)}", deadline_s)

    def now(self) -> float:
        """The database's clock."""
        with self.context.engine.connect() as connection:
            return float(connection.execute(select(db.now_s())).scalar_one())

    def written(self, since: float = 0.0) -> dict[tuple[str, str], int]:
        """(host, stage) -> results that it wrote."""
        query = select(stage_runs.c.worker, stage_runs.c.stage, func.count()).where(
            stage_runs.c.created_at > since
        )
        found: dict[tuple[str, str], int] = {}
        with self.context.engine.connect() as connection:
            for worker, stage, n in connection.execute(query.group_by("worker", "stage")):
                key = (host_of(worker), stage)
                found[key] = found.get(key, 0) + n
        return found

    def by(self, host: str, since: float = 0.0) -> int:
        """Results that a host wrote."""
        return sum(n for (name, _), n in self.written(since).items() if name == host)

    def writers(self, ids: Sequence[str]) -> dict[tuple[str, str], str]:
        """(image, stage) -> the host that wrote that result."""
        query = select(stage_runs.c.image_id, stage_runs.c.stage, stage_runs.c.worker)
        with self.context.engine.connect() as connection:
            rows = connection.execute(query.where(stage_runs.c.image_id.in_(ids))).all()
        return {(image_id, stage): host_of(worker) for image_id, stage, worker in rows}

    def held_by(self, host: str) -> list[Held]:
        """What a host has in hand now."""
        query = select(images.c.id, images.c.stage, images.c.token, images.c.worker)
        query = query.where(images.c.lease_until > db.now_s())
        with self.context.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [Held(*row[:3]) for row in rows if host_of(row[3]) == host]

    def still_held(self, held: Iterable[Held]) -> list[Held]:
        """Those that neither moved on nor were taken by anybody else since."""
        with self.context.engine.connect() as connection:
            rows = connection.execute(select(images.c.id, images.c.stage, images.c.token)).all()
        now = {Held(*row) for row in rows}
        return [item for item in held if item in now]

    def unfinished(self) -> int:
        """Images that have not ended."""
        ended = [state.value for state in TERMINAL]
        query = select(func.count()).where(images.c.state.not_in(ended))
        with self.context.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def asleep_before_a_write(self, host: str) -> psutil.Process:
        """Make the models of a host fall asleep right before their next results are written."""
        assert self.net.ask(host, "worker-gate", ["rm", self._freezer])[0] == 0
        process = self.net.process(host, "worker-gate")

        def sleeps() -> bool:
            if self.unfinished() < BATCH:
                self.submit()
            return bool(process.status() == psutil.STATUS_STOPPED)

        wait_until(sleeps, f"{host} sleeps", START_S)
        return process

    def wake(self, process: psutil.Process) -> None:
        """Let it go on, one instruction before the write."""
        process.send_signal(signal.SIGCONT)

    def chunks(self, host: str) -> Iterator[dict[str, Any]]:
        """What the models of a host logged after each chunk."""
        for line in self.net.said(host, "worker-gate").splitlines():
            if '"chunk worked"' in line and line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                yield said

    def is_alive(self) -> bool:
        """Whether everything that was started still runs."""
        return all(program.poll() is None for program in self.net.programs.values())

    def forget_connections(self, host: str) -> None:
        """Broker and database drop a host's connections; what they say of it may get lost."""
        address = self.net.address(host)
        with redis.Redis.from_url(str(self.context.settings.broker_url)) as client:
            for one in client.client_list():
                if one["addr"].startswith(f"{address}:"):
                    client.client_kill_filter(_id=one["id"])
        ends = sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr=:a")
        with self.context.engine.begin() as connection:
            connection.execute(ends, {"a": address})

    def last_words(self) -> str:
        """The end of every log."""
        return "\n".join(
            f"--- {host} {service}\n" + "\n".join(self.net.said(host, service).splitlines()[-30:])
            for host, service in self.net.programs
        )

    def _reached(self) -> dict[str, str]:
        """Settings by which the tests themselves reach the servers."""
        found = {}
        for key, value in self.net.services["api"]["environment"].items():
            name = key.removeprefix("XRAYTRIAGE_").lower()
            if name.startswith(("broker", "database", "s3", "lease")):
                found[name] = self._with_addresses(value)
        return found

    def _with_addresses(self, text: str) -> str:
        for server in SERVERS:
            for before in ("@", "//"):
                reached = f"{before}{self.net.address(server)}:"
                text = text.replace(f"{before}{server}:", reached)
        return text

    def _servers_answer(self) -> bool:
        def database() -> None:
            with self.context.engine.connect() as connection:
                connection.execute(select(1))

        looks = (self.context.dispatcher.ping, self.context.store.ensure_bucket, database)
        return all(map(_works, looks))

    def _api_answers(self) -> bool:
        return _works(lambda: self.http.get("/readyz").raise_for_status())


def host_of(worker: str) -> str:
    """The host in a worker's name, which is stage@host#machine:pid."""
    return worker.partition("@")[2].partition("#")[0]


def _works(look: Callable[[], object]) -> bool:
    try:
        look()
    except Exception:
        return False
    return True
