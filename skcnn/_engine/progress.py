"""State of a training: its recipe, and everything that the training changes.

A checkpoint contains the model, `Progress`, `History` and `Monitor` at the end of an epoch. With the same parameters
and data, the rest of the fit depends on these alone, so a resumed fit gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from ..augmentation import Augmentation
from ..losses import Loss
from ..optimizers import Optimizer
from ..schedules import Schedule, Trend
from .model import Model


@dataclass(frozen=True)
class Recipe:
    """Parameters of a training."""

    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    learning_rate: float
    learning_rate_factors: Mapping[str, float] | None  # by patterns of the parameters' names
    alpha: float
    clip_norm: float | None
    average: float  # decay of the exponential moving average of the weights; 0 for none
    batch_size: int
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    verbose: int
    threads: int
    augmentation: tuple[Augmentation, ...] = ()
    freeze: str | None = None  # the last layer that is not trained
    freeze_statistics: bool = False  # of batch normalization in the trained layers
    test_time_augmentation: str | None = None  # of predictions for the validation set


@dataclass
class Progress:
    """State that a training keeps from one call to the next, so that two calls equal one call of twice the length."""

    seed: int
    schedule: Schedule
    optimizer: tuple[str, ...]  # class and slot names of the optimizer that has filled the slots
    slots: Any  # (slots of the optimizer, number of weights), or None if a pickle has left them out
    epochs: int = 0
    steps: int = 0
    trained: Any = None  # the trained weights, if the weights of the model are their average
    averaged: int = 0  # number of steps in the average
    trend: Trend = field(default_factory=Trend)
    warned: bool = False  # whether the user was warned that the schedule has ended
    weight_scale: float = 1.0  # mean sample weight in the first call, by which all sample weights are divided

    @classmethod
    def begin(cls, model: Model, recipe: Recipe, seed: int) -> Progress:
        """Return the state before the first step."""
        slots = np.zeros((len(recipe.optimizer.slots), model.weights.size), model.weights.dtype)
        trained = model.weights.copy() if recipe.average else None
        return cls(seed, recipe.schedule, _slot_names(recipe.optimizer), slots, trained=trained)

    def copied(self) -> Progress:
        """Return a copy that later steps do not change."""
        trained = None if self.trained is None else self.trained.copy()
        return replace(self, slots=self.slots.copy(), trained=trained)

    def forgotten(self) -> Progress:
        """Return a copy without arrays, which are as large as the weights."""
        return replace(self, slots=None, trained=None, averaged=0)

    def resumed(self, model: Model, recipe: Recipe) -> Progress:
        """Return a copy to continue with a recipe. State that does not fit the recipe starts from its beginning.

        If the recipe no longer averages, the trained weights replace the average in the model.
        """
        new = Progress.begin(model, recipe, self.seed)
        new.epochs, new.warned = self.epochs, self.warned
        if self.schedule == recipe.schedule:
            new.trend = self.trend
        if self.slots is not None and self.optimizer == new.optimizer:
            new.slots[:], new.steps = self.slots, self.steps
        if self.trained is not None and recipe.average:
            new.trained[:], new.averaged = self.trained, self.averaged
        elif self.trained is not None:
            model.weights[:] = self.trained
        return new


def _slot_names(optimizer: Optimizer) -> tuple[str, ...]:
    return type(optimizer).__qualname__, *optimizer.slots


@dataclass
class History:
    """Measurements, one entry per epoch."""

    loss: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_score: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def cut(self, epochs: int) -> None:
        """Remove the entries after the first ``epochs``, which an interrupted epoch has added."""
        for values in vars(self).values():
            del values[epochs:]


@dataclass(frozen=True)
class Snapshot:
    """Copy of everything that a step changes, except the optimizer's slots."""

    arrays: tuple[Array, ...]
    averaged: int

    @staticmethod
    def copied_arrays(model: Model, progress: Progress) -> list[Array]:
        """Return the arrays that are copied."""
        return [model.weights, model.state, *([] if progress.trained is None else [progress.trained])]


@dataclass
class Monitor:
    """Record of the best epoch and of the epochs without improvement.

    Epochs are compared by their validation score, or by their training loss if there is no validation set.
    """

    best_score: float = -np.inf  # on the validation set
    best_loss: float = np.inf  # of the best epoch
    best: Snapshot | None = None
    lowest_loss: float = np.inf  # on the validation set, or on the training set without one
    unchanged: int = 0  # number of epochs without improvement
    diverged: bool = False  # ends the training, also when it is resumed from a checkpoint


@dataclass
class Fit:
    """Record of a fit: a model in training, and everything else that training changes."""

    model: Model
    progress: Progress
    history: History = field(default_factory=History)
    monitor: Monitor = field(default_factory=Monitor)
    done: int = 0  # number of epochs in this fit

    def place(self, where: Callable[[Array], Array]) -> None:
        """Replace each array that a step changes by ``where(array)``, which returns other memory for it."""
        model, progress = self.model, self.progress
        model.weights, model.state = where(model.weights), where(model.state)
        progress.slots = where(progress.slots)
        progress.trained = None if progress.trained is None else where(progress.trained)

    def snapshot(self) -> Snapshot:
        """Return a copy of the present state."""
        arrays = Snapshot.copied_arrays(self.model, self.progress)
        return Snapshot(tuple(array.copy() for array in arrays), self.progress.averaged)

    def restore(self, snapshot: Snapshot) -> None:
        """Set the model to an earlier state."""
        for array, copied in zip(Snapshot.copied_arrays(self.model, self.progress), snapshot.arrays, strict=True):
            array[:] = copied
        self.progress.averaged = snapshot.averaged

    def note(self, loss: float, score: float = -np.inf) -> None:
        """Keep the weights if their validation score is the best so far. Ties are broken by the lowest loss."""
        monitor = self.monitor
        if (score, -loss) > (monitor.best_score, -monitor.best_loss):
            monitor.best_score, monitor.best_loss, monitor.best = score, loss, self.snapshot()

    def follow(self, tol: float, validated: bool) -> None:
        """Record the epoch that has just ended. It is an improvement if the score or the loss improves by ``tol``."""
        monitor, history = self.monitor, self.history
        score = history.val_score[-1] if validated else -np.inf
        loss = history.val_loss[-1] if validated else history.loss[-1]
        improved = loss <= monitor.lowest_loss - tol or (validated and score >= monitor.best_score + tol)
        monitor.lowest_loss = min(loss, monitor.lowest_loss)
        monitor.unchanged = 0 if improved else monitor.unchanged + 1
        self.note(loss, score)

    def is_done(self, recipe: Recipe, validated: bool) -> bool:
        """Return whether training has diverged, or the last epochs have brought no improvement."""
        may_stop = recipe.early_stopping or not validated
        return self.monitor.diverged or (may_stop and self.monitor.unchanged > recipe.n_iter_no_change)

    def diverge(self, start: Snapshot | None) -> None:
        """Restore the best epoch, or the start if there is none, and reset the optimizer, whose slots have diverged."""
        self.monitor.diverged = True
        if (snapshot := self.monitor.best or start) is not None:
            self.restore(snapshot)
        self.progress.slots[:], self.progress.steps = 0, 0


@dataclass(frozen=True)
class Unfinished:
    """State at the end of an epoch that a checkpoint contains in addition to the model and its history.

    Checksums replace the data, which the user passes again to resume the fit.
    """

    progress: Progress
    monitor: Monitor
    done: int  # number of epochs in this fit
    checksums: tuple[int, ...]  # of the training set, and of the validation set if there is one
