"""Converters of layers and losses to ONNX.

Images are (n, c, h, w) in the graph, the layout of ONNX convolutions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._arrays.geometry import Windows, pair
from ..layers import (
    ELU,
    GELU,
    SELU,
    AvgPool2D,
    BatchNorm,
    Clip,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    Gate,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Rescaling,
    Residual,
    Scale,
    SeparableConv2D,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SpatialDropout2D,
    Tanh,
    UpSample2D,
    WhiteningConv2D,
    ZeroPad2D,
)
from ..layers.activation import SELU_ALPHA, SELU_SCALE
from ..layers.base import Shape
from ..layers.bias import Bias
from ..layers.gated import TANH_CUBIC, TANH_SCALE
from ..layers.residual import part_of
from ..losses import LogLoss, Loss, Poisson
from .graph import Converter, Graph, Tensor


def _bias(graph: Graph, layer: Bias, x: Tensor, p: Any) -> str:
    return graph("Add", x, graph.by_channel(p.bias, x, "bias"))


# -- convolutions and dense layers


def _convolution(
    graph: Graph, x: Tensor, geometry: Windows, kernel: Array, bias: Array | None, name: str = "kernel"
) -> str:
    """Add a convolution with ``kernel`` (kh, kw, c / groups, filters), which the owner calls ``name``."""
    arrays = [graph.constant(kernel.transpose(3, 2, 0, 1), name)]
    if bias is not None:
        arrays.append(graph.constant(bias, "bias"))
    dilations = [geometry.rows.dilation, geometry.columns.dilation]
    groups = x.shape[2] // kernel.shape[2]
    return graph("Conv", x, *arrays, attributes=_windows(geometry) | {"dilations": dilations, "group": groups})


def _windows(geometry: Windows) -> dict[str, Any]:
    """Return the attributes of windows. Padding is given in numbers, because "same" is ambiguous in ONNX."""
    rows, columns = geometry.rows, geometry.columns
    return {
        "kernel_shape": [rows.kernel, columns.kernel],
        "strides": [rows.stride, columns.stride],
        "pads": [rows.before, columns.before, rows.after, columns.after],
    }


def _conv(graph: Graph, layer: Conv2D | DepthwiseConv2D | WhiteningConv2D, x: Tensor, p: Any) -> str:
    return _convolution(graph, x, layer.geometry(x.shape), p.kernel, getattr(p, "bias", None))


def _separable(graph: Graph, layer: SeparableConv2D, x: Tensor, p: Any) -> str:
    depthwise, pointwise = (part.layer for part in layer.lowered()[:2])  # type: ignore[attr-defined]
    y = _convolution(graph, x, depthwise.geometry(x.shape), p.depthwise_kernel, None, "depthwise_kernel")
    t = Tensor(y, depthwise.output_shape(x.shape))
    bias = getattr(p, "bias", None)
    return _convolution(graph, t, pointwise.geometry(t.shape), p.pointwise_kernel, bias, "pointwise_kernel")


def _dense(graph: Graph, layer: Dense, x: Tensor, p: Any) -> str:
    kernel = graph.constant(p.kernel, "kernel")
    return graph("Gemm", x, kernel, graph.constant(p.bias, "bias")) if layer.use_bias else graph("MatMul", x, kernel)


# -- pooling, shapes


def _max_pool(graph: Graph, layer: MaxPool2D, x: Tensor, p: Any) -> str:
    return graph("MaxPool", x, attributes=_windows(layer.geometry(x.shape)))


def _avg_pool(graph: Graph, layer: AvgPool2D, x: Tensor, p: Any) -> str:
    return graph("AveragePool", x, attributes=_windows(layer.geometry(x.shape)) | {"count_include_pad": 0})


def _global_pool(operator: str) -> Converter:
    def convert(graph: Graph, layer: Any, x: Tensor, p: Any) -> str:
        return graph("Flatten", graph(operator, x))

    return convert


def flatten(graph: Graph, layer: Any, x: Tensor, p: Any) -> str:
    """Flatten x (n, c, h, w) to y (n, h * w * c), with the channels last."""
    h, w, c = x.shape
    return graph("Flatten", x if c == 1 or h * w == 1 else _channels_last(graph, x))


def _zero_pad(graph: Graph, layer: ZeroPad2D, x: Tensor, p: Any) -> str:
    (top, bottom), (left, right) = layer.borders
    return graph("Pad", x, np.array([0, 0, top, left, 0, 0, bottom, right]))


def _up_sample(graph: Graph, layer: UpSample2D, x: Tensor, p: Any) -> str:
    # "nearest" uses coordinates relative to the corner, so that no coordinate is on the border between two pixels.
    attributes = (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if layer.interpolation == "nearest"
        else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    )
    region = np.empty(0)  # unused, but an omitted input has no name, which skl2onnx requires in a Pipeline
    return graph("Resize", x, region, np.array([1.0, 1.0, *pair(layer.size)]), attributes=attributes)


# -- normalization


def _batch_norm(graph: Graph, layer: BatchNorm, x: Tensor, p: Any) -> str:
    arrays = {"scale": np.ones_like(p.running_mean), "offset": np.zeros_like(p.running_mean)} | vars(p)
    names = "scale", "offset", "running_mean", "running_variance"
    vectors = [graph.constant(arrays[name], name) for name in names]
    return graph("BatchNormalization", x, *vectors, attributes={"epsilon": float(layer.epsilon)})


def _layer_norm(graph: Graph, layer: LayerNorm, x: Tensor, p: Any) -> str:
    vectors = [graph.constant(getattr(p, name), name) for name in ("scale", "offset")]
    attributes = {"axis": -1, "epsilon": float(layer.epsilon)}
    if len(x.shape) == 1:
        return graph("LayerNormalization", x, *vectors, attributes=attributes)
    y = graph("LayerNormalization", _channels_last(graph, x), *vectors, attributes=attributes)
    return _channels_first(graph, y)


def _group_norm(graph: Graph, layer: GroupNorm, x: Tensor, p: Any) -> str:
    # The meaning of GroupNormalization differs between versions, except with one channel per group.
    one, zero = np.ones(layer.groups), np.zeros(layer.groups)
    grouped = graph("Reshape", x, np.array([0, layer.groups, -1]))
    y = graph("InstanceNormalization", grouped, one, zero, attributes={"epsilon": float(layer.epsilon)})
    y = graph("Reshape", y, np.array([0, *_first(x.shape)]))
    y = graph("Mul", y, graph.by_channel(p.scale, x, "scale"))
    return graph("Add", y, graph.by_channel(p.offset, x, "offset"))


def _scale(graph: Graph, layer: Scale, x: Tensor, p: Any) -> str:
    y = Tensor(graph("Mul", x, graph.by_channel(p.scale, x, "scale")), x.shape)
    return _bias(graph, Bias(), y, p) if layer.use_bias else y.name


def _rescaling(graph: Graph, layer: Rescaling, x: Tensor, p: Any) -> str:
    return graph("Mul", x, float(layer.factor))


# -- activations


def _activation(operator: str, **fields: str) -> Converter:
    """Return the converter of an activation that is one operator, with fields of the layer as attributes."""

    def convert(graph: Graph, layer: Any, x: Tensor, p: Any) -> str:
        return graph(operator, x, attributes={name: float(getattr(layer, field)) for name, field in fields.items()})

    return convert


def _prelu(graph: Graph, layer: PReLU, x: Tensor, p: Any) -> str:
    return graph("PRelu", x, graph.by_channel(p.slope, x, "slope"))


def _selu(graph: Graph, layer: SELU, x: Tensor, p: Any) -> str:
    return graph("Selu", x, attributes={"alpha": SELU_ALPHA, "gamma": SELU_SCALE})


def _silu(graph: Graph, layer: SiLU, x: Tensor, p: Any) -> str:
    return graph("Mul", x, graph("Sigmoid", x))


def _gelu(graph: Graph, layer: GELU, x: Tensor, p: Any) -> str:
    if layer.approximate:
        cubic = graph("Add", graph("Mul", graph("Mul", x, x), TANH_SCALE * TANH_CUBIC), TANH_SCALE)
        return graph("Mul", x, graph("Sigmoid", graph("Mul", cubic, x)))
    gate = graph("Add", graph("Erf", graph("Mul", x, math.sqrt(0.5))), 1.0)
    return graph("Mul", graph("Mul", x, gate), 0.5)


def _hard_sigmoid(graph: Graph, layer: HardSigmoid, x: Tensor, p: Any) -> str:
    return graph("HardSigmoid", x, attributes={"alpha": 1 / 6, "beta": 0.5})


def _clip(graph: Graph, layer: Clip | ReLU6, x: Tensor, p: Any) -> str:
    # An omitted bound has no name, which skl2onnx requires in a Pipeline.
    largest = float(np.finfo(np.float32).max)
    return graph("Clip", x, *(np.float32(np.clip(bound, -largest, largest)) for bound in layer.bounds()))


def _mish(graph: Graph, layer: Mish, x: Tensor, p: Any) -> str:
    return graph("Mul", x, graph("Tanh", graph("Softplus", x)))


def _softmax(graph: Graph, layer: Softmax, x: Tensor, p: Any) -> str:
    return graph("Softmax", x, attributes={"axis": 1})


def _nothing(graph: Graph, layer: Any, x: Tensor, p: Any) -> Tensor:
    return x


# -- layers that contain other layers


def _residual(graph: Graph, layer: Residual, x: Tensor, p: Any) -> str:
    through = around = x
    for name, part, _ in layer.inside(x.shape):
        if name.split(".")[0] == "shortcut":
            around = graph.layer(name, part, around, part_of(p, name))
        else:
            through = graph.layer(name, part, through, part_of(p, name))
    return graph("Add", through, around)


def _concatenate(graph: Graph, layer: Concatenate, x: Tensor, p: Any) -> str:
    ends = {f"branch{i + 1}": x for i in range(len(layer.branches))}
    for name, part, _ in layer.inside(x.shape):
        branch = name.split(".")[0]
        ends[branch] = graph.layer(name, part, ends[branch], part_of(p, name))
    return graph("Concat", *ends.values(), attributes={"axis": 1})


def _gate(graph: Graph, layer: Gate, x: Tensor, p: Any) -> str:
    gate = gated = x
    for name, part, _ in layer.inside(x.shape):
        if name.startswith("around."):
            gated = graph.layer(name, part, gated, part_of(p, name))
        else:
            gate = graph.layer(name, part, gate, part_of(p, name))
    if len(gate.shape) < len(gated.shape):
        gate = Tensor(graph("Reshape", gate, np.array([0, *gate.shape, 1, 1])), gated.shape)
    return graph("Mul", gated, gate)


# -- losses: from raw predictions to predictions


def _logistic(graph: Graph, loss: Any, raw: Tensor, exclusive: bool) -> str:
    return graph("Softmax", raw, attributes={"axis": 1}) if exclusive else graph("Sigmoid", raw)


def _exponential(graph: Graph, loss: Any, raw: Tensor, exclusive: bool) -> str:
    return graph("Exp", raw)


def _identity(graph: Graph, loss: Any, raw: Tensor, exclusive: bool) -> Tensor:
    return raw


# -- memory order


def _first(shape: Shape) -> Shape:
    """Return the shape of an image, (h, w, c) or (f,), in the axis order of the graph."""
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def _channels_last(graph: Graph, x: Tensor | str) -> str:
    return graph("Transpose", x, attributes={"perm": [0, 2, 3, 1]})


def _channels_first(graph: Graph, x: Tensor | str) -> str:
    return graph("Transpose", x, attributes={"perm": [0, 3, 1, 2]})


def images(graph: Graph, x: str, shape: Shape) -> Tensor:
    """Add the conversion of rows (n, h * w * c) to images (n, c, h, w)."""
    h, w, c = shape
    if c == 1 or h * w == 1:
        return Tensor(graph("Reshape", x, np.array([0, c, h, w])), shape)
    return Tensor(_channels_first(graph, graph("Reshape", x, np.array([0, h, w, c]))), shape)


CONVERTERS: dict[type, Converter] = {
    Conv2D: _conv,
    DepthwiseConv2D: _conv,
    WhiteningConv2D: _conv,
    SeparableConv2D: _separable,
    Dense: _dense,
    Bias: _bias,
    MaxPool2D: _max_pool,
    AvgPool2D: _avg_pool,
    GlobalAvgPool2D: _global_pool("GlobalAveragePool"),
    GlobalMaxPool2D: _global_pool("GlobalMaxPool"),
    Flatten: flatten,
    ZeroPad2D: _zero_pad,
    UpSample2D: _up_sample,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    GroupNorm: _group_norm,
    Dropout: _nothing,
    SpatialDropout2D: _nothing,
    Residual: _residual,
    Concatenate: _concatenate,
    Gate: _gate,
    Scale: _scale,
    Rescaling: _rescaling,
    ReLU: _activation("Relu"),
    ReLU6: _clip,
    Clip: _clip,
    LeakyReLU: _activation("LeakyRelu", alpha="negative_slope"),
    PReLU: _prelu,
    ELU: _activation("Elu", alpha="alpha"),
    SELU: _selu,
    GELU: _gelu,
    SiLU: _silu,
    HardSigmoid: _hard_sigmoid,
    HardSwish: _activation("HardSwish"),
    Mish: _mish,
    Softplus: _activation("Softplus"),
    Tanh: _activation("Tanh"),
    Sigmoid: _activation("Sigmoid"),
    Softmax: _softmax,
}

# Keys are the methods that convert raw predictions. A user's loss that inherits one of them needs no converter.
LINKS: dict[Any, Converter] = {
    LogLoss.probabilities: _logistic,
    Loss.predict: _identity,
    Poisson.predict: _exponential,
}
