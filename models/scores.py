"""From logits to calibrated scores, and from scores to what a stage says. Pure numpy."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.card import UNKNOWN, ModelCard
from models.errors import CardError

Array = NDArray[np.float64]


def scores(card: ModelCard, logits: NDArray[np.floating]) -> Array:
    """Calibrated probabilities of shape (images, labels) from logits of the same shape.

    Softmax heads: temperature scaling; sigmoid heads: Platt scaling per label, written as
    sigmoid(logit / temperature + bias) (Guo et al. 2017, arXiv 1706.04599).
    """
    temperature = np.array([label.temperature for label in card.labels])
    scaled = logits.astype(np.float64) / temperature
    if card.activation == "softmax":
        exponential = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        share: Array = exponential / exponential.sum(axis=1, keepdims=True)
        return share
    scaled += np.array([label.bias for label in card.labels])
    probability: Array = 0.5 * (1.0 + np.tanh(0.5 * scaled))  # the sigmoid, without overflow
    return _rescale(card, probability)


def thresholds(card: ModelCard, operating_point: str | None = None) -> dict[str, float]:
    """Label -> threshold at `operating_point` (the card's default when None).

    Only labels with operating points are in the answer.
    Raises CardError where the card does not know the operating point.
    """
    name = operating_point or card.default_operating_point
    if card.operating_points and name not in card.operating_points:
        raise CardError(
            f"{card.model_version} has no operating point {name!r}; "
            f"choose one of: {', '.join(card.operating_points)}."
        )
    return {
        label.name: label.operating_points[name].threshold
        for label in card.labels
        if name in label.operating_points
    }


def answer(card: ModelCard, score: Array, limits: Mapping[str, float]) -> str | None:
    """The one answer for `score` of shape (labels,); None for a multi-label head."""
    if card.activation == "sigmoid":
        return None
    names = card.label_names
    if card.is_yes_no:
        return names[int(score[1] >= limits[names[1]])]
    if card.unknown is not None and score.max() < card.unknown.threshold:
        return UNKNOWN
    return names[int(score.argmax())]


def positives(card: ModelCard, score: Array, limits: Mapping[str, float]) -> tuple[str, ...]:
    """The labels of a multi-label head at or over their threshold, highest score first."""
    if card.activation == "softmax":
        return ()
    order = np.argsort(-score, kind="stable")
    names = card.label_names
    return tuple(names[i] for i in order if score[i] >= limits[names[i]])


def _rescale(card: ModelCard, probability: Array) -> Array:
    """TorchXRayVision's `op_norm`: piecewise linear, so that `rescale_at` becomes 0.5."""
    pivot = np.array([label.rescale_at or 0.5 for label in card.labels])
    below = probability / (2 * pivot)
    above = 1 - (1 - probability) / (2 * (1 - pivot))
    rescaled: Array = np.where(probability < pivot, below, above)
    return rescaled
