"""The weights that are shipped: they belong to their cards, fit the catalogue, and run alike."""

import numpy as np
import pytest

from models.artifact import load_cards
from models.catalogue import STAGES, validate
from models.spec import WEIGHTS_ROOT, StageSpec
from models.stage import load

MOST_BYTES = 60_000_000
"""Weights are part of the repository; a clone should stay quick."""


def test_cards_weights_and_catalogue_agree() -> None:
    cards = load_cards(STAGES)
    validate(STAGES, cards)
    assert {name: card.stage for name, card in cards.items()} == {s.name: s.name for s in STAGES}
    assert cards["gate"].label_names == ("other", "xray")
    assert cards["chest"].label_names[0] == "abnormal"
    assert len(cards["chest"].labels) == 15


def test_weights_are_small_enough_for_the_repository() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS_ROOT.rglob("*.safetensors")) < MOST_BYTES


@pytest.mark.parametrize("spec", STAGES, ids=lambda spec: spec.name)
def test_onnx_and_torch_give_the_same_scores(spec: StageSpec) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 160).astype(np.uint8)
    images = [rng.integers(0, 256, (200, 160), dtype=np.uint8), np.tile(ramp, (200, 1))]
    onnx = load(spec, device="cpu", runtime="onnx").predict(images)
    torch = load(spec, device="cpu", runtime="torch").predict(images)
    for left, right in zip(onnx, torch, strict=True):
        assert left.scores == pytest.approx(dict(right.scores), abs=1e-3)
        assert left.heatmaps.keys() == right.heatmaps.keys()
