"""Products of matrices, cut where NumPy and BLAS do better with several."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape, sum_first
from .tape import Tape

UNROLLED = 4  # rows of a product that BLAS computes at once
RELEASED = 501  # numbers of a result from which on NumPy lets other threads work meanwhile
PARTS = 64  # more than a product is cut into
MATRIX_PRODUCT = 1 << 18  # multiplications up to which BLAS computes a product on one thread
VECTOR_PRODUCT = 1 << 13  # those of a vector and a matrix


def may_take_threads(m: int, k: int, n: int) -> bool:
    """Whether BLAS may compute the product of (m, k) and (k, n) on several threads, and so to other last bits.

    OpenBLAS does for more than 1 << 18 multiplications, and for a vector from some 9,000.
    """
    return m * k * n > (VECTOR_PRODUCT if min(m, n) == 1 else MATRIX_PRODUCT)


def record_product(tape: Tape, a: Array, b: Array, out: Array) -> None:
    """out <- a @ b, transposed where ``out`` lies in memory with its rows innermost: BLAS writes in C order only."""
    if abs(out.strides[-1]) > abs(out.strides[-2]) and out.shape[-1] > 1:
        tape(np.matmul, b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2))
    else:
        tape(np.matmul, a, b, out)


def record_sum_of_products(tape: Tape, a: Array, b: Array, out: Array) -> None:
    """a (groups, m, k) @ b (groups, k, n) -> out (groups, m, n), as several products if ``out`` is small.

    NumPy lets no other thread work during a product of few numbers, however long that takes.
    """
    groups, _, k = a.shape
    parts = _divisor(k, -(-RELEASED // out.size))
    if parts == 1 or groups > 1:
        record_product(tape, a, b, out)
        return
    _record_sum(tape, a, b[0], out, parts)


def record_rows(tape: Tape, x: Array, matrix: Array, out: Array) -> None:
    """x (rows, k) @ matrix (k, n) -> out (rows, n), for predictions, whose rows may be few.

    BLAS computes four rows at a time, and one to three that are left take longer than four: rows of zeros make them
    four. Where there are no others, each is a vector, with a product of its own.
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
    """x (count, rows, k) @ matrix (k, n) -> out (count, rows, n).

    Small products of vectors are made of so small ones that BLAS computes each on one thread: to hold it to one takes
    as long as the product.
    """
    small = x.shape[1] == 1 and matrix.size <= MATRIX_PRODUCT
    parts = _divisor(x.shape[2], -(-matrix.size // VECTOR_PRODUCT)) if small else 1
    if parts == 1:
        tape(np.matmul, x, matrix, out)
    else:
        _record_sum(tape, x, matrix, out, parts)


def _record_sum(tape: Tape, x: Array, matrix: Array, out: Array, parts: int) -> None:
    """x (count, rows, k) @ matrix (k, n) -> out (count, rows, n): the sum of products of parts of k."""
    flat = tape.scratch((parts, out.size))  # four axes would be those of an image
    products = reshape(flat, (parts, *out.shape))
    left = reshape(x, (*x.shape[:2], parts, -1)).transpose(2, 0, 1, 3)
    tape(np.matmul, left, reshape(matrix, (parts, 1, -1, matrix.shape[1])), products)
    tape(sum_first, products, out)
    tape.release(flat)


def _divisor(size: int, least: int) -> int:
    """The smallest divisor of ``size`` that is at least ``least``; 1 if it is large."""
    return next((parts for parts in range(least, PARTS) if size % parts == 0), 1)
