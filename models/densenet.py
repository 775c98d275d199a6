"""DenseNet-121 as torchvision names it, with a chosen number of channels and labels.

Huang et al. 2017, "Densely Connected Convolutional Networks": the network ends
ReLU -> global average pool -> linear, so a class activation map is the class's weight row
applied to :meth:`XrayDenseNet.forward_features` (Zhou et al. 2016, CAM).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, relu
from torchvision.models import densenet121

FEATURE_CHANNELS = 1024
RGB = 3


class XrayDenseNet(nn.Module):
    """torchvision's DenseNet-121 taken apart at its feature map; its state-dict names are kept."""

    def __init__(self, n_labels: int, channels: int = 1) -> None:
        """Random weights, as torchvision draws them."""
        super().__init__()
        base = densenet121(weights=None, num_classes=n_labels)
        self.features: nn.Sequential = base.features
        self.classifier: nn.Linear = base.classifier
        if channels != RGB:
            self.features.conv0 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.features.conv0.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """Feature map after the final ReLU: (B, channels, S, S) -> (B, 1024, S/32, S/32)."""
        # Not in place: torchvision's in-place ReLU here breaks hooks (vision#4164).
        return relu(cast(Tensor, self.features(x)), inplace=False)

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits (B, n_labels) of a feature map (B, 1024, h, w)."""
        pooled = torch.flatten(adaptive_avg_pool2d(features, (1, 1)), 1)
        return cast(Tensor, self.classifier(pooled))

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, n_labels) and the feature map (B, 1024, h, w) they were pooled from."""
        features = self.forward_features(x)
        return self.forward_head(features), features

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, n_labels) of float images (B, channels, S, S)."""
        return self.forward_with_features(x)[0]


def build(n_labels: int, channels: int = 1) -> XrayDenseNet:
    """A DenseNet-121 with random weights, `channels` inputs and `n_labels` logits.

    Raises ValueError when either number is below one.
    """
    if n_labels < 1 or channels < 1:
        raise ValueError(f"need at least 1 label and 1 channel, got {n_labels} and {channels}")
    return XrayDenseNet(n_labels, channels)
