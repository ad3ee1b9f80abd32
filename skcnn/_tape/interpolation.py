"""Linear interpolation along both axes of an image, as a matrix product for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.elementwise import Array, reshape
from .._arrays.order import channels_outermost
from .tape import Tape


def weights(size: int, factor: int, dtype: Any) -> Array:
    """Return the matrix (size * factor, size) that interpolates linearly between the centres of ``size`` pixels."""
    centres = (np.arange(size * factor) + 0.5) / factor - 0.5
    return np.array([np.interp(centres, np.arange(size), column) for column in np.eye(size)], dtype).T.copy()


def record_resized(tape: Tape, x: Array, rows: Array, columns: Array, y: Array) -> None:
    """Record the products with both matrices.  rows (h', h), x (h, w, n, c), columns (w', w) -> y (h', w', n, c)."""
    h, w, n, c = x.shape
    between = tape.scratch((len(rows), w, n, c))
    if channels_outermost(x):
        planes, taller, result = (array.transpose(3, 0, 1, 2) for array in (x, between, y))  # (c, h, w, n)
        tape(np.matmul, rows, reshape(planes, (c, h, w * n)), reshape(taller, (c, len(rows), w * n)))
        tape(np.matmul, columns, taller, result)
    else:
        tape(np.matmul, rows, reshape(x, (h, w * n * c)), reshape(between, (len(rows), w * n * c)))
        runs, result = (reshape(array, (*array.shape[:2], n * c)) for array in (between, y))
        tape(np.matmul, columns, runs, result)
