"""Convolution as matrix products over columns, in blocks of output rows.

A column contains the K = kh * kw * c numbers that one window reads. A block of a convolution is then
``columns (pixels, K) @ kernel (K, filters)``. Blocks are small enough for the cache. The columns of a whole batch, kh *
kw times as large as the batch, would have to be written to memory and read back.

Arrays with few channels have the channels outermost in memory (see `tape`). Their columns are transposed, (K, pixels),
because each row can then be copied in long runs.

Groups are a leading axis of length ``groups`` in all products.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.geometry import Windows, evenly
from .._arrays.order import channels_outermost
from .products import record_product, record_sum_of_products
from .tape import Tape

COLUMN_BLOCK = 1 << 19  # elements in the columns of one block; smaller blocks mean more calls, where threads wait


def record_forward(tape: Tape, x: Array, kernel: Array, y: Array, geometry: Windows) -> None:
    """Record the forward pass.  x (h, w, n, c) with its border, kernel (kh, kw, c / groups, f) -> y (h', w', n, f)."""
    groups = x.shape[3] // kernel.shape[2]
    matrix = _by_group(kernel, groups)  # (groups, K, f / groups)
    read = patches(x, geometry, groups)
    for rows in _blocks_of(read):
        columns = _record_columns(tape, read[rows])
        record_product(tape, columns, matrix, _pixels(y[rows], groups))
        tape.release(columns)


def record_kernel_gradient(tape: Tape, x: Array, dy: Array, dkernel: Array, geometry: Windows) -> None:
    """Record the kernel gradient.

    ``x`` is (h, w, n, c) with its border, ``dy`` (h', w', n, f) and ``dkernel`` (kh, kw, c / groups, f).
    """
    groups = x.shape[3] // dkernel.shape[2]
    total = _by_group(dkernel, groups)
    part = None
    read = patches(x, geometry, groups)
    for number, rows in enumerate(_blocks_of(read)):
        columns = _record_columns(tape, read[rows])
        target = total
        if number:
            target = part = tape.scratch(total.shape) if part is None else part
        record_sum_of_products(tape, columns.swapaxes(1, 2), _pixels(dy[rows], groups), target)
        if number:
            tape(np.add, total, part, total)
        tape.release(columns)


def record_input_gradient(tape: Tape, dy: Array, kernel: Array, dx: Array, geometry: Windows) -> None:
    """Record the input gradient by matrix products and kh * kw shifted sums.

    ``dy`` is (h', w', n, f), ``kernel`` (kh, kw, c / groups, f) and ``dx`` (h, w, n, c).
    """
    kh, kw, c, f = kernel.shape
    oh, ow, n, _ = dy.shape
    taps, groups = kh * kw, dx.shape[3] // c
    split = reshape(dx, (*dx.shape[:3], groups, c))
    outermost = channels_outermost(dx)
    if (geometry.kernel, geometry.out) == ((1, 1), dx.shape[:2]) and not geometry.has_border:
        record_product(tape, _pixels(dy, groups), _by_group(kernel, groups).swapaxes(1, 2), _pixels(dx, groups))
        return
    tape(fill, 0, dx)
    for rows in _blocks(ow * n * taps * groups * c, oh):
        size = rows.stop - rows.start
        upstream = _pixels(dy[rows], groups)  # (groups, pixels, f / groups)
        if outermost:
            flat = tape.scratch((groups, taps * c, size * ow * n))
            tape(np.matmul, _by_group(kernel, groups), upstream.swapaxes(1, 2), flat)
            columns = reshape(flat, (groups, kh, kw, c, size, ow, n)).transpose(1, 2, 4, 5, 6, 0, 3)
        else:
            # Not a four-dimensional buffer, which would get the memory order of an image.
            flat = reshape(tape.scratch((taps * groups, size * ow * n, c)), (taps, groups, -1, c))
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


def patches(x: Array, geometry: Windows, groups: int = 1) -> Array:
    """Return a view of the numbers that each window reads, (h', w', n, kh, kw, groups, c / groups).

    ``x`` is (h, w, n, c) with its border.
    """
    kh, kw = geometry.kernel
    oh, ow = geometry.out
    n, c = x.shape[2], x.shape[3] // groups
    sh, sw, sn, sc = x.strides
    rows, columns = geometry.rows, geometry.columns
    steps = sh * rows.stride, sw * columns.stride, sn, sh * rows.dilation, sw * columns.dilation, sc * c, sc
    return as_strided(x, (oh, ow, n, kh, kw, groups, c), steps, writeable=False)


def _blocks(row: int, rows: int) -> list[slice]:
    """Return blocks of output rows, given the number of elements ``row`` in the columns of one output row."""
    return evenly(rows, -(-rows // max(1, COLUMN_BLOCK // row)))


def _blocks_of(windows: Array) -> list[slice]:
    """Return blocks of output rows for an array of windows."""
    return _blocks(windows[0].size, len(windows))


def _record_columns(tape: Tape, windows: Array) -> Array:
    """Return the columns (groups, pixels, K) of windows (rows, w', n, kh, kw, groups, c); record a copy if needed."""
    rows, ow, n, kh, kw, groups, c = windows.shape
    outermost = windows.strides[2] < windows.strides[6]
    source = windows.transpose((5, 3, 4, 6, 0, 1, 2) if outermost else (5, 0, 1, 2, 3, 4, 6))
    pixels, k = rows * ow * n, kh * kw * c
    shape = (groups, k, pixels) if outermost else (groups, pixels, k)
    matrix = _view(source, shape)
    if matrix is None:
        matrix = tape.scratch(shape)
        tape(copy, source, reshape(matrix, source.shape))
    return matrix.swapaxes(1, 2) if outermost else matrix


def _view(source: Array, shape: tuple[int, ...]) -> Array | None:
    """Return ``source`` as columns of ``shape`` without a copy, or None if NumPy would have to copy."""
    try:
        return reshape(source, shape)
    except ValueError:
        return None


def _by_group(kernel: Array, groups: int) -> Array:
    """Return a view of the kernel (kh, kw, c, f) as (groups, K, f / groups)."""
    f = kernel.shape[-1]
    return reshape(kernel, (-1, groups, f // groups)).transpose(1, 0, 2)


def _pixels(y: Array, groups: int) -> Array:
    """Return a view of y (rows, w, n, f) as (groups, pixels, f / groups)."""
    f = y.shape[-1]
    return reshape(y, (-1, groups, f // groups)).transpose(1, 0, 2)
