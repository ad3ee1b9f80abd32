"""Epochs of a training, on processes if that pays, and on threads otherwise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np

from .._arrays.elementwise import ufunc_settings
from ..exceptions import warn_user
from .data import Data
from .parallel import Team, one_blas_thread
from .passes import Passes, Tally, Work
from .processes import Processes, WorkersLostError, processes_worth
from .progress import Fit, Recipe


class Epochs:
    """Context manager of the processes or threads that train a model for up to ``epochs`` epochs."""

    def __init__(self, fit: Fit, data: Data, recipe: Recipe, epochs: int) -> None:
        self._fit, self._recipe = fit, recipe
        self.work = Work.of(fit.model, data, recipe)
        self._processes = processes_worth(self.work, recipe, epochs - fit.done)
        self._team = ExitStack()

    def __enter__(self) -> Self:
        one_blas_thread.__enter__()
        try:
            self.passes = self._on_threads() if self._processes == 1 else self._on_processes()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._team.close()
        finally:
            one_blas_thread.__exit__()

    def run(self, epoch: int, report: Callable[[int, float], None]) -> Tally:
        """Train for one epoch. If a worker is lost, threads repeat the epoch and do the remaining ones."""
        if self._processes == 1:
            with ufunc_settings():
                return self.passes.epoch(epoch, report)
        fit = self._fit
        before = fit.snapshot(), fit.progress.slots.copy(), fit.progress.steps
        try:
            with ufunc_settings():
                return self.passes.epoch(epoch, report)
        except WorkersLostError as lost:
            self._team.close()
            snapshot, fit.progress.slots[:], fit.progress.steps = before
            fit.restore(snapshot)
            self.passes = self._on_threads(lost, f"Epoch {fit.progress.epochs + 1} is repeated with threads.")
            return self.run(epoch, report)

    def _on_processes(self) -> Passes:
        """Return the passes of this process, when the workers have recorded theirs."""
        self._team.callback(self._fit.place, np.copy)  # when the workers have left
        try:
            team = self._team.enter_context(Processes(self._fit, self.work, self._recipe, self._processes))
            passes = Passes(self._fit, team.work, self._recipe, team.member)
            with ufunc_settings():
                passes.recorded(self.work.batch_size)
            team.ready()
        except WorkersLostError as lost:
            self._team.close()
            return self._on_threads(lost, "Threads are used instead.")
        return passes

    def _on_threads(self, lost: WorkersLostError | None = None, consequence: str = "") -> Passes:
        if lost is not None:
            warn_user(f"Training on {self._processes} processes is not possible: {lost}. {consequence}", UserWarning)
        self._processes = 1
        team = self._team.enter_context(Team(min(self._recipe.threads, self.work.shards)))
        return Passes(self._fit, self.work, self._recipe, team)
