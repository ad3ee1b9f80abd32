"""The order in memory behind the axes (h, w, n, c)."""

from __future__ import annotations

from typing import Any

from .elementwise import Array, copy


def channels_outermost(x: Array) -> bool:
    """Whether ``x (h, w, n, c)`` lies in memory as (c, h, w, n)."""
    return x.strides[2] < x.strides[3]


def by_channel(tape: Any, vector: Array, x: Array) -> Array:
    """Vector (c,) in a form that broadcasts against ``x`` in its dtype, and in long runs.

    Where channels lie innermost that is (n, c): the inner loop of a ufunc is then n * c long instead of c.
    """
    if x.ndim == 4 and not channels_outermost(x):
        rows = tape.scratch(x.shape[2:])
    elif vector.dtype != x.dtype:
        rows = tape.scratch(vector.shape)
    else:
        return vector
    return tape(copy, vector, rows)
