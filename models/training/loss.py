"""The losses of the three heads and of the teacher.

Everything unknown is masked: a record that a head knows nothing about adds nothing to its loss.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.training.labels import IGNORE


def masked_bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean binary cross-entropy over known labels; `truth` (B, L) holds 1, 0 or NaN (unknown).

    Zero, with a gradient of zero, when nothing is known.
    """
    known = ~torch.isnan(truth)
    per_label = functional.binary_cross_entropy_with_logits(
        logits, torch.nan_to_num(truth), reduction="none"
    )
    return torch.where(known, per_label, 0.0).sum() / known.sum().clamp(min=1)


def masked_cross_entropy(logits: Tensor, truth: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over rows whose class index isn't -1; logits (B, L), truth (B,)."""
    known = truth != IGNORE
    if not bool(known.any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits[known], truth[known], label_smoothing=smoothing)


def outlier_exposure(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy to the uniform distribution on rows of no class (Hendrycks et al. 2019).

    Teaches a softmax head to be unsure on images that are none of its classes.
    """
    outside = truth == IGNORE
    if not bool(outside.any()):
        return logits.sum() * 0.0
    return -functional.log_softmax(logits[outside], dim=1).mean()


def masked_match(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 between a prediction and what a teacher says, (B, D) both; NaN where it is silent.

    For features, in standard deviations, after Romero et al. 2015, "FitNets": the teacher saw the
    clean image and the student an augmented one, so matching also teaches invariance; smooth,
    because features have heavy tails. For logits it is the limit of a high temperature, where rare
    labels count as much as common ones (Hinton et al. 2015, "Distilling the knowledge", 2.1).
    """
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return predicted.sum() * 0.0
    return functional.smooth_l1_loss(predicted[known], target[known])


def box_match(maps: Tensor, boxes: Tensor) -> Tensor:
    """Cross-entropy between where the evidence lies and the radiologists' boxes.

    `maps` (B, L, h, w) is what each place adds to a label's logit, `boxes` (B, L, M, M) is 1
    inside that label's boxes. A softmax over places is compared with the boxes' share of each
    place; labels without a box add nothing. After Li et al. 2018, "Thoracic disease
    identification and localization with limited supervision", with one softmax for its patches.
    """
    height, width = maps.shape[-2:]
    share = functional.adaptive_avg_pool2d(boxes, (height, width)).flatten(2)
    total = share.sum(2)
    known = total > 0
    if not bool(known.any()):
        return maps.sum() * 0.0
    target = share[known] / total[known].unsqueeze(1)
    return -(target * functional.log_softmax(maps.flatten(2)[known], dim=1)).sum(1).mean()
