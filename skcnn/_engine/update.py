"""The end of a training step: the sum of the shards' gradients, and the update of the weights.

Gradients are summed in the order of the shards, whatever the order in which threads finish them, because a
floating-point sum depends on its order. Sum and update run in chunks of weights, which stay in the cache during all
calls of the optimizer. An optimizer may also update whole kernels. Chunks and kernels are split over the tapes of the
shards, by their estimated time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._tape.tape import Tape
from ..optimizers import Optimizer
from .groups import Group


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
    groups: Sequence[Group]  # without frozen weights
    scalars: Mapping[float, Mapping[str, Array]]  # for each factor of the learning rate
    clip_norm: float | None = None
    average: Average | None = None

    def record(self, tapes: Sequence[Tape]) -> None:
        """Record the update after a barrier at which all gradients are complete.

        ``tapes`` are the tapes of this process. Other processes record the chunks of the other shards.
        """
        for tape in tapes:
            tape.barrier()
        factors = {} if self.clip_norm is None else {tape: self._record_clipping(tape, tapes) for tape in tapes}
        for group, tape in self._chunks(tapes):
            part = group.part
            with tape.step("optimizer"):
                if group.factor:
                    self._record_step(tape, group, factors.get(tape))
                if self.average is not None:  # an earlier fit may have trained the weights whose factor is now 0
                    mean = self.average.weights[part]
                    pull = tape(np.subtract, self.weights[part], mean, tape.scratch(mean.shape))
                    tape(np.multiply, pull, self.average.share, pull)
                    tape(np.add, mean, pull, mean)

    def _record_step(self, tape: Tape, group: Group, clipping: Array | None) -> None:
        """Record the step of a chunk. With ``clipping``, its gradients are summed, and are multiplied by it."""
        part, scalars = group.part, self.scalars[group.factor]
        if clipping is None:
            gradient = self._record_sum(tape, part)
        else:
            gradient = self.gradients[0, part]
            tape(np.multiply, gradient, clipping, gradient)
        decayed = self.weights[: self.decayed][part]
        if self.alpha and decayed.size:
            pull = tape(np.multiply, decayed, self.alpha, tape.scratch(decayed.shape))
            tape(np.add, gradient[: decayed.size], pull, gradient[: decayed.size])
        if decayed.size and group.shape is None:
            self.optimizer.record_decay(tape, decayed, scalars)
        slots = dict(zip(self.optimizer.slots, self.slots[:, part], strict=True))
        if group.shape is None:
            self.optimizer.record(tape, self.weights[part], gradient, slots, scalars)
        else:
            kernel, gradient = reshape(self.weights[part], group.shape), reshape(gradient, group.shape)
            slots = {name: reshape(slot, group.shape) for name, slot in slots.items()}
            self.optimizer.record_kernel(tape, kernel, gradient, slots, scalars)

    def _chunks(self, tapes: Sequence[Tape]) -> Iterator[tuple[Group, Tape]]:
        """Yield the chunks of the tapes' shards. They depend on the number of shards, not of threads."""
        owners, shards = {tape.shard: tape for tape in tapes}, tapes[0].batch.shards
        total, done = sum(group.cost for group in self.groups), 0
        for group in self.groups:
            for chunk in group.chunks():  # of the shard in whose share of the costs the middle of the chunk lies
                owner = owners.get((2 * done + chunk.cost) * shards // (2 * total))
                if owner is not None:
                    yield chunk, owner
                done += chunk.cost

    def _record_clipping(self, tape: Tape, tapes: Sequence[Tape]) -> Array:
        """Record the sums of the tape's chunks, and return the factor that clips the gradients, computed at a barrier.

        The norm depends on all gradients, so no chunk can be updated before all are summed.
        """
        factor = np.ones((), self.weights.dtype)
        with tape.step("optimizer"):
            squares, square = np.zeros(1), np.zeros(1)
            tape(fill, 0.0, squares)
            for group, owner in self._chunks(tapes):
                if owner is tape and group.factor:
                    gradient = self._record_sum(tape, group.part)
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
