"""The settings of a training run, read from TOML; unknown keys are errors."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from models.preprocess import InputSpec
from models.training.augment import AugmentConfig
from models.training.errors import ConfigError

CONFIGS = Path(__file__).parent / "configs"
STAGES = ("joint", "gate", "type", "chest")
DENSENET = "densenet121"
NETWORKS = (DENSENET, "lite0", "lite2")


@dataclass(frozen=True)
class Phase:
    """A run of steps at one image size; the learning rate goes in a line from `lr` to `lr_end`.

    With 0 steps in all nothing is trained: the stage is taken as it stands in the run it starts
    from.
    """

    px: int
    steps: int
    batch: int
    lr: float
    lr_end: float
    warmup: int = 0


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; a weight of zero leaves the term out.

    `tutor` asks for tutors (`--tutor`): their logits stand in for the chest labels of the images
    that they know, and `teacher` then means their features.
    """

    gate: float = 0.0
    type: float = 0.0
    chest: float = 0.0
    teacher: float = 0.0
    tutor: float = 0.0
    outlier: float = 0.0
    where: float = 0.0
    smoothing: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on, besides the data and the code.

    `network` other than DenseNet-121 makes a tutor, from ImageNet's weights; its heads learn at
    `head_lr` times the trunk's rate. `epochs` shows each image of the shares once before any a
    second time, instead of drawing by the shares.
    """

    stage: str
    heads: tuple[str, ...]
    phases: tuple[Phase, ...]
    loss: LossWeights
    shares: Mapping[str, float]
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    network: str = DENSENET
    seed: int = 7
    epochs: bool = False
    head_lr: float = 1.0
    pack_px: int = 192
    mean: float = 0.5
    std: float = 0.25
    weight_decay: float = 1e-4
    dropout: float = 0.0
    ema_decay: float = 0.998
    validate_every: int = 300
    head_images: int = 0
    head_l2: float = 1e-3
    head_ridge: float = 0.0
    head_keep: float = 0.0

    @property
    def steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases)

    @property
    def input_px(self) -> int:
        """The size that the trained network is used at: the last phase's."""
        return self.phases[-1].px

    @property
    def input_spec(self) -> InputSpec:
        """The trained network's input."""
        return InputSpec(self.input_px, self.mean, self.std)

    def chest_share(self, dataset: str) -> float:
        """The share of a chest data set, 0 when nothing is learnt from it."""
        return self.shares.get(f"chest:{dataset}", self.shares.get("chest", 0.0))

    def at(self, step: int) -> tuple[Phase, float]:
        """The phase of a step (from 0) and the learning rate there."""
        for phase in self.phases:
            if step < phase.steps:
                lr = phase.lr + (phase.lr_end - phase.lr) * step / max(1, phase.steps)
                return phase, lr * min(1.0, (step + 1) / (phase.warmup + 1))
            step -= phase.steps
        return self.phases[-1], self.phases[-1].lr_end

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, for cards, checkpoints and logs."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def load_config(path: Path) -> TrainConfig:
    """The configuration in a TOML file. Raises ConfigError with the key that is wrong."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], where: str) -> TrainConfig:
    """The configuration in a mapping; `where` names its origin in errors."""
    values = dict(raw)
    try:
        values["phases"] = tuple(_build(Phase, p, where) for p in values.pop("phase"))
        values["loss"] = _build(LossWeights, values.get("loss", {}), where)
        values["augment"] = _build(AugmentConfig, values.get("augment", {}), where)
        values["heads"] = tuple(values["heads"])
        config: TrainConfig = _build(TrainConfig, values, where)
    except KeyError as error:
        raise ConfigError(f"{where}: missing {error}") from error
    if config.stage not in STAGES or not set(config.heads) < set(STAGES):
        raise ConfigError(f"{where}: stage and heads must be among {', '.join(STAGES)}")
    if config.network not in NETWORKS:
        raise ConfigError(f"{where}: network is one of {', '.join(NETWORKS)}")
    if config.network != DENSENET and (config.stage != "joint" or "chest" not in config.heads):
        raise ConfigError(f"{where}: a tutor is a joint run with a chest head")
    if not config.phases or any(phase.steps < 0 for phase in config.phases):
        raise ConfigError(f"{where}: needs at least one [[phase]], its steps not below 0")
    return config


def restored(plain: Mapping[str, Any], where: str) -> TrainConfig:
    """The configuration that :meth:`TrainConfig.as_json` wrote. Raises ConfigError."""
    values = dict(plain)
    values["phase"] = values.pop("phases", [])
    return parse_config(values, where)


def _build(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        raise ConfigError(f"{where}: unknown key(s) {', '.join(sorted(unknown))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error
