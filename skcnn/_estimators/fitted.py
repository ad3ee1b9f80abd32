"""Attributes of a fitted estimator, and its pickles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._arrays.elementwise import Array
from .._engine.model import Model, predictor_of
from .._engine.predictor import Predictor
from .._engine.progress import Fit, History, Progress, Unfinished
from .._engine.views import averaged_raw
from .._version import __version__
from ..versions import warn_of_other_version
from .pretrained import saved_parameters
from .readonly import ReadOnly
from .validation import DocumentationLink, check_images

VERSION = "_skcnn_version"  # key of the version of this package in pickles


class FittedNetwork(DocumentationLink, BaseEstimator):
    """Base class with the attributes of a fitted estimator, and raw predictions."""

    n_jobs: int | None
    test_time_augmentation: str | None
    # Only fits write these attributes.
    _model: Model
    _progress: Progress
    _predictor: Predictor
    _goes_on: bool  # whether a pickle contains the state of the optimizer
    _unfinished: Callable[[], Unfinished]  # only in the estimator that callbacks receive at the end of an epoch
    input_shape_: tuple[int, ...]
    history_: dict[str, list[float]]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def _history(self) -> History:
        """Return a copy of the history."""
        return History(**{name: list(values) for name, values in self.history_.items()})

    def _keep(self, fit: Fit) -> None:
        """Set the fitted attributes."""
        model, progress, history, best_score = fit.model, fit.progress, fit.history, fit.monitor.best_score
        model.weights.flags.writeable = model.state.flags.writeable = False
        self._model, self._progress = model, progress
        self._predictor = predictor_of(model)
        self.input_shape_ = model.network.input_shape
        self.input_mean_, self.input_scale_ = model.scaling.mean, model.scaling.scale
        self.layers_ = list(model.network.hidden)
        self.n_iter_ = progress.epochs
        self.history_ = asdict(history)
        self.loss_curve_ = self.history_["loss"]
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.best_loss_ = min(self.loss_curve_, default=np.nan)
        validated = not np.isnan(history.val_score).all()
        self.validation_scores_ = self.history_["val_score"] if validated else None
        self.best_validation_score_ = best_score if np.isfinite(best_score) else None

    def _raw(self, X: Any) -> Array:
        """Return raw predictions (n, outputs) in float64."""
        check_is_fitted(self)
        images = check_images(self, X, reset=False)
        raw = averaged_raw(self._predictor, images, self.test_time_augmentation, self.n_jobs)
        return raw.astype(np.float64, copy=False)

    @property
    def parameters_(self) -> dict[str, Array]:
        """Read-only arrays of the trained parameters by name, in forward order.

        They begin with ``conv1.kernel`` (kh, kw, c, filters), for example, and end with ``output.bias``.
        """
        check_is_fitted(self)
        return ReadOnly(self._model.network.weights.views(self._model.weights))

    @property
    def state_(self) -> dict[str, Array]:
        """Read-only arrays of the running statistics by name, such as ``batchnorm1.running_mean``."""
        check_is_fitted(self)
        return ReadOnly(self._model.network.state.views(self._model.state))

    @property
    def n_parameters_(self) -> int:
        """Total number of trained weights."""
        check_is_fitted(self)
        return self._model.weights.size

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_unfinished", None)
        if "_model" in state:
            del state["_predictor"]
            state = saved_parameters(state)
            if not state["_goes_on"]:  # the state of the optimizer may be twice as large as the weights
                state["_progress"] = state["_progress"].forgotten()
        return state | {VERSION: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        warn_of_other_version(type(self).__name__, state.pop(VERSION, None), stacklevel=2)
        super().__setstate__(state)
        if "_model" in state:
            # Arrays from a pickle are writeable, whatever they were before.
            self._model.weights.flags.writeable = self._model.state.flags.writeable = False
            self._predictor = predictor_of(self._model)
