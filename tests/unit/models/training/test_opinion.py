"""A second opinion comes from other images only, and only where there is one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.training import opinion
from models.training.errors import ConfigError
from models.training.manifest import Record
from models.training.opinion import fold, opinions, ridge
from tests.unit.models.training.conftest import tiny_config

LABELS = 3


def record(index: int, dataset: str = "adults") -> Record:
    return Record(Path(f"{index}.png"), "train", dataset=dataset, group_id=f"patient-{index // 2}")


@pytest.fixture
def adults() -> tuple[list[Record], np.ndarray, np.ndarray]:
    """240 images, two of each patient; the first feature says the first label, with noise."""
    generator = np.random.default_rng(5)
    features = generator.normal(size=(240, 12)).astype(np.float32)
    truth = (features[:, :LABELS] + generator.normal(size=(240, LABELS)) > 0).astype(np.float32)
    return [record(i) for i in range(240)], features, truth


def test_an_opinion_agrees_with_labels_that_the_features_explain(
    adults: tuple[list[Record], np.ndarray, np.ndarray],
) -> None:
    records, features, truth = adults
    found = opinions(records, features, truth)
    assert found.dtype == np.float32
    assert found.shape == truth.shape
    assert (found[truth == 1].mean() - found[truth == 0].mean()) > 0.05
    assert found.min() >= 0.01
    assert found.max() <= 0.99


def test_no_opinion_depends_on_the_label_of_the_same_patient(
    adults: tuple[list[Record], np.ndarray, np.ndarray],
) -> None:
    records, features, truth = adults
    before = opinions(records, features, truth)
    changed = truth.copy()
    changed[10:12] = 1 - changed[10:12]
    after = opinions(records, features, changed)
    same = np.array([fold(r.group_id) == fold(records[10].group_id) for r in records])
    assert fold(records[10].group_id) == fold(records[11].group_id)
    assert np.array_equal(before[same], after[same])
    assert not np.array_equal(before[~same], after[~same])


def test_where_labels_are_unknown_alike_or_for_validation_there_is_none(
    adults: tuple[list[Record], np.ndarray, np.ndarray],
) -> None:
    records, features, truth = adults
    truth = truth.copy()
    truth[5, 1] = np.nan
    records[7] = replace(records[7], split="val")
    children = [record(1000 + i, dataset="children") for i in range(120)]
    found = opinions(
        [*records, *children],
        np.concatenate([features, features[:120]]),
        np.concatenate([truth, np.zeros((120, LABELS), np.float32)]),
    )
    none = np.isnan(found).all(1)
    assert set(np.flatnonzero(none)) == {5, 7, *range(240, 360)}
    assert not np.isnan(found[~none]).any()


def test_few_images_have_no_opinion(
    adults: tuple[list[Record], np.ndarray, np.ndarray],
) -> None:
    records, features, truth = adults
    count = opinion.FEWEST - 1
    assert np.isnan(opinions(records[:count], features[:count], truth[:count])).all()


def test_ridge_is_the_closed_form(adults: tuple[list[Record], np.ndarray, np.ndarray]) -> None:
    _, features, truth = adults
    x, y = features.astype(np.float64), truth - truth.mean(0)
    penalty = opinion.STRENGTH * x.shape[1] * np.eye(x.shape[1])
    expected = x @ np.linalg.solve(x.T @ x + penalty, x.T @ y) + truth.mean(0)
    assert ridge(features, truth, features) == pytest.approx(expected, abs=1e-4)


def test_the_configuration_knows_two_kinds_of_teacher() -> None:
    assert tiny_config(teacher="layers").teacher == "layers"
    with pytest.raises(ConfigError, match="teacher must be one of pooled, layers"):
        tiny_config(teacher="resnet")
