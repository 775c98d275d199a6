"""What a person reads: the state and the result of an image as one sentence."""

from pipeline.reasons import ReasonCode
from pipeline.records.results import ImageView, RunView
from pipeline.reports.row import TYPE, abnormality, abnormality_runs
from pipeline.states import State

UNKNOWN = "unknown"

_WAITING = {
    "prepare": "reading the file",
    "gate": "is it an X-ray?",
    "type": "which body part?",
}

STATES = {
    State.RECEIVED: "Received",
    State.PREPARED: "Read",
    State.GATED: "X-ray",
    State.TYPED: "Body part known",
    State.DONE: "Done",
    State.REJECTED: "Rejected",
    State.QUARANTINED: "Set aside",
}
"""The names of the states on the pages."""


def answer(view: ImageView) -> str:
    """The result of an image, or how far it is."""
    runs = abnormality_runs(view)
    if State(view.row["state"]) is not State.DONE:
        return short(view)
    if not runs:
        return f"{kind(view)}: no abnormality stage for this type yet"
    return f"{kind(view)}, " + "; ".join(f"{_said(run)}{_measured(run)}" for run in runs)


def short(view: ImageView) -> str:
    """The same without figures, for a line of a table."""
    row = view.row
    match State(row["state"]):
        case State.REJECTED if row["reason_code"] == ReasonCode.NOT_XRAY:
            return "Not an X-ray"
        case State.REJECTED:
            return f"Not triaged: {row['reason']}"
        case State.QUARANTINED:
            return f"Set aside for a person: {row['reason']}"
        case State.DONE:
            return ", ".join([kind(view), *map(_said, abnormality_runs(view))])
        case _:
            stage = row["stage"]
            return f"In triage: {_WAITING.get(stage, f'findings ({stage})')}"


def kind(view: ImageView) -> str:
    """What the image is, as in "Hand X-ray"."""
    run = view.run(TYPE)
    if run is None or run.answer is None:
        return "X-ray"
    if run.answer == UNKNOWN:
        return "X-ray of an unrecognised body part"
    return f"{run.answer.replace('_', ' ').capitalize()} X-ray"


def label(name: str) -> str:
    """A label without the underscores of its data set."""
    return "Abnormal overall" if name == "abnormal" else name.replace("_", " ")


def _said(run: RunView) -> str:
    decided = abnormality(run)
    if decided is None:
        return f"no answer of the stage {run.stage}"
    return "abnormal" if decided[0] else "no abnormality found"


def _measured(run: RunView) -> str:
    decided = abnormality(run)
    if decided is None:
        return ""
    return f" (score {decided[1]:.2f}, at the operating point '{run.operating_point}')"
