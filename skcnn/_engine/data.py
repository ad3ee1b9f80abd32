"""Data sets in training, and the random streams of a fit."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arrays.elementwise import Array

READ = 1 << 20  # bytes of images that are read at a time for a checksum, so that memory-mapped images stay on disk
# Keys of the random streams. With one stream for each purpose, a change of one, such as more dropout, leaves the random
# numbers of the others as they are. An epoch's streams also have its number in their keys: a resumed fit draws them
# without the epochs before.
INIT, SPLIT, SHUFFLE, DROPOUT, AUGMENT, ADAPT = range(6)


@dataclass(frozen=True)
class Data:
    """All images, and the row numbers, targets and sample weights of the images that are used.

    Images are selected by row number and copied batch by batch, so that a split or a sample weight of zero never copies
    the data set.
    """

    images: Array  # (n, h, w, c), any dtype; may be memory-mapped
    rows: Array  # (used,)
    targets: Array  # (used,) class numbers, or (used, k) labels or numbers
    weights: Array  # (used,), with mean 1 in a fit
    y: Array  # (used,) or (used, k): the targets as the user gave them

    @cached_property
    def is_weighted(self) -> bool:
        """Whether the sample weights differ."""
        return bool((self.weights != self.weights[0]).any())

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of the used images, targets and weights, with which a checkpoint recognizes its data."""
        parts = self.rows, self.targets, self.weights
        total = zlib.crc32(repr([(part.shape, part.dtype.str) for part in (self.images, *parts)]).encode())
        for part in parts:
            total = zlib.crc32(part.tobytes(), total)
        step = max(1, READ // max(1, self.images[:1].nbytes))
        for start in range(0, len(self.rows), step):
            total = zlib.crc32(self.images[self.rows[start : start + step]].tobytes(), total)
        return total


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return a random generator for a seed and a key. Different keys give independent streams."""
    return np.random.default_rng([seed, *key])
