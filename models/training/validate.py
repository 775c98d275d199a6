"""A quick look at the validation split during training; the proof is made by `evaluate`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.preprocess import InputSpec
from models.training.config import TrainConfig
from models.training.data import DataSet, inputs
from models.training.labels import CHEST, HEADS, IGNORE
from models.training.metrics import auc, balanced_accuracy
from models.training.network import Ema, MultiHead

BATCH = 32
FEWEST = 5


def summary(ema: Ema, data: DataSet, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """Figures of the averaged weights on the validation split, one or a few for each head."""
    averaged = MultiHead(config.heads, data.teacher.shape[1], network=config.network)
    averaged.load_state_dict(ema.state)
    averaged = averaged.to(device).to(memory_format=torch.channels_last).eval()
    rows = data.rows("val")
    return figures(predict(averaged, data.images[rows], config.input_spec, device), data, rows)


@torch.inference_mode()
def predict(
    network: MultiHead, images: NDArray[np.uint8], spec: InputSpec, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Logits (N, n) of every head for packed images (N, P, P)."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    for start in range(0, len(images), BATCH):
        x = inputs(images[start : start + BATCH], spec).to(
            device, memory_format=torch.channels_last
        )
        for name, logits in network(x).items():
            parts.setdefault(name, []).append(logits.float().cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def figures(
    logits: dict[str, NDArray[np.float32]], data: DataSet, rows: NDArray[np.intp]
) -> dict[str, float]:
    """Balanced accuracies of the softmax heads; AUCs of the chest head, each dataset apart."""
    found: dict[str, float] = {}
    for head in ("gate", "type"):
        truth = getattr(data.targets, head)[rows]
        known = truth != IGNORE
        if head in logits and known.any():
            answer = logits[head].argmax(1).astype(np.int64)
            found[head] = balanced_accuracy(truth[known], answer[known], len(HEADS[head]))
    if "chest" in logits:
        names = np.array([data.records[i].dataset for i in rows])
        chest = data.targets.chest[rows]
        for dataset in sorted({str(n) for n, t in zip(names, chest[:, 0], strict=True) if t == t}):
            found.update(_chest_figures(logits["chest"], chest, names == dataset, dataset))
    return {name: round(value, 4) for name, value in found.items()}


def _chest_figures(
    logits: NDArray[np.float32], truth: NDArray[np.float32], rows: NDArray[np.bool_], name: str
) -> dict[str, float]:
    values = {}
    for column, label in enumerate(CHEST):
        known = rows & ~np.isnan(truth[:, column])
        if min((truth[known, column] == 1).sum(), (truth[known, column] == 0).sum()) >= FEWEST:
            values[label] = auc(truth[known, column] == 1, logits[known, column])
    others = [value for label, value in values.items() if label != "abnormal"]
    found = {f"{name}_abnormal": values["abnormal"]} if "abnormal" in values else {}
    return found | ({f"{name}_labels": float(np.mean(others))} if others else {})
