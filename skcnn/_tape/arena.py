"""The memory that tapes share."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class Arena:
    """The memory that the tapes of one thread share: blocks that are free, and blocks that are handed out."""

    def __init__(self) -> None:
        self._free: list[Array] = []
        self._taken: dict[int, Array] = {}

    def take(self, size: int) -> Array:
        """A block for ``size`` bytes and their alignment: the smallest free one not far too large, or a new one."""
        size += ALIGNMENT
        fitting = [block for block in self._free if size <= block.size <= 4 * size + 4096]
        if fitting:
            block = min(fitting, key=lambda b: b.size)
            self._free = [b for b in self._free if b is not block]
        else:
            block = np.empty(size, np.uint8)
        self._taken[id(block)] = block
        return block

    def give(self, array: Array) -> None:
        """Take back the block behind ``array``; anything that is not a block of this arena stays as it is."""
        if id(array.base) in self._taken:
            self._free.append(self._taken.pop(id(array.base)))

    def give_all(self) -> None:
        """Take back every block, for no content outlives a replay."""
        self._free.extend(self._taken.values())
        self._taken = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(block.size for block in [*self._free, *self._taken.values()])
