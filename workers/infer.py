"""The model stages: prepared images in, answers, findings and heatmaps out."""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.heatmap import layer, raw_png
from models.spec import StageSpec
from models.stage import Prediction, Stage
from pipeline import agreement, metrics
from pipeline.context import Context
from pipeline.flow import advance
from pipeline.image import decode_prepared
from pipeline.records.claims import Claim, Outcome
from pipeline.reports.row import TYPE
from pipeline.storage import ObjectRef, StorageError
from workers.batcher import Batcher
from workers.names import worker_name
from workers.runner import SERVERS_AT_FAULT, Failure, Hold

Pixels = NDArray[np.uint8]
Predict = Callable[[Sequence[Pixels]], list[Prediction]]

LOOK_S = 0.5
"""Between two looks at whether a model that computes has made progress."""
HUNG_EXIT = 70
"""Exit code of a worker whose model thread hangs: EX_SOFTWARE of sysexits.h."""


class Infer:
    """One catalogue stage; several threads may call it, one thread predicts."""

    def __init__(self, context: Context, spec: StageSpec, model: Stage) -> None:
        """Put a batcher in front of the model."""
        self.stage = spec.name
        self._context = context
        self._spec = spec
        self._model = model
        predict = _measured(spec.name, _alone(model.predict))
        self._batcher: Batcher[Pixels, Prediction] = Batcher(predict, model.max_batch)
        # Few answers, many images: each is asked once.
        self._step = cache(lambda answer: advance(spec, answer, context.stages))
        self._rules = _rules(model)
        self._experimental = {label.name for label in model.card.labels if label.experimental}

    def __call__(self, held: Sequence[Claim], hold: Hold) -> list[Outcome | Failure]:
        """Predict all images, store the heatmaps as one object, and say what follows."""
        begun = time.monotonic()
        images = self._load(held)
        present = [image for image in images if not isinstance(image, Failure)]
        urgency = min(claim.priority for claim in held)
        answers = iter(self._wait(self._batcher.submit(present, urgency), hold))
        predictions = [i if isinstance(i, Failure) else _told(next(answers)) for i in images]
        metrics.answered(
            self.stage,
            [(p.scores, _found(p)) for p in predictions if not isinstance(p, Failure)],
        )
        compute_ms = (time.monotonic() - begun) * 1000.0 / len(held)
        shown = self._store_heatmaps(images, predictions)
        hold.keep()
        return [
            answer
            if isinstance(answer, Failure)
            else self._outcome(claim, answer, compute_ms, refs)
            for claim, answer, refs in zip(held, predictions, shown, strict=True)
        ]

    def _load(self, held: Sequence[Claim]) -> list[Pixels | Failure]:
        refs = [ObjectRef.parse(claim.prepared or "") for claim in held]
        loaded: list[Pixels | Failure] = []
        for blob in self._context.store.get_many(refs):
            if isinstance(blob, SERVERS_AT_FAULT):
                raise blob
            if isinstance(blob, StorageError):
                loaded.append(Failure(f"the prepared image can't be read back: {blob}"))
            else:
                loaded.append(decode_prepared(blob))
        return loaded

    def _wait(self, asked: Future[list[Prediction]], hold: Hold) -> list[Prediction]:
        # Our own deadline, since the threads pool knows none: leases are renewed only while the
        # model answers batches. When it answers none for a whole lease it hangs, maybe in a
        # driver, and only a new process helps; its work is taken over as after any crash.
        answered, moved = self._batcher.batches, time.monotonic()
        while not wait((asked,), LOOK_S).done:
            if self._batcher.batches != answered:
                answered, moved = self._batcher.batches, time.monotonic()
                hold.keep()
            elif time.monotonic() - moved > self._context.settings.lease_s:
                os._exit(HUNG_EXIT)
        hold.keep()
        return asked.result()

    def _store_heatmaps(
        self, images: Sequence[Pixels | Failure], predictions: Sequence[Prediction | Failure]
    ) -> list[dict[str, tuple[str, str]]]:
        blobs: list[bytes] = []
        places: list[dict[str, int]] = []
        for image, answer in zip(images, predictions, strict=True):
            place: dict[str, int] = {}
            if not isinstance(image, Failure) and not isinstance(answer, Failure):
                for label, heat in answer.heatmaps.items():
                    place[label] = len(blobs)
                    blobs += [layer(heat, image.shape), raw_png(heat)]
            places.append(place)
        refs = self._context.store.put_pack("heatmaps", blobs) if blobs else []
        return [{k: (str(refs[at]), str(refs[at + 1])) for k, at in p.items()} for p in places]

    def _outcome(
        self,
        claim: Claim,
        answer: Prediction,
        compute_ms: float,
        refs: dict[str, tuple[str, str]],
    ) -> Outcome:
        step = self._step(answer.answer)
        run = {
            "model_version": self._model.card.model_version,
            "answer": answer.answer,
            "scores": {label: round(score, 6) for label, score in answer.scores.items()},
            "operating_point": self._model.operating_point,
            "rules": self._rules,
            "wait_ms": claim.wait_ms,
            "compute_ms": compute_ms,
            "worker": worker_name(self.stage),
        }
        facts: dict[str, Any] = {}
        if self._spec.name == TYPE:
            header = json.loads(claim.header) if claim.header else None
            said = agreement.flags(header, answer.answer)
            facts = {"xray_type": answer.answer, "flags": said or None}
        return Outcome(claim, step, facts, run, self._findings(answer, refs))

    def _findings(
        self, answer: Prediction, refs: dict[str, tuple[str, str]]
    ) -> list[dict[str, Any]]:
        return [
            {
                "label": label,
                "score": answer.scores[label],
                "threshold": self._model.thresholds[label],
                "positive": label in answer.positives,
                "experimental": label in self._experimental,
                "heatmap": refs.get(label, (None, None))[0],
                "raw_map": refs.get(label, (None, None))[1],
            }
            for label in dict.fromkeys((*answer.positives, *answer.heatmaps))
        ]


def _rules(model: Stage) -> dict[str, dict[str, Any]]:
    """Label -> what was applied to it, kept with the run: a later card may say otherwise."""
    return {
        label.name: {
            **(
                {"threshold": model.thresholds[label.name]}
                if label.name in model.thresholds
                else {}
            ),
            **({"experimental": True} if label.experimental else {}),
        }
        for label in model.card.labels
    }


def _found(answer: Prediction) -> tuple[str, ...]:
    return answer.positives if answer.answer is None else (answer.answer,)


def _told(answer: Prediction) -> Prediction | Failure:
    return Failure(answer.error) if answer.error is not None else answer


def _measured(stage: str, predict: Predict) -> Predict:
    def predicted(images: Sequence[Pixels]) -> list[Prediction]:
        begun = time.monotonic()
        answers = predict(images)
        metrics.forward(stage, len(images), time.monotonic() - begun)
        return answers

    return predicted


def _alone(predict: Predict) -> Predict:
    """`predict`, but for errors nobody foresaw: then one image at a time, to find the one."""

    def predicted(images: Sequence[Pixels]) -> list[Prediction]:
        try:
            return predict(images)
        except ModelError:
            raise
        except Exception as error:
            if len(images) == 1:
                return [Prediction(error=f"the model failed with {type(error).__name__}")]
            return [answer for image in images for answer in predicted([image])]

    return predicted
