"""Memory shared by tapes."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array

ALIGNMENT = 64  # bytes, the size of a cache line and of the widest vector register


class Arena:
    """Memory shared by the tapes of one thread, divided into free and used blocks."""

    def __init__(self) -> None:
        self._free: list[Array] = []
        self._taken: dict[int, Array] = {}

    def take(self, size: int) -> Array:
        """Return an aligned block of at least ``size`` bytes.

        It is the smallest sufficient free block if that is not much too large, or a new block.
        """
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
        """Free the block that contains ``array``. Arrays from elsewhere are ignored."""
        if id(array.base) in self._taken:
            self._free.append(self._taken.pop(id(array.base)))

    def copy(self) -> Arena:
        """Return an arena with the same blocks, all free. Blocks that either takes from now on are not in the other."""
        found = Arena()
        found._free = [*self._free, *self._taken.values()]
        return found

    def holds(self, array: Array) -> bool:
        """Return whether an array lies in a block that is in use."""
        return any(np.may_share_memory(array, block) for block in self._taken.values())

    def give_all(self) -> None:
        """Free all blocks. This is safe between replays, because no content is read after a replay."""
        self._free.extend(self._taken.values())
        self._taken = {}

    @property
    def size(self) -> int:
        """Number of bytes of all blocks."""
        return sum(block.size for block in [*self._free, *self._taken.values()])
