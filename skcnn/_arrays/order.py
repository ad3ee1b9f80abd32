"""The order in memory behind the axes (h, w, n, c)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import Array, copy

SMALL = 1 << 16  # elements of arrays that NumPy computes in less time than it takes to call it a few times
NARROW = 16  # fewer channels than this are stored outermost: runs of c elements would be shorter than a cache line


def channels_outermost(x: Array) -> bool:
    """Whether ``x (h, w, n, c)`` lies in memory as (c, h, w, n)."""
    return x.strides[2] < x.strides[3]


def by_channel(tape: Any, vector: Array, x: Array) -> Array:
    """Vector (c,) in a form that broadcasts against ``x`` in its dtype, and in long runs.

    Where channels lie innermost that is (n, c): the inner loop of a ufunc is then n * c long instead of c.
    """
    if not tape.training:  # the parameters will not change
        pixel = x[:1, :1] if x.ndim == 4 else x[:1]
        full = np.empty_like(x if x.size <= SMALL else pixel)
        full[...] = vector
        return full
    shape = x.shape[2:] if x.ndim == 4 and not channels_outermost(x) else vector.shape
    if shape == vector.shape and vector.dtype == x.dtype:
        return vector
    return tape(copy, vector, tape.scratch(shape))
