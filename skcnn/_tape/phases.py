"""Conversion of dilated and strided convolutions to convolutions without dilation and stride.

An image is divided into phases. Each phase contains every d-th row and column, from a different start. For a row and
d = 2,

    pixels    0 1 2 3 4 5 6    ->    phases    0 2 4 6    1 3 5

Phases convert convolutions in two ways:

- `record_dilated`: a window with dilation 2 reads pixels 0 2 4, then 1 3 5, then 2 4 6. All pixels of a window are
  neighbours in one phase. The phases are concatenated along the batch, and so are the phases of the output.
- `record_strided`: a window of 3 with stride 2 reads pixels 0 1 2, then 2 3 4. It reads from every phase, and moves by
  one pixel there. The phases are channels of one image, and the window is a window of 2, padded with zeros.
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
    """Return the windows over an image that was divided into phases."""
    axes = geometry.rows, geometry.columns
    return Windows(*(_plain(-(-axis.out // axis.dilation), -(-axis.kernel // axis.stride)) for axis in axes))


def _plain(out: int, kernel: int) -> Axis:
    return Axis(out + kernel - 1, kernel, 1, 1, 0, 0)


def steps(geometry: Windows) -> Pair:
    """Return the distance between neighbouring rows and columns of a phase."""
    rows, columns = geometry.rows, geometry.columns
    return rows.dilation * rows.stride, columns.dilation * columns.stride


def images(geometry: Windows, n: int) -> int:
    """Return the number of images for the phases of n images."""
    return n if geometry.is_strided else n * math.prod(steps(geometry))


def channels(geometry: Windows, c: int) -> int:
    """Return the number of channels for the phases of c channels.

    Channels of zeros are added if there would be too few for innermost channels in memory.
    """
    return max(NARROW, c * math.prod(steps(geometry))) if geometry.is_strided else c


def record_dilated(
    tape: Tape, tiling: Tiling, x: Array, kernel: Array, y: Array, geometry: Windows, groups: int
) -> KernelBackward:
    """Record a dilated convolution; return ``backward(dy, dkernel, needs_dx)``.

    ``x`` is (h, w, n, c), ``kernel`` (kh, kw, c / groups, f) and ``y`` (h', w', n, f).
    """
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
    """Record a strided convolution; return ``backward(dy, dkernel, needs_dx)``.

    ``x`` is (h, w, n, c), ``kernel`` (kh, kw, c, f) and ``y`` (h', w', n, f).
    """
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
        tape(fill, 0, dx)  # for pixels that no window reads
        _record_merged(tape, parts_dx, dx, geometry, has_border=True)
        return dx

    return backward


def _phases(geometry: Windows) -> Iterator[Place]:
    """Yield the slices of rows and columns of each phase. They also select its taps of a kernel."""
    down, right = steps(geometry)
    return ((slice(a, None, down), slice(b, None, right)) for a, b in product(range(down), range(right)))


def _kernels(whole: Array, kernel: Array, geometry: Windows) -> Iterator[tuple[Place, Array]]:
    """Yield, for each phase, its taps of the kernel (kh, kw, c, f), and their part of the kernel over all phases."""
    c = kernel.shape[2]
    for number, taps in enumerate(_phases(geometry)):
        kh, kw = kernel[taps].shape[:2]
        yield taps, whole[:kh, :kw, number * c : (number + 1) * c]


def _places(x: Array, geometry: Windows, size: Pair, has_border: bool) -> Iterator[tuple[int, Place, Place]]:
    """Yield, for each phase, its number, its pixels that come from the image x, and their positions in x.

    ``has_border`` states whether the phases include the border of the windows, as for an input.
    """
    for number, phase in enumerate(_phases(geometry)):
        axes = zip(x.shape[:2], (geometry.rows, geometry.columns), phase, size, strict=True)
        (own_rows, image_rows), (own_columns, image_columns) = (
            Axis(length, 1, own.step, 1, (axis.before if has_border else 0) - own.start, 0).inside(0, 0, count)
            for length, axis, own, count in axes
        )
        yield number, (own_rows, own_columns), (image_rows, image_columns)


def _record_split(tape: Tape, x: Array, geometry: Windows, size: Pair, has_border: bool) -> Array:
    """Record the division of x (h, w, n, c) into phases, padded with zeros. See `_phase` for their layout."""
    n, c = x.shape[2:]
    parts = tape.scratch((*size, images(geometry, n), channels(geometry, c)))
    tape(fill, 0, parts)
    for number, own, image in _places(x, geometry, size, has_border):
        tape(copy, x[image], _phase(parts, x, geometry, number)[own])
    return parts


def _record_merged(tape: Tape, parts: Array, x: Array, geometry: Windows, has_border: bool) -> None:
    """Record the reassembly of x (h, w, n, c) from its phases. See `_phase` for their layout."""
    for number, own, image in _places(x, geometry, parts.shape[:2], has_border):
        tape(copy, _phase(parts, x, geometry, number)[own], x[image])


def _phase(parts: Array, x: Array, geometry: Windows, number: int) -> Array:
    """Return the part of ``parts`` for one phase of x (h, w, n, c).

    It is n images of (h', w', phases * n, c), or c channels of (h', w', n, phases * c).
    """
    n, c = x.shape[2:]
    if geometry.is_strided:
        return parts[..., number * c : (number + 1) * c]
    return parts[:, :, number * n : (number + 1) * n]
