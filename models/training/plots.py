"""Plots of a training run and of an evaluation, as PNG files; no window is opened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.training.chain import Walk

DPI = 110


def training(log: Path, out: Path) -> None:
    """`training.png`: losses and validation figures over the steps of a `log.jsonl`."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "val" not in line]
    looks = [line for line in lines if "val" in line]
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in [k for k in (steps[-1] if steps else {}) if k not in _NOT_LOSSES]:
        left.plot([s["step"] for s in steps], [s.get(name) for s in steps], label=name)
    left.set(title="Training loss (weighted terms)", xlabel="step", yscale="log")
    at = [look["step"] for look in looks]
    for name in looks[-1]["val"] if looks else []:
        right.plot(at, [look["val"].get(name) for look in looks], "o-", label=name)
    right.set(title="Validation", xlabel="step", ylabel="balanced accuracy or AUC")
    for axes in (left, right):
        _legend(axes)
    _save(figure, out / "training.png")


_NOT_LOSSES = ("step", "px", "lr", "images_per_s")


def evaluation(report: dict[str, Any], walks: Sequence[Walk], out: Path) -> None:
    """`confusion.png`, `auc.png` and `calibration.png` of an evaluation."""
    if report["type"]:
        confusion(report["type"]["confusion"], out / "confusion.png")
    if report["chest"]:
        auc_bars(report["chest"], out / "auc.png")
        reliability(walks, out / "calibration.png")


def confusion(matrix: dict[str, Any], path: Path) -> None:
    """Rows are truth, columns the answer; colour is the share of the row."""
    counts = np.array(matrix["rows"], dtype=float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(
            column,
            row,
            str(int(counts[row, column])),
            ha="center",
            va="center",
            color=colour,
            fontsize=7,
        )
    labels = matrix["labels"]
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axes.set_yticks(range(len(counts)), labels[: len(counts)])
    axes.set(xlabel="answer", ylabel="truth", title="Body part: images by truth and answer")
    _save(figure, path)


def auc_bars(chest: dict[str, Any], path: Path) -> None:
    """AUC of each label with its 95 % interval, one panel a data set."""
    figure = Figure(figsize=(5 * max(1, len(chest)), 5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(chest), sharex=True))
    for axes, (name, group) in zip(panels, chest.items(), strict=True):
        rows = [(label, v) for label, v in group["labels"].items() if v.get("auc") is not None]
        values = np.array([v["auc"] for _, v in rows])
        bounds = np.array([v["auc_ci95"] for _, v in rows], dtype=float).reshape(-1, 2)
        errors = np.abs(bounds.T - values)
        axes.errorbar(values, range(len(rows)), xerr=errors, fmt="o")
        axes.set_yticks(range(len(rows)), [f"{label} ({v['positives']})" for label, v in rows])
        axes.axvline(0.5, color="gray", linestyle=":")
        axes.set(title=name, xlabel="AUC, 95 % interval (positives in brackets)", xlim=(0.3, 1.0))
    _save(figure, path)


def reliability(walks: Sequence[Walk], path: Path, bins: int = 8) -> None:
    """How often 'abnormal' is true at a score, each data set apart."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    known = [(w.record, w.chest_any) for w in walks if w.record.abnormal is not None]
    for name in sorted({r.dataset for r, _ in known}):
        rows = [
            (p.scores["abnormal"], bool(r.abnormal))
            for r, p in known
            if p is not None and r.dataset == name and "abnormal" in p.scores
        ]
        if not rows:
            continue
        ordered = np.array(sorted(rows), dtype=float)
        parts = [part for part in np.array_split(ordered, bins) if len(part)]
        axes.plot(
            [p[:, 0].mean() for p in parts],
            [p[:, 1].mean() for p in parts],
            "o-",
            label=f"{name} ({len(rows)})",
        )
    axes.set(xlabel="score of 'abnormal'", ylabel="share that is abnormal", title="Calibration")
    _legend(axes)
    _save(figure, path)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=7)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_figure(str(path), dpi=DPI)
