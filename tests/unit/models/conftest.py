"""Random DenseNets and cards for them. They live in temporary folders and nowhere else."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.card import CARD_FILE, ModelCard, write_card
from models.spec import StageSpec

Tensors = dict[str, NDArray[Any]]
CardMaker = Callable[..., ModelCard]
ArtifactMaker = Callable[..., Path]

BLOCKS = (6, 12, 24, 16)


def _layers(channels: int, labels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every convolution, norm and linear layer of DenseNet-121."""
    yield "features.conv0", (64, channels, 7, 7)
    yield "features.norm0", (64,)
    width = 64
    for block, layers in enumerate(BLOCKS, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            yield f"{name}.norm1", (width,)
            yield f"{name}.conv1", (128, width, 1, 1)
            yield f"{name}.norm2", (128,)
            yield f"{name}.conv2", (32, 128, 3, 3)
            width += 32
        if block < len(BLOCKS):
            yield f"features.transition{block}.norm", (width,)
            yield f"features.transition{block}.conv", (width // 2, width, 1, 1)
            width //= 2
    yield "features.norm5", (width,)
    yield "classifier", (labels, width)


@pytest.fixture(scope="session")
def densenet_tensors() -> Callable[..., Tensors]:
    """Makes a random state dict with torchvision's names, without torch."""

    def make(channels: int = 1, labels: int = 3, seed: int = 0) -> Tensors:
        rng = np.random.default_rng(seed)
        tensors: Tensors = {}
        for name, shape in _layers(channels, labels):
            if len(shape) == 1:
                tensors[f"{name}.weight"] = rng.uniform(0.8, 1.2, shape)
                tensors[f"{name}.bias"] = rng.normal(0, 0.1, shape)
                tensors[f"{name}.running_mean"] = rng.normal(0, 0.1, shape)
                tensors[f"{name}.running_var"] = rng.uniform(0.8, 1.2, shape)
            else:
                scale = np.sqrt(2 / np.prod(shape[1:]))
                tensors[f"{name}.weight"] = rng.normal(0, scale, shape)
        tensors["classifier.bias"] = rng.normal(0, 0.1, labels)
        return {name: value.astype(np.float32) for name, value in tensors.items()}

    return make


@pytest.fixture(scope="session")
def make_card() -> CardMaker:
    """Makes a valid card; a label is a name or a whole record, keywords replace other fields."""

    def make(
        labels: Sequence[str | dict[str, Any]] = ("other", "xray"), **fields: Any
    ) -> ModelCard:
        point = {"threshold": 0.5, "sensitivity": 0.9, "specificity": 0.8}
        points = {"sensitive": point | {"threshold": 0.3}, "balanced": point}
        sha256 = "ab" * 32
        stage = fields.get("stage", "gate")
        card: dict[str, Any] = {
            "stage": stage,
            "model_version": f"{stage}-1.0.0+{sha256[:8]}",
            "architecture": "densenet121",
            "channels": 1,
            "input_px": 64,
            "mean": 0.5,
            "std": 0.25,
            "activation": "softmax",
            "labels": [
                {"name": label, "operating_points": points} if isinstance(label, str) else label
                for label in labels
            ],
            "weights": {"sha256": sha256, "dtype": "float32", "bytes": 4},
            "intended_use": "Tests.",
            "disclaimer": "Not a medical device.",
        }
        return ModelCard.model_validate(card | fields, strict=False)

    return make


@pytest.fixture(scope="session")
def make_artifact(make_card: CardMaker, densenet_tensors: Callable[..., Tensors]) -> ArtifactMaker:
    """Writes a card with random weights into a folder; keywords as for `make_card`."""

    def make(
        directory: Path,
        labels: tuple[str, ...] = ("other", "xray"),
        dtype: str = "float16",
        **fields: Any,
    ) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        tensors = densenet_tensors(fields.get("channels", 1), len(labels))
        path = directory / "weights.safetensors"
        save_file({name: value.astype(dtype) for name, value in tensors.items()}, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        weights = {"sha256": sha256, "dtype": dtype, "bytes": path.stat().st_size}
        version = f"{fields.get('stage', 'gate')}-1.0.0+{sha256[:8]}"
        card = make_card(labels, weights=weights, model_version=version, **fields)
        write_card(card, directory / CARD_FILE)
        return directory

    return make


@pytest.fixture(scope="session")
def stages() -> tuple[StageSpec, ...]:
    """A catalogue of three, independent of the built-in one."""
    return (
        StageSpec("gate", "gate", completes="gated", refuses={"other": "not_xray"}),
        StageSpec("type", "type", after="gate", on="xray", completes="typed"),
        StageSpec("chest", "chest", after="type", on="chest"),
    )
