"""A whole training session: data, run, plots, and the stage that comes out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from models.training import data, heads, plots, recipe, ridge, tutor, validate
from models.training.config import TrainConfig
from models.training.errors import ConfigError
from models.training.export import export
from models.training.labels import HEADS
from models.training.manifest import Record
from models.training.refit import relevant


@dataclass(frozen=True)
class Plan:
    """What to train, from where, to where; `steps` shortens the run for a trial."""

    config: TrainConfig
    out: Path
    init: Path | None
    cache: Path
    steps: int | None = None
    threads: int | None = None
    boxes: Path | None = None
    tutors: tuple[Path, ...] = ()


def run(plan: Plan, records: Sequence[Record], progress: recipe.Progress) -> None:
    """Train as planned; write checkpoints, config.json, log.jsonl, plots, and weights with card.

    A joint run has no stage of its own: its checkpoint is what the others start from.
    """
    config = shortened(plan.config, plan.steps)
    if config.loss.tutor and not plan.tutors:
        raise ConfigError("the configuration has tutor > 0 under [loss]: name one with --tutor")
    if plan.tutors and not config.loss.tutor:
        raise ConfigError("the configuration has no tutor > 0 under [loss]: leave --tutor out")
    plan.out.mkdir(parents=True, exist_ok=True)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    (plan.out / "config.json").write_text(json.dumps(config.as_json(), indent=1) + "\n")
    loaded = data.load(chosen(config, records), config, plan.cache, plan.boxes)
    if plan.tutors:
        loaded = tutor.taught(loaded, plan.tutors, plan.cache, device)
    network = recipe.train(config, loaded, plan.out, plan.init, device, progress)
    plots.training(plan.out / "log.jsonl", plan.out)
    if config.stage == "joint":
        return
    if config.head_images:
        heads.solve(network, loaded, config, device)
    if config.head_ridge:
        ridge.solve(network, loaded, config, device)
    rows = loaded.rows("val")
    logits = validate.predict(network, loaded.images[rows], config.input_spec, device)
    figures = validate.figures(logits, loaded, rows)
    (plan.out / "validation.json").write_text(json.dumps(figures, indent=1) + "\n")
    card = export(network.cpu().as_densenet(config.stage), config, records, plan.out, RECIPE)
    measured: dict[str, Any] = card.model_dump()["metrics"]["val"]
    if config.stage == "type":
        plots.confusion(measured["confusion"], plan.out / "confusion.png")
    if config.stage == "chest":
        plots.auc_bars(measured, plan.out / "auc.png")


def shortened(config: TrainConfig, steps: int | None) -> TrainConfig:
    """The same configuration, its phases cut to `steps` steps in all."""
    if steps is None:
        return config
    phases, left = [], steps
    for phase in config.phases:
        if left > 0:
            phases.append(replace(phase, steps=min(left, phase.steps)))
            left -= phase.steps
    return replace(config, phases=tuple(phases))


def chosen(config: TrainConfig, records: Sequence[Record]) -> list[Record]:
    """The records that the configured heads can learn from."""
    useful: set[int] = set()
    for head in config.heads:
        useful |= {id(r) for r in relevant(head, HEADS[head], records)}
    if config.loss.outlier:
        useful |= {id(r) for r in records if r.is_xray is False}
    return [r for r in records if id(r) in useful and r.split in ("train", "val")]


RECIPE = (
    "DenseNet-121 from scratch, one channel: one trunk trained on all three tasks together, "
    "predicting also the pooled features of a frozen EfficientNet-Lite0 (ImageNet weights, "
    "Apache-2.0, training only); then trained on for gate and type, and apart from that for chest, "
    "there also from the boxes of NIH's radiologists and from the answers of EfficientNet-Lite0 "
    "networks fine-tuned on the same adults (models/training/tutor.py); half of the chest head "
    "solved in closed form on the finished trunk's features (models/training/ridge.py); each stage "
    "calibrated. RAdam, masked losses, averaged weights, batched augmentation "
    "(models/training/augment.py); configurations in models/training/configs/shipped."
)
