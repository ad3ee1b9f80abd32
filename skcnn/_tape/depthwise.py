"""Depthwise convolution, with one window per channel, as sums of shifted products.

`np.einsum` multiplies and adds in one call, while the sums are in the cache. Its inner loop covers a *run*, a
contiguous piece of memory. A run contains all images and channels of neighbouring pixels, or one channel of these
pixels if channels are outermost.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.geometry import Axis, Upstream, Windows, evenly
from .._arrays.order import RUN, channels_outermost
from .im2col import patches
from .tape import Tape

ADDED = 128  # products that are added in the precision of the arrays; their sums are added in float64


def repeated(tape: Tape, x: Array, f: int) -> Array:
    """Repeat channels of x (h, w, n, c) to (h, w, n, f), one copy for each filter that reads the channel."""
    h, w, n, c = x.shape
    if f == c:
        return x
    copies = tape.keep((h, w, n, f))
    for part in range(f // c):
        tape(copy, x, copies[..., part :: f // c])
    return copies


def record_forward(tape: Tape, x: Array, kernel: Array, y: Array, geometry: Windows) -> None:
    """Record the forward pass.  x (h, w, n, f) with its border, kernel (kh, kw, 1, f) -> y (h', w', n, f)."""
    pixels = _pixels_of_a_run(y, geometry.columns)
    tape(_sum_over_taps, _taps(x, geometry, pixels), _factors(tape, kernel, y, pixels), _runs(y, pixels))


def record_kernel_gradient(tape: Tape, x: Array, dy: Array, dkernel: Array, geometry: Windows) -> None:
    """Record the kernel gradient.  x (h, w, n, f) with its border, dy (h', w', n, f) -> dkernel (kh, kw, 1, f)."""
    pixels = _pixels_of_a_run(dy, geometry.columns)
    tape(_sum_over_pixels, _taps(x, geometry, pixels), _runs(dy, pixels), dkernel)


def record_input_gradient(tape: Tape, dy: Array, kernel: Array, dx: Array, geometry: Windows) -> None:
    """Record the input gradient by convolutions of dy with the reversed kernel.

    ``dy`` is (h', w', n, f), ``kernel`` (kh, kw, 1, f) and ``dx`` (h, w, n, c).
    """
    (h, w, n, c), f = dx.shape, dy.shape[3]
    whole = dx if f == c else tape.scratch((h, w, n, f))
    rows, columns = list(geometry.rows.upstream()), list(geometry.columns.upstream())
    above, beside = _border(rows), _border(columns)
    framed = tape.with_border(dy, above, beside)
    pixels = _pixels_of_a_run(whole, geometry.columns)
    factors = _factors(tape, kernel, whole, pixels)
    for down, across in product(rows, columns):
        target = whole[down.elements, across.elements]
        if down.axis.kernel and across.axis.kernel:
            part = framed[above[0] - down.axis.before :, beside[0] - across.axis.before :]
            taps = _taps(part, Windows(down.axis, across.axis), pixels)
            tape(_sum_over_taps, taps, factors[down.offsets, across.offsets], _runs(target, pixels))
        else:
            tape(fill, 0, target)
    if f > c:
        parts = [whole[..., part :: f // c] for part in range(f // c)]
        tape(np.add, parts[0], parts[1], dx)
        for part in parts[2:]:
            tape(np.add, dx, part, dx)


def _border(phases: list[Upstream]) -> tuple[int, int]:
    """Return the number of zeros before and after dy that the windows of all phases require."""
    return max(0, *(phase.axis.before for phase in phases)), max(0, *(phase.axis.after for phase in phases))


def _pixels_of_a_run(y: Array, columns: Axis) -> int:
    """Return the number of neighbouring pixels of y (h, w, n, c) in a run, more for fewer images and channels."""
    _, w, n, c = y.shape
    if columns.stride > 1:  # they are not neighbours in x
        return 1
    pixel = n if channels_outermost(y) else n * c
    return next(pixels for pixels in range(1, w + 1) if w % pixels == 0 and (pixels * pixel >= RUN or pixels == w))


def _runs(x: Array, pixels: int) -> Array:
    """Return a view of x (h, w, n, c) in runs, (h, w / pixels, run, 1), or (..., run, c) with outermost channels."""
    h, w = x.shape[:2]
    return reshape(x, (h, w // pixels, *_run(x, pixels)))


def _taps(x: Array, geometry: Windows, pixels: int) -> Array:
    """Return a view of the numbers that each tap reads, (h', kh, kw, w' / pixels, run, 1 or c).

    ``x`` is (h, w, n, c) with its border.
    """
    read = patches(x, geometry)[..., 0, :].transpose(0, 3, 4, 1, 2, 5)
    h, kh, kw, w = read.shape[:4]
    return reshape(read, (h, kh, kw, w // pixels, *_run(x, pixels)))


def _run(x: Array, pixels: int) -> tuple[int, int]:
    """Return the length of a run of x (h, w, n, c), and the number of channels with separate runs."""
    n, c = x.shape[2:]
    return (pixels * n, c) if channels_outermost(x) else (pixels * n * c, 1)


def _factors(tape: Tape, kernel: Array, y: Array, pixels: int) -> Array:
    """Repeat the kernel (kh, kw, 1, c) for each pixel of a run of y (h, w, n, c): (kh, kw, run, 1 or c)."""
    kh, kw, _, c = kernel.shape
    shape = kh, kw, pixels * y.shape[2], c
    if channels_outermost(y):
        return np.broadcast_to(kernel, shape)
    factors = tape.derived(("factors", shape), shape, lambda call, out: call(copy, kernel, out))
    return reshape(factors, (kh, kw, -1, 1))


def _sum_over_taps(taps: Array, factors: Array, out: Array) -> None:
    """Sum over taps.  taps (h, kh, kw, w, run, c), factors (kh, kw, run, c) -> out (h, w, run, c)."""
    np.einsum("hijwrc,ijrc->hwrc", taps, factors, out=out)


def _sum_over_pixels(taps: Array, dy: Array, dkernel: Array) -> None:
    """Sum over pixels.  taps (h, kh, kw, w, run, 1 or c), dy (h, w, run, 1 or c) -> dkernel (kh, kw, 1, c)."""
    kh, kw, _, c = dkernel.shape
    h, w, run, channels = dy.shape
    equation, added = ("hijwrc,hwrc->ijr", w) if channels == 1 else ("hijwrc,hwrc->ijc", w * run)
    parts = evenly(h, -(-h * added // ADDED))
    total = sum(np.einsum(equation, taps[rows], dy[rows]).astype(np.float64) for rows in parts)
    dkernel[...] = total.reshape(kh, kw, -1, c).sum(2)[:, :, None]


SUMS_OF_PRODUCTS = _sum_over_taps, _sum_over_pixels  # one multiply-add per element of their first argument
