"""What every stage does with a message: claim, work, write, announce what follows."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy.exc import OperationalError

from models.errors import ModelError
from pipeline import metrics, tracing
from pipeline.context import Context
from pipeline.records import claims
from pipeline.records.claims import Claim, Outcome
from pipeline.storage import StorageFull, StorageRefused, StorageUnavailable
from pipeline.tracing import Visit
from workers import sent
from workers.company import Company
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
COMPANY = Company()
"""Of this process, whatever stages it works for: they die together."""


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

    def __init__(self, context: Context, held: Sequence[Claim], moved: Callable[[], None]) -> None:
        """Start from leases that were given just now; `moved` hears of each progress."""
        self._context = context
        self._held = held
        self._moved = moved
        self._lease_s = context.settings.lease_s
        self._renewed = time.monotonic()

    @property
    def rest_s(self) -> float:
        """Seconds until the leases should be renewed."""
        return max(0.0, self._renewed + self._lease_s / 3 - time.monotonic())

    def keep(self) -> None:
        """Call it whenever the work has made progress; renews when a third of the lease is over."""
        self._moved()
        if self.rest_s == 0.0:
            claims.renew(self._context.engine, self._held, self._lease_s)
            self._renewed = time.monotonic()


def run_chunk(
    context: Context,
    work: Work,
    ids: Sequence[str],
    root_id: str | None,
    moved: Callable[[], None] = lambda: None,
) -> int:
    """Do one stage's work on those of `ids` that wait for it; returns how many it finished.

    Messages are nudges: doubled, late or lost ones find nothing to claim here or are sent again.
    An image that was tried before is worked on only where it was sent alone, and with nothing
    else in the hand of this process.
    """
    with COMPANY.joined():
        held = _claim(context, work.stage, ids, cap=1)
        if held:
            return _work_on(context, work, held, root_id, moved)
    if len(ids) > 1 or not claims.is_suspect(context.engine, work.stage, ids[0]):
        return 0
    with COMPANY.alone():
        held = _claim(context, work.stage, ids, context.settings.attempts)
        return _work_on(context, work, held, root_id, moved) if held else 0


def _work_on(
    context: Context,
    work: Work,
    held: Sequence[Claim],
    root_id: str | None,
    moved: Callable[[], None],
) -> int:
    begun, begun_ns = time.monotonic(), time.time_ns()
    try:
        answers = work(held, Hold(context, held, moved))
    except SERVERS_AT_FAULT as error:
        log.warning("given back", extra={**_named(held), "why": _why(error)})
        claims.release(context.engine, held, PAUSE_S, _why(error))
        metrics.attempted(work.stage, "given_back", len(held))
        _trace(work.stage, held, None, begun_ns)
        return 0
    except Exception as error:
        # An error of the program, or of a library on one of the images. Its words may quote an
        # image, so neither they nor its trace are kept; each image is tried again alone.
        answers = [Failure(f"{work.stage} failed with {type(error).__name__}") for _ in held]
    metrics.worked(work.stage, time.monotonic() - begun, len(held))
    finished = _write(context, work.stage, held, answers, root_id)
    _tell(held, answers, finished, begun)
    _trace(work.stage, held, answers, begun_ns)
    return finished


def _claim(context: Context, stage: str, ids: Sequence[str], cap: int) -> list[Claim]:
    lease_s = context.settings.lease_s
    held = claims.claim(context.engine, stage, ids, lease_s, worker_name(stage), cap)
    if held:
        waits_s = [claim.wait_ms / 1000.0 for claim in held]
        metrics.claimed(stage, waits_s, sum(claim.attempts > 1 for claim in held))
    return held


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
        for claim, error in failures:
            log.warning("attempt failed", extra={**_named([claim]), "why": error})
        claims.fail(context.engine, stage, failures, settings.attempts, PAUSE_S)
        metrics.attempted(stage, "failed", len(failures))
    if outcomes:
        nudges = claims.complete(
            context.engine, stage, outcomes, settings.chunk_size, settings.lease_s
        )
        metrics.attempted(stage, "finished", len(outcomes))
        sent.of(context.engine).add(context.dispatcher.publish(nudges, root_id))
    return len(outcomes)


def _trace(
    stage: str,
    held: Sequence[Claim],
    answers: Sequence[Outcome | Failure | None] | None,
    begun_ns: int,
) -> None:
    """Say what became of each image; `answers` is None where all claims were given back."""
    if not tracing.is_on():
        return
    visits = []
    for claim, answer in zip(held, answers or (None,) * len(held), strict=True):
        version = None
        if isinstance(answer, Outcome):
            outcome, version = str(answer.step.state), (answer.run or {}).get("model_version")
        else:
            outcome = "given_back" if answer is None else "failed"
        visits.append(Visit(claim.image_id, claim.wait_ms, claim.attempts, outcome, version))
    tracing.visited(stage, visits, begun_ns)


def _tell(
    held: Sequence[Claim], answers: Sequence[Outcome | Failure], finished: int, begun: float
) -> None:
    """One line for the chunk, and one for each image that ended otherwise than well."""
    ms = round((time.monotonic() - begun) * 1000.0)
    log.info("chunk worked", extra={**_named(held), "finished": finished, "ms": ms})
    for answer in answers:
        if isinstance(answer, Outcome) and answer.step.reason_code is not None:
            ended = {"state": answer.step.state.value, "reason_code": answer.step.reason_code}
            log.info("image ended", extra={**_named([answer.claim]), **ended})


def _named(held: Sequence[Claim]) -> dict[str, object]:
    if len(held) == 1:
        return {"job_id": held[0].job_id, "image_id": held[0].image_id}
    return {
        "job_ids": sorted({claim.job_id for claim in held}),
        "image_ids": [claim.image_id for claim in held],
    }


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
