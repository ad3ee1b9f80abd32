"""The order in memory behind the axes (h, w, n, c)."""

from __future__ import annotations

from .elementwise import Array

SMALL = 1 << 16  # elements of arrays that NumPy computes in less time than it takes to call it a few times
NARROW = 16  # fewer channels than this are stored outermost: runs of c elements would be shorter than a cache line


def channels_outermost(x: Array) -> bool:
    """Whether ``x (h, w, n, c)`` lies in memory as (c, h, w, n)."""
    return x.strides[2] < x.strides[3]
