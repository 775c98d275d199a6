"""The last step of a run: solve each linear head to its optimum on frozen features.

After a short training the trunk's features are better than the heads make of them. The heads are
convex problems, so they are solved to the end by L-BFGS on the features of freshly drawn,
augmented images (Kang et al. 2020, "Decoupling representation and classifier").
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.training.augment import working_px
from models.training.config import TrainConfig
from models.training.data import DataSet
from models.training.network import PREFIX, MultiHead
from models.training.pixels import shrink
from models.training.recipe import Batch, draw, losses, train_weights

ROUNDS = 12
ITERATIONS = 20


def solve(network: MultiHead, data: DataSet, config: TrainConfig, device: torch.device) -> None:
    """Replace the network's heads by the solved ones; the trunk stays as it is."""
    features, truth = _features(network, data, config, device)
    mean, std = features.mean(0), features.std(0) + 1e-6
    whitened = (features - mean) / std
    for head in config.heads:
        linear = cast(nn.Linear, network.heads[PREFIX + head])
        fresh = nn.Linear(linear.in_features, linear.out_features)
        # Start from the trained head, said in standardised features.
        with torch.no_grad():
            fresh.weight.copy_(linear.weight.cpu() * std)
            fresh.bias.copy_(linear.bias.cpu() + linear.weight.cpu() @ mean)
        _descend(fresh, head, whitened, truth, config)
        with torch.no_grad():
            linear.weight.copy_(fresh.weight / std)
            linear.bias.copy_(fresh.bias - (fresh.weight / std) @ mean)


def _descend(
    linear: nn.Linear, head: str, features: Tensor, truth: Batch, config: TrainConfig
) -> None:
    """L-BFGS on the head's own loss; the penalty pulls towards the trained head."""
    anchor = linear.weight.detach().clone()
    optimizer = torch.optim.LBFGS(
        linear.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        terms = losses({head: linear(features)}, truth, config)
        loss = torch.stack(list(terms.values())).sum()
        loss = loss + config.head_l2 * (linear.weight - anchor).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(ROUNDS):
        optimizer.step(closure)  # type: ignore[no-untyped-call]


@torch.inference_mode()
def _features(
    network: MultiHead, data: DataSet, config: TrainConfig, device: torch.device
) -> tuple[Tensor, Batch]:
    """Pooled features (n, 1024) of drawn images, and their truths."""
    network.eval()
    weight = train_weights(data, config)
    images = shrink(data.images, working_px(config.input_px))
    features: list[Tensor] = []
    batches: list[Batch] = []
    count = 0
    while count < config.head_images:
        # Steps after the last one: draws that the trunk was not trained on in this order.
        batch = draw(data, images, weight, config, config.steps + len(batches))
        features.append(network.trunk.forward_features(batch.x.to(device)).mean((2, 3)).cpu())
        batches.append(batch)
        count += len(batch.x)
    joined = [torch.cat(parts) for parts in zip(*(vars(b).values() for b in batches), strict=True)]
    # Plain copies: L-BFGS needs tensors that were not made in inference mode.
    return torch.cat(features).clone(), Batch(*joined)
