"""Scores during a fit: the training score of an epoch, and the score on the validation set after it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring

from .._arrays.elementwise import Array, ufunc_settings
from .._engine.data import Data
from .._engine.frozen import Evaluation
from .._engine.passes import Tally
from .._engine.progress import Fit, Recipe
from ..exceptions import ValidationSetWarning, warn_user
from ..losses import Loss, mean_loss

# A validation set is suspicious if its score is this many standard errors below the score of a constant prediction,
# while the training score has come at least this share of the way from the constant prediction's score to 1.
ERRORS, LEARNT = 4, 0.5


def accuracy(truth: Array, predicted: Array, weights: Array) -> float:
    """Return the share of rows whose class is correct, or all of whose labels (n, k) are, like `accuracy_score`.

    scikit-learn's function is not used, because checking its arguments takes longer than an epoch of 50 images.
    """
    right = truth == predicted
    return float(weights @ (right if right.ndim == 1 else right.all(axis=1)) / weights.sum())


def r2(truth: Array, predicted: Array, weights: Array) -> float:
    """Return the coefficient of determination, averaged over the columns of (n, k), like `r2_score`."""
    mean = np.average(truth, axis=0, weights=weights)
    with np.errstate(over="ignore"):
        error, total = (weights @ (truth - other) ** 2 for other in (predicted, mean))
    constant = total == 0
    share = np.where(constant, (error > 0).astype(float), error / np.where(constant, 1, total))
    return float(1 - share.mean())


@dataclass(frozen=True)
class Judge:
    """Scores of raw predictions, by the parameter `scoring` of an estimator."""

    estimator: Any  # CNNClassifier or CNNRegressor
    loss: Loss

    def of_epoch(self, fit: Fit, data: Data) -> Callable[[Tally], float]:
        """Return a function that scores the predictions of an epoch, as NaN for one row or a user's scorer."""

        def score(tally: Tally) -> float:
            if self.estimator.scoring == "loss":
                return -tally.loss
            if len(data.rows) < 2 or callable(self.estimator.scoring):
                return math.nan
            return self.score(fit, data, tally.raw)

        return score

    def of_validation(self, fit: Fit, data: Data, recipe: Recipe) -> Callable[[], tuple[float, float]]:
        """Return the function that measures loss and score on the validation set."""
        evaluation = Evaluation(data, recipe)

        def validate() -> tuple[float, float]:
            raw = evaluation.raw(fit.model)
            with ufunc_settings():  # NumPy should not warn of an infinite loss
                loss = mean_loss(self.loss, raw, data.targets, data.weights)
            return loss, -loss if self.estimator.scoring == "loss" else self.score(fit, data, raw)

        return validate

    def score(self, fit: Fit, data: Data, raw: Array) -> float:
        """Return the score of raw predictions (rows, k) for the rows of the data."""
        with ufunc_settings():  # NumPy should not warn of a probability of 0
            if self.estimator.scoring is None:
                return self.estimator._score_raw(raw, data.targets, data.weights)
            return self._by_scorer(fit, data, raw)

    def _by_scorer(self, fit: Fit, data: Data, raw: Array) -> float:
        """Return the score of a scorer or a callable, which get an estimator that knows the raw predictions."""
        shell = self.estimator._shell(fit)
        scorer = check_scoring(shell, scoring=shell.scoring)
        images = data.images[data.rows] if callable(shell.scoring) else data.images[:1]  # a named scorer reads none
        # The scorer calls the estimator's methods, which use the known raw predictions instead of predicting again.
        known = raw.astype(np.float64)
        shell.__dict__["_raw"] = lambda X: known if X is images else type(shell)._raw(shell, X)
        weighted = {"sample_weight": data.weights} if data.is_weighted else {}
        return float(scorer(shell, images, data.y, **weighted))

    def warn_of_validation(self, fit: Fit, data: Data) -> None:
        """Warn if a network that has learnt its training images scores below a constant prediction on validation."""
        best, score = fit.monitor.best_score, fit.history.score[-1:]
        if self.estimator.scoring is not None or not score or not math.isfinite(best):
            return
        constant, error = self.estimator._constant_score(data.targets, data.weights)
        if score[0] > constant + LEARNT * (1 - constant) and best < constant - ERRORS * error:
            warn_user(
                f"The best score on the validation set, {best:.3f}, is below the score of a constant prediction,"
                f" {constant:.3f}, while the score on the training images is {score[0]:.3f}. y_val may have another"
                " coding or unit than y, or X_val may be prepared differently from X. Meta-estimators that transform y,"
                " such as TransformedTargetRegressor and VotingClassifier, pass y_val on unchanged. Transform y_val in"
                " the same way, or use early_stopping=True, which sets rows aside.",
                ValidationSetWarning,
            )
