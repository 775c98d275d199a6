"""Fit a card to labelled images: temperature and bias, operating points, figures.

The weights are read, never written. Both training (on the validation split) and the `calibrate`
command (on a site's own images) come here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import QUANTILES, Label, ModelCard, OperatingPoint, UnknownRule
from models.onnx_runtime import OnnxRuntime
from models.preprocess import InputSpec, to_input
from models.scores import scores, thresholds
from models.training import calibration, figures
from models.training.errors import CardError
from models.training.labels import CHEST14, GATE
from models.training.manifest import Record
from models.training.pixels import read_gray

POINTS = ("sensitive", "balanced", "specific")
# The default where a head has a label that sums up the others: that one decides who is looked at
# first, so it weighs both errors alike. The findings explain it, and fourteen of them would bury
# every normal chest in false alarms unless each is seldom wrong about one.
TRIAGE = "triage"
SUMMARY = "abnormal"
# The gate stands before everything: what it refuses is lost, so its sensitive point loses 0.2 %.
WANTED = {"gate": (0.998, 0.995), "chest": (0.9, 0.9)}
BATCH = 16
CHANCE = 0.5
FEWEST = 5


def logits(
    folder: Path, card: ModelCard, records: Sequence[Record], threads: int = 2
) -> NDArray[np.float32]:
    """Logits (N, L) of the weights in `folder` for each record's image, as a worker computes them.

    Raises WeightsError when the weights don't fit, ManifestError when an image can't be read.
    """
    runtime = OnnxRuntime(folder, card, threads)
    mean, std = card.channel_statistics[0]
    spec = InputSpec(card.input_px, mean, std)
    parts = []
    for start in range(0, len(records), BATCH):
        images = [to_input(read_gray(r.path), spec) for r in records[start : start + BATCH]]
        parts.append(runtime.run(np.stack(images), features=False)[0])
    return np.concatenate(parts)


def relevant(stage: str, names: Sequence[str], records: Sequence[Record]) -> list[Record]:
    """The records that say something about a stage's labels."""
    if stage == "gate":
        return [r for r in records if r.is_xray is not None]
    if stage == "type":
        return [r for r in records if r.is_xray is not False and r.xray_type in names]
    return [
        r
        for r in records
        if r.xray_type in ("", "chest") and (r.abnormal is not None or r.positive or r.negative)
    ]


def truth_of(card: ModelCard, records: Sequence[Record]) -> NDArray[np.float32]:
    """Truths (N, L): 1, 0 or NaN (unknown), in the order of the card's labels."""
    return np.array(
        [[_known(record, name) for name in card.label_names] for record in records],
        dtype=np.float32,
    ).reshape(len(records), len(card.labels))


def _known(record: Record, name: str) -> float:
    if name in GATE:
        return float(bool(record.is_xray) == (name == GATE[1]))
    if name == "abnormal":
        return float("nan") if record.abnormal is None else float(record.abnormal)
    if name in CHEST14 or name in record.positive | record.negative:
        return 1.0 if name in record.positive else 0.0 if name in record.negative else float("nan")
    return float(record.xray_type == name) if record.xray_type else float("nan")


def refit(
    card: ModelCard,
    records: Sequence[Record],
    values: NDArray[np.float32],
    train_counts: Mapping[str, int],
) -> ModelCard:
    """A card with temperature, bias, operating points and figures fitted to `values` (N, L).

    Labels with fewer than five positives or negatives keep what they had. Raises CardError when
    nothing can be fitted.
    """
    truth = used = truth_of(card, records)
    if card.activation == "softmax":
        fitted = _softmax(card, truth, values)
    else:
        used = informative(records, truth)
        fitted = _sigmoid(card, used, values)
    pointed = _with_points(fitted, used, scores(fitted, values))
    return _with_figures(pointed, records, truth, scores(pointed, values), train_counts)


def _softmax(card: ModelCard, truth: NDArray[np.float32], values: NDArray[np.float32]) -> ModelCard:
    classes = truth.argmax(1).astype(np.int64)
    if len(set(classes.tolist())) < 2:
        raise CardError(f"{card.stage}: calibration needs images of at least two labels")
    temperature = calibration.fit_temperature(values, classes)
    labels = tuple(
        label.model_copy(update={"temperature": round(temperature, 4)}) for label in card.labels
    )
    changed = card.model_copy(update={"labels": labels})
    if card.unknown is None:
        return changed
    best = scores(changed, values).max(1)
    threshold = round(calibration.unknown_threshold(best), 4)
    rule = UnknownRule(threshold=threshold, kept=round(float((best >= threshold).mean()), 4))
    return changed.model_copy(update={"unknown": rule})


def _sigmoid(card: ModelCard, truth: NDArray[np.float32], values: NDArray[np.float32]) -> ModelCard:
    labels = []
    for i, label in enumerate(card.labels):
        known = ~np.isnan(truth[:, i])
        present = truth[known, i] == 1
        if _enough(present):
            temperature, bias = calibration.fit_platt(values[known, i], present)
            changed = {"temperature": round(temperature, 4), "bias": round(bias, 4)}
            label = label.model_copy(update=changed)  # noqa: PLW2901
        labels.append(label)
    if all(not _enough(truth[~np.isnan(truth[:, i]), i] == 1) for i in range(len(labels))):
        raise CardError(
            f"{card.stage}: no label has {FEWEST} positive and {FEWEST} negative images"
        )
    return card.model_copy(update={"labels": tuple(labels)})


def informative(records: Sequence[Record], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """`truth` (N, L) with a label unknown (NaN) on data sets that hold only one of its classes.

    Else a threshold would tell the data sets apart (normal children from sick adults) and find
    nothing within either.
    """
    kept = truth.copy()
    names = np.array([r.dataset for r in records])
    for name in set(names.tolist()):
        rows = names == name
        for column in range(truth.shape[1]):
            known = truth[rows, column]
            if not _enough(known[~np.isnan(known)] == 1):
                kept[rows, column] = np.nan
    return kept


def _enough(present: NDArray[np.bool_]) -> bool:
    return min(int(present.sum()), int((~present).sum())) >= FEWEST


def _with_points(
    card: ModelCard, truth: NDArray[np.float32], score: NDArray[np.float64]
) -> ModelCard:
    wanted = WANTED.get(card.stage, (0.95, 0.95))
    deciding = card.activation == "sigmoid" or card.is_yes_no
    labels = []
    for i, label in enumerate(card.labels):
        known = ~np.isnan(truth[:, i])
        present = truth[known, i] == 1
        if deciding and _enough(present):
            points = calibration.operating_points(present, score[known, i], *wanted)
            named = {n: OperatingPoint(**_rounded(asdict(p))) for n, p in points.items()}
            label = label.model_copy(update={"operating_points": named})  # noqa: PLW2901
        labels.append(label)
    return _with_triage(card.model_copy(update={"labels": tuple(labels)}))


def _with_triage(card: ModelCard) -> ModelCard:
    """The card with the point `triage` as its default, where its head has what that takes."""
    if card.activation != "sigmoid" or SUMMARY not in card.label_names:
        return card
    if not {"balanced", "specific"} <= set(card.operating_points):
        return card
    labels = tuple(_label_with_triage(label) for label in card.labels)
    return card.model_copy(update={"labels": labels, "default_operating_point": TRIAGE})


def _label_with_triage(label: Label) -> Label:
    chosen = label.operating_points["balanced" if label.name == SUMMARY else "specific"]
    return label.model_copy(update={"operating_points": {**label.operating_points, TRIAGE: chosen}})


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}


def _with_figures(
    card: ModelCard,
    records: Sequence[Record],
    truth: NDArray[np.float32],
    score: NDArray[np.float64],
    train_counts: Mapping[str, int],
) -> ModelCard:
    found = stage_figures(card, records, truth, score, train_counts)
    labels = card.labels
    if card.activation == "sigmoid":
        labels = tuple(_measured(label, found) for label in labels)
    labels = tuple(_with_quantiles(label, score[:, i]) for i, label in enumerate(labels))
    return card.model_copy(update={"labels": labels, "metrics": {"val": found}})


def _measured(label: Label, found: Mapping[str, Any]) -> Label:
    """A label with its figures; experimental when it beats chance on no data set."""
    by_dataset = {name: group["labels"][label.name] for name, group in found.items()}
    lows = [figure["auc_ci95"][0] for figure in by_dataset.values() if "auc_ci95" in figure]
    doubtful = not any(low is not None and low > CHANCE for low in lows)
    return label.model_copy(
        update={
            "metrics": {"val": by_dataset},
            "experimental": label.experimental or doubtful,
        }
    )


def _with_quantiles(label: Label, score: NDArray[np.float64]) -> Label:
    """A label with its scores' deciles, for later scores to be compared with."""
    deciles = tuple(round(float(value), 5) for value in np.quantile(score, QUANTILES))
    return label.model_copy(update={"score_quantiles": deciles})


def stage_figures(
    card: ModelCard,
    records: Sequence[Record],
    truth: NDArray[np.float32],
    score: NDArray[np.float64],
    train_counts: Mapping[str, int],
) -> dict[str, Any]:
    """The figures of a stage at the card's default operating point."""
    limits = thresholds(card)
    if card.is_yes_no:
        accepted = score[:, 1] >= limits[card.label_names[1]]
        return figures.gate(records, accepted, score[:, 1])
    if card.activation == "softmax":
        names = list(card.label_names)
        floor = 0.0 if card.unknown is None else card.unknown.threshold
        answers = [names[int(s.argmax())] if s.max() >= floor else "unknown" for s in score]
        return figures.kinds(records, answers, score, names, train_counts)
    return figures.chest(records, truth, score, card.label_names, limits)


def train_counts(card: ModelCard) -> dict[str, int]:
    """Training images of each label, as the card says."""
    counts = card.training.get("label_images", {})
    return {k: int(str(v)) for k, v in counts.items()} if isinstance(counts, dict) else {}


def provisional_label(name: str, deciding: bool, experimental: bool, prevalence: float) -> Label:
    """A label before its calibration: every operating point at 0.5, nothing measured."""
    points = {point: OperatingPoint(threshold=0.5) for point in POINTS} if deciding else {}
    return Label(
        name=name,
        experimental=experimental,
        prevalence_train=round(prevalence, 5),
        operating_points=points,
    )
