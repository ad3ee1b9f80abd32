"""A number for each channel: how it meets an image, and sums over everything but the channels.

Sums are the gradients of biases and the moments of batch normalization. They are taken a block at a time, in the
arrays' own precision, and the sums of the blocks are added up in float64. All blocks are one call of NumPy, for each
call is a turn for which threads wait.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._arrays.elementwise import Array, copy, reshape
from .._arrays.order import SMALL, channels_outermost
from .tape import Tape

PIXELS = 128  # of a block, so that few numbers are added up in the arrays' own precision
CANCELLED = 0.1  # share of the mean square that is variance: with less, the mean has to be subtracted first


def by_channel(tape: Tape, vector: Array, x: Array) -> Array:
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


def record_channel_sums(tape: Tape, x: Array, out: Array) -> None:
    """x (h, w, n, c) or (n, c) -> out (c,), the sum over all other axes."""
    (x,) = _by_run(x)
    if channels_outermost(x):
        tape(_sum_rows, x, out)
    else:
        tape(_sum_runs, x, _ones(x), out)


def record_channel_products(tape: Tape, x: Array, y: Array, products: Array, sums: Array | None = None) -> None:
    """x, y (h, w, n, c) or (n, c) -> products (c,), the sum of x * y, and sums (c,), that of y, over all other axes."""
    x, y = _by_run(x, y)
    if channels_outermost(x):
        tape(_products_of_rows, x, y, sums, products)
    else:
        tape(_products_of_runs, x, y, _ones(x), sums, products)


def record_channel_moments(tape: Tape, x: Array, sums: Array, squares: Array) -> None:
    """x (h, w, n, c) or (n, c) -> sums (c,) and the sums of squares (c,), in float64.

    The squares are as good as if x had been in float64, so that squares / count - mean ** 2 is the variance also
    where the mean is much larger than the deviation.
    """
    record_channel_products(tape, x, x, squares, sums)
    tape(_refine, x, sums, squares)


def _refine(x: Array, sums: Array, squares: Array) -> None:
    """Redo the channels whose variance would drown in the rounding errors of their squares: most often none."""
    count = x.size // len(sums)
    mean = sums / count
    drowned = np.flatnonzero(squares / count - mean**2 < CANCELLED * mean**2)
    for channel in drowned:
        centred = x[..., channel].astype(np.float64) - mean[channel]
        squares[channel] = np.sum(centred * centred) + count * mean[channel] ** 2


def _by_run(*arrays: Array) -> list[Array]:
    """The arrays as (h, w, n, c), with a single row of pixels where none of them has gaps between its rows."""
    if arrays[0].ndim == 2:
        return [x[None, :, None] for x in arrays]
    h, w, n, c = arrays[0].shape
    try:
        return [reshape(x, (1, h * w, n, c)) for x in arrays]
    except ValueError:
        return list(arrays)


def _by_pixel(x: Array) -> Array:
    """x (h, w, n, c) -> (h, w, n * c): pixels of all images are long runs, channels are short ones."""
    h, w, n, c = x.shape
    return x.reshape(h, w, n * c)


def _ones(x: Array) -> Array:
    return np.ones(min(PIXELS, x.shape[1]), x.dtype)


def _blocks(*arrays: Array) -> Iterator[list[Array]]:
    """Arrays (h, w, ...) as (h, blocks, pixels, ...): whole blocks, and then what is left of each row."""
    h, w = arrays[0].shape[:2]
    whole = w - w % PIXELS
    for start, stop, size in ((0, whole, PIXELS), (whole, w, w - whole)):
        if start < stop:
            yield [x[:, start:stop].reshape(h, -1, size, *x.shape[2:]) for x in arrays]


def _sum_rows(x: Array, out: Array) -> None:
    """x (h, w, n, c), channels outermost -> out (c,): NumPy sums contiguous runs pairwise."""
    np.add.reduce(x, (0, 1, 2), None, out=out)


def _products_of_rows(x: Array, y: Array, sums: Array | None, products: Array) -> None:
    """x, y (h, w, n, c), channels outermost -> products, sums (c,)."""
    products.fill(0)
    for a, b in _blocks(x, y):
        products += np.add.reduce(np.einsum("hbwnc,hbwnc->hbc", a, b), (0, 1), np.float64)
    if sums is not None:
        _sum_rows(y, sums)


def _sum_runs(x: Array, ones: Array, out: Array) -> None:
    """x (h, w, n, c) -> out (c,): each block by a product with ones."""
    n, c = x.shape[2:]
    total = np.zeros(n * c)
    for (a,) in _blocks(_by_pixel(x)):
        total += np.add.reduce(ones[: a.shape[2]] @ a, (0, 1), np.float64)
    np.add.reduce(total.reshape(n, c), 0, None, out=out)


def _products_of_runs(x: Array, y: Array, ones: Array, sums: Array | None, products: Array) -> None:
    """x, y (h, w, n, c) -> products, sums (c,)."""
    n, c = x.shape[2:]
    total = np.zeros(n * c)
    for a, b in _blocks(_by_pixel(x), _by_pixel(y)):
        total += np.add.reduce(np.einsum("hbwr,hbwr->hbr", a, b), (0, 1), np.float64)
    np.add.reduce(total.reshape(n, c), 0, None, out=products)
    if sums is not None:
        _sum_runs(y, ones, sums)
