"""What happens to an image next: pure decisions from a stage's answer."""

from collections.abc import Iterable
from dataclasses import dataclass

from models.catalogue import find, next_stage, root
from models.spec import StageSpec
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.states import State

PREPARE = "prepare"
"""The stage before the catalogue's: untrusted bytes become one small grayscale array."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an image goes: its new state and, unless that is terminal, the stage it waits for."""

    state: State
    stage: str | None = None
    reason_code: str | None = None
    reason: str | None = None


def after_prepare(stages: Iterable[StageSpec]) -> Step:
    """A decoded image waits for the root stage."""
    return Step(State.PREPARED, root(stages).name)


def refuse(error: Unreadable) -> Step:
    """Bytes that are no image of ours end here, in words."""
    return Step(State.REJECTED, reason_code=error.code.value, reason=error.message)


def advance(stage: StageSpec, answer: str | None, stages: Iterable[StageSpec]) -> Step:
    """Where an image goes once `stage` has given `answer` (None: a stage without one answer)."""
    code = stage.refuses.get(answer or "")
    if code is not None:
        return Step(State.REJECTED, reason_code=code, reason=_meaning(code))
    child = next_stage(stage.name, answer, stages) if answer is not None else None
    if child is None:
        return Step(State.DONE, reason_code=None, reason=_why_done(stage, answer))
    return Step(State(stage.completes), child.name)


def state_before(stage: str, stages: Iterable[StageSpec]) -> State:
    """State of an image that waits for `stage`. Raises CatalogueError for an unknown stage."""
    if stage == PREPARE:
        return State.RECEIVED
    parent = find(stage, stages).after
    return State.PREPARED if parent is None else State(find(parent, stages).completes)


def quarantine(attempts: int, last_error: str | None) -> Step:
    """Too many attempts failed: a person looks at it."""
    code = ReasonCode.INTERNAL if last_error else ReasonCode.WORKER_LOST
    words = last_error or "the worker died or went silent each time"
    return Step(
        State.QUARANTINED, reason_code=code.value, reason=f"{attempts} attempts failed: {words}"
    )


def _why_done(stage: StageSpec, answer: str | None) -> str:
    if answer is None:
        return "every stage has answered"
    return f"no stage follows {stage.name} = {answer}"


def _meaning(code: str) -> str:
    # Codes of a site's own stages need not be ours.
    known = {str(reason): reason.meaning for reason in ReasonCode}
    return known.get(code, f"refused: {code}")
