"""NumPy functions in the form that a tape records: positional arguments with the destination last."""

from __future__ import annotations

from contextvars import Context
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Buffer size, in elements, of NumPy's ufuncs for operands that differ in type or shape. If a broadcast operand repeats
# in runs shorter than the buffer, it is copied needlessly, for half of the total cost. NumPy's default is 8192.
BUFFER = 1024


class ufunc_settings(np.errstate):
    """Context manager with the NumPy settings for replaying tapes. NumPy stores them per thread and restores them."""

    def __init__(self) -> None:
        super().__init__(all="ignore")

    def __enter__(self) -> None:
        super().__enter__()
        try:
            np.setbufsize(BUFFER)
        except BaseException:  # `__exit__` is not called if `__enter__` raises, for example on an interrupt
            self.__exit__(None, None, None)
            raise


def settings_context() -> Context:
    """Return a context with these settings. Running in it is free, but changing settings takes some microseconds."""
    context = Context()  # empty, because a copy would keep references to the caller's context variables
    context.run(ufunc_settings().__enter__)
    return context


def copy(x: Array, out: Array) -> None:
    """Compute ``out <- x``, in the destination's dtype."""
    np.copyto(out, x, casting="unsafe")


def fill(value: float, out: Array) -> None:
    """Compute ``out <- value``."""
    out.fill(value)


def maximum(x: Array, y: Array, out: Array) -> None:
    """Compute the larger number of each pair. NumPy's function requires ``out`` as a keyword."""
    np.maximum(x, y, out=out)


def minimum(x: Array, y: Array, out: Array) -> None:
    """Compute the smaller number of each pair."""
    np.minimum(x, y, out=out)


def copy_where(mask: Array, x: Any, out: Array) -> None:
    """Compute ``out <- x`` where the mask is true."""
    np.copyto(out, x, where=mask)


def channel_max(x: Array, out: Array) -> None:
    """Compute the maximum over the last axis.  x (..., c) -> out (..., 1)."""
    np.maximum.reduce(x, -1, None, out=out, keepdims=True)


def channel_sum(x: Array, out: Array) -> None:
    """Compute the sum over the last axis.  x (..., c) -> out (..., 1)."""
    np.add.reduce(x, -1, None, out=out, keepdims=True)


def row_max(x: Array, out: Array) -> None:
    """Compute the maximum of each row.  x (n, k) -> out (n, 1)."""
    np.maximum.reduce(x, 1, None, out=out, keepdims=True)


def row_sum(x: Array, out: Array) -> None:
    """Compute the sum of each row.  x (n, k) -> out (n,)."""
    np.add.reduce(x, 1, None, out=out)


def sum_first(x: Array, out: Array) -> None:
    """Compute the sum over the first axis.  x (k, ...) -> out (...)."""
    np.add.reduce(x, 0, None, out=out)


def sum_over(x: Array, axis: int, out: Array) -> None:
    """Compute the sum over one axis.  x (..., k, ...) -> out (..., 1, ...)."""
    np.add.reduce(x, axis, None, out=out, keepdims=True)


def max_first(x: Array, out: Array) -> None:
    """Compute the maximum over the first axis.  x (k, ...) -> out (...)."""
    np.maximum.reduce(x, 0, None, out=out)


def any_so_far(x: Array, out: Array) -> None:
    """Compute the cumulative "or" along the first axis.  x (k, ...) -> out (k, ...)."""
    np.logical_or.accumulate(x, 0, None, out)


def uniform(rng: np.random.Generator, out: Array) -> None:
    """Fill an array in C order with numbers from [0, 1)."""
    rng.random(out=out, dtype=out.dtype)


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """Return a view of ``x`` with a different shape; raise a ValueError if NumPy would have to copy.

    A copy made while a tape is recorded would contain stale numbers in every replay.
    """
    return np.reshape(x, shape, copy=False)


def in_memory_order(x: Array) -> Array:
    """Return a dense array as a vector view, in memory order."""
    return reshape(x.transpose(sorted(range(x.ndim), key=lambda axis: -x.strides[axis])), (-1,))
