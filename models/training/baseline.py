"""The simple baseline: logistic regression on the teacher's frozen features, stage by stage.

What any DenseNet of ours must be compared with: it costs minutes and no training of a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from models.training import teacher
from models.training.figures import rounded
from models.training.labels import CHEST, HEADS, IGNORE, targets
from models.training.manifest import Record
from models.training.metrics import auc_with_interval, balanced_accuracy
from models.training.pixels import pack

PACK_PX = 192
STRENGTH = 1e-3
FEWEST = 10


def linear_probe(records: Sequence[Record], cache: Path) -> dict[str, Any]:
    """Validation figures of the probe: gate and type balanced accuracy, AUCs by data set."""
    kept = [r for r in records if r.split in ("train", "val")]
    train = np.array([r.split == "train" for r in kept])
    features = teacher.features(pack(kept, PACK_PX, cache), cache)
    values = teacher.standardized(features, np.flatnonzero(train))
    truth = targets(kept)
    found: dict[str, Any] = {
        stage: _softmax(values, getattr(truth, stage), train, len(HEADS[stage]))
        for stage in ("gate", "type")
    }
    names = np.array([r.dataset for r in kept])
    for name in sorted({r.dataset for r in kept if r.xray_type == "chest"}):
        found[f"chest {name}"] = _chest(values, truth.chest, train, names == name)
    return found


def _softmax(
    values: NDArray[np.float32], truth: NDArray[np.int64], train: NDArray[np.bool_], classes: int
) -> float | None:
    known = truth != IGNORE
    model = LogisticRegression(C=STRENGTH, max_iter=100)
    model.fit(values[train & known], truth[train & known])
    answer = model.predict(values[~train & known])
    return rounded(balanced_accuracy(truth[~train & known], answer, classes))


def _chest(
    values: NDArray[np.float32],
    truth: NDArray[np.float32],
    train: NDArray[np.bool_],
    group: NDArray[np.bool_],
) -> dict[str, Any]:
    found = {}
    for column, label in enumerate(CHEST):
        known = group & ~np.isnan(truth[:, column])
        fit, look = known & train, known & ~train
        present = truth[look, column] == 1
        if min(present.sum(), (~present).sum(), (truth[fit, column] == 0).sum()) < FEWEST:
            continue
        model = LogisticRegression(C=STRENGTH, max_iter=200).fit(values[fit], truth[fit, column])
        value, low, high = auc_with_interval(present, model.decision_function(values[look]))
        found[label] = {"auc": rounded(value), "auc_ci95": [rounded(low), rounded(high)]}
    return found
