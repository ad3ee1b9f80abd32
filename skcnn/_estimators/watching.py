"""Calls of scikit-learn's callbacks during a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Watch:
    """Callbacks of a fit, with one task for the fit and a task inside it for each epoch.

    Parameters
    ----------
    estimator : estimator
        Estimator that is being fitted.
    context : CallbackContext
        Context of the fit.
    given : dict
        X, y and metadata in the user's form, which callbacks may ask for.
    """

    estimator: Any
    context: Any
    given: dict[str, Any]
    attributes: Callable[[], dict[str, Any]] = field(init=False)

    def begin(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """Call the callbacks at the beginning of the fit.

        ``attributes`` is a function that returns the attributes of an estimator fitted up to the current epoch.
        """
        self.attributes = attributes
        self.context.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def unfinished(self) -> tuple[Any, Any] | None:
        """Return the estimator and the state of an unfinished fit that a callback has saved, or None."""
        for callback in self.estimator._skl_callbacks:
            find = getattr(callback, "unfinished_fit", None)
            if find is not None and (found := find(self.estimator)) is not None:
                return found
        return None

    def end(self) -> None:
        """Call the callbacks at the end of the fit."""
        self._end(self.context)

    def epoch(self) -> Callable[[], bool]:
        """Call the callbacks at the beginning of an epoch, and return a function for its end.

        The function returns whether a callback stops the fit.
        """
        context = self.context.subcontext(task_name="epoch")
        context.call_on_fit_task_begin(
            estimator=self.estimator, reconstruction_attributes=self.attributes, **self.given
        )
        return lambda: self._end(context)

    def _end(self, context: Any) -> bool:
        stop = context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=self.attributes, **self.given
        )
        return bool(stop)
