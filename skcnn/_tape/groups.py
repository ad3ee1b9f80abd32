"""Joining of narrow groups to fewer and wider groups, with zeros in the kernel.

A matrix product with few channels and filters takes as long as one with a few more, and does not justify Winograd's
transforms. Neighbouring groups are therefore joined. Each filter then also reads the channels of the other groups, with
weights of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.order import NARROW
from .tape import Tape

LINE = 64  # least width of the channels and filters of a joined group, in bytes: the size of a cache line
WIDEST = 4  # largest multiple of this width; beyond that, multiplying by zeros takes longer than it saves


def joined_group_count(groups: int, c: int, f: int, dtype: Any) -> int:
    """Return the number of groups after joining, which is ``groups`` if joining is not faster."""
    if groups == c or c < NARROW:  # depthwise, or columns that are long runs for any number of groups
        return groups
    wanted = LINE // np.dtype(dtype).itemsize
    wide = (fewer for fewer in range(groups, 0, -1) if groups % fewer == 0 and min(c, f) // fewer >= wanted)
    fewer = next(wide, 1)
    return fewer if max(c, f) // fewer <= WIDEST * wanted else groups


def record_joined_kernel(tape: Tape, kernel: Array, groups: int, fewer: int) -> Array:
    """Record the kernel of joined groups.  kernel (kh, kw, c / groups, f) -> (kh, kw, c / fewer, f)."""
    if fewer == groups:
        return kernel
    kh, kw, depth, f = kernel.shape

    def join(call: Callable[..., Any], wide: Array) -> None:
        call(fill, 0, wide)
        call(copy, *_blocks(kernel, wide, groups, fewer))

    wide = tape.derived("joined", (kh * kw, depth * groups // fewer, f), join)
    return reshape(wide, (kh, kw, -1, f))


def record_separate_gradient(tape: Tape, wide: Array, kernel: Array, groups: int, fewer: int) -> None:
    """Record the gradient of the original kernel.  wide (kh, kw, c / fewer, f) -> kernel (kh, kw, c / groups, f)."""
    tape(copy, *reversed(_blocks(kernel, wide, groups, fewer)))


def _blocks(kernel: Array, wide: Array, groups: int, fewer: int) -> tuple[Array, Array]:
    """Return views (kh * kw, c / groups, fewer, groups / fewer, f') of the kernel and its part of the wide kernel."""
    depth, f = kernel.shape[2:]
    together = groups // fewer
    filters = fewer, together, f // groups
    blocks = reshape(wide, (-1, together, depth, *filters))
    return reshape(kernel, (-1, depth, *filters)), np.einsum("tgcjgf->tcjgf", blocks)
