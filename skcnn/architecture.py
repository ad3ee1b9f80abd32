"""From knobs to layers."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from .description import is_count, is_real, is_size, resolve
from .functional.geometry import pair
from .layers import Activation, BatchNorm, Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D

Knob = Any  # one value, or a sequence with one for each block


def build_layers(
    input_shape: tuple[int, ...],
    *,
    conv_filters: int | Sequence[int] = (32, 64),
    kernel_size: Knob = 3,
    pool_size: Knob = 2,
    hidden_layer_sizes: int | Sequence[int] = (128,),
    activation: str | Activation = "relu",
    batch_norm: bool = False,
    dropout: Knob = 0.0,
) -> list[Layer]:
    """The hidden layers that the knobs of an estimator mean.

    One block ``Conv2D -> [BatchNorm] -> activation -> [MaxPool2D] -> [Dropout]`` per entry of ``conv_filters``, then
    ``Flatten``, then ``Dense -> activation -> [Dropout]`` per entry of ``hidden_layer_sizes``. They fit every input: a
    block pools only along axes that are still at least ``pool_size`` long, and a kernel on an axis of length 1 is 1.

    Parameters
    ----------
    input_shape : (int, int, int)
        Height, width and channels of an image.
    conv_filters, hidden_layer_sizes : int or sequence of int
        Filters of each block, units of each dense layer.
    kernel_size, pool_size : int or sequence
        One int for all blocks, or a value for each: an int or a pair (height, width). A ``pool_size`` of 1 does not
        pool.
    activation : str or Activation
        After each convolution and dense layer; it also decides how their kernels are drawn.
    batch_norm : bool
        Whether each block normalizes before its activation; its convolution has no bias then.
    dropout : float or sequence of float
        The rate after all blocks and dense layers, or one for each block, which may be followed by one for each dense
        layer.

    Returns
    -------
    list of Layer

    Raises
    ------
    ValueError
        If a knob has no meaning, or a sequence has a wrong length.

    Examples
    --------
    >>> from skcnn.architecture import build_layers
    >>> build_layers((8, 8, 1), conv_filters=(16,), hidden_layer_sizes=(64,))
    [Conv2D(16), ReLU(), MaxPool2D(), Flatten(), Dense(64), ReLU()]
    >>> build_layers((1, 30, 1), conv_filters=(16,), hidden_layer_sizes=())
    [Conv2D(16, kernel_size=(1, 3)), ReLU(), MaxPool2D((1, 2)), Flatten()]
    """
    filters = _counts("conv_filters", conv_filters)
    units = _counts("hidden_layer_sizes", hidden_layer_sizes)
    kernels = _per_block("kernel_size", kernel_size, len(filters))
    pools = _per_block("pool_size", pool_size, len(filters))
    rates = _per_block("dropout", dropout, len(filters), len(units))
    after = resolve(Activation, activation, "activation")
    drawn: dict[str, Any] = {} if after.kernel_initializer == "he" else {"kernel_initializer": after.kernel_initializer}

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


def _counts(knob: str, value: Any) -> list[int]:
    counts: list[Any] = [value] if isinstance(value, Integral) else list(value)
    if not all(is_count(count) for count in counts):
        raise ValueError(f"{knob} must hold ints of 1 or more, got {value!r}.")
    return counts


def _per_block(knob: str, value: Any, blocks: int, dense: int = 0) -> list[Any]:
    """One value per block (and dense layer), from one for all or a sequence."""
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
    """What a knob takes."""
    if dense:
        return (
            f"there are {blocks} blocks (conv_filters) and {dense} dense layers (hidden_layer_sizes): give one number"
            f" for all, or {blocks} or {blocks + dense} entries."
        )
    wanted = f"there are {blocks} blocks (conv_filters): give one number for all, or {blocks} entries."
    pair_of_each = f" The pair (height, width) for every block is {[tuple(value)] * blocks}."
    return wanted + (pair_of_each if len(value) == 2 else "")


_MEANING = {
    "kernel_size": "an int of 1 or more, or a pair of them",
    "pool_size": "an int of 1 or more, or a pair of them",
    "dropout": "a number of 0 or more and less than 1",
}


def _short(size: tuple[int, ...]) -> Any:
    """(3, 3) -> 3."""
    return size[0] if size[0] == size[1] else size


def _dropout(rate: float) -> list[Layer]:
    return [Dropout(rate)] if rate else []
