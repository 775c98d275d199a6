"""What was found: jobs with their counts, images with what each stage said of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, select, tuple_

from pipeline.db import now_s
from pipeline.states import TERMINAL, State
from pipeline.tables import findings, images, jobs, outbox, stage_runs


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and how far it is."""

    id: str
    source: str
    priority: int
    created_at: float
    closed_at: float | None
    counts: dict[State, int]
    study_instance_uid: str | None = None
    peer: str | None = None
    last_arrival_at: float | None = None

    @property
    def total(self) -> int:
        """Images accepted so far."""
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        """Images in a terminal state."""
        return sum(count for state, count in self.counts.items() if state in TERMINAL)


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding as stored; `heatmap` and `raw_map` are object references."""

    label: str
    score: float
    threshold: float
    positive: bool
    experimental: bool
    heatmap: str | None
    raw_map: str | None


@dataclass(frozen=True, slots=True)
class RunView:
    """What one model version said of an image."""

    stage: str
    model_version: str
    answer: str | None
    scores: dict[str, float]
    operating_point: str
    wait_ms: float
    compute_ms: float
    created_at: float
    findings: tuple[FindingView, ...]
    rules: dict[str, dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image with every run, oldest first; `row` holds the columns of `tables.Image`."""

    row: RowMapping
    runs: tuple[RunView, ...]

    def run(self, stage: str) -> RunView | None:
        """The newest run of a stage, if it ran."""
        return next((run for run in reversed(self.runs) if run.stage == stage), None)


def job(engine: Engine, job_id: str) -> JobView | None:
    """A job with its counts per state, or None."""
    with engine.connect() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            return None
        return JobView(**row, counts=counts(connection, job_id))


def counts(connection: Connection, job_id: str | None = None) -> dict[State, int]:
    """Images per state, of one job or of all."""
    query = select(images.c.state, func.count()).group_by(images.c.state)
    if job_id is not None:
        query = query.where(images.c.job_id == job_id)
    return {State(state): count for state, count in connection.execute(query)}


def image(engine: Engine, image_id: str) -> ImageView | None:
    """One image, or None."""
    with engine.connect() as connection:
        rows = connection.execute(select(images).where(images.c.id == image_id)).mappings().all()
        return next(iter(views(connection, rows)), None)


def page(
    engine: Engine, job_id: str, after: str | None = None, limit: int = 100
) -> list[ImageView]:
    """Images of a job in order of id, from behind the id `after`."""
    # As a range of pairs, which the index of jobs and ids alone serves. With `job_id = …`,
    # PostgreSQL may walk all ids from the first on until it meets a large job's.
    pair, begin = tuple_(images.c.job_id, images.c.id), tuple_(job_id, after or "")
    query = select(images).where(pair > begin, images.c.job_id <= job_id)
    query = query.order_by(images.c.job_id, images.c.id).limit(limit)
    with engine.connect() as connection:
        return views(connection, connection.execute(query).mappings().all())


def pages(engine: Engine, job_id: str, limit: int = 500) -> Iterator[list[ImageView]]:
    """All images of a job, page by page, in constant memory."""
    after: str | None = None
    while views := page(engine, job_id, after, limit):
        yield views
        after = views[-1].row["id"]


def waiting(engine: Engine) -> dict[str, tuple[int, float]]:
    """Per stage: images that wait or are worked on, and the age of the oldest in seconds."""
    query = (
        select(images.c.stage, func.count(), func.max(now_s() - images.c.queued_at))
        .where(images.c.stage.is_not(None))
        .group_by(images.c.stage)
    )
    with engine.connect() as connection:
        return {stage: (count, age) for stage, count, age in connection.execute(query)}


def ping(engine: Engine) -> None:
    """Ask for a row that is not there: whether the database answers, and has our tables."""
    with engine.connect() as connection:
        connection.execute(select(outbox.c.id).where(outbox.c.id == "")).first()


def unsent(engine: Engine) -> int:
    """Signatures that still have to be sent: counts them all, for people."""
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(outbox)).scalar_one())


def views(connection: Connection, rows: Sequence[RowMapping]) -> list[ImageView]:
    """Rows of `images` with their runs and findings."""
    ids = [row["id"] for row in rows]
    found: dict[tuple[str, str, str], list[FindingView]] = defaultdict(list)
    for finding in _of(connection, findings, ids):
        key = (finding.pop("image_id"), finding.pop("stage"), finding.pop("model_version"))
        found[key].append(FindingView(**finding))
    ran: dict[str, list[RunView]] = defaultdict(list)
    for run in _of(connection, stage_runs, ids):
        image_id = run.pop("image_id")
        run.pop("worker")
        shown = found[image_id, run["stage"], run["model_version"]]
        shown.sort(key=lambda finding: -finding.score)
        ran[image_id].append(RunView(**run, findings=tuple(shown)))
    for runs in ran.values():
        runs.sort(key=lambda run: run.created_at)
    return [ImageView(row, tuple(ran[row["id"]])) for row in rows]


def _of(connection: Connection, table: Any, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    query = select(table).where(table.c.image_id.in_(ids))
    return (dict(row) for row in connection.execute(query).mappings())
