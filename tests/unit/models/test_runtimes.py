"""The two runtimes: equal scores, equal maps, clear errors, and no torch where none is needed."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import stage as stage_module
from models.artifact import load_card, sha256_of
from models.card import CARD_FILE, ModelCard, write_card
from models.errors import InferenceError, RuntimeUnavailableError, WeightsError
from models.spec import StageSpec
from models.stage import CPU_BATCH, load

CardMaker = Callable[..., ModelCard]
ArtifactMaker = Callable[..., Path]

LABELS = ("abnormal", "Mass", "Edema")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, make_artifact: ArtifactMaker) -> Path:
    """Three channels; test_weights.py compares the runtimes on one."""
    folder = tmp_path_factory.mktemp("chest")
    return make_artifact(folder, LABELS, stage="chest", activation="sigmoid", channels=3)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, make_artifact: ArtifactMaker) -> Path:
    return make_artifact(tmp_path_factory.mktemp("gate"))


def test_onnx_and_torch_agree(artifact: Path) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (80, 60), dtype=np.uint8) for _ in range(3)]
    images.append(np.full((64, 64), 255, np.uint8))
    onnx = load(artifact, runtime="onnx", max_batch=3)
    torch = load(artifact, runtime="torch", device="cpu")
    assert (onnx.runtime, torch.runtime) == ("onnx:cpu", "torch:cpu")
    maps = 0
    for left, right in zip(onnx.predict(images), torch.predict(images), strict=True):
        assert left.scores == pytest.approx(dict(right.scores), abs=1e-3)
        assert left.positives == right.positives
        assert left.heatmaps.keys() == right.heatmaps.keys()
        for label, heat in left.heatmaps.items():
            maps += 1
            np.testing.assert_allclose(heat, right.heatmaps[label], atol=1e-3)
    assert maps > 0


def test_a_stage_loads_from_its_catalogue_entry(gate: Path) -> None:
    stage = load(StageSpec("gate", str(gate)), device="cpu")
    assert stage.card.stage == "gate"
    assert stage.runtime == "onnx:cpu"
    assert stage.max_batch == CPU_BATCH
    (prediction,) = stage.predict([np.zeros((70, 50), np.uint8)])
    assert prediction.answer in {"other", "xray"}


def test_onnx_refuses_a_wrong_batch(gate: Path) -> None:
    from models.onnx_runtime import OnnxRuntime

    runtime = OnnxRuntime(gate, load_card(gate), threads=1)
    with pytest.raises(InferenceError, match="refused the batch"):
        runtime.run(np.zeros((1, 3, 64, 64), np.float32), features=False)


def test_torch_refuses_a_wrong_batch(gate: Path) -> None:
    pytest.importorskip("torch")
    from models.torch_runtime import TorchRuntime

    runtime = TorchRuntime(gate, load_card(gate), "cpu", threads=2)
    with pytest.raises(InferenceError, match="refused the batch"):
        runtime.run(np.zeros((1, 3, 64, 64), np.float32), features=False)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_weights_of_another_network_are_refused(
    gate: Path, tmp_path: Path, make_card: CardMaker, runtime: str, fault: str
) -> None:
    tensors = load_file(gate / "weights.safetensors")
    name = "features.denseblock2.denselayer3.conv1.weight"
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:, :5].copy()
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    sha256 = sha256_of(path)
    weights = {"sha256": sha256, "dtype": "float16", "bytes": path.stat().st_size}
    card = make_card(weights=weights, model_version=f"gate-1.0.0+{sha256[:8]}")
    write_card(card, tmp_path / CARD_FILE)
    with pytest.raises(WeightsError, match=r"densenet121|DenseNet-121"):
        load(tmp_path, runtime=runtime, device="cpu")  # type: ignore[arg-type]


def test_cuda_where_there_is_none_is_refused(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_has_cuda_driver", lambda: False)
    with pytest.raises(RuntimeUnavailableError, match="No usable CUDA device"):
        load(gate, device="cuda")


def test_onnx_serves_no_cuda(gate: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="serves the CPU"):
        load(gate, device="cuda", runtime="onnx")


def test_nothing_installed_says_what_to_install(
    gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "_has", lambda _: False)
    with pytest.raises(RuntimeUnavailableError, match=r"install xraytriage\[models\]"):
        load(gate)


def test_torch_steps_in_where_onnxruntime_is_not_installed(
    gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(stage_module, "_has", lambda package: package == "torch")
    assert load(gate, device="cpu").runtime == "torch:cpu"


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # any import of torch now fails
from pathlib import Path
import numpy as np
from models import artifact, card, catalogue, errors, heatmap, preprocess, scores, spec
from models.stage import load
stage = load(Path(sys.argv[1]), device="cpu")
(prediction,) = stage.predict([np.zeros((64, 64), np.uint8)])
print(stage.runtime, prediction.answer in ("other", "xray"))
"""


def test_a_cpu_process_never_imports_torch(gate: Path) -> None:
    root = Path(stage_module.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(gate)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["onnx:cpu", "True"]


DOMAIN_ONLY = """
import sys
for package in ("torch", "safetensors", "onnx", "onnxruntime"):
    sys.modules[package] = None
from models import card, catalogue, errors, heatmap, preprocess, scores, spec
print(len(catalogue.load_catalogue()))
"""


def test_the_half_that_the_domain_imports_needs_no_model_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DOMAIN_ONLY],
        cwd=Path(stage_module.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout.strip()) == ("", "3")


def test_cuda_agrees(artifact: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (80, 60), dtype=np.uint8) for _ in range(3)]
    cuda = load(artifact)
    assert cuda.runtime == "torch:cuda"
    onnx = load(artifact, device="cpu")
    for left, right in zip(cuda.predict(images), onnx.predict(images), strict=True):
        assert left.scores == pytest.approx(dict(right.scores), abs=1e-2)  # half precision


def test_weights_are_checked_at_every_load(gate: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(gate, tmp_path / "gate"))
    load(copy, device="cpu")
    with (copy / "weights.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(WeightsError, match="was changed"):
        load(copy, device="cpu")
