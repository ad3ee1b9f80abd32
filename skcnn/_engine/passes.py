"""Recorded training steps, with a tape for each shard of a batch and the update of the weights split over the tapes.

A batch is cut into shards, so that threads or processes can share it. The cut depends on the network, the batch and the
processors of the machine: floating-point sums depend on how they are split, so a cut by ``n_jobs`` would make the
result depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from .._arrays.elementwise import Array, reshape
from .._arrays.geometry import evenly
from .._tape.arena import Arena
from .._tape.tape import Batch, Tape
from ..augmentation import Augmentation, Mixing, Rows, augmented
from ..losses import MixedTargets
from .data import AUGMENT, DROPOUT, SHUFFLE, Data, stream
from .frozen import Frozen
from .groups import grouped, parameter_factors
from .model import Model
from .parallel import EVEN, processors
from .progress import Fit, Recipe
from .update import Average, Update

# Smallest shards, as rows and floating-point operations of a training step. In smaller shards, a member of the team
# saves less time than the meeting costs. With shards of the first size, one thread is as fast as with the whole batch.
# A batch with fewer shards than the machine has processors may be cut into shards of the third size, and into two of
# the second.
SHARD, PAIR, LEAST = (32, 64e6), (4, 36e6), (8, 36e6)
MOST = 16  # upper bound of the number of shards for the sake of the processors


@dataclass(frozen=True)
class Work:
    """Images of a training as its tapes see them, and how a batch of them is cut into shards."""

    data: Data
    operations: int  # floating-point operations of a training step per row
    batch_size: int
    mixed: bool  # whether images are mixed with each other
    frozen: Frozen | None  # layers that predict the input of the tapes for each batch
    processors: int  # of the machine of the fit
    sizes: tuple[tuple[float, float], ...]  # smallest shards, in rows and operations

    @classmethod
    def of(cls, model: Model, data: Data, recipe: Recipe) -> Work:
        """Return the work of a training. The outputs of frozen layers replace the images if there is room for them."""
        frozen: Frozen | None = None
        if recipe.freeze is not None:
            frozen = Frozen(model, recipe)
            # Without augmentation, frozen layers see the same images in each epoch, so they are computed once.
            entered = None if recipe.augmentation else frozen.entered(data)
            if entered is not None:
                data, frozen = entered, None
        return cls(
            data,
            # A multiply-add is two operations, and the backward pass takes twice as many as the forward pass.
            6 * model.network.multiply_adds_after(recipe.freeze),
            min(recipe.batch_size, len(data.rows)),
            any(isinstance(augmentation, Mixing) for augmentation in recipe.augmentation),
            frozen,
            processors(),
            (SHARD, PAIR, LEAST),
        )

    @property
    def shards(self) -> int:
        """Number of shards of a full batch."""
        return self.shards_of(self.batch_size)

    def shards_of(self, rows: int) -> int:
        """Return the number of shards of a batch, which does not depend on ``n_jobs``."""
        batch = rows, self.operations * rows
        wanted, pair, possible = (
            min(int(have / need) for have, need in zip(batch, size, strict=True)) for size in self.sizes
        )
        wanted = max(1, wanted, min(2, pair), min(self.processors, MOST, possible))
        # Teams are mostly powers of two. More than two shards are rounded down, except that three become four.
        return wanted if wanted <= 2 else (wanted + 1) // EVEN * EVEN


class Members(Protocol):
    """The threads of one process, or the processes, that share the work of each step."""

    @property
    def size(self) -> int:
        """Number of members."""

    @property
    def leads(self) -> bool:
        """Whether this process computes the learning rates."""

    def own(self, shards: int) -> range:
        """Return the numbers of the shards that this process computes."""

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of zeros in memory that all members see."""

    def shared(self, array: Array) -> Array:
        """Return a copy in memory that all members see, or the array itself if they see it already."""

    def begin(self, epoch: int) -> None:
        """Let the members in other processes begin an epoch, which is given by the number of epochs before it."""

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run the jobs of this process, and return when all members have done their jobs."""


class Passes:
    """Recorded training steps for the batches of a data set, replayed by a team.

    Each process of a team has such passes, and records and replays only its own shards. Arrays that several members
    read or write are memory of the team.
    """

    def __init__(self, fit: Fit, work: Work, recipe: Recipe, team: Members) -> None:
        fit.place(team.shared)
        model, progress = fit.model, fit.progress
        self._model, self._work, self._recipe, self._progress, self._team = model, work, recipe, progress, team
        self._weights = model.weights if progress.trained is None else progress.trained
        layout = model.network.weights
        factors = parameter_factors(layout.parameters, recipe.learning_rate_factors)
        self._groups = grouped(layout, model.network.trained(recipe.freeze), factors, recipe.optimizer)
        data, shards, dtype = work.data, work.shards, model.weights.dtype
        self._gradients = team.zeros((shards, model.weights.size), dtype)
        self._totals = team.zeros((-(-len(data.rows) // work.batch_size), shards), np.float64)
        self._raw = team.zeros((len(data.rows), model.network.outputs), dtype)
        # Memory of each thread (only the first ones are used), and of each shard.
        self._arenas, self._own = ([Arena() for _ in range(shards)] for _ in range(2))
        self._constants: list[dict[Any, Any]] = [{} for _ in range(shards)]
        self._rngs = [stream(progress.seed, DROPOUT, shard) for shard in range(shards)]
        used = sorted({group.factor for group in self._groups if group.factor})
        # Read after a meeting in each step, so the leader can write them before it.
        self._scalars = {factor: team.zeros((len(recipe.optimizer.scalars),), dtype) for factor in used}
        self._average = None if progress.trained is None else Average(model.weights, team.zeros((), dtype))
        self._passes: dict[int, Pass] = {}

    def learning_rate(self, epoch: float) -> float:
        """Return the learning rate at a time, in epochs."""
        factor = self._recipe.schedule.factor(epoch, self._recipe.max_iter)
        return self._recipe.learning_rate * factor * self._progress.trend.factor

    def tick(self, learning_rate: float) -> None:
        """Write the scalars that the tapes read in the next step, such as the learning rate."""
        progress, recipe = self._progress, self._recipe
        progress.steps += 1
        for factor, scalars in self._scalars.items():
            scalars[:] = recipe.optimizer.tick(progress.steps, factor * learning_rate)
        if self._average is not None:
            progress.averaged += 1
            # The weights of the steps are powers of the decay, divided by their sum, so the average is not biased
            # towards the initial weights. After the first step it equals the weights of that step.
            self._average.share[...] = (1 - recipe.average) / (1 - recipe.average**progress.averaged)

    def epoch(self, epoch: int, report: Callable[[int, float], None]) -> Tally:
        """Train for one epoch. ``report`` is called after each batch, with the rows so far and their mean loss."""
        progress = self._progress
        self._team.begin(progress.epochs)
        order = self._order()
        # The tapes refer to these generators, so their states are set instead of new generators made.
        for shard, rng in enumerate(self._rngs):
            rng.bit_generator.state = stream(progress.seed, DROPOUT, progress.epochs, shard).bit_generator.state
        total = penalties = 0.0
        for batch in self._batches(order):
            penalty = 0.0
            if self._team.leads:
                penalty = self.penalty()
                self.tick(self.learning_rate(epoch + batch.start / len(order)))
            total += self.step(order[batch], batch.start)
            penalties += penalty * (batch.stop - batch.start)
            if not math.isfinite(total):
                break
            report(batch.stop, (total + penalties) / batch.stop)
        return Tally(total / len(order), penalties / len(order), self._raw)

    def step(self, used: Array, start: int = 0) -> float:
        """Train on the rows ``used``, from ``start`` in the order of the epoch, and return the sum of their losses."""
        recorded, number = self.recorded(len(used)), start // self._work.batch_size
        frozen = self._work.frozen
        if frozen is not None:
            self.load(used, start)
        last = recorded.segments - 1

        def replay(shard: _Shard, segment: int) -> None:
            if segment == 0 and frozen is None:
                self._load(shard, used, start)
            shard.tape.replay(segment)
            if segment == last:
                self._raw[used[shard.part]] = shard.raw
                self._totals[number, shard.tape.shard] = shard.total[0]

        for segment in range(recorded.segments):  # the next one begins when all shards have done this one
            self._team.run([partial(replay, shard, segment) for shard in recorded.shards])
        return math.fsum(self._totals[number, : recorded.count])

    def load(self, used: Array, start: int = 0) -> None:
        """Copy a batch to the inputs of the recorded step, as `step` does."""
        recorded = self.recorded(len(used))
        self._team.run([partial(self._load, shard, used, start) for shard in recorded.shards])
        if self._work.frozen is not None:
            recorded.enter(self._work.frozen)

    def _load(self, shard: _Shard, used: Array, start: int) -> None:
        """Copy the rows of a shard, augmented, to the inputs of its tape."""
        progress, recipe, part = self._progress, self._recipe, used[shard.part]
        if recipe.augmentation:
            rng = stream(progress.seed, AUGMENT, progress.epochs, start, shard.tape.shard)
            shard.load_augmented(self._work.data, part, recipe.augmentation, rng, (progress.epochs, progress.seed))
        else:
            shard.load(self._work.data, part)

    def penalty(self) -> float:
        """Return the L2 penalty of the current weights."""
        if not self._recipe.alpha:
            return 0.0
        decayed = self._weights[: self._model.network.weights.decayed]
        kernels = [decayed[group.part] for group in self._groups if group.factor]
        return self._recipe.alpha / 2 * sum(float(np.dot(kernel, kernel)) for kernel in kernels)

    def _order(self) -> Array:
        n = len(self._work.data.rows)
        if not self._recipe.shuffle:
            return np.arange(n)
        return stream(self._progress.seed, SHUFFLE, self._progress.epochs).permutation(n)

    def _batches(self, order: Array) -> Iterator[slice]:
        for start in range(0, len(order), self._work.batch_size):
            yield slice(start, min(start + self._work.batch_size, len(order)))

    def recorded(self, rows: int) -> Pass:
        """Return the step for a batch of ``rows``, recorded when it is first needed."""
        if rows not in self._passes:
            # The shards of a thread share their memory, which then stays in the cache, because the thread replays them
            # one after the other. Only buffers that are in use before and after a barrier must be apart. A recording
            # tells which ones, so if there are any, its arrays are never written and the step is recorded once more.
            arenas, self._arenas = self._arenas, [arena.copy() for arena in self._arenas]
            found = self._record(rows)
            crossing = [tape.crossing for tape in found.tapes]
            if found.count > self._team.size and any(map(any, crossing)):
                sums = found.tapes[0].batch.sums
                del found
                self._arenas = arenas
                found = self._record(rows, crossing, sums)
            self._passes[rows] = found
        return self._passes[rows]

    def _record(self, rows: int, crossing: Sequence[Sequence[bool]] | None = None, sums: Sequence[Array] = ()) -> Pass:
        """Record the step for a batch of ``rows``: a tape for each shard of this process, and the update."""
        model, recipe, network, team = self._model, self._recipe, self._model.network, self._team
        count = self._work.shards_of(rows)
        parts = evenly(rows, count)
        batch = Batch(rows, count, team.zeros)
        batch.sums.extend(sums)
        p = network.bind(self._weights, model.state)
        shape = network.input_shape if recipe.freeze is None else network.reached[recipe.freeze]
        images = None if self._work.frozen is None else np.empty((rows, *network.input_shape), model.weights.dtype)
        targets = self._work.data.targets
        shards: list[_Shard] = []
        # A member without a shard records the first one, but only to know how often the others meet.
        for number in team.own(count) or [0]:
            part = parts[number]
            size = part.stop - part.start
            tape = Tape(
                model.weights.dtype,
                batch,
                number,
                training=True,
                freeze_statistics=recipe.freeze_statistics,
                rng=self._rngs[number],
                arena=self._arenas[number % team.size],
                own=None if crossing is None else (self._own[number], crossing[len(shards)]),
                constants=self._constants[number % team.size],
            )
            x = tape.input((size, *shape))
            shard = _Shard(
                tape,
                part,
                x,
                x if images is None else images[part],
                tape.input((size, *targets.shape[1:]), targets.dtype),
                tape.input((size,), np.float64),
                tape.input((1,), np.float64),
                tape.input((size, network.outputs)),
            )
            tape.row_weights = shard.weight if self._work.data.is_weighted else None
            if recipe.loss.task == "classification" and self._work.mixed:
                second = tape.input(shard.target.shape, shard.target.dtype)
                shard.mixed = MixedTargets(shard.target, second, tape.input((size,), np.float64))
            network.record_training(
                tape,
                shard.x,
                shard.mixed or shard.target,
                shard.weight,
                p=p,
                g=network.bind(self._gradients[number]),
                scaling=model.scaling,
                loss=recipe.loss,
                total=shard.total,
                raw=shard.raw,
                freeze=recipe.freeze,
            )
            shards.append(shard)
        scalars = {
            factor: {name: reshape(numbers[i : i + 1], ()) for i, name in enumerate(recipe.optimizer.scalars)}
            for factor, numbers in self._scalars.items()
        }
        update = Update(
            recipe.optimizer,
            recipe.alpha,
            network.weights.decayed,
            self._weights,
            self._gradients[:count],
            self._progress.slots,
            self._groups,
            scalars,
            recipe.clip_norm,
            self._average,
        )
        update.record([shard.tape for shard in shards])
        segments = len(shards[0].tape.segments)
        return Pass(shards if team.own(count) else [], segments, count, images)


@dataclass(frozen=True)
class Tally:
    """Mean loss, mean penalty and raw predictions (rows, k) of an epoch, measured while the weights change."""

    loss: float
    penalty: float
    raw: Array


@dataclass
class _Shard:
    """A tape and its inputs."""

    tape: Tape
    part: slice  # rows of the batch
    x: Array
    images: Array  # x, or the images from which frozen layers compute x
    target: Array
    weight: Array
    total: Array
    raw: Array  # predictions (n, outputs), written by the step
    mixed: MixedTargets | None = None  # only for mixed classes, because mixed numbers are numbers themselves

    def load(self, data: Data, used: Array) -> None:
        """Copy rows to the inputs of the tape, converted to their dtype."""
        np.copyto(self.images, data.images[data.rows[used]], casting="unsafe")
        np.take(data.targets, used, 0, self.target, "clip")
        np.take(data.weights, used, 0, self.weight, "clip")

    def load_augmented(
        self,
        data: Data,
        used: Array,
        augmentations: tuple[Augmentation, ...],
        rng: np.random.Generator,
        when: tuple[int, int],
    ) -> None:
        """Copy augmented rows, as in an epoch of a fit with a seed, to the inputs of the tape.

        The loss of a mixed row is the sum of the losses of its two rows, each with its sample weight times its share.
        """
        rows = Rows(data.rows[used], *when)
        images, mixture = augmented(augmentations, data.images[rows.numbers], rng, rows)
        np.copyto(self.images, images, casting="unsafe")
        targets, weights = data.targets[used], data.weights[used]
        if mixture is not None:
            own, others = mixture.share * weights, (1 - mixture.share) * weights[mixture.partner]
            weights = own + others
            share, other = own / weights, targets[mixture.partner]
            if self.mixed is not None:
                self.mixed.second[...], self.mixed.share[...] = other, share
            else:
                targets = share[:, None] * targets + (1 - share)[:, None] * other
        self.target[...], self.weight[...] = targets, weights


@dataclass(frozen=True)
class Pass:
    """The training step of a batch of a given size."""

    shards: list[_Shard]  # of this process
    segments: int  # parts between two meetings
    count: int  # number of all shards
    images: Array | None = None

    @property
    def tapes(self) -> list[Tape]:
        """The tapes of the shards."""
        return [shard.tape for shard in self.shards]

    def enter(self, frozen: Frozen) -> None:
        """Write the output of the last frozen layer for the batch to the inputs of the tapes."""
        assert self.images is not None
        outputs = frozen.outputs(self.images)
        for shard in self.shards:
            np.copyto(shard.x, outputs[shard.part])
