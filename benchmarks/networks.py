"""The reference networks of the benchmarks, from a small one for digits to one with batch norm and dropout.

Each is a list of skcnn's hidden layers for images of a given shape, and ends in `CLASSES` outputs. `torch_network`
translates a list, layer by layer, so that the opponent is the same network and stays it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from skcnn.architecture import efficientnet_lite0, mobilenet_v2, resnet18, squeezenet1_1
from skcnn.layers import (
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    ReLU6,
    Residual,
)

CLASSES = 10


@dataclass(frozen=True)
class ReferenceNetwork:
    """Hidden layers for images of a shape (h, w, c)."""

    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]


def _conv_block(filters: int) -> tuple[Layer, ...]:
    # Batch norm subtracts the mean, and a bias with it.
    return Conv2D(filters, use_bias=False), BatchNorm(), ReLU()


NETWORKS = {
    "N1": ReferenceNetwork(
        (28, 28, 1),
        (
            *(Conv2D(8), ReLU(), MaxPool2D()),
            *(Conv2D(16), ReLU(), MaxPool2D()),
            *(Flatten(), Dense(128), ReLU()),
        ),
    ),
    "N2": ReferenceNetwork(
        (32, 32, 3),
        (
            *(Conv2D(32), ReLU(), MaxPool2D()),
            *(Conv2D(64), ReLU(), MaxPool2D()),
            *(Flatten(), Dense(128), ReLU()),
        ),
    ),
    "N3": ReferenceNetwork(
        (32, 32, 3),
        (
            *(*_conv_block(32), *_conv_block(32), MaxPool2D()),
            *(*_conv_block(64), *_conv_block(64), MaxPool2D()),
            *(Flatten(), Dense(256), ReLU(), Dropout(0.5)),
        ),
    ),
    "N4": ReferenceNetwork(
        (8, 8, 1),
        (
            *(Conv2D(16), ReLU(), MaxPool2D()),
            *(Conv2D(32), ReLU(), MaxPool2D()),
            *(Flatten(), Dense(64), ReLU()),
        ),
    ),
}


def _growing(side: int = 32, filters: int = 16, depth: int = 2) -> ReferenceNetwork:
    """Convolutions of one size."""
    convolutions = (layer for _ in range(depth) for layer in (Conv2D(filters), ReLU()))
    return ReferenceNetwork((side, side, 3), (*convolutions, GlobalAvgPool2D()))


# The families of scale.py: what grows, and how far.
SCALE = {
    **{f"filters {n}": _growing(filters=n) for n in (8, 16, 32, 64, 128)},
    **{f"side {n}": _growing(side=n) for n in (8, 16, 32, 64, 128, 224)},
    **{f"depth {n}": _growing(depth=n, filters=32) for n in (1, 2, 4, 8)},
}


# The networks of pretrained.py, for photographs.
PHOTOGRAPHS = {
    name: ReferenceNetwork((224, 224, 3), tuple(layers))
    for name, layers in {
        "EfficientNet-lite0": efficientnet_lite0(),
        "MobileNetV2": mobilenet_v2(),
        "ResNet-18": resnet18(),
        "SqueezeNet 1.1": squeezenet1_1(),
    }.items()
}


@dataclass(frozen=True)
class ReferenceConvolution:
    """One convolution of images of a shape (h, w, c); the first of a network needs no gradient of its input."""

    input_shape: tuple[int, int, int]
    layer: Conv2D
    is_first: bool = False


def _convolution(
    shape: tuple[int, int, int], filters: int, *, first: bool = False, **options: Any
) -> ReferenceConvolution:
    return ReferenceConvolution(shape, Conv2D(filters, use_bias=False, **options), first)


CONVOLUTIONS = {
    "3x3": _convolution((32, 32, 32), 32),
    "3x3 odd size": _convolution((15, 15, 64), 64),
    "3x3 valid": _convolution((30, 30, 32), 32, padding="valid"),
    "pointwise": _convolution((32, 32, 64), 64, kernel_size=1),
    "strided 3x3": _convolution((32, 32, 32), 64, strides=2, padding=1),
    "strided 5x5": _convolution((32, 32, 32), 64, kernel_size=5, strides=2, padding=2),
    "strided pointwise": _convolution((32, 32, 32), 64, kernel_size=1, strides=2, padding=0),
    "dilated 3x3": _convolution((32, 32, 32), 32, dilation=2),
    "5x5": _convolution((32, 32, 32), 32, kernel_size=5),
    "7x7": _convolution((32, 32, 32), 32, kernel_size=7),
    "2x2": _convolution((32, 32, 32), 32, kernel_size=2, padding=0),
    "1x3": _convolution((1, 512, 32), 32, kernel_size=(1, 3)),
    "1x5": _convolution((1, 512, 32), 32, kernel_size=(1, 5)),
    "depthwise": _convolution((32, 32, 64), 64, groups=64),
    "groups=4": _convolution((32, 32, 64), 64, groups=4),
    "groups=8": _convolution((32, 32, 64), 64, groups=8),
    "groups=32": _convolution((32, 32, 64), 64, groups=32),
    "few channels": _convolution((32, 32, 8), 8),
    "first, 1 channel": _convolution((28, 28, 1), 32, first=True),
    "first, 3 channels": _convolution((32, 32, 3), 32, first=True),
    "first, 7x7 / 2": _convolution((112, 112, 3), 32, first=True, kernel_size=7, strides=2, padding=3),
}


def torch_network(network: ReferenceNetwork, classes: int = CLASSES) -> Any:
    """The same network as a ``torch.nn.Sequential``, with its weights in the channels-last memory format."""
    import torch
    from torch import nn

    modules, shape = _torch_layers(network.layers, network.input_shape)
    modules.append(nn.Linear(shape[0], classes))
    return nn.Sequential(*modules).to(memory_format=torch.channels_last)


def torch_convolution(convolution: ReferenceConvolution) -> Any:
    """The same convolution as a ``torch.nn.Conv2d``."""
    from torch import nn

    layer = convolution.layer
    borders = layer.geometry(convolution.input_shape).borders
    if any(before != after for before, after in borders):
        raise NotImplementedError(f"{layer!r} pads its two sides differently, which PyTorch's layer cannot.")
    return nn.Conv2d(
        convolution.input_shape[2],
        layer.filters,
        layer.kernel_size,
        layer.strides,
        padding=tuple(before for before, _ in borders),
        dilation=layer.dilation,
        groups=layer.groups,
        bias=False,
    )


def _torch_layers(layers: Iterable[Layer], shape: tuple[int, ...]) -> tuple[list[Any], tuple[int, ...]]:
    """Modules for layers one after the other, and the shape behind them."""
    modules = []
    for layer in layers:
        modules.append(_torch_layer(layer, shape))
        shape = layer.output_shape(shape)
    return modules, shape


def _torch_branches(branches: Iterable[Iterable[Layer]], shape: tuple[int, ...], is_sum: bool) -> Any:
    """A module for layers that read the same input, and whose outputs are added or put side by side."""
    import torch
    from torch import nn

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(nn.Sequential(*_torch_layers(branch, shape)[0]) for branch in branches)

        def forward(self, x: Any) -> Any:
            found = [branch(x) for branch in self.branches]
            return found[0] + found[1] if is_sum else torch.cat(found, dim=1)

    return Branches()


def _torch_windows(layer: Conv2D | DepthwiseConv2D, shape: tuple[int, ...]) -> Any:
    """A convolution, behind a module of its own for a border that is not the same on both sides."""
    from torch import nn

    is_depthwise = isinstance(layer, DepthwiseConv2D)
    (top, bottom), (left, right) = layer.geometry(shape).borders
    same = top == bottom and left == right
    convolution = nn.Conv2d(
        shape[-1],
        layer.output_shape(shape)[-1],
        layer.kernel_size,
        layer.strides,
        (top, left) if same else 0,
        groups=shape[-1] if is_depthwise else layer.groups,
        bias=layer.use_bias,
    )
    return convolution if same else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), convolution)


def _torch_layer(layer: Layer, shape: tuple[int, ...]) -> Any:
    """The module that does what ``layer`` does to an input of ``shape``; what the networks above use, no more."""
    from torch import nn

    match layer:
        case Conv2D(filters=filters, kernel_size=int(size), strides=1, padding="same"):
            return nn.Conv2d(shape[-1], filters, size, padding=size // 2, bias=layer.use_bias)
        case Conv2D(dilation=1) | DepthwiseConv2D():
            return _torch_windows(layer, shape)
        case Residual(layers=layers, shortcut=shortcut):
            around = [] if isinstance(shortcut, str) else [shortcut] if isinstance(shortcut, Layer) else shortcut
            return _torch_branches([layers, around], shape, is_sum=True)
        case Concatenate(branches=branches):
            return _torch_branches(branches, shape, is_sum=False)
        case ReLU6():
            return nn.ReLU6()
        case BatchNorm():
            return nn.BatchNorm2d(shape[-1], eps=layer.epsilon, momentum=1 - layer.momentum)
        case ReLU():
            return nn.ReLU()
        case MaxPool2D(pool_size=int(size), padding="valid"):
            return nn.MaxPool2d(size, layer.strides)
        case MaxPool2D(pool_size=int(size), padding=int(padding)):
            return nn.MaxPool2d(size, layer.strides, padding)
        case GlobalAvgPool2D():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case GlobalMaxPool2D():
            return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
        case Flatten():
            return nn.Flatten()
        case Dense(units=units):
            return nn.Linear(shape[0], units)
        case Dropout(rate=rate):
            return nn.Dropout(rate)
    raise NotImplementedError(f"{layer!r} has no translation to PyTorch yet.")
