"""What came of a job in numbers: `summary.json`, the head of the page and the terminal's table."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.records.results import ImageView, RunView
from pipeline.reports.row import ABNORMAL, TYPE, abnormality, abnormality_runs, said
from pipeline.states import TERMINAL


@dataclass(slots=True)
class StageTimes:
    """How long images waited for a stage and how long it took, in milliseconds an image."""

    images: int = 0
    wait_ms: float = 0.0
    wait_ms_max: float = 0.0
    compute_ms: float = 0.0
    compute_ms_max: float = 0.0

    def add(self, run: RunView) -> None:
        """Count one image's run."""
        self.images += 1
        self.wait_ms += run.wait_ms
        self.compute_ms += run.compute_ms
        self.wait_ms_max = max(self.wait_ms_max, run.wait_ms)
        self.compute_ms_max = max(self.compute_ms_max, run.compute_ms)

    def as_dict(self) -> dict[str, float]:
        """Means and maxima."""
        return {
            "images": self.images,
            "wait_ms_mean": round(self.wait_ms / self.images, 1),
            "wait_ms_max": round(self.wait_ms_max, 1),
            "compute_ms_mean": round(self.compute_ms / self.images, 1),
            "compute_ms_max": round(self.compute_ms_max, 1),
        }


@dataclass(slots=True)
class Summary:
    """Counts over all images added so far."""

    images: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    abnormal: int = 0
    judged: int = 0
    """Images that a stage looked at for findings."""
    versions: dict[str, Counter[str]] = field(default_factory=dict)
    operating_points: Counter[str] = field(default_factory=Counter)
    stages: dict[str, StageTimes] = field(default_factory=dict)
    first_accepted: float | None = None
    last_finished: float | None = None
    heatmaps_missing: int = 0
    """Heatmaps that the database names and the storage did not give."""

    @property
    def unfinished(self) -> int:
        """Images that are still on their walk."""
        return self.images - sum(self.statuses[state] for state in TERMINAL)

    def add(self, views: Iterable[ImageView]) -> None:
        """Count some images."""
        for view in views:
            self._add(view)

    def as_dict(self) -> dict[str, Any]:
        """The counts as they stand in `summary.json`."""
        return {
            "images": self.images,
            "unfinished": self.unfinished,
            "by_status": ordered(self.statuses),
            "by_reason": ordered(self.reasons),
            "by_type": ordered(self.types),
            "by_finding": ordered(self.findings),
            "abnormal": self.abnormal,
            "normal": self.judged - self.abnormal,
            "heatmaps_missing": self.heatmaps_missing,
            "model_versions": {stage: ordered(count) for stage, count in self.versions.items()},
            "operating_points": ordered(self.operating_points),
            "stages": {stage: times.as_dict() for stage, times in self.stages.items()},
        }

    def _add(self, view: ImageView) -> None:
        row = view.row
        self.images += 1
        self.statuses[row["state"]] += 1
        if row["reason_code"]:
            self.reasons[row["reason_code"]] += 1
        self.first_accepted = min(self.first_accepted or row["created_at"], row["created_at"])
        if row["finished_at"] is not None:
            self.last_finished = max(self.last_finished or 0.0, row["finished_at"])
        for run in view.runs:
            self.stages.setdefault(run.stage, StageTimes()).add(run)
            self.versions.setdefault(run.stage, Counter())[run.model_version] += 1
        self._add_answers(view)

    def _add_answers(self, view: ImageView) -> None:
        kind = view.run(TYPE)
        if kind is not None and kind.answer is not None:
            self.types[kind.answer] += 1
        runs = abnormality_runs(view)
        verdicts = [verdict for run in runs if (verdict := abnormality(run)) is not None]
        self.judged += bool(verdicts)
        self.abnormal += any(positive for positive, _ in verdicts)
        self.operating_points.update(run.operating_point for run in runs)
        self.findings.update(
            said(finding)
            for run in runs
            for finding in run.findings
            if finding.positive and finding.label != ABNORMAL
        )


def ordered(counts: Counter[str]) -> dict[str, int]:
    """Counts, the highest first; equals by name, so that two runs write the same file."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
