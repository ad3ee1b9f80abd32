"""The training loop."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._arrays.elementwise import ufunc_settings
from .data import Data
from .model import Model
from .parallel import Team, one_blas_thread
from .passes import Passes
from .progress import History, Monitor, Progress, Recipe, Snapshot


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
    last_finite = Snapshot.take(model, progress)
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
                last_finite = Snapshot.take(model, progress)
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
