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
from models.training.metrics import auc, auc_with_interval, balanced_accuracy
from models.training.pixels import pack

PACK_PX = 192
LAYERS_PX = 224
STRENGTH = 1e-3
PENALTY = 5.0
"""Of the ridge regression, in units of the features' mean square."""
FEWEST = 10
MANY = 50
"""Positives in the validation split from which an AUC says something by itself."""
SHARES = (0.125, 0.25, 0.5, 1.0)
DRAWS = 4
"""Times that a share is drawn anew; the figures are averaged."""


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
        group = names == name
        found[f"chest {name}"] = _chest(values, truth.chest, train, group)
        found[f"chest {name}, mean AUC by share of the training images"] = {
            str(share): _with_share(values, truth.chest, train, group, share) for share in SHARES
        }
    return found


def layered_probe(records: Sequence[Record], cache: Path) -> dict[str, Any]:
    """Validation AUCs of a ridge regression on inner layers of two teachers, by chest data set.

    A harder peer than :func:`linear_probe`, solved like our own chest head
    (`models/training/ridge.py`). Only data sets where all labels are known take part.
    """
    kept = [r for r in records if r.split in ("train", "val") and r.xray_type == "chest"]
    truth = targets(kept).chest
    train = np.array([r.split == "train" for r in kept])
    whole = ~np.isnan(truth).any(1)
    names = np.array([r.dataset for r in kept])
    features = teacher.features(pack(kept, LAYERS_PX, cache), cache, teacher.LAYERS)
    values = teacher.standardized(features, np.flatnonzero(train))
    found = {}
    for name in sorted(set(names.tolist())):
        fit, look = (whole & (names == name) & rows for rows in (train, ~train))
        if fit.any() and (truth[fit].min(0) < truth[fit].max(0)).any():
            score = _ridge(values[fit], truth[fit], values[look])
            found[f"chest {name}, inner layers"] = _aucs(truth[look], score)
    return found


def _ridge(
    features: NDArray[np.float32], truth: NDArray[np.float32], asked: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Ridge regression of many labels at once, solved over images: (n, D), (n, L), (m, D)."""
    scale = features.shape[1]
    gram = (features @ features.T / scale).astype(np.float64)
    gram[np.diag_indices_from(gram)] += PENALTY
    mean = truth.mean(0)
    weights = np.linalg.solve(gram, truth - mean)
    return np.asarray(asked @ features.T / scale @ weights + mean, dtype=np.float32)


def _aucs(truth: NDArray[np.float32], score: NDArray[np.float32]) -> dict[str, Any]:
    """AUC with its interval of each label with enough positives and negatives, and their mean."""
    found: dict[str, Any] = {}
    for column, label in enumerate(CHEST):
        present = truth[:, column] == 1
        if min(present.sum(), (~present).sum()) >= FEWEST:
            found[label] = _with_interval(present, score[:, column])
    of_findings = [figure["auc"] for label, figure in found.items() if label != CHEST[0]]
    return {**found, "mean AUC of the findings": rounded(float(np.mean(of_findings)))}


def _with_interval(present: NDArray[np.bool_], score: NDArray[np.floating]) -> dict[str, Any]:
    value, low, high = auc_with_interval(present, score)
    return {
        "auc": rounded(value),
        "auc_ci95": [rounded(low), rounded(high)],
        "positives": int(present.sum()),
    }


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
        score = _score(values, truth[:, column], fit, look)
        found[label] = _with_interval(present, score)
    return found


def _with_share(
    values: NDArray[np.float32],
    truth: NDArray[np.float32],
    train: NDArray[np.bool_],
    group: NDArray[np.bool_],
    share: float,
) -> dict[str, float | None]:
    """Mean AUC of the findings when only a share of the training images is there to learn from."""
    aucs: dict[str, list[float]] = {"all": [], f"{MANY} positives or more": []}
    for draw in range(DRAWS if share < 1.0 else 1):
        random = np.random.default_rng(draw).random(len(train))
        for column in range(1, len(CHEST)):
            known = group & ~np.isnan(truth[:, column])
            fit, look = known & train & (random < share), known & ~train
            present = truth[look, column] == 1
            enough = min(present.sum(), (~present).sum()) >= FEWEST
            if not enough or len(np.unique(truth[fit, column])) < 2:
                continue
            value = auc(present, _score(values, truth[:, column], fit, look))
            aucs["all"].append(value)
            if present.sum() >= MANY:
                aucs[f"{MANY} positives or more"].append(value)
    return {name: rounded(float(np.mean(found))) if found else None for name, found in aucs.items()}


def _score(
    values: NDArray[np.float32],
    truth: NDArray[np.float32],
    fit: NDArray[np.bool_],
    look: NDArray[np.bool_],
) -> NDArray[np.float64]:
    model = LogisticRegression(C=STRENGTH, max_iter=200).fit(values[fit], truth[fit])
    score: NDArray[np.float64] = model.decision_function(values[look])
    return score
