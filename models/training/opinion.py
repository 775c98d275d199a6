"""What a probe on the teacher's features thinks of images that it was not fitted on.

A second opinion beside labels mined from reports: soft targets (Hinton et al. 2015, "Distilling
the knowledge"), each from ridge regressions on the other groups of its data set, so that no
opinion repeats the label it stands beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.training.manifest import Record

FOLDS = 5
FEWEST = 100
STRENGTH = 5.0
"""Of the penalty, in units of the features' mean square; chosen by cross-validation."""
SURE = 0.99
"""No opinion is surer than this."""

Floats = NDArray[np.float32]


def opinions(records: Sequence[Record], features: Floats, truth: Floats) -> Floats:
    """Probabilities (N, L), NaN where there is no opinion, for truths (N, L) with NaN unknown.

    `features` (N, D) are standardised. Only records of the train split, in data sets with at
    least `FEWEST` of them whose labels are all known and not all alike, have an opinion.
    """
    found = np.full(truth.shape, np.nan, dtype=np.float32)
    names = np.array([r.dataset if r.split == "train" else "" for r in records])
    whole = ~np.isnan(truth).any(1)
    for name in sorted(set(names) - {""}):
        rows = np.flatnonzero((names == name) & whole)
        if len(rows) >= FEWEST and (truth[rows].min(0) < truth[rows].max(0)).any():
            folds = np.array([fold(records[i].group_id) for i in rows.tolist()])
            found[rows] = _out_of_fold(features[rows], truth[rows], folds)
    return found


def fold(group_id: str) -> int:
    """The fold of a group: images of one patient are never on both sides."""
    return hashlib.sha256(group_id.encode()).digest()[0] % FOLDS


def _out_of_fold(features: Floats, truth: Floats, folds: NDArray[np.int64]) -> Floats:
    found = np.zeros_like(truth)
    for number in np.unique(folds):
        out = folds == number
        found[out] = ridge(features[~out], truth[~out], features[out])
    return np.clip(found, 1.0 - SURE, SURE)


def ridge(features: Floats, truth: Floats, asked: Floats) -> Floats:
    """Ridge regression of many labels at once, solved over images: (n, D), (n, L), (m, D)."""
    scale = features.shape[1]
    gram = (features @ features.T / scale).astype(np.float64)
    gram[np.diag_indices_from(gram)] += STRENGTH
    mean = truth.mean(0)
    weights = np.linalg.solve(gram, truth - mean)
    return np.asarray(asked @ features.T / scale @ weights + mean, dtype=np.float32)
