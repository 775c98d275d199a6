"""The model card: everything learned about a stage, in one JSON file beside its weights."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PositiveFloat,
    ValidationError,
    model_validator,
)

from models.errors import CardError

CARD_FILE = "card.json"
UNKNOWN = "unknown"
"""The answer of a stage whose card has an `unknown` rule, when no label fits."""

Activation = Literal["softmax", "sigmoid"]
Probability = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The shares of validation images whose highest scores a label's `score_quantiles` are."""


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if any(left > right for left, right in pairwise(values)):
        raise ValueError("they do not ascend")
    return values


ScoreQuantiles = Annotated[
    tuple[Probability, ...],
    Field(min_length=len(QUANTILES), max_length=len(QUANTILES)),
    AfterValidator(_ascending),
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class OperatingPoint(_Record):
    """A threshold on the score, with what was measured there on validation data.

    A null sensitivity or specificity says that nobody measured it (imported weights).
    """

    threshold: Probability
    sensitivity: Probability | None = None
    specificity: Probability | None = None


class Label(_Record):
    """One output of the head and how its logit becomes a calibrated score."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
    """Also a part of object keys, URLs and metric labels, hence without spaces."""
    temperature: PositiveFloat = 1.0
    bias: float = 0.0
    experimental: bool = False
    """Too little data to be relied on: reported, and always said to be so."""
    prevalence_train: Probability | None = None
    rescale_at: Annotated[float, Field(gt=0, lt=1)] | None = None
    """TorchXRayVision's `op_norm`: this probability becomes the score 0.5 (sigmoid heads only)."""
    operating_points: dict[str, OperatingPoint] = {}
    metrics: dict[str, JsonValue] = {}
    score_quantiles: ScoreQuantiles | None = None
    """The deciles (`QUANTILES`) of its score over all validation images: what drift is seen
    against. Equal ones are common: many a score is next to 0."""


class UnknownRule(_Record):
    """When the best score is under `threshold`, the answer is `unknown`."""

    threshold: Probability
    kept: Probability | None = None
    """Share of the calibration images whose best score is not under it."""
    score: Literal["max_probability"] = "max_probability"


class WeightsFile(_Record):
    """The weights this card belongs to: safetensors, in the card's folder."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.safetensors$")] = "weights.safetensors"
    sha256: Sha256
    dtype: Literal["float16", "float32"]
    bytes: Annotated[int, Field(gt=0)]


class ModelCard(_Record):
    """`card.json`, contract of the training, serving and reporting halves.

    Pixels in 0..255 become `(pixel / 255 - mean) / std` before they enter the network. A
    network with three channels sees the gray image three times; mean and std may then differ
    per channel (imported weights).
    """

    stage: Annotated[str, Field(min_length=1)]
    model_version: str
    """`<stage>-<semantic version>+<first 8 hex digits of the sha256 of the weights>`."""
    architecture: Literal["densenet121"]
    channels: Literal[1, 3]
    input_px: Annotated[int, Field(ge=32, le=1024)]
    mean: float | tuple[float, float, float]
    std: PositiveFloat | tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    activation: Activation
    labels: Annotated[tuple[Label, ...], Field(min_length=1)]
    default_operating_point: str = "balanced"
    unknown: UnknownRule | None = None
    weights: WeightsFile
    training: dict[str, JsonValue] = {}
    metrics: dict[str, JsonValue] = {}
    known_failures: tuple[JsonValue, ...] = ()
    intended_use: str
    disclaimer: str

    @property
    def channel_statistics(self) -> tuple[tuple[float, float], ...]:
        """(mean, std) of each input channel."""
        means = self.mean if isinstance(self.mean, tuple) else (self.mean,) * self.channels
        stds = self.std if isinstance(self.std, tuple) else (self.std,) * self.channels
        return tuple(zip(means, stds, strict=True))

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the head can say, in the order of its outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def answers(self) -> tuple[str, ...]:
        """The answers that route an image; none for a multi-label (sigmoid) head."""
        if self.activation == "sigmoid":
            return ()
        return self.label_names if self.unknown is None else (*self.label_names, UNKNOWN)

    @property
    def is_yes_no(self) -> bool:
        """A softmax over (no, yes), where the operating point of the second label decides."""
        return self.activation == "softmax" and self.unknown is None and len(self.labels) == 2

    @property
    def operating_points(self) -> tuple[str, ...]:
        """The names of the operating points that every deciding label has."""
        deciding = self._deciding
        return tuple(
            name
            for name in (deciding[0].operating_points if deciding else ())
            if all(name in label.operating_points for label in deciding)
        )

    @property
    def _deciding(self) -> tuple[Label, ...]:
        """The labels whose threshold decides something."""
        if self.is_yes_no:
            return self.labels[1:]
        return self.labels if self.activation == "sigmoid" else ()

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        names = self.label_names
        if len(set(names)) < len(names):
            raise ValueError("labels: two labels have the same name")
        if UNKNOWN in self.answers[:-1]:
            raise ValueError("labels: 'unknown' is an answer and cannot be a label too")
        if self.activation == "softmax":
            self._check_softmax()
        elif self.unknown is not None:
            raise ValueError("unknown: only a softmax head has one answer to withhold")
        return self

    def _check_softmax(self) -> None:
        if len({label.temperature for label in self.labels}) > 1:
            raise ValueError("labels: a softmax head has one temperature for all labels")
        if any(label.bias or label.rescale_at for label in self.labels):
            raise ValueError("labels: bias and rescale_at belong to sigmoid heads")

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.channels == 1 and (isinstance(self.mean, tuple) or isinstance(self.std, tuple)):
            raise ValueError("mean, std: one channel has one mean and one std")
        return self

    @model_validator(mode="after")
    def _check_operating_points(self) -> Self:
        if self._deciding and self.default_operating_point not in self.operating_points:
            raise ValueError(
                f"operating_points: not every label has the default "
                f"{self.default_operating_point!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_version(self) -> Self:
        tail = rf"\d+\.\d+\.\d+\+{self.weights.sha256[:8]}"
        if not re.fullmatch(rf"{re.escape(self.stage)}-{tail}", self.model_version):
            raise ValueError(
                f"model_version: {self.model_version!r} is not "
                f"'{self.stage}-<x.y.z>+{self.weights.sha256[:8]}'"
            )
        return self


def read_card(path: Path) -> ModelCard:
    """The card in the file `path`. Raises CardError, with every wrong field in words."""
    try:
        return ModelCard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CardError(f"There is no readable model card {path}: {error.strerror}.") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'card'}: {item['msg']}"
            for item in error.errors()
        )
        raise CardError(f"The model card {path} is not valid: {wrong}.") from error


def write_card(card: ModelCard, path: Path) -> None:
    """Write `card` to `path` so that `read_card` gives it back."""
    path.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
