"""Per-channel vectors: broadcasting against images, and sums over all axes except the channels.

Such sums are the gradients of biases and the moments of batch normalization. They are computed in blocks in the
precision of the arrays, and the sums of the blocks are added in float64. All blocks are one NumPy call, because threads
wait for each other at every call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .._arrays.elementwise import Array, copy, reshape
from .._arrays.order import RUN, SMALL, channels_outermost
from .tape import Tape

PIXELS = 128  # pixels per block, so that few numbers are added in the precision of the arrays
CANCELLED = 0.1  # ratio of variance to mean square below which the mean must be subtracted first


def by_channel(tape: Tape, vector: Array, x: Array) -> Array:
    """Return a vector (c,) in the dtype of ``x``, and in a shape that broadcasts against it in long runs.

    In training, if channels are innermost in memory, the shape is (n, c), and the inner loop of a ufunc has a length of
    n * c instead of c. In prediction, the vector is repeated for a pixel, a row of pixels or the whole image.

    Raises
    ------
    ValueError
        If a prediction is recorded, and the vector is the result of a recorded call, which has not run yet.
    """
    if not tape.training:  # parameters are constant in prediction
        if tape.computes(vector):
            raise ValueError(
                f"{tape.owner}: by_channel reads its vector while a prediction is recorded, before recorded calls run."
                " Compute the vector with tape.derived."
            )
        part = x[:1, :1] if x.ndim == 4 and math.prod(x.shape[2:]) >= RUN else x[:1]  # a pixel or a row of pixels
        full = np.empty_like(x if x.size <= SMALL else part)
        full[...] = vector
        return full
    shape = x.shape[2:] if x.ndim == 4 and not channels_outermost(x) else vector.shape
    if shape == vector.shape and vector.dtype == x.dtype:
        return vector
    return tape(copy, vector, tape.scratch(shape))


def record_channel_sums(tape: Tape, x: Array, out: Array) -> None:
    """Record the sum over all axes except the channels.  x (h, w, n, c) or (n, c) -> out (c,).

    Parameters
    ----------
    tape : Tape
        Tape to record on.
    x : ndarray
        Numbers to sum.
    out : ndarray (c,)
        Destination.
    """
    (x,) = _by_run(x)
    if channels_outermost(x):
        tape(_sum_rows, x, out)
    else:
        tape(_sum_runs, x, _ones(x), out)


def record_channel_products(tape: Tape, x: Array, y: Array, products: Array, sums: Array | None = None) -> None:
    """Record the sums of x * y and of y over all axes except the channels.  x, y (h, w, n, c) or (n, c) -> (c,).

    Parameters
    ----------
    tape : Tape
        Tape to record on.
    x, y : ndarray
        Factors.
    products : ndarray (c,)
        Destination of the sum of x * y.
    sums : ndarray (c,), default=None
        Destination of the sum of y. By default it is not computed.
    """
    x, y = _by_run(x, y)
    if channels_outermost(x):
        tape(_products_of_rows, x, y, sums, products)
    else:
        tape(_products_of_runs, x, y, _ones(x), sums, products)


def record_channel_moments(tape: Tape, x: Array, sums: Array, squares: Array, weights: Array | None = None) -> None:
    """Record sums (c,) and sums of squares (c,) in float64.  x (h, w, n, c) or (n, c), weights of the rows (n, 1).

    Squares are as accurate as for a float64 x, so that squares / count - mean ** 2 is the variance even if the mean is
    much larger than the standard deviation. With weights, both are sums of weighted terms.
    """
    weighted = x if weights is None else tape(np.multiply, x, weights, tape.scratch(x.shape))
    record_channel_products(tape, x, weighted, squares, sums)
    tape(_refine, x, weights, sums, squares)


def _refine(x: Array, weights: Array | None, sums: Array, squares: Array) -> None:
    """Recompute the channels whose variance would be lost in rounding errors of the squares. Usually there are none."""
    count: float = x.size // len(sums)
    shares: float | Array = 1.0
    if weights is not None:
        count, shares = count / len(weights) * np.sum(weights, dtype=np.float64), weights[:, 0]
    mean = sums / count
    drowned = np.flatnonzero(squares / count - mean**2 < CANCELLED * mean**2)
    for channel in drowned:
        centred = x[..., channel].astype(np.float64) - mean[channel]
        squares[channel] = np.sum(centred * centred * shares) + count * mean[channel] ** 2


def _by_run(*arrays: Array) -> list[Array]:
    """Return the arrays as (h, w, n, c), with a single row of pixels if none has gaps between its rows."""
    if arrays[0].ndim == 2:
        return [x[None, :, None] for x in arrays]
    h, w, n, c = arrays[0].shape
    try:
        return [reshape(x, (1, h * w, n, c)) for x in arrays]
    except ValueError:
        return list(arrays)


def _by_pixel(x: Array) -> Array:
    """Reshape x (h, w, n, c) to (h, w, n * c), because runs of all images are longer than runs of channels."""
    h, w, n, c = x.shape
    return x.reshape(h, w, n * c)


def _ones(x: Array) -> Array:
    return np.ones(min(PIXELS, x.shape[1]), x.dtype)


def _blocks(*arrays: Array) -> Iterator[list[Array]]:
    """Yield arrays (h, w, ...) as (h, blocks, pixels, ...), first whole blocks, then the rest of each row."""
    h, w = arrays[0].shape[:2]
    whole = w - w % PIXELS
    for start, stop, size in ((0, whole, PIXELS), (whole, w, w - whole)):
        if start < stop:
            yield [x[:, start:stop].reshape(h, -1, size, *x.shape[2:]) for x in arrays]


def _sum_rows(x: Array, out: Array) -> None:
    """Sum x (h, w, n, c), channels outermost, to out (c,). NumPy sums contiguous runs pairwise."""
    np.add.reduce(x, (0, 1, 2), None, out=out)


def _products_of_rows(x: Array, y: Array, sums: Array | None, products: Array) -> None:
    """Sum x * y and y (h, w, n, c), channels outermost, to products, sums (c,)."""
    products.fill(0)
    for a, b in _blocks(x, y):
        products += np.add.reduce(np.einsum("hbwnc,hbwnc->hbc", a, b), (0, 1), np.float64)
    if sums is not None:
        _sum_rows(y, sums)


def _sum_runs(x: Array, ones: Array, out: Array) -> None:
    """Sum x (h, w, n, c) to out (c,). Each block is a matrix product with ones."""
    n, c = x.shape[2:]
    total = np.zeros(n * c)
    for (a,) in _blocks(_by_pixel(x)):
        total += np.add.reduce(ones[: a.shape[2]] @ a, (0, 1), np.float64)
    np.add.reduce(total.reshape(n, c), 0, None, out=out)


def _products_of_runs(x: Array, y: Array, ones: Array, sums: Array | None, products: Array) -> None:
    """Sum x * y and y (h, w, n, c) to products, sums (c,)."""
    n, c = x.shape[2:]
    total = np.zeros(n * c)
    for a, b in _blocks(_by_pixel(x), _by_pixel(y)):
        total += np.add.reduce(np.einsum("hbwr,hbwr->hbr", a, b), (0, 1), np.float64)
    np.add.reduce(total.reshape(n, c), 0, None, out=products)
    if sums is not None:
        _sum_runs(y, ones, sums)
