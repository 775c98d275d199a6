"""The stages of this installation: three built in, more from a TOML or JSON file.

A file adds stages and may point a stage at other weights; both paths are relative to it:

    [[stage]]
    name = "hand"
    after = "type"
    on = "hand"
    weights = "hand-weights"

    [weights]
    chest = "imported/chest"
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from models.card import CARD_FILE, ModelCard, read_card
from models.errors import CatalogueError
from models.spec import StageSpec

STAGES: tuple[StageSpec, ...] = (
    StageSpec(name="gate", weights="gate", completes="gated", refuses={"other": "not_xray"}),
    StageSpec(name="type", weights="type", after="gate", on="xray", completes="typed"),
    StageSpec(name="chest", weights="chest", after="type", on="chest", completes="done"),
)
"""THE built-in stages, root first."""

# A stage name becomes a queue, a task name, a metric label and a URL segment.
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class _Entry(BaseModel):
    """One `[[stage]]` table of a catalogue file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Name
    weights: str
    after: str
    on: str
    completes: str = "done"
    refuses: dict[str, str] = {}


class _File(BaseModel):
    """A catalogue file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    stage: list[_Entry] = []
    weights: dict[str, str] = {}


def load_catalogue(extra: Path | None = None) -> tuple[StageSpec, ...]:
    """The built-in stages, changed and extended by the file `extra` (TOML or JSON).

    Raises CatalogueError where the file cannot be read or the stages do not fit together.
    """
    if extra is None:
        return STAGES
    file = _read(extra)
    home = extra.resolve().parent
    unknown = file.weights.keys() - {stage.name for stage in STAGES}
    if unknown:
        raise CatalogueError(f"{extra}: [weights] names no stage: {', '.join(sorted(unknown))}")
    built_in = (
        replace(stage, weights=str(home / file.weights[stage.name]))
        if stage.name in file.weights
        else stage
        for stage in STAGES
    )
    stages = (*built_in, *(_spec(entry, home) for entry in file.stage))
    check_wiring(stages)
    return stages


def find(name: str, stages: Iterable[StageSpec] = STAGES) -> StageSpec:
    """The stage called `name`. Raises CatalogueError where there is none."""
    for stage in stages:
        if stage.name == name:
            return stage
    raise CatalogueError(f"There is no stage {name!r}.")


def root(stages: Iterable[StageSpec] = STAGES) -> StageSpec:
    """The first stage of every image."""
    return next(stage for stage in stages if stage.after is None)


def children(stage: str, stages: Iterable[StageSpec] = STAGES) -> tuple[StageSpec, ...]:
    """The stages that may run after `stage`, in catalogue order."""
    return tuple(child for child in stages if child.after == stage)


def next_stage(
    stage: str, answer: str | None, stages: Iterable[StageSpec] = STAGES
) -> StageSpec | None:
    """The stage that runs once `stage` has given `answer`; None where the walk ends."""
    return next((child for child in children(stage, stages) if child.on == answer), None)


def read_cards(stages: Iterable[StageSpec] = STAGES) -> dict[str, ModelCard]:
    """The card of each stage by name; `models.artifact.load_cards` checks the weights as well.

    Raises CardError.
    """
    return {stage.name: read_card(stage.weights_dir / CARD_FILE) for stage in stages}


def validate(stages: tuple[StageSpec, ...], cards: Mapping[str, ModelCard]) -> None:
    """Check that stages and cards fit together; `models.artifact.load_cards` checks the weights.

    Raises CatalogueError: names not unique, not exactly one root, a cycle, or an answer
    (`on`, `refuses`) that the card of the stage in question cannot give.
    """
    check_wiring(stages)
    for stage in stages:
        if stage.name not in cards:
            raise CatalogueError(f"Stage {stage.name!r} has no model card in {stage.weights_dir}.")
    for stage in stages:
        if stage.after is not None and stage.on not in cards[stage.after].answers:
            raise CatalogueError(
                f"Stage {stage.name!r} runs on {stage.on!r}, which stage {stage.after!r} "
                f"cannot answer; it answers {', '.join(cards[stage.after].answers)}."
            )
        for answer in stage.refuses.keys() - set(cards[stage.name].answers):
            raise CatalogueError(f"Stage {stage.name!r} refuses {answer!r}, not one of its labels.")


def operating_points(wanted: str | None, cards: Mapping[str, ModelCard]) -> dict[str, str | None]:
    """Stage -> the operating point to ask for there; None is the card's default.

    Stages need not know the same ones: where a card lacks `wanted`, its default holds. Raises
    CatalogueError where no card has it: then it is misspelled.
    """
    known = {name: wanted in card.operating_points for name, card in cards.items()}
    if wanted is not None and not any(known.values()):
        choices = sorted({point for card in cards.values() for point in card.operating_points})
        raise CatalogueError(
            f"No model card has the operating point {wanted!r}; there are {', '.join(choices)}."
        )
    return {name: wanted if has else None for name, has in known.items()}


def check_wiring(stages: tuple[StageSpec, ...]) -> None:
    """Check what needs no card: unique names, one root, known parents, no cycle.

    Raises CatalogueError.
    """
    names = Counter(stage.name for stage in stages)
    for name, count in names.items():
        if count > 1:
            raise CatalogueError(f"Two stages are called {name!r}; give one another name.")
    roots = [stage.name for stage in stages if stage.after is None]
    if len(roots) != 1:
        raise CatalogueError(f"There must be one root stage, not {len(roots)}: {roots}.")
    for stage in stages:
        if stage.after is not None and stage.after not in names:
            raise CatalogueError(f"Stage {stage.name!r} runs after unknown {stage.after!r}.")
    claimed = Counter((stage.after, stage.on) for stage in stages)
    for (after, on), count in claimed.items():
        if count > 1:
            raise CatalogueError(f"{count} stages run on answer {on!r} of stage {after!r}.")
    _check_reachable(stages)


def _check_reachable(stages: tuple[StageSpec, ...]) -> None:
    """Every stage hangs on the root; with one parent each, that also excludes a cycle."""
    reached = {root(stages).name}
    frontier = list(reached)
    while frontier:
        below = [child.name for child in children(frontier.pop(), stages)]
        reached.update(below)
        frontier.extend(below)
    lost = [stage.name for stage in stages if stage.name not in reached]
    if lost:
        raise CatalogueError(f"Stages run after each other in a circle: {', '.join(lost)}.")


def _spec(entry: _Entry, home: Path) -> StageSpec:
    fields = entry.model_dump()
    return StageSpec(**{**fields, "weights": str(home / entry.weights)})


def _read(path: Path) -> _File:
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return _File.model_validate(data)
    except (OSError, ValueError) as error:  # ValidationError and both decode errors included
        raise CatalogueError(f"Cannot read the catalogue file {path}: {error}") from error
