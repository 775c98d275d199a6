"""Zero-time stages: deterministic answers from the mean gray value, no network behind them.

Used where not the models but what carries them is tested or timed.
mean >= 200: not an X-ray; >= 128: a hand; otherwise a chest, abnormal below 64.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.spec import StageSpec
from models.stage import Prediction

Pixels = NDArray[np.uint8]
VERSION = "0.0.0+00000000"


def card(stage: str, labels: Sequence[str], activation: str, version: str = VERSION) -> ModelCard:
    """A card for labels whose operating point is 0.5."""
    point = {"threshold": 0.5, "sensitivity": None, "specificity": None}
    points = {"balanced": point} if activation == "sigmoid" or len(labels) == 2 else {}
    return ModelCard.model_validate(
        {
            "stage": stage,
            "model_version": f"{stage}-{version}",
            "architecture": "densenet121",
            "channels": 1,
            "input_px": 64,
            "mean": 0.5,
            "std": 0.25,
            "activation": activation,
            "labels": tuple({"name": name, "operating_points": points} for name in labels),
            "weights": {"sha256": "0" * 64, "dtype": "float16", "bytes": 1},
            "intended_use": "tests",
            "disclaimer": "Not a medical device.",
        }
    )


class StandIn:
    """Has the surface of `models.stage.Stage` that workers use."""

    max_batch = 16
    operating_point = "balanced"
    runtime = "stand-in"

    def __init__(self, name: str, version: str = VERSION) -> None:
        labels, activation = {
            "gate": (("other", "xray"), "softmax"),
            "type": (("chest", "hand", "knee"), "softmax"),
        }.get(name, (("abnormal", "Nodule"), "sigmoid"))
        self.name = name
        self.card = card(name, labels, activation, version)
        self.thresholds = dict.fromkeys(labels, 0.5)

    def predict(self, images: Sequence[Pixels]) -> list[Prediction]:
        """One answer per image."""
        return [self._one(float(image.mean())) for image in images]

    def _one(self, mean: float) -> Prediction:
        if self.name == "gate":
            return _sure(self.card.label_names, "other" if mean >= 200 else "xray")
        if self.name == "type":
            return _sure(self.card.label_names, "hand" if mean >= 128 else "chest")
        if mean >= 64:
            return Prediction({"abnormal": 0.1, "Nodule": 0.1})
        heat = np.outer(np.hanning(4), np.hanning(4)).astype(np.float32)
        found = ("abnormal", "Nodule")
        return Prediction({"abnormal": 0.9, "Nodule": 0.8}, None, found, {"Nodule": heat})


def _sure(labels: Sequence[str], answer: str) -> Prediction:
    return Prediction({name: float(name == answer) for name in labels}, answer)


def load(spec: StageSpec, **_: object) -> StandIn:
    """Takes the place of `models.stage.load`."""
    return StandIn(spec.name)
