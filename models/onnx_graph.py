"""DenseNet-121 as an ONNX graph, written straight from its weights: no torch, no tracing.

`torch.onnx.export` needs half a minute of two cores and 1.3 GB for this network; writing the
graph takes well under a second. The layers are those of Huang et al. 2017 (arXiv 1608.06993)
with the parameter names of torchvision's `densenet121`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Tensors = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, Sequence[str | int | None]]

INPUT, LOGITS, FEATURES = "image", "logits", "features"
BLOCKS = (6, 12, 24, 16)
_OPSET = 17
_IR_VERSION = 8  # of opset 17: any ONNX Runtime since 2022 reads it
_BATCH_NORM_EPSILON = 1e-5  # torch's default, used by every DenseNet we load


def build(tensors: Tensors) -> bytes:
    """The network as a serialised ONNX model, float32.

    tensors: the state dict of torchvision's `densenet121`, any float type. Raises KeyError for
        a missing parameter.
    Input `image`: float32 (batch, channels, side, side). Outputs `logits` (batch, labels) and
    `features` (batch, 1024, side/32, side/32), the last feature maps after their ReLU.
    """
    graph = _Graph(tensors)
    x = graph.conv(INPUT, "features.conv0", stride=2, pad=3)
    x = graph.norm_relu(x, "features.norm0")
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for block, layers in enumerate(BLOCKS, start=1):
        for layer in range(1, layers + 1):
            x = _dense_layer(graph, x, f"features.denseblock{block}.denselayer{layer}")
        if block < len(BLOCKS):
            x = _transition(graph, x, f"features.transition{block}")
    features = graph.norm_relu(x, "features.norm5", output=FEATURES)
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [features])])
    head = [graph.parameter("classifier.weight"), graph.parameter("classifier.bias")]
    graph.node("Gemm", [pooled, *head], output=LOGITS, transB=1)
    return graph.model(
        {INPUT: ["batch", tensors["features.conv0.weight"].shape[1], "side", "side"]},
        {
            LOGITS: ["batch", len(tensors["classifier.bias"])],
            FEATURES: ["batch", len(tensors["features.norm5.bias"]), "rows", "columns"],
        },
    )


def _dense_layer(graph: "_Graph", x: str, name: str) -> str:
    """The input with 32 new channels behind it: norm-relu-1x1, norm-relu-3x3, concatenate."""
    new = graph.conv(graph.norm_relu(x, f"{name}.norm1"), f"{name}.conv1")
    new = graph.conv(graph.norm_relu(new, f"{name}.norm2"), f"{name}.conv2", pad=1)
    return graph.node("Concat", [x, new], axis=1)


def _transition(graph: "_Graph", x: str, name: str) -> str:
    """Half the channels, half the side."""
    x = graph.conv(graph.norm_relu(x, f"{name}.norm"), f"{name}.conv")
    return graph.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])


class _Graph:
    """Nodes and parameters, collected in the order in which they run."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._parameters: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Append an operator; the name of its only output."""
        name = output or f"{op}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def parameter(self, name: str) -> str:
        """Append the tensor `name`."""
        value = np.ascontiguousarray(self._tensors[name], dtype=np.float32)
        self._parameters.append(numpy_helper.from_array(value, name))
        return name

    def conv(self, x: str, name: str, *, stride: int = 1, pad: int = 0) -> str:
        """A convolution without bias."""
        weight = self.parameter(f"{name}.weight")
        return self.node("Conv", [x, weight], strides=[stride] * 2, pads=[pad] * 4)

    def norm_relu(self, x: str, name: str, output: str = "") -> str:
        """Batch normalisation with its running statistics, then ReLU."""
        parts = ("weight", "bias", "running_mean", "running_var")
        parameters = [self.parameter(f"{name}.{part}") for part in parts]
        normal = self.node("BatchNormalization", [x, *parameters], epsilon=_BATCH_NORM_EPSILON)
        return self.node("Relu", [normal], output)

    def model(self, inputs: Shapes, outputs: Shapes) -> bytes:
        """The finished model, serialised."""
        graph = helper.make_graph(
            self._nodes, "densenet121", _values(inputs), _values(outputs), self._parameters
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        serialised: bytes = model.SerializeToString()
        return serialised


def _values(shapes: Shapes) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
