"""What every stage does with a message: claim, work, write, announce what follows."""

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.exc import OperationalError

from models.errors import ModelError
from pipeline.context import Context
from pipeline.records import claims, intake
from pipeline.records.claims import Claim, Outcome
from pipeline.storage import StorageFull, StorageRefused, StorageUnavailable
from workers.names import worker_name

log = logging.getLogger(__name__)

SERVERS_AT_FAULT = (
    StorageUnavailable,
    StorageFull,
    StorageRefused,
    ModelError,
    OperationalError,  # the database's
)
"""Errors that say nothing about the images: their claims are given back, no attempt counts."""
PAUSE_S = 5.0
"""After a failed attempt, before the reconciler may send the image again."""


class Failure(Exception):  # noqa: N818 - an outcome of one image, not an error of the program
    """This image could not be worked on; the others of its chunk could."""


class Work(Protocol):
    """What is particular to a stage."""

    stage: str

    def __call__(self, held: Sequence[Claim], hold: "Hold") -> list[Outcome | Failure]:
        """Work on claimed images; one answer each, in order. May raise `SERVERS_AT_FAULT`."""
        ...


class Hold:
    """Keeps a chunk's leases alive while its work goes on."""

    def __init__(self, context: Context, held: Sequence[Claim]) -> None:
        """Start from leases that were given just now."""
        self._context = context
        self._held = held
        self._lease_s = context.settings.lease_s
        self._renewed = time.monotonic()

    @property
    def rest_s(self) -> float:
        """Seconds until the leases should be renewed."""
        return max(0.0, self._renewed + self._lease_s / 3 - time.monotonic())

    def keep(self) -> None:
        """Call it whenever the work has made progress; renews when a third of the lease is over."""
        if self.rest_s == 0.0:
            claims.renew(self._context.engine, self._held, self._lease_s)
            self._renewed = time.monotonic()


def run_chunk(context: Context, work: Work, ids: Sequence[str], root_id: str | None) -> int:
    """Do one stage's work on those of `ids` that wait for it; returns how many it finished.

    Messages are nudges: doubled, late or lost ones find nothing to claim here or are sent again.
    """
    settings = context.settings
    held = claims.claim(
        context.engine,
        work.stage,
        ids,
        settings.lease_s,
        worker_name(work.stage),
        settings.attempts,
    )
    if not held:
        return 0
    try:
        answers = work(held, Hold(context, held))
    except SERVERS_AT_FAULT as error:
        log.warning(
            "given back", extra={"stage": work.stage, "images": len(held), "why": _why(error)}
        )
        claims.release(context.engine, held, PAUSE_S, _why(error))
        return 0
    except Exception as error:
        # An error of the program, or of a library on one of the images. Its words may quote an
        # image, so neither they nor its trace are kept; each image is tried again alone.
        answers = [Failure(f"{work.stage} failed with {type(error).__name__}") for _ in held]
    return _write(context, work.stage, held, answers, root_id)


def _write(
    context: Context,
    stage: str,
    held: Sequence[Claim],
    answers: Sequence[Outcome | Failure],
    root_id: str | None,
) -> int:
    settings = context.settings
    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    failures = [
        (claim, str(answer))
        for claim, answer in zip(held, answers, strict=True)
        if isinstance(answer, Failure)
    ]
    if failures:
        log.warning("attempts failed", extra={"stage": stage, "images": len(failures)})
        claims.fail(context.engine, stage, failures, settings.attempts, PAUSE_S)
    if outcomes:
        nudges = claims.complete(
            context.engine, stage, outcomes, settings.chunk_size, settings.lease_s
        )
        intake.sent(context.engine, context.dispatcher.publish(nudges, root_id))
    return len(outcomes)


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
