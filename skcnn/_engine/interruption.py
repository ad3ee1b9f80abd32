"""Ctrl-C during a fit. One press ends the fit and keeps its model. Two presses, or one in a search, raise."""

from __future__ import annotations

import math
import sys
import time

TWICE = 2.0  # longest time between two presses that count as a double press, in seconds
# Packages that run many fits and compare them. An interrupted fit must not be compared as if it were complete.
MANY_FITS = (
    "joblib", "dask", "distributed", "optuna", "ray", "hyperopt", "skopt",
    *(f"sklearn.{name}" for name in ("model_selection", "multioutput", "multiclass", "ensemble", "calibration")),
    "sklearn.feature_selection", "sklearn.semi_supervised",
)  # fmt: skip

_pressed = -math.inf  # time of the last interruption


def ends_everything() -> bool:
    """Return whether the interruption that has just happened ends more than its fit."""
    global _pressed
    before, _pressed = _pressed, time.monotonic()
    return _pressed - before < TWICE or _is_one_of_many()


def _is_one_of_many() -> bool:
    """Return whether the fit runs inside a search or a cross-validation."""
    frame = sys._getframe(1)
    while frame is not None:
        if f"{frame.f_globals.get('__name__')}.".startswith(tuple(f"{name}." for name in MANY_FITS)):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
