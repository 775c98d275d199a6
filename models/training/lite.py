"""EfficientNet-Lite as a trunk that is fine-tuned: what a tutor is made of; never shipped."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.training import teacher


class LiteTrunk(nn.Module):
    """ImageNet's weights to start from, and one gray channel shown as three.

    Inputs are normalised as TensorFlow's Lite models were trained, (pixel - 127) / 128: mean 127
    and standard deviation 128 of 255 in the configuration.
    """

    def __init__(self, name: str) -> None:
        """Raises TeacherMissingError when the package with the weights isn't installed."""
        super().__init__()
        self.network = teacher.load(name)
        self.channels: int = self.network.get_submodule("_fc").in_features
        self.network.set_submodule("_fc", nn.Identity())

    def forward_features(self, x: Tensor) -> Tensor:
        """Feature map of gray images: (B, 1, S, S) -> (B, channels, S/32, S/32)."""
        colour = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.network.extract_features(colour))
