"""An installation under test: real broker, storage and database, and real worker processes."""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text

from pipeline import db
from pipeline.context import Context
from pipeline.ingest import Accepted, Source, accept
from pipeline.records import intake, results
from pipeline.records.results import ImageView
from pipeline.settings import Settings
from pipeline.states import TERMINAL, Priority, State
from pipeline.tables import images, jobs, stage_runs
from pipeline.verify import violations
from tests.faults import ledger
from tests.faults.pictures import PATIENT, Told, expected, number_of, source, told
from tests.faults.servers import Valkey, Weed, wait_until
from tests.faults.worker_process import Worker

LEASE_S = 4.0
SCAN_S = 0.5
STAGES = (("prepare",), ("gate", "type", "chest"), ("reconcile",))
"""The usual processes: as few as do it, since each takes seconds to start."""

IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""

QUICK: dict[str, Any] = {
    "lease_s": LEASE_S,
    "scan_s": SCAN_S,
    "chunk_size": 8,
    "publish_timeout_s": 1.0,
    "s3_timeout_s": 2.0,
    "s3_patience_s": 2.5,
    "prepare_image_s": 2.0,
    "prepare_memory_bytes": 2**27,
    "drain_s": 10.0,
}


@dataclass
class Plant:
    """Servers, workers and what was accepted."""

    folder: Path
    valkey: Valkey
    weed: Weed
    overrides: dict[str, Any] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    accepted: dict[str, int | None] = field(default_factory=dict)
    """Ids of accepted images; the number of the picture where it is one of ours."""
    kept: set[str] = field(default_factory=set)
    """Names of workers that `tend` leaves alone when they die."""
    over_at: float = 0.0
    door: Context | None = None
    """Takes images in, where that is not this plant's own context."""
    variables: dict[str, str] = field(default_factory=dict)
    """Further environment variables of the workers."""

    def __post_init__(self) -> None:
        """Make the database."""
        place: dict[str, Any] = {"data_dir": self.folder, "broker_url": self.valkey.url}
        self.values: dict[str, Any] = place | self.weed.values() | QUICK | self.overrides
        # The tests themselves look past a faulty proxy.
        self.settings = Settings(**self.values | self.weed.values())
        db.upgrade(self.settings)
        self.context = Context.open(self.settings)

    def environment(self) -> dict[str, str]:
        """The environment of any process of this plant."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("XRAYTRIAGE_")}
        ours = {f"XRAYTRIAGE_{k.upper()}": str(v) for k, v in self.values.items()}
        return clean | self.variables | ours

    def start(
        self, *stages: str, name: str | None = None, threads: int | None = None, **stand_in: Any
    ) -> Worker:
        """Start one worker process; further keywords become its STAND_IN_… variables."""
        name = name or stages[0]
        environment = self.environment()
        ready = self.folder / f"{name}.ready"
        variables = {"ready": ready} | stand_in
        environment |= {f"STAND_IN_{key.upper()}": str(v) for key, v in variables.items()}
        arguments = list(stages)
        if stages != ("reconcile",):
            arguments += [f"--suffix=-{name}"]
        if stages == ("prepare",):
            arguments += ["--concurrency", "2"]
        elif threads is not None:
            arguments += ["--concurrency", str(threads)]
        worker = Worker(name, arguments, environment, self.folder / f"{name}.log", ready)
        self.workers[name] = worker
        worker.start()
        return worker

    def staff(self, stages: Iterable[tuple[str, ...]] = STAGES, **stand_in: Any) -> None:
        """Start several processes."""
        for names in stages:
            self.start(*names, **stand_in)

    def ready(self, *names: str) -> None:
        """Wait until these workers consume, or all of them."""
        chosen = [self.workers[name] for name in names or self.workers]

        def all_ready() -> bool:
            dead = [worker.name for worker in chosen if not worker.is_alive]
            assert not dead, f"{dead} ended"
            return all(worker.is_ready for worker in chosen)

        wait_until(all_ready, f"{[worker.name for worker in chosen]} consume")

    def tend(self) -> None:
        """Start what died again, as the supervisor of any installation does."""
        for worker in self.workers.values():
            if not worker.is_alive and worker.name not in self.kept:
                worker.start()

    def open_job(self, priority: Priority = Priority.ROUTINE) -> str:
        """A job for images of a test."""
        return intake.open_job(self.context.engine, "tests", priority)

    def submit(self, numbers: Iterable[int], job: str | None = None) -> list[str]:
        """Send pictures in; returns the ids of those accepted."""
        wanted = list(numbers)
        taken = list(self.take((source(number) for number in wanted), job))
        assert len(taken) == len(wanted)
        return [item.image_id for item in taken]

    def take(self, sources: Iterable[Source], job: str | None = None) -> Iterator[Accepted]:
        """Send any files in, and keep the books."""
        for item in accept(self.door or self.context, job or self.open_job(), sources):
            self.accepted[item.image_id] = number_of(item.name)
            yield item

    def states(self) -> dict[str, State]:
        """The state of every image there is."""
        with self.context.engine.connect() as connection:
            rows = connection.execute(select(images.c.id, images.c.state)).all()
        return {image_id: State(state) for image_id, state in rows}

    def finished(self) -> int:
        """Images in a terminal state."""
        return sum(state in TERMINAL for state in self.states().values())

    def is_settled(self) -> bool:
        """Whether every accepted image has ended; starts again what died."""
        self.tend()
        states = self.states()
        return all(states.get(image_id) in TERMINAL for image_id in self.accepted)

    def over(self) -> None:
        """The fault ends now; recovery is counted from here."""
        self.over_at = time.monotonic()

    def settle(
        self,
        fault: str,
        *,
        quarantined: int = 0,
        deadline_s: float = 120.0,
        answers: bool = True,
    ) -> None:
        """Wait for the last image, then check every promise and write the row of the table."""
        began = self.over_at or time.monotonic()
        try:
            wait_until(self.is_settled, "every accepted image has ended", deadline_s)
        finally:
            states = self.states()
            row = ledger.Row(
                fault,
                len(self.accepted),
                sum(states.get(image_id) not in TERMINAL for image_id in self.accepted),
                self.duplicated(),
                sum(state is State.QUARANTINED for state in states.values()),
                time.monotonic() - began,
            )
            ledger.ROWS.append(row)
        assert list(violations(self.context, settled=True)) == []
        assert set(states) == set(self.accepted), "I2, I6: what was accepted is what is there"
        assert (row.lost, row.duplicated, row.quarantined) == (0, 0, quarantined)
        for worker in self.workers.values():
            assert PATIENT not in worker.log.read_text(errors="replace"), "I8"
        if answers:
            self.check_answers()

    def check_answers(self) -> None:
        """I5: every answer is that of an undisturbed run."""
        views = self.views()
        wrong: dict[int, tuple[Told, Told]] = {}
        for image_id, number in self.accepted.items():
            if number is not None and told(views[image_id]) != expected(number):
                wrong[number] = (told(views[image_id]), expected(number))
        assert wrong == {}

    def views(self) -> dict[str, ImageView]:
        """Every image with its results."""
        with self.context.engine.connect() as connection:
            ids = list(connection.execute(select(jobs.c.id)).scalars())
        return {
            view.row["id"]: view
            for job_id in ids
            for page in results.pages(self.context.engine, job_id)
            for view in page
        }

    def duplicated(self) -> int:
        """Results beyond one for each image, stage and model version."""
        keys = (stage_runs.c.image_id, stage_runs.c.stage, stage_runs.c.model_version)
        query = select(func.count() - 1).select_from(stage_runs).group_by(*keys)
        query = query.having(func.count() > 1)
        with self.context.engine.connect() as connection:
            return sum(connection.execute(query).scalars())

    def held_by(self, worker: Worker) -> list[str]:
        """Images that a worker process, or a child of it, has in hand."""
        pids = {str(process.pid) for process in (worker.process, *worker.children()) if process}
        query = select(images.c.id, images.c.worker).where(images.c.lease_until.is_not(None))
        with self.context.engine.connect() as connection:
            rows = connection.execute(query).all()
        return [image_id for image_id, holder in rows if holder.rpartition(":")[2] in pids]

    def is_writable(self) -> bool:
        """Whether nobody sits on the write lock of SQLite, or in a transaction on PostgreSQL."""
        if self.settings.database_url is not None:
            with self.context.engine.connect() as connection:
                return int(connection.execute(text(IN_TRANSACTION)).scalar_one()) == 0
        with closing(sqlite3.connect(self.settings.sqlite_path, timeout=0.5)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.rollback()
        return True

    def logs(self) -> str:
        """The end of each worker's log, for a failed test."""
        return "\n".join(worker.last_words() for worker in self.workers.values())

    def rows(self) -> list[object]:
        """Every row of images and results, to be compared with a later look."""
        with self.context.engine.connect() as connection:
            tables = (images, stage_runs)
            return [tuple(row) for table in tables for row in connection.execute(select(table))]

    def close(self) -> None:
        """End everything that was started for this plant."""
        for worker in self.workers.values():
            worker.destroy()
        self.valkey.kill()
        self.context.engine.dispose()
