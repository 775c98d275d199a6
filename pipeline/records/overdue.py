"""What is overdue: claims that ran out, nudges that got lost, and what an operator sends again."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine, Row, Select, func, select, update

from pipeline import metrics
from pipeline.db import now_s, read, write
from pipeline.flow import PREPARE, Step, quarantine
from pipeline.records.claims import ending
from pipeline.records.intake import Nudge, announce
from pipeline.states import State
from pipeline.tables import images, outbox, stage_runs

_Due = Row[tuple[str, str, int, int, float, str | None]]

LOST_AFTER_S = 3600.0
"""A row that waits longer is sent again even though its line never drains."""

SCAN_ROWS = 5_000
"""Most rows that one scan looks at, so that a scan's transaction stays short."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one scan found and did."""

    nudges: list[Nudge]
    resent: int
    quarantined: int
    waiting: int
    """Overdue rows left alone, since messages still wait in their line."""


def scan(
    engine: Engine,
    lease_s: float,
    cap: int,
    chunk_size: int,
    is_drained: Callable[[str, int], bool],
) -> Scan:
    """Send again what is overdue and quarantine what failed too often, in one commit.

    A row whose claim ran out, or whose attempt failed, goes alone. A row that nobody claimed goes
    in a chunk, and only when `is_drained(stage, priority)`: as long as messages wait in its line,
    its own is most likely among them.
    """
    lines = {line: is_drained(*line) for line in _lines(engine)}

    def work(connection: Connection) -> tuple[Scan, list[Step]]:
        now = connection.execute(select(now_s())).scalar_one()
        alone: list[tuple[str, int, str]] = []
        together: dict[tuple[str, int], list[str]] = defaultdict(list)
        waiting: list[str] = []
        given_up: list[Step] = []
        for row in _due(connection, now):
            if row.attempts >= cap:
                given_up.append(_quarantine(connection, row, now))
            elif row.attempts > 0:
                alone.append((row.stage, row.priority, row.id))
            elif lines.get((row.stage, row.priority), True) or row.queued_at < now - LOST_AFTER_S:
                together[row.stage, row.priority].append(row.id)
            else:
                waiting.append(row.id)
        nudges = announce(connection, together, chunk_size)
        for stage, priority, image_id in alone:
            nudges += announce(connection, {(stage, priority): [image_id]}, 1)
        again = [image_id for nudge in nudges for image_id in nudge.image_ids]
        _postpone(connection, [*again, *waiting], now + lease_s)
        return Scan(nudges, len(again), len(given_up), len(waiting)), given_up

    found, given_up = write(engine, work)
    metrics.ended((step.state, step.reason_code) for step in given_up)
    return found


def unsent(engine: Engine, older_than_s: float, hold_s: float, limit: int = 200) -> list[Nudge]:
    """Signatures in the outbox that are due; nobody else gets them for `hold_s` seconds."""

    def work(connection: Connection) -> list[Nudge]:
        due = (
            select(outbox)
            .where(outbox.c.due_at < now_s() - older_than_s)
            .order_by(outbox.c.priority, outbox.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = connection.execute(due).all()
        ids = [row.id for row in rows]
        connection.execute(
            update(outbox).where(outbox.c.id.in_(ids)).values(due_at=now_s() + hold_s)
        )
        return [Nudge(row.id, row.stage, row.priority, row.image_ids) for row in rows]

    return write(engine, work)


def is_congested(engine: Engine, older_than_s: float) -> bool:
    """Whether signatures wait in the outbox that should have been sent by now."""
    query = select(outbox.c.id).where(outbox.c.created_at < now_s() - older_than_s).limit(1)
    return read(engine, lambda connection: connection.execute(query).first() is not None)


def requeue(
    engine: Engine,
    stage: str,
    state: State,
    finished_before: float,
    chunk_size: int,
    lease_s: float,
    rows: int = SCAN_ROWS,
) -> Iterator[list[Nudge]]:
    """Open images again that `stage` has answered, so that the version now running answers too.

    `state` is that of an image in front of the stage. Results that are there stay: a new version
    adds its own. Walks through all images, `rows` a commit; nudges come commit by commit.
    """

    def work(connection: Connection, after: str, last: str) -> list[Nudge]:
        waiting: dict[tuple[str, int], list[str]] = defaultdict(list)
        # Waits for rows that somebody holds, since each is come by only once.
        passed = _passed(stage, finished_before, after, last).with_for_update()
        for image_id, priority in connection.execute(passed):
            waiting[stage, priority].append(image_id)
        reopen(connection, waiting, state, lease_s)
        return announce(connection, waiting, chunk_size)

    after = ""
    while last := _end_of(engine, after, rows):
        if nudges := write(engine, partial(work, after=after, last=last)):
            yield nudges
        after = last


def _end_of(engine: Engine, after: str, rows: int) -> str | None:
    """The last of at most `rows` ids behind the id `after`."""
    some = select(images.c.id).where(images.c.id > after).order_by(images.c.id).limit(rows)
    last = select(func.max(some.subquery().c.id))
    found: str | None = read(engine, lambda connection: connection.execute(last).scalar_one())
    return found


def _passed(stage: str, finished_before: float, after: str, last: str) -> Select[str, int]:
    """The images from behind `after` to `last` that have ended and that `stage` has answered."""
    runs = stage_runs.c
    # Both tables by the same range of ids: their primary keys bound what is read.
    answered = select(runs.image_id).where(
        runs.image_id > after, runs.image_id <= last, runs.stage == stage
    )
    passed = images.c.original.is_not(None) if stage == PREPARE else images.c.id.in_(answered)
    return (
        select(images.c.id, images.c.priority)
        .where(images.c.id > after, images.c.id <= last)
        .where(images.c.stage.is_(None), images.c.finished_at < finished_before, passed)
        .order_by(images.c.id)
    )


def reopen(
    connection: Connection,
    waiting: dict[tuple[str, int], list[str]],
    state: State,
    lease_s: float,
) -> None:
    """Put images that had ended back in front of a stage, with a clean count of attempts."""
    for (stage, _), ids in waiting.items():
        connection.execute(
            update(images)
            .where(images.c.id.in_(ids))
            .values(
                state=state,
                stage=stage,
                attempts=0,
                token=images.c.token + 1,
                lease_until=None,
                reason_code=None,
                reason=None,
                stopped_at=None,
                finished_at=None,
                queued_at=now_s(),
                due_at=now_s() + lease_s,
            )
        )


def _lines(engine: Engine) -> list[tuple[str, int]]:
    query = select(images.c.stage, images.c.priority).distinct()
    query = query.where(images.c.stage.is_not(None), images.c.due_at < now_s())
    rows = read(engine, lambda connection: connection.execute(query).all())
    return [(row.stage, row.priority) for row in rows]


def _due(connection: Connection, now: float) -> list[_Due]:
    query = (
        select(
            images.c.id,
            images.c.stage,
            images.c.priority,
            images.c.attempts,
            images.c.queued_at,
            images.c.last_error,
        )
        .where(images.c.stage.is_not(None), images.c.due_at < now)
        .order_by(images.c.priority, images.c.due_at)
        .limit(SCAN_ROWS)
        .with_for_update(skip_locked=True)
    )
    return list(connection.execute(query))


def _quarantine(connection: Connection, row: _Due, now: float) -> Step:
    step = quarantine(row.attempts, row.last_error)
    # A new token: whoever still works on it may not write any more.
    change = ending(step, now) | {"token": images.c.token + 1, "stopped_at": row.stage}
    connection.execute(update(images).where(images.c.id == row.id).values(**change))
    return step


def _postpone(connection: Connection, ids: list[str], due_at: float) -> None:
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        connection.execute(update(images).where(images.c.id.in_(some)).values(due_at=due_at))
