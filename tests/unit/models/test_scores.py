"""Scores from logits: the formulas, their limits, and what they lead to."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.card import ModelCard
from models.scores import answer, positives, scores, thresholds

CardMaker = Callable[..., ModelCard]


def test_softmax_with_temperature(make_card: CardMaker) -> None:
    labels = [{"name": name, "temperature": 2.0} for name in "abc"]
    result = scores(make_card(labels), np.array([[2.0, 0.0, -2.0]], np.float32))
    expected = np.exp([1.0, 0.0, -1.0])
    np.testing.assert_allclose(result[0], expected / expected.sum())


def test_sigmoid_with_temperature_and_bias(make_card: CardMaker) -> None:
    point = {"balanced": {"threshold": 0.5}}
    labels = [
        {"name": "a", "temperature": 2.0, "bias": 1.0, "operating_points": point},
        {"name": "b", "operating_points": point},
    ]
    card = make_card(labels, activation="sigmoid")
    result = scores(card, np.array([[4.0, 0.0]], np.float32))
    np.testing.assert_allclose(result, [[1 / (1 + np.exp(-3.0)), 0.5]])


@given(logits=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=2))
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_are_probabilities(
    make_card: CardMaker, activation: str, logits: list[float]
) -> None:
    result = scores(make_card(activation=activation), np.array([logits], np.float32))
    assert np.isfinite(result).all()
    assert (result >= 0).all()
    assert (result <= 1).all()


@given(pivot=st.floats(0.001, 0.999), probability=st.floats(0.001, 0.999))
def test_rescaling_puts_the_pivot_at_one_half_and_keeps_the_order(
    make_card: CardMaker, pivot: float, probability: float
) -> None:
    points = {"balanced": {"threshold": 0.5}}
    rescaled = {"rescale_at": pivot, "operating_points": points}
    card = make_card([{"name": name, **rescaled} for name in "ab"], activation="sigmoid")
    logit = np.log([pivot / (1 - pivot), probability / (1 - probability)])
    at_pivot, result = scores(card, logit[np.newaxis])[0]
    assert at_pivot == pytest.approx(0.5)
    assert 0 <= result <= 1
    assert (result - at_pivot) * (probability - pivot) >= -1e-12


def test_gate_decides_at_the_threshold_of_yes(make_card: CardMaker) -> None:
    card = make_card()
    limits = thresholds(card)
    assert answer(card, np.array([0.5, 0.5]), limits) == "xray"
    assert answer(card, np.array([0.5001, 0.4999]), limits) == "other"
    sensitive = thresholds(card, "sensitive")
    assert answer(card, np.array([0.7, 0.3]), sensitive) == "xray"


def test_positives_come_with_the_highest_score_first(make_card: CardMaker) -> None:
    card = make_card(("a", "b", "c"), activation="sigmoid")
    assert positives(card, np.array([0.6, 0.2, 0.9]), thresholds(card)) == ("c", "a")
    assert answer(card, np.array([0.6, 0.2, 0.9]), thresholds(card)) is None


def test_a_top_label_stage_needs_no_operating_points(make_card: CardMaker) -> None:
    card = make_card([{"name": name} for name in "abc"])
    assert thresholds(card, "sensitive") == {}
    assert answer(card, np.array([0.2, 0.7, 0.1]), {}) == "b"
    assert positives(card, np.array([0.2, 0.7, 0.1]), {}) == ()
