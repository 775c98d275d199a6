"""The chest head in closed form: ridge regression on the trunk's pooled features.

Few adult chests and noisy labels: a head trained along with its trunk fits what the labels get
wrong. Solved afterwards, with a strong penalty, the same features answer better on validation. What
boxes taught the trained head about places would be lost with it, so a part of that one is kept.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.training.config import TrainConfig
from models.training.data import DataSet, inputs
from models.training.labels import CHEST
from models.training.network import PREFIX, MultiHead
from models.training.recipe import multiplies_bfloat16

BATCH = 32
FEWEST = 5
Doubles = NDArray[np.float64]


def solve(network: MultiHead, data: DataSet, config: TrainConfig, device: torch.device) -> None:
    """Replace the chest head's weights in place; the trunk stays as it is.

    A label learns from each data set that holds both of its classes, by that data set's share,
    and only from differences within it: features and truths are centred in each data set, so
    that no label learns to tell children from adults. `config.head_keep` of the answer stays the
    trained head's, both heads in standard deviations of their logits. A label that no data set
    informs keeps what it had.
    """
    rows = data.rows("train")
    plain = _features(network, data.images[rows], config, device)
    mirrored = _features(network, data.images[rows][:, :, ::-1], config, device)
    features = np.concatenate([plain, mirrored])
    truth = np.tile(data.targets.chest[rows], (2, 1))
    names = np.tile(np.array([data.records[i].dataset for i in rows.tolist()]), 2)
    mean, std = features.mean(0), features.std(0) + 1e-6
    linear = cast(nn.Linear, network.heads[PREFIX + "chest"])
    for column in range(len(CHEST)):
        solved = _label((features - mean) / std, truth[:, column], names, config)
        if solved is not None:
            trained = linear.weight[column].detach().cpu().double().numpy()
            weight = _mixed(solved[0] / std, trained, features - mean, config.head_keep)
            with torch.no_grad():
                linear.weight[column] = torch.from_numpy(weight)
                linear.bias[column] = solved[1] - float(weight @ mean)


def _mixed(solved: Doubles, trained: Doubles, features: Doubles, keep: float) -> Doubles:
    """Two heads' weights (D,) as one, at the scale of the solved one's logits."""
    scale = (features @ solved).std() / ((features @ trained).std() + 1e-12)
    mixed: Doubles = (1.0 - keep) * solved + keep * scale * trained
    return mixed


def _label(
    features: Doubles, truth: NDArray[np.float32], names: NDArray[np.str_], config: TrainConfig
) -> tuple[Doubles, float] | None:
    """Weights (D,) and bias of one label's logit, or None where nothing informs it."""
    gram, moment = np.zeros((features.shape[1],) * 2), np.zeros(features.shape[1])
    prevalence = total = 0.0
    for name in sorted(set(names.tolist())):
        rows = (names == name) & ~np.isnan(truth)
        share = config.chest_share(name)
        if share == 0.0 or min((truth[rows] == 1).sum(), (truth[rows] == 0).sum()) < FEWEST:
            continue
        x, y = features[rows] - features[rows].mean(0), truth[rows] - truth[rows].mean()
        gram += share * (x.T @ x) / len(x)
        moment += share * (x.T @ y) / len(x)
        prevalence, total = prevalence + share * float(truth[rows].mean()), total + share
    if total == 0.0:
        return None
    gram[np.diag_indices_from(gram)] += total * config.head_ridge
    prevalence /= total
    # Haggstrom 1983: least squares over the variance of the truth is near the logistic slope.
    variance = prevalence * (1.0 - prevalence)
    slope = np.asarray(np.linalg.solve(gram, moment) / variance, dtype=np.float64)
    return slope, float(np.log(prevalence / (1.0 - prevalence)))


@torch.inference_mode()
def _features(
    network: MultiHead, images: NDArray[np.uint8], config: TrainConfig, device: torch.device
) -> Doubles:
    """Pooled features (N, 1024) of packed images (N, P, P)."""
    network.eval()
    parts = []
    for start in range(0, len(images), BATCH):
        batch = np.ascontiguousarray(images[start : start + BATCH])
        x = inputs(batch, config.input_spec).to(device, memory_format=torch.channels_last)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=multiplies_bfloat16(device, config)
        ):
            maps = network.trunk.forward_features(x)
        parts.append(maps.float().mean((2, 3)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)
