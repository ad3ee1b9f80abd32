"""The choice between the algorithms of a convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import depthwise, im2col
from .elementwise import Array
from .geometry import Windows
from .order import channels_outermost
from .winograd import Tiling, Winograd, best_tiling

GAIN = 6.0  # multiplications per output at which Winograd's transforms have eaten what it saves: 9 is no saving
PRODUCT_ROWS = 48  # rows of its matrix products below which they are too thin


def choose_tiling(geometry: Windows, x: Array, kernel: Array, groups: int) -> Tiling | None:
    """Winograd's tiling where it wins; None for the direct convolution.

    It wins for 3 x 3 windows of stride 1 in single precision, on arrays with their channels innermost. In double
    precision every result is that of the direct convolution.
    """
    plain = all((a.kernel, a.stride, a.dilation) == (3, 1, 1) for a in (geometry.rows, geometry.columns))
    outermost = channels_outermost(x) or kernel.shape[3] < 16
    if not plain or groups > 1 or outermost or x.dtype != np.float32:
        return None
    tiling = best_tiling(*geometry.out)
    rows = tiling.rows * tiling.columns * x.shape[2]
    return tiling if tiling.cost <= GAIN and rows >= PRODUCT_ROWS else None


def record_convolution(
    tape: Any, x: Array, kernel: Array, geometry: Windows, groups: int, *, direct: bool
) -> tuple[Array, Callable[[Array, Array, Array | None], None]]:
    """x (h, w, n, c), kernel (kh, kw, c / groups, f) -> y (h', w', n, f), and ``backward(dy, dkernel, dx or None)``."""
    h, w, n, c = x.shape
    y = tape.output((*geometry.out, n, kernel.shape[3]))
    tiling = None if direct else choose_tiling(geometry, x, kernel, groups)
    if tiling is not None:
        before = geometry.rows.before, geometry.columns.before
        winograd = Winograd(tape, tiling, kernel)
        winograd.record_forward(tape, tape.with_border(x, *winograd.border(before, h, w)), y)
        return y, lambda dy, dkernel, dx: winograd.record_backward(tape, dy, dkernel, dx, before)

    algorithm = depthwise if groups == c == kernel.shape[3] > 1 else im2col
    framed = tape.with_border(x, *geometry.borders, keep=True) if geometry.has_border else x
    algorithm.record_forward(tape, framed, kernel, y, geometry)

    def backward(dy: Array, dkernel: Array, dx: Array | None) -> None:
        algorithm.record_kernel_gradient(tape, framed, dy, dkernel, geometry)
        if dx is not None:
            algorithm.record_input_gradient(tape, dy, kernel, dx, geometry)

    return y, backward
