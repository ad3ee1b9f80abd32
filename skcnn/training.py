"""The training loop."""

from __future__ import annotations

import math
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .augmentation import Augmentation, Mixing, augmented
from .functional.elementwise import Array, reshape, ufunc_settings
from .losses import MixedTargets
from .model import Model
from .parallel import Team, one_blas_thread
from .progress import History, Monitor, Progress, Recipe, Snapshot
from .tape import Arena, Batch, Tape
from .update import Average, Update

SHARD = 32, 64e6  # rows of a shard, and floating-point operations of its training step
LEAST = 4, 36e6  # of the two shards of a batch that has less: smaller ones gain nothing from a thread
EVEN = 4  # more than two shards are a multiple of this, or one of two and of four threads would have less to do
READ = 1 << 20  # bytes of images that are read at a time for a checksum
INIT, SPLIT, SHUFFLE, DROPOUT, AUGMENT = range(5)  # the random streams, each with its own seed


@dataclass(frozen=True)
class Data:
    """Rows to learn from: all images, and of the used ones their numbers, targets and weights (of mean 1 in a fit)."""

    images: Array  # (n, h, w, c), any dtype; may be memory-mapped
    rows: Array  # (used,)
    targets: Array  # (used,) class numbers or (used, k) labels
    weights: Array  # (used,)

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


def train(
    model: Model,
    data: Data,
    recipe: Recipe,
    progress: Progress,
    history: History,
    monitor: Monitor,
    *,
    epochs: int,
    done: int = 0,
    first_epoch: int = 0,
    validate: Callable[[], tuple[float, float]] | None = None,
    watch: Callable[[], Callable[[], bool]] | None = None,
) -> bool:
    """Train a model in place, for ``epochs`` epochs or until it stops improving.

    Parameters
    ----------
    model, progress, history, monitor
        What is changed.
    data, recipe
        What is learnt, and how.
    epochs : int
        How many.
    done : int, default=0
        How many of them were done before the training was broken off.
    first_epoch : int
        Where on its schedule the training starts.
    validate : callable, optional
        Gives the loss and the score on the validation set. If given, the best epoch is brought back at the end.
    watch : callable, optional
        Called when an epoch begins. What it gives is called when the epoch ends, and tells whether to stop.

    Returns
    -------
    bool
        Whether it came to its end: false if it was interrupted.

    Raises
    ------
    ValueError
        If the loss is not finite before the first epoch is done.
    """
    last_finite = Snapshot.of(model, progress)
    validated = validate is not None
    last = max(len(history.loss) + epochs - done, recipe.max_iter)  # partial_fit counts towards max_iter
    passes = Passes(model, data, recipe, progress, recipe.threads)
    if first_epoch >= recipe.max_iter and recipe.schedule.ends() and not progress.warned:
        _report_end_of_schedule(recipe, passes.learning_rate(first_epoch))
        progress.warned = True
    if validate is not None and history.loss and not done:  # what a warm start begins with may be the best
        monitor.note(model, progress, *validate())
    ended_by_itself = True
    try:
        with one_blas_thread, Team(passes.threads) as team:
            for epoch in range(done, epochs):
                if monitor.is_done(recipe, validated):
                    break
                start = time.perf_counter()
                ended = _never if watch is None else watch()
                with ufunc_settings():  # callbacks have the user's
                    loss = passes.epoch(first_epoch + epoch, team)
                if not (math.isfinite(loss) and np.isfinite(model.weights).all() and np.isfinite(model.state).all()):
                    _report_divergence(loss, progress, recipe)
                    last_finite.bring_back(model, progress)
                    progress.slots[:], progress.steps = 0, 0  # the optimizer must not remember what diverged
                    monitor.diverged = True
                    ended()
                    break
                last_finite = Snapshot.of(model, progress)
                rate = passes.learning_rate(first_epoch + epoch)
                val_loss, val_score = (math.nan, math.nan) if validate is None else validate()
                measure = ("loss", loss) if validate is None else ("score", -val_score)
                trend = recipe.schedule.follow(progress.trend, *measure)
                history.loss.append(loss)
                history.learning_rate.append(rate)
                history.val_loss.append(val_loss)
                history.val_score.append(val_score)
                history.seconds.append(time.perf_counter() - start)
                progress.epochs, progress.trend = progress.epochs + 1, trend  # with this, the epoch is done
                if recipe.verbose:
                    print(_line(history, last), flush=True)
                monitor.follow(model, progress, history, recipe.tol, validated)
                if ended():
                    break
    except KeyboardInterrupt:
        ended_by_itself = False
        history.cut(progress.epochs)
        warnings.warn("Training interrupted by user: the model keeps what it has learnt.", stacklevel=5)
    monitor.bring_back_best(model, progress)
    return ended_by_itself


def _never() -> bool:
    return False


class Passes:
    """Recorded training steps for the batches of a data set, to be replayed by a team of ``threads``."""

    def __init__(self, model: Model, data: Data, recipe: Recipe, progress: Progress, threads: int) -> None:
        self._model, self._data, self._recipe, self._progress = model, data, recipe, progress
        self._weights = model.weights if progress.trained is None else progress.trained
        self._batch_size = min(recipe.batch_size, len(data.rows))
        self.shards = self._shards(self._batch_size)
        self._gradients = np.zeros((self.shards, model.weights.size), model.weights.dtype)
        self.threads = min(threads, self.shards)
        self._arenas = [Arena() for _ in range(self.shards)]
        self._rngs = [stream(progress.seed, DROPOUT, shard) for shard in range(self.shards)]
        self._scalars = np.zeros(len(recipe.optimizer.scalars), model.weights.dtype)
        share = np.zeros((), model.weights.dtype)
        self._average = None if progress.trained is None else Average(model.weights, share)
        self._recorded: dict[int, Pass] = {}

    def _shards(self, rows: int) -> int:
        """How many a batch is cut into: it follows from the batch, never from the number of threads."""
        # A multiply-add is two operations, and backward is twice forward.
        batch = rows, 6 * self._model.network.multiply_adds * rows
        wanted, possible = (
            min(int(have / need) for have, need in zip(batch, size, strict=True)) for size in (SHARD, LEAST)
        )
        if wanted > 2:
            return (wanted + 1) // EVEN * EVEN  # rounded down, but for three
        return max(1, wanted, min(2, possible))

    def learning_rate(self, epoch: float) -> float:
        """The learning rate at a moment."""
        factor = self._recipe.schedule.factor(epoch, self._recipe.max_iter)
        return self._recipe.learning_rate * factor * self._progress.trend.factor

    def tick(self, learning_rate: float) -> None:
        """Write the numbers of the next step."""
        progress, recipe = self._progress, self._recipe
        progress.steps += 1
        self._scalars[:] = recipe.optimizer.tick(progress.steps, learning_rate)
        if self._average is not None:
            progress.averaged += 1
            # Weighted by powers of the decay that are divided by their sum: the first step is the mean of itself.
            self._average.share[...] = (1 - recipe.average) / (1 - recipe.average**progress.averaged)

    def epoch(self, epoch: int, team: Team) -> float:
        """Go once through the data; the mean loss, with its penalty."""
        progress, recipe, model = self._progress, self._recipe, self._model
        order = self._order()
        for shard, rng in enumerate(self._rngs):
            rng.bit_generator.state = stream(progress.seed, DROPOUT, progress.epochs, shard).bit_generator.state
        total = 0.0
        kernels = self._weights[: model.network.weights.decayed]
        for batch in self._batches(order):
            rate = self.learning_rate(epoch + batch.start / len(order))
            recorded = self.of(batch.stop - batch.start)
            if recipe.augmentation:
                rngs = [stream(progress.seed, AUGMENT, progress.epochs, batch.start, i) for i in range(self.shards)]
                recorded.load_augmented(self._data, order[batch], recipe.augmentation, rngs, team)
            else:
                recorded.load(self._data, order[batch])
            penalty = recipe.alpha / 2 * float(np.dot(kernels, kernels)) if recipe.alpha else 0.0
            self.tick(rate)
            loss = recorded.run(team)
            total += loss + penalty * (batch.stop - batch.start)
            if not math.isfinite(total):
                break
        return total / len(order)

    def _order(self) -> Array:
        n = len(self._data.rows)
        if not self._recipe.shuffle:
            return np.arange(n)
        return stream(self._progress.seed, SHUFFLE, self._progress.epochs).permutation(n)

    def _batches(self, order: Array) -> Iterator[slice]:
        for start in range(0, len(order), self._batch_size):
            yield slice(start, min(start + self._batch_size, len(order)))

    def of(self, rows: int) -> Pass:
        """The step for a batch of so many rows."""
        if rows not in self._recorded:
            self._recorded[rows] = self._record(rows)
        return self._recorded[rows]

    def _record(self, rows: int) -> Pass:
        """Record the step for a batch of ``rows``: a tape per shard, and the update split over them."""
        model, recipe, progress, network = self._model, self._recipe, self._progress, self._model.network
        sizes = [len(part) for part in np.array_split(np.arange(rows), self._shards(rows))]
        batch = Batch(rows, len(sizes))
        p = network.bind(self._weights, model.state, model.scaling)
        shards: list[_Shard] = []
        for number, size in enumerate(sizes):
            # A thread goes through its shards one after the other, up to the next barrier. If that is the end, they
            # have nothing to keep for each other, and the same memory, which stays in the cache.
            waiting = len(shards) > 0 and len(shards[0].tape.segments) > 1
            tape = Tape(
                model.weights.dtype,
                batch,
                number,
                training=True,
                rng=self._rngs[number],
                arena=self._arenas[number if waiting else number % self.threads],
                defer=recipe.clip_norm is None,
            )
            shard = _Shard(
                tape,
                tape.input((size, *network.input_shape)),
                tape.input((size, *self._data.targets.shape[1:]), self._data.targets.dtype),
                tape.input((size,), np.float64),
                tape.input((1,), np.float64),
            )
            if recipe.loss.task == "classification" and any(isinstance(a, Mixing) for a in recipe.augmentation):
                second = tape.input(shard.target.shape, shard.target.dtype)
                shard.mixed = MixedTargets(shard.target, second, tape.input((size,), np.float64))
            target = shard.mixed or shard.target
            g = network.bind(self._gradients[number])
            network.record_training(tape, shard.x, target, shard.weight, p, g, recipe.loss, shard.total)
            shards.append(shard)
        scalars = {name: reshape(self._scalars[i : i + 1], ()) for i, name in enumerate(recipe.optimizer.scalars)}
        gradients = self._gradients[: len(shards)]
        decayed = network.weights.decayed
        update = Update(
            recipe.optimizer,
            recipe.alpha,
            decayed,
            self._weights,
            gradients,
            progress.slots,
            scalars,
            recipe.clip_norm,
            self._average,
        )
        update.record([shard.tape for shard in shards])
        return Pass(shards)


@dataclass
class _Shard:
    """A tape and its inputs."""

    tape: Tape
    x: Array
    target: Array
    weight: Array
    total: Array
    mixed: MixedTargets | None = None  # the targets, where classes are mixed: numbers are, by themselves

    def load_augmented(
        self, data: Data, used: Array, augmentations: tuple[Augmentation, ...], rng: np.random.Generator
    ) -> None:
        """Copy rows in, augmented; mixed ones have the mean weight of the two, and the targets that mean as much."""
        images, mixture = augmented(augmentations, data.images[data.rows[used]], rng)
        np.copyto(self.x, images, casting="unsafe")
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

    def __init__(self, shards: list[_Shard]) -> None:
        self._shards = shards
        self.tapes = [shard.tape for shard in shards]
        segments = range(len(self.tapes[0].segments))
        self._jobs = [[partial(shard.tape.replay, segment) for shard in shards] for segment in segments]

    def load(self, data: Data, used: Array) -> None:
        """Copy a batch in, converted to the tapes' dtype."""
        start = 0
        for shard in self._shards:
            part = used[start : start + len(shard.x)]
            np.copyto(shard.x, data.images[data.rows[part]], casting="unsafe")
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
        """Copy a batch in, augmented on the threads that will train on it."""
        parts = np.split(used, np.cumsum([len(shard.x) for shard in self._shards])[:-1])
        members = zip(self._shards, parts, rngs, strict=False)
        team.run([partial(shard.load_augmented, data, part, augmentations, rng) for shard, part, rng in members])

    def run(self, team: Team) -> float:
        """Replay; the weighted sum of the losses of the rows."""
        for jobs in self._jobs:
            team.run(jobs)
        return math.fsum(float(shard.total[0]) for shard in self._shards)


def _line(history: History, epochs: int) -> str:
    """An epoch in one line."""
    parts = [f"epoch {len(history.loss):{len(str(epochs))}}/{epochs}", f"loss {history.loss[-1]:.4f}"]
    if not math.isnan(history.val_score[-1]):
        parts += [f"val loss {history.val_loss[-1]:.4f}", f"val score {history.val_score[-1]:.4f}"]
    return "  ".join([*parts, f"lr {history.learning_rate[-1]:.2g}", f"{history.seconds[-1]:.2f} s"])


def _report_divergence(loss: float, progress: Progress, recipe: Recipe) -> None:
    """Say that the loss is not finite: a warning if an epoch was finished, else an error."""
    what = "loss" if not math.isfinite(loss) else "weights"
    message = (
        f"The {what} became {loss if what == 'loss' else 'infinite'} in epoch {progress.epochs + 1} with"
        f" learning_rate={recipe.learning_rate:g} and {recipe.optimizer!r}. Try a smaller learning_rate,"
        " standardize=True, or BatchNorm layers."
    )
    if not progress.epochs:
        raise ValueError(message)
    warnings.warn(f"{message} The model of the last finite epoch is kept.", ConvergenceWarning, stacklevel=6)


def _report_end_of_schedule(recipe: Recipe, learning_rate: float) -> None:
    """Say that training goes on where its schedule has ended."""
    warnings.warn(
        f"partial_fit goes beyond max_iter={recipe.max_iter} epochs, after which {recipe.schedule!r} has come to its"
        f" end: the learning rate stays at {learning_rate:g}, where little or nothing is learnt. Set max_iter to the"
        " number of calls that you plan, or schedule='constant'.",
        UserWarning,
        stacklevel=6,
    )
