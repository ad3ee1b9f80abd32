"""State of a training: its recipe, and everything that it changes."""

from __future__ import annotations

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
    """How to train."""

    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    learning_rate: float
    alpha: float
    clip_norm: float | None
    average: float  # decay of the running mean of the weights; 0 for none
    batch_size: int
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    verbose: int
    threads: int
    augmentation: tuple[Augmentation, ...] = ()


@dataclass
class Progress:
    """Memory of a training from one call to the next: with it, two calls equal one of twice the length."""

    seed: int
    schedule: Schedule
    optimizer: tuple[str, ...]  # what filled the slots: its kind and their names
    slots: Any  # (slots of the optimizer, number of weights), or None where a pickle left them out
    epochs: int = 0
    steps: int = 0
    trained: Any = None  # the weights that are trained, where the model's are their running mean
    averaged: int = 0  # steps in that mean
    trend: Trend = field(default_factory=Trend)
    warned: bool = False  # that the schedule has come to its end
    weight_scale: float = 1.0  # what row weights are divided by

    @classmethod
    def begin(cls, model: Model, recipe: Recipe, seed: int) -> Progress:
        """Return the state before the first step."""
        slots = np.zeros((len(recipe.optimizer.slots), model.weights.size), model.weights.dtype)
        trained = model.weights.copy() if recipe.average else None
        return cls(seed, recipe.schedule, _slot_names(recipe.optimizer), slots, trained=trained)

    def copied(self) -> Progress:
        """As it is now."""
        trained = None if self.trained is None else self.trained.copy()
        return replace(self, slots=self.slots.copy(), trained=trained)

    def forgotten(self) -> Progress:
        """Without what is as large as the weights."""
        return replace(self, slots=None, trained=None, averaged=0)

    def resumed(self, model: Model, recipe: Recipe) -> Progress:
        """A copy for going on, as far as it fits the recipe; the model's weights become those to go on from."""
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
    val_loss: list[float] = field(default_factory=list)
    val_score: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def cut(self, epochs: int) -> None:
        """Forget what an interrupted epoch has noted beyond so many."""
        for values in vars(self).values():
            del values[epochs:]


@dataclass(frozen=True)
class Snapshot:
    """A copy of what each step changes, but for the optimizer's memory."""

    arrays: tuple[Array, ...]
    averaged: int

    @classmethod
    def take(cls, model: Model, progress: Progress) -> Snapshot:
        """Return a copy of the present state."""
        return cls(tuple(array.copy() for array in cls.copied_arrays(model, progress)), progress.averaged)

    def bring_back(self, model: Model, progress: Progress) -> None:
        """Make the model what it was."""
        for array, copied in zip(self.copied_arrays(model, progress), self.arrays, strict=True):
            array[:] = copied
        progress.averaged = self.averaged

    @staticmethod
    def copied_arrays(model: Model, progress: Progress) -> list[Array]:
        """The arrays that are copied."""
        return [model.weights, model.state, *([] if progress.trained is None else [progress.trained])]


@dataclass
class Monitor:
    """Whether training still improves, and its best epoch."""

    best_score: float = -np.inf  # on the validation set
    best_loss: float = np.inf  # of the epoch with that score
    best: Snapshot | None = None
    lowest_loss: float = np.inf  # of the training
    unchanged: int = 0  # epochs without improvement
    diverged: bool = False  # which ends the training, also of a checkpoint of that moment

    def follow(self, model: Model, progress: Progress, history: History, tol: float, validated: bool) -> None:
        """Note an epoch."""
        if validated:
            score = history.val_score[-1]
            improved = score >= self.best_score + tol
            self.note(model, progress, history.val_loss[-1], score)
        else:
            loss = history.loss[-1]
            improved = loss <= self.lowest_loss - tol
            self.lowest_loss = min(loss, self.lowest_loss)
        self.unchanged = 0 if improved else self.unchanged + 1

    def is_done(self, recipe: Recipe, validated: bool) -> bool:
        """Whether it has diverged, or the last few epochs have brought nothing."""
        may_stop = recipe.early_stopping or not validated
        return self.diverged or (may_stop and self.unchanged > recipe.n_iter_no_change)

    def note(self, model: Model, progress: Progress, loss: float, score: float) -> None:
        """Keep the weights, if theirs is the best validation score so far; of equal ones, that of the lowest loss."""
        if (score, -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss = score, loss
            self.best = Snapshot.take(model, progress)

    def bring_back_best(self, model: Model, progress: Progress) -> None:
        """Give the model the weights of the best validation score."""
        if self.best is not None:
            self.best.bring_back(model, progress)


@dataclass(frozen=True)
class Unfinished:
    """State at the end of an epoch besides model and history: everything that the rest of the fit depends on."""

    progress: Progress
    monitor: Monitor
    done: int  # epochs of this fit
    checksums: tuple[int, ...]  # of what it learns from, and of what it is validated on
