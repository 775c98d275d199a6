"""Evaluation of the shipped stages on labelled images: per stage, per data set, end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.stage import Prediction
from models.training import figures, plots
from models.training.chain import Chain, Progress, Walk
from models.training.errors import ManifestError
from models.training.export import replace_bytes
from models.training.manifest import Record
from models.training.model_card import interval, metrics_markdown, shown, table
from models.training.refit import train_counts, truth_of

NOTE = (
    "Not a medical device. Accuracy is shown beside what a model that always says the same would "
    "reach; figures of different data sets must not be pooled."
)


def evaluate(
    records: Sequence[Record],
    weights: Path,
    out: Path,
    progress: Progress,
    operating_point: str | None = None,
) -> dict[str, Any]:
    """Run the chain on `records` and write report.json, report.md and plots into `out`.

    Returns the report. Raises ManifestError when there is nothing to evaluate.
    """
    if not records:
        raise ManifestError("no image to evaluate; check the manifest and --split")
    chain = Chain.load(weights, operating_point)
    walks = chain.walk(records, progress)
    stages = (chain.gate, chain.type, chain.chest)
    report = {
        "images": len(walks),
        "models": {stage.card.stage: stage.card.model_version for stage in stages},
        "gate": gate_figures(chain.gate.card, walks),
        "type": type_figures(chain.type.card, walks),
        "chest": chest_figures(chain.chest.card, chain.chest.thresholds, walks),
        "end_to_end": end_to_end(walks),
    }
    out.mkdir(parents=True, exist_ok=True)
    replace_bytes(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    replace_bytes(out / "report.md", as_markdown(report).encode())
    plots.evaluation(report, walks, out)
    return report


def gate_figures(card: ModelCard, walks: Sequence[Walk]) -> dict[str, Any]:
    """Figures of the gate on every image whose nature is known."""
    known = [w for w in walks if w.record.is_xray is not None]
    if not known:
        return {}
    accepted = np.array([w.type is not None for w in known])
    score = np.array([w.gate.scores[card.label_names[1]] for w in known])
    return figures.gate([w.record for w in known], accepted, score)


def type_figures(card: ModelCard, walks: Sequence[Walk]) -> dict[str, Any]:
    """Figures of the type stage on all radiographs of a known part, passed by the gate or not."""
    known = [(w.record, w.type_any) for w in walks if w.record.xray_type in card.label_names]
    run = [(r, p) for r, p in known if p is not None]
    if not run:
        return {}
    score = np.array([[p.scores[n] for n in card.label_names] for _, p in run])
    found = figures.kinds(
        [r for r, _ in run],
        [p.answer or "unknown" for _, p in run],
        score,
        list(card.label_names),
        train_counts(card),
    )
    others = [w for w in walks if w.record.is_xray is False]
    found["other_images_called_unknown"] = _unknown_rate([w.type_any for w in others])
    found["passed_other_images_called_unknown"] = _unknown_rate([w.type for w in others])
    return found


def _unknown_rate(said: Sequence[Prediction | None]) -> figures.Json:
    answers = [prediction.answer == "unknown" for prediction in said if prediction is not None]
    return figures.rate(np.array(answers, dtype=bool))


def chest_figures(
    card: ModelCard, limits: Mapping[str, float], walks: Sequence[Walk]
) -> dict[str, Any]:
    """Figures of the chest stage on all chest radiographs, reached by the chain or not."""
    run = [(w.record, w.chest_any) for w in walks if w.record.xray_type == "chest"]
    kept = [(r, p) for r, p in run if p is not None and r.abnormal is not None]
    if not kept:
        return {}
    records = [r for r, _ in kept]
    score = np.array([[p.scores[n] for n in card.label_names] for _, p in kept])
    return figures.chest(records, truth_of(card, records), score, card.label_names, limits)


def end_to_end(walks: Sequence[Walk]) -> dict[str, Any]:
    """Accuracy of the whole chain by running it: an image lost early is an error."""
    judged = [(w, w.correct) for w in walks]
    known = [(w, bool(ok)) for w, ok in judged if ok is not None]
    hits: NDArray[np.bool_] = np.array([ok for _, ok in known], dtype=bool)
    chest = [(w, ok) for w, ok in known if w.record.xray_type == "chest"]
    return {
        "accuracy": figures.rate(hits),
        "by_group": figures.by([w.record.group for w, _ in known], hits),
        "by_dataset": figures.by([w.record.dataset for w, _ in known], hits),
        "chest_by_dataset": figures.by(
            [w.record.dataset for w, _ in chest], np.array([ok for _, ok in chest], dtype=bool)
        ),
        "all_negative": _baseline([w.record for w, _ in known]),
    }


def _baseline(records: Sequence[Record]) -> dict[str, Any]:
    """What the chain would reach if it answered 'not an X-ray', or 'normal', to everything."""
    refuse = np.array([r.is_xray is False for r in records], dtype=bool)
    chest = [r for r in records if r.xray_type == "chest" and r.abnormal is not None]
    names = [r.dataset for r in chest]
    normal = np.array([r.abnormal is False for r in chest], dtype=bool)
    return {
        "always_refuse": figures.rounded(float(refuse.mean())) if len(refuse) else None,
        "chest_always_normal": figures.by(names, normal),
    }


def _headline(end: dict[str, Any]) -> str:
    whole = end["accuracy"]
    return (
        f"Accuracy of the chain, run as a chain: {interval(whole['value'], whole['ci95'])} of "
        f"{whole['n']} images; refusing everything would reach "
        f"{shown(end['all_negative']['always_refuse'])}."
    )


def as_markdown(report: dict[str, Any]) -> str:
    """report.md: the report for people."""
    end = report["end_to_end"]
    rows = [
        (group, v["n"], interval(v["value"], v["ci95"]))
        for name in ("by_group", "by_dataset")
        for group, v in end[name].items()
    ]
    parts = [
        "# Evaluation",
        NOTE,
        f"{report['images']} images; " + ", ".join(report["models"].values()) + ".",
        "## Gate",
        metrics_markdown(report["gate"]),
        "## Type",
        metrics_markdown(report["type"]),
        "## Chest",
        metrics_markdown(report["chest"]),
        "## End to end",
        _headline(end),
        table(("Group or data set", "n", "Right at the end (95 %)"), rows),
        "Chest radiographs alone, beside a chain that calls every one normal:",
        table(
            ("Data set", "n", "Right at the end (95 %)", "Always normal"),
            [
                (
                    name,
                    v["n"],
                    interval(v["value"], v["ci95"]),
                    end["all_negative"]["chest_always_normal"].get(name, {}).get("value"),
                )
                for name, v in end["chest_by_dataset"].items()
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"
