"""scikit-learn's callbacks: what they are told of a fit, and how they stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Watch:
    """The callbacks of a fit: one task for the fit, and one in it for each epoch.

    Parameters
    ----------
    estimator : estimator
        Being fitted.
    context : CallbackContext
        Of the fit.
    given : dict
        What hooks may ask for: X, y and metadata as the user gave them.
    """

    estimator: Any
    context: Any
    given: dict[str, Any]
    attributes: Callable[[], dict[str, Any]] = field(init=False)

    def begin(self, attributes: Callable[[], dict[str, Any]]) -> None:
        """The training begins; ``attributes`` gives those of an estimator that is fitted as far as this one."""
        self.attributes = attributes
        self.context.call_on_fit_task_begin(estimator=self.estimator, **self.given)

    def unfinished(self) -> tuple[Any, Any] | None:
        """Return what a callback has found of this fit, an estimator and its state, or None."""
        for callback in self.estimator._skl_callbacks:
            find = getattr(callback, "unfinished_fit", None)
            if find is not None and (found := find(self.estimator)) is not None:
                return found
        return None

    def end(self) -> None:
        """The fit ends."""
        self._end(self.context)

    def epoch(self) -> Callable[[], bool]:
        """An epoch begins; gives what is to be called when it ends, which tells whether a callback wants to stop."""
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
