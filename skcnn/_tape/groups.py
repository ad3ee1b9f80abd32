"""Groups of few channels as fewer and wider ones, with zeros in their kernel.

A product of few channels and few filters takes as long as one of some more, and Winograd's transforms do not pay for
it. So neighbouring groups are joined: each filter reads the channels of the others as well, with weights of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.order import NARROW
from .tape import Tape

LINE = 64  # bytes of a pixel, of the channels and of the filters of a group, that are read at once: a cache line
WIDEST = 4  # times as wide a group may be: beyond that, to multiply by zeros takes longer than it saves


def joined_group_count(groups: int, c: int, f: int, dtype: Any) -> int:
    """How many groups those of c channels and f filters are joined to; as many as there are, if that is fastest."""
    if groups == c or c < NARROW:  # no products of matrices, or columns that are long runs for any number of groups
        return groups
    wanted = LINE // np.dtype(dtype).itemsize
    wide = (fewer for fewer in range(groups, 0, -1) if groups % fewer == 0 and min(c, f) // fewer >= wanted)
    fewer = next(wide, 1)
    return fewer if max(c, f) // fewer <= WIDEST * wanted else groups


def record_joined_kernel(tape: Tape, kernel: Array, groups: int, fewer: int) -> Array:
    """Kernel (kh, kw, c / groups, f) -> (kh, kw, c / fewer, f); the same where no groups are joined."""
    if fewer == groups:
        return kernel
    kh, kw, depth, f = kernel.shape

    def join(call: Callable[..., Any], wide: Array) -> None:
        call(fill, 0, wide)
        call(copy, *_blocks(kernel, wide, groups, fewer))

    wide = tape.derived("joined", (kh * kw, depth * groups // fewer, f), join)
    return reshape(wide, (kh, kw, -1, f))


def record_separate_gradient(tape: Tape, wide: Array, kernel: Array, groups: int, fewer: int) -> None:
    """wide (kh, kw, c / fewer, f) -> kernel (kh, kw, c / groups, f): the weights that are no zeros."""
    tape(copy, *reversed(_blocks(kernel, wide, groups, fewer)))


def _blocks(kernel: Array, wide: Array, groups: int, fewer: int) -> tuple[Array, Array]:
    """The kernel and its places in the wide one, both as views (kh * kw, c / groups, fewer, groups / fewer, f')."""
    depth, f = kernel.shape[2:]
    together = groups // fewer
    filters = fewer, together, f // groups
    blocks = reshape(wide, (-1, together, depth, *filters))
    return reshape(kernel, (-1, depth, *filters)), np.einsum("tgcjgf->tcjgf", blocks)
