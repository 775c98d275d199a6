"""A stage on ONNX Runtime: the same weights on a CPU, several times lighter than torch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

from models.card import ModelCard
from models.errors import InferenceError, WeightsError
from models.onnx_graph import FEATURES, INPUT, LOGITS, build
from models.runtime import Float32


class OnnxRuntime:
    """`models.runtime.Runtime` on the CPU. The process never imports torch."""

    name = "onnx:cpu"

    def __init__(self, directory: Path, card: ModelCard, threads: int) -> None:
        """Write the graph from the weights in `directory` and open a session on it.

        The graph is written at every start, in memory: that takes a quarter of a second, and
        a cached copy could go stale or be tampered with behind the back of the sha256.
        Raises WeightsError where a parameter is missing or has a wrong shape.
        """
        path = directory / card.weights.file
        try:
            self._session = onnxruntime.InferenceSession(
                build(load_file(path)), _options(threads), providers=["CPUExecutionProvider"]
            )
            # ONNX Runtime notices a wrong shape when it computes; the first image should not.
            blank = np.zeros((1, card.channels, card.input_px, card.input_px), np.float32)
            self._session.run([LOGITS], {INPUT: blank})
        except Exception as error:  # ONNX Runtime's errors share no base class but this
            raise WeightsError(
                f"{path} holds no {card.architecture} that ONNX Runtime can load: {error!r}"
            ) from error

    def run(self, batch: Float32, *, features: bool) -> tuple[Float32, Float32 | None]:
        """See `models.runtime.Runtime`."""
        names = [LOGITS, FEATURES] if features else [LOGITS]
        try:
            outputs: list[Any] = self._session.run(names, {INPUT: batch})
        except Exception as error:  # as above
            raise InferenceError(f"ONNX Runtime refused the batch: {error}") from error
        return outputs[0], outputs[1] if features else None


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Several pools share the cores: a thread that waits must not burn one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only; they are raised as well
    return options
