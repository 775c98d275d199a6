"""The card: read back as written, and every contradiction refused in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.card import ModelCard, read_card, write_card
from models.errors import CardError

CardMaker = Callable[..., ModelCard]


def rewrite(card: ModelCard, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The card's JSON in a file, changed by hand."""
    data = json.loads(card.model_dump_json())
    change(data)
    path.write_text(json.dumps(data))
    return path


DECILES = [0.0, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]


def _quantiles(values: list[float]) -> Callable[[dict[str, Any]], object]:
    return lambda card: card["labels"][1].update(score_quantiles=values)


def test_score_quantiles_are_kept_where_a_label_has_them(
    tmp_path: Path, make_card: CardMaker
) -> None:
    card = read_card(rewrite(make_card(), tmp_path / "card.json", _quantiles(DECILES)))
    assert [label.score_quantiles for label in card.labels] == [None, tuple(DECILES)]
    write_card(card, tmp_path / "again.json")
    assert read_card(tmp_path / "again.json") == card


def test_a_card_comes_back_as_written(tmp_path: Path, make_card: CardMaker) -> None:
    card = make_card(training={"epochs": 3}, known_failures=["toys"])
    write_card(card, tmp_path / "card.json")
    assert read_card(tmp_path / "card.json") == card


def test_optional_fields_may_be_left_out(tmp_path: Path, make_card: CardMaker) -> None:
    def drop(data: dict[str, Any]) -> None:
        for name in ("training", "metrics", "known_failures", "unknown"):
            del data[name]

    path = rewrite(make_card(), tmp_path / "card.json", drop)
    assert read_card(path).unknown is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(colour="red"), "colour: Extra inputs"),
        (lambda card: card.update(input_px="128"), "input_px: Input should be a valid integer"),
        (lambda card: card.update(std=0), "std"),
        (lambda card: card.update(std=[0.1, 0.2, 0.3]), "one channel has one mean"),
        (lambda card: card.update(architecture="vgg"), "architecture"),
        (lambda card: card.update(model_version="gate-1.0.0+00000000"), "model_version: "),
        (lambda card: card.update(model_version="gate-one+abababab"), "model_version: "),
        (lambda card: card.update(default_operating_point="bold"), "has the default 'bold'"),
        (lambda card: card.update(labels=[]), "labels"),
        (lambda card: card["labels"][0].update(name="xray"), "same name"),
        (lambda card: card["labels"][0].update(name="../x"), "labels.0.name"),
        (lambda card: card["labels"][0].update(temperature=2.0), "one temperature"),
        (lambda card: card["labels"][0].update(bias=1.0), "belong to sigmoid"),
        (lambda card: card["labels"][1].update(operating_points={}), "has the default 'balanced'"),
        (_quantiles(DECILES[1:]), "labels.1.score_quantiles: Tuple should have at least 9"),
        (_quantiles([*DECILES, 1.0]), "labels.1.score_quantiles: Tuple should have at most 9"),
        (_quantiles(DECILES[::-1]), "labels.1.score_quantiles: Value error, they do not ascend"),
        (_quantiles([-0.1, *DECILES[1:]]), "labels.1.score_quantiles.0: "),
        (_quantiles([*DECILES[:-1], 1.1]), "labels.1.score_quantiles.8: "),
        (lambda card: card["weights"].update(file="../../etc/passwd"), "weights.file"),
        (lambda card: card["weights"].update(sha256="beef"), "weights.sha256"),
    ],
)
def test_a_wrong_card_is_refused_in_words(
    tmp_path: Path, make_card: CardMaker, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    path = rewrite(make_card(), tmp_path / "card.json", change)
    with pytest.raises(CardError, match=words):
        read_card(path)


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="no readable model card"):
        read_card(tmp_path / "card.json")


def test_a_broken_card_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"stage": ')
    with pytest.raises(CardError, match="card: Invalid JSON"):
        read_card(tmp_path / "card.json")


def test_answers_route(make_card: CardMaker) -> None:
    unknown = {"threshold": 0.5}
    assert make_card().answers == ("other", "xray")
    assert make_card(("a", "b"), unknown=unknown).answers == ("a", "b", "unknown")
    assert make_card(("a", "b"), activation="sigmoid").answers == ()


def test_unknown_is_for_softmax_and_no_label(make_card: CardMaker) -> None:
    with pytest.raises(ValidationError, match="cannot be a label too"):
        make_card(("unknown", "b"), unknown={"threshold": 0.5})
    with pytest.raises(ValidationError, match="only a softmax head"):
        make_card(("a", "b"), activation="sigmoid", unknown={"threshold": 0.5})


def test_only_two_labels_without_unknown_ask_yes_or_no(make_card: CardMaker) -> None:
    assert make_card().is_yes_no
    assert not make_card(unknown={"threshold": 0.5}).is_yes_no
    assert not make_card(("a", "b", "c")).is_yes_no
    assert not make_card(activation="sigmoid").is_yes_no


def test_operating_points_are_those_of_every_deciding_label(make_card: CardMaker) -> None:
    point = {"threshold": 0.5}
    labels = [
        {"name": "a", "operating_points": {"balanced": point, "sensitive": point}},
        {"name": "b", "operating_points": {"balanced": point}},
    ]
    assert make_card(labels, activation="sigmoid").operating_points == ("balanced",)
    assert make_card(("a", "b", "c")).operating_points == ()
    assert make_card().operating_points == ("sensitive", "balanced")
