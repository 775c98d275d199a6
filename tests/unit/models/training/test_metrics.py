"""Our figures against scikit-learn's, and the baselines that stand beside them."""

import numpy as np
import pytest
from sklearn import metrics as reference

from models.training import calibration, figures, metrics
from models.training.manifest import Record

GENERATOR = np.random.default_rng(5)


def test_auc_agrees_with_scikit_learn_also_with_ties() -> None:
    truth = GENERATOR.random(300) < 0.3
    for score in (GENERATOR.random(300) + truth * 0.4, GENERATOR.integers(0, 4, 300) + truth):
        assert metrics.auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))


def test_auc_of_one_class_is_not_a_number() -> None:
    assert np.isnan(metrics.auc(np.ones(4, bool), np.arange(4.0)))


def test_balanced_accuracy_and_confusion_agree_with_scikit_learn() -> None:
    truth, answer = GENERATOR.integers(0, 5, (2, 200))
    assert metrics.balanced_accuracy(truth, answer, 5) == pytest.approx(
        reference.balanced_accuracy_score(truth, answer)
    )
    assert (metrics.confusion(truth, answer, 5) == reference.confusion_matrix(truth, answer)).all()


def test_the_interval_of_an_auc_holds_the_value() -> None:
    truth = GENERATOR.random(120) < 0.5
    value, low, high = metrics.auc_with_interval(truth, GENERATOR.random(120) + truth * 0.5, 100)
    assert low < value < high


def test_calibration_error_of_honest_scores_is_small() -> None:
    score = GENERATOR.random(5000)
    honest = GENERATOR.random(5000) < score
    assert metrics.calibration_error(honest, score) < 0.03
    assert metrics.calibration_error(honest, np.full(5000, 0.95)) > 0.4


def test_the_all_negative_baseline_stands_beside_the_accuracy() -> None:
    truth = np.array([0, 0, 0, 1], dtype=np.float32)
    found = figures.chest_label(truth, np.zeros(4), 0.5)

    assert found["accuracy"] == found["all_negative_accuracy"] == 0.75
    assert (found["balanced_accuracy"], found["sensitivity"]) == (0.5, 0.0)


def test_unknown_truths_take_no_part_in_a_label() -> None:
    truth = np.array([1, 0, np.nan, np.nan], dtype=np.float32)
    found = figures.chest_label(truth, np.array([0.9, 0.1, 0.9, 0.0]), 0.5)
    assert (found["n"], found["positives"], found["auc"]) == (2, 1, 1.0)


def test_gate_figures_are_given_for_each_group() -> None:
    records = [
        Record(path=None, split="val", is_xray=is_xray, group=group, dataset=group)  # type: ignore[arg-type]
        for is_xray, group in ((True, "radiograph"), (False, "ct"), (False, "ct"))
    ]
    found = figures.gate(records, np.array([True, True, False]), np.array([0.9, 0.8, 0.1]))

    assert found["recall_by_group"]["ct"]["value"] == 0.5
    assert found["balanced_accuracy"]["value"] == 0.75
    assert found["all_negative_accuracy"] == pytest.approx(0.6667)


def test_an_unknown_answer_is_an_error_of_the_type_stage() -> None:
    records = [
        Record(path=None, split="val", xray_type=kind, dataset="d")  # type: ignore[arg-type]
        for kind in ("hand", "foot")
    ]
    score = np.array([[0.9, 0.1], [0.45, 0.55]])
    found = figures.kinds(records, ["hand", "unknown"], score, ["hand", "foot"], {"hand": 100})

    assert (found["accuracy"]["value"], found["unknown_rate"]) == (0.5, 0.5)
    assert found["macro_recall_100_train"] == 1.0


def test_temperature_undoes_overconfidence() -> None:
    honest = GENERATOR.normal(0, 1.5, (4000, 3))
    share = calibration.softmax(honest, 1.0)
    truth = np.array([GENERATOR.choice(3, p=p) for p in share])
    assert calibration.fit_temperature(honest * 4, truth) == pytest.approx(4.0, rel=0.1)


def test_platt_finds_slope_and_bias() -> None:
    honest = GENERATOR.normal(0, 2, 6000)
    truth = GENERATOR.random(6000) < calibration.sigmoid(honest)
    temperature, bias = calibration.fit_platt((honest + 1.0) * 2.0, truth)
    assert temperature == pytest.approx(2.0, rel=0.12)
    assert bias == pytest.approx(-1.0, abs=0.12)


def test_a_bias_brings_the_mean_score_to_a_share() -> None:
    logits = GENERATOR.normal(3.0, 2.0, 500)
    bias = calibration.fit_bias(logits, 0.02)
    assert calibration.sigmoid(logits, bias=bias).mean() == pytest.approx(0.02, abs=1e-6)


def test_platt_never_turns_a_score_round() -> None:
    truth = np.arange(40) < 20
    temperature, _ = calibration.fit_platt(np.arange(40.0), truth)
    assert temperature > 0


def test_operating_points_hold_what_they_promise() -> None:
    truth = GENERATOR.random(400) < 0.4
    score = (GENERATOR.random(400) * 0.6 + truth * 0.3).clip(0, 1)
    points = calibration.operating_points(truth, score, 0.95, 0.9)

    assert points["sensitive"].sensitivity >= 0.95
    assert points["specific"].specificity >= 0.9
    assert points["sensitive"].threshold <= points["specific"].threshold
    for point in points.values():
        assert calibration.at(truth, score, point.threshold) == point


def test_operating_points_need_both_classes() -> None:
    with pytest.raises(ValueError, match="positive and negative"):
        calibration.operating_points(np.ones(3, bool), np.arange(3.0))
