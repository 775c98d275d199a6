"""What an operator does with images that failed too often."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, Engine, select, update

from pipeline.context import Context
from pipeline.db import write
from pipeline.flow import PREPARE, state_before
from pipeline.reasons import ReasonCode
from pipeline.records import intake, results
from pipeline.records.overdue import reopen
from pipeline.records.results import ImageView
from pipeline.states import State
from pipeline.tables import images


def listed(engine: Engine, limit: int = 100) -> list[ImageView]:
    """Quarantined images, the latest first."""
    query = select(images).where(images.c.state == State.QUARANTINED)
    query = query.order_by(images.c.finished_at.desc()).limit(limit)
    with engine.connect() as connection:
        return results.views(connection, connection.execute(query).mappings().all())


def shown(engine: Engine, image_id: str) -> ImageView | None:
    """One quarantined image; None where there is none of that id."""
    view = results.image(engine, image_id)
    return view if view is not None and view.row["state"] == State.QUARANTINED else None


def retry(context: Context, ids: Sequence[str]) -> int:
    """Send quarantined images to the stage they stopped at, each alone; returns how many."""

    def work(connection: Connection) -> list[intake.Nudge]:
        query = select(images.c.id, images.c.stopped_at, images.c.priority)
        query = query.where(images.c.id.in_(ids), images.c.state == State.QUARANTINED)
        lines: dict[tuple[str, int], list[str]] = defaultdict(list)
        for image_id, stage, priority in connection.execute(query.with_for_update()):
            lines[stage or PREPARE, priority].append(image_id)
        nudges = []
        for line, waiting in lines.items():
            state = state_before(line[0], context.stages)
            reopen(connection, {line: waiting}, state, context.settings.lease_s)
            nudges += intake.announce(connection, {line: waiting}, 1)
        return nudges

    nudges = write(context.engine, work)
    intake.sent(context.engine, context.dispatcher.publish(nudges))
    return len(nudges)


def discard(engine: Engine, ids: Sequence[str]) -> int:
    """Give quarantined images up: rejected, with that reason; returns how many."""
    query = (
        update(images)
        .where(images.c.id.in_(ids), images.c.state == State.QUARANTINED)
        .values(
            state=State.REJECTED,
            reason_code=ReasonCode.DISCARDED.value,
            reason=ReasonCode.DISCARDED.meaning,
        )
    )
    return write(engine, lambda connection: connection.execute(query).rowcount)
