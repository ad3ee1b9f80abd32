"""Rows to learn from, and the random streams of a fit."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arrays.elementwise import Array

READ = 1 << 20  # bytes of images that are read at a time for a checksum
INIT, SPLIT, SHUFFLE, DROPOUT, AUGMENT = range(5)  # the random streams, each with its own seed


@dataclass(frozen=True)
class Data:
    """Rows to learn from: all images, and numbers, targets and weights (of mean 1 in a fit) of those that are used."""

    images: Array  # (n, h, w, c), any dtype; may be memory-mapped
    rows: Array  # (used,)
    targets: Array  # (used,) class numbers or (used, k) labels
    weights: Array  # (used,)
    y: Array  # (used,) or (used, k): the targets as they came

    @cached_property
    def checksum(self) -> int:
        """A number that other data would hardly have: all images are read once for it, a block at a time."""
        parts = self.rows, self.targets, self.weights
        total = zlib.crc32(repr([(part.shape, part.dtype.str) for part in (self.images, *parts)]).encode())
        for part in parts:
            total = zlib.crc32(part.tobytes(), total)
        step = max(1, READ // max(1, self.images[:1].nbytes))
        for start in range(0, len(self.rows), step):
            total = zlib.crc32(self.images[self.rows[start : start + step]].tobytes(), total)
        return total


def stream(seed: int, *key: int) -> np.random.Generator:
    """A random stream of its own for each key."""
    return np.random.default_rng([seed, *key])
