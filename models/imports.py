"""Bring your own weights: a state dict that a site already has becomes a version of a stage.

Two kinds are understood: torchvision's `densenet121`, and the DenseNets of TorchXRayVision
(Cohen et al. 2022, arXiv 2111.00595), whose thresholds travel in their state dict:

    python -c "import torch, torchxrayvision as xrv; torch.save(
        xrv.models.DenseNet(weights='densenet121-res224-all').state_dict(), 'xrv-all.pt')"
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from models.artifact import HEAD, sha256_of
from models.card import CARD_FILE, Activation, Label, ModelCard, WeightsFile, write_card
from models.card import OperatingPoint as Point
from models.errors import ImportWeightsError, ModelError
from models.stage import load
from models.state_dict import read_state_dict

Kind = Literal["torchvision", "torchxrayvision"]
Statistic = float | tuple[float, float, float]

# TorchXRayVision's outputs in order; the spaces of its names became underscores.
XRV_LABELS = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung_Lesion",
    "Fracture",
    "Lung_Opacity",
    "Enlarged_Cardiomediastinum",
)
_XRV_THRESHOLDS = "op_threshs"


@dataclass(frozen=True, slots=True)
class InputFacts:
    """What the network was trained on: side in pixels, and (pixel / 255 - mean) / std."""

    input_px: int
    mean: Statistic
    std: Statistic


XRV_INPUT = InputFacts(224, mean=0.5, std=1 / 2048)  # pixels from -1024 to 1024
GRAY_INPUT = InputFacts(224, mean=0.5, std=0.25)
IMAGENET_INPUT = InputFacts(224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class _Network:
    """Tensors whose head says exactly `labels`, and how its inputs and outputs are meant."""

    tensors: dict[str, Tensor]
    labels: tuple[Label, ...]
    activation: Activation
    inputs: InputFacts
    channels: Literal[1, 3]


def register(
    weights_path: Path,
    *,
    kind: Kind,
    stage: str,
    out_dir: Path,
    labels: Sequence[str] | None = None,
    activation: Activation = "sigmoid",
    inputs: InputFacts | None = None,
    version: str = "1.0.0",
) -> ModelCard:
    """Write weights and card of a new version of `stage` into `out_dir`, once they have run.

    weights_path: a state dict from `torch.save`, or safetensors. labels: what the outputs mean,
    in order; an empty name drops its output. TorchXRayVision's 18 names are the default for that
    kind, which also fixes activation and inputs. inputs: for torchvision's kind by default
    IMAGENET_INPUT with three channels and GRAY_INPUT with one. As for every stage, the whole
    image is stretched to the square; TorchXRayVision's own scripts crop its centre instead.

    Every label gets the operating point `balanced` at 0.5, measured by nobody; `calibrate` fits
    it to a site's own images. Raises ImportWeightsError, which says what to do.
    """
    _check_empty(out_dir)
    tensors = read_state_dict(weights_path)
    if kind == "torchxrayvision":
        labels, activation, inputs = labels or XRV_LABELS, "sigmoid", XRV_INPUT
    origin = {"imported_as": kind, "file": weights_path.name, "sha256": sha256_of(weights_path)}
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=".import-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        try:
            network = _network(tensors, labels or (), activation, inputs)
            card = _card(network, stage, version, _write_weights(network, folder), origin)
            write_card(card, folder / CARD_FILE)
            load(folder, device="cpu")
        except (ValidationError, ModelError) as error:
            raise ImportWeightsError(f"{weights_path} cannot be registered: {error}") from error
        folder.rename(out_dir)
    return card


def _check_empty(out_dir: Path) -> None:
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ImportWeightsError(f"{out_dir} is not an empty folder; choose another.")


def _network(
    tensors: dict[str, Tensor],
    names: Sequence[str],
    activation: Activation,
    inputs: InputFacts | None,
) -> _Network:
    """The network behind `tensors`, its head cut down to the outputs that mean something."""
    weight, first = tensors.get(f"{HEAD}.weight"), tensors.get("features.conv0.weight")
    if weight is None or first is None or first.ndim != 4 or first.shape[1] not in (1, 3):
        raise ImportWeightsError(
            "these are not the weights of a DenseNet-121 with one or three input channels and "
            "torchvision's names ('features.conv0.weight' ... 'classifier.weight')."
        )
    if len(names) != len(weight):
        raise ImportWeightsError(
            f"the network has {len(weight)} outputs and {len(names)} labels were given; "
            "name each output in order, an empty name drops it."
        )
    pivots = _pivots(tensors.get(_XRV_THRESHOLDS), len(names))
    # TorchXRayVision marks an output that a network was not trained for with NaN.
    kept = [i for i, pivot in enumerate(pivots) if names[i] and not math.isnan(pivot or 0)]
    cut = {f"{HEAD}.{part}": tensors[f"{HEAD}.{part}"][kept] for part in ("weight", "bias")}
    stored = {name: value for name, value in tensors.items() if name != _XRV_THRESHOLDS}
    points = {"balanced": Point(threshold=0.5)}
    if activation == "softmax" and len(kept) > 2:
        points = {}  # the top label wins, no threshold decides
    return _Network(
        tensors=stored | cut,
        labels=tuple(
            Label(name=names[i], rescale_at=pivots[i], operating_points=points) for i in kept
        ),
        activation=activation,
        inputs=inputs or (IMAGENET_INPUT if first.shape[1] == 3 else GRAY_INPUT),
        channels=3 if first.shape[1] == 3 else 1,
    )


def _pivots(thresholds: Tensor | None, outputs: int) -> list[float | None]:
    if thresholds is None:
        return [None] * outputs
    if thresholds.shape != (outputs,):
        raise ImportWeightsError(f"op_threshs has shape {tuple(thresholds.shape)}, not {outputs}.")
    return [float(value) for value in thresholds]


def _card(
    network: _Network, stage: str, version: str, weights: WeightsFile, origin: dict[str, str]
) -> ModelCard:
    return ModelCard(
        stage=stage,
        model_version=f"{stage}-{version}+{weights.sha256[:8]}",
        architecture="densenet121",
        channels=network.channels,
        input_px=network.inputs.input_px,
        mean=network.inputs.mean,
        std=network.inputs.std,
        activation=network.activation,
        labels=network.labels,
        weights=weights,
        training=dict(origin),
        intended_use="As its authors say; xraytriage has not validated these weights.",
        disclaimer="Not a medical device. Imported weights, for research only.",
    )


def _write_weights(network: _Network, folder: Path) -> WeightsFile:
    path = folder / "weights.safetensors"
    tensors = network.tensors
    half = all(value.dtype == torch.float16 for value in tensors.values())
    dtype = torch.float16 if half else torch.float32
    stored = {
        name: value.to(dtype).contiguous().clone()
        for name, value in tensors.items()
        if value.is_floating_point()
    }
    safetensors.torch.save_file(stored, path)
    return WeightsFile(
        file=path.name,
        sha256=sha256_of(path),
        dtype="float16" if half else "float32",
        bytes=path.stat().st_size,
    )
