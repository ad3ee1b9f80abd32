"""The choice between the algorithms of a convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import depthwise, dilated, im2col
from .elementwise import Array
from .geometry import Borders, Windows
from .order import NARROW
from .winograd import Tiling, Winograd, best_tiling

GAIN = 3.0  # multiplications per output that Winograd's algorithm has to save, for its transforms eat some of it
PRODUCT_ROWS = 48  # rows of its matrix products below which they are too thin
RUN = 128  # numbers of a pixel of all images, below which the products of its transforms are too short


@dataclass(frozen=True)
class Choice:
    """How a convolution is computed: by Winograd's algorithm with a tiling, or directly without; and its border."""

    tiling: Tiling | None
    borders: Borders | None


def choose(dtype: Any, geometry: Windows, n: int, c: int, f: int, groups: int, direct: bool) -> Choice:
    """How n images with c channels are convolved with f filters."""
    tiling = None if direct else choose_tiling(dtype, geometry, n, c, f, groups)
    if tiling is not None:
        return Choice(tiling, None if geometry.is_dilated else tiling.borders(geometry))
    return Choice(None, geometry.borders if geometry.has_border else None)


def choose_tiling(dtype: Any, geometry: Windows, n: int, c: int, f: int, groups: int) -> Tiling | None:
    """Winograd's tiling where it wins; None for the direct convolution.

    It wins for windows of stride 1 in single precision, on arrays with their channels innermost. In double precision
    every result is that of the direct convolution. Dilated windows are cut into plain ones first (see `dilated`).
    """
    if geometry.is_strided or min(c, f) // groups < NARROW or n * min(c, f) < RUN or dtype != np.float32:
        return None
    if geometry.is_dilated:
        n *= geometry.rows.dilation * geometry.columns.dilation
        geometry = dilated.plain(geometry)
    tiling = best_tiling(geometry, n, PRODUCT_ROWS)
    return None if tiling is None or math.prod(geometry.kernel) - tiling.cost < GAIN else tiling


def record_convolution(
    tape: Any, x: Array, kernel: Array, geometry: Windows, groups: int, direct: bool
) -> tuple[Array, Callable[[Array, Array, bool], Array | None]]:
    """x (h, w, n, c), kernel (kh, kw, c / groups, f) -> y (h', w', n, f), and ``backward(dy, dkernel, needs_dx)``."""
    _, _, n, c = x.shape
    f = kernel.shape[3]
    choice = choose(x.dtype, geometry, n, c, f, groups, direct)
    y = tape.output((*geometry.out, n, f))
    if choice.tiling is not None and geometry.is_dilated:
        return y, dilated.record(tape, choice.tiling, x, kernel, y, geometry, groups)
    if choice.tiling is not None and choice.borders is not None:
        winograd = Winograd(tape, choice.tiling, choice.borders, kernel, groups)
        winograd.record_forward(tape, tape.with_border(x, *choice.borders), y)
        return y, lambda dy, dkernel, needs_dx: winograd.record_backward(tape, dy, dkernel, x if needs_dx else None)

    algorithm = depthwise if groups == c == f > 1 else im2col
    framed = x if choice.borders is None else tape.with_border(x, *choice.borders, keep=True)
    algorithm.record_forward(tape, framed, kernel, y, geometry)

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        algorithm.record_kernel_gradient(tape, framed, dy, dkernel, geometry)
        if not needs_dx:
            return None
        dx = tape.output(x.shape)
        algorithm.record_input_gradient(tape, dy, kernel, dx, geometry)
        return dx

    return y, backward
