"""Weights from elsewhere: same image, same outputs as where they come from; nothing unpickled."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.artifact import load_card  # noqa: E402
from models.errors import ImportWeightsError  # noqa: E402
from models.imports import IMAGENET_INPUT, XRV_LABELS, InputFacts, register  # noqa: E402
from models.stage import load  # noqa: E402

Image = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


@pytest.fixture
def image() -> Image:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (224, 224), dtype=np.uint8)


@pytest.fixture
def state_dict(densenet_tensors: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    def make(channels: int = 1, labels: int = 18) -> dict[str, Any]:
        return {k: torch.from_numpy(v) for k, v in densenet_tensors(channels, labels).items()}

    return make


@pytest.fixture
def stub() -> dict[str, Any]:
    """The first and last layer only: enough for what is refused before the network runs."""
    return {
        "features.conv0.weight": torch.zeros(64, 1, 7, 7),
        "classifier.weight": torch.zeros(2, 1024),
        "classifier.bias": torch.zeros(2),
    }


@pytest.fixture(scope="module")
def xrv() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torchxrayvision")


def test_torchxrayvision_gives_the_same_outputs(
    tmp_path: Path,
    image: Image,
    state_dict: Callable[..., dict[str, Any]],
    xrv: Any,
) -> None:
    untrained = (14, 16, 17)  # as in densenet121-res224-nih and its siblings
    thresholds = torch.linspace(0.02, 0.9, 18)
    thresholds[list(untrained)] = float("nan")
    model = xrv.models.DenseNet(op_threshs=torch.zeros(18)).eval()
    tensors = state_dict() | {"op_threshs": thresholds}
    tensors["features.conv0.weight"] /= 600  # random weights meet pixels of +-1024
    model.load_state_dict(tensors, strict=False)
    torch.save(model.state_dict(), tmp_path / "xrv.pt")
    pixels = torch.from_numpy(xrv.utils.normalize(image, 255))[None, None]
    with torch.inference_mode():
        expected = model(pixels)[0].tolist()

    card = register(
        tmp_path / "xrv.pt", kind="torchxrayvision", stage="chest", out_dir=tmp_path / "chest"
    )
    (prediction,) = load(tmp_path / "chest", device="cpu").predict([image])

    trained = [name for i, name in enumerate(XRV_LABELS) if i not in untrained]
    assert card.label_names == tuple(trained)
    theirs = {XRV_LABELS[i]: value for i, value in enumerate(expected) if i not in untrained}
    assert prediction.scores == pytest.approx(theirs, abs=1e-4)
    assert len({round(score, 3) for score in theirs.values()}) > 5
    assert set(prediction.positives) == {name for name, score in theirs.items() if score >= 0.5}


def test_xrv_labels_are_those_of_the_package(xrv: Any) -> None:
    names = xrv.models.DenseNet.targets
    assert [name.replace(" ", "_") for name in names] == list(XRV_LABELS)


def test_torchvision_gives_the_same_outputs(
    tmp_path: Path, image: Image, state_dict: Callable[..., dict[str, Any]]
) -> None:
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.densenet121(num_classes=3).eval()
    model.load_state_dict(state_dict(3, 3), strict=False)
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 7, "state_dict": wrapped}, tmp_path / "tv.pt")
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_INPUT.mean, IMAGENET_INPUT.std))
    pixels = (torch.from_numpy(image) / 255 - mean) / std
    with torch.inference_mode():
        expected = model(pixels[None].float()).softmax(1)[0].tolist()

    card = register(
        tmp_path / "tv.pt",
        kind="torchvision",
        stage="type",
        out_dir=tmp_path / "out" / "type",
        labels=["hand", "chest", "knee"],
        activation="softmax",
        version="2.1.0",
    )
    (prediction,) = load(tmp_path / "out" / "type", device="cpu").predict([image])

    assert card.model_version.startswith("type-2.1.0+")
    assert card.channels == 3
    assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-4)


def test_old_names_half_precision_and_own_inputs_are_kept(
    tmp_path: Path, state_dict: Callable[..., dict[str, Any]]
) -> None:
    def old(name: str) -> str:
        for part in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{part}.", f".{part[:4]}.{part[4]}.")
        return name

    tensors = {old(name): value.half() for name, value in state_dict(1, 2).items()}
    assert any(".norm.1." in name for name in tensors)
    torch.save(tensors, tmp_path / "old.pt")
    card = register(
        tmp_path / "old.pt",
        kind="torchvision",
        stage="hand",
        out_dir=tmp_path / "hand",
        labels=["abnormal", "Fracture"],
        inputs=InputFacts(96, 0.4, 0.2),
    )
    assert card == load_card(tmp_path / "hand")
    assert (card.input_px, card.mean, card.weights.dtype) == (96, 0.4, "float16")
    assert [p.name for p in tmp_path.glob(".import-*")] == []


def test_a_pickled_module_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ImportWeightsError, match=r"could run code.*weights_only=False"):
        register(path, kind="torchxrayvision", stage="chest", out_dir=tmp_path / "x")
    assert not (tmp_path / "x").exists()


class Exploit:
    """What an attacker would put into a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"features.conv0.weight": Exploit(tmp_path / "owned")}, tmp_path / "evil.pt")
    with pytest.raises(ImportWeightsError, match="could run code"):
        register(tmp_path / "evil.pt", kind="torchvision", stage="x", out_dir=tmp_path / "x")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["none.pt", "none.safetensors", "text.pt", "text.safetensors"])
def test_unreadable_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pt").write_text("hello " * 100)
    (tmp_path / "text.safetensors").write_text("hello " * 100)
    with pytest.raises(ImportWeightsError, match=name):
        register(tmp_path / name, kind="torchvision", stage="x", out_dir=tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds no state dict but a list"),
        ({"epoch": 3}, "holds no tensors"),
        ({"fc.weight": torch.zeros(2, 2)}, "not the weights of a DenseNet-121"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ImportWeightsError, match=words):
        register(tmp_path / "w.pt", kind="torchvision", stage="x", out_dir=tmp_path / "x")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "2 outputs and 0 labels"),
        (["a"], "2 outputs and 1 labels"),
        (["a", "a"], "same name"),
        (["a", "b c"], "name"),
        (["", ""], "at least 1 item"),
    ],
)
def test_wrong_label_lists_are_refused(
    tmp_path: Path, stub: dict[str, Any], labels: list[str] | None, words: str
) -> None:
    torch.save(stub, tmp_path / "w.pt")
    with pytest.raises(ImportWeightsError, match=words):
        register(
            tmp_path / "w.pt", kind="torchvision", stage="x", out_dir=tmp_path / "x", labels=labels
        )
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_a_missing_layer_is_refused(tmp_path: Path, stub: dict[str, Any]) -> None:
    torch.save(stub, tmp_path / "w.pt")
    with pytest.raises(ImportWeightsError, match=r"features\.norm0\.weight"):
        register(
            tmp_path / "w.pt",
            kind="torchvision",
            stage="x",
            out_dir=tmp_path / "x",
            labels=["a", "b"],
        )


@pytest.mark.parametrize(
    ("thresholds", "words"), [(torch.ones(3), r"shape \(3,\)"), (torch.ones(2), "rescale_at")]
)
def test_wrong_thresholds_are_refused(
    tmp_path: Path, stub: dict[str, Any], thresholds: Any, words: str
) -> None:
    torch.save(stub | {"op_threshs": thresholds}, tmp_path / "w.pt")
    with pytest.raises(ImportWeightsError, match=words):
        register(
            tmp_path / "w.pt",
            kind="torchxrayvision",
            stage="x",
            out_dir=tmp_path / "x",
            labels=["a", "b"],
        )


def test_an_occupied_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("mine")
    with pytest.raises(ImportWeightsError, match="not an empty folder"):
        register(tmp_path / "w.pt", kind="torchvision", stage="x", out_dir=tmp_path)
