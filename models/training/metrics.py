"""Figures of merit, each with its interval where one is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def auc(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Area under the ROC curve by the Mann-Whitney statistic; NaN when one class is absent."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = mean_ranks(score)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def mean_ranks(values: NDArray[np.floating]) -> Floats:
    """Ranks (N,) from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2.0)[place], dtype=np.float64)


def recalls(truth: Ints, answer: Ints, n_classes: int) -> Floats:
    """Recall of each class (n_classes,), NaN for a class without images."""
    confused = confusion(truth, answer, n_classes)
    totals = confused.sum(1)
    return np.where(totals > 0, np.diag(confused) / np.maximum(totals, 1), np.nan)


def balanced_accuracy(truth: Ints, answer: Ints, n_classes: int) -> float:
    """Mean recall over the classes that have images."""
    return float(np.nanmean(recalls(truth, answer, n_classes)))


def confusion(truth: Ints, answer: Ints, n_classes: int) -> Ints:
    """Counts (n_classes, n_classes): row = truth, column = answer."""
    flat = np.bincount(truth * n_classes + answer, minlength=n_classes * n_classes)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def calibration_error(
    truth: NDArray[np.bool_], score: NDArray[np.floating], bins: int = 10
) -> float:
    """Expected calibration error: mean |frequency - score| over equal-width bins, weighted by size.

    Naeini et al. 2015; for a score that claims to be a probability.
    """
    index = np.clip((score * bins).astype(int), 0, bins - 1)
    error = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            error += float(inside.mean() * abs(truth[inside].mean() - score[inside].mean()))
    return error


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float], n: int, rounds: int = 500, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of row indices, over resampled images."""
    generator = np.random.default_rng(seed)
    values = [statistic(generator.integers(0, n, n)) for _ in range(rounds)]
    kept = np.array([v for v in values if not np.isnan(v)])
    if not len(kept):
        return float("nan"), float("nan")
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def auc_with_interval(
    truth: NDArray[np.bool_], score: NDArray[np.floating], rounds: int = 500
) -> tuple[float, float, float]:
    """AUC and its bootstrap 95 % interval: (auc, low, high)."""
    low, high = bootstrap(lambda rows: auc(truth[rows], score[rows]), len(truth), rounds)
    return auc(truth, score), low, high
