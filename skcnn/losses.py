"""Losses: a pointwise loss with its link, on raw predictions, for weighted rows."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import expit, softmax

from .description import Description, description
from .functional.elementwise import Array, copy, row_max, row_sum
from .tape import Batch, Tape


class Loss(Description):
    """Base of all losses.

    A target is a vector of class numbers (n,), of which exactly one is right in each row, or a matrix (n, k) of zeros
    and ones, one for each label.
    """

    task: ClassVar[str] = "classification"  # or "regression"

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
        raise NotImplementedError


@description
class LogLoss(Loss):
    """Minus the logarithm of the probability that the model gives to the truth, also called cross-entropy.

    Notes
    -----
    For classes, with raw predictions z: -log softmax(z)[y] = log(sum over k of exp(z[k])) - z[y], with derivative
    softmax(z) - onehot(y). For labels, summed over them: log(1 + exp(z)) - y z, with derivative sigmoid(z) - y. C.
    Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, sections 4.3.2 and 4.3.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import LogLoss
    >>> LogLoss().probabilities(np.array([[0.0, 0.0]]), exclusive=True)
    array([[0.5, 0.5]])
    """

    name = "log_loss"

    def record(self, tape: Any, raw: Array, target: Array) -> tuple[Array, Array]:
        z = tape(copy, raw, tape.scratch(raw.shape, np.float64))
        if target.ndim == 1:
            return self._classes(tape, z, target)
        return self._labels(tape, z, target)

    def _classes(self, tape: Any, z: Array, target: Array) -> tuple[Array, Array]:
        n, k = z.shape
        truth = tape.scratch((n, k), bool)
        tape(np.equal, target[:, None], np.arange(k), truth)
        column = tape.scratch((n, 1), np.float64)
        tape(row_max, z, column)
        tape(np.subtract, z, column, z)  # now exp cannot overflow
        values, gradient = tape.scratch((n,), np.float64), tape.scratch((n, k), np.float64)
        tape(np.multiply, z, truth, gradient)
        tape(row_sum, gradient, values)  # z[y]
        tape(np.exp, z, gradient)
        tape(row_sum, gradient, column[:, 0])
        tape(np.divide, gradient, column, gradient)
        tape(np.subtract, gradient, truth, gradient)
        tape(np.log, column, column)
        tape(np.subtract, column[:, 0], values, values)
        return values, gradient

    def _labels(self, tape: Any, z: Array, target: Array) -> tuple[Array, Array]:
        values, gradient = tape.scratch((len(z),), np.float64), tape.scratch(z.shape, np.float64)
        tape(np.logaddexp, 0, z, gradient)
        product = tape(np.multiply, z, target, tape.scratch(z.shape, np.float64))
        tape(np.subtract, gradient, product, gradient)
        tape(row_sum, gradient, values)
        tape(expit, z, gradient)
        tape(np.subtract, gradient, target, gradient)
        return values, gradient

    def probabilities(self, raw: Array, exclusive: bool) -> Array:
        z = raw.astype(np.float64)
        return softmax(z, axis=1) if exclusive else expit(z)


class MixedTargets(NamedTuple):
    """Two targets for each row, and how much the first one counts."""

    first: Array  # (n,) or (n, k)
    second: Array  # alike
    share: Array  # (n,), from 0 to 1


def record_loss(loss: Loss, tape: Any, raw: Array, target: Array | MixedTargets) -> tuple[Array, Array]:
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
