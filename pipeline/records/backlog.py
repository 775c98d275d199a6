"""What waits in the whole installation, asked in a way that costs little however much has ended.

Each query reads entries of one partial or small index only; tests/scale/test_indices.py
holds them to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, case, func, select

from pipeline.db import now_s
from pipeline.states import State
from pipeline.tables import images, outbox


@dataclass(frozen=True, slots=True)
class Line:
    """The images that wait for one stage, or are worked on by it, of one priority."""

    images: int
    oldest_s: float
    """Since the one that waits longest was queued."""
    overdue: int
    """Past the time by which they should have been claimed, renewed or sent again."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """One look at the database."""

    lines: Mapping[tuple[str, int], Line]
    """By stage and priority; those without images are left out."""
    quarantined: int
    unsent: int
    """Signatures in the outbox."""
    oldest_unsent_s: float
    """Age of the oldest of them; 0 where there is none."""


def look(engine: Engine) -> Backlog:
    """What waits now. Raises the database's errors at once; who asks will ask again."""
    with engine.connect() as connection:
        quarantined = select(func.count()).where(images.c.state == State.QUARANTINED)
        oldest = select(func.count(), func.coalesce(now_s() - func.min(outbox.c.created_at), 0.0))
        unsent, oldest_unsent_s = connection.execute(oldest).one()
        return Backlog(
            _lines(connection),
            connection.execute(quarantined).scalar_one(),
            unsent,
            max(0.0, oldest_unsent_s),
        )


def _lines(connection: Connection) -> dict[tuple[str, int], Line]:
    query = (
        select(
            images.c.stage,
            images.c.priority,
            func.count(),
            now_s() - func.min(images.c.queued_at),
            func.sum(case((images.c.due_at < now_s(), 1), else_=0)),
        )
        .where(images.c.stage.is_not(None))
        .group_by(images.c.stage, images.c.priority)
    )
    return {
        (stage, priority): Line(count, max(0.0, oldest_s), int(overdue))
        for stage, priority, count, oldest_s, overdue in connection.execute(query)
    }
