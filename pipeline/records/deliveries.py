"""The record of results on their way: what is to be sent, who sends it now, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.db import now_s, read, write
from pipeline.tables import deliveries, delivery_plans, images, jobs


class Delivered(StrEnum):
    """Where a result is on its way."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Held:
    """One delivery in a sender's hand: nobody else sends it before the lease ends."""

    sop_instance_uid: str
    job_id: str
    attempts: int


def unplanned(engine: Engine, max_age_s: float, limit: int = 100) -> list[str]:
    """Study jobs that are closed and ended, and whose results nobody has planned, oldest first.

    A job that was closed longer ago than `max_age_s` is left alone: whoever sets a destination
    does not mean all that ever came.
    """
    working = exists().where(images.c.job_id == jobs.c.id, images.c.stage.is_not(None))
    # Asked of each of the few jobs: as NOT EXISTS, PostgreSQL may read all plans that ever were.
    of_job = select(delivery_plans.c.job_id).where(delivery_plans.c.job_id == jobs.c.id)
    planned = of_job.limit(1).scalar_subquery()
    query = (
        select(jobs.c.id)
        .where(
            jobs.c.study_instance_uid.is_not(None),
            jobs.c.closed_at > now_s() - max_age_s,
            ~working,
            planned.is_(None),
        )
        .order_by(jobs.c.closed_at)
        .limit(limit)
    )
    return read(engine, lambda connection: list(connection.execute(query).scalars()))


def plan(engine: Engine, job_id: str, uids: Sequence[str], destination: str) -> bool:
    """Note that these instances of a job are to be sent; False: another sender was first."""

    def work(connection: Connection) -> bool:
        note = _insert(connection)(delivery_plans).values(job_id=job_id, planned_at=now_s())
        if connection.execute(note.on_conflict_do_nothing()).rowcount == 0:
            return False
        _add(connection, job_id, uids, destination)
        return True

    return write(engine, work)


def plan_again(engine: Engine, job_id: str, uids: Sequence[str], destination: str) -> int:
    """Send these instances of a job, those that failed anew and those delivered not; how many."""

    def work(connection: Connection) -> int:
        note = _insert(connection)(delivery_plans).values(job_id=job_id, planned_at=now_s())
        connection.execute(note.on_conflict_do_nothing())
        _add(connection, job_id, uids, destination)
        anew = update(deliveries).where(
            deliveries.c.job_id == job_id, deliveries.c.state == Delivered.FAILED
        )
        anew = anew.where(deliveries.c.sop_instance_uid.in_(uids))
        connection.execute(anew.values(state=Delivered.WAITING, attempts=0, due_at=now_s()))
        waiting = select(func.count()).select_from(deliveries)
        waiting = waiting.where(
            deliveries.c.job_id == job_id, deliveries.c.state == Delivered.WAITING
        )
        return int(connection.execute(waiting).scalar_one())

    return write(engine, work)


def claim(engine: Engine, destination: str, lease_s: float, limit: int = 50) -> list[Held]:
    """Take due deliveries of one job, the one that waited longest; the attempt counts from now."""

    def work(connection: Connection) -> list[Held]:
        # A job that another sender has in hand at this moment is passed over, not waited for.
        due = select(deliveries.c.job_id).where(*_due()).order_by(deliveries.c.due_at).limit(1)
        free = due.with_for_update(skip_locked=True)
        job_id = connection.execute(free).scalar_one_or_none()
        if job_id is None:
            return []
        some = (
            select(deliveries.c.sop_instance_uid)
            .where(*_due(), deliveries.c.job_id == job_id)
            .order_by(deliveries.c.sop_instance_uid)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        take = (
            update(deliveries)
            .where(deliveries.c.sop_instance_uid.in_(some))
            .values(
                attempts=deliveries.c.attempts + 1,
                due_at=now_s() + lease_s,
                destination=destination,
            )
            .returning(deliveries.c.sop_instance_uid, deliveries.c.job_id, deliveries.c.attempts)
        )
        return [Held(*row) for row in connection.execute(take)]

    return write(engine, work)


def renew(engine: Engine, held: Sequence[Held], lease_s: float) -> None:
    """Hold on to what is still to be sent."""
    for one in held:
        _change(engine, one, {"due_at": now_s() + lease_s})


def delivered(engine: Engine, one: Held) -> None:
    """The destination has it."""
    values = {"state": Delivered.DELIVERED, "delivered_at": now_s(), "last_error": None}
    _change(engine, one, values)


def put_off(engine: Engine, one: Held, error: str, pause_s: float | None) -> None:
    """It did not work: again after `pause_s` seconds, or never (None). No words of patients."""
    values: dict[str, Any] = {"last_error": error}
    if pause_s is None:
        values["state"] = Delivered.FAILED
    else:
        values["due_at"] = now_s() + pause_s
    _change(engine, one, values)


def give_back(engine: Engine, held: Sequence[Held]) -> None:
    """Nobody tried: the attempt does not count, and whoever comes next may send."""
    for one in held:
        _change(engine, one, {"attempts": one.attempts - 1, "due_at": now_s()})


def counts(engine: Engine) -> dict[Delivered, int]:
    """Results per state."""
    query = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
    return read(
        engine, lambda connection: {Delivered(s): n for s, n in connection.execute(query).all()}
    )


def of_job(engine: Engine, job_id: str) -> list[dict[str, Any]]:
    """The rows of a job by UID."""
    query = select(deliveries).where(deliveries.c.job_id == job_id)
    query = query.order_by(deliveries.c.sop_instance_uid)
    return read(
        engine, lambda connection: [dict(row) for row in connection.execute(query).mappings()]
    )


def _due() -> tuple[Any, ...]:
    return deliveries.c.state == Delivered.WAITING, deliveries.c.due_at <= now_s()


def _change(engine: Engine, one: Held, values: dict[str, Any]) -> None:
    # The number of the attempt is the fence: a claim that was taken over changes nothing.
    query = update(deliveries).where(
        deliveries.c.sop_instance_uid == one.sop_instance_uid,
        deliveries.c.attempts == one.attempts,
        deliveries.c.state == Delivered.WAITING,
    )
    write(engine, lambda connection: connection.execute(query.values(**values)))


def _add(connection: Connection, job_id: str, uids: Sequence[str], destination: str) -> None:
    rows = [{"sop_instance_uid": uid, "job_id": job_id, "destination": destination} for uid in uids]
    if rows:
        add = _insert(connection)(deliveries).values(
            state=Delivered.WAITING, attempts=0, due_at=now_s()
        )
        connection.execute(add.on_conflict_do_nothing(), rows)


def _insert(connection: Connection) -> Any:
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
