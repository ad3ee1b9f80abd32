"""Recorded training steps, with a tape for each shard of a batch and the update of the weights split over the tapes.

A batch is cut into shards, so that threads can share it. The cut depends on the batch alone: floating-point sums depend
on how they are split, so a cut by the number of threads would make the result depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._arrays.elementwise import Array, reshape
from .._tape.arena import Arena
from .._tape.tape import Batch, Tape
from ..augmentation import Augmentation, Mixing, augmented
from ..losses import MixedTargets
from .data import AUGMENT, DROPOUT, SHUFFLE, Data, stream
from .frozen import Frozen
from .groups import grouped, parameter_factors
from .parallel import EVEN, Team
from .progress import Fit, Recipe
from .update import Average, Update

# Smallest shards, as rows and floating-point operations of a training step. In smaller shards, a thread saves less time
# than the meeting of the threads costs. A batch with less than two shards of the first size may be cut into two of the
# second.
SHARD = 32, 64e6
LEAST = 4, 36e6


class Passes:
    """Recorded training steps for the batches of a data set, replayed by a team of threads."""

    def __init__(self, fit: Fit, data: Data, recipe: Recipe) -> None:
        model, progress = fit.model, fit.progress
        self._model, self._data, self._recipe, self._progress = model, data, recipe, progress
        self._weights = model.weights if progress.trained is None else progress.trained
        layout = model.network.weights
        factors = parameter_factors(layout.parameters, recipe.learning_rate_factors)
        self._groups = grouped(layout, model.network.trained(recipe.freeze), factors, recipe.optimizer)
        # Operations per row: a multiply-add is two, and the backward pass takes twice as many as the forward pass.
        self._operations = 6 * model.network.multiply_adds_after(recipe.freeze)
        self._frozen: Frozen | None = None
        if recipe.freeze is not None:
            frozen = Frozen(model, recipe)
            # Without augmentation, frozen layers see the same images in each epoch, so they are computed once.
            entered = None if recipe.augmentation else frozen.entered(data)
            if entered is None:
                self._frozen = frozen
            else:
                self._data = entered
        self._batch_size = min(recipe.batch_size, len(data.rows))
        self.shards = self._shards(self._batch_size)
        self._gradients = np.zeros((self.shards, model.weights.size), model.weights.dtype)
        self.threads = min(recipe.threads, self.shards)
        self._arenas = [Arena() for _ in range(self.shards)]
        self._rngs = [stream(progress.seed, DROPOUT, shard) for shard in range(self.shards)]
        # For each factor of the learning rate, the scalars that the tapes read.
        self._scalars = {
            factor: np.zeros(len(recipe.optimizer.scalars), model.weights.dtype)
            for factor in sorted({group.factor for group in self._groups if group.factor})
        }
        share = np.zeros((), model.weights.dtype)
        self._average = None if progress.trained is None else Average(model.weights, share)
        self._passes: dict[int, Pass] = {}
        self._raw = np.empty((len(data.rows), model.network.outputs), model.weights.dtype)
        self.mixed = any(isinstance(augmentation, Mixing) for augmentation in recipe.augmentation)

    def _shards(self, rows: int) -> int:
        """Return the number of shards of a batch, which depends on the batch and never on the number of threads."""
        batch = rows, self._operations * rows
        wanted, possible = (
            min(int(have / need) for have, need in zip(batch, size, strict=True)) for size in (SHARD, LEAST)
        )
        if wanted > 2:
            return (wanted + 1) // EVEN * EVEN  # rounded down, except that three become four
        return max(1, wanted, min(2, possible))

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

    def epoch(self, epoch: int, team: Team, report: Callable[[int, float], None]) -> Tally:
        """Train for one epoch. ``report`` is called after each batch, with the rows so far and their mean loss."""
        progress, recipe = self._progress, self._recipe
        order = self._order()
        # The tapes refer to these generators, so their states are set instead of new generators made.
        for shard, rng in enumerate(self._rngs):
            rng.bit_generator.state = stream(progress.seed, DROPOUT, progress.epochs, shard).bit_generator.state
        total = penalties = 0.0
        for batch in self._batches(order):
            rate = self.learning_rate(epoch + batch.start / len(order))
            recorded = self.recorded(batch.stop - batch.start)
            if recipe.augmentation:
                rngs = [stream(progress.seed, AUGMENT, progress.epochs, batch.start, i) for i in range(self.shards)]
                recorded.load_augmented(self._data, order[batch], recipe.augmentation, rngs, team)
                if self._frozen is not None:
                    recorded.enter(self._frozen)
            else:
                self.load(recorded, order[batch])
            penalty = self.penalty()
            self.tick(rate)
            total += recorded.run(team)
            penalties += penalty * (batch.stop - batch.start)
            self._raw[order[batch]] = recorded.raw()
            if not math.isfinite(total + penalties):
                break
            report(batch.stop, (total + penalties) / batch.stop)
        return Tally(total / len(order), penalties / len(order), self._raw)

    def load(self, recorded: Pass, used: Array) -> None:
        """Copy a batch, without augmentation and after the frozen layers, to the inputs of a recorded step."""
        recorded.load(self._data, used)
        if self._frozen is not None:
            recorded.enter(self._frozen)

    def penalty(self) -> float:
        """Return the L2 penalty of the current weights."""
        if not self._recipe.alpha:
            return 0.0
        decayed = self._model.network.weights.decayed
        kernels = [self._weights[:decayed][group.part] for group in self._groups if group.factor]
        return self._recipe.alpha / 2 * sum(float(np.dot(kernel, kernel)) for kernel in kernels)

    def _order(self) -> Array:
        n = len(self._data.rows)
        if not self._recipe.shuffle:
            return np.arange(n)
        return stream(self._progress.seed, SHUFFLE, self._progress.epochs).permutation(n)

    def _batches(self, order: Array) -> Iterator[slice]:
        for start in range(0, len(order), self._batch_size):
            yield slice(start, min(start + self._batch_size, len(order)))

    def recorded(self, rows: int) -> Pass:
        """Return the step for a batch of ``rows``, recorded when it is first needed."""
        if rows not in self._passes:
            self._passes[rows] = self._record(rows)
        return self._passes[rows]

    def _record(self, rows: int) -> Pass:
        """Record the step for a batch of ``rows``: a tape per shard, and the update split over them."""
        model, recipe, progress, network = self._model, self._recipe, self._progress, self._model.network
        sizes = [len(part) for part in np.array_split(np.arange(rows), self._shards(rows))]
        batch = Batch(rows, len(sizes))
        p = network.bind(self._weights, model.state)
        shape = network.input_shape if recipe.freeze is None else network.reached[recipe.freeze]
        images = None if self._frozen is None else np.empty((rows, *network.input_shape), model.weights.dtype)
        shards: list[_Shard] = []
        for number, size in enumerate(sizes):
            # A thread replays its shards one after the other up to the next barrier. If the tapes have no barrier
            # before the update, a shard needs none of its arrays afterwards, and all shards of a thread can
            # share the same memory, which stays in the cache. Otherwise each shard needs memory of its own.
            waiting = len(shards) > 0 and len(shards[0].tape.segments) > 1
            tape = Tape(
                model.weights.dtype,
                batch,
                number,
                training=True,
                rng=self._rngs[number],
                arena=self._arenas[number if waiting else number % self.threads],
            )
            x = tape.input((size, *shape))
            shard = _Shard(
                tape,
                x,
                x if images is None else images[sum(sizes[:number]) :][:size],
                tape.input((size, *self._data.targets.shape[1:]), self._data.targets.dtype),
                tape.input((size,), np.float64),
                tape.input((1,), np.float64),
                tape.input((size, network.outputs)),
            )
            if recipe.loss.task == "classification" and self.mixed:
                second = tape.input(shard.target.shape, shard.target.dtype)
                shard.mixed = MixedTargets(shard.target, second, tape.input((size,), np.float64))
            target = shard.mixed or shard.target
            g = network.bind(self._gradients[number])
            network.record_training(
                tape,
                shard.x,
                target,
                shard.weight,
                p=p,
                g=g,
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
        gradients = self._gradients[: len(shards)]
        decayed = network.weights.decayed
        update = Update(
            recipe.optimizer,
            recipe.alpha,
            decayed,
            self._weights,
            gradients,
            progress.slots,
            self._groups,
            scalars,
            recipe.clip_norm,
            self._average,
        )
        update.record([shard.tape for shard in shards])
        return Pass(shards, images)


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
    x: Array
    images: Array  # x, or the images from which frozen layers compute x
    target: Array
    weight: Array
    total: Array
    raw: Array  # predictions (n, outputs), written by the step
    mixed: MixedTargets | None = None  # only for mixed classes, because mixed numbers are numbers themselves

    def load_augmented(
        self, data: Data, used: Array, augmentations: tuple[Augmentation, ...], rng: np.random.Generator
    ) -> None:
        """Copy augmented rows to the inputs of the tape.

        The loss of a mixed row is the sum of the losses of its two rows, each with its sample weight times its share.
        """
        images, mixture = augmented(augmentations, data.images[data.rows[used]], rng)
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


class Pass:
    """The training step of a batch of a given size."""

    def __init__(self, shards: list[_Shard], images: Array | None = None) -> None:
        self._shards, self._images = shards, images
        self.tapes = [shard.tape for shard in shards]
        segments = range(len(self.tapes[0].segments))
        self._jobs = [[partial(shard.tape.replay, segment) for shard in shards] for segment in segments]

    def load(self, data: Data, used: Array) -> None:
        """Copy a batch to the inputs of the tapes, converted to their dtype."""
        start = 0
        for shard in self._shards:
            part = used[start : start + len(shard.x)]
            np.copyto(shard.images, data.images[data.rows[part]], casting="unsafe")
            np.take(data.targets, part, 0, shard.target, "clip")
            np.take(data.weights, part, 0, shard.weight, "clip")
            start += len(part)

    def load_augmented(
        self,
        data: Data,
        used: Array,
        augmentations: tuple[Augmentation, ...],
        rngs: list[np.random.Generator],
        team: Team,
    ) -> None:
        """Copy a batch to the inputs of the tapes, each shard augmented by the thread that will train on it."""
        parts = np.split(used, np.cumsum([len(shard.x) for shard in self._shards])[:-1])
        members = zip(self._shards, parts, rngs, strict=False)
        team.run([partial(shard.load_augmented, data, part, augmentations, rng) for shard, part, rng in members])

    def enter(self, frozen: Frozen) -> None:
        """Write the output of the last frozen layer for the batch to the inputs of the tapes."""
        assert self._images is not None
        outputs, start = frozen.outputs(self._images), 0
        for shard in self._shards:
            np.copyto(shard.x, outputs[start : start + len(shard.x)])
            start += len(shard.x)

    def run(self, team: Team) -> float:
        """Replay the step, and return the weighted sum of the losses of the rows."""
        for jobs in self._jobs:  # a job for each shard; the next segment begins when all shards have done this one
            team.run(jobs)
        return math.fsum(float(shard.total[0]) for shard in self._shards)

    def raw(self) -> Array:
        """Return the raw predictions (n, outputs) of the last replay."""
        return np.concatenate([shard.raw for shard in self._shards])
