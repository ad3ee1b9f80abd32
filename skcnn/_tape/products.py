"""Matrix products, divided into parts where NumPy and BLAS are faster with several."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape, sum_first
from .tape import Tape

UNROLLED = 4  # rows of a product that BLAS computes together
RELEASED = 501  # least numbers in a result for which NumPy releases its lock
PARTS = 64  # upper bound of the number of parts of a product
MATRIX_PRODUCT = 1 << 18  # most multiplications of a product that BLAS always computes on one thread
VECTOR_PRODUCT = 1 << 13  # the same for a product of a vector and a matrix


def may_take_threads(m: int, k: int, n: int) -> bool:
    """Return whether BLAS may compute the product of (m, k) and (k, n) on several threads, with other rounding errors.

    OpenBLAS uses several threads for more than 1 << 18 multiplications, and for vectors from about 9,000.
    """
    return m * k * n > (VECTOR_PRODUCT if min(m, n) == 1 else MATRIX_PRODUCT)


def record_product(tape: Tape, a: Array, b: Array, out: Array) -> None:
    """Record ``out <- a @ b``. If the rows of ``out`` are innermost in memory, the transposed product is recorded.

    BLAS writes only in C order.
    """
    if abs(out.strides[-1]) > abs(out.strides[-2]) and out.shape[-1] > 1:
        tape(np.matmul, b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2))
    else:
        tape(np.matmul, a, b, out)


def record_sum_of_products(tape: Tape, a: Array, b: Array, out: Array) -> None:
    """Record a (groups, m, k) @ b (groups, k, n) -> out (groups, m, n), as several products if ``out`` is small.

    NumPy holds its lock during a product with a small result, even if it takes long, so that other threads wait.
    """
    groups, _, k = a.shape
    parts = _divisor(k, -(-RELEASED // out.size))
    if parts == 1 or groups > 1:
        record_product(tape, a, b, out)
        return
    _record_sum(tape, a, b[0], out, parts)


def record_rows(tape: Tape, x: Array, matrix: Array, out: Array) -> None:
    """Record x (rows, k) @ matrix (k, n) -> out (rows, n), for predictions with any number of rows.

    BLAS computes four rows at a time. One to three remaining rows take longer than four, so zeros are added to make
    four. If there are fewer than four rows in total, each is a separate product of a vector and a matrix.
    """
    rows, k = x.shape
    if matrix.size < VECTOR_PRODUCT:
        tape(np.matmul, x, matrix, out)
    elif rows < UNROLLED:
        _record_in_parts(tape, x[:, None], matrix, out[:, None])
    elif rows % UNROLLED == 0:
        _record_in_parts(tape, x[None], matrix, out[None])
    else:
        filled = rows + -rows % UNROLLED
        full, product = tape.scratch((filled, k)), tape.scratch((filled, out.shape[1]))
        tape(fill, 0, full[rows:])
        tape(copy, x, full[:rows])
        _record_in_parts(tape, full[None], matrix, product[None])
        tape(copy, product[:rows], out)
        tape.release(full)
        tape.release(product)


def _record_in_parts(tape: Tape, x: Array, matrix: Array, out: Array) -> None:
    """Record x (count, rows, k) @ matrix (k, n) -> out (count, rows, n).

    Products of vectors are divided into parts that BLAS computes on one thread. Limiting the threads of BLAS would take
    as long as a small product.
    """
    small = x.shape[1] == 1 and matrix.size <= MATRIX_PRODUCT
    parts = _divisor(x.shape[2], -(-matrix.size // VECTOR_PRODUCT)) if small else 1
    if parts == 1:
        tape(np.matmul, x, matrix, out)
    else:
        _record_sum(tape, x, matrix, out, parts)


def _record_sum(tape: Tape, x: Array, matrix: Array, out: Array, parts: int) -> None:
    """Record x (count, rows, k) @ matrix (k, n) -> out (count, rows, n), as a sum of products over parts of k."""
    flat = tape.scratch((parts, out.size))  # four axes would get the memory order of an image
    products = reshape(flat, (parts, *out.shape))
    left = reshape(x, (*x.shape[:2], parts, -1)).transpose(2, 0, 1, 3)
    tape(np.matmul, left, reshape(matrix, (parts, 1, -1, matrix.shape[1])), products)
    tape(sum_first, products, out)
    tape.release(flat)


def _divisor(size: int, least: int) -> int:
    """Return the smallest divisor of ``size`` that is at least ``least``, or 1 if it would be too large."""
    return next((parts for parts in range(least, PARTS) if size % parts == 0), 1)
