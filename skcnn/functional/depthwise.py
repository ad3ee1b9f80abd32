"""Depthwise convolution, a window per channel: shifted products and sums, no matrices.

A block of output rows at a time, so that what the sums of all offsets go to stays in the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .elementwise import Array, copy, fill
from .geometry import Windows, evenly
from .order import by_channel
from .reduction import record_channel_products

BLOCK = 1 << 18  # elements of the output of one block


def record_forward(tape: Any, x: Array, kernel: Array, y: Array, geometry: Windows) -> None:
    """x (h, w, n, c) with its border, kernel (kh, kw, 1, c) -> y (h', w', n, c)."""
    factors = [by_channel(tape, kernel[i, j, 0], y) for i, j in geometry.offsets()]
    for rows in tape.apart(_blocks(y, tape.parts(kernel.size * math.prod(y.shape[:3])))):
        product = tape.scratch(y[rows].shape)
        for k, ((i, j), factor) in enumerate(zip(geometry.offsets(), factors, strict=True)):
            tap = x[geometry.rows.padded(i), geometry.columns.padded(j)][rows]
            if k:
                tape(np.multiply, tap, factor, product)
                tape(np.add, y[rows], product, y[rows])
            else:
                tape(np.multiply, tap, factor, y[rows])
        tape.release(product)


def record_kernel_gradient(tape: Any, x: Array, dy: Array, dkernel: Array, geometry: Windows, kept: None) -> None:
    """x (h, w, n, c) with its border, dy (h', w', n, c) -> dkernel (kh, kw, 1, c)."""
    product = tape.scratch(dkernel.shape[3:], np.float64)
    for i, j in geometry.offsets():
        record_channel_products(tape, x[geometry.rows.padded(i), geometry.columns.padded(j)], dy, product)
        tape(copy, product, dkernel[i, j, 0])


def record_input_gradient(tape: Any, dy: Array, kernel: Array, dx: Array, geometry: Windows) -> None:
    """dy (h', w', n, c), kernel (kh, kw, 1, c) -> dx (h, w, n, c)."""
    factors = [by_channel(tape, kernel[i, j, 0], dy) for i, j in geometry.offsets()]
    tape(fill, 0, dx)
    for rows in _blocks(dy):
        product = tape.scratch(dy[rows].shape)
        for (i, j), factor in zip(geometry.offsets(), factors, strict=True):
            out_rows, in_rows = geometry.rows.inside(i, rows.start, rows.stop)
            out_columns, in_columns = geometry.columns.inside(j, 0, dy.shape[1])
            target, source = dx[in_rows, in_columns], dy[out_rows, out_columns]
            if target.size:
                tape(np.multiply, source, factor, product[: source.shape[0], : source.shape[1]])
                tape(np.add, target, product[: source.shape[0], : source.shape[1]], target)
        tape.release(product)


def _blocks(y: Array, least: int = 1) -> list[slice]:
    return evenly(len(y), max(least, -(-y.size // BLOCK)))
