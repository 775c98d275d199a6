"""The network while it is trained: one DenseNet-121 trunk, a linear head a task, the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from models.densenet import FEATURE_CHANNELS, XrayDenseNet, build
from models.training.config import DENSENET
from models.training.labels import HEADS
from models.training.lite import LiteTrunk

TEACHER = "teacher"
WHERE = "where"
# "type" alone would hide a method of nn.Module.
PREFIX = "to_"


class MultiHead(nn.Module):
    """A trunk, a DenseNet-121 if not said otherwise, and linear heads on its pooled features."""

    def __init__(
        self,
        heads: Sequence[str],
        teacher_features: int = 0,
        dropout: float = 0.0,
        network: str = DENSENET,
    ) -> None:
        super().__init__()
        dense = network == DENSENET
        self.trunk: XrayDenseNet | LiteTrunk = build(1) if dense else LiteTrunk(network)
        channels = self.trunk.channels if isinstance(self.trunk, LiteTrunk) else FEATURE_CHANNELS
        self.dropout = nn.Dropout(dropout)
        outputs = {name: len(HEADS[name]) for name in heads}
        if teacher_features:
            outputs[TEACHER] = teacher_features
        self.heads = nn.ModuleDict(
            {PREFIX + name: nn.Linear(channels, size) for name, size in outputs.items()}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs of every head, each (B, n), for images (B, 1, S, S).

        `WHERE` holds what each place adds to the chest head's logits, (B, n, S/32, S/32): the
        class activation maps (Zhou et al. 2016) that the pipeline draws as heatmaps.
        """
        features = self.trunk.forward_features(x)
        pooled = features.mean((2, 3))
        dropped = self.dropout(pooled)
        # The teacher's head sees all features: dropout there would only add noise to the match.
        found = {
            name.removeprefix(PREFIX): head(pooled if name == PREFIX + TEACHER else dropped)
            for name, head in self.heads.items()
        }
        if PREFIX + "chest" in self.heads:
            weight = cast(nn.Linear, self.heads[PREFIX + "chest"]).weight
            found[WHERE] = torch.einsum("bchw,lc->blhw", features, weight)
        return found

    def as_densenet(self, head: str) -> XrayDenseNet:
        """A plain DenseNet-121 with the trunk and one head: what is shipped."""
        single = build(len(HEADS[head]))
        state = {k: v for k, v in self.trunk.state_dict().items() if "classifier" not in k}
        linear = self.heads[PREFIX + head].state_dict()
        state["classifier.weight"], state["classifier.bias"] = linear["weight"], linear["bias"]
        single.load_state_dict(state)
        single.eval()
        return single


def adopt(network: MultiHead, state: Mapping[str, Tensor]) -> list[str]:
    """Copy what fits from another network's state; the names of parameters left as they were."""
    own = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fitting})
    return sorted(set(own) - set(fitting))


class Ema:
    """Exponential moving average of a network's parameters and buffers (Polyak averaging).

    The decay warms up as (1 + t) / (10 + t), so that early averages aren't the random start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network's present values."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value, 1.0 - keep)
            else:
                self.state[name].copy_(value)
