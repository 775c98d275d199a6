"""One image as one row of `results.csv`: what the API and the bulk command both write."""

import json
from collections.abc import Callable, Mapping

from pipeline.records.results import FindingView, ImageView, RunView

COLUMNS = (
    "path",
    "sha256",
    "status",
    "reason",
    "is_xray",
    "xray_score",
    "xray_type",
    "type_score",
    "abnormal",
    "abnormality_score",
    "findings",
    "heatmaps",
    "model_versions",
)
"""The columns of `results.csv`, in order; scripts rely on them."""

GATE, XRAY = "gate", "xray"
TYPE = "type"
ABNORMAL = "abnormal"
"""The label of an abnormality stage that sums up its findings, where it has one."""

EXPERIMENTAL = " (experimental)"
"""Added to the label of a finding that the model card calls experimental, wherever it is shown
as positive: too little data stand behind it, so no script shall take it for a plain one."""


def row_of(view: ImageView, heatmap: Callable[[FindingView], str]) -> dict[str, str]:
    """The cells of an image under `COLUMNS`; empty where a stage did not run.

    `heatmap` gives the link of a finding that has one: a file name or an address.
    """
    row = view.row
    runs = abnormality_runs(view)
    return {
        "path": row["name"],
        "sha256": row["sha256"] or "",
        "status": str(row["state"]),
        "reason": _reason(row["reason_code"], row["reason"]),
        **_gate_cells(view.run(GATE)),
        **_type_cells(view.run(TYPE)),
        **_abnormality_cells(view),
        "heatmaps": _json(_links(runs, heatmap)) if runs else "",
        "model_versions": _json(model_versions(view)) if view.runs else "",
    }


def abnormality_runs(view: ImageView) -> list[RunView]:
    """The newest run of each stage that looks for findings, in the order they ran."""
    newest = {run.stage: run for run in view.runs if run.stage not in (GATE, TYPE)}
    return list(newest.values())


def model_versions(view: ImageView) -> dict[str, str]:
    """Stage -> version of the model whose answer is reported: the newest that ran."""
    return {run.stage: run.model_version for run in view.runs}


def abnormality(run: RunView) -> tuple[bool, float] | None:
    """Whether a stage calls the image abnormal, and its score; None where it scored nothing.

    The label `abnormal` decides where the model has one, the second label of a yes/no model,
    and else the findings: any positive one that is not experimental.
    """
    if not run.scores:
        return None
    if ABNORMAL in run.scores:
        positive = any(f.label == ABNORMAL and f.positive for f in run.findings)
        return positive, run.scores[ABNORMAL]
    if run.answer is not None:
        label, score = list(run.scores.items())[-1]
        return run.answer == label, score
    sound = any(f.positive and not f.experimental for f in run.findings)
    return sound, max(run.scores.values())


def positive_findings(view: ImageView) -> dict[str, float]:
    """Label -> score of what was found, highest first; an experimental label says so."""
    return {
        said(finding): round(finding.score, 4)
        for run in abnormality_runs(view)
        for finding in run.findings
        if finding.positive and finding.label != ABNORMAL
    }


def said(finding: FindingView) -> str:
    """The label of a finding as it is shown to people and scripts."""
    return finding.label + (EXPERIMENTAL if finding.experimental else "")


def _reason(code: str | None, words: str | None) -> str:
    return ": ".join(part for part in (code, words) if part)


def _gate_cells(run: RunView | None) -> dict[str, str]:
    if run is None:
        return {"is_xray": "", "xray_score": ""}
    return {"is_xray": _yes_no(run.answer == XRAY), "xray_score": _score(run.scores.get(XRAY))}


def _type_cells(run: RunView | None) -> dict[str, str]:
    if run is None:
        return {"xray_type": "", "type_score": ""}
    # `unknown` is an answer without a score of its own: the best label's score was too low.
    score = run.scores.get(run.answer or "", max(run.scores.values(), default=None))
    return {"xray_type": run.answer or "", "type_score": _score(score)}


def _abnormality_cells(view: ImageView) -> dict[str, str]:
    verdicts = [verdict for run in abnormality_runs(view) if (verdict := abnormality(run))]
    if not verdicts:
        return {"abnormal": "", "abnormality_score": "", "findings": ""}
    return {
        "abnormal": _yes_no(any(positive for positive, _ in verdicts)),
        "abnormality_score": _score(max(score for _, score in verdicts)),
        "findings": _json(positive_findings(view)),
    }


def _yes_no(value: bool) -> str:
    return "true" if value else "false"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _links(runs: list[RunView], heatmap: Callable[[FindingView], str]) -> dict[str, str]:
    # Under the same words as in `findings`, so that a script finds the picture of a finding.
    return {said(f): heatmap(f) for run in runs for f in run.findings if f.heatmap is not None}


def _json(value: Mapping[str, str | float]) -> str:
    return json.dumps(value, ensure_ascii=False)
