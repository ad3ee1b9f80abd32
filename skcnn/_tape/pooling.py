"""Maxima over windows, and their gradients."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, fill, maximum
from .._arrays.geometry import Windows
from .tape import Tape


def taps(x: Array, geometry: Windows) -> list[Array]:
    """Return, for each offset in a window, a view of the numbers that all windows read there.

    ``x`` is (h, w, n, c) with its border.
    """
    return [x[geometry.rows.padded(i), geometry.columns.padded(j)] for i, j in geometry.offsets()]


def parts(dx: Array, geometry: Windows) -> list[tuple[Array, tuple[slice, slice]]]:
    """Return, for each offset in a window, the pixels of dx (h, w, n, c) read there, and the windows that read them."""
    rows, columns = geometry.rows, geometry.columns
    found = []
    for i, j in geometry.offsets():
        (out_rows, in_rows), (out_columns, in_columns) = rows.inside(i, 0, rows.out), columns.inside(j, 0, columns.out)
        found.append((dx[in_rows, in_columns], (out_rows, out_columns)))
    return found


def record_zeros(tape: Tape, dx: Array, geometry: Windows) -> bool:
    """Record zeros for all pixels of dx (h, w, n, c) that are not written exactly once; return if windows overlap."""
    rows, columns = geometry.rows, geometry.columns
    overlap = rows.kernel > rows.stride or columns.kernel > columns.stride
    exactly = all(a.kernel == a.stride and a.before == 0 and a.size == a.out * a.kernel for a in (rows, columns))
    if overlap or not exactly:
        tape(fill, 0, dx)
    return overlap


def record_max(tape: Tape, x: Array, geometry: Windows, y: Array, *, negative: Array | None = None) -> list[Array]:
    """Record the maximum of each window; return masks for `record_max_gradient`.

    ``x`` is (h, w, n, c) and ``y`` (h', w', n, c). The mask of an offset is true where it raised the maximum of all
    offsets before it. In channels with a ``negative`` (c,) below 0, the minimum is computed instead, which requires a
    backward pass.
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
    """Record maxima along rows, then along columns, which are fewer.  x (h, w, n, c) with its border -> y."""
    rows, columns = geometry.rows, geometry.columns
    tall = tape.scratch((rows.out, *x.shape[1:]))
    _record_largest(tape, [x[rows.padded(i)] for i in range(rows.kernel)], tall)
    _record_largest(tape, [tall[:, columns.padded(j)] for j in range(columns.kernel)], y)


def _record_largest(tape: Tape, arrays: list[Array], out: Array) -> None:
    """Record the elementwise maximum of several arrays."""
    best, *others = arrays
    if not others:
        tape(copy, best, out)
    for other in others:
        best = tape(maximum, best, other, out)


def _minima(sign: Array, x: Array, geometry: Windows, raised: list[Array], y: Array) -> None:
    """Recompute channels with a negative sign as minima. Usually there are few or none."""
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
    """Record the gradient of the maxima, where ties go to the first.  dy (h', w', n, c) -> dx (h, w, n, c).

    With ``add``, the gradient is added to dx. ``dy`` is overwritten.
    """
    overlap = False if add else record_zeros(tape, dx, geometry)
    pieces = parts(dx, geometry)
    add = add or overlap or geometry.has_border
    won = tape.scratch(dy.shape) if add else None
    # The last offset that raised the maximum gets the gradient. Remaining gradients are passed to earlier offsets.
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
