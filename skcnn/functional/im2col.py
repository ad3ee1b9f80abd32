"""Convolution as matrix products over columns, a block of output rows at a time.

A column holds the numbers that one window reads, K = kh * kw * c of them, so that a block of a convolution is
``columns (pixels, K) @ kernel (K, filters)``. A block is small enough for the cache: the columns of a whole batch are
kh * kw times the batch, and would be written to memory and read back.

Arrays with few channels lie in memory with the channels outermost (see `tape`). Their columns are built transposed,
as (K, pixels), because then each row of them is copied in long runs.

Groups are a leading axis of length ``groups`` in every product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .elementwise import Array, copy, fill, reshape
from .geometry import Windows
from .order import channels_outermost

UNROLLED = 4  # BLAS computes so many rows of a small product at once: a kernel of 27 numbers is faster as one of 28
BLOCK = 1 << 19  # elements of the columns of one block: smaller ones are more calls, at which threads take turns


def record_forward(tape: Any, x: Array, kernel: Array, y: Array, geometry: Windows) -> None:
    """x (h, w, n, c) with its border, kernel (kh, kw, c / groups, f) -> y (h', w', n, f)."""
    groups = x.shape[3] // kernel.shape[2]
    matrix = _by_group(kernel, groups)  # (groups, K, f / groups)
    for rows, columns in _blocks(tape, x, geometry, groups):
        record_product(tape, columns, matrix, _pixels(y[rows], groups))


def record_kernel_gradient(tape: Any, x: Array, dy: Array, dkernel: Array, geometry: Windows) -> None:
    """x (h, w, n, c) with its border, dy (h', w', n, f) -> dkernel (kh, kw, c / groups, f)."""
    groups = x.shape[3] // dkernel.shape[2]
    gradient = total = _by_group(dkernel, groups)
    beyond = -gradient.shape[1] % UNROLLED if channels_outermost(x) and geometry.kernel != (1, 1) else 0
    if beyond:
        total = tape.scratch((groups, gradient.shape[1] + beyond, gradient.shape[2]))
    part = None
    for rows, columns in _blocks(tape, x, geometry, groups, beyond):
        if rows.start == 0:
            record_product(tape, columns.swapaxes(1, 2), _pixels(dy[rows], groups), total)
        else:
            part = tape.scratch(total.shape) if part is None else part
            record_product(tape, columns.swapaxes(1, 2), _pixels(dy[rows], groups), part)
            tape(np.add, total, part, total)
    if beyond:
        tape(copy, total[:, :-beyond], gradient)


def record_input_gradient(tape: Any, dy: Array, kernel: Array, dx: Array, geometry: Windows) -> None:
    """dy (h', w', n, f), kernel (kh, kw, c / groups, f) -> dx (h, w, n, c): a product, and kh * kw shifted sums."""
    kh, kw, c, f = kernel.shape
    oh, ow, n, _ = dy.shape
    taps, groups = kh * kw, dx.shape[3] // c
    split = reshape(dx, (*dx.shape[:3], groups, c))
    outermost = channels_outermost(dx)
    if (geometry.kernel, geometry.out) == ((1, 1), dx.shape[:2]) and not geometry.has_border:
        record_product(tape, _pixels(dy, groups), _by_group(kernel, groups).swapaxes(1, 2), _pixels(dx, groups))
        return
    height = _block_height(ow * n * taps * groups * c, oh)
    tape(fill, 0, dx)
    for start in range(0, oh, height):
        rows = slice(start, min(start + height, oh))
        size = rows.stop - rows.start
        upstream = _pixels(dy[rows], groups)  # (groups, pixels, f / groups)
        if outermost:
            flat = tape.scratch((groups, taps * c, size * ow * n))
            tape(np.matmul, _by_group(kernel, groups), upstream.swapaxes(1, 2), flat)
            columns = reshape(flat, (groups, kh, kw, c, size, ow, n)).transpose(1, 2, 4, 5, 6, 0, 3)
        else:
            flat = tape.scratch((taps, groups, size * ow * n, c))
            by_tap = reshape(kernel, (taps, c, groups, f // groups)).transpose(0, 2, 3, 1)
            tape(np.matmul, upstream, by_tap, flat)
            columns = reshape(flat, (kh, kw, groups, size, ow, n, c)).transpose(0, 1, 3, 4, 5, 2, 6)
        for i, j in geometry.offsets():
            out_rows, in_rows = geometry.rows.inside(i, rows.start, rows.stop)
            out_columns, in_columns = geometry.columns.inside(j, 0, ow)
            target = split[in_rows, in_columns]
            if target.size:
                block_rows = slice(out_rows.start - rows.start, out_rows.stop - rows.start)
                tape(np.add, target, columns[i, j, block_rows, out_columns], target)
        tape.release(flat)


def record_product(tape: Any, a: Array, b: Array, out: Array) -> None:
    """out <- a @ b, transposed where ``out`` lies in memory with its rows innermost: BLAS writes in C order only."""
    if abs(out.strides[-1]) > abs(out.strides[-2]) and out.shape[-1] > 1:
        tape(np.matmul, b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2))
    else:
        tape(np.matmul, a, b, out)


def _blocks(tape: Any, x: Array, geometry: Windows, groups: int, beyond: int = 0) -> Iterator[Any]:
    """Blocks of output rows and their columns (groups, pixels, K), recorded as they are asked for.

    Those of channels that lie outermost may have some zeros more.
    """
    kh, kw = geometry.kernel
    oh, ow = geometry.out
    n, c = x.shape[2], x.shape[3] // groups
    sh, sw, sn, sc = x.strides
    rows, columns = geometry.rows, geometry.columns
    steps = sh * rows.stride, sw * columns.stride, sn, sh * rows.dilation, sw * columns.dilation, sc * c, sc
    view = as_strided(x, (oh, ow, n, kh, kw, groups, c), steps, writeable=False)
    outermost = channels_outermost(x)
    order = (5, 3, 4, 6, 0, 1, 2) if outermost else (5, 0, 1, 2, 3, 4, 6)
    height = oh if kh == kw == 1 else _block_height(ow * n * kh * kw * groups * c, oh)
    for start in range(0, oh, height):
        block = slice(start, min(start + height, oh))
        source = view[block].transpose(order)
        pixels = (block.stop - start) * ow * n
        shape = (groups, kh * kw * c, pixels) if outermost else (groups, pixels, kh * kw * c)
        matrix = None if beyond else _view(source, shape)
        if matrix is None:
            matrix = tape.scratch((groups, shape[1] + beyond, shape[2]))
            if beyond:
                tape(fill, 0, matrix[:, -beyond:])
            tape(copy, source, reshape(matrix[:, : shape[1]], source.shape))
        yield block, matrix.swapaxes(1, 2) if outermost else matrix
        tape.release(matrix)


def _block_height(row: int, rows: int) -> int:
    """How many output rows a block has, if the columns of one have ``row`` elements: blocks of nearly equal size."""
    blocks = -(-rows // max(1, BLOCK // row))
    return -(-rows // blocks)


def _view(source: Array, shape: tuple[int, ...]) -> Array | None:
    """The columns of a 1 x 1 window of stride 1, the image itself; None where they would be a copy."""
    try:
        return reshape(source, shape)
    except ValueError:
        return None


def _by_group(kernel: Array, groups: int) -> Array:
    """kernel (kh, kw, c, f) -> (groups, K, f / groups), a view."""
    f = kernel.shape[-1]
    return reshape(kernel, (-1, groups, f // groups)).transpose(1, 0, 2)


def _pixels(y: Array, groups: int) -> Array:
    """y (rows, w, n, f) -> (groups, pixels, f / groups), a view."""
    f = y.shape[-1]
    return reshape(y, (-1, groups, f // groups)).transpose(1, 0, 2)
