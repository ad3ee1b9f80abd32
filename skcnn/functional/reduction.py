"""Sums over everything but the channels: gradients of biases and the moments of batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import Array, reshape
from .order import channels_outermost

CHUNK = 4096  # pixels that are summed in the arrays' own precision before float64 takes over


def record_channel_sums(tape: Any, x: Array, out: Array) -> None:
    """x (h, w, n, c) or (n, c) -> out (c,), the sum over all other axes."""
    if x.ndim == 4 and channels_outermost(x):
        tape(_sum_rows, reshape(x.transpose(3, 0, 1, 2), (x.shape[3], -1)), out)
    else:
        flat = reshape(x, (-1, x.shape[-1]))
        ones = np.ones(min(CHUNK, len(flat)), x.dtype)
        tape(_sum_columns, flat, ones, out)


def record_channel_products(tape: Any, x: Array, y: Array, out: Array) -> None:
    """x, y (h, w, n, c) or (n, c) -> out (c,), the sum of x * y over all other axes."""
    if x.ndim == 4 and channels_outermost(x):
        rows = [reshape(a.transpose(3, 0, 1, 2), (a.shape[3], -1)) for a in (x, y)]
        tape(_dot_rows, *rows, out)
    else:
        tape(_dot_columns, reshape(x, (-1, x.shape[-1])), reshape(y, (-1, y.shape[-1])), out)


def _sum_rows(x: Array, out: Array) -> None:
    """x (c, k) -> out (c,): NumPy sums contiguous rows pairwise."""
    np.add.reduce(x, 1, None, out=out)


def _sum_columns(x: Array, ones: Array, out: Array) -> None:
    """x (k, c) -> out (c,): a product with ones, in chunks that are added up in the precision of ``out``."""
    out.fill(0)
    for start in range(0, len(x), CHUNK):
        chunk = x[start : start + CHUNK]
        out += ones[: len(chunk)] @ chunk


def _dot_rows(x: Array, y: Array, out: Array) -> None:
    """x, y (c, k) -> out (c,)."""
    out.fill(0)
    for start in range(0, x.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        out += np.einsum("ck,ck->c", x[:, part], y[:, part])


def _dot_columns(x: Array, y: Array, out: Array) -> None:
    """x, y (k, c) -> out (c,)."""
    out.fill(0)
    for start in range(0, len(x), CHUNK):
        part = slice(start, start + CHUNK)
        out += np.einsum("kc,kc->c", x[part], y[part])
