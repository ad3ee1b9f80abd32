"""Dilated convolution of stride 1, as plain ones.

A window with a dilation of d reads every d-th pixel: windows that begin d pixels apart share theirs, and those between
have nothing to do with them. An image is taken apart into the d * d images of every d-th row and column, which are
convolved with the plain window, side by side in one batch, and put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from .elementwise import Array, copy, fill, reshape
from .geometry import Axis, Windows
from .winograd import Tiling, Winograd

Place = tuple[slice, slice]


def plain(geometry: Windows) -> Windows:
    """The windows over an image that was taken apart."""
    return Windows(*(_plain(axis) for axis in (geometry.rows, geometry.columns)))


def _plain(axis: Axis) -> Axis:
    out = -(-axis.out // axis.dilation)
    return Axis(out + axis.kernel - 1, axis.kernel, 1, 1, 0, 0)


def record(
    tape: Any, tiling: Tiling, x: Array, kernel: Array, y: Array, geometry: Windows, groups: int
) -> Callable[[Array, Array, bool], Array | None]:
    """x (h, w, n, c), kernel (kh, kw, c / groups, f) -> y (h', w', n, f); gives ``backward(dy, dkernel, needs_dx)``."""
    inside = plain(geometry)
    size = inside.rows.size, inside.columns.size
    borders = tiling.borders(inside)
    winograd = Winograd(tape, tiling, borders, kernel, groups)
    parts = _taken_apart(tape, x, geometry, tiling.read, before=True)
    together = tape.scratch((*inside.out, parts.shape[2], y.shape[3]))
    winograd.record_forward(tape, parts, together)
    tape.release(parts)
    _put_together(tape, together, y, geometry, before=False)
    tape.release(together)

    def backward(dy: Array, dkernel: Array, needs_dx: bool) -> Array | None:
        upstream = _taken_apart(tape, dy, geometry, inside.out, before=False)
        parts_dx = winograd.record_backward(tape, upstream, dkernel, parts[: size[0], : size[1]] if needs_dx else None)
        tape.release(upstream)
        if parts_dx is None:
            return None
        dx = tape.output(x.shape)
        _put_together(tape, parts_dx, dx, geometry, before=True)
        return dx

    return backward


def _places(x: Array, geometry: Windows, size: tuple[int, int], before: bool) -> Iterator[tuple[int, Place, Place]]:
    """For each part: its number, which of its pixels come from the image, and where they lie there."""
    rows, columns = geometry.rows, geometry.columns
    for number, (a, b) in enumerate(product(range(rows.dilation), range(columns.dilation))):
        by_axis = [
            Axis(x.shape[i], 1, axis.dilation, 1, before * axis.before - start, 0).inside(0, 0, size[i])
            for i, (axis, start) in enumerate(((rows, a), (columns, b)))
        ]
        (own_rows, image_rows), (own_columns, image_columns) = by_axis
        yield number, (own_rows, own_columns), (image_rows, image_columns)


def _taken_apart(tape: Any, x: Array, geometry: Windows, size: tuple[int, int], before: bool) -> Array:
    """x (h, w, n, c) -> (*size, parts * n, c), with zeros where a part reaches beyond the image."""
    n, c = x.shape[2:]
    count = geometry.rows.dilation * geometry.columns.dilation
    parts = tape.scratch((*size, count * n, c))
    tape(fill, 0, parts)
    by_part = reshape(parts, (*size, count, n, c))
    for number, own, image in _places(x, geometry, size, before):
        tape(copy, x[image], by_part[:, :, number][own])
    return parts


def _put_together(tape: Any, parts: Array, x: Array, geometry: Windows, before: bool) -> None:
    """The pixels of the parts (h', w', parts * n, c) -> x (h, w, n, c)."""
    n, c = x.shape[2:]
    by_part = reshape(parts, (*parts.shape[:2], -1, n, c))
    for number, own, image in _places(x, geometry, parts.shape[:2], before):
        tape(copy, by_part[:, :, number][own], x[image])
