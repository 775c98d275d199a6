"""Refit the cards to a site's own labelled images; the weights are not touched."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from models.artifact import load_card
from models.card import ModelCard
from models.training.errors import CardError
from models.training.export import write_pair
from models.training.manifest import Record
from models.training.refit import logits, refit, relevant, train_counts

FEWEST_IMAGES = 20


def calibrate(
    records: Sequence[Record], weights: Path, out: Path, site: str, stages: Sequence[str]
) -> list[ModelCard]:
    """New card versions in `out`/<stage> for the stages that `records` say something about.

    Temperature, bias, 'unknown' rule and operating points are refitted; the weights file is
    copied as it is. A stage with fewer than 20 usable images is left out. Raises CardError when
    that leaves none, or when `out` holds the shipped weights themselves.
    """
    if out.resolve() == weights.resolve():
        raise CardError(f"{out}: write site cards to another folder than the shipped ones")
    written = []
    for stage in stages:
        card = load_card(weights / stage)
        usable = relevant(stage, card.label_names, records)
        if len(usable) < FEWEST_IMAGES:
            continue
        fitted = refit(card, usable, logits(weights / stage, card, usable), train_counts(card))
        target = out / stage
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights / stage / card.weights.file, target / card.weights.file)
        _same_weights(target / card.weights.file, card)
        written.append(_versioned(fitted, site, len(usable)))
        write_pair(written[-1], target)
    if not written:
        raise CardError(
            f"no stage has {FEWEST_IMAGES} labelled images; fill is_xray (gate), xray_type (type) "
            "or abnormal, positive and negative (chest) in the manifest"
        )
    return written


def _versioned(card: ModelCard, site: str, images: int) -> ModelCard:
    """The patch number goes up: same network, other thresholds."""
    found = re.fullmatch(r"(.+)-(\d+)\.(\d+)\.(\d+)(\+.+)", card.model_version)
    if found is None:
        raise CardError(f"{card.model_version}: not a version such as gate-1.0.0+0123abcd")
    name, major, minor, patch, build = found.groups()
    note = {"site": site, "images": images, "replaces": card.model_version}
    return card.model_copy(
        update={
            "model_version": f"{name}-{major}.{minor}.{int(patch) + 1}{build}",
            "training": {**card.training, "calibration": note},
        }
    )


def _same_weights(path: Path, card: ModelCard) -> None:
    if hashlib.sha256(path.read_bytes()).hexdigest() != card.weights.sha256:
        raise CardError(f"{path}: the copy of the weights is damaged; is the disk full?")
