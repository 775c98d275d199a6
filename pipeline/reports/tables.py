"""`results.csv` and `results.jsonl`: every image of a job, page by page, in constant memory."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from pipeline.records.results import FindingView, ImageView, RunView
from pipeline.reports.files import replacing
from pipeline.reports.heatmaps import link
from pipeline.reports.row import COLUMNS, row_of

CSV, JSONL = "results.csv", "results.jsonl"

_PRIVATE = frozenset(
    {"token", "lease_until", "due_at", "worker", "stage", "once_key", "original", "prepared"}
)
"""Columns of `Image` that say how the work went on, not what came of it."""
_RUN_FIELDS = tuple(field.name for field in fields(RunView) if field.name != "findings")


class Tables:
    """Both tables while they are written."""

    def __init__(self, csv_file: TextIO, jsonl_file: TextIO) -> None:
        """Begin with the header."""
        self._csv = csv.DictWriter(csv_file, COLUMNS, lineterminator="\n")
        self._csv.writeheader()
        self._jsonl = jsonl_file

    def add(self, views: Iterable[ImageView]) -> None:
        """Write the rows of some images."""
        for view in views:
            self._csv.writerow(cells(view))
            self._jsonl.write(json.dumps(record(view), ensure_ascii=False) + "\n")


@contextmanager
def tables(out: Path) -> Iterator[Tables]:
    """Both tables in the folder `out`; they take their place when all rows are in."""
    with replacing(out / CSV) as csv_file, replacing(out / JSONL) as jsonl_file:
        yield Tables(csv_file, jsonl_file)


def cells(view: ImageView) -> dict[str, str]:
    """The row of an image, its heatmaps as paths relative to the table."""
    return row_of(view, lambda finding: link(view, finding))


def record(view: ImageView) -> dict[str, Any]:
    """Everything known of an image, for programs: all scores of all runs, all timings."""
    facts = {name: value for name, value in view.row.items() if name not in _PRIVATE}
    return {"path": facts.pop("name"), **facts, "runs": [_run(view, run) for run in view.runs]}


def _run(view: ImageView, run: RunView) -> dict[str, Any]:
    named = {field: getattr(run, field) for field in _RUN_FIELDS}
    return named | {"findings": _findings(view, run.findings)}


def _findings(view: ImageView, findings: Iterable[FindingView]) -> list[dict[str, Any]]:
    return [
        {
            "label": finding.label,
            "score": finding.score,
            "threshold": finding.threshold,
            "positive": finding.positive,
            "experimental": finding.experimental,
            "heatmap": None if finding.heatmap is None else link(view, finding),
        }
        for finding in findings
    ]
