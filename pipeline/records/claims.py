"""Who works on what: claims with a lease and a fencing token, and what they end in.

A claim counts the attempt before work starts. Everything a worker writes later is written only
where its token is still the row's: a worker that fell asleep past its lease changes nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, and_, bindparam, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline import metrics
from pipeline.db import now_s, read, write
from pipeline.flow import Step, quarantine
from pipeline.records import identities
from pipeline.records.among import among
from pipeline.records.intake import Nudge, announce
from pipeline.tables import findings, images, stage_runs


@dataclass(frozen=True, slots=True)
class Claim:
    """One image in a worker's hand."""

    image_id: str
    token: int
    attempts: int
    priority: int
    original: str | None
    prepared: str | None
    wait_ms: float
    job_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one claimed image: where it goes, and the rows that say why."""

    claim: Claim
    step: Step
    facts: dict[str, Any] = field(default_factory=dict)
    """Columns of `Image` that this stage learned."""
    run: dict[str, Any] | None = None
    """Columns of `StageRun`, without `image_id`."""
    findings: Sequence[dict[str, Any]] = ()
    """Columns of `Finding`, without what `run` says already."""
    sealed: bytes | None = None
    """Whose image it is, where the settings keep that; see `pipeline.identity`."""


def claim(
    engine: Engine, stage: str, ids: Sequence[str], lease_s: float, worker: str, cap: int
) -> list[Claim]:
    """Take those of `ids` that wait for `stage` and that nobody holds."""
    now = now_s()
    query = (
        update(images)
        .where(
            among(images.c.id, ids),
            images.c.stage == stage,
            (images.c.lease_until.is_(None)) | (images.c.lease_until < now),
            images.c.attempts < cap,
        )
        .values(
            token=images.c.token + 1,
            attempts=images.c.attempts + 1,
            lease_until=now + lease_s,
            due_at=now + lease_s,
            worker=worker,
        )
        .returning(
            images.c.id,
            images.c.token,
            images.c.attempts,
            images.c.priority,
            images.c.original,
            images.c.prepared,
            (now - images.c.queued_at) * 1000.0,
            images.c.job_id,
        )
    )
    return write(engine, lambda connection: [Claim(*row) for row in connection.execute(query)])


def renew(engine: Engine, claims: Sequence[Claim], lease_s: float) -> None:
    """Hold on to claims whose work goes on; one that was taken over stays taken."""
    query = update(images).where(_still_ours(claims), images.c.lease_until.is_not(None))
    query = query.values(lease_until=now_s() + lease_s, due_at=now_s() + lease_s)
    write(engine, lambda connection: connection.execute(query))


def complete(
    engine: Engine, stage: str, outcomes: Sequence[Outcome], chunk_size: int, lease_s: float
) -> list[Nudge]:
    """Write results, move the images on and announce what follows, in one commit."""

    def work(connection: Connection) -> tuple[list[Outcome], list[Nudge]]:
        ours = _lock_ours(connection, stage, [outcome.claim for outcome in outcomes])
        kept = [outcome for outcome in outcomes if outcome.claim.image_id in ours]
        if not kept:
            return [], []
        now = connection.execute(select(now_s())).scalar_one()
        _write_runs(connection, stage, kept, now)
        sealed = {o.claim.image_id: o.sealed for o in kept if o.sealed is not None}
        identities.put(connection, sealed)
        _move(connection, kept, now, lease_s)
        waiting: dict[tuple[str, int], list[str]] = defaultdict(list)
        for outcome in kept:
            if outcome.step.stage is not None:
                waiting[outcome.step.stage, outcome.claim.priority].append(outcome.claim.image_id)
        return kept, announce(connection, waiting, chunk_size)

    kept, nudges = write(engine, work)
    metrics.ended((o.step.state, o.step.reason_code) for o in kept if o.step.stage is None)
    return nudges


def fail(
    engine: Engine, stage: str, failures: Sequence[tuple[Claim, str]], cap: int, pause_s: float
) -> None:
    """Record failed attempts; the reconciler sends each again alone, after the cap nobody does."""

    def work(connection: Connection) -> list[Step]:
        ours = _lock_ours(connection, stage, [held for held, _ in failures])
        now = connection.execute(select(now_s())).scalar_one()
        given_up = []
        for held, error in failures:
            if held.image_id not in ours:
                continue
            change: dict[str, Any] = {"last_error": error, "lease_until": None}
            if held.attempts >= cap:
                given_up.append(quarantine(held.attempts, error))
                change |= ending(given_up[-1], now) | {"stopped_at": stage}
            else:
                change |= {"due_at": now + pause_s}
            connection.execute(update(images).where(images.c.id == held.image_id).values(**change))
        return given_up

    metrics.ended((step.state, step.reason_code) for step in write(engine, work))


def release(engine: Engine, claims: Sequence[Claim], pause_s: float, error: str) -> None:
    """Give claims back unharmed: the servers failed, not the images, so no attempt counts."""
    query = (
        update(images)
        .where(_still_ours(claims))
        .values(
            attempts=images.c.attempts - 1,
            lease_until=None,
            due_at=now_s() + pause_s,
            last_error=error,
        )
    )
    write(engine, lambda connection: connection.execute(query))


def holders(engine: Engine, lease_s: float) -> set[str]:
    """The worker processes that have images in hand, as they named themselves."""
    now = now_s()
    query = select(images.c.worker).where(
        images.c.stage.is_not(None),
        images.c.due_at.between(now, now + lease_s),  # so that the index bounds what is read
        images.c.lease_until > now,
    )
    names = read(engine, lambda connection: connection.execute(query.distinct()).scalars().all())
    return {name for name in names if name is not None}


def forsake(engine: Engine, workers: Collection[str]) -> int:
    """End the claims of processes that are known to be dead; returns how many. Attempts count."""
    query = update(images).where(
        images.c.stage.is_not(None),  # so that the index bounds what is read
        images.c.worker.in_(workers),
        images.c.lease_until.is_not(None),
    )
    query = query.values(lease_until=None, due_at=now_s())
    return write(engine, lambda connection: connection.execute(query).rowcount)


def ending(step: Step, now: float) -> dict[str, Any]:
    """Columns of an image that goes where `step` says, at database time `now`."""
    return {
        "state": step.state,
        "stage": step.stage,
        "reason_code": step.reason_code,
        "reason": step.reason,
        "lease_until": None,
        "due_at": None,
        "finished_at": now if step.stage is None else None,
    }


def _still_ours(claims: Sequence[Claim]) -> Any:
    pairs = [(held.image_id, held.token) for held in claims]
    # The ids once more by themselves: SQLite finds no row of an index by a list of pairs.
    ours = among(images.c.id, [held.image_id for held in claims])
    return and_(ours, tuple_(images.c.id, images.c.token).in_(pairs))


def _lock_ours(connection: Connection, stage: str, claims: Sequence[Claim]) -> set[str]:
    # The fence: rows that another claim has taken since have another token. On PostgreSQL the
    # rows are locked; on SQLite the write transaction is the lock.
    tokens = {held.image_id: held.token for held in claims}
    query = select(images.c.id, images.c.token).where(
        among(images.c.id, tokens), images.c.stage == stage
    )
    rows = connection.execute(query.order_by(images.c.id).with_for_update())
    return {image_id for image_id, token in rows if tokens[image_id] == token}


def _write_runs(
    connection: Connection, stage: str, outcomes: Sequence[Outcome], now: float
) -> None:
    keyed = [outcome for outcome in outcomes if outcome.run is not None]
    runs = [
        {"image_id": o.claim.image_id, "stage": stage, "created_at": now, **(o.run or {})}
        for o in keyed
    ]
    shown = [
        {
            "image_id": o.claim.image_id,
            "stage": stage,
            "model_version": (o.run or {})["model_version"],
            **finding,
        }
        for o in keyed
        for finding in o.findings
    ]
    # The same version has answered before (an operator sent the image again): that answer stands.
    for table, rows in ((stage_runs, runs), (findings, shown)):
        if rows:
            connection.execute(_insert(connection)(table).on_conflict_do_nothing(), rows)


def _insert(connection: Connection) -> Any:
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert


def _move(connection: Connection, outcomes: Sequence[Outcome], now: float, lease_s: float) -> None:
    # Most images of a chunk go the same way and learn the same: those take one statement
    # together. What differs from image to image (what `prepare` learns) goes in one executemany.
    alike: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for outcome in outcomes:
        change = ending(outcome.step, now) | outcome.facts | {"attempts": 0, "last_error": None}
        if outcome.step.stage is not None:
            change |= {"queued_at": now, "due_at": now + lease_s}
        alike.setdefault(repr(change), (change, []))[1].append(outcome.claim.image_id)
    batches: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for change, ids in alike.values():
        if len(ids) > 1:
            connection.execute(update(images).where(among(images.c.id, ids)).values(change))
        else:
            row = {"_id": ids[0], **change}
            batches[tuple(row)].append(row)
    for names, rows in batches.items():
        columns: dict[str, Any] = {name: bindparam(name) for name in names if name != "_id"}
        query = update(images).where(images.c.id == bindparam("_id")).values(columns)
        connection.execute(query, rows)
