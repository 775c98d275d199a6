"""What the templates show: every value in words or numbers that need no further thought."""

from typing import Any

from pipeline.api import words
from pipeline.api.present import moment, progress
from pipeline.records.results import FindingView, ImageView, JobView
from pipeline.reports.row import (
    ABNORMAL,
    TYPE,
    abnormality,
    abnormality_runs,
    positive_findings,
)
from pipeline.states import TERMINAL, Priority, State

_WALK = (State.RECEIVED, State.PREPARED, State.GATED, State.TYPED)
_STEPS = ("Read the file", "X-ray or not", "Body part", "Findings")


def image_facts(view: ImageView) -> dict[str, Any]:
    """The page of one image."""
    row = view.row
    state = State(row["state"])
    findings = [_finding(finding) for run in abnormality_runs(view) for finding in run.findings]
    findings.sort(key=lambda finding: not finding["whole"])
    heatmaps = [finding for finding in findings if finding["heatmap"]]
    return {
        "id": row["id"],
        "job_id": row["job_id"],
        "name": row["name"],
        "answer": words.answer(view),
        "tone": tone(view),
        "terminal": state in TERMINAL,
        "flags": row["flags"] or [],
        "steps": _steps(state),
        "prepared": row["prepared"] is not None,
        "findings": findings,
        # What is named says more than the whole: its map is the first to be seen.
        "shown": min(heatmaps, key=lambda finding: finding["whole"], default=None),
        "experimental": any(finding["experimental"] for finding in findings),
        "runs": view.runs,
        "file": _file(view),
    }


def job_facts(job: JobView) -> dict[str, Any]:
    """The head of a job's page."""
    closed = job.closed_at is not None
    return {
        "id": job.id,
        "priority": Priority(job.priority).word,
        "created_at": moment(job.created_at),
        "total": job.total,
        "finished": job.finished,
        "percent": int(100 * progress(job)),
        "complete": closed and job.finished == job.total,
        "counts": [
            (words.STATES[state], job.counts[state]) for state in State if job.counts.get(state)
        ],
    }


def row_facts(view: ImageView) -> dict[str, Any]:
    """One row of a job's table."""
    row = view.row
    scores = [found[1] for run in abnormality_runs(view) if (found := abnormality(run))]
    type_ = view.run(TYPE)
    return {
        "id": row["id"],
        "name": row["name"],
        "answer": words.short(view),
        "tone": tone(view),
        "state": words.STATES[State(row["state"])],
        "type": type_.answer if type_ else None,
        "score": max(scores, default=None),
        "findings": [(words.label(name), score) for name, score in positive_findings(view).items()],
        "prepared": row["prepared"] is not None,
        "flags": row["flags"] or [],
    }


def tone(view: ImageView) -> str:
    """How the result is coloured; the words say the same."""
    state = State(view.row["state"])
    if state not in TERMINAL:
        return "waiting"
    if state is not State.DONE:
        return "refused"
    verdicts = [found for run in abnormality_runs(view) if (found := abnormality(run))]
    if not verdicts:
        return "plain"
    return "abnormal" if any(positive for positive, _ in verdicts) else "clear"


def size(count: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"


def _steps(state: State) -> list[tuple[str, str]]:
    # A step is done once a later state is reached.
    if state not in _WALK:
        return []
    now = _WALK.index(state)
    return [
        (name, "done" if place < now else "now" if place == now else "ahead")
        for place, name in enumerate(_STEPS)
    ]


def _finding(finding: FindingView) -> dict[str, Any]:
    return {
        "label": finding.label,
        "words": words.label(finding.label),
        "score": finding.score,
        "threshold": finding.threshold,
        "positive": finding.positive,
        "experimental": finding.experimental,
        "whole": finding.label == ABNORMAL,
        "heatmap": finding.heatmap is not None,
    }


def _file(view: ImageView) -> list[tuple[str, str]]:
    row = view.row
    facts = [("Name", row["name"]), ("Size", size(row["size_bytes"]))]
    if row["format"]:
        facts.append(("Format", row["format"]))
    if row["width_px"]:
        facts.append(("Pixels", f"{row['width_px']} × {row['height_px']}"))  # noqa: RUF001
    facts += [(key.replace("_", " ").capitalize(), _value(v)) for key, v in _header(row)]
    if row["sha256"]:
        facts.append(("SHA-256", row["sha256"]))
    return facts


def _header(row: Any) -> list[tuple[str, Any]]:
    return list((row["header"] or {}).items())


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
