"""Losses for regression."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, row_sum
from .._tape.tape import Tape
from ..description import description, is_real
from .base import TINY, Loss, scratch


class _Regression(Loss):
    """Loss of single numbers, averaged over the outputs of a row."""

    task = "regression"
    standardizes_targets = True

    def record(self, tape: Tape, raw: Array, target: Array) -> tuple[Array, Array]:
        z = tape(copy, raw, scratch(tape, raw.shape))
        each, slope = scratch(tape, raw.shape), scratch(tape, raw.shape)
        self.record_each(tape, z, target, each, slope)
        values = scratch(tape, (len(raw),))
        tape(row_sum, each, values)
        tape(np.multiply, values, 1 / raw.shape[1], values)
        return values, tape(np.multiply, slope, 1 / raw.shape[1], slope)

    def record_each(self, tape: Tape, z: Array, target: Array, each: Array, slope: Array) -> None:
        """Record calls that write the loss of each number to ``each`` and its derivative to ``slope``.

        All arrays have the shape (n, outputs). The derivative is with respect to ``z``, which may be overwritten.
        """
        raise NotImplementedError


@description
class SquaredError(_Regression):
    """Half the squared error. The best constant prediction is the mean.

    Notes
    -----
    The loss is (z - y) ** 2 / 2, with derivative z - y, averaged over the outputs. C. F. Gauss, *Theoria motus*, 1809.
    C. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, section 3.1.1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import SquaredError, mean_loss
    >>> mean_loss(SquaredError(), np.array([[3.0]]), np.array([[1.0]]), np.ones(1))
    2.0
    """

    name = "squared_error"

    def record_each(self, tape: Tape, z: Array, target: Array, each: Array, slope: Array) -> None:
        tape(np.subtract, z, target, slope)
        tape(np.multiply, slope, slope, each)
        tape(np.multiply, each, 0.5, each)

    def base_score(self, target: Array, weights: Array) -> Array:
        return np.average(target, axis=0, weights=weights)


@description
class AbsoluteError(_Regression):
    """Absolute error. The best constant prediction is the median, which outliers do not move.

    Notes
    -----
    The loss is abs(z - y), averaged over the outputs. Its derivative is sign(z - y), and 0 at z = y. P.-S. Laplace,
    1774. See P. Huber, *Robust Statistics*, Wiley 1981, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import AbsoluteError, mean_loss
    >>> mean_loss(AbsoluteError(), np.array([[3.0]]), np.array([[1.0]]), np.ones(1))
    2.0
    """

    name = "absolute_error"

    def record_each(self, tape: Tape, z: Array, target: Array, each: Array, slope: Array) -> None:
        tape(np.subtract, z, target, slope)
        tape(np.abs, slope, each)
        tape(np.sign, slope, slope)

    def base_score(self, target: Array, weights: Array) -> Array:
        return _quantile(target, weights, 0.5)


@description
class Huber(_Regression):
    """Squared error for small errors, absolute error for large ones.

    Parameters
    ----------
    delta : float, default=1.0
        Threshold between squared and absolute error, above 0. In a `CNNRegressor` its unit is the standard deviation
        of y, because targets are standardized.

    Notes
    -----
    With r = z - y, the loss is r ** 2 / 2 where abs(r) <= delta, and delta (abs(r) - delta / 2) elsewhere. Its
    derivative is r, clipped to -delta and delta. Both are averaged over the outputs. P. Huber, "Robust estimation of a
    location parameter", Annals of Mathematical Statistics 35, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import Huber, mean_loss
    >>> mean_loss(Huber(), np.array([[0.5], [3.0]]), np.zeros((2, 1)), np.array([1.0, 0.0]))
    0.125
    """

    delta: float = 1.0

    name = "huber"

    def check(self) -> None:
        self._require("delta", is_real(self.delta, 0, open_low=True), "a number above 0")

    def record_each(self, tape: Tape, z: Array, target: Array, each: Array, slope: Array) -> None:
        tape(np.subtract, z, target, each)
        tape(np.clip, each, -float(self.delta), float(self.delta), slope)
        half = tape(np.multiply, slope, 0.5, z)
        tape(np.subtract, each, half, each)
        tape(np.multiply, each, slope, each)

    def base_score(self, target: Array, weights: Array) -> Array:
        """Return the median, moved one step towards the mean."""
        median = _quantile(target, weights, 0.5)
        return median + np.average(np.clip(target - median, -self.delta, self.delta), axis=0, weights=weights)


@description
class Quantile(_Regression):
    """Pinball loss, whose best prediction is a quantile of the targets.

    Parameters
    ----------
    quantile : float, default=0.5
        Share of the targets that lie below the prediction, above 0 and below 1. The default predicts the median.

    Notes
    -----
    The loss is quantile (y - z) where z <= y, and (1 - quantile) (z - y) elsewhere, averaged over the outputs. With
    0.5, it is half the absolute error. Two models, with 0.05 and 0.95, give an interval that contains nine tenths of
    the targets. R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46, 1978.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import Quantile, mean_loss
    >>> [mean_loss(Quantile(0.75), np.array([[z]]), np.zeros((1, 1)), np.ones(1)) for z in (-1.0, 1.0)]
    [0.75, 0.25]
    """

    quantile: float = 0.5

    name = "quantile"

    def check(self) -> None:
        valid = is_real(self.quantile, 0, 1, open_low=True, open_high=True)
        self._require("quantile", valid, "a number above 0 and below 1")

    def record_each(self, tape: Tape, z: Array, target: Array, each: Array, slope: Array) -> None:
        above = tape(np.greater, z, target, scratch(tape, z.shape, bool))
        tape(np.subtract, above, float(self.quantile), slope)
        tape(np.subtract, z, target, each)
        tape(np.multiply, each, slope, each)

    def base_score(self, target: Array, weights: Array) -> Array:
        return _quantile(target, weights, float(self.quantile))


@description
class Poisson(_Regression):
    """Poisson loss, for counts and other non-negative targets whose variance grows with their mean.

    Raises
    ------
    ValueError
        If a target is negative, or if all targets of an output are 0. Targets are checked in ``fit``.

    Notes
    -----
    The loss is exp(z) - y z, with derivative exp(z) - y, averaged over the outputs. The prediction is exp(z), so it is
    positive. Up to terms that do not depend on z, the loss is the negative logarithm of the Poisson probability of y
    with mean exp(z), which is half the deviance. scikit-learn minimizes the same function. P. McCullagh and J. Nelder,
    *Generalized Linear Models*, Chapman and Hall 1989, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import Poisson
    >>> Poisson().predict(Poisson().base_score(np.array([[1.0], [5.0]]), np.ones(2)))
    array([3.])
    """

    name = "poisson"
    standardizes_targets = False

    def record_each(self, tape: Tape, z: Array, target: Array, each: Array, slope: Array) -> None:
        tape(np.multiply, z, target, each)
        tape(np.exp, z, slope)
        tape(np.subtract, slope, each, each)
        tape(np.subtract, slope, target, slope)

    def predict(self, raw: Array) -> Array:
        return np.exp(raw.astype(np.float64))

    def base_score(self, target: Array, weights: Array) -> Array:
        return np.log(np.maximum(np.average(target, axis=0, weights=weights), TINY))

    def check_target(self, target: Array, name: str = "y") -> None:
        if target.min() < 0:
            raise ValueError(
                f"loss={self!r} needs targets of 0 or more, but {name} contains {target.min()}. Use 'squared_error', or"
                " subtract a lower bound from y."
            )
        if not (target.sum(axis=0) > 0).all():
            raise ValueError(
                f"loss={self!r} needs a positive target in every output, but {name} has a column of zeros."
            )


def _quantile(target: Array, weights: Array, share: float) -> Array:
    """Return the weighted quantile (k,) of each column of a target (n, k).

    It is the smallest target such that the weights of the targets up to it make the share.
    """
    order = np.argsort(target, axis=0)
    below = np.cumsum(weights[order], axis=0)
    # The tolerance is for rounding: integer weights that are scaled to a mean of 1 may add up to slightly less than
    # the share.
    found = np.sum(below < (share - 1e-9) * below[-1], axis=0)
    return np.take_along_axis(target, order, axis=0)[found, np.arange(target.shape[1])]
