"""The seam between a stage and what computes it: ONNX Runtime on a CPU, or torch."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]
RuntimeName = Literal["auto", "onnx", "torch"]


class Runtime(Protocol):
    """One network, loaded. Its methods may be called from one thread at a time."""

    @property
    def name(self) -> str:
        """What computes where, as in `onnx:cpu`; for logs, metrics and timings."""

    def run(self, batch: Float32, *, features: bool) -> tuple[Float32, Float32 | None]:
        """Logits (images, labels) and, when asked for, the last feature maps after their ReLU.

        batch: float32 (images, channels, side, side), already normalised. The feature maps
        are float32 (images, 1024, side/32, side/32). Raises InferenceError where the network
        refuses this batch, DeviceMemoryError where it is too large for the device.
        """
