"""The catalogue: what follows what, what a file may add, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models import catalogue
from models.card import ModelCard
from models.errors import CatalogueError
from models.spec import WEIGHTS_ROOT, StageSpec

CardMaker = Callable[..., ModelCard]
Stages = tuple[StageSpec, ...]

HAND = """
[[stage]]
name = "hand"
after = "type"
on = "hand"
weights = "hand-weights"
"""


@pytest.fixture
def cards(make_card: CardMaker) -> dict[str, ModelCard]:
    rule = {"threshold": 0.5}
    return {
        "gate": make_card(),
        "type": make_card(("chest", "hand"), stage="type", unknown=rule),
        "chest": make_card(("abnormal", "Mass"), stage="chest", activation="sigmoid"),
    }


def test_built_in_stages_are_wired() -> None:
    catalogue.check_wiring(catalogue.STAGES)
    assert [stage.name for stage in catalogue.STAGES] == ["gate", "type", "chest"]
    assert catalogue.root().name == "gate"
    assert catalogue.find("gate").refuses == {"other": "not_xray"}
    assert catalogue.find("gate").weights_dir == WEIGHTS_ROOT / "gate"


def test_answer_of_the_parent_chooses_the_next_stage(stages: Stages) -> None:
    chosen = catalogue.next_stage("type", "chest", stages)
    assert chosen is not None
    assert chosen.name == "chest"
    assert catalogue.next_stage("type", "hand", stages) is None
    assert catalogue.next_stage("gate", "other", stages) is None
    assert catalogue.next_stage("chest", None, stages) is None
    assert [child.name for child in catalogue.children("gate", stages)] == ["type"]
    assert catalogue.children("chest", stages) == ()


def test_find_names_what_is_missing(stages: Stages) -> None:
    with pytest.raises(CatalogueError, match="no stage 'foot'"):
        catalogue.find("foot", stages)


def test_stages_are_hashable_and_frozen(stages: Stages) -> None:
    assert len({*stages, *stages}) == 3
    with pytest.raises(AttributeError):
        stages[0].name = "door"  # type: ignore[misc]


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_file_adds_a_stage_and_moves_weights(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"stages{suffix}"
    entry = {"name": "hand", "after": "type", "on": "hand", "weights": "hand-weights"}
    text = HAND + '[weights]\nchest = "mine"\n'
    if suffix == ".json":
        text = json.dumps({"stage": [entry], "weights": {"chest": "mine"}})
    path.write_text(text)

    stages = catalogue.load_catalogue(path)

    assert [stage.name for stage in stages] == ["gate", "type", "chest", "hand"]
    assert stages[3] == StageSpec(
        "hand", str(tmp_path / "hand-weights"), after="type", on="hand", completes="done"
    )
    assert stages[2].weights_dir == tmp_path / "mine"
    assert stages[0] is catalogue.STAGES[0]


def test_no_file_means_the_built_in_stages() -> None:
    assert catalogue.load_catalogue() is catalogue.STAGES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not toml", "Cannot read"),
        (HAND + "colour = 1", "colour"),
        (HAND.replace('"hand"', '"Hand/../x"', 1), "name"),
        (HAND.replace('"type"', '"tipe"'), "after unknown 'tipe'"),
        (HAND + HAND, "Two stages are called 'hand'"),
        (HAND.replace('on = "hand"', 'on = "chest"'), "2 stages run on answer 'chest'"),
        ('[weights]\nfoot = "x"', "names no stage: foot"),
        (HAND.replace('after = "type"', 'after = "hand"'), "circle: hand"),
    ],
)
def test_a_wrong_file_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "stages.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=words):
        catalogue.load_catalogue(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="Cannot read"):
        catalogue.load_catalogue(tmp_path / "none.toml")


def test_two_roots_are_refused(stages: Stages) -> None:
    with pytest.raises(CatalogueError, match="one root stage, not 2"):
        catalogue.check_wiring((*stages, StageSpec("door", "door")))


def test_stages_and_cards_fit(stages: Stages, cards: dict[str, ModelCard]) -> None:
    catalogue.validate(stages, cards)


def test_a_stage_may_run_on_unknown(stages: Stages, cards: dict[str, ModelCard]) -> None:
    extra = StageSpec("triage", "x", after="type", on="unknown")
    catalogue.validate((*stages, extra), cards | {"triage": cards["chest"]})


def test_an_answer_the_parent_cannot_give_is_refused(
    stages: Stages, cards: dict[str, ModelCard]
) -> None:
    wrong = (*stages[:2], replace(stages[2], on="knee"))
    with pytest.raises(CatalogueError, match=r"'knee'.*answers chest, hand, unknown"):
        catalogue.validate(wrong, cards)


def test_a_refusal_of_no_label_is_refused(stages: Stages, cards: dict[str, ModelCard]) -> None:
    wrong = (replace(stages[0], refuses={"cat": "not_xray"}), *stages[1:])
    with pytest.raises(CatalogueError, match="refuses 'cat'"):
        catalogue.validate(wrong, cards)


def test_a_stage_without_card_is_refused(stages: Stages, cards: dict[str, ModelCard]) -> None:
    del cards["chest"]
    with pytest.raises(CatalogueError, match="'chest' has no model card"):
        catalogue.validate(stages, cards)


def test_a_multi_label_stage_has_no_children(stages: Stages, cards: dict[str, ModelCard]) -> None:
    extra = StageSpec("mass", "mass", after="chest", on="Mass")
    with pytest.raises(CatalogueError, match="'chest' cannot answer"):
        catalogue.validate((*stages, extra), cards | {"mass": cards["chest"]})


def test_an_operating_point_holds_where_the_card_has_it(cards: dict[str, ModelCard]) -> None:
    known = {point for card in cards.values() for point in card.operating_points}
    assert known
    for point in known:
        assert catalogue.operating_points(point, cards) == {
            name: point if point in card.operating_points else None for name, card in cards.items()
        }
    assert set(catalogue.operating_points(None, cards).values()) == {None}
    with pytest.raises(CatalogueError, match=f"'bogus'; there are .*{min(known)}"):
        catalogue.operating_points("bogus", cards)
