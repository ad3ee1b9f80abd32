"""Choice between the algorithms of a convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

import numpy as np

from .._arrays.elementwise import Array, reshape
from .._arrays.geometry import Borders, Windows
from .._arrays.order import NARROW
from . import depthwise, im2col, phases
from .depthwise import repeated
from .groups import joined_group_count, record_joined_kernel, record_separate_gradient
from .phases import KernelBackward
from .tape import Tape
from .winograd import Tiling, Winograd, row_tilings, tilings

COLUMN = 10  # time to copy a number into a column, in multiplications
CHANNEL = 25  # time to copy a number into a channel that is a phase of an image, in multiplications


@dataclass(frozen=True)
class Choice:
    """Chosen algorithm of a convolution.

    "columns" uses matrix products. "depthwise" convolves each channel separately, if filters read one channel.
    "winograd" requires windows without stride and dilation. "dilated" and "strided" convert other windows to such
    windows, and use Winograd's algorithm.
    """

    algorithm: Literal["columns", "depthwise", "winograd", "dilated", "strided"]
    groups: int  # fewer than in the layer if groups are joined
    tiling: Tiling | None = None  # for "winograd", "dilated" and "strided"
    borders: Borders | None = None  # zeros around the image


def choose(tape: Tape, geometry: Windows, n: int, c: int, f: int, groups: int, direct: bool) -> Choice:
    """Choose the algorithm for n images with c channels and f filters."""
    groups = joined_group_count(groups, c, f, tape.dtype)
    tiling = None if direct else choose_tiling(tape.dtype, geometry, n, c, f, groups, backward=tape.backward)
    if tiling is None:
        algorithm: Literal["columns", "depthwise"] = "depthwise" if groups == c > 1 and n * f >= NARROW else "columns"
        return Choice(algorithm, groups, borders=geometry.borders if geometry.has_border else None)
    if geometry.is_plain:
        return Choice("winograd", groups, tiling, tiling.borders(geometry))
    return Choice("dilated" if geometry.is_dilated else "strided", groups, tiling)


@lru_cache(maxsize=4096)  # a layer is asked for its border, then recorded, for each shard
def choose_tiling(
    dtype: Any, geometry: Windows, n: int, c: int, f: int, groups: int, *, backward: bool = True
) -> Tiling | None:
    """Return the fastest tiling for Winograd's algorithm, or None if direct convolution is faster.

    It can be faster only in single precision, and for arrays with innermost channels. Double precision always uses
    direct convolution. Dilated and strided windows are converted first (see `phases`). In prediction, tilings of the
    rows only are also considered.
    """
    copied = 0 if geometry.kernel == (1, 1) and geometry.is_plain else COLUMN
    direct = n * math.prod((*geometry.out, *geometry.kernel, c)) * (f / groups + copied)
    images, channels = phases.images(geometry, n), phases.channels(geometry, c)
    if dtype != np.float32 or (geometry.is_strided and (geometry.is_dilated or groups > 1)):
        return None
    if min(channels, f) // groups < NARROW:
        return None

    def effort(tiling: Tiling) -> float:
        arranged = 0 if geometry.is_plain else CHANNEL * math.prod((*tiling.read, images, channels))
        return tiling.effort(images, channels, f, groups, backward=backward) + arranged

    inside = phases.plain(geometry)
    best = min(chain(tilings(inside), () if backward else row_tilings(inside)), key=effort, default=None)
    return best if best is not None and effort(best) < direct else None


def record_convolution(
    tape: Tape, x: Array, kernel: Array, geometry: Windows, groups: int, direct: bool
) -> tuple[Array, KernelBackward, bool]:
    """Record a convolution; return y (h', w', n, f), ``backward(dy, dkernel, needs_dx)`` and whether it reads x again.

    ``x`` is (h, w, n, c) and ``kernel`` (kh, kw, c / groups, f).
    """
    choice = choose(tape, geometry, x.shape[2], x.shape[3], kernel.shape[3], groups, direct)
    wide = record_joined_kernel(tape, kernel, groups, choice.groups)
    y = tape.output((*geometry.out, x.shape[2], kernel.shape[3]))
    through = _record_chosen(tape, choice, x, wide, y, geometry)
    reads_x = choice.tiling is None  # Winograd's algorithm keeps transformed tiles instead
    if choice.groups == groups:
        return y, through, reads_x

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        dwide = reshape(tape.scratch((wide.size,)), wide.shape)
        dx = through(dy, dwide, needs_dx)
        record_separate_gradient(tape, dwide, dkernel, groups, choice.groups)
        return dx

    return y, backward, reads_x


def _record_chosen(tape: Tape, choice: Choice, x: Array, kernel: Array, y: Array, geometry: Windows) -> KernelBackward:
    """Record the chosen algorithm.  x (h, w, n, c), kernel (kh, kw, c / choice.groups, f) -> y (h', w', n, f)."""
    tiling, borders, groups = choice.tiling, choice.borders, choice.groups
    if tiling is not None:
        if choice.algorithm == "dilated":
            return phases.record_dilated(tape, tiling, x, kernel, y, geometry, groups)
        if choice.algorithm == "strided":
            return phases.record_strided(tape, tiling, x, kernel, y, geometry)
        assert borders is not None
        winograd = Winograd(tape, tiling, borders, kernel, groups)
        winograd.record_forward(tape, tape.with_border(x, *borders), y)
        return lambda dy, dkernel, needs_dx: winograd.record_backward(tape, dy, dkernel, x if needs_dx else None)

    read = x if borders is None else tape.with_border(x, *borders, keep=True)
    algorithm: Any = im2col
    if choice.algorithm == "depthwise":
        algorithm, read = depthwise, repeated(tape, read, kernel.shape[3])
    algorithm.record_forward(tape, read, kernel, y, geometry)

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        algorithm.record_kernel_gradient(tape, read, dy, dkernel, geometry)
        if not needs_dx:
            return None
        dx = tape.output(x.shape)
        algorithm.record_input_gradient(tape, dy, kernel, dx, geometry)
        return dx

    return backward
