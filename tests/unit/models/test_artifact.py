"""Weights load only where bytes, sha256 and head agree with the card."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.artifact import load_card, load_cards, read_head, sha256_of
from models.card import CARD_FILE, ModelCard, write_card
from models.errors import CardError, WeightsError
from models.spec import StageSpec

CardMaker = Callable[..., ModelCard]
ArtifactMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, make_artifact: ArtifactMaker) -> Path:
    return make_artifact(tmp_path_factory.mktemp("original"))


@pytest.fixture
def artifact(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "artifact"))


def test_card_and_weights_agree(artifact: Path) -> None:
    card = load_card(artifact)
    assert card.label_names == ("other", "xray")
    assert load_cards([StageSpec("gate", str(artifact))]) == {"gate": card}


def test_the_card_of_another_stage_is_refused(artifact: Path) -> None:
    with pytest.raises(CardError, match=r"is of stage 'gate'.*for 'hand'"):
        load_cards([StageSpec("hand", str(artifact), after="type", on="hand")])


def test_the_head_is_read_as_float32(artifact: Path) -> None:
    head = read_head(artifact, load_card(artifact))
    assert head.shape == (2, 1024)
    assert head.dtype == np.float32
    stored = load_file(artifact / "weights.safetensors")["classifier.weight"]
    np.testing.assert_array_equal(head, stored.astype(np.float32))


def test_one_changed_byte_is_noticed(artifact: Path) -> None:
    path = artifact / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"was changed.*Restore weights\.safetensors and card"):
        load_card(artifact)


def test_a_truncated_file_is_noticed(artifact: Path) -> None:
    path = artifact / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"truncated or foreign file.*Restore"):
        load_card(artifact)


def test_missing_weights_are_named(artifact: Path) -> None:
    (artifact / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match="There are no weights at"):
        load_card(artifact)


def _write_card_for(directory: Path, card: ModelCard, make_card: CardMaker) -> None:
    path = directory / "weights.safetensors"
    sha256 = sha256_of(path)
    weights = {"sha256": sha256, "dtype": "float16", "bytes": path.stat().st_size}
    new = make_card(card.label_names, weights=weights, model_version=f"gate-1.0.0+{sha256[:8]}")
    write_card(new, directory / CARD_FILE)


@pytest.mark.parametrize("rows", [1, 3])
def test_head_size_and_labels_must_agree(artifact: Path, make_card: CardMaker, rows: int) -> None:
    tensors = {
        "classifier.weight": np.zeros((rows, 1024), np.float16),
        "classifier.bias": np.zeros(rows, np.float16),
    }
    card = load_card(artifact)
    save_file(tensors, artifact / "weights.safetensors")
    _write_card_for(artifact, card, make_card)
    with pytest.raises(WeightsError, match=r"has shape .* has 2 labels"):
        load_card(artifact)


def test_weights_without_a_head_are_refused(artifact: Path, make_card: CardMaker) -> None:
    card = load_card(artifact)
    save_file({"x": np.zeros(1)}, artifact / "weights.safetensors")
    _write_card_for(artifact, card, make_card)
    with pytest.raises(WeightsError, match="has shape None"):
        load_card(artifact)


def test_another_format_is_refused(artifact: Path, make_card: CardMaker) -> None:
    card = load_card(artifact)
    (artifact / "weights.safetensors").write_bytes(b"\x80\x02pickle" * 10)
    _write_card_for(artifact, card, make_card)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_card(artifact)
