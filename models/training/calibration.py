"""From logits to probabilities, and from probabilities to named operating points.

Guo et al. 2017, "On calibration of modern neural networks" (temperature); Platt 1999 (a slope and
a bias a label, for sigmoid heads).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOG_TEMPERATURE = (-2.5, 2.5)
GOLDEN = (5**0.5 - 1) / 2
SEARCH_STEPS = 40
NEWTON_STEPS = 60
# The slope is pulled towards 1 and the bias towards 0 as if by a few further images: a label with
# ten positives must not get a steep curve.
PRIOR = 0.5


@dataclass(frozen=True)
class Point:
    """A threshold on a score, with the sensitivity and specificity measured at it."""

    threshold: float
    sensitivity: float
    specificity: float


def softmax(logits: NDArray[np.floating], temperature: float) -> Floats:
    """Probabilities (N, L) of logits (N, L)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    raised = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True))


def sigmoid(logits: NDArray[np.floating], temperature: float = 1.0, bias: float = 0.0) -> Floats:
    """Probabilities of logits, same shape: sigmoid(logit / temperature + bias)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature + bias
    return 0.5 * (1.0 + np.tanh(0.5 * scaled))


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The temperature that makes the class indices `truth` (N,) most likely.

    Golden-section search on its logarithm; the loss has one minimum (it is convex in 1 / T).
    """
    rows = np.arange(len(truth))

    def loss(log_t: float) -> float:
        chosen = softmax(logits, float(np.exp(log_t)))[rows, truth]
        return float(-np.log(chosen + 1e-12).sum() + PRIOR * log_t**2)

    low, high = LOG_TEMPERATURE
    for _ in range(SEARCH_STEPS):
        third = GOLDEN * (high - low)
        if loss(high - third) < loss(low + third):
            high = low + third
        else:
            low = high - third
    return float(np.exp((low + high) / 2.0))


def fit_platt(logits: NDArray[np.floating], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """(temperature, bias) that make `truth` (N,) most likely for a label's logits (N,).

    Newton's method on (1 / temperature, bias). A score never falls when its logit rises: where
    the data would have it so, the slope stays at its lower bound and the score says little.
    """
    design = np.stack([np.asarray(logits, dtype=np.float64), np.ones(len(truth))], axis=1)
    weight = np.array([1.0, 0.0])
    penalty = np.diag([PRIOR, 0.1 * PRIOR])
    low, high = (float(np.exp(-v)) for v in reversed(LOG_TEMPERATURE))
    for _ in range(NEWTON_STEPS):
        score = sigmoid(design @ weight)
        slope = design.T @ (score - truth) + penalty @ (weight - [1.0, 0.0])
        curve = (design * (score * (1.0 - score))[:, None]).T @ design + penalty
        move = np.linalg.solve(curve, slope)
        weight = weight - move / max(1.0, float(np.abs(move).max()))
        weight[0] = np.clip(weight[0], low, high)
    return float(1.0 / weight[0]), float(weight[1])


def fit_bias(logits: NDArray[np.floating], share: float) -> float:
    """The bias at which the mean score of a label's logits (N,) is `share`, between 0 and 1."""
    low, high = (np.log(share / (1.0 - share)) - float(f(logits)) for f in (np.max, np.min))
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2.0
        if sigmoid(logits, bias=middle).mean() < share:
            low = middle
        else:
            high = middle
    return float((low + high) / 2.0)


def at(truth: NDArray[np.bool_], score: Floats, threshold: float) -> Point:
    """What is measured at a threshold (positive: score >= threshold)."""
    called = score >= threshold
    sensitivity = float(called[truth].mean()) if truth.any() else float("nan")
    specificity = float((~called[~truth]).mean()) if (~truth).any() else float("nan")
    return Point(float(threshold), sensitivity, specificity)


def operating_points(
    truth: NDArray[np.bool_], score: Floats, sensitivity: float = 0.95, specificity: float = 0.95
) -> dict[str, Point]:
    """`sensitive`, `balanced` and `specific` points of a label; needs both classes.

    sensitive: the highest threshold that still finds `sensitivity` of the positives.
    specific: the lowest threshold that still passes `specificity` of the negatives.
    balanced: the highest sensitivity + specificity (Youden 1950), nearest to 0.5 among equals.
    """
    if truth.all() or not truth.any():
        raise ValueError("operating points need positive and negative images")
    points = [at(truth, score, threshold) for threshold in _candidates(score)]
    sensitive = [p for p in points if p.sensitivity >= sensitivity]
    specific = [p for p in points if p.specificity >= specificity]
    best = max(p.sensitivity + p.specificity for p in points)
    level = [p for p in points if p.sensitivity + p.specificity >= best - 1e-3]
    return {
        "sensitive": max(sensitive, key=lambda p: p.threshold),
        "balanced": min(level, key=lambda p: abs(p.threshold - 0.5)),
        "specific": min(specific, key=lambda p: p.threshold),
    }


def _candidates(score: Floats) -> Floats:
    """Thresholds half-way between neighbouring scores, and the two ends; all within 0..1."""
    ordered = np.unique(score)
    middles = (ordered[1:] + ordered[:-1]) / 2.0
    extra = [0.5] if ordered[0] < 0.5 < ordered[-1] else []
    return np.concatenate([[0.0], middles, extra, [1.0]])


KEPT = 0.99
"""Share of radiographs of a known part that keep their answer. What is no radiograph at all has
scores far lower; a stricter rule takes most from the parts that are hard to tell."""


def unknown_threshold(best: Floats, kept: float = KEPT) -> float:
    """The threshold on the best score that keeps the share `kept` of images of a known class."""
    return float(np.clip(np.quantile(best, 1.0 - kept), 0.0, 0.99))
