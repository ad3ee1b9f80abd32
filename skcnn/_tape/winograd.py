"""Winograd's convolution: windows of stride 1 with a fraction of the multiplications.

The output is divided into tiles. In one dimension, m outputs of a window of k weights read r = m + k - 1 pixels, and

    y = At [(G g) * (Bt d)],      d: r pixels,  g: k weights,  y: m outputs,

needs r multiplications instead of k m. In two dimensions, the transforms are applied along both axes. Summed over the
channels, the elementwise products of all tiles are matrix products, one for each element of a tile: A. Lavin and
S. Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308. The backward pass is the exact adjoint
of each step.

Each one-dimensional transform is one batched matrix product with a constant, over strided views. Rows of an image
(h, w, n, c) are contiguous runs of w * n * c numbers, and pixels are runs of n * c. Tile rows are processed in blocks,
so that the operands of a block's products stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.geometry import Borders, Pair, Windows, evenly
from .tape import Tape

TILE_BLOCK = 1_300_000  # bytes of the transformed tiles of one block
POINTS = (0, 1, -1, 2, -2, 1 / 2, -1 / 2)  # evaluation points of the polynomials, used from the start
MORE_POINTS = (0, 1 / 2, -1 / 2, 2, -2, 4 / 5, -4 / 5, 5 / 4, -5 / 4)  # used from the end if POINTS are too few
# Window size -> tile sizes m for which float32 keeps four digits (benchmarks/rounding.py).
TILES = {1: (1,), 2: (2, 4, 7, 8), 3: (2, 4, 6, 7, 8), 4: (2, 4, 5, 7), 5: (2, 4, 6), 7: (2, 4)}
# Cost model of a tiling, fitted to measured times. The unit is one multiplication of a direct convolution. There are
# separate values for training (True) and prediction (False), which prepares kernels once and has few images per thread.
PRODUCT = 1.4  # cost of one multiplication
TRANSFORM = 5.0  # cost of one number computed by a transform
SHORT = {True: 100, False: 1000}  # overhead per pixel of a column transform, in numbers to transform
THIN = {True: 18, False: 6}  # overhead of preparing a kernel and starting its product, in rows of the product
LARGE, FAR = 1 << 18, 25  # numbers in transformed kernels that leave the cache between predictions, and THIN for them
CALLS = 400_000  # cost of the additional NumPy calls


@cache
def transforms(m: int, k: int) -> tuple[Array, Array, Array]:
    """Return At (m, r), G (r, k) and Bt (r, r).

    The outputs are coefficients of a product of polynomials. Both are evaluated at r - 1 points and at infinity (G and
    the transpose of At), multiplied there, and interpolated (the transpose of Bt, by Lagrange polynomials).
    A. Toom, 1963; S. Winograd, *Arithmetic complexity of computations*, SIAM 1980. A single output is not faster.
    """
    if m == 1:
        return np.ones((1, k)), np.eye(k), np.eye(k)
    count = m + k - 2
    points = np.array(POINTS[:count] if count <= len(POINTS) else MORE_POINTS[-count:], np.float64)
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
    """Tiles of m outputs that cover ``size`` outputs of a window of k from ``start`` on. Excess outputs are dropped."""

    start: int
    size: int
    k: int
    m: int

    @property
    def r(self) -> int:
        """Number of pixels that a tile reads."""
        return self.m + self.k - 1

    @property
    def count(self) -> int:
        """Number of tiles."""
        return -(-self.size // self.m)

    @property
    def stop(self) -> int:
        """End of the outputs of all tiles."""
        return self.start + self.m * self.count

    @property
    def end(self) -> int:
        """End of the pixels that all tiles read."""
        return self.stop + self.k - 1


Cut = tuple[Tiles, ...]  # tiles of an axis, of one or two sizes


def cut(size: int, k: int, m: int, rest: int | None = None) -> Cut:
    """Divide an axis into tiles of m; with ``rest``, use only whole tiles of m and cover the rest with tiles of it."""
    whole = size if rest is None else size - size % m
    return Tiles(0, whole, k, m), *(() if rest is None else (Tiles(whole, size - whole, k, rest),))


def cuts(size: int, k: int) -> Iterator[Cut]:
    """Yield all ways to divide an axis into tiles."""
    for m in TILES.get(k, ()):
        yield cut(size, k, m)
        if size > m and size % m:
            yield from (cut(size, k, m, rest) for rest in TILES[k] if rest < m)


@dataclass(frozen=True)
class Tiling:
    """Division of an output into tiles: bands of rows, each with strips of columns."""

    rows: Cut
    columns: Cut

    @property
    def size(self) -> Pair:
        """Height and width of the outputs of all tiles."""
        return self.rows[-1].stop, self.columns[-1].stop

    @property
    def read(self) -> Pair:
        """Height and width of the pixels that all tiles read."""
        return self.rows[-1].end, self.columns[-1].end

    def effort(self, n: int, c: int, f: int, groups: int = 1, *, backward: bool = True) -> float:
        """Estimate the cost for n images, c channels and f filters, in multiplications of a direct convolution."""
        (height, width), (rows, columns) = self.size, (sum(t.r * t.count for t in axis) for axis in self._axes)
        kernels = math.prod(sum(tiles.r for tiles in axis) for axis in self._axes) * c * f / groups
        thin = FAR if kernels > LARGE and not backward else THIN[backward]
        products = PRODUCT * rows * columns * n * c * f / groups + kernels * thin
        transformed = 0.0
        if self.rows[0].m > 1:
            transformed += (rows * self.read[1] * c + height * width * f) * n
        if self.columns[0].m > 1:
            transformed += rows * (columns * (c * n + SHORT[backward]) + width * (f * n + SHORT[backward]))
        return products + TRANSFORM * transformed + CALLS

    @property
    def _axes(self) -> tuple[Cut, Cut]:
        return self.rows, self.columns

    def borders(self, geometry: Windows) -> Borders:
        """Return the border of an image, which is the border of its windows plus the excess of the last tiles."""
        rows, columns = geometry.rows, geometry.columns
        below, right = (read - axis.size - axis.before for read, axis in zip(self.read, (rows, columns), strict=True))
        return (rows.before, below), (columns.before, right)

    def blocks(self, band: Tiles, n: int, channels: int) -> list[slice]:
        """Return blocks of tile rows of a band."""
        row = band.r * sum(strip.r * strip.count for strip in self.columns) * n * channels * 4
        height = max(1, TILE_BLOCK // row)
        return evenly(band.count, -(-band.count // height))


def tilings(geometry: Windows) -> Iterator[Tiling]:
    """Yield all ways to divide an output along both axes."""
    return (Tiling(*axes) for axes in product(*map(cuts, geometry.out, geometry.kernel)))


def row_tilings(geometry: Windows) -> Iterator[Tiling]:
    """Yield all ways to divide an output along its rows only."""
    (height, width), (kh, kw) = geometry.out, geometry.kernel
    return (Tiling(rows, cut(width, kw, 1)) for rows in cuts(height, kh))


@dataclass
class _Part:
    """Transformed kernel and its gradient, for all bands and strips with the same tile sizes."""

    u: Array  # (r * r, c / groups, f)
    du: Array | None = None
    scratch: Array | None = None


class Winograd:
    """Recorded convolution of x (h, w, n, c) with a kernel (kh, kw, c / groups, f), forward and backward."""

    def __init__(self, tape: Tape, tiling: Tiling, borders: Borders, kernel: Array, groups: int = 1) -> None:
        self._tiling, self._borders, self._groups = tiling, borders, groups
        self._depth, self._f = kernel.shape[2:]
        self._c = self._depth * groups
        self._transforms = {
            tiles: [matrix.astype(kernel.dtype) for matrix in transforms(tiles.m, tiles.k)]
            for tiles in (*tiling.rows, *tiling.columns)
        }
        self._parts = {(i, j): _Part(self._kernel(tape, i, j, kernel)) for i in tiling.rows for j in tiling.columns}
        self._v: list[tuple[Tiles, slice, list[Array]]] = []  # Bt d B of each block's strips, for the backward pass

    def _kernel(self, tape: Tape, band: Tiles, strip: Tiles, kernel: Array) -> Array:
        """Record the transformed kernel.  kernel (kh, kw, c / groups, f) -> G g Gt (r * r, c / groups, f)."""
        size = self._depth * self._f

        def transform(call: Callable[..., Any], u: Array) -> None:
            # In prediction, the transform runs only once, so the tape does not hold memory for it.
            shape = band.r, strip.k * size
            half = tape.scratch(shape) if tape.training else np.empty(shape, u.dtype)
            call(np.matmul, self._transforms[band][1], reshape(kernel, (band.k, strip.k * size)), half)
            by_column = reshape(half, (band.r, strip.k, size))
            call(np.matmul, self._transforms[strip][1], by_column, reshape(u, (band.r, strip.r, size)))
            tape.release(half)

        shape = band.r * strip.r, self._depth, self._f
        return tape.derived(("winograd", band.m, strip.m), shape, transform)

    def _by_group(self, a: Array) -> Array:
        """Return a view of a (r * r, m, k) as (r * r, groups, m, k / groups), or ``a`` if there is one group."""
        if self._groups == 1:
            return a
        return reshape(a, (*a.shape[:2], self._groups, a.shape[2] // self._groups)).transpose(0, 2, 1, 3)

    def record_forward(self, tape: Tape, x: Array, y: Array) -> None:
        """Record the forward pass.  x with its border -> y (h, w, n, f)."""
        (height, width), (rows, columns), n = self._tiling.size, self._tiling.read, x.shape[2]
        c, f = self._c, self._f
        whole = (height, width) == y.shape[:2]
        target = y if whole else tape.scratch((height, width, n, f))
        by_row = reshape(x, (rows, columns * n * c))
        for band in self._tiling.rows:
            at, _, bt = self._transforms[band]
            windows = _overlapping(by_row[band.start :], band.m, band.r, band.count)  # (tiles, r, columns * n * c)
            for block in self._tiling.blocks(band, n, max(c, f)):
                b = block.stop - block.start
                half = _transformed(tape, bt, windows[block])
                out = target[band.start + block.start * band.m : band.start + block.stop * band.m]
                shape = band.r, b, width, n * f
                joined = reshape(out, shape) if band.r == 1 else tape.scratch(shape)
                by_pixel = reshape(half, (b, band.r, columns, n * c))
                kept = [self._record_strip(tape, band, strip, by_pixel, joined) for strip in self._tiling.columns]
                if tape.backward:
                    self._v.append((band, block, kept))
                if band.r > 1:
                    tape.release(half)
                    by_tile = reshape(joined, (band.r, b, -1)).transpose(1, 0, 2)
                    tape(np.matmul, at, by_tile, reshape(out, (b, band.m, width * n * f)))
                    tape.release(joined)
        if not whole:
            tape(copy, target[: y.shape[0], : y.shape[1]], y)

    def _record_strip(self, tape: Tape, band: Tiles, strip: Tiles, pixels: Array, out: Array) -> Array:
        """Record a strip of a block; return its transformed tiles.

        ``pixels`` (b, r, columns, n * c) and ``out`` (r, b, width, n * f) are transformed along the rows.
        """
        at, _, bt = self._transforms[strip]
        b, nc, nf = pixels.shape[0], pixels.shape[3], out.shape[3]
        windows = _overlapping(pixels[:, :, strip.start :], strip.m, strip.r, strip.count)  # (b, r, tiles, r, n * c)
        if strip.m == 1 and not tape.backward:
            return self._record_columns(tape, band, strip, windows, out)
        v = tape.keep((band.r, strip.r, b, strip.count, nc))
        _record_transform(tape, bt, windows, v.transpose(2, 0, 3, 1, 4))
        v = reshape(v, (band.r * strip.r, -1, self._c))
        products = tape.scratch((len(v), v.shape[1], self._f))
        u = self._parts[band, strip].u
        tape(np.matmul, self._by_group(v), self._by_group(u), self._by_group(products))
        tape.release(v)
        tiles = reshape(products, (band.r, strip.r, b, strip.count, nf)).transpose(0, 2, 3, 1, 4)
        target = out[:, :, strip.start : strip.stop]
        _record_transform(tape, at, tiles, reshape(target, (band.r, b, strip.count, strip.m, nf)))
        tape.release(products)
        return v

    def _record_columns(self, tape: Tape, band: Tiles, strip: Tiles, windows: Array, out: Array) -> Array:
        """Record a strip that is transformed along rows only, with one product for all weights of a row.

        ``windows`` are (b, r, width, k, n * c) and ``out`` (r, b, width, n * f).
        """
        b, r, width, k, _ = windows.shape
        by_group = reshape(windows, (b, r, width, k, -1, self._groups, self._depth)).transpose(1, 0, 2, 4, 5, 3, 6)
        columns = tape.scratch(by_group.shape)
        tape(copy, by_group, columns)
        u = reshape(self._parts[band, strip].u, (r, k * self._depth, self._f))
        pixels, y = reshape(columns, (r, -1, k * self._c)), reshape(out, (r, -1, self._f))
        tape(np.matmul, self._by_group(pixels), self._by_group(u), self._by_group(y))
        tape.release(columns)
        return columns

    def record_backward(self, tape: Tape, dy: Array, dkernel: Array, x: Array | None) -> Array | None:
        """Record the backward pass.  dy (h, w, n, f) -> dkernel (kh, kw, c / groups, f).

        It returns dx if ``x`` (h', w', n, c) is given.
        """
        (height, width), (rows, columns), n = self._tiling.size, self._tiling.read, dy.shape[2]
        c, f = self._c, self._f
        dy = tape.with_border(dy, (0, height - dy.shape[0]), (0, width - dy.shape[1]))
        framed = joined = None
        if x is not None:
            framed = tape.scratch((rows, columns, n, c))
            tape(fill, 0, framed[height:])
        for band, block, kept in reversed(self._v):  # upwards, because a block adds to the rows below it
            at, _, bt = self._transforms[band]
            b, first = block.stop - block.start, band.start + block.start * band.m
            last = first + b * band.m
            half = _transformed(tape, at.T, reshape(dy[first:last], (b, band.m, width * n * f)))
            by_pixel = reshape(half, (b, band.r, width, n * f))
            if framed is not None:
                into = framed[first : last + band.k - 1]
                shape = band.r, b, columns, n * c
                joined = reshape(into, shape) if band.r == 1 else tape.scratch(shape)
                tape(fill, 0, joined[:, :, width:])
            for strip, v in reversed(list(zip(self._tiling.columns, kept, strict=True))):
                self._record_strip_backward(tape, band, strip, by_pixel, v, joined)
            if band.r > 1:
                tape.release(half)
            if joined is not None and band.r > 1:
                by_tile = reshape(joined, (band.r, b, -1)).transpose(1, 0, 2)
                _record_overlaps(tape, band, bt.T, by_tile, reshape(into, (len(into), columns * n * c)))
                tape.release(joined)
        self._record_kernel_gradient(tape, dkernel)
        if framed is None or x is None:
            return None
        (top, _), (left, _) = self._borders
        dx = framed[top : top + len(x), left : left + x.shape[1]]
        return tape(copy, dx, tape.output(x.shape))

    def _record_strip_backward(
        self, tape: Tape, band: Tiles, strip: Tiles, pixels: Array, v: Array, out: Array | None
    ) -> None:
        """Record the gradients of the kernel and of the pixels of a strip.

        ``pixels`` (b, r, width, n * f) are from dy, transformed along the rows.
        """
        at, _, bt = self._transforms[strip]
        b, nf, part = pixels.shape[0], pixels.shape[3], self._parts[band, strip]
        z = tape.scratch((band.r, strip.r, b, strip.count, nf))
        tiles = reshape(pixels[:, :, strip.start : strip.stop], (b, band.r, strip.count, strip.m, nf))
        _record_transform(tape, at.T, tiles, z.transpose(2, 0, 3, 1, 4))
        z = reshape(z, (band.r * strip.r, -1, self._f))
        by_group = self._by_group(v), self._by_group(z)
        if part.du is None:
            part.du = tape.scratch(part.u.shape)
            tape(np.matmul, by_group[0].swapaxes(-1, -2), by_group[1], self._by_group(part.du))
        else:
            part.scratch = tape.scratch(part.u.shape) if part.scratch is None else part.scratch
            tape(np.matmul, by_group[0].swapaxes(-1, -2), by_group[1], self._by_group(part.scratch))
            tape(np.add, part.du, part.scratch, part.du)
        if out is not None:  # the kept tiles have been read, so their memory is reused
            tape(np.matmul, by_group[1], self._by_group(part.u).swapaxes(-1, -2), by_group[0])
            dv = reshape(v, (band.r, strip.r, b, strip.count, out.shape[3])).transpose(0, 2, 3, 1, 4)
            _record_overlaps(tape, strip, bt.T, dv, out[:, :, strip.start : strip.end])
        tape.release(z)

    def _record_kernel_gradient(self, tape: Tape, dkernel: Array) -> None:
        """Record dkernel (kh, kw, c / groups, f), the sum over the gradients of the transformed kernels."""
        size = self._depth * self._f
        target = reshape(dkernel, (*dkernel.shape[:2], size))
        for number, ((band, strip), part) in enumerate(self._parts.items()):
            assert part.du is not None
            half = tape.scratch((band.k, strip.r * size))
            tape(np.matmul, self._transforms[band][1].T, reshape(part.du, (band.r, strip.r * size)), half)
            by_column = reshape(half, (band.k, strip.r, size))
            found = tape.scratch(target.shape) if number else target
            tape(np.matmul, self._transforms[strip][1].T, by_column, found)
            if number:
                tape(np.add, target, found, target)


def _transformed(tape: Tape, transform: Array, x: Array) -> Array:
    """Return the recorded product transform (p, q) @ x (..., q, run), or ``x`` for a window of 1."""
    if transform.shape == (1, 1):
        return x
    return tape(np.matmul, transform, x, tape.scratch((*x.shape[:-2], len(transform), x.shape[-1])))


def _record_transform(tape: Tape, transform: Array, x: Array, out: Array) -> None:
    """Record transform (p, q) @ x (..., q, run) -> out, or a copy for a window of 1."""
    if transform.shape == (1, 1):
        tape(copy, x, out)
    else:
        tape(np.matmul, transform, x, out)


def _record_overlaps(tape: Tape, axis: Tiles, transform: Array, tiles: Array, out: Array) -> None:
    """Record the sum of overlapping transformed tiles.

    ``tiles`` are (..., count, r, run), ``transform`` is (r, r), and ``out`` is (..., m * count + k - 1, run). The first
    m of the r pixels of each tile are written, the others are added to pixels of the next tiles.
    """
    for start in range(0, axis.r, axis.m):
        part = transform[start : start + axis.m]
        target = _overlapping(out[..., start:, :], axis.m, len(part), tiles.shape[-3])
        if start == 0:
            _record_transform(tape, part, tiles, target)
        else:
            beyond = tape(np.matmul, part, tiles, tape.scratch(target.shape))
            tape(np.add, target, beyond, target)
            tape.release(beyond)


def _overlapping(x: Array, step: int, size: int, count: int) -> Array:
    """Return a view of windows over the second-to-last axis.  x (..., pixels, run) -> (..., count, size, run)."""
    *lead, _, run = x.shape
    *strides, pixel, item = x.strides
    return as_strided(x, (*lead, count, size, run), (*strides, step * pixel, pixel, item))
