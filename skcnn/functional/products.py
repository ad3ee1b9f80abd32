"""Products of matrices, cut where NumPy and BLAS do better with several."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import Array, reshape, sum_first
from .geometry import evenly

RELEASED = 501  # numbers of a result from which on NumPy lets other threads work meanwhile
PARTS = 64  # more than a product is cut into
MATRIX_PRODUCT = 1 << 18  # multiplications up to which BLAS computes a product on one thread
VECTOR_PRODUCT = 1 << 13  # those of a vector and a matrix
VECTOR_COST = 4  # they take so much longer, for each one reads a number from memory


def may_take_threads(m: int, k: int, n: int) -> bool:
    """Whether BLAS may compute the product of (m, k) and (k, n) on several threads, and so to other last bits.

    OpenBLAS does for more than 1 << 18 multiplications, and for a vector from some 9,000.
    """
    return m * k * n > (VECTOR_PRODUCT if min(m, n) == 1 else MATRIX_PRODUCT)


def record_product(tape: Any, a: Array, b: Array, out: Array) -> None:
    """out <- a @ b, transposed where ``out`` lies in memory with its rows innermost: BLAS writes in C order only."""
    if abs(out.strides[-1]) > abs(out.strides[-2]) and out.shape[-1] > 1:
        tape(np.matmul, b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2))
    else:
        tape(np.matmul, a, b, out)


def record_sum_of_products(tape: Any, a: Array, b: Array, out: Array) -> None:
    """a (groups, m, k) @ b (groups, k, n) -> out (groups, m, n), as several products if ``out`` is small.

    NumPy lets no other thread work during a product of few numbers, however long that takes.
    """
    groups, m, k = a.shape
    parts = _divisor(k, -(-RELEASED // out.size))
    if parts == 1 or groups > 1:
        record_product(tape, a, b, out)
        return
    products = tape.scratch((parts, out.size))
    by_part = reshape(a[0], (m, parts, -1)).transpose(1, 0, 2), reshape(b[0], (parts, -1, out.shape[2]))
    record_product(tape, *by_part, reshape(products, (parts, *out.shape[1:])))
    tape(sum_first, products, reshape(out, (-1,)))
    tape.release(products)


def record_vector_product(tape: Any, x: Array, matrix: Array, out: Array) -> None:
    """x (1, k) @ matrix (k, n) -> out (1, n), for predictions of one row.

    A small product is made of so small ones that BLAS computes each on one thread: to hold it to one takes as long as
    the product. A large one is made of some that several threads compute.
    """
    k, n = matrix.shape
    if k * n <= MATRIX_PRODUCT:
        lanes, wanted = 1, -(-k * n // VECTOR_PRODUCT)
    else:
        lanes = tape.parts(VECTOR_COST * k * n)
        wanted = lanes * -(-RELEASED // n) if lanes > 1 else 1
    parts = _divisor(k, wanted, lanes)
    if parts == 1:
        tape(np.matmul, x, matrix, out)
        return
    products = tape.scratch((parts, 1, n))
    vectors, matrices = reshape(x, (parts, 1, -1)), reshape(matrix, (parts, -1, n))
    for part in tape.apart(evenly(parts, lanes)):
        tape(np.matmul, vectors[part], matrices[part], products[part])
    tape(sum_first, products, out)
    tape.release(products)


def _divisor(size: int, least: int, factor: int = 1) -> int:
    """The smallest divisor of ``size`` that is at least ``least``, and a multiple of ``factor``; 1 if it is large."""
    found = (parts for parts in range(least, PARTS) if size % parts == 0 and parts % factor == 0)
    return next(found, 1)
