"""Dilated and strided convolutions as plain ones.

An image is taken apart into its phases: the images of every d-th row and column, one for each place to begin. Of a row
with d = 2,

    pixels    0 1 2 3 4 5 6    ->    phases    0 2 4 6    1 3 5

In two ways that makes plain convolutions of others:

- `record_dilated`: a window with a dilation of 2 reads 0 2 4, then 1 3 5, then 2 4 6: pixels of one phase only, and
  neighbours there. The phases lie side by side in one batch, and so do those of the output.
- `record_strided`: a window of 3 that moves by 2 reads 0 1 2, then 2 3 4: from every phase, and it moves by one pixel
  there. The phases are channels of one image, and the window is one of 2, with a zero where it reads too many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from .._arrays.elementwise import Array, copy, fill
from .._arrays.geometry import Axis, Pair, Windows
from .._arrays.order import NARROW
from .tape import Tape
from .winograd import Tiling, Winograd

Place = tuple[slice, slice]
KernelBackward = Callable[[Array, Array, bool], Array | None]  # (dy, dkernel, needs_dx) -> dx


def plain(geometry: Windows) -> Windows:
    """The windows over an image that was taken apart."""
    axes = geometry.rows, geometry.columns
    return Windows(*(_plain(-(-axis.out // axis.dilation), -(-axis.kernel // axis.stride)) for axis in axes))


def _plain(out: int, kernel: int) -> Axis:
    return Axis(out + kernel - 1, kernel, 1, 1, 0, 0)


def steps(geometry: Windows) -> Pair:
    """Rows and columns from a pixel to the next one of the same phase."""
    rows, columns = geometry.rows, geometry.columns
    return rows.dilation * rows.stride, columns.dilation * columns.stride


def images(geometry: Windows, n: int) -> int:
    """Number of images that the phases of n images make."""
    return n if geometry.is_strided else n * math.prod(steps(geometry))


def channels(geometry: Windows, c: int) -> int:
    """Number of channels of the phases of an image with c channels; zeros fill up to the order in memory of many."""
    return max(NARROW, c * math.prod(steps(geometry))) if geometry.is_strided else c


def record_dilated(
    tape: Tape, tiling: Tiling, x: Array, kernel: Array, y: Array, geometry: Windows, groups: int
) -> KernelBackward:
    """x (h, w, n, c), kernel (kh, kw, c / groups, f) -> y (h', w', n, f); gives ``backward(dy, dkernel, needs_dx)``."""
    inside = plain(geometry)
    size = inside.rows.size, inside.columns.size
    winograd = Winograd(tape, tiling, tiling.borders(inside), kernel, groups)
    parts = _record_split(tape, x, geometry, tiling.read, has_border=True)
    together = tape.scratch((*inside.out, parts.shape[2], y.shape[3]))
    winograd.record_forward(tape, parts, together)
    tape.release(parts)
    _record_merged(tape, together, y, geometry, has_border=False)
    tape.release(together)

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        upstream = _record_split(tape, dy, geometry, inside.out, has_border=False)
        parts_dx = winograd.record_backward(tape, upstream, dkernel, parts[: size[0], : size[1]] if needs_dx else None)
        tape.release(upstream)
        if parts_dx is None:
            return None
        dx = tape.output(x.shape)
        _record_merged(tape, parts_dx, dx, geometry, has_border=True)
        return dx

    return backward


def record_strided(tape: Tape, tiling: Tiling, x: Array, kernel: Array, y: Array, geometry: Windows) -> KernelBackward:
    """x (h, w, n, c), kernel (kh, kw, c, f) -> y (h', w', n, f); gives ``backward(dy, dkernel, needs_dx)``."""
    inside = plain(geometry)
    size = inside.rows.size, inside.columns.size
    shape = *inside.kernel, channels(geometry, x.shape[3]), kernel.shape[3]

    def arrange(call: Callable[..., Any], whole: Array) -> None:
        call(fill, 0, whole)
        for taps, part in _kernels(whole, kernel, geometry):
            call(copy, kernel[taps], part)

    whole = tape.derived("phases", shape, arrange)
    winograd = Winograd(tape, tiling, tiling.borders(inside), whole)
    parts = _record_split(tape, x, geometry, tiling.read, has_border=True)
    winograd.record_forward(tape, parts, y)

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        dwhole = tape.scratch(shape)
        parts_dx = winograd.record_backward(tape, dy, dwhole, parts[: size[0], : size[1]] if needs_dx else None)
        for taps, part in _kernels(dwhole, kernel, geometry):
            tape(copy, part, dkernel[taps])
        if parts_dx is None:
            return None
        dx = tape.output(x.shape)
        tape(fill, 0, dx)  # pixels that no window reads
        _record_merged(tape, parts_dx, dx, geometry, has_border=True)
        return dx

    return backward


def _phases(geometry: Windows) -> Iterator[Place]:
    """For each phase: every so many rows and columns from its first ones on. So are its taps of a kernel."""
    down, right = steps(geometry)
    return ((slice(a, None, down), slice(b, None, right)) for a, b in product(range(down), range(right)))


def _kernels(whole: Array, kernel: Array, geometry: Windows) -> Iterator[tuple[Place, Array]]:
    """For each phase: its taps of the kernel (kh, kw, c, f), and their place in the one of all phases."""
    c = kernel.shape[2]
    for number, taps in enumerate(_phases(geometry)):
        kh, kw = kernel[taps].shape[:2]
        yield taps, whole[:kh, :kw, number * c : (number + 1) * c]


def _places(x: Array, geometry: Windows, size: Pair, has_border: bool) -> Iterator[tuple[int, Place, Place]]:
    """For each phase: its number, which of its pixels come from the image x, and where they lie there.

    ``has_border``: whether the phases are those of x with the border of its windows, as they are of an input.
    """
    for number, phase in enumerate(_phases(geometry)):
        axes = zip(x.shape[:2], (geometry.rows, geometry.columns), phase, size, strict=True)
        (own_rows, image_rows), (own_columns, image_columns) = (
            Axis(length, 1, own.step, 1, (axis.before if has_border else 0) - own.start, 0).inside(0, 0, count)
            for length, axis, own, count in axes
        )
        yield number, (own_rows, own_columns), (image_rows, image_columns)


def _record_split(tape: Tape, x: Array, geometry: Windows, size: Pair, has_border: bool) -> Array:
    """x (h, w, n, c) -> its phases, as `_phase` has them, with zeros where one reaches beyond the image."""
    n, c = x.shape[2:]
    parts = tape.scratch((*size, images(geometry, n), channels(geometry, c)))
    tape(fill, 0, parts)
    for number, own, image in _places(x, geometry, size, has_border):
        tape(copy, x[image], _phase(parts, x, geometry, number)[own])
    return parts


def _record_merged(tape: Tape, parts: Array, x: Array, geometry: Windows, has_border: bool) -> None:
    """The pixels of the phases, as `_phase` has them -> x (h, w, n, c)."""
    for number, own, image in _places(x, geometry, parts.shape[:2], has_border):
        tape(copy, _phase(parts, x, geometry, number)[own], x[image])


def _phase(parts: Array, x: Array, geometry: Windows, number: int) -> Array:
    """A phase of x (h, w, n, c): n of the images (h', w', phases * n, c), or c channels of (h', w', n, phases * c)."""
    n, c = x.shape[2:]
    if geometry.is_strided:
        return parts[..., number * c : (number + 1) * c]
    return parts[:, :, number * n : (number + 1) * n]
