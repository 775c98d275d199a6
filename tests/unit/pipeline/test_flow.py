"""Where an answer leads."""

from types import MappingProxyType

import pytest

from models.catalogue import STAGES, find
from models.errors import CatalogueError
from models.spec import StageSpec
from pipeline.flow import PREPARE, advance, after_prepare, quarantine, refuse, state_before
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.states import State


def test_a_decoded_image_waits_for_the_root() -> None:
    step = after_prepare(STAGES)
    assert (step.state, step.stage) == (State.PREPARED, "gate")


@pytest.mark.parametrize(
    ("stage", "answer", "state", "following"),
    [
        ("gate", "xray", State.GATED, "type"),
        ("gate", "other", State.REJECTED, None),
        ("type", "chest", State.TYPED, "chest"),
        ("type", "hand", State.DONE, None),
        ("type", "unknown", State.DONE, None),
        ("chest", None, State.DONE, None),
    ],
)
def test_an_answer_leads_on(
    stage: str, answer: str | None, state: State, following: str | None
) -> None:
    step = advance(find(stage), answer, STAGES)
    assert (step.state, step.stage) == (state, following)


def test_every_end_says_why() -> None:
    ends = [
        advance(find("gate"), "other", STAGES),
        advance(find("type"), "hand", STAGES),
        advance(find("chest"), None, STAGES),
        refuse(Unreadable(ReasonCode.CORRUPT, "the file contradicts itself")),
        quarantine(3, "broken"),
        quarantine(3, None),
    ]
    assert all(step.stage is None and step.reason for step in ends)


def test_a_reason_code_of_a_sites_own_stage_is_carried_as_it_is() -> None:
    upright = StageSpec("upright", "w", refuses=MappingProxyType({"sideways": "turned"}))
    step = advance(upright, "sideways", (upright,))
    assert (step.state, step.reason_code) == (State.REJECTED, "turned")


def test_a_new_stage_is_reached_by_its_answer() -> None:
    hand = StageSpec("hand", "hand", after="type", on="hand")
    assert advance(find("type"), "hand", (*STAGES, hand)).stage == "hand"


@pytest.mark.parametrize(
    ("stage", "state"),
    [
        (PREPARE, State.RECEIVED),
        ("gate", State.PREPARED),
        ("type", State.GATED),
        ("chest", State.TYPED),
    ],
)
def test_the_state_in_front_of_a_stage(stage: str, state: State) -> None:
    assert state_before(stage, STAGES) == state


def test_an_unknown_stage_is_an_error_that_names_it() -> None:
    with pytest.raises(CatalogueError, match="foot"):
        state_before("foot", STAGES)
