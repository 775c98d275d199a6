"""A stage on torch: CUDA in half precision, or a CPU where ONNX Runtime is not installed."""

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.card import ModelCard
from models.densenet import build
from models.errors import DeviceLostError, DeviceMemoryError, InferenceError, WeightsError
from models.runtime import Float32


def cuda_is_usable() -> bool:
    """Whether torch finds a CUDA device."""
    return torch.cuda.is_available()


class TorchRuntime:
    """`models.runtime.Runtime` on torch, channels last; half precision on CUDA."""

    def __init__(
        self, directory: Path, card: ModelCard, device: Literal["cpu", "cuda"], threads: int
    ) -> None:
        """Load the weights in `directory` onto `device`.

        threads: cores of one forward pass on a CPU; torch has one setting for the process.
        Raises WeightsError where a parameter is missing, unknown or of a wrong shape.
        """
        self.name = f"torch:{device}"
        self._device = device
        self._dtype = torch.float16 if device == "cuda" else torch.float32
        if device == "cpu":
            torch.set_num_threads(threads)
        network = build(len(card.labels), card.channels)
        _fill(network, directory / card.weights.file)
        network.to(memory_format=torch.channels_last)
        self._network = network.to(device, self._dtype).eval()

    def run(self, batch: Float32, *, features: bool) -> tuple[Float32, Float32 | None]:
        """See `models.runtime.Runtime`; raises DeviceLostError too."""
        try:
            with torch.inference_mode():
                x = torch.from_numpy(batch).to(
                    device=self._device, dtype=self._dtype, memory_format=torch.channels_last
                )
                logits, maps = self._network.forward_with_features(x)
                return _array(logits), _array(maps) if features else None
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise DeviceMemoryError(
                f"No memory on {self._device} for {len(batch)} images."
            ) from error
        except torch.AcceleratorError as error:
            raise DeviceLostError(f"The CUDA device failed: {error}") from error
        except RuntimeError as error:
            raise InferenceError(f"torch refused the batch: {error}") from error


def _fill(network: torch.nn.Module, path: Path) -> None:
    """Copy the tensors of `path` into `network`, all of them and no others."""
    try:
        missing, unknown = network.load_state_dict(load_file(path), strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit DenseNet-121: {error}") from error
    # A counter of training steps; inference does not read it and many files leave it out.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise WeightsError(
            f"{path} does not fit DenseNet-121: missing {missing[:3]}, unknown {unknown[:3]}."
        )


def _array(tensor: Tensor) -> Float32:
    result: Float32 = tensor.float().contiguous().cpu().numpy()
    return result
