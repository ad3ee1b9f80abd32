"""NumPy's functions in the form that a tape records: positional arguments, the destination last."""

from __future__ import annotations

from contextvars import Context
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Elements that NumPy's ufuncs copy at a time when operands differ in type or in shape. An operand that is repeated in
# runs shorter than this is copied for nothing, at half of the cost of the whole operation; the default is 8192.
BUFFER = 1024


class ufunc_settings(np.errstate):
    """The settings under which tapes are replayed. NumPy keeps them per thread, and brings the old ones back."""

    def __init__(self) -> None:
        super().__init__(all="ignore")

    def __enter__(self) -> None:
        super().__enter__()
        try:
            np.setbufsize(BUFFER)
        except BaseException:  # an interruption: what raises here is not left by `__exit__`
            self.__exit__(None, None, None)
            raise


def settings_context() -> Context:
    """A context in which they hold: to run something there takes no time, to change them takes some microseconds."""
    context = Context()  # an empty one: a copy would hold on to what is in the caller's
    context.run(ufunc_settings().__enter__)
    return context


def copy(x: Array, out: Array) -> None:
    """out <- x, in the destination's dtype."""
    np.copyto(out, x, casting="unsafe")


def fill(value: float, out: Array) -> None:
    """out <- value."""
    out.fill(value)


def maximum(x: Array, y: Array, out: Array) -> None:
    """out <- the larger of each pair; NumPy wants this destination named."""
    np.maximum(x, y, out=out)


def minimum(x: Array, y: Array, out: Array) -> None:
    """out <- the smaller of each pair."""
    np.minimum(x, y, out=out)


def copy_where(mask: Array, x: Any, out: Array) -> None:
    """out <- x where the mask is true."""
    np.copyto(out, x, where=mask)


def channel_max(x: Array, out: Array) -> None:
    """x (..., c) -> out (..., 1)."""
    np.maximum.reduce(x, -1, None, out=out, keepdims=True)


def channel_sum(x: Array, out: Array) -> None:
    """x (..., c) -> out (..., 1)."""
    np.add.reduce(x, -1, None, out=out, keepdims=True)


def row_max(x: Array, out: Array) -> None:
    """x (n, k) -> out (n, 1)."""
    np.maximum.reduce(x, 1, None, out=out, keepdims=True)


def row_sum(x: Array, out: Array) -> None:
    """x (n, k) -> out (n,)."""
    np.add.reduce(x, 1, None, out=out)


def sum_first(x: Array, out: Array) -> None:
    """x (k, ...) -> out (...), the sum over the first axis."""
    np.add.reduce(x, 0, None, out=out)


def sum_over(x: Array, axis: int, out: Array) -> None:
    """x (..., k, ...) -> out (..., 1, ...), the sum over one axis."""
    np.add.reduce(x, axis, None, out=out, keepdims=True)


def max_first(x: Array, out: Array) -> None:
    """x (k, ...) -> out (...), the maximum over the first axis."""
    np.maximum.reduce(x, 0, None, out=out)


def any_so_far(x: Array, out: Array) -> None:
    """x (k, ...) -> out (k, ...): whether x or anything before it along the first axis is true."""
    np.logical_or.accumulate(x, 0, None, out)


def uniform(rng: np.random.Generator, out: Array) -> None:
    """Fill an array in C order with numbers from [0, 1)."""
    rng.random(out=out, dtype=out.dtype)


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """A view of ``x`` in another shape; a ValueError where NumPy would have to copy.

    A copy that is made while a tape is recorded holds stale numbers at every replay.
    """
    return np.reshape(x, shape, copy=False)


def in_memory_order(x: Array) -> Array:
    """The elements of a dense array as one vector, in the order in which they lie in memory."""
    return reshape(x.transpose(sorted(range(x.ndim), key=lambda axis: -x.strides[axis])), (-1,))
