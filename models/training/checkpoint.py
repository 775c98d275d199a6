"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.artifact import HEAD, load_card
from models.card import CARD_FILE
from models.training.config import TrainConfig
from models.training.errors import CheckpointError
from models.training.network import PREFIX, Ema

FILE = "checkpoint.pt"


def digest(config: TrainConfig) -> str:
    """A short hash of the configuration; a checkpoint continues only its own."""
    text = json.dumps(config.as_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save(
    folder: Path,
    config: TrainConfig,
    step: int,
    network: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the checkpoint in one move: a run that is killed meanwhile keeps the last one."""
    part = folder / (FILE + ".part")
    torch.save(
        {
            "config": digest(config),
            "step": step,
            "network": network.state_dict(),
            "ema": ema.state,
            "ema_updates": ema.updates,
            "optimizer": optimizer.state_dict(),
        },
        part,
    )
    part.replace(folder / FILE)


def load(folder: Path) -> dict[str, Any]:
    """A checkpoint as saved. Raises CheckpointError when it is missing or damaged."""
    path = folder / FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: no checkpoint; train that stage first")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds for a damaged file
        raise CheckpointError(f"{path}: damaged ({error}); delete it to start afresh") from error
    return state


def resume(
    folder: Path,
    config: TrainConfig,
    network: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Restore a run from its checkpoint, if there is one; the step to go on with."""
    if not (folder / FILE).is_file():
        return 0
    state = load(folder)
    if state["config"] != digest(config):
        raise CheckpointError(
            f"{folder / FILE} belongs to another configuration; choose another --out"
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    ema.state, ema.updates = state["ema"], int(state["ema_updates"])
    return int(state["step"])


def averaged(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, or a shipped stage's: what others start from.

    `folder` holds a checkpoint, or `card.json` and its weights. Raises CheckpointError where
    there is neither, CardError and WeightsError where card and weights disagree.
    """
    if not (folder / FILE).is_file() and (folder / CARD_FILE).is_file():
        return _shipped(folder)
    state: dict[str, Tensor] = load(folder)["ema"]
    return state


def _shipped(folder: Path) -> dict[str, Tensor]:
    """A stage's weights, under the names that they have in training."""
    card = load_card(folder)
    tensors = {k: v.float() for k, v in load_file(folder / card.weights.file).items()}
    head = PREFIX + card.stage
    return {
        k.replace(f"{HEAD}.", f"heads.{head}.") if k.startswith(f"{HEAD}.") else f"trunk.{k}": v
        for k, v in tensors.items()
    }
