"""Base of the losses: a pointwise loss with its link, on raw predictions, for weighted rows."""

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

    For classification, a target is a vector of class numbers (n,), of which exactly one is right in each row, or a
    matrix (n, k) of zeros and ones, one for each label; two classes are one label. For regression it is a matrix (n, k)
    of numbers, one for each output.
    """

    task: ClassVar[str] = "classification"  # or "regression"
    has_probabilities: ClassVar[bool] = False  # whether raw predictions are probabilities behind a link
    # Whether a regressor learns (y - mean) / standard deviation: predictions then have no link, and are scaled back.
    standardizes_targets: ClassVar[bool] = False

    def record(self, tape: Tape, raw: Array, target: Array) -> tuple[Array, Array]:
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


class MixedTargets(NamedTuple):
    """Two targets for each row, and how much the first one counts."""

    first: Array  # (n,) or (n, k)
    second: Array  # alike
    share: Array  # (n,), from 0 to 1


def record_loss(loss: Loss, tape: Tape, raw: Array, target: Array | MixedTargets) -> tuple[Array, Array]:
    """As `Loss.record`; for mixed targets, share * loss(first) + (1 - share) * loss(second).

    For losses that are linear in the target, as `LogLoss`, that is the loss of the mixed target; others, as those of
    margins, would make nonsense of half a class.
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
    """The weighted mean of the losses of raw predictions."""
    tape = Tape(np.float64, Batch(len(raw)))
    with tape.step("loss"):
        values, _ = loss.record(tape, raw, target)
    tape.replay(0)
    return float(np.average(values, weights=weights))


def scratch(tape: Tape, shape: Sequence[int], dtype: Any = np.float64) -> Array:
    """A buffer in the precision of losses."""
    return tape.scratch(shape, dtype)
