"""Small images whose gray level decides every answer, and what an undisturbed run says of them."""

import io
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.heatmap import layer, raw_png
from pipeline.image import decode
from pipeline.ingest import Source
from pipeline.records.results import ImageView, RunView
from pipeline.states import State
from tests.stand_in.stages import StandIn

GRAYS = (20, 100, 150, 220)
"""An abnormal chest, a normal chest, a hand, and not an X-ray (see `tests.stand_in.stages`)."""

PATIENT = "Jane Doe"
"""Must not be seen in any log (I8)."""


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that must be equal however the run was disturbed."""

    state: State
    reason_code: str | None
    xray_type: str | None
    runs: tuple[tuple[Any, ...], ...]


def picture(number: int, marker: str | None = None) -> bytes:
    """PNG number so and so. A marker makes the stand-in worker misbehave on it."""
    noise = np.random.default_rng(number).integers(0, 20, (64, 64))
    pixels = (noise + GRAYS[number % len(GRAYS)]).astype(np.uint8)
    text = PngInfo()
    if marker is not None:
        text.add_text("stand-in", marker)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def name_of(number: int) -> str:
    """File name of a picture: a person's, as names from hospitals often are."""
    return f"{PATIENT} {number}.png"


def number_of(name: str) -> int | None:
    """Number of the picture with this file name; None for any other file."""
    match = re.search(rf"{PATIENT} (\d+)\.png$", name)
    return int(match[1]) if match else None


def source(number: int) -> Source:
    """Picture as a file."""
    return Source(name_of(number), lambda: io.BytesIO(picture(number)))


def blob(name: str, data: bytes) -> Source:
    """Any bytes as a file."""
    return Source(name, lambda: io.BytesIO(data))


@cache
def expected(number: int) -> Told:
    """What the stages say of picture `number`, worked out here without any server."""
    pixels = decode(picture(number)).pixels
    kind = number % len(GRAYS)
    stages = (("gate", "type", "chest"),) * 2 + (("gate", "type"), ("gate",))
    runs = tuple(_run(StandIn(stage), pixels) for stage in stages[kind])
    if kind == 3:
        return Told(State.REJECTED, "not_xray", None, runs)
    return Told(State.DONE, None, "hand" if kind == 2 else "chest", runs)


def told(view: ImageView) -> Told:
    """What the database says of an image."""
    row = view.row
    runs = tuple(_stored(run) for run in view.runs)
    return Told(State(row["state"]), row["reason_code"], row["xray_type"], runs)


def _run(stage: StandIn, pixels: Any) -> tuple[Any, ...]:
    (answer,) = stage.predict([pixels])
    labels = dict.fromkeys((*answer.positives, *answer.heatmaps))
    findings = []
    for label in sorted(labels):
        heat = answer.heatmaps.get(label)
        shown = (None, None)
        if heat is not None:
            shown = (_digest(layer(heat, pixels.shape)), _digest(raw_png(heat)))  # type: ignore[assignment]
        findings.append((label, answer.scores[label], *shown))
    scores = tuple(sorted(answer.scores.items()))
    return (stage.name, stage.card.model_version, answer.answer, scores, tuple(findings))


def _stored(run: RunView) -> tuple[Any, ...]:
    findings = tuple(
        (f.label, f.score, _sha_of(f.heatmap), _sha_of(f.raw_map))
        for f in sorted(run.findings, key=lambda finding: finding.label)
    )
    return (run.stage, run.model_version, run.answer, tuple(sorted(run.scores.items())), findings)


def _sha_of(reference: str | None) -> str | None:
    return reference.rpartition("@")[2] if reference else None


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
