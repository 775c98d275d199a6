"""A folder with a card and its weights, read without torch and checked against each other."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models.card import CARD_FILE, ModelCard, read_card
from models.errors import CardError, WeightsError
from models.spec import StageSpec

HEAD = "classifier"
"""Prefix of the linear head in the state dict, as in torchvision's DenseNet."""


def load_card(directory: Path) -> ModelCard:
    """The card in `directory`, once its weights agree in size, sha256 and head size.

    Raises CardError where the card is wrong and WeightsError where the weights are.
    """
    card = read_card(directory / CARD_FILE)
    path = directory / card.weights.file
    _check_bytes(path, card)
    _check_head(path, card)
    return card


def load_stage_card(stage: StageSpec) -> ModelCard:
    """The card of a catalogue entry, checked as in `load_card`, and that it is of this stage."""
    card = load_card(stage.weights_dir)
    if card.stage != stage.name:
        raise CardError(
            f"The card in {stage.weights_dir} is of stage {card.stage!r}, and the catalogue uses "
            f"it for {stage.name!r}; point the entry at other weights."
        )
    return card


def load_cards(stages: Iterable[StageSpec]) -> dict[str, ModelCard]:
    """The card of each stage by name, checked as in `load_stage_card`."""
    return {stage.name: load_stage_card(stage) for stage in stages}


def read_head(directory: Path, card: ModelCard) -> NDArray[np.float32]:
    """The weight matrix of the linear head, float32 of shape (labels, features)."""
    with safe_open(directory / card.weights.file, framework="numpy") as tensors:
        weight: NDArray[Any] = tensors.get_tensor(f"{HEAD}.weight")
    return weight.astype(np.float32)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_bytes(path: Path, card: ModelCard) -> None:
    """The file on disk is the one the card was written for."""
    remedy = (
        f"Restore {path.name} and card.json of stage {card.stage!r} together "
        "(from the repository, or with the command that trained or imported them)."
    )
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}. {remedy}")
    size = path.stat().st_size
    if size != card.weights.bytes:
        raise WeightsError(
            f"{path} has {size} bytes and its card says {card.weights.bytes}: "
            f"a truncated or foreign file. {remedy}"
        )
    if sha256_of(path) != card.weights.sha256:
        raise WeightsError(f"{path} was changed: its sha256 is not that of its card. {remedy}")


def _check_head(path: Path, card: ModelCard) -> None:
    """One output per label of the card."""
    shapes = _shapes(path)
    weight, bias = shapes.get(f"{HEAD}.weight"), shapes.get(f"{HEAD}.bias")
    outputs = len(card.labels)
    if weight is None or bias is None or weight[0] != outputs or bias != (outputs,):
        raise WeightsError(
            f"The head in {path} has shape {weight} and the card of stage {card.stage!r} has "
            f"{outputs} labels; write the card again for these weights."
        )


def _shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="numpy") as tensors:
            names = tensors.offset_keys()
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}.") from error
