"""The training run: RAdam, averaged weights, checkpoints, a plain log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training import checkpoint, sampling, validate
from models.training.augment import augment, working_px
from models.training.config import DENSENET, TrainConfig
from models.training.data import DataSet
from models.training.loss import (
    box_match,
    masked_bce,
    masked_cross_entropy,
    masked_match,
    outlier_exposure,
)
from models.training.network import PREFIX, TEACHER, WHERE, Ema, MultiHead, adopt
from models.training.pixels import shrink

log = logging.getLogger(__name__)
LOG_EVERY = 25
SAVE_EVERY = 100
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Batch:
    """One step's images (B, 1, S, S) and truths; `where` is (B, 0, 0, 0) when not asked for."""

    x: Tensor
    gate: Tensor
    type: Tensor
    chest: Tensor
    teacher: Tensor
    tutor: Tensor
    where: Tensor


def draw(
    data: DataSet, images: NDArray[np.uint8], weight: Tensor, config: TrainConfig, step: int
) -> Batch:
    """The batch of a step: a function of data, configuration and step number only.

    `images` are the data's images at the working size of the step's phase.
    """
    phase, _ = config.at(step)
    draws = sampling.epoch_batch if config.epochs else sampling.batch
    rows = draws(weight, phase.batch, config.seed, step).numpy()
    generator = torch.Generator().manual_seed(config.seed * 7_000_003 + step)
    drawn = torch.from_numpy(np.ascontiguousarray(images[rows]))
    boxes = None if data.boxes is None else data.boxes.maps(rows.tolist())
    x, where = augment(drawn, phase.px, config.augment, generator, boxes)
    return Batch(
        ((x - config.mean) / config.std).contiguous(memory_format=torch.channels_last),
        torch.from_numpy(data.targets.gate[rows]),
        torch.from_numpy(data.targets.type[rows]),
        torch.from_numpy(data.targets.chest[rows]),
        torch.from_numpy(data.teacher[rows]),
        torch.from_numpy(data.tutor[rows]),
        torch.zeros(len(rows), 0, 0, 0) if where is None else where,
    )


def losses(outputs: dict[str, Tensor], batch: Batch, config: TrainConfig) -> dict[str, Tensor]:
    """The weighted terms of the loss of the outputs that are given, by name.

    A weight of zero leaves its term out.
    """
    weight = config.loss
    terms: dict[str, Tensor] = {}
    if weight.gate and "gate" in outputs:
        terms["gate"] = weight.gate * masked_cross_entropy(outputs["gate"], batch.gate)
    if weight.type and "type" in outputs:
        loss = masked_cross_entropy(outputs["type"], batch.type, weight.smoothing)
        terms["type"] = weight.type * loss
    if weight.outlier and "type" in outputs:
        terms["outlier"] = weight.outlier * outlier_exposure(outputs["type"], batch.type)
    if weight.chest and "chest" in outputs:
        terms["chest"] = weight.chest * masked_bce(outputs["chest"], unanswered(batch))
    if weight.tutor and "chest" in outputs:
        terms["tutor"] = weight.tutor * masked_match(outputs["chest"], batch.tutor)
    if weight.teacher and TEACHER in outputs:
        terms[TEACHER] = weight.teacher * masked_match(outputs[TEACHER], batch.teacher)
    if weight.where and WHERE in outputs:
        terms[WHERE] = weight.where * box_match(outputs[WHERE], batch.where)
    return terms


def unanswered(batch: Batch) -> Tensor:
    """The chest truths (B, L) without those that a tutor has an answer to: NaN there."""
    if not batch.tutor.shape[1]:
        return batch.chest
    return torch.where(torch.isnan(batch.tutor), batch.chest, torch.nan)


def start(config: TrainConfig, data: DataSet, init: Path | None) -> MultiHead:
    """A fresh network, or one that starts from another run's averaged weights."""
    torch.manual_seed(config.seed)
    network = MultiHead(config.heads, data.teacher.shape[1], config.dropout, config.network)
    if config.network != DENSENET:
        _prior(network, data.targets.chest[data.chests(config)])
    if init is not None:
        fresh = adopt(network, checkpoint.averaged(init))
        log.info("started from %s; fresh: %s", init.name, ", ".join(fresh) or "nothing")
    return network.to(memory_format=torch.channels_last)


def _prior(network: MultiHead, truth: NDArray[np.float32]) -> None:
    """Let a tutor's chest head start at the labels' log odds (Lin et al. 2017, section 3.3)."""
    prevalence = torch.nan_to_num(torch.from_numpy(truth).nanmean(0), nan=0.5)
    head = cast(nn.Linear, network.heads[PREFIX + "chest"])
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.logit(prevalence, eps=1e-3))


def train_weights(data: DataSet, config: TrainConfig) -> Tensor:
    """Sampling weights (N,) of all records; zero outside the train split."""
    rows = data.rows("train")
    weight = torch.zeros(len(data.records), dtype=torch.float64)
    weight[rows] = sampling.weights([data.records[i] for i in rows], config.shares)
    return weight


def train(
    config: TrainConfig,
    data: DataSet,
    out: Path,
    init: Path | None,
    device: torch.device,
    progress: Progress,
) -> MultiHead:
    """Run (or go on with) a training; the network with the averaged weights.

    Writes checkpoints, `log.jsonl` and validation figures into `out`.
    """
    network = start(config, data, init).to(device).train()
    optimizer = _radam(network, config)
    ema = Ema(network, config.ema_decay)
    first = checkpoint.resume(out, config, network, ema, optimizer)
    weight = train_weights(data, config)
    journal = _Journal(out, config)
    working = data.images
    for step in range(first, config.steps):
        if step == first or config.at(step)[0] != config.at(step - 1)[0]:
            working = shrink(data.images, working_px(config.at(step)[0].px))
        batch = draw(data, working, weight, config, step)
        terms = one_step(network, optimizer, batch, config, step, device)
        ema.update(network)
        journal.note(step, terms)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == config.steps:
            checkpoint.save(out, config, step + 1, network, ema, optimizer)
        last = step + 1 == config.steps and not config.head_images
        # A run that goes on to solve its heads is looked at after that.
        if (step + 1) % config.validate_every == 0 or last:
            journal.validated(step, validate.summary(ema, data, config, device))
        progress(step + 1, config.steps)
    network.load_state_dict(ema.state)
    return network.eval()


def _radam(network: MultiHead, config: TrainConfig) -> torch.optim.RAdam:
    """RAdam (Liu et al. 2020) with decoupled weight decay; `one_step` sets the rates."""
    return torch.optim.RAdam(
        [
            {"params": network.trunk.parameters(), "factor": 1.0},
            {"params": network.heads.parameters(), "factor": config.head_lr},
        ],
        lr=1e-3,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=True,
    )


def multiplies_bfloat16(device: torch.device, config: TrainConfig) -> bool:
    """Whether half precision is faster there: GPUs, and CPUs with matrix tiles (AMX).

    The depthwise convolutions of a Lite network are slower in half precision on a CPU.
    """
    if device.type == "cuda":
        return True
    return config.network == DENSENET and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def one_step(
    network: MultiHead,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainConfig,
    step: int,
    device: torch.device,
) -> dict[str, float]:
    """One step of the optimizer; the loss terms before it. FloatingPointError when not finite."""
    _, lr = config.at(step)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)
    on_device = Batch(*(t.to(device) for t in vars(batch).values()))
    with torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device, config)):
        outputs = network(on_device.x)
    terms = losses({name: value.float() for name, value in outputs.items()}, on_device, config)
    total = torch.stack(list(terms.values())).sum()
    if not bool(torch.isfinite(total)):
        raise FloatingPointError(f"the loss is {total.item()} at step {step}; lower the rate")
    optimizer.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in terms.items()}


class _Journal:
    """`log.jsonl`: mean losses every few steps, and validation figures."""

    def __init__(self, out: Path, config: TrainConfig) -> None:
        self.path = out / "log.jsonl"
        self.path.touch()
        self.config = config
        self.sums: dict[str, float] = {}
        self.count = 0
        self.began = time.monotonic()

    def note(self, step: int, terms: dict[str, float]) -> None:
        """Take in a step's losses; write a line now and then."""
        self.count += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if (step + 1) % LOG_EVERY and step + 1 < self.config.steps:
            return
        means = {name: round(value / self.count, 4) for name, value in self.sums.items()}
        phase, lr = self.config.at(step)
        elapsed = time.monotonic() - self.began
        rate = round(self.count * phase.batch / max(elapsed, 1e-6), 1)
        self._write({"step": step + 1, "px": phase.px, "lr": lr, "images_per_s": rate, **means})
        self.sums, self.count, self.began = {}, 0, time.monotonic()

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """Write a line of validation figures."""
        self._write({"step": step + 1, "val": figures})

    def _write(self, line: dict[str, object]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
