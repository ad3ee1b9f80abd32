"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import ufunc_settings
from ..exceptions import warn_user
from ..losses import mean_loss
from .data import Data
from .epochs import Epochs
from .inputs import check_range
from .interruption import ends_everything
from .passes import Tally
from .progress import Fit, History, Recipe, Snapshot

LINE = 10.0  # shortest time between two printed lines within an epoch, in seconds
# A loss counts as worse than the best constant prediction if it is larger by 1 or by that prediction's loss, whichever
# is more. Networks that learn may be slightly worse: with a dropout of 0.9 on noise, the loss is larger by nine tenths.
# In a single epoch, the mean loss includes the first steps, which may be far worse.
MARGIN, SINGLE_EPOCH = 1.0, 100.0
GROWTH = 10  # factor by which the penalty may grow in a training that ends no better than a constant prediction
ROWS = 256  # images that are checked at a time


@dataclass(frozen=True)
class Hooks:
    """Functions and texts of an estimator, on which the training loop itself does not depend."""

    score: Callable[[Tally], float]  # returns the training score of an epoch
    convergence_warning: type[Warning]
    remedies: str  # advice after a divergence
    validate: Callable[[], tuple[float, float]] | None = None  # returns loss and score on the validation set
    # Called when an epoch begins. It returns a function that is called when the epoch ends, and whose result may stop
    # the fit.
    watch: Callable[[], Callable[[], bool]] | None = None


def train(fit: Fit, data: Data, recipe: Recipe, hooks: Hooks, *, epochs: int, first_epoch: int = 0) -> bool:
    """Train a model in place, for ``epochs`` epochs or until it stops improving.

    With a validation set, the weights of the best epoch are restored at the end; without one, only after a divergence.

    Parameters
    ----------
    fit : Fit
        Record of the fit, changed in place. Its first ``fit.done`` epochs are done.
    data, recipe
        Training set, and parameters of the training.
    hooks : Hooks
        Scores, warnings and callbacks of the estimator.
    epochs : int
        Number of epochs, including the ``fit.done`` epochs.
    first_epoch : int, default=0
        Epoch of the schedule at which the training starts.

    Returns
    -------
    bool
        Whether training was completed. It is False after an interruption.

    Raises
    ------
    ValueError
        If the loss is not finite in the first epoch.
    KeyboardInterrupt
        If an interruption ends more than this fit.
    """
    model, progress, history, monitor = fit.model, fit.progress, fit.history, fit.monitor
    start: Snapshot | None = fit.snapshot()  # kept until there is a best epoch to restore instead
    validated = hooks.validate is not None
    last = max(len(history.loss) + epochs - fit.done, recipe.max_iter)  # partial_fit counts towards max_iter
    tally, penalty = None, 0.0
    # With a warm start, the model may be better before the first epoch than after any epoch.
    if hooks.validate is not None and history.loss and not fit.done:
        fit.note(*hooks.validate())
    try:
        with Epochs(fit, data, recipe, epochs) as team:
            penalty = team.passes.penalty()
            if first_epoch >= recipe.max_iter and recipe.schedule.ends() and not progress.warned:
                _report_end_of_schedule(recipe, team.passes.learning_rate(first_epoch))
                progress.warned = True
            for epoch in range(fit.done, epochs):
                if fit.is_done(recipe, validated):
                    break
                began = time.perf_counter()
                ended = _never if hooks.watch is None else hooks.watch()
                report = _line_within(history, last, len(data.rows), began) if recipe.verbose > 1 else _silent
                tally = team.run(first_epoch + epoch, report)
                loss = tally.loss + tally.penalty
                if not (math.isfinite(loss) and np.isfinite(model.weights).all() and np.isfinite(model.state).all()):
                    _check_images(data, model.weights.dtype)
                    _report_infinity(loss, fit, recipe, hooks)
                    fit.diverge(start)
                    ended()
                    break
                rate = team.passes.learning_rate(first_epoch + epoch)
                val_loss, val_score = (math.nan, math.nan) if hooks.validate is None else hooks.validate()
                measure = ("loss", loss) if hooks.validate is None else ("score", -val_score)
                trend = recipe.schedule.follow(progress.trend, *measure)
                history.loss.append(loss)
                history.score.append(math.nan if team.work.mixed else hooks.score(tally))
                history.learning_rate.append(rate)
                history.val_loss.append(val_loss)
                history.val_score.append(val_score)
                history.seconds.append(time.perf_counter() - began)
                # The epoch counts from this line on. After an interruption before it, the history is cut.
                progress.epochs, progress.trend = progress.epochs + 1, trend
                fit.done += 1
                if recipe.verbose:
                    print(_line(history, last), flush=True)
                fit.follow(recipe.tol, validated)
                start = None if monitor.best else start
                if ended():
                    break
    except KeyboardInterrupt:
        if ends_everything():
            raise
        history.cut(progress.epochs)
        warn_user("Training interrupted by user. The model keeps the weights learnt so far.", UserWarning)
        _restore_best(fit, validated)
        return False
    if tally is not None and not monitor.diverged and _is_worse_than_constant(tally, penalty, data, recipe, epochs):
        falling = fit.done > 1 and history.loss[-1] == min(history.loss[-fit.done :]) and tally.penalty < tally.loss
        _report_large_loss(tally, hooks, validated, falling)
        if not falling:
            fit.diverge(start)
    _restore_best(fit, validated)
    return True


def _restore_best(fit: Fit, validated: bool) -> None:
    if validated and fit.monitor.best is not None:
        fit.restore(fit.monitor.best)


def _is_worse_than_constant(tally: Tally, penalty: float, data: Data, recipe: Recipe, epochs: int) -> bool:
    """Return whether an epoch is far worse than the best constant prediction, by its loss or by its weights.

    A network whose units have died predicts a constant, with weights whose penalty is many times the ``penalty`` at the
    beginning of the training.
    """
    margin, total = MARGIN * (SINGLE_EPOCH if epochs == 1 else 1), tally.loss + tally.penalty
    if total <= margin - 1:  # no constant has a lower bound: c + margin * max(1, |c|) is at least margin - 1
        return False
    raw = np.broadcast_to(recipe.loss.base_score(data.targets, data.weights), tally.raw.shape)
    with ufunc_settings():
        constant = mean_loss(recipe.loss, raw, data.targets, data.weights)
    bound = constant + margin * max(1.0, abs(constant))
    return tally.loss > bound or (tally.loss >= constant and total > bound + GROWTH * penalty)


def _check_images(data: Data, dtype: np.dtype[Any]) -> None:
    """Raise a ValueError if the loss is not finite because the images are beyond the range of the precision."""
    if data.images.dtype.kind == "f" and data.images.itemsize > dtype.itemsize:
        for start in range(0, len(data.rows), ROWS):
            check_range(data.images[data.rows[start : start + ROWS]], dtype)


def _never() -> bool:
    return False


def _silent(rows: int, loss: float) -> None:
    pass


def _line_within(history: History, epochs: int, rows: int, began: float) -> Callable[[int, float], None]:
    """Return a function that prints a line when it is called, at most every `LINE` seconds."""
    printed = began

    def report(done: int, loss: float) -> None:
        nonlocal printed
        now = time.perf_counter()
        if now - printed >= LINE:
            printed = now
            share = f"{done / rows:4.0%} of {rows:,} rows"
            print(f"{_epoch(len(history.loss) + 1, epochs)}  {share}  loss {loss:.4f}  {now - began:.0f} s", flush=True)

    return report


def _epoch(number: int, epochs: int) -> str:
    return f"epoch {number:{len(str(epochs))}}/{epochs}"


def _line(history: History, epochs: int) -> str:
    """Return the last epoch as a line of text."""
    parts = [_epoch(len(history.loss), epochs), f"loss {history.loss[-1]:.4f}"]
    if not math.isnan(history.score[-1]):
        parts.append(f"score {history.score[-1]:.4f}")
    if not math.isnan(history.val_score[-1]):
        parts += [f"val loss {history.val_loss[-1]:.4f}", f"val score {history.val_score[-1]:.4f}"]
    return "  ".join([*parts, f"lr {history.learning_rate[-1]:.2g}", f"{history.seconds[-1]:.2f} s"])


def _report_infinity(loss: float, fit: Fit, recipe: Recipe, hooks: Hooks) -> None:
    """Warn of a loss or weights that are not finite, or raise a ValueError if no epoch was completed."""
    what = f"loss became {loss}" if not math.isfinite(loss) else "weights became infinite"
    message = (
        f"The {what} in epoch {fit.progress.epochs + 1} with learning_rate={recipe.learning_rate:g} and"
        f" {recipe.optimizer!r}. Try {hooks.remedies}."
    )
    if not fit.progress.epochs:
        raise ValueError(message)
    kept = "The model of the best epoch is kept." if fit.monitor.best else "The model from before this call is kept."
    warn_user(f"{message} {kept}", hooks.convergence_warning)


def _report_large_loss(tally: Tally, hooks: Hooks, validated: bool, falling: bool) -> None:
    """Warn that the trained model is worse than a constant prediction."""
    total = tally.loss + tally.penalty
    size = f"{tally.loss:.4g}" if tally.penalty < tally.loss else f"{total:.4g} with the penalty of alpha"
    if falling:
        said = "Training has not converged"
        advice = "The loss is still falling: try more epochs (max_iter) or a larger learning_rate."
    else:
        kept = "best validation score" if validated else "lowest loss"
        said = "Training has diverged"
        advice = f"The model of the epoch with the {kept} is kept. Try {hooks.remedies}."
    warn_user(
        f"{said}: the loss of the last epoch is {size}, larger than the loss of a constant prediction. {advice}",
        hooks.convergence_warning,
    )


def _report_end_of_schedule(recipe: Recipe, learning_rate: float) -> None:
    """Warn that training continues after the end of its schedule."""
    warn_user(
        f"partial_fit has passed max_iter={recipe.max_iter} epochs, where {recipe.schedule!r} ends. The learning rate"
        f" stays at {learning_rate:g}, with which the network learns little or nothing. Set max_iter to the number of"
        " calls that you plan, or schedule='constant'.",
        UserWarning,
    )
