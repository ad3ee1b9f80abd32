"""What a loss is: a pointwise loss with its link, on raw predictions, for weighted rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..description import Description, registered, resolve
from ..functional.elementwise import Array
from ..tape import Batch, Tape


class Loss(Description):
    """Base of all losses.

    For classification, a target is a vector of class numbers (n,), of which exactly one is right in each row, or a
    matrix (n, k) of zeros and ones, one for each label; two classes are one label. For regression it is a matrix (n, k)
    of numbers, one for each output.
    """

    task: ClassVar[str] = "classification"  # or "regression"
    has_probabilities: ClassVar[bool] = False  # whether raw predictions are probabilities behind a link

    def record(self, tape: Any, raw: Array, target: Array) -> tuple[Array, Array]:
        """Record the loss of raw predictions (n, k).

        Returns
        -------
        values : ndarray (n,)
            The loss of each row.
        gradient : ndarray (n, k)
            Its derivative by the raw predictions.

        Both are in float64.
        """
        raise NotImplementedError

    def probabilities(self, raw: Array, exclusive: bool) -> Array:
        """Raw predictions (n, k) -> probabilities (n, k) in float64; ``exclusive``: of classes, not of labels."""
        raise NotImplementedError(f"{self!r} does not estimate probabilities.")

    def predict(self, raw: Array) -> Array:
        """For regression: raw predictions (n, k) -> predictions (n, k) in float64, through the inverse of the link."""
        return raw.astype(np.float64)

    def base_score(self, target: Array, weights: Array) -> Array:
        """The best constant raw predictions (k,) for a target (n, k): where the output's bias of a regressor starts.

        Zeros for classification, where at first all classes are equally probable.
        """
        return np.zeros(1 if target.ndim == 1 else target.shape[1])

    def check_target(self, target: Array, name: str = "y") -> None:
        """Raise a ValueError, if the loss has no meaning for this target."""


def resolve_loss(value: object, task: str) -> Loss:
    """The loss behind what a user wrote; a ValueError that lists the names, if it is not one for ``task``."""
    loss = resolve(Loss, value, "loss")
    if loss.task != task:
        names = [name for name, cls in registered(Loss).items() if cls.task == task]
        known = ", ".join(map(repr, names))
        raise ValueError(f"loss={value!r} is a loss for {loss.task}, not for {task}. Those for {task}: {known}.")
    return loss


def mean_loss(loss: Loss, raw: Array, target: Array, weights: Array) -> float:
    """The weighted mean of the losses of raw predictions."""
    tape = Tape(np.float64, Batch(len(raw)))
    with tape.step("loss"):
        values, _ = loss.record(tape, raw, target)
    tape.replay(0)
    return float(np.average(values, weights=weights))


def scratch(tape: Any, shape: Sequence[int], dtype: Any = np.float64) -> Array:
    """A buffer in the precision of losses."""
    return tape.scratch(shape, dtype)
