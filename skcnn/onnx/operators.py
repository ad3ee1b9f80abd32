"""Import of linear operators, and of operators that change axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._arrays.elementwise import Array
from ..layers import (
    BatchNorm,
    Conv2D,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    LayerNorm,
    UpSample2D,
    ZeroPad2D,
)
from .folding import axes_of, ints
from .reading import Node
from .walking import IMAGE, POOLED, Handler, Part, Value, Walk
from .windowed import give_dense, image_shape, number, short

HALF_PIXEL = "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"  # equal for integer factors


def _global_pool(walk: Walk, node: Node) -> None:
    """Import GlobalAveragePool or GlobalMaxPool."""
    name, value = walk.image(node)
    if value.axes == POOLED:
        walk.give(node, value, [name])
        return
    image_shape(walk, node, value)
    layer = GlobalAvgPool2D() if node.operator == "GlobalAveragePool" else GlobalMaxPool2D()
    walk.give(node, Value(POOLED, value.shape[2:]), [name], [Part(layer)])


def _reduce(walk: Walk, node: Node) -> None:
    """Import ReduceMean or ReduceMax over the pixels."""
    name, value = walk.image(node)
    axes = axes_of(node, walk.arrays(node))
    if not axes:
        walk.refuse(node, "it reduces over all images")
    numbers = {value.axis(axis) for axis in axes}
    labels, keep = sorted(value.axes[number] for number in numbers), node("keepdims", 1)
    if value.is_flat and set(labels) == {"1"}:
        parts = []
    elif not value.is_flat and labels == ["H", "W"]:
        parts = [Part(GlobalAvgPool2D() if node.operator == "ReduceMean" else GlobalMaxPool2D())]
    else:
        walk.refuse(node, f"it must reduce over height and width, but reduces over {', '.join(labels)}")
    left = ["1" if i in numbers else "F" if axis == "C" else axis for i, axis in enumerate(value.axes)]
    found = tuple(axis for i, axis in enumerate(left) if keep or i not in numbers)
    order = value.order if value.is_flat else None
    walk.give(node, Value(found, value.shape[-1:], order), [name], parts)


# -- dense layers and normalization


def _gemm(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    kernel, bias = walk.constant(node, 1), walk.constant(node, 2)
    if value.axes != ("N", "F") or node("transA", 0) or kernel is None or kernel.ndim != 2:
        walk.refuse(node, "it must multiply rows of features by a constant", "Put Flatten before it")
    kernel, alpha = kernel.T if node("transB", 0) else kernel, node("alpha", 1.0)
    kernel = kernel if alpha == 1 else kernel * alpha
    if bias is not None:
        if bias.size not in (1, kernel.shape[1]) or bias.shape[:-1] not in ((), (1,)):
            walk.refuse(node, f"its bias must have one number for each of {kernel.shape[1]} units")
        bias = np.broadcast_to(bias.reshape(-1) * node("beta", 1.0), kernel.shape[1:])
    give_dense(walk, node, name, value, kernel, bias)


def _matmul(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    kernel = walk.constant(node, 1)
    if kernel is None or kernel.ndim != 2:
        walk.refuse(node, "it must multiply by a constant matrix")
    if value.axes[-1] == "F":
        give_dense(walk, node, name, value, kernel, None)
    elif value.axes[-1] == "C" and len(kernel) == value.shape[2]:
        layer = Conv2D(int(kernel.shape[1]), kernel_size=1, use_bias=False)
        part = Part(layer, {"kernel": kernel[None, None]})
        walk.give(node, Value(value.axes, (*value.shape[:2], layer.filters)), [name], [part])
    else:
        walk.refuse(node, "it must multiply the channels, on the last axis, by a matrix")


def _vectors(walk: Walk, node: Node, count: int, size: int) -> list[Array]:
    """Return all inputs after the first, which must be constant vectors."""
    found = [walk.constant(node, position) for position in range(1, count + 1)]
    if any(vector is None or vector.shape != (size,) for vector in found):
        walk.refuse(node, f"it must have {count} constant vectors of {size} numbers")
    return found


def _batch_norm(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    trains = node("training_mode", 0) or (walk.source.opset < 14 and any(node.outputs[1:]))
    if trains or not node("spatial", 1) or len(value.axes) < 2 or value.axes[1] not in ("C", "F"):
        walk.refuse(node, "it must normalize channels, with fixed statistics", "Export the model for prediction")
    keys = "scale", "offset", "running_mean", "running_variance"
    vectors = [value.features(vector) for vector in _vectors(walk, node, 4, value.shape[-1])]
    momentum = number(node, "momentum", 0.9)
    layer = BatchNorm(momentum if 0 <= momentum < 1 else 0.9, number(node, "epsilon", 1e-5))
    walk.give(node, value, [name], [Part(layer, dict(zip(keys, vectors, strict=True)))])


def _layer_norm(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    axis = value.axis(node("axis", -1))
    if axis != len(value.axes) - 1 or value.axes[-1] not in ("C", "F"):
        walk.refuse(node, "it must normalize the channels of each pixel, on the last axis")
    size = value.shape[-1]
    scale, offset = walk.constant(node, 1), walk.constant(node, 2, np.zeros(size))
    if scale is None or scale.shape != (size,) or offset is None or offset.shape != (size,):
        walk.refuse(node, f"it must have constant vectors of {size} numbers")
    arrays = {"scale": value.features(scale), "offset": value.features(offset)}
    walk.give(node, value, [name], [Part(LayerNorm(number(node, "epsilon", 1e-5)), arrays)])


def _group_norm(walk: Walk, node: Node) -> None:
    """Import GroupNormalization, or InstanceNormalization of channels or groups of channels."""
    name, value = walk.image(node)
    channels = value.shape[-1]
    if node.operator == "GroupNormalization":
        groups, fits = node("num_groups", 0), value.axes in (IMAGE, ("N", "F")) and value.order is None
        per_channel = walk.source.opset >= 21
    elif value.axes == ("N", "G", "R"):
        groups, fits, per_channel = value.groups, True, False
    else:
        groups, fits, per_channel = channels, value.axes == IMAGE, False
    if not fits or groups < 1 or channels % groups:
        walk.refuse(node, "it must normalize groups of channels, of the shape (N, channels, height, width)")
    vectors = _vectors(walk, node, 2, channels if per_channel else groups)
    scale, offset = (vector if per_channel else np.repeat(vector, channels // groups) for vector in vectors)
    layer = GroupNorm(groups, number(node, "epsilon", 1e-5))
    walk.give(node, value, [name], [Part(layer, {"scale": scale, "offset": offset})])


# -- axes


def _flat(walk: Walk, node: Node, name: str, value: Value, axes: tuple[str, ...]) -> None:
    """Store a flat value with ``axes``, whose numbers are in the order of the tensor."""
    if value.is_flat:
        walk.give(node, Value(axes, value.shape, value.order), [name])
        return
    h, w, c = value.shape
    axes_here = ["HWC".index(axis) for axis in value.axes if axis in "HWC"]
    order = np.arange(h * w * c).reshape(h, w, c).transpose(axes_here).ravel()
    natural = np.array_equal(order, np.arange(len(order)))
    walk.give(node, Value(axes, (h * w * c,), None if natural else order), [name], [Part(Flatten())])


def _flatten(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    if value.axis(node("axis", 1)) != 1 or value.groups:
        walk.refuse(node, "it must flatten each image, from axis 1 on")
    _flat(walk, node, name, value, ("N", "F"))


def _reshape(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    target = walk.constant(node, 1)
    if target is None or target.ndim != 1:
        walk.refuse(node, "its shape must be known", "Export the model for a fixed height and width")
    if ints_or_none(target) == [-1] and value.is_flat and value.order is None:
        axes = ("N",) if value.shape == (1,) else ("A",)
        walk.give(node, Value(axes, value.shape), [name])
        return
    dims = list(target)
    if not node("allowzero", 0):
        dims = [value.dims[i] if size == 0 and i < len(value.dims) else size for i, size in enumerate(dims)]
    rows, size = dims[:1], math.prod(value.shape)
    fixed = walk.source.dims[0]
    if not rows or not (rows[0] is None or np.isnan(rows[0]) or rows[0] in (-1, fixed)):
        walk.refuse(node, "its first axis must be the axis of images")
    rest = [int(n) for n in dims[1:] if n is not None and not np.isnan(n)]
    if len(rest) != len(dims) - 1 or sum(n == -1 for n in rest) + (rows[0] == -1) > 1 or min(rest, default=1) < -1:
        walk.refuse(node, "its shape must be known, except for the number of images")
    if -1 in rest:
        others = math.prod(n for n in rest if n != -1)
        rest = [size // others if n == -1 and others else n for n in rest]
    if math.prod(rest) != size:
        walk.refuse(node, "it would mix images", "Export the model for any number of images")
    if tuple(rest) == value.dims[1:]:
        walk.give(node, value, [name])
    elif value.groups:
        found = {Value(axes, value.shape).dims[1:]: axes for axes in (IMAGE, ("N", "F")) if _has(axes, value)}
        if tuple(rest) not in found:
            walk.refuse(node, "groups of channels must become channels again")
        walk.give(node, Value(found[tuple(rest)], value.shape), [name])
    elif _is_grouping(walk, node, value, rest):
        walk.give(node, Value(("N", "G", "R"), value.shape, groups=rest[0]), [name])
    elif sum(n != 1 for n in rest) <= 1:
        place = next((i for i, n in enumerate(rest) if n != 1), 0)
        _flat(walk, node, name, value, ("N", *("F" if i == place else "1" for i in range(len(rest)))))
    else:
        walk.refuse(node, f"no layer reshapes it to (N, {', '.join(map(str, rest))})")


def _is_grouping(walk: Walk, node: Node, value: Value, rest: list[int]) -> bool:
    """Return whether a reshape divides channels into groups for normalization."""
    readers = [other for other in walk.source.nodes if node.outputs[0] in other.inputs]
    fits = len(rest) == 2 and value.axes in (IMAGE, ("N", "F")) and value.order is None
    return fits and value.shape[-1] % rest[0] == 0 and [r.operator for r in readers] == ["InstanceNormalization"]


def ints_or_none(array: Array) -> list[int] | None:
    """Return the integers of a constant, or None for other numbers."""
    return None if np.isnan(array).any() else ints(array)


def _gather(walk: Walk, node: Node) -> None:
    """Import a Gather that restores images from one row of all numbers, as exporters write strided views."""
    name, value = walk.image(node)
    indices = walk.constant(node, 1)
    if value.axes != ("A",) or indices is None or indices.ndim < 2 or indices[:1].size != value.shape[0]:
        walk.refuse(node, "it picks numbers")
    if not np.array_equal(indices.ravel(), np.arange(indices.size)):
        walk.refuse(node, "it picks numbers")
    place = next((i for i, n in enumerate(indices.shape[1:]) if n != 1), 0)
    axes = ("N", *("F" if i == place else "1" for i in range(indices.ndim - 1)))
    if math.prod(indices.shape[1:]) != indices.shape[1 + place]:
        walk.refuse(node, "it reshapes rows to images")
    walk.give(node, Value(axes, value.shape), [name])


def _has(axes: tuple[str, ...], value: Value) -> bool:
    return len(axes) == len(value.shape) + 1


def _squeeze(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    axes = axes_of(node, walk.arrays(node))
    if axes is None:
        if walk.source.dims[0] == 1:
            walk.refuse(node, "it may remove the axis of images", "Name the axes, or export for any number of images")
        numbers = {i for i, size in enumerate(value.dims) if size == 1}
    else:
        numbers = {value.axis(axis) for axis in axes}
    if any(value.dims[number] != 1 for number in numbers):
        walk.refuse(node, "it must squeeze axes of length 1")
    gone = {value.axes[number] for number in numbers} - {"1"}
    left = tuple(axis for i, axis in enumerate(value.axes) if i not in numbers)
    if value.is_flat:
        walk.give(node, Value(left, value.shape, value.order), [name])
    elif {"H", "W"} <= gone:
        _flat(walk, node, name, value, tuple("F" if axis == "C" else axis for axis in left))
    else:
        walk.refuse(node, "images must keep their height, width and channels")


def _unsqueeze(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    axes = axes_of(node, walk.arrays(node)) or []
    places = sorted(axis % (len(value.axes) + len(axes)) for axis in axes)
    if not value.is_flat or 0 in places:
        walk.refuse(node, "only rows of features may be given more axes")
    found = list(value.axes)
    for place in places:
        found.insert(place, "1")
    walk.give(node, Value(tuple(found), value.shape, value.order), [name])


def _transpose(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    perm = node("perm", list(range(len(value.axes)))[::-1])
    if sorted(perm) != list(range(len(value.axes))) or perm[0] != 0 or value.groups:
        walk.refuse(node, "the axis of images must remain the first")
    walk.give(node, Value(tuple(value.axes[axis] for axis in perm), value.shape, value.order), [name])


def _pad(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    pads = node("pads", node("paddings"))
    pads = ints(walk.constant(node, 1)) if pads is None else list(pads)
    fill = walk.constant(node, 2, np.array(node("value", 0.0)))
    axes = walk.constant(node, 3)
    numbers = list(range(len(value.axes))) if axes is None else [value.axis(axis) for axis in ints(axes)]
    if len(pads) != 2 * len(numbers) or len(set(numbers)) != len(numbers):
        walk.refuse(node, "its padding does not fit its input")
    sides = dict(zip(numbers, zip(pads[: len(numbers)], pads[len(numbers) :], strict=True), strict=True))
    wanted = {value.axes[number]: side for number, side in sides.items() if any(side)}
    if not wanted:
        walk.give(node, value, [name])
        return
    if node("mode", "constant") != "constant" or fill is None or np.any(fill != 0) or not set(wanted) <= {"H", "W"}:
        walk.refuse(node, "only borders of zeros around images are supported")
    if min(min(side) for side in wanted.values()) < 0:
        walk.refuse(node, "it removes pixels")
    layer = ZeroPad2D((wanted.get("H", (0, 0)), wanted.get("W", (0, 0))))
    walk.give(node, Value(value.axes, layer.output_shape(value.shape)), [name], [Part(layer)])


def _resize(walk: Walk, node: Node) -> None:
    """Import Resize or Upsample by integer factors."""
    name, value = walk.image(node)
    old = node.operator == "Upsample" or walk.source.opset < 11
    factors = _factors(walk, node, value, old)
    whole = all(factor == int(factor) >= 1 for factor in factors.values())
    if value.is_flat or not whole or factors.pop("N", 1) != 1 or factors.pop("C", 1) != 1:
        walk.refuse(node, "height and width must be enlarged by integer factors")
    if node("keep_aspect_ratio_policy", "stretch") != "stretch" or node("antialias", 0):
        walk.refuse(node, "keep_aspect_ratio_policy and antialias are not supported")
    pair = int(factors.get("H", 1)), int(factors.get("W", 1))
    mode = node("mode", "nearest")
    ways = node("coordinate_transformation_mode", "half_pixel"), node("nearest_mode", "round_prefer_floor")
    ways = ("asymmetric", "floor") if old else ways
    if ways[0] == "pytorch_half_pixel" and 1 in value.shape[:2]:
        walk.refuse(node, "pytorch_half_pixel has a different meaning for a single row or column")
    if mode == "nearest" and all(
        _repeats(size, factor, *ways) for size, factor in zip(value.shape, pair, strict=False)
    ):
        layer = UpSample2D(short(pair))
    elif mode == "linear" and ways[0] in HALF_PIXEL and not old:
        layer = UpSample2D(short(pair), interpolation="bilinear")
    else:
        walk.refuse(node, f"mode={mode!r} with {ways} is not supported", "Repeat pixels, or interpolate half_pixel")
    walk.give(node, Value(value.axes, layer.output_shape(value.shape)), [name], [Part(layer)])


def _factors(walk: Walk, node: Node, value: Value, old: bool) -> dict[str, float]:
    """Return the factors of the named axes, or of all axes."""
    scales = walk.constant(node, 1 if old else 2, np.array(node("scales", [])))
    sizes = walk.constant(node, 3, np.empty(0))
    if scales is None or sizes is None:
        walk.refuse(node, "its factors must be known", "Export the model for a fixed height and width")
    axes = [value.axis(axis) for axis in node("axes", range(len(value.axes)))]
    given = scales.ravel() if scales.size else sizes.ravel()
    if len(given) != len(axes) or len(set(axes)) != len(axes):
        walk.refuse(node, "its factors do not fit its axes")
    found = {}
    for axis, factor in zip(axes, given.tolist(), strict=True):
        before = value.dims[axis]
        # The number of images never changes, even if the file contains a factor for it.
        found[value.axes[axis]] = 1.0 if before is None and not scales.size else factor / (1 if scales.size else before)
    return found


def _repeats(size: int, factor: int, transformation: str, rounding: str) -> bool:
    """Return whether nearest-pixel coordinates repeat each pixel ``factor`` times."""
    a = np.arange(size * factor)
    if transformation in HALF_PIXEL:
        places = (a + 0.5) / factor - 0.5
    elif transformation == "asymmetric":
        places = a / factor
    else:
        return False
    roundings: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    }
    if rounding not in roundings:
        return False
    return np.array_equal(np.clip(roundings[rounding](places), 0, size - 1), a // factor)


LINEAR: dict[str, Handler] = {
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _group_norm,
    "GroupNormalization": _group_norm,
    "Flatten": _flatten,
    "Gather": _gather,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
}
