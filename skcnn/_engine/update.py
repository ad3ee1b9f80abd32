"""The end of a training step: gradients are summed over the shards in their order, and the weights follow them.

It goes a chunk of weights at a time, so that they stay in the cache through the optimizer's calls; the chunks are
split over the shards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._tape.tape import OuterProduct, Tape
from ..optimizers import Optimizer

CHUNK = 64_000  # weights


@dataclass(frozen=True)
class Average:
    """A running mean of the weights, and the share of the newest in it, which changes from step to step."""

    weights: Array  # (size,)
    share: Array  # ()


@dataclass(frozen=True)
class Update:
    """What an optimizer does to weights, of which the first ``decayed`` are pulled to zero by ``alpha``.

    With ``clip_norm``, no gradient may have been left to the optimizer: its norm is wanted first.
    """

    optimizer: Optimizer
    alpha: float
    decayed: int
    weights: Array  # (size,)
    gradients: Array  # (shards, size)
    slots: Array  # (slots, size)
    scalars: Mapping[str, Array]
    clip_norm: float | None = None
    average: Average | None = None

    def record(self, tapes: Sequence[Tape]) -> None:
        """Record it behind a barrier, on the tapes of the shards that made the gradients."""
        for tape in tapes:
            tape.barrier()
        factors = {} if self.clip_norm is None else {tape: self._record_clipping(tape, tapes) for tape in tapes}
        for part, products in self._parts(tapes):
            tape = self._of(part, tapes)
            with tape.step(products[0].owner if products else "optimizer") as held:
                if products:
                    gradient = self._record_product(tape, products)
                elif factors:
                    gradient = self.gradients[0, part]
                    tape(np.multiply, gradient, factors[tape], gradient)
                else:
                    gradient = self._record_sum(tape, part)
            with tape.step("optimizer"):
                decayed = self.weights[part.start : min(part.stop, self.decayed)]
                if self.alpha and decayed.size:
                    pull = tape(np.multiply, decayed, self.alpha, tape.scratch(decayed.shape))
                    tape(np.add, gradient[: decayed.size], pull, gradient[: decayed.size])
                if decayed.size:
                    self.optimizer.record_decay(tape, decayed, self.scalars)
                slots = dict(zip(self.optimizer.slots, self.slots[:, part], strict=True))
                self.optimizer.record(tape, self.weights[part], gradient, slots, self.scalars)
            if self.average is not None:
                with tape.step("optimizer"):
                    mean = self.average.weights[part]
                    pull = tape(np.subtract, self.weights[part], mean, tape.scratch(mean.shape))
                    tape(np.multiply, pull, self.average.share, pull)
                    tape(np.add, mean, pull, mean)
            tape.end(held, but=self.weights)

    def _of(self, part: slice, tapes: Sequence[Tape]) -> Tape:
        """The tape to which a chunk belongs: it follows from the shards, never from the number of threads."""
        return tapes[part.start * len(tapes) // self.weights.size]

    def _record_clipping(self, tape: Tape, tapes: Sequence[Tape]) -> Array:
        """Sum the gradients of the tape's chunks; what all gradients are to be multiplied by, behind a barrier."""
        factor = np.ones((), self.weights.dtype)
        with tape.step("optimizer"):
            squares = tape.scratch((1,), np.float64)
            square = tape.scratch((1,), np.float64)
            tape(fill, 0.0, squares)
            for part in _chunks(0, self.weights.size):
                if self._of(part, tapes) is tape:
                    gradient = self._record_sum(tape, part)
                    # In single precision the square of a gradient that is about to explode would be infinite.
                    wide = tape(copy, gradient, tape.scratch(gradient.shape, np.float64))
                    tape(np.dot, wide, wide, reshape(square, ()))
                    tape(np.add, squares, square, squares)
                    tape.release(wide)
            (total,) = tape.total(squares)
            tape(_clipping_factor, total, self.clip_norm, factor)
        return factor

    def _parts(self, tapes: Sequence[Tape]) -> Iterator[tuple[slice, list[OuterProduct]]]:
        """Chunks of the weights, and of those of a dense kernel whose gradient is still to be computed, its factors."""
        position = 0
        for products in sorted(zip(*(tape.deferred for tape in tapes), strict=True), key=lambda p: self._start(p[0])):
            start = self._start(products[0])
            yield from ((part, []) for part in _chunks(position, start))
            features, units = products[0].out.shape
            for rows in _chunks(0, features, max(1, CHUNK // units)):
                factors = [OuterProduct(p.owner, p.x[:, rows], p.dy, p.out[rows]) for p in products]
                yield slice(start + rows.start * units, start + rows.stop * units), factors
            position = start + features * units
        yield from ((part, []) for part in _chunks(position, self.weights.size))

    def _start(self, product: OuterProduct) -> int:
        """Where the gradient of the first shard lies in its vector."""
        return (product.out.ctypes.data - self.gradients.ctypes.data) // self.gradients.itemsize

    @staticmethod
    def _record_product(tape: Tape, products: list[OuterProduct]) -> Array:
        first, *others = products
        total = tape.output(first.out.shape)
        tape(np.matmul, first.x.T, first.dy, total)
        for other in others:
            product = tape(np.matmul, other.x.T, other.dy, tape.scratch(total.shape))
            tape(np.add, total, product, total)
            tape.release(product)
        return reshape(total, (-1,))

    def _record_sum(self, tape: Tape, part: slice) -> Array:
        first, *others = self.gradients[:, part]
        for other in others:
            tape(np.add, first, other, first)
        return first


def _clipping_factor(square: Array, clip_norm: float, out: Array) -> None:
    """square (1,) of the norm -> out (), what brings the norm down to ``clip_norm``."""
    out[...] = min(1.0, clip_norm / (math.sqrt(square[0]) + 1e-6))


def _chunks(start: int, stop: int, size: int | None = None) -> Iterator[slice]:
    size = CHUNK if size is None else size
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))
