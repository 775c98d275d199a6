"""From a trained stage to weights, cards and reports; and a site's own calibration."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.artifact import load_card
from models.scores import scores
from models.stage import Prediction
from models.training import session
from models.training.calibrate import calibrate
from models.training.chain import Walk
from models.training.errors import CardError, ManifestError
from models.training.evaluate import end_to_end, evaluate
from models.training.export import VERSION, export
from models.training.manifest import Record, of_split, read_manifest
from models.training.network import MultiHead
from models.training.refit import logits, relevant, truth_of
from tests.unit.models.training.conftest import tiny_config


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture(scope="module")
def records(manifest: Path) -> list[Record]:
    return read_manifest(manifest)


@pytest.fixture(scope="module")
def weights(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three stages with random networks, exported as training does."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    for stage in ("gate", "type", "chest"):
        network = MultiHead((stage,)).as_densenet(stage)
        export(network, tiny_config(stage), records, folder / stage, "random")
    return folder


def test_the_written_pair_loads_and_says_what_was_measured(weights: Path) -> None:
    card = load_card(weights / "chest")

    assert card.model_version == f"chest-{VERSION}+{card.weights.sha256[:8]}"
    mass = next(label for label in card.labels if label.name == "Mass")
    assert set(mass.operating_points) == {"sensitive", "balanced", "specific", "triage"}
    assert mass.experimental
    assert mass.score_quantiles is not None
    assert 0 <= mass.score_quantiles[0] <= mass.score_quantiles[-1] <= 1
    group = mass.metrics["val"]["tiny"]  # type: ignore[index,call-overload]
    assert (group["n"], group["positives"]) == (16, 8)
    text = (weights / "chest" / "MODEL_CARD.md").read_text()
    assert "Not a medical device" in text
    assert "Mass (experimental)" in text


def test_triage_is_specific_about_findings_and_balanced_about_abnormal(weights: Path) -> None:
    card = load_card(weights / "chest")

    assert card.default_operating_point == "triage"
    for label in card.labels:
        chosen = "balanced" if label.name == "abnormal" else "specific"
        assert label.operating_points["triage"] == label.operating_points[chosen]
    assert load_card(weights / "gate").default_operating_point == "balanced"


def test_a_label_that_nobody_measured_says_so(weights: Path) -> None:
    hernia = load_card(weights / "chest").labels[-1]
    assert hernia.operating_points["balanced"].sensitivity is None


def test_a_label_too_rare_to_be_calibrated_scores_as_often_as_it_was_seen(
    records: list[Record], tmp_path: Path
) -> None:
    first = next(i for i, r in enumerate(records) if r.split == "train" and r.abnormal)
    seen = list(records)
    seen[first] = replace(seen[first], positive=seen[first].positive | {"Edema"})
    network = MultiHead(("chest",)).as_densenet("chest")
    card = export(network, tiny_config("chest"), seen, tmp_path, "random")
    edema = card.label_names.index("Edema")
    assert card.labels[edema].prevalence_train == pytest.approx(1 / 17, abs=1e-5)
    chests = relevant("chest", card.label_names, of_split(seen, "val"))
    known = ~np.isnan(truth_of(card, chests)[:, edema])
    found = scores(card, logits(tmp_path, card, chests))[known, edema]
    assert found.mean() == pytest.approx(1 / 17, abs=1e-4)


def test_type_card_has_an_unknown_rule_and_one_temperature(weights: Path) -> None:
    card = load_card(weights / "type")
    assert card.unknown is not None
    assert len({label.temperature for label in card.labels}) == 1


def test_calibrate_writes_new_cards_and_leaves_the_weights(
    weights: Path, records: list[Record], tmp_path: Path
) -> None:
    before = {p: p.read_bytes() for p in weights.rglob("*") if p.is_file()}
    cards = calibrate(records, weights, tmp_path / "site", "clinic", ["gate", "chest"])

    after = [int(part) for part in VERSION.split(".")]
    after[2] += 1  # a patch: the weights are the same
    expected = ".".join(map(str, after))
    assert [c.model_version.split("+")[0] for c in cards] == [
        f"gate-{expected}",
        f"chest-{expected}",
    ]
    assert {p: p.read_bytes() for p in weights.rglob("*") if p.is_file()} == before
    for name in ("gate", "chest"):
        copied = tmp_path / "site" / name / "weights.safetensors"
        assert copied.read_bytes() == before[weights / name / "weights.safetensors"]
        fitted = load_card(tmp_path / "site" / name)
        assert fitted.training["calibration"]["site"] == "clinic"  # type: ignore[index,call-overload]
        assert fitted.training["calibration"]["images"] >= 20  # type: ignore[index,call-overload,operator]


def test_calibrate_needs_images_and_another_folder(
    weights: Path, records: list[Record], tmp_path: Path
) -> None:
    with pytest.raises(CardError, match="20 labelled images"):
        calibrate(records[:5], weights, tmp_path, "clinic", ["gate"])
    with pytest.raises(CardError, match="another folder"):
        calibrate(records, weights, weights, "clinic", ["gate"])


def test_evaluate_writes_a_report_with_baselines(
    weights: Path, records: list[Record], tmp_path: Path
) -> None:
    val = [r for r in records if r.split == "val"]
    report = evaluate(val, weights, tmp_path, quiet)

    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["images"] == report["images"] == 32
    assert saved["gate"]["all_negative_accuracy"] == 0.25
    assert saved["chest"]["tiny"]["labels"]["abnormal"]["all_negative_accuracy"] == 0.5
    assert saved["end_to_end"]["all_negative"]["always_refuse"] == 0.25
    assert saved["end_to_end"]["accuracy"]["n"] == 32
    for name in ("report.md", "confusion.png", "auc.png", "calibration.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_evaluate_needs_images(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no image to evaluate"):
        evaluate([], weights, tmp_path, quiet)


def chest_record(abnormal: bool | None) -> Record:
    return Record(Path(), "val", True, "radiograph", "chest", abnormal, dataset="d")


@pytest.mark.parametrize(
    ("walk", "correct"),
    [
        (Walk(Record(Path(), "val", False), Prediction(answer="other"), None, None), True),
        (
            Walk(
                Record(Path(), "val", False),
                Prediction(answer="xray"),
                Prediction(answer="hand"),
                None,
            ),
            False,
        ),
        (Walk(chest_record(True), Prediction(answer="other"), None, None), False),
        (
            Walk(
                chest_record(True),
                Prediction(answer="xray"),
                Prediction(answer="chest"),
                Prediction(positives=("abnormal",)),
            ),
            True,
        ),
        (
            Walk(
                chest_record(False),
                Prediction(answer="xray"),
                Prediction(answer="chest"),
                Prediction(positives=("abnormal",)),
            ),
            False,
        ),
        (
            Walk(chest_record(True), Prediction(answer="xray"), Prediction(answer="hand"), None),
            False,
        ),
        (Walk(Record(Path(), "val"), Prediction(answer="xray"), None, None), None),
    ],
)
def test_what_the_chain_loses_early_is_an_error(walk: Walk, correct: bool | None) -> None:
    assert walk.correct is correct


def test_end_to_end_of_nothing_known_is_empty() -> None:
    found = end_to_end([Walk(Record(Path(), "val"), Prediction(), None, None)])
    assert found["accuracy"]["n"] == 0


def test_a_session_ends_with_a_stage_that_loads(records: list[Record], tmp_path: Path) -> None:
    config = tiny_config("chest", head_images=16, shares={"chest": 1.0})
    plan = session.Plan(config, tmp_path, None, tmp_path / "cache", steps=2)
    session.run(plan, records, quiet)

    card = load_card(tmp_path)
    assert card.training["config"]["phases"][0]["steps"] == 2  # type: ignore[index,call-overload]
    assert (tmp_path / "training.png").is_file()
    assert np.isfinite(json.loads((tmp_path / "validation.json").read_text())["tiny_abnormal"])


def test_trials_are_cut_at_their_steps() -> None:
    phase = {"px": 32, "steps": 10, "batch": 2, "lr": 1.0, "lr_end": 1.0}
    config = tiny_config(phase=[phase, phase])
    assert session.shortened(config, 13).steps == 13
    assert session.shortened(config, 3).steps == 3
    assert session.shortened(config, None) == config
