"""Ctrl-C: one press ends a fit, which keeps what it has learnt; two presses, or one in a search, end everything."""

from __future__ import annotations

import math
import sys
import time

TWICE = 2.0  # seconds between two presses that belong together
# Code that runs many fits and compares them. A fit that was interrupted must not be counted among them as a whole one.
MANY_FITS = {"joblib", "dask", "distributed", "optuna", "ray", "hyperopt", "skopt"}

_pressed = -math.inf  # the moment of the last interruption


def ends_everything() -> bool:
    """Whether an interruption that has just happened is to end more than the fit that it happened in."""
    global _pressed
    before, _pressed = _pressed, time.monotonic()
    return _pressed - before < TWICE or _is_one_of_many()


def _is_one_of_many() -> bool:
    """Whether the fit runs inside of a search or a cross-validation."""
    frame = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).split(".")[0] in MANY_FITS:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
