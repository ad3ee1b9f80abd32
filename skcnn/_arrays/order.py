"""Memory order of arrays with the axes (h, w, n, c)."""

from __future__ import annotations

from .elementwise import Array

SMALL = 1 << 16  # elements of an array whose computation takes less time than a few NumPy calls
NARROW = 16  # fewer channels than this are stored outermost: runs of c elements would be shorter than a cache line
RUN = 512  # elements of a contiguous run that is long enough for the inner loop of a NumPy call


def channels_outermost(x: Array) -> bool:
    """Return whether the memory order of ``x`` (h, w, n, c) is (c, h, w, n)."""
    return x.strides[2] < x.strides[3]
