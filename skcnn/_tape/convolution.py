"""The choice between the algorithms of a convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, reshape
from .._arrays.geometry import Borders, Windows
from .._arrays.order import NARROW
from . import depthwise, im2col, phases
from .groups import joined, record_separated, wider
from .phases import Backward
from .winograd import Tiling, Winograd, bands, tilings

# Multiplications that take as long as
COLUMN = 10  # to copy a number into a column,
CHANNEL = 25  # or into a channel that is a phase of an image,
PHASE = 15  # or into an image of its own,
SUM = 10  # and to add a number to what another phase gave.


@dataclass(frozen=True)
class Choice:
    """How a convolution is computed.

    ``apart``: each phase of strided windows by itself, as it is chosen for that. Else with a ``tiling``: by Winograd's
    algorithm, over the phases of the image where windows are dilated or strided. Else directly: channel by channel
    where each has its own filters, by columns otherwise.
    """

    tiling: Tiling | None
    borders: Borders | None
    groups: int  # fewer than it has, where several are computed as one
    apart: bool = False  # whether the phases of strided windows are convolutions of their own


def choose(tape: Any, geometry: Windows, n: int, c: int, f: int, groups: int, direct: bool) -> Choice:
    """How n images with c channels are convolved with f filters."""
    groups = wider(groups, c, f, tape.dtype)
    sizes = geometry, n, c, f, groups
    if not direct and is_taken_apart(tape.dtype, *sizes, backward=tape.backward):
        return Choice(None, None, groups, apart=True)
    tiling = None if direct else choose_tiling(tape.dtype, *sizes, backward=tape.backward)
    if tiling is not None:
        return Choice(tiling, tiling.borders(geometry) if geometry.is_plain else None, groups)
    return Choice(None, geometry.borders if geometry.has_border else None, groups)


def choose_tiling(
    dtype: Any, geometry: Windows, n: int, c: int, f: int, groups: int, *, backward: bool = True
) -> Tiling | None:
    """Winograd's tiling where it wins; None for the direct convolution.

    It wins in single precision, on arrays with their channels innermost. In double precision every result is that of
    the direct convolution. Dilated and strided windows are made plain ones first (see `phases`). When images are only
    predicted, the rows alone may be cut into tiles.
    """
    return _least_effort(dtype, geometry, n, c, f, groups, backward)[1]


def is_taken_apart(
    dtype: Any, geometry: Windows, n: int, c: int, f: int, groups: int, *, backward: bool = True
) -> bool:
    """Whether a plain convolution of each phase is faster than strided windows: most often those of 3 x 3."""
    if dtype != np.float32 or not geometry.is_strided or geometry.is_dilated or groups > 1 or min(c, f) < NARROW:
        return False
    inside = [windows for _, windows in phases.windows_of(geometry)]
    copied = PHASE * c * sum(windows.rows.size * windows.columns.size for windows in inside)
    summed = SUM * f * math.prod(geometry.out) * (len(inside) - 1)
    apart = sum(_least_effort(dtype, windows, n, c, f, groups, backward)[0] for windows in inside)
    return apart + n * (copied + summed) < _least_effort(dtype, geometry, n, c, f, groups, backward)[0]


def _least_effort(
    dtype: Any, geometry: Windows, n: int, c: int, f: int, groups: int, backward: bool
) -> tuple[float, Tiling | None]:
    """How long the fastest way takes, in multiplications of the direct convolution, and its tiling, if it has one."""
    copied = 0 if geometry.kernel == (1, 1) and geometry.is_plain else COLUMN
    direct = n * math.prod((*geometry.out, *geometry.kernel, c)) * (f / groups + copied)
    images, channels = phases.images(geometry, n), phases.channels(geometry, c)
    if dtype != np.float32 or (geometry.is_strided and (geometry.is_dilated or groups > 1)):
        return direct, None
    if min(channels, f) // groups < NARROW:
        return direct, None

    def effort(tiling: Tiling) -> float:
        apart = 0 if geometry.is_plain else CHANNEL * math.prod((*tiling.read, images, channels))
        return tiling.effort(images, channels, f, groups, backward=backward) + apart

    inside = phases.plain(geometry)
    best = min(chain(tilings(inside), () if backward else bands(inside)), key=effort, default=None)
    least = direct if best is None else effort(best)
    return (least, best) if least < direct else (direct, None)


def record_convolution(
    tape: Any, x: Array, kernel: Array, geometry: Windows, groups: int, direct: bool
) -> tuple[Array, Backward]:
    """x (h, w, n, c), kernel (kh, kw, c / groups, f) -> y (h', w', n, f), and ``backward(dy, dkernel, needs_dx)``."""
    choice = choose(tape, geometry, x.shape[2], x.shape[3], kernel.shape[3], groups, direct)
    wide = joined(tape, kernel, groups, choice.groups)
    y = tape.output((*geometry.out, x.shape[2], kernel.shape[3]))
    through = _record_chosen(tape, choice, x, wide, y, geometry)
    if choice.groups == groups:
        return y, through

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        dwide = reshape(tape.scratch((wide.size,)), wide.shape)
        dx = through(dy, dwide, needs_dx)
        record_separated(tape, dwide, dkernel, groups, choice.groups)
        return dx

    return y, backward


def _record_chosen(
    tape: Any, choice: Choice, x: Array, kernel: Array, y: Array, geometry: Windows, number: int = 0
) -> Backward:
    """x (h, w, n, c), kernel (kh, kw, c / choice.groups, f) -> y (h', w', n, f), as it was chosen."""
    _, _, n, c = x.shape
    f, groups = kernel.shape[3], choice.groups
    if choice.apart:

        def record(x: Array, kernel: Array, y: Array, windows: Windows, number: int) -> Backward:
            return _record_chosen(tape, choose(tape, windows, n, c, f, 1, False), x, kernel, y, windows, number)

        return phases.record_apart(tape, x, kernel, y, geometry, record)
    if choice.tiling is not None and geometry.is_dilated:
        return phases.record_dilated(tape, choice.tiling, x, kernel, y, geometry, groups)
    if choice.tiling is not None and geometry.is_strided:
        return phases.record_strided(tape, choice.tiling, x, kernel, y, geometry)
    if choice.tiling is not None and choice.borders is not None:
        winograd = Winograd(tape, choice.tiling, choice.borders, kernel, groups, number)
        winograd.record_forward(tape, tape.with_border(x, *choice.borders), y)
        return lambda dy, dkernel, needs_dx: winograd.record_backward(tape, dy, dkernel, x if needs_dx else None)

    algorithm = depthwise if groups == c > 1 and n * f >= NARROW else im2col
    framed = x if choice.borders is None else tape.with_border(x, *choice.borders, keep=True)
    kept = algorithm.record_forward(tape, framed, kernel, y, geometry)

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        algorithm.record_kernel_gradient(tape, framed, dy, dkernel, geometry, kept)
        if not needs_dx:
            return None
        dx = tape.output(x.shape)
        algorithm.record_input_gradient(tape, dy, kernel, dx, geometry)
        return dx

    return backward
