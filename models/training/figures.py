"""The figures of each stage, from scores and truths: what cards and reports are made of.

Never accuracy alone: the all-negative baseline stands beside it, and every figure is also given
for each dataset apart. All results are plain JSON values; what can't be measured is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training import metrics
from models.training.manifest import Record

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Json = dict[str, Any]
FEWEST = 10


def rounded(value: float, digits: int = 4) -> float | None:
    """A JSON number; None for NaN."""
    return None if math.isnan(value) else round(float(value), digits)


def rate(hits: Bools) -> Json:
    """A share with its bootstrap 95 % interval and the count it rests on."""
    if not len(hits):
        return {"n": 0, "value": None, "ci95": None}
    low, high = metrics.bootstrap(lambda rows: float(hits[rows].mean()), len(hits), 300)
    return {
        "n": len(hits),
        "value": rounded(float(hits.mean())),
        "ci95": [rounded(low), rounded(high)],
    }


def by(keys: Sequence[str], hits: Bools) -> Json:
    """`rate` for each key apart."""
    names = np.array(keys)
    return {str(key): rate(hits[names == key]) for key in sorted(set(keys))}


def gate(records: Sequence[Record], accepted: Bools, score: Floats) -> Json:
    """Figures of the gate: `accepted` (N,) is its answer, `score` (N,) that of 'xray'."""
    truth = np.array([bool(r.is_xray) for r in records])
    hits = accepted == truth
    low, high = metrics.bootstrap(lambda i: _balanced(truth[i], accepted[i]), len(truth), 300)
    return {
        "accuracy": rate(hits),
        "all_negative_accuracy": rounded(float((~truth).mean())),
        "balanced_accuracy": {
            "value": rounded(_balanced(truth, accepted)),
            "ci95": [rounded(low), rounded(high)],
        },
        "auc": rounded(metrics.auc(truth, score)),
        "calibration_error": rounded(metrics.calibration_error(truth, score)),
        "recall_by_group": by([r.group for r in records], hits),
        "recall_by_dataset": by([f"{r.dataset}" for r in records], hits),
        "accepted_by_type": by(
            [r.xray_type or "unspecified" for r, t in zip(records, truth, strict=True) if t],
            accepted[truth],
        ),
    }


def _balanced(truth: Bools, called: Bools) -> float:
    if truth.all() or not truth.any():
        return float("nan")
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)


def kinds(
    records: Sequence[Record],
    answers: Sequence[str],
    score: Floats,
    names: Sequence[str],
    train_counts: Mapping[str, int],
) -> Json:
    """Figures of the type stage on radiographs of known kind; 'unknown' counts as an error."""
    columns = [*names, "unknown"]
    truth = np.array([names.index(r.xray_type) for r in records], dtype=np.int64)
    answer = np.array([columns.index(a) for a in answers], dtype=np.int64)
    hits = truth == answer
    recalls = metrics.recalls(truth, answer, len(columns))
    large = [i for i, name in enumerate(names) if train_counts.get(name, 0) >= 100]
    majority = max(np.bincount(truth, minlength=len(names)))
    low, high = metrics.bootstrap(
        lambda i: metrics.balanced_accuracy(truth[i], answer[i], len(columns)), len(truth), 300
    )
    return {
        "accuracy": rate(hits),
        "all_majority_accuracy": rounded(majority / len(truth)),
        "macro_recall": {
            "value": rounded(float(np.nanmean(recalls))),
            "ci95": [rounded(low), rounded(high)],
        },
        "macro_recall_100_train": rounded(float(np.nanmean(recalls[large]))) if large else None,
        "unknown_rate": rounded(float((answer == len(names)).mean())),
        "calibration_error": rounded(metrics.calibration_error(hits, score.max(1))),
        "recall_by_class": by([r.xray_type for r in records], hits),
        "recall_by_dataset": by([r.dataset for r in records], hits),
        "confusion": {
            "labels": columns,
            "rows": metrics.confusion(truth, answer, len(columns))[: len(names)].tolist(),
        },
    }


def chest_label(truth: NDArray[np.float32], score: Floats, threshold: float) -> Json:
    """Figures of one label on the images where it is known; `truth` (N,) 1, 0 or NaN."""
    known = ~np.isnan(truth)
    present, found = truth[known] == 1, score[known]
    positives = int(present.sum())
    figures: Json = {"n": int(known.sum()), "positives": positives}
    if min(positives, len(present) - positives) < 1:
        return figures
    value, low, high = metrics.auc_with_interval(present, found)
    called = found >= threshold
    return figures | {
        "auc": rounded(value),
        "auc_ci95": [rounded(low), rounded(high)],
        "accuracy": rounded(float((called == present).mean())),
        "all_negative_accuracy": rounded(float((~present).mean())),
        "all_positive_accuracy": rounded(float(present.mean())),
        "balanced_accuracy": rounded(_balanced(present, called)),
        "sensitivity": rounded(float(called[present].mean())),
        "specificity": rounded(float((~called[~present]).mean())),
        "calibration_error": rounded(metrics.calibration_error(present, found)),
    }


def chest(
    records: Sequence[Record],
    truth: NDArray[np.float32],
    score: Floats,
    names: Sequence[str],
    thresholds: Mapping[str, float],
) -> Json:
    """Figures of every chest label: for each dataset apart, and for each source of a dataset."""
    result: Json = {}
    for group in sorted({r.dataset for r in records}):
        rows = np.array([r.dataset == group for r in records])
        result[group] = _chest_group(truth[rows], score[rows], names, thresholds)
        sources = np.array([r.source for r in records])
        result[group]["abnormal_by_source"] = {
            str(source): chest_label(
                truth[rows & (sources == source), 0],
                score[rows & (sources == source), 0],
                thresholds.get(names[0], 0.5),
            )
            for source in sorted(set(sources[rows]))
        }
    return result


def _chest_group(
    truth: NDArray[np.float32],
    score: Floats,
    names: Sequence[str],
    thresholds: Mapping[str, float],
) -> Json:
    labels = {
        name: chest_label(truth[:, i], score[:, i], thresholds.get(name, 0.5))
        for i, name in enumerate(names)
    }
    usable = {n: v for n, v in labels.items() if n != "abnormal" and v.get("auc") is not None}
    means = {
        f"mean_auc_{least}_positives": _mean(
            [v["auc"] for v in usable.values() if v["positives"] >= least]
        )
        for least in (1, FEWEST, 50)
    }
    return {"labels": labels, **means}


def _mean(values: Sequence[float]) -> float | None:
    return rounded(float(np.mean(values))) if values else None
