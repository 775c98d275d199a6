"""The graph that is written by hand is valid ONNX with the shapes that its docstring says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import checker

from models.onnx_graph import FEATURES, INPUT, LOGITS, build

TensorMaker = Callable[..., dict[str, Any]]


def test_the_graph_is_valid_and_answers_any_batch(densenet_tensors: TensorMaker) -> None:
    serialised = build(densenet_tensors(1, 5))
    checker.check_model(onnx.load_from_string(serialised), full_check=True)
    session = onnxruntime.InferenceSession(serialised, providers=["CPUExecutionProvider"])
    for images in (1, 3):
        batch = np.zeros((images, 1, 64, 64), np.float32)
        logits, features = session.run([LOGITS, FEATURES], {INPUT: batch})
        assert logits.shape == (images, 5)
        assert features.shape == (images, 1024, 2, 2)
        assert features.min() >= 0  # after the ReLU, as Grad-CAM in closed form needs them


def test_a_missing_parameter_is_named(densenet_tensors: TensorMaker) -> None:
    tensors = densenet_tensors(1, 2)
    del tensors["features.transition1.conv.weight"]
    with pytest.raises(KeyError, match=r"transition1\.conv\.weight"):
        build(tensors)
