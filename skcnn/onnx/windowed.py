"""Import of convolutions and pooling layers, with their windows and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._arrays.geometry import windows
from ..layers import (
    AvgPool2D,
    Clip,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    MaxPool2D,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    ZeroPad2D,
)
from .reading import Node
from .walking import IMAGE, POOLED, Handler, Part, Value, Walk

Sides = tuple[int, int]  # number of zeros before and after an axis


def number(node: Node, attribute: str, default: float) -> float:
    """Return a single-precision attribute as the shortest decimal: 1e-05 instead of 9.999999747378752e-06."""
    return float(str(np.float32(node(attribute, default))))


def _sides(
    walk: Walk, node: Node, sizes: Sequence[int], kernel: Sequence[int], dilations: Sequence[int]
) -> list[Sides]:
    """Return the padding of each axis, in numbers."""
    rank, strides = len(kernel), node("strides", [1] * len(kernel))
    auto = node("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
            both = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            found.append((both // 2, both - both // 2) if auto == "SAME_UPPER" else (both - both // 2, both // 2))
        return found
    pads = [0] * 2 * rank if auto == "VALID" else list(node("pads", [0] * 2 * rank))
    if auto not in ("NOTSET", "VALID") or len(pads) != 2 * rank or min(pads) < 0:
        walk.refuse(node, f"auto_pad={auto!r} with pads={pads} is not supported")
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _geometry(walk: Walk, node: Node, kernel: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return strides and dilations of both axes."""
    strides, dilations = (tuple(node(key, [1, 1])) for key in ("strides", "dilations"))
    if any(len(found) != 2 or min(found) < 1 for found in (kernel, strides, dilations)):
        walk.refuse(node, "its windows are not two-dimensional")
    return strides, dilations


def short(pair: Sequence[int]) -> Any:
    """Return 3 for (3, 3), and unequal pairs unchanged."""
    return int(pair[0]) if pair[0] == pair[1] else (int(pair[0]), int(pair[1]))


def image_shape(walk: Walk, node: Node, value: Value) -> tuple[int, int, int]:
    """Return the shape (h, w, c) of a value; refuse the node if the value is not images with the channels first."""
    if value.axes != IMAGE:
        walk.refuse(node, "its input must be images of the shape (N, channels, height, width)")
    return value.shape  # type: ignore[return-value]


def _conv(walk: Walk, node: Node) -> None:
    """Import a Conv node."""
    name, value = walk.image(node)
    weight, bias = walk.constant(node, 1), walk.constant(node, 2)
    if weight is None or weight.ndim != 4 or list(node("kernel_shape", weight.shape[2:])) != list(weight.shape[2:]):
        walk.refuse(node, "its kernel must be a constant with four axes")
    filters, per_group, *kernel = weight.shape
    groups = node("group", 1)
    strides, dilations = _geometry(walk, node, kernel)
    channels = value.sizes.get("C", value.sizes.get("F"))
    if groups < 1 or channels != per_group * groups or filters % groups or min(weight.shape) < 1:
        walk.refuse(node, f"its kernel does not fit {channels} channels in {groups} groups")
    arrays = {} if bias is None else {"bias": bias.reshape(filters)}
    if value.axes == POOLED:
        _conv_of_a_pixel(walk, node, name, value, weight, arrays)
        return
    h, w, _ = image_shape(walk, node, value)
    sides = _sides(walk, node, (h, w), kernel, dilations)
    parts, padding, size = [], _padding(sides, (h, w), kernel, strides, dilations), (h, w)
    if padding is None:
        parts, padding, size = [Part(ZeroPad2D((sides[0], sides[1])))], "valid", (h + sum(sides[0]), w + sum(sides[1]))
    arrays["kernel"] = weight.transpose(2, 3, 1, 0)
    options = {
        "strides": short(strides),
        "padding": padding,
        "dilation": short(dilations),
        "use_bias": bias is not None,
    }
    if groups == channels and groups > 1:
        layer: Any = DepthwiseConv2D(short(kernel), depth_multiplier=filters // channels, **options)
    else:
        layer = Conv2D(int(filters), kernel_size=short(kernel), groups=groups, **options)
    shape = layer.output_shape((*size, channels))
    walk.give(node, Value(IMAGE, shape), [name], [*parts, Part(layer, arrays)])


def _padding(sides: Sequence[Sides], size: Any, kernel: Any, strides: Any, dilations: Any) -> Any:
    """Return the ``padding`` parameter of a convolution for these zeros, or None if there is no such value."""
    if all(before == after for before, after in sides):
        before = short([side[0] for side in sides])
        return before if before else "valid"
    geometry = windows(size, kernel, strides, "same", dilations)
    return "same" if list(geometry.borders) == list(sides) else None


def _conv_of_a_pixel(walk: Walk, node: Node, name: str, value: Value, weight: Array, arrays: dict[str, Array]) -> None:
    """Import a convolution of single-pixel images as a dense layer with the kernel element that reads the pixel."""
    filters, per_group, *kernel = weight.shape
    strides, dilations = _geometry(walk, node, kernel)
    sides = _sides(walk, node, (1, 1), kernel, dilations)
    dense = weight
    for (before, after), k, s, d in zip(sides, kernel, strides, dilations, strict=True):
        if (before + after - (k - 1) * d) // s != 0 or before + after < (k - 1) * d:
            walk.refuse(node, "it makes images from single-pixel images, which are flat in this package")
        place = before // d if before % d == 0 and before // d < k else None
        dense = np.zeros_like(dense[:, :, 0]) if place is None else dense[:, :, place]
    full = np.zeros((per_group * node("group", 1), filters), weight.dtype)
    for group in range(node("group", 1)):
        rows, columns = per_group, filters // node("group", 1)
        at = slice(group * columns, (group + 1) * columns)
        full[group * rows : (group + 1) * rows, at] = dense[at].T
    give_dense(walk, node, name, value, full, arrays.get("bias"))


def _pool(walk: Walk, node: Node) -> None:
    """Import a MaxPool or AveragePool node."""
    name, value = walk.image(node)
    is_max, kernel = node.operator == "MaxPool", node("kernel_shape", [])
    strides, dilations = _geometry(walk, node, kernel)
    if dilations != (1, 1) or min(kernel) < 1:
        walk.refuse(node, "pooling layers of this package have no dilation")
    counts_border = not is_max and bool(node("count_include_pad", 0))
    if value.axes == POOLED:
        size: tuple[int, ...] = (1, 1)
    else:
        size = image_shape(walk, node, value)[:2]
    sides = _sides(walk, node, size, kernel, dilations)
    counts_border = counts_border and any(map(sum, sides))
    out = []
    for (before, after), n, k, s in zip(sides, size, kernel, strides, strict=True):
        if before >= k or after >= k:
            walk.refuse(node, "a window is entirely in the border")
        steps = (n + before + after - k) / s
        count = (math.ceil(steps) if node("ceil_mode", 0) else math.floor(steps)) + 1
        if steps < 0:
            walk.refuse(node, "its window is larger than its input")
        if (count - 1) * s >= n + before:  # a window that would begin after the image is omitted
            count -= 1
        if count > math.floor(steps) + 1 and counts_border:
            walk.refuse(node, "its last window ends beyond the border, where libraries differ")
        out.append(count)
    covers = all(
        count == 1 and k - before >= n for (before, _), n, k, count in zip(sides, size, kernel, out, strict=True)
    )
    if covers and not counts_border:
        parts = [] if value.is_flat else [Part(GlobalMaxPool2D() if is_max else GlobalAvgPool2D())]
        flat = value if value.is_flat else Value(POOLED, value.shape[2:])
        walk.give(node, flat, [name], parts)
        return
    if value.is_flat and covers:  # the mean of a number and of zeros
        part = Part(Scale(use_bias=False), {"scale": np.full(value.shape, 1 / math.prod(kernel), np.float32)})
        walk.give(node, value, [name], [part])
        return
    if value.is_flat:
        walk.refuse(node, "it makes images from single-pixel images, which are flat in this package")
    cls: Any = MaxPool2D if is_max else AvgPool2D
    layer = cls(short(kernel), strides=short(strides))
    choices: list[Any] = ["valid", tuple(side[0] for side in sides), "same"]
    for padding in [] if counts_border else choices:
        if isinstance(padding, tuple) and any(p > k // 2 for p, k in zip(padding, kernel, strict=True)):
            continue
        geometry = windows(size, tuple(kernel), strides, padding)
        if geometry.out == tuple(out) and [before for before, _ in geometry.borders] == [s[0] for s in sides]:
            layer = layer.replaced(padding=padding if isinstance(padding, str) else short(padding))
            walk.give(node, Value(IMAGE, (*out, value.shape[2])), [name], [Part(layer)])
            return
    if is_max and not _is_positive(walk, name):
        walk.refuse(node, f"its padding {sides} cannot be written as a padding of MaxPool2D")
    if not is_max and not counts_border:
        walk.refuse(node, f"its padding {sides} cannot be written as a padding of AvgPool2D")
    # A border of zeros does not change the maximum of numbers of 0 or more.
    ends = [
        (before, max(after, (count - 1) * s + k - n - before))
        for (before, after), n, k, s, count in zip(sides, size, kernel, strides, out, strict=True)
    ]
    parts = [Part(ZeroPad2D((ends[0], ends[1]))), Part(layer)]
    walk.give(node, Value(IMAGE, (*out, value.shape[2])), [name], parts)


def _is_positive(walk: Walk, name: str) -> bool:
    """Return whether all numbers of a value are known to be 0 or more."""
    while (step := walk.steps.get(name)) is not None and step.kind == "layers":
        layer = step.parts[-1].layer if step.parts else None
        if isinstance(layer, (ReLU, ReLU6, Sigmoid)) or (isinstance(layer, Clip) and layer.bounds()[0] >= 0):
            return True
        if layer is not None and not isinstance(layer, (MaxPool2D, AvgPool2D, ZeroPad2D)):
            return False
        name = step.sources[0]
    return False


def give_dense(walk: Walk, node: Node, name: str, value: Value, kernel: Array, bias: Array | None) -> None:
    """Import a dense layer with ``kernel`` (features of the tensor, units)."""
    if kernel.shape[0] != value.shape[0]:
        walk.refuse(node, f"its kernel {kernel.shape} does not fit {value.shape[0]} features")
    arrays = {"kernel": value.features(kernel)} | ({} if bias is None else {"bias": bias})
    layer = Dense(int(kernel.shape[1]), use_bias=bias is not None)
    walk.give(node, Value(value.axes, (layer.units,)), [name], [Part(layer, arrays)])


WINDOWED: dict[str, Handler] = {
    "Conv": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
}
