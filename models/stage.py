"""A stage, ready to answer: load once, prepare one image, predict many.

One seam, two runtimes (`models.runtime`): torch on CUDA, ONNX Runtime on a CPU, torch where
neither is there. On a CPU their scores agree to 1e-3 (tests/unit/models/test_runtimes.py).
"""

import ctypes
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.artifact import load_card, load_stage_card, read_head
from models.card import ModelCard
from models.cores import usable_cores
from models.errors import DeviceMemoryError, InferenceError, ModelError, RuntimeUnavailableError
from models.heatmap import grad_cam
from models.preprocess import InputSpec, resize, to_input
from models.runtime import Device, Float32, Runtime, RuntimeName
from models.scores import answer, positives, scores, thresholds
from models.spec import StageSpec

ABNORMAL = "abnormal"
"""The label that sums up the findings of a multi-label head, where it has one."""

CPU_BATCH = 4
"""On two cores as fast as 1 and as 16, within the noise; 16 at 224 px take 250 MB more."""
CUDA_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a stage says about one image, or why it cannot say anything."""

    scores: Mapping[str, float] = field(default_factory=dict)
    """Label -> calibrated probability, all labels of the card in its order."""
    answer: str | None = None
    """The answer that routes the image; None for a multi-label stage."""
    positives: tuple[str, ...] = ()
    """Labels of a multi-label stage at or over their threshold, highest score first."""
    heatmaps: Mapping[str, Float32] = field(default_factory=dict)
    """Label -> Grad-CAM map (`models.heatmap.grad_cam`), for multi-label stages."""
    error: str | None = None
    """Why this image, and this image only, has no result; then all else is empty."""


class Stage:
    """One network with its card. Not thread safe: one thread per stage calls `predict`."""

    def __init__(
        self,
        card: ModelCard,
        runtime: Runtime,
        head: Float32,
        *,
        operating_point: str | None = None,
        max_batch: int = CPU_BATCH,
    ) -> None:
        """Join the parts; `load` is the usual way to get them.

        head: weights of the linear head, float32 (labels, features). max_batch: images in one
        forward pass. Raises CardError where the card does not know `operating_point`.
        """
        self.card = card
        self.operating_point = operating_point or card.default_operating_point
        self.thresholds: Mapping[str, float] = thresholds(card, operating_point)
        self.max_batch = max_batch
        self._runtime = runtime
        self._head = head

    @property
    def runtime(self) -> str:
        """What computes where, as in `onnx:cpu`."""
        return self._runtime.name

    def prepare(self, image: NDArray[np.uint8]) -> Float32:
        """The network's input, float32 (channels, side, side), from a prepared image.

        image: uint8 (height, width), bright is dense. Raises ValueError for anything else.
        """
        side = self.card.input_px
        square = resize(image, side)
        statistics = self.card.channel_statistics
        channels = [to_input(square, InputSpec(side, mean, std)) for mean, std in statistics]
        return channels[0] if len(channels) == 1 else np.concatenate(channels)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Prediction]:
        """One prediction per image, in order; a bad image has an `error` and harms no other.

        images: prepared images, uint8 (height, width), of any sizes. Raises ModelError where
        not the images but the runtime is at fault (device lost or out of memory even for one
        image, wrong number of outputs): then the whole call may be tried again elsewhere.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(images), self.max_batch):
            predictions += self._predict_batch(images[start : start + self.max_batch])
        return predictions

    def _predict_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Prediction]:
        predictions = [Prediction()] * len(images)
        inputs: dict[int, Float32] = {}
        for index, image in enumerate(images):
            try:
                inputs[index] = self.prepare(image)
            except ValueError as error:
                predictions[index] = Prediction(error=str(error))
        if inputs:
            outputs = self._forward(np.stack(list(inputs.values())))
            for index, output in zip(inputs, outputs, strict=True):
                predictions[index] = output
        return predictions

    def _forward(self, batch: Float32) -> list[Prediction]:
        """One prediction per input. A batch that fails is halved until one image is to blame."""
        try:
            logits, features = self._runtime.run(batch, features=self._wants_heatmaps)
        except InferenceError as error:
            if len(batch) == 1:
                if isinstance(error, DeviceMemoryError):
                    raise
                return [Prediction(error=str(error))]
        else:
            return self._conclude(logits, features, len(batch))
        half = len(batch) // 2
        return self._forward(batch[:half]) + self._forward(batch[half:])

    def _conclude(self, logits: Float32, features: Float32 | None, images: int) -> list[Prediction]:
        expected = (images, len(self.card.labels))
        if logits.shape != expected:
            raise ModelError(
                f"{self.card.model_version} on {self.runtime} gave outputs of shape "
                f"{logits.shape} instead of {expected}: the network is not the card's."
            )
        return [
            self._decide(row, None if features is None else features[i])
            if np.isfinite(row).all()
            else Prediction(error="The network gave no finite number for this image.")
            for i, row in enumerate(logits)
        ]

    def _decide(self, logits: Float32, features: Float32 | None) -> Prediction:
        score = scores(self.card, logits[np.newaxis])[0]
        named = dict(zip(self.card.label_names, score.tolist(), strict=True))
        found = positives(self.card, score, self.thresholds)
        maps = {} if features is None else self._heatmaps(named, found, features)
        return Prediction(named, answer(self.card, score, self.thresholds), found, maps)

    @property
    def _wants_heatmaps(self) -> bool:
        return self.card.activation == "sigmoid"

    def _heatmaps(
        self, score: Mapping[str, float], found: tuple[str, ...], features: Float32
    ) -> dict[str, Float32]:
        """Maps of the positive labels; an abnormal image always shows at least one finding."""
        shown = list(found)
        if found == (ABNORMAL,) and len(score) > 1:
            # Prevalences differ by a factor of a hundred: the finding closest to its own
            # threshold says more than the one with the highest score.
            ratio = {label: score[label] / (at or 1) for label, at in self.thresholds.items()}
            del ratio[ABNORMAL]
            shown.append(max(ratio, key=lambda label: ratio[label]))
        rows = self.card.label_names
        return {label: grad_cam(features, self._head[rows.index(label)]) for label in shown}


def load(
    source: StageSpec | Path,
    *,
    device: Device = "auto",
    runtime: RuntimeName = "auto",
    operating_point: str | None = None,
    threads: int | None = None,
    max_batch: int | None = None,
) -> Stage:
    """The stage of a catalogue entry or of a folder with a card and its weights.

    device, runtime: `auto` takes torch where CUDA is there, else ONNX Runtime, else torch.
    threads: cores for one forward pass on a CPU (all that this process may use when None).
    Raises CardError, WeightsError, or RuntimeUnavailableError with what to install.
    """
    if isinstance(source, Path):
        directory, card = source, load_card(source)
    else:
        directory, card = source.weights_dir, load_stage_card(source)
    engine = _engine(directory, card, device, runtime, threads or usable_cores())
    batch = max_batch or (CUDA_BATCH if engine.name.endswith("cuda") else CPU_BATCH)
    head = read_head(directory, card)
    return Stage(card, engine, head, operating_point=operating_point, max_batch=batch)


def _engine(
    directory: Path, card: ModelCard, device: Device, runtime: RuntimeName, threads: int
) -> Runtime:
    """The runtime that fits `device` and `runtime`, loaded. torch is imported only if used."""
    if runtime == "onnx" and device == "cuda":
        raise RuntimeUnavailableError("ONNX Runtime serves the CPU here; use torch for CUDA.")
    if runtime != "onnx" and device != "cpu" and _has_cuda_driver() and _has("torch"):
        from models.torch_runtime import TorchRuntime, cuda_is_usable

        if cuda_is_usable():
            return TorchRuntime(directory, card, "cuda", threads)
    if device == "cuda":
        raise RuntimeUnavailableError(
            "No usable CUDA device; check the driver and that torch was installed with CUDA, "
            "or choose the device 'auto' or 'cpu'."
        )
    if runtime != "torch" and _has("onnxruntime") and _has("onnx"):
        from models.onnx_runtime import OnnxRuntime

        return OnnxRuntime(directory, card, threads)
    if runtime != "onnx" and _has("torch"):
        from models.torch_runtime import TorchRuntime

        return TorchRuntime(directory, card, "cpu", threads)
    raise RuntimeUnavailableError(
        f"Nothing to run a model with (runtime {runtime!r}, device {device!r}); "
        "install xraytriage[models], which brings onnx, onnxruntime and torch."
    )


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _has_cuda_driver() -> bool:
    """Whether asking torch about CUDA is worth the 300 MB of importing it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
