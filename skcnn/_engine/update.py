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
from .._tape.tape import Tape
from ..optimizers import Optimizer

CHUNK = 64_000  # weights


@dataclass(frozen=True)
class Average:
    """A running mean of the weights, and the share of the newest in it, which changes from step to step."""

    weights: Array  # (size,)
    share: Array  # ()


@dataclass(frozen=True)
class Update:
    """Step of an optimizer on weights, of which the first ``decayed`` are pulled to zero by ``alpha``."""

    optimizer: Optimizer
    alpha: float
    decayed: int
    weights: Array  # (size,)
    gradients: Array  # (shards, size)
    slots: Array  # (slots, size)
    scalars: Mapping[str, Array]
    clip_norm: float | None = None
    average: Average | None = None
    parts: Sequence[slice] | None = None  # of the weights, if others are not trained

    def record(self, tapes: Sequence[Tape]) -> None:
        """Record it behind a barrier, on the tapes of the shards that made the gradients."""
        for tape in tapes:
            tape.barrier()
        factors = {} if self.clip_norm is None else {tape: self._record_clipping(tape, tapes) for tape in tapes}
        for part, tape in self._chunks(tapes):
            with tape.step("optimizer"):
                if factors:
                    gradient = self.gradients[0, part]
                    tape(np.multiply, gradient, factors[tape], gradient)
                else:
                    gradient = self._record_sum(tape, part)
                decayed = self.weights[part.start : max(part.start, min(part.stop, self.decayed))]
                if self.alpha and decayed.size:
                    pull = tape(np.multiply, decayed, self.alpha, tape.scratch(decayed.shape))
                    tape(np.add, gradient[: decayed.size], pull, gradient[: decayed.size])
                if decayed.size:
                    self.optimizer.record_decay(tape, decayed, self.scalars)
                slots = dict(zip(self.optimizer.slots, self.slots[:, part], strict=True))
                self.optimizer.record(tape, self.weights[part], gradient, slots, self.scalars)
                if self.average is not None:
                    mean = self.average.weights[part]
                    pull = tape(np.subtract, self.weights[part], mean, tape.scratch(mean.shape))
                    tape(np.multiply, pull, self.average.share, pull)
                    tape(np.add, mean, pull, mean)

    def _chunks(self, tapes: Sequence[Tape]) -> Iterator[tuple[slice, Tape]]:
        """The chunks, and the tape to which each belongs: it follows from the shards, never from their threads."""
        parts = [slice(0, self.weights.size)] if self.parts is None else self.parts
        size, done = sum(part.stop - part.start for part in parts), 0
        for part in parts:
            for start in range(part.start, part.stop, CHUNK):
                yield (
                    slice(start, min(start + CHUNK, part.stop)),
                    tapes[(done + start - part.start) * len(tapes) // size],
                )
            done += part.stop - part.start

    def _record_clipping(self, tape: Tape, tapes: Sequence[Tape]) -> Array:
        """Sum the gradients of the tape's chunks; what all gradients are to be multiplied by, behind a barrier."""
        factor = np.ones((), self.weights.dtype)
        with tape.step("optimizer"):
            squares = tape.scratch((1,), np.float64)
            square = tape.scratch((1,), np.float64)
            tape(fill, 0.0, squares)
            for part, owner in self._chunks(tapes):
                if owner is tape:
                    gradient = self._record_sum(tape, part)
                    # In single precision the square of a gradient that is about to explode would be infinite.
                    wide = tape(copy, gradient, tape.scratch(gradient.shape, np.float64))
                    tape(np.dot, wide, wide, reshape(square, ()))
                    tape(np.add, squares, square, squares)
                    tape.release(wide)
            (total,) = tape.total(squares)
            tape(_clipping_factor, total, self.clip_norm, factor)
        return factor

    def _record_sum(self, tape: Tape, part: slice) -> Array:
        first, *others = self.gradients[:, part]
        for other in others:
            tape(np.add, first, other, first)
        return first


def _clipping_factor(square: Array, clip_norm: float, out: Array) -> None:
    """square (1,) of the norm -> out (), what brings the norm down to ``clip_norm``."""
    out[...] = min(1.0, clip_norm / (math.sqrt(square[0]) + 1e-6))
