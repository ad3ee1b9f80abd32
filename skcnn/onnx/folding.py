"""Evaluation of nodes that depend on constants only: shapes, axes, and permuted weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .._arrays.elementwise import Array
from .graph import needs
from .reading import LARGEST, Node, refuse

ROWS = np.nan  # placeholder for the number of images in computations with shapes


def shape_array(dims: Sequence[int | None]) -> Array:
    """Return a shape as an array of integers, or of floats with `ROWS` if it contains the number of images."""
    if None in dims:
        return np.array([ROWS if size is None else size for size in dims])
    return np.array(dims, np.int64)


def ints(array: Array) -> list[int]:
    """Return the integers of a constant; raise a TypeError for other numbers."""
    if array.dtype.kind not in "iuf" or not np.array_equal(array, np.trunc(array)):
        raise TypeError(f"expected integers, got {array}")
    return [int(value) for value in array.ravel()]


def axes_of(node: Node, arrays: Sequence[Array | None], position: int = 1) -> list[int] | None:
    """Return the axes of an operator, which are an attribute in old versions and an input in new versions."""
    given = node("axes")
    if given is None and len(arrays) > position and arrays[position] is not None:
        given = ints(arrays[position])  # type: ignore[arg-type]
    return None if given is None else [int(axis) for axis in given]


def _constant(node: Node, arrays: Sequence[Array]) -> Array:
    for key, kind in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                      ("value_ints", np.int64)):  # fmt: skip
        if node(key) is not None:
            return np.array(node(key), kind)
    if not isinstance(node("value"), np.ndarray):
        refuse(node, "its value is not an array of numbers")
    return node("value")


def _cast(node: Node, arrays: Sequence[Array]) -> Array:
    kind = needs("onnx.helper").tensor_dtype_to_np_dtype(node("to"))
    x = arrays[0]
    if np.dtype(kind).kind not in "biuf" or (x.dtype.kind == "f" and np.isnan(x).any()):
        return x  # the number of rows remains unknown
    return x.astype(kind)


def _slice(node: Node, arrays: Sequence[Array]) -> Array:
    x = arrays[0]
    if node("starts") is not None:  # in old versions
        given = [node(key) for key in ("starts", "ends", "axes", "steps")]
    else:
        given = [None if array is None else ints(array) for array in arrays[1:]]
    starts, ends, axes, steps = (*given, None, None)[:4]
    index = [slice(None)] * x.ndim
    axes = range(len(starts)) if axes is None else axes
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts), strict=True):
        # ONNX clamps the ends of a slice like Python, except for ends before the first element with negative steps.
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _divide(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu" and y.dtype.kind in "iu":
        return np.trunc(x / y).astype(x.dtype)
    return x / y


def _arithmetic(f: Callable[..., Array]) -> Callable[[Node, Sequence[Array]], Array]:
    def fold(node: Node, arrays: Sequence[Array]) -> Array:
        if math.prod(np.broadcast_shapes(*(array.shape for array in arrays))) > LARGEST:
            refuse(node, "its result is too large")
        if any(array.dtype.kind == "f" and np.isnan(array).any() for array in arrays):
            refuse(node, "it computes with the number of images", remedy="Export the model for any number of them")
        return np.asarray(f(*arrays))

    return fold


def _reshape(node: Node, arrays: Sequence[Array]) -> Array:
    x, target = arrays[0], ints(arrays[1])
    if not node("allowzero"):
        target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return x.reshape(target)


def _unsqueeze(node: Node, arrays: Sequence[Array]) -> Array:
    return np.expand_dims(arrays[0], tuple(axes_of(node, arrays) or ()))


def _squeeze(node: Node, arrays: Sequence[Array]) -> Array:
    axes = axes_of(node, arrays)
    return np.squeeze(arrays[0], None if axes is None else tuple(axes))


def _full(node: Node, arrays: Sequence[Array]) -> Array:
    shape = ints(arrays[0])
    if math.prod(shape) > LARGEST:
        refuse(node, "its result is too large")
    value = node("value", np.zeros(1, np.float32))
    return np.full(shape, value.ravel()[0], value.dtype)


def _expand(node: Node, arrays: Sequence[Array]) -> Array:
    shape = np.broadcast_shapes(arrays[0].shape, tuple(ints(arrays[1])))
    if math.prod(shape) > LARGEST:
        refuse(node, "its result is too large")
    return np.broadcast_to(arrays[0], shape)


FOLDERS: dict[str, Callable[[Node, Sequence[Array]], Array]] = {
    "Constant": _constant,
    "Identity": lambda node, arrays: arrays[0],
    "Cast": _cast,
    "Gather": lambda node, arrays: np.take(arrays[0], arrays[1].astype(np.int64), node("axis", 0)),
    "Concat": lambda node, arrays: np.concatenate(arrays, node("axis", 0)),
    "Slice": _slice,
    "Reshape": _reshape,
    "Transpose": lambda node, arrays: np.transpose(arrays[0], node("perm")),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "ConstantOfShape": _full,
    "Expand": _expand,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_divide),
    "Pow": _arithmetic(np.power),
    "Sqrt": _arithmetic(np.sqrt),
    "Neg": _arithmetic(np.negative),
    "Reciprocal": _arithmetic(np.reciprocal),
    "Exp": _arithmetic(np.exp),
    "Floor": _arithmetic(np.floor),
    "Ceil": _arithmetic(np.ceil),
}


def fold(node: Node, arrays: Sequence[Array]) -> Array | None:
    """Return the result of a node with constant inputs, or None for an unknown operator."""
    if node.operator not in FOLDERS or len(node.outputs) != 1:
        return None
    with np.errstate(all="ignore"):
        return FOLDERS[node.operator](node, arrays)
