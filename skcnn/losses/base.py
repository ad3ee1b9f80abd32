"""Base of the losses, which are computed per row from raw predictions and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._arrays.elementwise import Array
from .._tape.tape import Batch, Tape
from ..description import Description, registered, resolve

TINY = np.finfo(np.float64).tiny


class Loss(Description):
    """Base of all losses.

    In classification with three or more classes, a target is a vector (n,) of class indices. With two classes it is a
    matrix (n, 1) of zeros and ones, and with k labels a matrix (n, k) of zeros and ones. In regression, a target is a
    matrix (n, k) of numbers, one per output.
    """

    task: ClassVar[str] = "classification"  # or "regression"
    # Whether a regressor learns standardized targets, (y - mean) / standard deviation. Predictions are then scaled back
    # instead of passed through a link.
    standardizes_targets: ClassVar[bool] = False
    has_probabilities: ClassVar[bool] = False  # whether `probabilities` is defined

    def record(self, tape: Tape, raw: Array, target: Array) -> tuple[Array, Array]:
        """Record the loss of raw predictions (n, k).

        Returns
        -------
        values : ndarray (n,)
            Loss of each row, in float64.
        gradient : ndarray (n, k)
            Gradient of the loss with respect to the raw predictions, in float64.
        """
        raise NotImplementedError

    def probabilities(self, raw: Array, exclusive: bool) -> Array:
        """Return the probabilities (n, k), in float64, that belong to raw predictions (n, k).

        If ``exclusive`` is true, the columns are classes and each row sums to 1. Otherwise they are independent labels.
        """
        raise NotImplementedError(f"{self!r} does not estimate probabilities.")

    def predict(self, raw: Array) -> Array:
        """Apply the inverse link to raw predictions (n, k) of a regressor; return predictions (n, k) in float64."""
        return raw.astype(np.float64)

    def base_score(self, target: Array, weights: Array) -> Array:
        """Return the initial bias (k,) of the output layer for a target (n, k) and weights (n,).

        In regression, it is the constant raw prediction with the lowest loss. In classification it is 0, so that all
        classes start equally probable.
        """
        return np.zeros(1 if target.ndim == 1 else target.shape[1])

    def check_target(self, target: Array, name: str = "y") -> None:
        """Raise a ValueError if the loss is not defined for this target."""


def resolve_loss(value: object, task: str) -> Loss:
    """Return the loss that a name or an object stands for.

    Raises
    ------
    ValueError
        If it is not a loss for ``task``. The message lists the valid names.
    """
    loss = resolve(Loss, value, "loss")
    if loss.task != task:
        names = [name for name, cls in registered(Loss).items() if cls.task == task]
        known = ", ".join(map(repr, names))
        raise ValueError(f"loss={value!r} is a loss for {loss.task}, not for {task}. Losses for {task}: {known}.")
    return loss


class MixedTargets(NamedTuple):
    """Two targets for each row, and the share of the first."""

    first: Array  # (n,) or (n, k)
    second: Array  # same shape
    share: Array  # (n,), from 0 to 1


def record_loss(loss: Loss, tape: Tape, raw: Array, target: Array | MixedTargets) -> tuple[Array, Array]:
    """Record the loss as `Loss.record` does, or share * loss(first) + (1 - share) * loss(second) for mixed targets.

    If a loss is linear in the target, such as `LogLoss`, this equals the loss of the mixed target. Other losses, such
    as `Hinge`, are not defined for a mixed target.
    """
    if not isinstance(target, MixedTargets):
        return loss.record(tape, raw, target)
    recorded, others = (loss.record(tape, raw, one) for one in (target.first, target.second))
    for mixed, other in zip(recorded, others, strict=True):
        share = target.share if mixed.ndim == 1 else target.share[:, None]
        tape(np.subtract, mixed, other, mixed)
        tape(np.multiply, mixed, share, mixed)
        tape(np.add, mixed, other, mixed)
    return recorded


def mean_loss(loss: Loss, raw: Array, target: Array, weights: Array) -> float:
    """Return the weighted mean of the per-row losses of raw predictions (n, k)."""
    tape = Tape(np.float64, Batch(len(raw)))
    with tape.step("loss"):
        values, _ = loss.record(tape, raw, target)
    tape.replay(0)
    return float(np.average(values, weights=weights))


def scratch(tape: Tape, shape: Sequence[int], dtype: Any = np.float64) -> Array:
    """Return a scratch buffer, in float64 unless ``dtype`` says otherwise."""
    return tape.scratch(shape, dtype)
