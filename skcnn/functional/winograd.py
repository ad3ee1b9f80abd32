"""Winograd's convolution: windows of stride 1 with a fraction of the multiplications.

The output is cut into tiles. In one dimension, m outputs of a window of k weights read r = m + k - 1 pixels, and

    y = At [(G g) * (Bt d)],      d: r pixels,  g: k weights,  y: m outputs,

needs r multiplications instead of k m; in two dimensions the transforms are applied along both axes. Summed over the
channels, the elementwise products of all tiles are matrix products, one for each element of a tile. A. Lavin and
S. Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308; the backward pass is the exact adjoint
of each step.

Each one-dimensional transform is one batched matrix product with a constant, over views with strides: rows of an image
(h, w, n, c) are contiguous runs of w * n * c numbers, and pixels are runs of n * c. Tile rows are taken a block at a
time, so that what a block's products read and write stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .elementwise import Array, copy, fill, reshape
from .geometry import Borders, Windows

BLOCK = 1_300_000  # bytes of the transformed tiles of one block
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)  # where polynomials are evaluated; more of them cost more digits
TILES = {1: (1,), 3: (2, 4, 6), 5: (2, 4), 7: (2,)}  # size of a window -> m: float32 keeps five digits with these
LARGE = 6, 1.07  # tiles from this m on have to save so much per axis: fewer of them are shorter products


@cache
def transforms(m: int, k: int) -> tuple[Array, Array, Array]:
    """At (m, r), G (r, k) and Bt (r, r).

    The outputs are coefficients of a product of polynomials: both are evaluated at r - 1 points and at infinity (G and
    the transpose of At), multiplied there, and interpolated (the transpose of Bt, by Lagrange's polynomials).
    A. Toom, 1963; S. Winograd, *Arithmetic complexity of computations*, SIAM 1980.
    """
    points = np.array(POINTS[: m + k - 2], np.float64)
    at, g, bt = np.zeros((m, m + k - 1)), np.zeros((m + k - 1, k)), np.zeros((m + k - 1, m + k - 1))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        at[:, i] = point ** np.arange(m)
        g[i] = point ** np.arange(k) / np.prod(point - others)
        bt[i, :-1] = np.atleast_1d(np.poly(others))[::-1]
    at[-1, -1] = g[-1, -1] = 1
    bt[-1] = np.atleast_1d(np.poly(points))[::-1]
    return at, g, bt


@dataclass(frozen=True)
class Tiles:
    """How an axis of ``size`` outputs of a window of k is cut into tiles of m; what reaches beyond it is cut off."""

    size: int
    k: int
    m: int

    @property
    def r(self) -> int:
        """Pixels that a tile reads."""
        return self.m + self.k - 1

    @property
    def count(self) -> int:
        """Number of tiles."""
        return -(-self.size // self.m)

    @property
    def padded(self) -> int:
        """Outputs of all tiles."""
        return self.m * self.count

    @property
    def read(self) -> int:
        """Pixels that all tiles read."""
        return self.padded + self.k - 1


@dataclass(frozen=True)
class Tiling:
    """How an output is cut into tiles."""

    rows: Tiles
    columns: Tiles

    @property
    def cost(self) -> float:
        """Multiplications per output, channel and filter; k * k in the direct convolution."""
        rows, columns = self.rows, self.columns
        return rows.r * rows.count * columns.r * columns.count / (rows.size * columns.size)

    @property
    def effort(self) -> float:
        """The cost, as tilings are compared by."""
        m, factor = LARGE
        return self.cost * factor ** sum(axis.m >= m for axis in (self.rows, self.columns))

    def borders(self, geometry: Windows) -> Borders:
        """The border that an image needs: that of its windows, and what the last tiles read beyond them."""
        rows, columns = geometry.rows, geometry.columns
        below = self.rows.read - rows.size - rows.before
        right = self.columns.read - columns.size - columns.before
        return (rows.before, below), (columns.before, right)

    def blocks(self, n: int, channels: int) -> list[slice]:
        """Blocks of tile rows."""
        row = self.rows.r * self.columns.r * self.columns.count * n * channels * 4
        height = max(1, BLOCK // row)
        count = -(-self.rows.count // height)
        bounds = np.linspace(0, self.rows.count, count + 1).astype(int).tolist()
        return [slice(a, b) for a, b in pairwise(bounds)]


def best_tiling(geometry: Windows, n: int = 1, product_rows: int = 1) -> Tiling | None:
    """The tiling with the least effort; None for windows that have no tiles.

    The tiles of n images are the rows of matrix products: tilings with fewer than ``product_rows`` are left out.
    """
    (h, w), (kh, kw) = geometry.out, geometry.kernel
    candidates = product(TILES.get(kh, ()), TILES.get(kw, ()))
    tilings = (Tiling(Tiles(h, kh, mh), Tiles(w, kw, mw)) for mh, mw in candidates)
    large = (tiling for tiling in tilings if tiling.rows.count * tiling.columns.count * n >= product_rows)
    return min(large, key=lambda tiling: (tiling.effort, tiling.rows.m * tiling.columns.m), default=None)


class Winograd:
    """The recorded convolution of x (h, w, n, c) with a kernel (kh, kw, c / groups, f), forward and backward."""

    def __init__(self, tape: Any, tiling: Tiling, borders: Borders, kernel: Array, groups: int = 1) -> None:
        self._tiling, self._borders, self._groups = tiling, borders, groups
        self._depth, self._f = kernel.shape[2:]
        self._c = self._depth * groups
        along_rows, along_columns = (transforms(axis.m, axis.k) for axis in (tiling.rows, tiling.columns))
        self._at, self._g, self._bt = (
            (a.astype(kernel.dtype), b.astype(kernel.dtype)) for a, b in zip(along_rows, along_columns, strict=True)
        )
        if tape.training:
            self._u = self._record_kernel(tape, kernel)
        else:
            self._u = tape.constant(("winograd", tiling.rows.m, tiling.columns.m), self._kernel(kernel))
        self._v: list[tuple[slice, Array]] = []  # Bt d B of each block, for the backward pass

    def _record_kernel(self, tape: Any, kernel: Array) -> Array:
        """kernel (kh, kw, c / groups, f) -> G g Gt (r * r, c / groups, f)."""
        rows, columns, size = self._tiling.rows, self._tiling.columns, self._depth * self._f
        u = tape.keep((rows.r * columns.r, self._depth, self._f))
        half = tape.scratch((rows.r, columns.k * size))
        tape(np.matmul, self._g[0], reshape(kernel, (rows.k, columns.k * size)), half)
        tape(np.matmul, self._g[1], reshape(half, (rows.r, columns.k, size)), reshape(u, (rows.r, columns.r, size)))
        tape.release(half)
        return u

    def _kernel(self, kernel: Array) -> Callable[[], Array]:
        """As `_record_kernel`, at once."""
        return lambda: np.einsum("ri,sj,ijcf->rscf", *self._g, kernel).reshape(-1, self._depth, self._f)

    def _by_group(self, a: Array) -> Array:
        """a (r * r, m, k) -> (r * r, groups, m, k / groups), a view; a itself where there is one group."""
        if self._groups == 1:
            return a
        return reshape(a, (*a.shape[:2], self._groups, a.shape[2] // self._groups)).transpose(0, 2, 1, 3)

    def record_forward(self, tape: Any, x: Array, y: Array) -> None:
        """x with its border -> y (h, w, n, f)."""
        rows, columns, (c, f), n = self._tiling.rows, self._tiling.columns, (self._c, self._f), x.shape[2]
        whole = (rows.padded, columns.padded) == (rows.size, columns.size)
        target = y if whole else tape.scratch((rows.padded, columns.padded, n, f))
        by_row = reshape(x, (rows.read, columns.read * n * c))
        windows = _windows(by_row, rows.m, rows.r, rows.count)  # (tiles, r, width * n * c)
        for block in self._tiling.blocks(n, max(c, f)):
            b = block.stop - block.start
            half = _transformed(tape, self._bt[0], windows[block])
            by_pixel = reshape(half, (b, rows.r, columns.read, n * c))
            pixels = _windows(by_pixel, columns.m, columns.r, columns.count)  # (b, r, tiles, r, n * c)
            v = tape.keep((rows.r, columns.r, b, columns.count, n * c))
            tape(np.matmul, self._bt[1], pixels, v.transpose(2, 0, 3, 1, 4))
            if rows.r > 1:
                tape.release(half)
            v = reshape(v, (rows.r * columns.r, -1, c))
            if tape.backward:
                self._v.append((block, v))
            products = tape.scratch((len(v), v.shape[1], f))
            tape(np.matmul, self._by_group(v), self._by_group(self._u), self._by_group(products))
            tape.release(v)
            out = target[block.start * rows.m : block.stop * rows.m]
            shape = rows.r, b, columns.count, columns.m, n * f
            half = reshape(out, shape) if rows.r == 1 else tape.scratch(shape)
            by_pixel = reshape(products, (rows.r, columns.r, b, columns.count, n * f)).transpose(0, 2, 3, 1, 4)
            tape(np.matmul, self._at[1], by_pixel, half)
            if rows.r > 1:
                by_row = reshape(half, (rows.r, b, -1)).transpose(1, 0, 2)
                tape(np.matmul, self._at[0], by_row, reshape(out, (b, rows.m, columns.padded * n * f)))
                tape.release(half)
            tape.release(products)
        if not whole:
            tape(copy, target[: rows.size, : columns.size], y)

    def record_backward(self, tape: Any, dy: Array, dkernel: Array, x: Array | None) -> Array | None:
        """dy (h, w, n, f) -> dkernel (kh, kw, c / groups, f), and dx, if ``x`` (h', w', n, c) is given."""
        rows, columns, (c, f), n = self._tiling.rows, self._tiling.columns, (self._c, self._f), dy.shape[2]
        beyond = rows.padded - rows.size, columns.padded - columns.size
        if any(beyond):
            dy = tape.with_border(dy, (0, beyond[0]), (0, beyond[1]))
        du, part = tape.scratch(self._u.shape), None
        framed = None
        if x is not None:
            framed = (tape.output if tape.gaps else tape.scratch)((rows.read, columns.read, n, c))
            tape(fill, 0, framed[rows.padded :])
        for block, v in reversed(self._v):  # what a block adds to the rows below it is then there
            b = block.stop - block.start
            upstream = reshape(dy[block.start * rows.m : block.stop * rows.m], (b, rows.m, columns.padded * n * f))
            half = _transformed(tape, self._at[0].T, upstream)
            z = tape.scratch((rows.r, columns.r, b, columns.count, n * f))
            pixels = reshape(half, (b, rows.r, columns.count, columns.m, n * f))
            tape(np.matmul, self._at[1].T, pixels, z.transpose(2, 0, 3, 1, 4))
            if rows.r > 1:
                tape.release(half)
            z = reshape(z, (rows.r * columns.r, -1, f))
            by_group = self._by_group(v), self._by_group(z)
            if block.stop == rows.count:
                tape(np.matmul, by_group[0].swapaxes(-1, -2), by_group[1], self._by_group(du))
            else:
                part = tape.scratch(du.shape) if part is None else part
                tape(np.matmul, by_group[0].swapaxes(-1, -2), by_group[1], self._by_group(part))
                tape(np.add, du, part, du)
            if framed is not None:  # what was kept has been read
                tape(np.matmul, by_group[1], self._by_group(self._u).swapaxes(-1, -2), by_group[0])
                tiles = reshape(v, (rows.r, columns.r, b, columns.count, n * c))
                self._record_input_gradient(
                    tape, tiles, framed[block.start * rows.m : block.stop * rows.m + rows.k - 1]
                )
            tape.release(z)
        size = self._depth * f
        half = tape.scratch((rows.k, columns.r * size))
        tape(np.matmul, self._g[0].T, reshape(du, (rows.r, columns.r * size)), half)
        by_column = reshape(half, (rows.k, columns.r, size))
        tape(np.matmul, self._g[1].T, by_column, reshape(dkernel, (rows.k, columns.k, size)))
        if framed is None or x is None:
            return None
        (top, _), (left, _) = self._borders
        dx = framed[top : top + len(x), left : left + x.shape[1]]
        return dx if tape.gaps else tape(copy, dx, tape.output(x.shape))

    def _record_input_gradient(self, tape: Any, dv: Array, framed: Array) -> None:
        """dv (r, r, b, tiles, n * c) -> B dv Bt, added up in the rows of the image that b rows of tiles read."""
        rows, columns = self._tiling.rows, self._tiling.columns
        b, run = dv.shape[2], dv.shape[4]
        shape = rows.r, b, columns.read, run
        half = reshape(framed, shape) if rows.r == 1 else tape.scratch(shape)
        tape(fill, 0, half[:, :, columns.padded :])
        _record_overlaps(tape, columns, self._bt[1].T, dv.transpose(0, 2, 3, 1, 4), half)
        if rows.r > 1:
            by_row = reshape(half, (rows.r, b, columns.read * run)).transpose(1, 0, 2)
            _record_overlaps(tape, rows, self._bt[0].T, by_row, reshape(framed, (len(framed), columns.read * run)))
            tape.release(half)


def _transformed(tape: Any, transform: Array, x: Array) -> Array:
    """transform (p, q) @ x (..., q, run), or x itself where a window of 1 has nothing to transform."""
    if transform.shape == (1, 1):
        return x
    return tape(np.matmul, transform, x, tape.scratch((*x.shape[:-2], len(transform), x.shape[-1])))


def _record_overlaps(tape: Any, axis: Tiles, transform: Array, tiles: Array, out: Array) -> None:
    """tiles (..., count, r, run) -> out (..., m * count + k - 1, run), transformed by ``transform`` (r, r).

    The first m of the r pixels of each tile are written, those beyond are added to what is there.
    """
    for start in range(0, axis.r, axis.m):
        part = transform[start : start + axis.m]
        target = _windows(out[..., start:, :], axis.m, len(part), tiles.shape[-3])
        if start == 0:
            tape(np.matmul, part, tiles, target)
        else:
            beyond = tape(np.matmul, part, tiles, tape.scratch(target.shape))
            tape(np.add, target, beyond, target)
            tape.release(beyond)


def _windows(x: Array, step: int, size: int, count: int) -> Array:
    """x (..., pixels, run) -> (..., count, size, run): windows of the last axis but one, a view."""
    *lead, _, run = x.shape
    *strides, pixel, item = x.strides
    return as_strided(x, (*lead, count, size, run), (*strides, step * pixel, pixel, item))
