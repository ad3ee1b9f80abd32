"""The end of a training step: the sum of the shards' gradients, and the update of the weights.

Gradients are summed in the order of the shards, whatever the order in which threads finish them, because a
floating-point sum depends on its order. Sum and update run in chunks of weights, which stay in the cache during all
calls of the optimizer. The chunks are split over the tapes of the shards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._tape.tape import Tape
from ..optimizers import Optimizer

CHUNK = 64_000  # weights in a chunk: with gradients and slots about 1 MB in single precision


@dataclass(frozen=True)
class Average:
    """Exponential moving average of the weights, and the share of the newest weights in it, which changes in steps."""

    weights: Array  # (size,)
    share: Array  # ()


@dataclass(frozen=True)
class Update:
    """Step of an optimizer, with an L2 penalty of ``alpha`` on the first ``decayed`` weights."""

    optimizer: Optimizer
    alpha: float
    decayed: int
    weights: Array  # (size,)
    gradients: Array  # (shards, size)
    slots: Array  # (slots, size)
    scalars: Mapping[str, Array]
    clip_norm: float | None = None
    average: Average | None = None
    parts: Sequence[slice] | None = None  # the weights that are trained, or None for all

    def record(self, tapes: Sequence[Tape]) -> None:
        """Record the update after a barrier at which all gradients are complete.

        ``tapes`` are the tapes of this process. Other processes record the chunks of the other shards.
        """
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
        """Yield the chunks of the tapes' shards. They depend on the number of shards, not of threads."""
        owners, shards = {tape.shard: tape for tape in tapes}, tapes[0].batch.shards
        parts = [slice(0, self.weights.size)] if self.parts is None else self.parts
        size, done = sum(part.stop - part.start for part in parts), 0
        for part in parts:
            for start in range(part.start, part.stop, CHUNK):
                owner = owners.get((done + start - part.start) * shards // size)
                if owner is not None:
                    yield slice(start, min(start + CHUNK, part.stop)), owner
            done += part.stop - part.start

    def _record_clipping(self, tape: Tape, tapes: Sequence[Tape]) -> Array:
        """Record the sums of the tape's chunks, and return the factor that clips the gradients, computed at a barrier.

        The norm depends on all gradients, so no chunk can be updated before all are summed.
        """
        factor = np.ones((), self.weights.dtype)
        with tape.step("optimizer"):
            squares = tape.scratch((1,), np.float64)
            square = tape.scratch((1,), np.float64)
            tape(fill, 0.0, squares)
            for part, owner in self._chunks(tapes):
                if owner is tape:
                    gradient = self._record_sum(tape, part)
                    # In double precision, because the square of a large gradient may be infinite in single precision.
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
    """Write the factor that reduces the norm to ``clip_norm`` to ``out`` (), for the ``square`` (1,) of the norm."""
    out[...] = min(1.0, clip_norm / (math.sqrt(square[0]) + 1e-6))
