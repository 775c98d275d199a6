"""The columns scripts rely on."""

import json

import pytest

from pipeline.records.results import FindingView
from pipeline.reports.row import COLUMNS, abnormality, row_of, said
from pipeline.states import State
from tests.stand_in.finished import FinishedJob


def row(job: FinishedJob, image_id: str) -> dict[str, str]:
    return row_of(job.view(image_id), lambda finding: f"maps/{finding.label}.png")


def test_the_columns_are_those_promised() -> None:
    assert ", ".join(COLUMNS) == (
        "path, sha256, status, reason, is_xray, xray_score, xray_type, type_score, abnormal, "
        "abnormality_score, findings, heatmaps, model_versions"
    )


def test_a_chest_image_fills_every_cell(job: FinishedJob) -> None:
    cells = row(job, job.chest("a/b.png"))
    assert tuple(cells) == COLUMNS
    assert cells["path"] == "a/b.png"
    assert (cells["status"], cells["reason"]) == ("done", "")
    assert (cells["is_xray"], cells["xray_score"]) == ("true", "0.9900")
    assert (cells["xray_type"], cells["type_score"]) == ("chest", "0.9700")
    assert (cells["abnormal"], cells["abnormality_score"]) == ("true", "0.9100")
    assert json.loads(cells["heatmaps"])["Effusion"] == "maps/Effusion.png"
    assert json.loads(cells["model_versions"])["chest"] == "chest-1.0.0+00000000"


def test_an_experimental_finding_says_so(job: FinishedJob) -> None:
    cells = row(job, job.chest("a.png"))
    findings = json.loads(cells["findings"])
    assert findings == {"Effusion": 0.72, "Hernia (experimental)": 0.6}
    assert json.loads(cells["heatmaps"]).keys() >= findings.keys()


def test_a_finding_under_its_threshold_is_not_positive(job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    job.find(image_id, "Mass", 0.4, positive=False)
    cells = row(job, image_id)
    assert "Mass" not in json.loads(cells["findings"])
    assert "Mass" in json.loads(cells["heatmaps"])


def test_a_normal_chest_has_empty_lists_instead_of_empty_cells(job: FinishedJob) -> None:
    cells = row(job, job.chest("a.png", 0.1))
    assert (cells["abnormal"], cells["abnormality_score"]) == ("false", "0.1000")
    assert (cells["findings"], cells["heatmaps"]) == ("{}", "{}")


def test_cells_of_stages_that_did_not_run_are_empty(job: FinishedJob) -> None:
    image_id = job.add("x.png", State.REJECTED, sha256=None, reason_code="truncated", reason="Cut.")
    cells = row(job, image_id)
    assert cells.pop("path") == "x.png"
    assert cells.pop("status") == "rejected"
    assert cells.pop("reason") == "truncated: Cut."
    assert set(cells.values()) == {""}


def test_what_the_gate_refuses_has_a_score_and_no_type(job: FinishedJob) -> None:
    image_id = job.add("cat.png", State.REJECTED, reason_code="not_xray")
    job.run(image_id, "gate", "other", {"other": 0.8, "xray": 0.2})
    cells = row(job, image_id)
    assert (cells["is_xray"], cells["xray_score"]) == ("false", "0.2000")
    assert (cells["xray_type"], cells["type_score"], cells["abnormal"]) == ("", "", "")
    assert json.loads(cells["model_versions"]) == {"gate": "gate-1.0.0+00000000"}


def test_an_unknown_type_shows_the_score_that_was_too_low(job: FinishedJob) -> None:
    image_id = job.add("x.png")
    job.run(image_id, "type", "unknown", {"chest": 0.3, "hand": 0.25})
    cells = row(job, image_id)
    assert (cells["xray_type"], cells["type_score"]) == ("unknown", "0.3000")


def test_the_newest_version_is_reported(job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    newer = "chest-2.0.0+11111111"
    job.run(image_id, "chest", None, {"abnormal": 0.2}, model_version=newer, created_at=9.0)
    cells = row(job, image_id)
    assert (cells["abnormal"], cells["abnormality_score"]) == ("false", "0.2000")
    assert json.loads(cells["model_versions"])["chest"] == newer


@pytest.mark.parametrize(
    ("answer", "scores", "expected"),
    [
        ("fracture", {"intact": 0.3, "fracture": 0.7}, (True, 0.7)),
        ("intact", {"intact": 0.6, "fracture": 0.4}, (False, 0.4)),
    ],
)
def test_a_yes_no_model_decides_by_its_second_label(
    job: FinishedJob, answer: str, scores: dict[str, float], expected: tuple[bool, float]
) -> None:
    image_id = job.add("hand.png")
    job.run(image_id, "hand", answer, scores)
    assert abnormality(job.view(image_id).runs[0]) == expected


@pytest.mark.parametrize(("experimental", "expected"), [(False, True), (True, False)])
def test_without_a_summing_label_the_findings_decide(
    job: FinishedJob, experimental: bool, expected: bool
) -> None:
    image_id = job.add("hand.png")
    job.run(image_id, "chest", None, {"Effusion": 0.7, "Mass": 0.1})
    job.find(image_id, "Effusion", 0.7, experimental=experimental)
    assert abnormality(job.view(image_id).runs[0]) == (expected, 0.7)


def test_a_run_without_scores_has_no_verdict(job: FinishedJob) -> None:
    image_id = job.add("x.png")
    job.run(image_id, "hand", None, {})
    assert row(job, image_id)["abnormal"] == ""


def test_said_leaves_sound_labels_alone() -> None:
    assert said(FindingView("Mass", 0.9, 0.5, True, False, None, None)) == "Mass"
