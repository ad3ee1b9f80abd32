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


def record_channel_products(tape: Any, x: Array, y: Array | None, out: Array, *, mean: Array | None = None) -> None:
    """x, y (h, w, n, c) or (n, c), mean (c,) -> out (c,), the sum of (x - mean) * y over all other axes.

    Without ``y``, the sum of (x - mean) ** 2. A chunk at a time: x - mean as a whole would be one more array to write
    and to read.
    """
    c = x.shape[-1]
    mean = np.zeros(c) if mean is None else mean
    if x.ndim == 4 and channels_outermost(x):
        a, b = (None if v is None else reshape(v.transpose(3, 0, 1, 2), (c, -1)) for v in (x, y))
        assert a is not None
        tape(_products_of_rows, a, b, mean, tape.scratch((c, min(CHUNK, a.shape[1]))), out)
    else:
        run = x.size // len(x) // x.shape[1] if x.ndim == 4 else c  # a pixel of all images
        a, b = (None if v is None else reshape(v, (-1, run)) for v in (x, y))
        assert a is not None
        tape(_products_of_runs, a, b, mean, tape.scratch((max(1, min(len(a), CHUNK * c // run)), run)), out)


def _sum_rows(x: Array, out: Array) -> None:
    """x (c, k) -> out (c,): NumPy sums contiguous rows pairwise."""
    np.add.reduce(x, 1, None, out=out)


def _sum_columns(x: Array, ones: Array, out: Array) -> None:
    """x (k, c) -> out (c,): a product with ones, in chunks that are added up in the precision of ``out``."""
    out.fill(0)
    for start in range(0, len(x), CHUNK):
        chunk = x[start : start + CHUNK]
        out += ones[: len(chunk)] @ chunk


def _products_of_rows(x: Array, y: Array | None, mean: Array, buffer: Array, out: Array) -> None:
    """x, y (c, k) -> out (c,)."""
    out.fill(0)
    size = buffer.shape[1]
    column = mean.astype(x.dtype)[:, None]
    for start in range(0, x.shape[1], size):
        part = slice(start, start + size)
        centred = np.subtract(x[:, part], column, buffer[:, : x.shape[1] - start])
        out += np.einsum("ck,ck->c", centred, centred if y is None else y[:, part])


def _products_of_runs(x: Array, y: Array | None, mean: Array, buffer: Array, out: Array) -> None:
    """x, y (k, n * c) -> out (c,)."""
    out.fill(0)
    c = len(mean)
    row = np.tile(mean.astype(x.dtype), x.shape[1] // c)
    for start in range(0, len(x), len(buffer)):
        part = slice(start, start + len(buffer))
        centred = np.subtract(x[part], row, buffer[: len(x) - start]).reshape(-1, c)
        out += np.einsum("kc,kc->c", centred, centred if y is None else y[part].reshape(-1, c))
