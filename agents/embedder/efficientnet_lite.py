"""Writes EfficientNet-Lite0 as an ONNX file from its published torch weights. Called by `default_model` and its test.

Architecture: Tan & Le, "EfficientNet", ICML 2019, in the Lite variant of tensorflow/tpu (no squeeze-and-excitation,
ReLU6). Batch norms are folded into the convolutions in float64. The graph:

    image uint8[n,224,224,3] ─ (x−127)/128 ─ NCHW ─ stem ─ 16 blocks ─ head ─ mean ─┬─ L2 ─▶ embedding f32[n,1280]
                                                                                    └─ fc ─▶ logits f32[n,1000]

The same weights give the same bytes: node order is fixed and the file carries no date and no machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from agents.embedder.torch_stream import Array, TorchStreamError, read_torch_stream

INPUT_SIZE: Final = 224
DIMENSION: Final = 1280
CLASSES: Final = 1000
OPSET: Final = 17
IR_VERSION: Final = 8
BATCH_NORM_EPSILON: Final = 1e-3
# The mean and scale that the TensorFlow original was trained with; ImageNet's mean and std lose 10 points of accuracy.
PIXEL_MEAN: Final = 127.0
PIXEL_SCALE: Final = 128.0

# repeats, kernel, stride of the first, expansion, input channels, output channels
STAGES: Final = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def build(weights_path: Path, out_path: Path, *, with_classifier: bool = False) -> None:
    """Write the ONNX file. Raises TorchStreamError when the weights are not those of EfficientNet-Lite0."""
    with weights_path.open("rb") as stream:
        weights = read_torch_stream(stream)
    try:
        model = _Graph(weights).model(with_classifier)
    except KeyError as error:
        raise TorchStreamError(f"{weights_path.name} has no tensor {error}: not EfficientNet-Lite0") from error
    out_path.write_bytes(model.SerializeToString(deterministic=True))


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" padding of one axis, before and after; torch's symmetric padding shifts the image."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def fold_batch_norm(weights: dict[str, Array], conv: str, norm: str) -> tuple[Array, Array]:
    """Kernel and bias, float32, of convolution and batch norm in one: w·γ/√(σ²+ε) and β − μ·γ/√(σ²+ε)."""
    gamma, beta, mean, variance = (
        weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    kernel = weights[f"{conv}.weight"].astype(np.float64) * factor[:, None, None, None]
    return kernel.astype(np.float32), (beta - mean * factor).astype(np.float32)


class _Graph:
    """Collects nodes and initializers while walking through the network; `size` is the current side in pixels."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.size = INPUT_SIZE

    def model(self, with_classifier: bool) -> Any:
        features = self._mean_features()
        norm = self._node("ReduceL2", [features], axes=[1], keepdims=1)
        self._node("Div", [features, norm], output="embedding")
        outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIMENSION])]
        if with_classifier:
            fc = [self._constant(f"_fc.{part}", self.weights[f"_fc.{part}"]) for part in ("weight", "bias")]
            self._node("Gemm", [features, *fc], output="logits", transB=1)
            outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES]))
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", INPUT_SIZE, INPUT_SIZE, 3])
        graph = helper.make_graph(self.nodes, "efficientnet-lite0", [image], outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="sploot")
        onnx.checker.check_model(model, full_check=True)
        return model

    def _mean_features(self) -> str:
        x = self._node("Cast", ["image"], to=TensorProto.FLOAT)
        x = self._node("Sub", [x, self._constant("pixel_mean", np.float32(PIXEL_MEAN))])
        x = self._node("Mul", [x, self._constant("pixel_scale", np.float32(1 / PIXEL_SCALE))])
        x = self._node("Transpose", [x], perm=[0, 3, 1, 2])
        x = self._relu6(self._conv(x, "_conv_stem", "_bn0", kernel=3, stride=2))
        number = 0
        for repeats, kernel, stride, expand, inputs, outputs in STAGES:
            for repeat in range(repeats):
                first = repeat == 0
                channels = inputs if first else outputs
                x = self._block(x, number, kernel, stride if first else 1, expand, channels, outputs)
                number += 1
        x = self._relu6(self._conv(x, "_conv_head", "_bn1", kernel=1, stride=1))
        return self._node("Flatten", [self._node("GlobalAveragePool", [x])], axis=1)

    def _block(self, x: str, number: int, kernel: int, stride: int, expand: int, inputs: int, outputs: int) -> str:
        """Inverted residual: expand, depthwise, project without activation; a shortcut where shapes allow it."""
        name = f"_blocks.{number}"
        shortcut = x
        if expand != 1:
            x = self._relu6(self._conv(x, f"{name}._expand_conv", f"{name}._bn0", kernel=1, stride=1))
        x = self._conv(
            x, f"{name}._depthwise_conv", f"{name}._bn1", kernel=kernel, stride=stride, groups=inputs * expand
        )
        x = self._relu6(x)
        x = self._conv(x, f"{name}._project_conv", f"{name}._bn2", kernel=1, stride=1)
        return self._node("Add", [x, shortcut]) if stride == 1 and inputs == outputs else x

    def _conv(self, x: str, conv: str, norm: str, *, kernel: int, stride: int, groups: int = 1) -> str:
        weight, bias = fold_batch_norm(self.weights, conv, norm)
        before, after = same_padding(self.size, kernel, stride)
        self.size = -(-self.size // stride)
        return self._node(
            "Conv",
            [x, self._constant(f"{conv}.weight", weight), self._constant(f"{conv}.bias", bias)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=groups,
        )

    def _relu6(self, x: str) -> str:
        if not any(constant.name == "zero" for constant in self.constants):
            self._constant("zero", np.float32(0))
            self._constant("six", np.float32(6))
        return self._node("Clip", [x, "zero", "six"])

    def _constant(self, name: str, value: NDArray[Any] | np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
