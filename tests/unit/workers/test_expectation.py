"""How often a label should be met, as the card has it."""

import json

import pytest

from models.card import ModelCard
from models.catalogue import read_cards
from tests.stand_in.stages import card
from workers.expectation import expected_scores, expected_shares


def test_a_label_at_its_operating_point() -> None:
    made = _with_point(card("chest", ("abnormal",), "sigmoid"), 0.2, 0.9, 0.75)
    # 0.2 are so and 90 % of them found; of the 0.8 others a quarter is called so.
    assert expected_shares(made, "balanced") == {"abnormal": pytest.approx(0.2 * 0.9 + 0.8 * 0.25)}


def test_a_yes_no_head_answers_one_of_two() -> None:
    made = _with_point(card("gate", ("other", "xray"), "softmax"), 0.5, 1.0, 0.9)
    shares = expected_shares(made, "balanced")
    assert shares == {"other": pytest.approx(0.45), "xray": pytest.approx(0.55)}


def test_what_nobody_measured_is_left_out() -> None:
    assert expected_shares(card("chest", ("abnormal",), "sigmoid"), "balanced") == {}


def test_quantiles_of_scores_are_told_where_the_card_has_them() -> None:
    made = card("chest", ("abnormal", "Mass"), "sigmoid")
    assert expected_scores(made) == {}
    deciles = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.9)
    known = made.labels[1].model_copy(update={"score_quantiles": deciles})
    made = made.model_copy(update={"labels": (made.labels[0], known)})
    (quantiles,) = expected_scores(made).values()
    assert list(expected_scores(made)) == ["Mass"]
    assert (quantiles[0.1], quantiles[0.5], quantiles[0.9]) == (0.0, 0.05, 0.9)


def test_the_shipped_cards_have_figures_for_every_label_to_rely_on() -> None:
    for made in read_cards().values():
        shares = expected_shares(made, made.default_operating_point)
        assert set(shares) >= {label.name for label in made.labels if not label.experimental}
        assert all(0 <= share <= 1 for share in shares.values())
        if made.activation == "softmax":
            assert set(shares) == set(made.label_names)
            assert sum(shares.values()) == pytest.approx(1.0, abs=0.01)


def _with_point(
    made: ModelCard, prevalence: float, sensitivity: float, specificity: float
) -> ModelCard:
    point = {"threshold": 0.5, "sensitivity": sensitivity, "specificity": specificity}
    data = made.model_dump(mode="json")
    for label in data["labels"]:
        label |= {"prevalence_train": prevalence, "operating_points": {"balanced": point}}
    return ModelCard.model_validate_json(json.dumps(data))
