"""The sentences: what a clinician reads, case by case."""

import pytest

from pipeline.api import words
from pipeline.states import State
from tests.stand_in.finished import FinishedJob


def test_every_state_has_a_name() -> None:
    assert set(words.STATES) == set(State)


def test_an_abnormal_chest(job: FinishedJob) -> None:
    view = job.view(job.chest("a.png"))
    assert words.answer(view) == (
        "Chest X-ray, abnormal (score 0.91, at the operating point 'balanced')"
    )
    assert words.short(view) == "Chest X-ray, abnormal"


def test_a_chest_without_findings(job: FinishedJob) -> None:
    view = job.view(job.chest("a.png", abnormality=0.12))
    assert words.answer(view) == (
        "Chest X-ray, no abnormality found (score 0.12, at the operating point 'balanced')"
    )


def test_a_stage_that_scored_nothing(job: FinishedJob) -> None:
    image_id = job.add("a.png")
    job.run(image_id, "type", "chest", {"chest": 1.0})
    job.run(image_id, "chest", None, {})
    assert words.answer(job.view(image_id)) == "Chest X-ray, no answer of the stage chest"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("hand", "Hand X-ray: no abnormality stage for this type yet"),
        ("lower_leg", "Lower leg X-ray: no abnormality stage for this type yet"),
        (
            "unknown",
            "X-ray of an unrecognised body part: no abnormality stage for this type yet",
        ),
    ],
)
def test_a_type_without_a_stage(job: FinishedJob, answer: str, said: str) -> None:
    image_id = job.add("a.png")
    job.run(image_id, "type", answer, {"chest": 0.1, answer: 0.9})
    assert words.answer(job.view(image_id)) == said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"state": State.REJECTED, "reason_code": "not_xray", "reason": "…"}, "Not an X-ray"),
        (
            {"state": State.REJECTED, "reason_code": "empty_file", "reason": "it is empty"},
            "Not triaged: it is empty",
        ),
        (
            {"state": State.QUARANTINED, "reason_code": "worker_lost", "reason": "3 attempts"},
            "Set aside for a person: 3 attempts",
        ),
        ({"state": State.RECEIVED, "stage": "prepare"}, "In triage: reading the file"),
        ({"state": State.PREPARED, "stage": "gate"}, "In triage: is it an X-ray?"),
        ({"state": State.GATED, "stage": "type"}, "In triage: which body part?"),
        ({"state": State.TYPED, "stage": "hand"}, "In triage: findings (hand)"),
        ({"state": State.DONE}, "X-ray: no abnormality stage for this type yet"),
    ],
)
def test_other_ends_and_the_way_there(job: FinishedJob, columns: dict[str, str], said: str) -> None:
    assert words.answer(job.view(job.add("a.png", **columns))) == said  # type: ignore[arg-type]
