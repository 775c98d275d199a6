"""The promises I1 to I4 of the design, checked over the whole database and storage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, tuple_

from pipeline.context import Context
from pipeline.states import TERMINAL, State
from pipeline.storage import ObjectRef, StorageError
from pipeline.tables import findings, images, stage_runs

REFERENCES = (
    (images, images.c.id, images.c.original),
    (images, images.c.id, images.c.prepared),
    (findings, findings.c.image_id, findings.c.heatmap),
    (findings, findings.c.image_id, findings.c.raw_map),
)
BATCH = 200


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that does not hold: which (I1 … I4), where, and what is wrong."""

    promise: str
    where: str
    what: str


def violations(context: Context, *, settled: bool = False) -> Iterator[Violation]:
    """Everything that is broken. With `settled`, an image still on its walk is broken too."""
    yield from _terminal(context, settled)
    yield from _counted(context)
    yield from _single(context)
    yield from _stored(context)


def _terminal(context: Context, settled: bool) -> Iterator[Violation]:
    ended = [state.value for state in TERMINAL]
    is_ended = images.c.state.in_(ended)
    wrong = {
        "terminal, yet it waits for a stage": is_ended & images.c.stage.is_not(None),
        "not terminal, yet it waits for nothing": ~is_ended & images.c.stage.is_(None),
        "terminal without a time of ending": is_ended & images.c.finished_at.is_(None),
        "refused or quarantined without a reason": images.c.state.in_(
            [State.REJECTED, State.QUARANTINED]
        )
        & images.c.reason_code.is_(None),
        "of an unknown state": images.c.state.not_in([state.value for state in State]),
    }
    if settled:
        wrong["not terminal"] = ~is_ended
    for words, condition in wrong.items():
        for (image_id,) in _rows(context, select(images.c.id).where(condition)):
            yield Violation("I1", image_id, words)


def _counted(context: Context) -> Iterator[Violation]:
    query = select(images.c.job_id, func.count()).group_by(images.c.job_id)
    known = select(func.count()).where(images.c.state.in_([state.value for state in State]))
    for job_id, accepted in _rows(context, query):
        ((counted,),) = _rows(context, known.where(images.c.job_id == job_id))
        if counted != accepted:
            yield Violation("I2", job_id, f"{accepted} accepted, {counted} in a known state")


def _single(context: Context) -> Iterator[Violation]:
    # The primary key forbids a second result; what it can't forbid is a result with no image, or
    # an image that ended `done` with no result at all.
    orphans = select(stage_runs.c.image_id).where(stage_runs.c.image_id.not_in(select(images.c.id)))
    for (image_id,) in _rows(context, orphans):
        yield Violation("I3", image_id, "a result of an image that is not there")
    keys = (stage_runs.c.image_id, stage_runs.c.stage, stage_runs.c.model_version)
    doubled = select(*keys).group_by(*keys).having(func.count() > 1)
    for image_id, stage, version in _rows(context, doubled):
        yield Violation("I3", image_id, f"two results of {stage} by {version}")
    empty = select(images.c.id).where(
        images.c.state == State.DONE, images.c.id.not_in(select(stage_runs.c.image_id))
    )
    for (image_id,) in _rows(context, empty):
        yield Violation("I3", image_id, "done without any result")


def _stored(context: Context) -> Iterator[Violation]:
    for _, owner, column in REFERENCES:
        # Page by page: a transaction that is open while the storage is asked is ended by the
        # server after a while, and until then keeps it from tidying up.
        query = select(owner, column).where(column.is_not(None)).order_by(owner, column)
        page = list(_rows(context, query.limit(BATCH)))
        while page:
            yield from _check_objects(context, column.name, page)
            further = query.where(tuple_(owner, column) > tuple_(*page[-1]))
            page = list(_rows(context, further.limit(BATCH)))


def _check_objects(
    context: Context, what: str, batch: Sequence[tuple[Any, ...]]
) -> Iterator[Violation]:
    blobs = context.store.get_many([ObjectRef.parse(ref) for _, ref in batch])
    for (image_id, _), blob in zip(batch, blobs, strict=True):
        if isinstance(blob, StorageError):
            yield Violation("I4", image_id, f"{what}: {blob}")


def _rows(context: Context, query: Select[Any]) -> Iterator[tuple[Any, ...]]:
    # Fetched whole, so that no transaction waits for whoever asks.
    with context.engine.connect() as connection:
        rows = connection.execute(query).all()
    return map(tuple, rows)
