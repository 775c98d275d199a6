"""Who works on what: claims with a lease and a fencing token, and what they end in.

A claim counts the attempt before work starts. Everything a worker writes later is written only
where its token is still the row's: a worker that fell asleep past its lease changes nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Float,
    Integer,
    Text,
    and_,
    bindparam,
    cast,
    select,
    tuple_,
    update,
)

from pipeline import metrics
from pipeline.db import now_s, read, write
from pipeline.flow import Step, quarantine
from pipeline.records import identities
from pipeline.records.among import Texts, among
from pipeline.records.intake import Nudge, announce
from pipeline.records.outcomes import Claim, Outcome, moves, runs
from pipeline.records.statement import Statement
from pipeline.tables import images

__all__ = [
    "Claim",
    "Outcome",
    "claim",
    "complete",
    "ending",
    "fail",
    "forsake",
    "holders",
    "is_suspect",
    "release",
    "renew",
]


def claim(
    engine: Engine, stage: str, ids: Sequence[str], lease_s: float, worker: str, cap: int
) -> list[Claim]:
    """Take those of `ids` that wait for `stage`, held by nobody and tried less than `cap` times."""
    values = {"ids": list(ids), "stage": stage, "lease_s": lease_s, "worker": worker, "cap": cap}
    rows = _CLAIM.encode(engine.dialect, [values])
    return [Claim(*row) for row in write(engine, lambda c: _CLAIM.rows(c, rows), single=True)]


def is_suspect(engine: Engine, stage: str, image_id: str) -> bool:
    """Whether this image waits for `stage` after an attempt that came to nothing."""
    query = select(images.c.id).where(
        images.c.id == image_id,
        images.c.stage == stage,
        images.c.attempts > 0,
        (images.c.lease_until.is_(None)) | (images.c.lease_until < now_s()),
    )
    return read(engine, lambda connection: connection.execute(query).first() is not None)


def renew(engine: Engine, claims: Sequence[Claim], lease_s: float) -> None:
    """Hold on to claims whose work goes on; one that was taken over stays taken."""
    query = update(images).where(_still_ours(claims), images.c.lease_until.is_not(None))
    query = query.values(lease_until=now_s() + lease_s, due_at=now_s() + lease_s)
    write(engine, lambda connection: connection.execute(query))


def complete(
    engine: Engine, stage: str, outcomes: Sequence[Outcome], chunk_size: int, lease_s: float
) -> list[Nudge]:
    """Write results, move the images on and announce what follows, in one commit."""
    dialect = engine.dialect
    # Encoded beforehand: on SQLite the transaction keeps all other writers waiting.
    encoded = runs(dialect, stage, outcomes), moves(dialect, outcomes, lease_s)

    def work(connection: Connection) -> tuple[Sequence[Outcome], list[Nudge]]:
        ours = _lock_ours(connection, stage, [outcome.claim for outcome in outcomes])
        kept, (ran, moved) = outcomes, encoded
        if len(ours) < len(outcomes):
            kept = [outcome for outcome in outcomes if outcome.claim.image_id in ours]
            if not kept:
                return [], []
            ran, moved = runs(dialect, stage, kept), moves(dialect, kept, lease_s)
        ran.write(connection)
        sealed = {o.claim.image_id: o.sealed for o in kept if o.sealed is not None}
        identities.put(connection, sealed)
        moved.write(connection)
        return kept, announce(connection, _waiting(kept), chunk_size)

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
    values = {"ids": list(tokens), "stage": stage}
    rows = _LOCK.rows(connection, _LOCK.encode(connection.dialect, [values]))
    return {image_id for image_id, token in rows if tokens[image_id] == token}


def _waiting(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], list[str]]:
    """Image ids by the line that they wait in now."""
    waiting: dict[tuple[str, int], list[str]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.step.stage is not None:
            waiting[outcome.step.stage, outcome.claim.priority].append(outcome.claim.image_id)
    return waiting


_CHOSEN = among(images.c.id, bindparam("ids", type_=Texts()))
_OF_STAGE = images.c.stage == bindparam("stage", type_=Text)
_LEASE_S = bindparam("lease_s", type_=Float)

_CLAIM = Statement(
    lambda _: (
        update(images)
        .where(
            _CHOSEN,
            _OF_STAGE,
            (images.c.lease_until.is_(None)) | (images.c.lease_until < now_s()),
            images.c.attempts < bindparam("cap", type_=Integer),
        )
        .values(
            token=images.c.token + 1,
            attempts=images.c.attempts + 1,
            lease_until=now_s() + _LEASE_S,
            due_at=now_s() + _LEASE_S,
            worker=bindparam("worker", type_=Text),
        )
        .returning(
            images.c.id,
            images.c.token,
            images.c.attempts,
            images.c.priority,
            images.c.original,
            images.c.prepared,
            (now_s() - images.c.queued_at) * 1000.0,
            images.c.job_id,
            cast(images.c.header, Text),
        )
    )
)
_LOCK = Statement(
    lambda _: (
        select(images.c.id, images.c.token)
        .where(_CHOSEN, _OF_STAGE)
        .order_by(images.c.id)
        .with_for_update()
    )
)
