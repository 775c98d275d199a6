"""A worker that a test drives: one stage of one image at a time, with answers of its choice."""

import io
from typing import Any

import numpy as np
from PIL import Image

from models.heatmap import layer
from pipeline.context import Context
from pipeline.flow import PREPARE, Step, advance, after_prepare
from pipeline.prepared import decode_prepared, encode_prepared
from pipeline.records import claims
from pipeline.records.claims import Outcome
from pipeline.storage import ObjectRef


class Worker:
    """Claims and completes, as the real ones do."""

    def __init__(self, context: Context) -> None:
        """Work on what is in this context."""
        self._context = context

    def prepare(self, image_id: str) -> None:
        """Decode a PNG."""
        store = self._context.store

        def work(claim: claims.Claim) -> Outcome:
            data = store.get(ObjectRef.parse(claim.original or ""))
            pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
            (ref,) = store.put_pack("prepared", [encode_prepared(pixels)])
            facts = {"prepared": str(ref), "format": "PNG", "width_px": pixels.shape[1]}
            facts["height_px"] = pixels.shape[0]
            return Outcome(claim, after_prepare(self._context.stages), facts)

        self._complete(PREPARE, image_id, work)

    def answer(
        self, image_id: str, stage: str, answer: str | None, scores: dict[str, float], *found: str
    ) -> None:
        """Say what a stage says; the labels in `found` are positive and get a heatmap."""
        spec = next(spec for spec in self._context.stages if spec.name == stage)

        def work(claim: claims.Claim) -> Outcome:
            step: Step = advance(spec, answer, self._context.stages)
            run = {
                "model_version": f"{stage}-1.0.0+00000000",
                "answer": answer,
                "scores": scores,
                "operating_point": "balanced",
                "wait_ms": claim.wait_ms,
                "compute_ms": 40.0,
                "worker": "test",
            }
            shown = [self._finding(claim, label, scores[label]) for label in found]
            return Outcome(claim, step, {}, run, shown)

        self._complete(stage, image_id, work)

    def _finding(self, claim: claims.Claim, label: str, score: float) -> dict[str, Any]:
        store = self._context.store
        pixels = decode_prepared(store.get(ObjectRef.parse(claim.prepared or "")))
        heat = np.outer(np.hanning(7), np.hanning(7)).astype(np.float32)
        (ref,) = store.put_pack("heatmaps", [layer(heat, pixels.shape)])
        return {
            "label": label,
            "score": score,
            "threshold": 0.5,
            "positive": True,
            "experimental": label == "Hernia",
            "heatmap": str(ref),
            "raw_map": None,
        }

    def _complete(self, stage: str, image_id: str, work: Any) -> None:
        engine = self._context.engine
        held = claims.claim(engine, stage, [image_id], 60.0, "test", 3)
        claims.complete(engine, stage, [work(claim) for claim in held], 32, 60.0)
