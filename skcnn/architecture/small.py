"""Architectures for small images: the layers that the estimators build by default, and published networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays.geometry import pair
from ..description import is_count, is_real, is_size, resolve
from ..layers import (
    Activation,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
)

Knob = int | tuple[int, int] | Sequence[int | tuple[int, int]]  # one value, or a sequence with one for each block


def build_layers(
    input_shape: tuple[int, ...],
    *,
    conv_filters: int | Sequence[int] = (32, 64),
    kernel_size: Knob = 3,
    pool_size: Knob = 2,
    hidden_layer_sizes: int | Sequence[int] = (128,),
    activation: str | Activation = "relu",
    batch_norm: bool = True,
    dropout: float | Sequence[float] = 0.0,
) -> list[Layer]:
    """Build the hidden layers that an estimator uses for the same parameters, with the defaults of `CNNClassifier`.

    The network has one block ``Conv2D -> [BatchNorm] -> activation -> [MaxPool2D] -> [Dropout]`` per entry of
    ``conv_filters``, then ``Flatten``, then ``Dense -> activation -> [Dropout]`` per entry of ``hidden_layer_sizes``.
    It fits every input shape: a block pools only axes of at least ``pool_size`` pixels, and the kernel size along an
    axis of length 1 is 1.

    Parameters
    ----------
    input_shape : (int, int, int)
        Height, width and channels of an image.
    conv_filters : int or sequence of int, default=(32, 64)
        Number of filters of each block.
    kernel_size : int or sequence, default=3
        Kernel size, in pixels. One int applies to all blocks. A sequence contains one entry per block, either an int or
        a pair (height, width).
    pool_size : int or sequence, default=2
        Pooling window size, in the same format as ``kernel_size``. Use 1 to disable pooling.
    hidden_layer_sizes : int or sequence of int, default=(128,)
        Number of units of each dense layer.
    activation : str or Activation, default="relu"
        Activation after each convolution and dense layer. It also determines the initializer of their kernels.
    batch_norm : bool, default=True
        Whether to add batch normalization before the activation of each block. Its convolution then has no bias.
    dropout : float or sequence of float, default=0.0
        Dropout rate after each block and dense layer, 0 or more and less than 1. A sequence contains one rate per
        block, optionally followed by one rate per dense layer.

    Returns
    -------
    list of Layer
        Hidden layers, without the output layer.

    Raises
    ------
    ValueError
        If a parameter is invalid, or a sequence has the wrong length.

    Examples
    --------
    >>> from skcnn.architecture import build_layers
    >>> build_layers((8, 8, 1), conv_filters=(16,), hidden_layer_sizes=(64,))
    [Conv2D(16, use_bias=False), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(64), ReLU()]
    >>> build_layers((1, 30, 1), conv_filters=(16,), hidden_layer_sizes=(), batch_norm=False)
    [Conv2D(16, kernel_size=(1, 3)), ReLU(), MaxPool2D((1, 2)), Flatten()]
    """
    filters = _counts("conv_filters", conv_filters)
    units = _counts("hidden_layer_sizes", hidden_layer_sizes)
    kernels = _per_block("kernel_size", kernel_size, len(filters))
    pools = _per_block("pool_size", pool_size, len(filters))
    rates = _per_block("dropout", dropout, len(filters), len(units))
    after, drawn = _activation(activation)

    shape: tuple[int, ...] = input_shape
    layers: list[Layer] = []
    for f, kernel, pool, rate in zip(filters, kernels, pools, rates, strict=False):
        size = tuple(1 if axis == 1 else k for axis, k in zip(shape, pair(kernel), strict=False))
        layers.append(Conv2D(f, kernel_size=_short(size), use_bias=not batch_norm, **drawn))
        if batch_norm:
            layers.append(BatchNorm())
        layers.append(after)
        window = tuple(p if p <= axis else 1 for axis, p in zip(shape, pair(pool), strict=False))
        if window != (1, 1):
            layers.append(MaxPool2D(_short(window)))
            shape = layers[-1].output_shape((*shape[:2], f))
        layers += _dropout(rate)
    layers.append(Flatten())
    for u, rate in zip(units, rates[len(filters) :], strict=True):
        layers += [Dense(u, **drawn), after, *_dropout(rate)]
    return layers


def _activation(activation: str | Activation) -> tuple[Activation, dict[str, Any]]:
    """Return an activation object, and ``kernel_initializer`` of the layers before it if it is not the default."""
    after = resolve(Activation, activation, "activation")
    return after, {} if after.kernel_initializer == "he" else {"kernel_initializer": after.kernel_initializer}


def _counts(knob: str, value: Any) -> list[int]:
    counts: list[Any] = list(value) if np.iterable(value) else [value]  # a zero-dimensional array is a single value
    if not all(is_count(count) for count in counts):
        raise ValueError(f"{knob} must contain ints of 1 or more, got {value!r}.")
    return counts


def _per_block(knob: str, value: Any, blocks: int, dense: int = 0) -> list[Any]:
    """Return one value per block and dense layer, from a single value or a sequence."""
    if not isinstance(value, (list, tuple)):
        values = [value] * (blocks + dense)
    elif len(value) == blocks:
        values = [*value, *[0.0] * dense]
    elif len(value) == blocks + dense:
        values = list(value)
    else:
        raise ValueError(f"{knob}={value!r} has {len(value)} entries, but {_wanted(value, blocks, dense)}")
    for entry in values:
        valid = is_real(entry, 0, 1, open_high=True) if knob == "dropout" else is_size(entry)
        if not valid:
            raise ValueError(f"{knob}={value!r}: {entry!r} is not {_MEANING[knob]}.")
    return [float(rate) for rate in values] if knob == "dropout" else values


def _wanted(value: Any, blocks: int, dense: int) -> str:
    """Return the end of an error message, which describes the expected entries."""
    if dense:
        return (
            f"there are {blocks} blocks (conv_filters) and {dense} dense layers (hidden_layer_sizes). Pass one number"
            f" for all, or {blocks} or {blocks + dense} entries."
        )
    wanted = f"there are {blocks} blocks (conv_filters). Pass one number for all, or {blocks} entries."
    pair_of_each = f" To use this pair (height, width) for every block, pass {[tuple(value)] * blocks}."
    return wanted + (pair_of_each if len(value) == 2 else "")


_MEANING = {
    "kernel_size": "an int of 1 or more, or a pair of them",
    "pool_size": "an int of 1 or more, or a pair of them",
    "dropout": "a number of 0 or more and less than 1",
}


def _short(size: tuple[int, ...]) -> Any:
    """Return 3 for (3, 3), and unequal pairs unchanged."""
    return size[0] if size[0] == size[1] else size


def _dropout(rate: float) -> list[Layer]:
    return [Dropout(rate)] if rate else []


VGG_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGG_STAGES = (1, 2, 4, 8, 8)  # filters of each block, in multiples of the width


def lenet5(*, padding: int = 0, activation: str | Activation = "tanh") -> list[Layer]:
    """Build the hidden layers of LeNet-5, for images of 32 x 32 pixels.

    Parameters
    ----------
    padding : int, default=0
        Padding of the first convolution, in pixels. Use 2 for images of 28 x 28 pixels.
    activation : str or Activation, default="tanh"
        Activation after each convolution and dense layer.

    Returns
    -------
    list of Layer
        Hidden layers, without the output layer.

    Raises
    ------
    ValueError
        If ``padding`` is not an int of 0 or more.

    Notes
    -----
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
    *Proceedings of the IEEE* 86 (1998), 2278-2324. This is the common modern form: all filters of the second
    convolution read all channels, subsampling has no parameters, and the output is a softmax. With one channel and ten
    classes, the network has 61,706 parameters. The original has 60,000, because it connects each filter to only some
    channels.

    Examples
    --------
    >>> from skcnn.architecture import lenet5
    >>> lenet5(padding=2)[0]
    Conv2D(6, kernel_size=5, padding=2, kernel_initializer='glorot')
    """
    if not is_count(padding, 0):
        raise ValueError(f"padding must be an int of 0 or more, got {padding!r}.")
    after, drawn = _activation(activation)
    return [
        *(Conv2D(6, kernel_size=5, padding=padding or "valid", **drawn), after, AvgPool2D()),
        *(Conv2D(16, kernel_size=5, padding="valid", **drawn), after, AvgPool2D()),
        *(Flatten(), Dense(120, **drawn), after, Dense(84, **drawn), after),
    ]


def vgg(
    depth: int = 16,
    width: int = 64,
    *,
    batch_norm: bool = False,
    hidden_layer_sizes: int | Sequence[int] = (4096, 4096),
    dropout: float = 0.5,
) -> list[Layer]:
    """Build the hidden layers of a VGG network: blocks of 3 x 3 convolutions, each followed by a pooling layer.

    Parameters
    ----------
    depth : {11, 13, 16, 19}, default=16
        Number of layers with a kernel, including the output layer and two hidden dense layers.
    width : int, default=64
        Number of filters of the first block. The next blocks have 2, 4, 8 and 8 times as many.
    batch_norm : bool, default=False
        Whether to add batch normalization after each convolution, which then has no bias.
    hidden_layer_sizes : int or sequence of int, default=(4096, 4096)
        Number of units of the dense layers after the blocks. For images of 32 x 32 pixels, (512,) is enough.
    dropout : float, default=0.5
        Dropout rate after each dense layer, 0 or more and less than 1.

    Returns
    -------
    list of Layer
        Hidden layers, without the output layer.

    Raises
    ------
    ValueError
        If a parameter is invalid.

    Notes
    -----
    K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition",
    arXiv:1409.1556, table 1, configurations A, B, D and E. Five pooling layers halve the image, so it must have at
    least 32 x 32 pixels. For 224 x 224 pixels with three channels and 1000 classes, the networks with depths of 11, 13,
    16 and 19 have 132,863,336, 133,047,848, 138,357,544 and 143,667,240 parameters. The convolutions of depth 16 have
    14,714,688 of them.

    Examples
    --------
    >>> from skcnn.architecture import vgg
    >>> vgg(11, width=8, hidden_layer_sizes=(32,))[:5]
    [Conv2D(8), ReLU(), MaxPool2D(), Conv2D(16), ReLU()]
    """
    if depth not in VGG_BLOCKS:
        raise ValueError(f"depth must be one of {', '.join(map(str, VGG_BLOCKS))}, got {depth!r}.")
    first = _width(width)
    if not is_real(dropout, 0, 1, open_high=True):
        raise ValueError(f"dropout must be {_MEANING['dropout']}, got {dropout!r}.")
    layers: list[Layer] = []
    for convolutions, stage in zip(VGG_BLOCKS[depth], VGG_STAGES, strict=True):
        for _ in range(convolutions):
            layers += _normalized(first * stage, batch_norm)
        layers.append(MaxPool2D())
    layers.append(Flatten())
    for units in _counts("hidden_layer_sizes", hidden_layer_sizes):
        layers += [Dense(units), ReLU(), *_dropout(dropout)]
    return layers


def resnet(depth: int = 20, width: int = 16) -> list[Layer]:
    """Build the hidden layers of a residual network for small images, such as 32 x 32 pixels.

    The network has a convolution, three stages of residual blocks with two convolutions each, and the mean of each
    channel. The second and the third stage halve the image and double the number of filters.

    Parameters
    ----------
    depth : int, default=20
        Number of layers with a kernel, including the output layer and excluding shortcuts. It is 6 n + 2 for n blocks
        per stage, for example 8, 14, 20, 26, 32, 44, 56 or 110.
    width : int, default=16
        Number of filters of the first stage.

    Returns
    -------
    list of Layer
        Hidden layers, without the output layer.

    Raises
    ------
    ValueError
        If ``depth`` is not 6 n + 2, or ``width`` not an int of 1 or more.

    Notes
    -----
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", arXiv:1512.03385, section 4.2.
    There is one difference. If a stage changes the shape, the shortcut is a 1 x 1 convolution (their option B). The
    paper uses every other pixel, with zeros for the new channels (option A). Option B adds 2,560 parameters at any
    depth. For images with three channels and ten classes, the network has 272,282 parameters at depth 20, and 855,578
    at depth 56. With option A it would have 269,722 and 853,018, published as 0.27 and 0.85 million.

    Examples
    --------
    >>> from skcnn.architecture import resnet
    >>> resnet(8, width=4)[:5]
    [Conv2D(4, use_bias=False), BatchNorm(), ReLU(), Residual([Conv2D(4, use_bias=False), BatchNorm(), ReLU(),
    Conv2D(4, use_bias=False), BatchNorm()]), ReLU()]
    """
    if not is_count(depth, 8) or depth % 6 != 2:
        raise ValueError(f"depth must be 6 n + 2 for some n: 8, 14, 20, 26, 32, ..., got {depth!r}.")
    first = _width(width)
    layers = _normalized(first, batch_norm=True)
    for stage in range(3):
        for block in range(depth // 6):
            strides = 2 if stage and not block else 1
            inside = _normalized(first << stage, batch_norm=True, strides=strides)
            layers += [Residual([*inside, *_normalized(first << stage, batch_norm=True)[:-1]]), ReLU()]
    return [*layers, GlobalAvgPool2D()]


def all_convolutional(width: int = 96, *, dropout: bool = True) -> list[Layer]:
    """Build the hidden layers of All-CNN, without pooling and dense layers, for images such as 32 x 32 pixels.

    Parameters
    ----------
    width : int, default=96
        Number of filters of the first three convolutions. The others have twice as many.
    dropout : bool, default=True
        Whether to use dropout, with a rate of 0.2 on the input and 0.5 after the convolutions with stride 2.

    Returns
    -------
    list of Layer
        Hidden layers, without the output layer.

    Raises
    ------
    ValueError
        If ``width`` is not an int of 1 or more.

    Notes
    -----
    J. T. Springenberg, A. Dosovitskiy, T. Brox and M. Riedmiller, "Striving for simplicity: the all convolutional net",
    arXiv:1412.6806, tables 1 and 2, All-CNN-C. The paper ends with a 1 x 1 convolution to the classes, a ReLU and the
    mean over the pixels. Here the mean comes first, and the estimator's output layer replaces the convolution. Because
    means and linear maps commute, this is the same function with the same parameters, except for the ReLU. With three
    channels and ten classes, the network has 1,369,738 parameters.

    Examples
    --------
    >>> from skcnn.architecture import all_convolutional
    >>> all_convolutional(8, dropout=False)[:6]
    [Conv2D(8), ReLU(), Conv2D(8), ReLU(), Conv2D(8, strides=2), ReLU()]
    """
    first = _width(width)
    twice, half = 2 * first, _dropout(0.5 * bool(dropout))
    return [
        *_dropout(0.2 * bool(dropout)),
        *(Conv2D(first), ReLU(), Conv2D(first), ReLU(), Conv2D(first, strides=2), ReLU(), *half),
        *(Conv2D(twice), ReLU(), Conv2D(twice), ReLU(), Conv2D(twice, strides=2), ReLU(), *half),
        *(Conv2D(twice, padding="valid"), ReLU(), Conv2D(twice, kernel_size=1), ReLU()),
        GlobalAvgPool2D(),
    ]


def photos(size: int | tuple[int, int] = 64, width: int = 32, *, convolutions: int = 1) -> list[Layer]:
    """Build the hidden layers of a network for few images, for example 100 to 2,000 photos of 28 to 128 pixels.

    Blocks of a 3 x 3 convolution, batch norm, ReLU and a pooling layer halve the image until its shorter side has 4 to
    7 pixels. The last block ends with the maximum of each channel over the whole image instead of a pooling layer. The
    network has few parameters, because it has no hidden dense layer. It detects an object at any position.

    Parameters
    ----------
    size : int or (int, int), default=64
        Height and width of the images, in pixels. One number stands for both. It determines the number of blocks: 3 for
        28 pixels, 4 for 32, 5 for 64 and 6 for 128. You can also fit the network to images of a different size.
    width : int, default=32
        Number of filters of the first block. The second block has twice as many, all others four times as many.
    convolutions : int, default=1
        Number of convolutions in each block, each with batch norm and ReLU. Two were better than one for digits and
        drawn shapes, and worse for photos, at 2.5 times the cost.

    Returns
    -------
    list of Layer
        Hidden layers, without the output layer.

    Raises
    ------
    ValueError
        If ``size`` is not an int of 1 or more or a pair of them, or if ``width`` or ``convolutions`` is not an int of 1
        or more.

    Notes
    -----
    The network needs augmentation, a decreasing learning rate and more epochs than the default: ``CNNClassifier(
    layers=photos(64), augmentation=[...], schedule="cosine", max_iter=60, batch_size=32)``. The user guide's page "Few
    images" has the measurements for these choices. With three channels and two classes, the network for 64 x 64
    pixels has 389,154 parameters.

    Examples
    --------
    >>> from skcnn.architecture import photos
    >>> photos(8, width=16)
    [Conv2D(16, use_bias=False), BatchNorm(), ReLU(), MaxPool2D(), Conv2D(32, use_bias=False), BatchNorm(), ReLU(),
    GlobalMaxPool2D()]
    """
    if not is_size(size):
        raise ValueError(f"size must be an int of 1 or more, or a pair of them (height, width), got {size!r}.")
    if not is_count(convolutions):
        raise ValueError(f"convolutions must be an int of 1 or more, got {convolutions!r}.")
    first = _width(width)
    blocks = max(min(pair(size)) // 4, 1).bit_length()
    layers: list[Layer] = []
    for block in range(blocks):
        for _ in range(convolutions):
            layers += _normalized(min(first << block, 4 * first), batch_norm=True)
        layers.append(MaxPool2D())
    return [*layers[:-1], GlobalMaxPool2D()]


def _normalized(filters: int, batch_norm: bool, strides: int = 1) -> list[Layer]:
    """Return a 3 x 3 convolution and a ReLU, with batch norm between them if ``batch_norm``."""
    norm = [BatchNorm()] if batch_norm else []
    return [Conv2D(filters, strides=strides, use_bias=not batch_norm), *norm, ReLU()]


def _width(width: Any) -> int:
    if not is_count(width):
        raise ValueError(f"width must be an int of 1 or more, got {width!r}.")
    return int(width)
