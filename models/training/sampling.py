"""Which images make up a step: cells of the data get shares, whatever their size.

A *cell* is a set of images that should be seen about as often as its share says: a kind of
non-radiograph, a body part of one dataset, the normal chests of one dataset. Within the shares,
weight grows with the square root of a cell's size: fully balanced sampling would show 22 femurs
hundreds of times (Mahajan et al. 2018, "Exploring the limits of weakly supervised pretraining").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.training.manifest import Record


def pool_of(record: Record) -> str:
    """The pool whose share the record takes part in: other, limb:<part>, or chest:<dataset>."""
    if record.is_xray is False:
        return "other"
    if record.xray_type == "chest":
        return f"chest:{record.dataset}"
    return f"limb:{record.xray_type}"


def cell_of(record: Record) -> tuple[str, ...]:
    """The cell within the pool: records of a cell have equal weight."""
    if record.is_xray is False:
        return ("other", record.group)
    if record.xray_type == "chest":
        return ("chest", record.dataset, str(record.abnormal), record.source)
    return ("limb", record.xray_type, record.dataset)


def weights(records: Sequence[Record], shares: Mapping[str, float]) -> Tensor:
    """Sampling weight (N,), float64, sum 1, of each record.

    `shares` maps a pool (:func:`pool_of`) to its share of a step; pools that are not named get
    no image, except that ``chest`` stands for every chest dataset not named itself, and ``limb``
    for every other part. Within a chest pool normal and abnormal images are seen equally often.
    """
    cells = Counter(cell_of(r) for r in records)
    raw = torch.tensor([cells[cell_of(r)] ** -0.5 for r in records], dtype=torch.float64)
    keys = [_share_key(r, shares) for r in records]
    strata = [
        (key, r.abnormal if key.startswith("chest") else None)
        for key, r in zip(keys, records, strict=True)
    ]
    total: dict[tuple[str, bool | None], float] = {}
    for stratum, value in zip(strata, raw.tolist(), strict=True):
        total[stratum] = total.get(stratum, 0.0) + value
    parts = Counter(key for key, _ in total)
    scale = [shares.get(s[0], 0.0) / parts[s[0]] / total[s] for s in strata]
    result = raw * torch.tensor(scale, dtype=torch.float64)
    if not float(result.sum()) > 0:
        raise ValueError(f"no image belongs to any of the shares {sorted(shares)}")
    return result / result.sum()


def _share_key(record: Record, shares: Mapping[str, float]) -> str:
    pool = pool_of(record)
    return pool if pool in shares else pool.partition(":")[0]


def epoch_batch(weight: Tensor, size: int, seed: int, step: int) -> Tensor:
    """Indices (size,) of step `step` where every image of some weight comes once in an epoch.

    An epoch's last images, too few for a batch, are left out.
    """
    rows = weight.nonzero().flatten()
    steps = max(1, len(rows) // size)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step // steps)
    order = rows[torch.randperm(len(rows), generator=generator)]
    start = step % steps * size
    return order[start : start + size]


def batch(weight: Tensor, size: int, seed: int, step: int) -> Tensor:
    """Indices (size,) of step `step`: a function of its arguments only, so a resumed run agrees."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return torch.multinomial(weight, size, replacement=True, generator=generator)
