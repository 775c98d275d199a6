"""From a trained network to what is shipped: fp16 safetensors, card.json and MODEL_CARD.md."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from models.card import CARD_FILE, ModelCard, UnknownRule, WeightsFile, write_card
from models.densenet import XrayDenseNet
from models.training import calibration
from models.training.config import TrainConfig
from models.training.known import DISCLAIMER, INTENDED_USE, KNOWN_FAILURES
from models.training.labels import EXPERIMENTAL_BELOW, HEADS, targets
from models.training.manifest import Record, of_split
from models.training.model_card import PEOPLE_FILE, as_markdown
from models.training.refit import logits, provisional_label, refit, relevant, truth_of

WEIGHTS = "weights.safetensors"
VERSION = "1.6.0"


def export(
    network: XrayDenseNet,
    config: TrainConfig,
    records: Sequence[Record],
    out: Path,
    recipe: str,
) -> ModelCard:
    """Write weights and cards of one stage into `out`, calibrated on the validation split.

    Weights first, then the card, each in one move: whoever reads meanwhile sees a pair that
    disagrees (a clear error) at worst, never a wrong score.
    """
    out.mkdir(parents=True, exist_ok=True)
    blob = save(_half(network))
    digest = hashlib.sha256(blob).hexdigest()
    replace_bytes(out / WEIGHTS, blob)
    draft = _draft(config, records, digest, len(blob), recipe)
    chosen = relevant(config.stage, draft.label_names, of_split(records, "val"))
    values = logits(out, draft, chosen)
    draft = _levelled(draft, chosen, values)
    card = refit(draft, chosen, values, class_counts(config.stage, records))
    write_pair(card, out)
    return card


def write_pair(card: ModelCard, out: Path) -> None:
    """Write card.json and MODEL_CARD.md, each in one move."""
    part = out / (CARD_FILE + ".part")
    # Round trip: what pydantic would refuse to read is refused here, at writing.
    write_card(ModelCard.model_validate_json(card.model_dump_json()), part)
    part.replace(out / CARD_FILE)
    replace_bytes(out / PEOPLE_FILE, as_markdown(card).encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file in one move."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def class_counts(stage: str, records: Sequence[Record]) -> dict[str, int]:
    """Training images of each label of a stage (positives, for chest)."""
    train = targets(of_split(records, "train"))
    if stage == "chest":
        sums = np.nansum(train.chest, axis=0)
        return {name: int(n) for name, n in zip(HEADS[stage], sums, strict=True)}
    counts = Counter(getattr(train, stage).tolist())
    return {name: counts.get(i, 0) for i, name in enumerate(HEADS[stage])}


def _half(network: XrayDenseNet) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return {k: v.half().contiguous() if v.dtype.is_floating_point else v for k, v in state.items()}


def _draft(
    config: TrainConfig, records: Sequence[Record], digest: str, size: int, recipe: str
) -> ModelCard:
    stage = config.stage
    softmax = stage != "chest"
    return ModelCard(
        stage=stage,
        model_version=f"{stage}-{VERSION}+{digest[:8]}",
        architecture="densenet121",
        channels=1,
        input_px=config.input_px,
        mean=config.mean,
        std=config.std,
        activation="softmax" if softmax else "sigmoid",
        labels=_labels(stage, records),
        unknown=UnknownRule(threshold=0.5) if stage == "type" else None,
        weights=WeightsFile(file=WEIGHTS, sha256=digest, dtype="float16", bytes=size),
        training=training_facts(config, records, recipe),
        known_failures=KNOWN_FAILURES[stage],
        intended_use=INTENDED_USE[stage],
        disclaimer=DISCLAIMER,
    )


def _levelled(card: ModelCard, records: Sequence[Record], values: NDArray[np.float32]) -> ModelCard:
    """The card with each finding's mean score at its share of the training images.

    For those too rare to be calibrated: a network's raw score calls a hernia likely in chests
    where one in a hundred has it. `refit` replaces it wherever it can.
    """
    if card.activation != "sigmoid":
        return card
    known = ~np.isnan(truth_of(card, records))
    labels = []
    for i, label in enumerate(card.labels):
        share = label.prevalence_train or 0.0
        if known[:, i].any() and 0.0 < share < 1.0:
            bias = calibration.fit_bias(values[known[:, i], i], share)
            label = label.model_copy(update={"bias": round(bias, 4)})  # noqa: PLW2901
        labels.append(label)
    return card.model_copy(update={"labels": tuple(labels)})


def _labels(stage: str, records: Sequence[Record]) -> tuple[Any, ...]:
    counts = class_counts(stage, records)
    val = class_counts(stage, [_as_train(r) for r in of_split(records, "val")])
    total = _known_counts(stage, records)
    deciding = {"gate": ("xray",), "type": ()}.get(stage, HEADS[stage])
    return tuple(
        provisional_label(
            name,
            name in deciding,
            stage != "gate"
            and (
                counts[name] < EXPERIMENTAL_BELOW["train"] or val[name] < EXPERIMENTAL_BELOW["val"]
            ),
            counts[name] / max(1, total[name]),
        )
        for name in HEADS[stage]
    )


def _as_train(record: Record) -> Record:
    return replace(record, split="train")


def _known_counts(stage: str, records: Sequence[Record]) -> dict[str, int]:
    """Training images on which each label is known."""
    train = targets(of_split(records, "train"))
    if stage == "chest":
        known = (~np.isnan(train.chest)).sum(0)
        return {name: int(n) for name, n in zip(HEADS[stage], known, strict=True)}
    total = int((getattr(train, stage) >= 0).sum())
    return dict.fromkeys(HEADS[stage], total)


def training_facts(config: TrainConfig, records: Sequence[Record], recipe: str) -> dict[str, Any]:
    """What a reader of the card must know about the training: data with licences, recipe."""
    used = relevant(config.stage, HEADS[config.stage], records)
    rows = Counter((r.dataset, r.license, r.split) for r in used)
    data = [
        {
            "dataset": name,
            "license": license_,
            "train_images": rows[(name, license_, "train")],
            "val_images": rows[(name, license_, "val")],
        }
        for name, license_ in sorted({(name, license_) for name, license_, _ in rows})
    ]
    counts = class_counts(config.stage, records)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return {
        "data": data,
        "label_images": counts,
        "recipe": recipe,
        "config": config.as_json(),
        "date": today,
    }
