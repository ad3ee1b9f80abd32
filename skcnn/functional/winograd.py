"""Winograd's convolution: 3 x 3 windows of stride 1 with a quarter, or a half, of the multiplications.

The output is cut into tiles of m x m, each of which reads r x r = (m + 2) x (m + 2) pixels. In one dimension,

    y = At [(G g) * (Bt d)],      d: r pixels,  g: 3 weights,  y: m outputs,

needs r multiplications instead of 3 m; in two dimensions the transforms are applied along both axes. Summed over the
channels, the r * r elementwise products of all tiles are r * r matrix products. A. Lavin and S. Gray, "Fast algorithms
for convolutional neural networks", arXiv:1509.09308; the backward pass is the exact adjoint of each step.

Each one-dimensional transform is one batched matrix product with a constant, over views with strides: rows of an image
(h, w, n, c) are contiguous runs of w * n * c numbers, and pixels are runs of n * c. Tile rows are taken a block at a
time, so that what a block's products read and write stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .elementwise import Array, copy, reshape
from .geometry import Borders, Windows

BLOCK = 1_300_000  # bytes of the transformed tiles of one block

# m -> (At (m, r), G (r, 3), Bt (r, r)), with the points 0, 1, -1 (, 2, -2) and infinity
TRANSFORMS: dict[int, tuple[list[list[float]], list[list[float]], list[list[float]]]] = {
    2: (
        [[1, 1, 1, 0], [0, 1, -1, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    ),
    4: (
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
    ),
}


@dataclass(frozen=True)
class Tiling:
    """How an output of (h, w) is cut into tiles of m x m; what reaches beyond it is cut off."""

    m: int
    h: int
    w: int

    @property
    def r(self) -> int:
        """Side of an input tile."""
        return self.m + 2

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.h // self.m)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return -(-self.w // self.m)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of all tiles."""
        return self.m * self.rows, self.m * self.columns

    @property
    def cost(self) -> float:
        """Multiplications per output, channel and filter; 9 in the direct convolution."""
        return self.r**2 * self.rows * self.columns / (self.h * self.w)

    def borders(self, geometry: Windows) -> Borders:
        """The border that an image needs: that of its windows, and what the last tiles read beyond them."""
        rows, columns = geometry.rows, geometry.columns
        height, width = self.padded
        return (rows.before, height + 2 - rows.size - rows.before), (
            columns.before,
            width + 2 - columns.size - columns.before,
        )

    def blocks(self, n: int, channels: int) -> list[slice]:
        """Blocks of tile rows."""
        row = self.r**2 * self.columns * n * channels * 4
        height = max(1, BLOCK // row)
        count = -(-self.rows // height)
        bounds = np.linspace(0, self.rows, count + 1).astype(int).tolist()
        return [slice(a, b) for a, b in pairwise(bounds)]


def best_tiling(h: int, w: int) -> Tiling:
    """The tiling of an output of (h, w) with the fewest multiplications."""
    return min((Tiling(m, h, w) for m in TRANSFORMS), key=lambda tiling: (tiling.cost, tiling.m))


class Winograd:
    """The recorded convolution of x (h, w, n, c) with a kernel (3, 3, c, f), forward and backward."""

    def __init__(self, tape: Any, tiling: Tiling, borders: Borders, kernel: Array) -> None:
        self._tiling, self._borders = tiling, borders
        self._c, self._f = kernel.shape[2:]
        self._at, self._g, self._bt = (np.array(matrix, kernel.dtype) for matrix in TRANSFORMS[tiling.m])
        self._u = self._record_kernel(tape, kernel) if tape.training else tape.constant(tiling.m, self._kernel(kernel))
        self._v: list[tuple[slice, Array]] = []  # Bt d B of each block, for the backward pass

    def _record_kernel(self, tape: Any, kernel: Array) -> Array:
        """kernel (3, 3, c, f) -> G g Gt (r * r, c, f)."""
        r, size = self._tiling.r, self._c * self._f
        u = tape.keep((r * r, self._c, self._f))
        half = tape(np.matmul, self._g, reshape(kernel, (3, 3 * size)), tape.scratch((r, 3 * size)))
        tape(np.matmul, self._g, reshape(half, (r, 3, size)), reshape(u, (r, r, size)))
        tape.release(half)
        return u

    def _kernel(self, kernel: Array) -> Callable[[], Array]:
        """As `_record_kernel`, at once."""
        return lambda: np.einsum("ri,sj,ijcf->rscf", self._g, self._g, kernel).reshape(-1, self._c, self._f)

    def record_forward(self, tape: Any, x: Array, y: Array) -> None:
        """x (rows * m + 2, columns * m + 2, n, c) with its border -> y (h, w, n, f)."""
        t, (c, f), n = self._tiling, (self._c, self._f), x.shape[2]
        r, m, width = t.r, t.m, x.shape[1]
        whole = t.padded == (t.h, t.w)
        target = y if whole else tape.scratch((*t.padded, n, f))
        windows = _windows(reshape(x, (len(x), width * n * c)), m, r)  # (rows, r, width * n * c)
        for block in t.blocks(n, max(c, f)):
            b = block.stop - block.start
            half = tape.scratch((b, r, width * n * c))
            tape(np.matmul, self._bt, windows[block], half)
            v = tape.keep((r, r, b, t.columns, n * c))
            pixels = _windows(reshape(half, (b, r, width, n * c)), m, r)  # (b, r, columns, r, n * c)
            tape(np.matmul, self._bt, pixels, v.transpose(2, 0, 3, 1, 4))
            tape.release(half)
            v = reshape(v, (r * r, -1, c))
            if tape.training:
                self._v.append((block, v))
            products = tape.scratch((r * r, v.shape[1], f))
            tape(np.matmul, v, self._u, products)
            tape.release(v)
            half = tape.scratch((r, b, t.columns, m, n * f))
            by_pixel = reshape(products, (r, r, b, t.columns, n * f)).transpose(0, 2, 3, 1, 4)
            tape(np.matmul, self._at, by_pixel, half)
            out = reshape(target[block.start * m : block.stop * m], (b, m, t.columns * m * n * f))
            tape(np.matmul, self._at, reshape(half, (r, b, -1)).transpose(1, 0, 2), out)
            tape.release(half)
            tape.release(products)
        if not whole:
            tape(copy, target[: t.h, : t.w], y)

    def record_backward(self, tape: Any, dy: Array, dkernel: Array, x: Array | None) -> Array | None:
        """dy (h, w, n, f) -> dkernel (3, 3, c, f), and dx, if ``x`` (h', w', n, c) is given."""
        t, (c, f), n = self._tiling, (self._c, self._f), dy.shape[2]
        r, m, (height, width) = t.r, t.m, t.padded
        if (height, width) != (t.h, t.w):
            dy = tape.with_border(dy, (0, height - t.h), (0, width - t.w))
        du, part = tape.scratch(self._u.shape), None
        buffer = tape.output if tape.gaps else tape.scratch
        framed = None if x is None else buffer((height + 2, width + 2, n, c))
        for block, v in reversed(self._v):  # the rows below a block are there when its tiles are added to them
            b = block.stop - block.start
            half = tape.scratch((b, r, width * n * f))
            rows = reshape(dy[block.start * m : block.stop * m], (b, m, width * n * f))
            tape(np.matmul, self._at.T, rows, half)
            z = tape.scratch((r, r, b, t.columns, n * f))
            pixels = reshape(half, (b, r, t.columns, m, n * f))
            tape(np.matmul, self._at.T, pixels, z.transpose(2, 0, 3, 1, 4))
            tape.release(half)
            z = reshape(z, (r * r, -1, f))
            if block.stop == t.rows:
                tape(np.matmul, v.swapaxes(1, 2), z, du)
            else:
                part = tape.scratch(du.shape) if part is None else part
                tape(np.matmul, v.swapaxes(1, 2), z, part)
                tape(np.add, du, part, du)
            if framed is not None:
                tape(np.matmul, z, self._u.swapaxes(1, 2), v)  # what was kept has been read
                self._record_overlaps(tape, reshape(v, (r, r, b, t.columns, n * c)), framed, block)
            tape.release(z)
        half = tape.scratch((3, r * c * f))
        tape(np.matmul, self._g.T, reshape(du, (r, r * c * f)), half)
        tape(np.matmul, self._g.T, reshape(half, (3, r, c * f)), reshape(dkernel, (3, 3, c * f)))
        if framed is None or x is None:
            return None
        (top, _), (left, _) = self._borders
        dx = framed[top : top + len(x), left : left + x.shape[1]]
        return dx if tape.gaps else tape(copy, dx, tape.output(x.shape))

    def _record_overlaps(self, tape: Any, dv: Array, framed: Array, block: slice) -> None:
        """Add B dv Bt to the image: tiles of m x m are written, their 2 further rows and columns added."""
        m, r, (b, columns, run) = self._tiling.m, self._tiling.r, dv.shape[2:]
        inner, beyond = self._bt.T[:m], self._bt.T[m:]
        pixels = dv.transpose(0, 2, 3, 1, 4)  # (r, b, columns, r, run)
        half = tape.scratch((r, b, columns * m + 2, run))
        main = reshape(half[:, :, : columns * m], (r, b, columns, m, run))
        tape(np.matmul, inner, pixels, main)
        over = tape.scratch((r, b, columns, 2, run))
        tape(np.matmul, beyond, pixels, over)
        tape(copy, over[:, :, -1], half[:, :, columns * m :])
        if columns > 1:
            tape(np.add, main[:, :, 1:, :2], over[:, :, :-1], main[:, :, 1:, :2])
        tape.release(over)

        rows = reshape(half, (r, b, -1)).transpose(1, 0, 2)  # (b, r, width * run)
        first, last = block.start * m, block.stop * m
        main = reshape(framed[first:last], (b, m, -1))
        tape(np.matmul, inner, rows, main)
        over = tape.scratch((b, 2, main.shape[2]))
        tape(np.matmul, beyond, rows, over)
        if b > 1:
            tape(np.add, main[1:, :2], over[:-1], main[1:, :2])
        below = reshape(framed[last : last + 2], (2, -1))
        if block.stop == self._tiling.rows:
            tape(copy, over[-1], below)
        else:
            tape(np.add, below, over[-1], below)
        tape.release(over)
        tape.release(half)


def _windows(x: Array, m: int, r: int) -> Array:
    """x (..., m * k + 2, run) -> (..., k, r, run): overlapping windows of the last axis but one, a view."""
    *lead, size, run = x.shape
    *strides, step, item = x.strides
    return as_strided(x, (*lead, (size - 2) // m, r, run), (*strides, m * step, step, item), writeable=False)
