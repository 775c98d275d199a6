"""What comes in: jobs, images and the outbox row that announces them, in one commit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Integer,
    Select,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from pipeline import metrics
from pipeline.db import now_s, read, write
from pipeline.records.among import Texts, among
from pipeline.records.statement import Statement
from pipeline.records.studies import touch
from pipeline.states import Priority, State
from pipeline.tables import images, jobs, outbox
from pipeline.uid import new_id

LONGEST_KEY = 1024
"""Bytes of a `once_key` that are kept as they are; of a longer one its hash is."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One submitted file, stored or refused at the door."""

    id: str
    name: str
    once_key: str | None = None
    sha256: str | None = None
    size_bytes: int = 0
    original: str | None = None
    reason_code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Nudge:
    """A signature to send: these images wait for this stage."""

    id: str
    stage: str
    priority: int
    image_ids: list[str]


def open_job(engine: Engine, source: str, priority: Priority, job_id: str | None = None) -> str:
    """Make a job and return its id; one of this id that is there already stays as it is."""
    job_id = job_id or new_id()

    def work(connection: Connection) -> str:
        # Ours may be there: committed, and the server's answer to that got lost.
        if connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() is None:
            connection.execute(
                insert(jobs).values(id=job_id, source=source, priority=priority, created_at=now_s())
            )
        return job_id

    return write(engine, work)


def close_job(engine: Engine, job_id: str) -> None:
    """Say that no more images will be added."""
    write(
        engine,
        lambda connection: connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.closed_at.is_(None))
            .values(closed_at=now_s())
        ),
    )


def admit(
    engine: Engine,
    job_id: str,
    arrivals: Sequence[Arrival],
    first_stage: str,
    chunk_size: int,
    lease_s: float,
) -> tuple[set[str], list[Nudge]]:
    """Commit arrivals and what announces them; returns the ids taken in and what to send.

    An arrival whose `once_key` the job has already is left out (a resumed walk). Raises JobClosed
    for the job of a study that was closed meanwhile.
    """
    tries = count()

    def work(connection: Connection) -> tuple[set[str], list[Nudge]]:
        if next(tries) and (committed := _committed(connection, arrivals)):
            return committed, []  # the outbox has what announces them
        priority, study_uid = connection.execute(_job_of(job_id, arrivals)).one()
        if study_uid is not None:
            touch(connection, job_id)
        fresh = _not_yet_in(connection, job_id, arrivals)
        if not fresh:
            return set(), []
        now = connection.execute(select(now_s())).scalar_one()
        rows = [_row(arrival, job_id, priority, first_stage, now, lease_s) for arrival in fresh]
        connection.execute(insert(images), rows)
        waiting = [arrival.id for arrival in fresh if arrival.reason_code is None]
        nudges = announce(connection, {(first_stage, priority): waiting}, chunk_size)
        return {arrival.id for arrival in fresh}, nudges

    taken, nudges = write(engine, work)
    metrics.admitted(len(taken))
    refused = [arrival for arrival in arrivals if arrival.id in taken and arrival.reason_code]
    metrics.ended((State.REJECTED, arrival.reason_code) for arrival in refused)
    return taken, nudges


def announce(
    connection: Connection, waiting: dict[tuple[str, int], list[str]], chunk_size: int
) -> list[Nudge]:
    """Write outbox rows, in the caller's transaction, for ids grouped by (stage, priority)."""
    nudges = [
        Nudge(new_id(), stage, priority, ids[start : start + chunk_size])
        for (stage, priority), ids in waiting.items()
        for start in range(0, len(ids), chunk_size)
    ]
    if nudges:
        rows = [
            {"id": n.id, "stage": n.stage, "priority": n.priority, "image_ids": n.image_ids}
            for n in nudges
        ]
        _ANNOUNCE.run(connection, _ANNOUNCE.encode(connection.dialect, rows))
    return nudges


def sent(engine: Engine, nudge_ids: Iterable[str]) -> None:
    """Take signatures that were sent out of the outbox."""
    ids = list(nudge_ids)
    if ids:
        write(engine, lambda connection: _SENT.once(connection, ids=ids), single=True)


def known_keys(engine: Engine, job_id: str, keys: Sequence[str]) -> set[str]:
    """Which of these `once_key`s the job has already."""
    return read(engine, lambda connection: _known(connection, job_id, keys))


def stored_originals(engine: Engine, digests: Sequence[str]) -> dict[str, str]:
    """Object references of the originals with these sha256 that are stored already."""
    query = select(images.c.sha256, func.min(images.c.original)).group_by(images.c.sha256)
    query = query.where(among(images.c.sha256, digests), images.c.original.is_not(None))
    return read(engine, lambda connection: {row[0]: row[1] for row in connection.execute(query)})


def in_flight(engine: Engine, ids: Sequence[str]) -> int:
    """How many of these images are not terminal yet."""
    query = select(func.count()).select_from(images)
    query = query.where(among(images.c.id, ids), images.c.stage.is_not(None))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _committed(connection: Connection, arrivals: Sequence[Arrival]) -> set[str]:
    # Of an earlier try: the server committed, and its answer got lost.
    query = select(images.c.id).where(among(images.c.id, [arrival.id for arrival in arrivals]))
    return set(connection.execute(query).scalars())


def _job_of(job_id: str, arrivals: Sequence[Arrival]) -> Select[int, str | None]:
    query = select(jobs.c.priority, jobs.c.study_instance_uid).where(jobs.c.id == job_id)
    if all(arrival.once_key is None for arrival in arrivals):
        return query
    # One at a time asks which keys the job has and adds the others. SQLite writes so anyway.
    return query.with_for_update(key_share=True)


def _kept(key: str) -> str:
    """A key as its column has it: an entry of PostgreSQL's index has 2,704 bytes at most."""
    raw = key.encode()
    return key if len(raw) <= LONGEST_KEY else f"sha256:{sha256(raw).hexdigest()}"


def _known(connection: Connection, job_id: str, keys: Sequence[str]) -> set[str]:
    kept = {_kept(key): key for key in keys}
    query = select(images.c.once_key).where(
        images.c.job_id == job_id, among(images.c.once_key, kept)
    )
    return {kept[key] for key in connection.execute(query).scalars() if key is not None}


def _not_yet_in(connection: Connection, job_id: str, arrivals: Sequence[Arrival]) -> list[Arrival]:
    keys = [arrival.once_key for arrival in arrivals if arrival.once_key is not None]
    known = _known(connection, job_id, keys) if keys else set()
    return [arrival for arrival in arrivals if arrival.once_key not in known]


def _row(
    arrival: Arrival, job_id: str, priority: int, stage: str, now: float, lease_s: float
) -> dict[str, Any]:
    refused = arrival.reason_code is not None
    return {
        "id": arrival.id,
        "job_id": job_id,
        "name": arrival.name,
        "once_key": None if arrival.once_key is None else _kept(arrival.once_key),
        "sha256": arrival.sha256,
        "size_bytes": arrival.size_bytes,
        "original": arrival.original,
        "priority": priority,
        "state": State.REJECTED if refused else State.RECEIVED,
        "stage": None if refused else stage,
        "reason_code": arrival.reason_code,
        "reason": arrival.reason,
        "attempts": 0,
        "created_at": now,
        "queued_at": None if refused else now,
        "due_at": None if refused else now + lease_s,
        "finished_at": now if refused else None,
    }


_ANNOUNCE = Statement(
    lambda _: insert(outbox).values(
        id=bindparam("id", type_=Text),
        stage=bindparam("stage", type_=Text),
        priority=bindparam("priority", type_=Integer),
        image_ids=bindparam("image_ids", type_=JSON),
        created_at=now_s(),
        due_at=now_s(),
    )
)
_SENT = Statement(
    lambda _: delete(outbox).where(among(outbox.c.id, bindparam("ids", type_=Texts())))
)
