"""What is unknown takes no part in any loss."""

import math

import pytest
import torch

from models.training.loss import (
    masked_bce,
    masked_cross_entropy,
    masked_match,
    outlier_exposure,
)

UNKNOWN = float("nan")


def test_masked_bce_ignores_unknown_labels() -> None:
    logits = torch.tensor([[2.0, 5.0], [-1.0, 3.0]], requires_grad=True)
    truth = torch.tensor([[1.0, UNKNOWN], [0.0, UNKNOWN]])

    loss = masked_bce(logits, truth)
    loss.backward()

    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert logits.grad is not None
    assert logits.grad[:, 1].tolist() == [0.0, 0.0]
    assert bool((logits.grad[:, 0] != 0).all())


def test_masked_bce_of_nothing_known_is_zero_with_a_zero_gradient() -> None:
    logits = torch.ones(2, 3, requires_grad=True)
    loss = masked_bce(logits, torch.full((2, 3), UNKNOWN))
    loss.backward()

    assert loss.item() == 0.0
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) == 0.0


def test_cross_entropy_skips_rows_without_a_class() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 9.0]])
    alone = masked_cross_entropy(logits[:1], torch.tensor([0]))

    assert masked_cross_entropy(logits, torch.tensor([0, -1])) == pytest.approx(alone.item())
    assert masked_cross_entropy(logits, torch.tensor([-1, -1])).item() == 0.0


def test_outlier_exposure_is_lowest_for_an_unsure_head() -> None:
    none = torch.tensor([-1])
    unsure = outlier_exposure(torch.zeros(1, 4), none)

    assert unsure.item() == pytest.approx(math.log(4))
    assert outlier_exposure(torch.tensor([[5.0, 0, 0, 0]]), none) > unsure
    assert outlier_exposure(torch.zeros(1, 4), torch.tensor([2])).item() == 0.0


def test_masked_match_is_zero_for_equal_features() -> None:
    features = torch.randn(3, 5)
    assert masked_match(features, features).item() == 0.0
    assert masked_match(features, features + 1).item() > 0.0
