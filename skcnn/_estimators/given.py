"""Checks of `set_weights`, which builds a network from arrays of the user."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._engine.model import Model
from .._engine.network import Network
from .._engine.scaling import Scaling
from ..description import is_count

KERNEL, BIAS = "output.kernel", "output.bias"
TRANSPOSED = {
    4: (2, 3, 1, 0),
    2: (1, 0),
}  # axes that turn kernels of PyTorch into kernels of this package, by their ndim


def named_arrays(weights: Any) -> dict[str, Array]:
    """Return the user's arrays by name, or raise an error for anything except finite numbers."""
    if not isinstance(weights, Mapping):
        raise TypeError(
            "weights must be a dict of names and arrays, such as {'conv1.kernel': array}, got"
            f" {type(weights).__name__}."
        )
    found = {}
    for name, value in weights.items():
        array = np.asarray(value)
        if array.dtype.kind not in "buif":
            raise TypeError(f"weights[{name!r}] must contain numbers, got {array.dtype}.")
        if not np.isfinite(array).all():
            raise ValueError(f"weights[{name!r}] contains NaN or infinity.")
        found[name] = array
    return found


def full_shape(input_shape: Any) -> tuple[int, int, int]:
    """Return the shape (h, w, c) of a user's shape (h, w) or (h, w, c)."""
    sizes = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    if len(sizes) not in (2, 3) or not all(is_count(size) for size in sizes):
        raise ValueError(f"input_shape must be (h, w) or (h, w, c) with ints of 1 or more, got {input_shape!r}.")
    h, w, c = (int(size) for size in (*sizes, 1)[:3])
    return h, w, c


def outputs_of(arrays: Mapping[str, Array]) -> int | None:
    """Return the number of units of the output layer in the user's arrays, or None if it is not among them."""
    return next((arrays[name].shape[-1] for name in (BIAS, KERNEL) if arrays.get(name, np.empty(())).ndim), None)


def given_scaling(
    mean: Any, scale: Any, size: int, before: Scaling | None, prefix: str = "", what: str = "channels"
) -> Scaling:
    """Return the user's mean and scale for each channel or output. If one is None, it is copied from ``before``."""
    if before is None and (mean is None or scale is None):
        raise ValueError(
            "mean and scale must be given for a network that is not fitted. Its input is (x - mean) / scale for the"
            " pixels x of an image, so mean=0 and scale=1 leave images as they are."
        )
    found = {}
    for name, value in (("mean", mean), ("scale", scale)):
        if value is None:
            found[name] = getattr(before, name)
            continue
        array = np.asarray(value, np.float64)
        if array.shape not in ((), (1,), (size,)) or not np.isfinite(array).all():
            message = f"{prefix}{name} must be a finite number, or one for each of {size} {what}, got {value!r}."
            raise ValueError(message)
        found[name] = np.broadcast_to(array, (size,)).copy()
    if not (found["scale"] > 0).all():
        raise ValueError(f"{prefix}scale must be above 0, got {scale!r}.")
    return Scaling(**found)


def with_arrays(
    network: Network, arrays: Mapping[str, Array], kept: Mapping[str, Array], scaling: Scaling, dtype: Any, loss: Any
) -> Model:
    """Return a model with the user's arrays, and with the ``kept`` arrays for the other names."""
    _check_names(network, arrays, kept)
    weights, state = (np.empty(layout.size, dtype) for layout in (network.weights, network.state))
    for layout, vector in ((network.weights, weights), (network.state, state)):
        for name, view in layout.views(vector).items():
            with np.errstate(over="ignore"):
                view[...] = arrays[name] if name in arrays else kept[name]
            if not np.isfinite(view).all():
                raise ValueError(f"weights[{name!r}] contains numbers that are too large for {np.dtype(dtype)}.")
            if name.endswith(".running_variance") and (view < 0).any():
                raise ValueError(f"weights[{name!r}] contains negative numbers, which cannot be variances.")
    return Model(network, scaling, weights, state, loss)


def _check_names(network: Network, arrays: Mapping[str, Array], kept: Mapping[str, Array]) -> None:
    """Raise a ValueError for names that the network lacks, for wrong shapes and for missing names."""
    shapes = {name: parameter.shape for name, parameter in network.parameters.items()}
    if unknown := [name for name in arrays if name not in shapes]:
        near = difflib.get_close_matches(str(unknown[0]), shapes, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"weights has {unknown[0]!r}{_more(unknown)}, but the network has no array of this name.{hint}"
            f" The names are: {', '.join(shapes)}."
        )
    for name, array in arrays.items():
        if array.shape != shapes[name]:
            axes = TRANSPOSED.get(array.ndim)
            turned = axes is not None and tuple(array.shape[axis] for axis in axes) == shapes[name]
            hint = f" If it is an array of PyTorch, pass array.transpose{axes}." if turned else ""
            raise ValueError(f"weights[{name!r}] must have shape {shapes[name]}, got {array.shape}.{hint}")
    missing = [name for name in shapes if name not in arrays and name not in kept]
    if missing:
        raise ValueError(f"weights lacks {missing[0]!r} of shape {shapes[missing[0]]}{_more(missing)}.")
    for name, shape in shapes.items():
        if name not in arrays and kept[name].shape != shape:
            raise ValueError(
                f"weights lacks {name!r}. Its shape was {kept[name].shape} and is {shape} now, so the array of the"
                " fitted network cannot be kept."
            )


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def as_classes(arrays: dict[str, Array], classes: Array, labels: bool) -> tuple[dict[str, Array], Array]:
    """Return the arrays with the columns of the output layer in the order of the sorted classes, and these classes.

    Two classes have one output. If the user's output layer has two, their difference is used.
    """
    count, outputs = len(classes), outputs_of(arrays)
    binary = count == 2 and not labels
    if outputs not in ((1, 2) if binary else (count,)):
        raise ValueError(f"The output layer has {outputs} units, but there are {count} classes: {shown(classes)}.")
    order = np.argsort(classes, kind="stable")
    classes = classes[order]
    if twice := [a for a, b in pairwise(classes) if a == b]:
        raise ValueError(f"classes must differ, but {twice[0]!r} occurs twice.")
    for name in (KERNEL, BIAS):
        if name not in arrays:
            continue
        array = arrays[name]
        if outputs == 1:
            changed = -array if binary and order[0] else array
        else:
            changed = array[..., order]
            changed = changed[..., 1:] - changed[..., :1] if binary else changed
        arrays[name] = changed
    return arrays, classes


def checked_classes(classes: Any) -> Array:
    """Return classes as an array (n,) that can be sorted."""
    array = np.asarray(classes)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "biufUO":
        raise ValueError(f"classes must be a list of numbers or strings, one for each output, got {classes!r}.")
    if array.dtype.kind == "O" and not all(isinstance(item, str) for item in array):
        raise ValueError(f"classes must be all numbers or all strings, got {shown(array)}.")
    return array


def shown(classes: Array) -> str:
    shown = ", ".join(repr(item) for item in classes[:5].tolist())
    return shown + (", ..." if len(classes) > 5 else "")
