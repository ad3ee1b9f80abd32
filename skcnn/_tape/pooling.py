"""Maxima over windows, and where their gradients go."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, fill, maximum
from .._arrays.geometry import Windows
from .tape import Tape


def taps(x: Array, geometry: Windows) -> list[Array]:
    """For each place in a window, what all windows read there: views of x (h, w, n, c) with its border."""
    return [x[geometry.rows.padded(i), geometry.columns.padded(j)] for i, j in geometry.offsets()]


def parts(dx: Array, geometry: Windows) -> list[tuple[Array, tuple[slice, slice]]]:
    """For each place in a window, the pixels of dx (h, w, n, c) that windows read there, and which windows do."""
    rows, columns = geometry.rows, geometry.columns
    found = []
    for i, j in geometry.offsets():
        (out_rows, in_rows), (out_columns, in_columns) = rows.inside(i, 0, rows.out), columns.inside(j, 0, columns.out)
        found.append((dx[in_rows, in_columns], (out_rows, out_columns)))
    return found


def record_zeros(tape: Tape, dx: Array, geometry: Windows) -> bool:
    """Fill dx (h, w, n, c) with zeros where it is not written exactly once; whether windows overlap."""
    rows, columns = geometry.rows, geometry.columns
    overlap = rows.kernel > rows.stride or columns.kernel > columns.stride
    exactly = all(a.kernel == a.stride and a.before == 0 and a.size == a.out * a.kernel for a in (rows, columns))
    if overlap or not exactly:
        tape(fill, 0, dx)
    return overlap


def record_max(tape: Tape, x: Array, geometry: Windows, y: Array, *, negative: Array | None = None) -> list[Array]:
    """x (h, w, n, c) -> y (h', w', n, c); gives masks for `record_max_gradient`: which places raised the maximum.

    In the channels in which ``negative`` (c,) is negative, it is the minimum; for that, a backward pass has to follow.
    """
    framed = tape.with_border(x, *geometry.borders, value=-np.inf)
    if not tape.backward:
        _record_by_axis(tape, framed, geometry, y)
        return []
    best, *others = taps(framed, geometry)
    raised = [tape.keep(y.shape, bool) for _ in others]
    if not others:
        tape(copy, best, y)
    for tap, mask in zip(others, raised, strict=True):
        tape(np.greater, tap, best, mask)
        best = tape(maximum, best, tap, y)
    if negative is not None and others:
        tape(_minima, negative, framed, geometry, raised, y)
    return raised


def _record_by_axis(tape: Tape, x: Array, geometry: Windows, y: Array) -> None:
    """x (h, w, n, c) with its border -> y (h', w', n, c), by maxima of rows and then of columns: fewer of them."""
    rows, columns = geometry.rows, geometry.columns
    tall = tape.scratch((rows.out, *x.shape[1:]))
    _record_largest(tape, [x[rows.padded(i)] for i in range(rows.kernel)], tall)
    _record_largest(tape, [tall[:, columns.padded(j)] for j in range(columns.kernel)], y)


def _record_largest(tape: Tape, arrays: list[Array], out: Array) -> None:
    """The largest of each element of several arrays of one shape."""
    best, *others = arrays
    if not others:
        tape(copy, best, out)
    for other in others:
        best = tape(maximum, best, other, out)


def _minima(sign: Array, x: Array, geometry: Windows, raised: list[Array], y: Array) -> None:
    """Redo the channels of a negative sign: there are few of them, and most often none."""
    channels = np.flatnonzero(sign < 0)
    if not channels.size:
        return
    first, *others = (tap[..., channels] for tap in taps(x, geometry))
    if geometry.has_border:
        first, *others = (np.where(tap == -np.inf, np.inf, tap) for tap in (first, *others))
    for tap, mask in zip(others, raised, strict=True):
        mask[..., channels] = tap < first
        first = np.minimum(first, tap)
    y[..., channels] = first


def record_max_gradient(
    tape: Tape, dy: Array, raised: list[Array], dx: Array, geometry: Windows, *, add: bool = False
) -> None:
    """dy (h', w', n, c) -> dx (h, w, n, c), or added to it: to the first of several equal maxima. Overwrites dy."""
    overlap = False if add else record_zeros(tape, dx, geometry)
    pieces = parts(dx, geometry)
    add = add or overlap or geometry.has_border
    won = tape.scratch(dy.shape) if add else None
    # The last place that raised the maximum has the gradient; what it does not take is left to those before it.
    for (part, windows), mask in zip(pieces[:0:-1], raised[::-1], strict=True):
        taken = part if won is None else won
        tape(np.multiply, dy, mask, taken)
        tape(np.subtract, dy, taken, dy)
        if won is not None:
            tape(np.add, part, won[windows], part)
    part, windows = pieces[0]
    if add:
        tape(np.add, part, dy[windows], part)
    else:
        tape(copy, dy, part)
