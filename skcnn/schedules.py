"""Schedules: factors of the learning rate during training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .description import Description, description, is_count, is_real, resolve


@dataclass(frozen=True)
class Trend:
    """State that a schedule keeps from epoch to epoch.

    Parameters
    ----------
    factor : float
        Factor of the learning rate, in addition to the return value of `Schedule.factor`.
    best : float
        Lowest value so far.
    unchanged : int
        Number of epochs since the last improvement.
    measure : str
        Quantity that `best` refers to, "loss" or "score".
    """

    factor: float = 1.0
    best: float = math.inf
    unchanged: int = 0
    measure: str = ""


class Schedule(Description):
    """Base of all schedules."""

    def factor(self, epoch: float, max_iter: float) -> float:
        """Return the factor of the learning rate, from 0 to 1, at the time ``epoch`` of ``max_iter`` epochs.

        ``epoch`` is the number of completed epochs. It may be a fraction: 2.5 is the middle of the third epoch.
        """
        raise NotImplementedError

    def follow(self, trend: Trend, measure: str, value: float) -> Trend:
        """Return the trend after an epoch that ended with ``value`` for the ``measure``. Lower values are better."""
        return trend

    def ends(self) -> bool:
        """Return whether the schedule reaches its final factor after ``max_iter`` epochs.

        If so, further training with ``partial_fit`` or a warm start has little effect.
        """
        return False


@description
class Constant(Schedule):
    """Constant learning rate.

    Notes
    -----
    factor = 1.

    Examples
    --------
    >>> from skcnn.schedules import Constant
    >>> Constant().factor(3, max_iter=10)
    1.0
    """

    name = "constant"

    def factor(self, epoch: float, max_iter: float) -> float:
        return 1.0


@description
class Step(Schedule):
    """Learning rate multiplied by a factor every few epochs.

    Parameters
    ----------
    step_size : int, default=10
        Number of epochs between two steps, 1 or more.
    gamma : float, default=0.1
        Factor of each step, from 0 to 1.

    Notes
    -----
    factor = gamma ** floor(epoch / step_size).

    Examples
    --------
    >>> from skcnn.schedules import Step
    >>> [Step(step_size=10, gamma=0.5).factor(epoch, max_iter=30) for epoch in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    step_size: int = 10
    gamma: float = 0.1

    name = "step"

    def check(self) -> None:
        self._require("step_size", is_count(self.step_size), "an int of 1 or more")
        self._require("gamma", is_real(self.gamma, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        return float(self.gamma ** math.floor(epoch / self.step_size))


@description
class Exponential(Schedule):
    """Learning rate with exponential decay.

    Parameters
    ----------
    gamma : float, default=0.9
        Factor of each epoch, from 0 to 1.

    Notes
    -----
    factor = gamma ** epoch. At the end of each epoch it equals PyTorch's ``ExponentialLR``. Within an epoch, it changes
    with every step.

    Examples
    --------
    >>> from skcnn.schedules import Exponential
    >>> [Exponential(gamma=0.5).factor(epoch, max_iter=30) for epoch in (0, 1, 3)]
    [1.0, 0.5, 0.125]
    """

    gamma: float = 0.9

    name = "exponential"

    def check(self) -> None:
        self._require("gamma", is_real(self.gamma, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        return float(self.gamma**epoch)


@description
class Polynomial(Schedule):
    """Polynomial decay of the learning rate over ``max_iter`` epochs.

    Parameters
    ----------
    power : float, default=1.0
        Exponent, above 0. The default is a linear decay.
    minimum : float, default=0.0
        Factor after ``max_iter`` epochs and later, from 0 to 1.

    Notes
    -----
    factor = minimum + (1 - minimum) * (1 - epoch / max_iter) ** power. W. Liu, A. Rabinovich and A. Berg, "ParseNet",
    arXiv:1506.04579, call it the "poly" policy.

    Examples
    --------
    >>> from skcnn.schedules import Polynomial
    >>> [Polynomial(power=2).factor(epoch, max_iter=30) for epoch in (0, 15, 30)]
    [1.0, 0.25, 0.0]
    """

    power: float = 1.0
    minimum: float = 0.0

    name = "polynomial"

    def check(self) -> None:
        self._require("power", is_real(self.power, 0, open_low=True), "a number above 0")
        self._require("minimum", is_real(self.minimum, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        left = max(1 - epoch / max_iter, 0.0)
        return float(self.minimum + (1 - self.minimum) * left**self.power)

    def ends(self) -> bool:
        return True


@description
class InverseScaling(Schedule):
    """Decay of the learning rate with a power of the elapsed epochs.

    Parameters
    ----------
    power : float, default=0.5
        Exponent, 0 or more.

    Notes
    -----
    factor = 1 / (1 + epoch) ** power. H. Robbins and S. Monro, "A stochastic approximation method", 1951, require a
    power above 1/2 and at most 1. The "invscaling" schedule of `MLPClassifier` counts training samples instead of
    epochs.

    Examples
    --------
    >>> from skcnn.schedules import InverseScaling
    >>> [InverseScaling(power=0.5).factor(epoch, max_iter=30) for epoch in (0, 3, 8)]
    [1.0, 0.5, 0.3333333333333333]
    """

    power: float = 0.5

    name = "inverse_scaling"

    def check(self) -> None:
        self._require("power", is_real(self.power, 0), "a number of 0 or more")

    def factor(self, epoch: float, max_iter: float) -> float:
        return float((1 + epoch) ** -self.power)


@description
class Cosine(Schedule):
    """Cosine decay of the learning rate over ``max_iter`` epochs.

    Parameters
    ----------
    minimum : float, default=0.0
        Factor after ``max_iter`` epochs and later, from 0 to 1.

    Notes
    -----
    factor = minimum + (1 - minimum) * (1 + cos(pi * epoch / max_iter)) / 2. I. Loshchilov and F. Hutter, "SGDR",
    arXiv:1608.03983, equation 5, without restarts.

    Examples
    --------
    >>> from skcnn.schedules import Cosine
    >>> [round(Cosine().factor(epoch, max_iter=30), 2) for epoch in (0, 10, 15, 30)]
    [1.0, 0.75, 0.5, 0.0]
    """

    minimum: float = 0.0

    name = "cosine"

    def check(self) -> None:
        self._require("minimum", is_real(self.minimum, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        return _along_cosine(1.0, self.minimum, min(epoch / max_iter, 1.0))

    def ends(self) -> bool:
        return True


@description
class CosineRestarts(Schedule):
    """Cosine decay of the learning rate with warm restarts.

    Parameters
    ----------
    period : int, default=10
        Number of epochs before the first restart, 1 or more.
    growth : float, default=1.0
        Factor by which each period is longer than the previous one, 1 or more. With ``period=10`` and ``growth=2``,
        restarts happen after 10, 30 and 70 epochs.
    minimum : float, default=0.0
        Factor at the end of each period, from 0 to 1.

    Notes
    -----
    factor = minimum + (1 - minimum) * (1 + cos(pi * passed / length)) / 2, where ``length`` is the length of the
    current period in epochs and ``passed`` the number of epochs since it began. I. Loshchilov and F. Hutter, "SGDR",
    arXiv:1608.03983, equation 5.

    Choose ``max_iter`` so that training ends with a period, for example 30 epochs for 3 periods of 10. The last steps
    are then small.

    Examples
    --------
    >>> from skcnn.schedules import CosineRestarts
    >>> [round(CosineRestarts(period=10).factor(epoch, max_iter=30), 2) for epoch in (0, 5, 10, 29)]
    [1.0, 0.5, 1.0, 0.02]
    """

    period: int = 10
    growth: float = 1.0
    minimum: float = 0.0

    name = "cosine_restarts"

    def check(self) -> None:
        self._require("period", is_count(self.period), "an int of 1 or more")
        self._require("growth", is_real(self.growth, 1), "a number of 1 or more")
        self._require("minimum", is_real(self.minimum, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        passed, length = float(epoch), float(self.period)
        if self.growth == 1:
            passed %= length
        while passed >= length:
            passed, length = passed - length, length * self.growth
        return _along_cosine(1.0, self.minimum, passed / length)


@description
class OneCycle(Schedule):
    """One cycle: cosine increase to the peak learning rate, then cosine decay to almost 0.

    Parameters
    ----------
    fraction : float, default=0.3
        Share of ``max_iter`` spent increasing the learning rate, above 0 and less than 1.
    start : float, default=0.04
        Factor at the start, from 0 to 1.
    minimum : float, default=4e-6
        Factor after ``max_iter`` epochs and later, from 0 to 1.

    Notes
    -----
    With p = epoch / max_iter, and c(a, b, q) = b + (a - b) * (1 + cos(pi q)) / 2,

        factor = c(start, 1, p / fraction) up to p = fraction, then c(1, minimum, (p - fraction) / (1 - fraction)).

    L. Smith and N. Topin, "Super-convergence", arXiv:1708.07120. Form and defaults match PyTorch's ``OneCycleLR``,
    except that the momentum is constant. The peak is the ``learning_rate`` of the estimator. Set it a few times higher
    than a constant learning rate.

    Examples
    --------
    >>> from skcnn.schedules import OneCycle
    >>> [round(OneCycle().factor(epoch, max_iter=30), 2) for epoch in (0, 9, 20, 30)]
    [0.04, 1.0, 0.46, 0.0]
    """

    fraction: float = 0.3
    start: float = 0.04
    minimum: float = 4e-6

    name = "one_cycle"

    def check(self) -> None:
        inside = is_real(self.fraction, 0, 1, open_low=True, open_high=True)
        self._require("fraction", inside, "a number above 0 and less than 1")
        self._require("start", is_real(self.start, 0, 1), "a number from 0 to 1")
        self._require("minimum", is_real(self.minimum, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        progress = min(epoch / max_iter, 1.0)
        if progress < self.fraction:
            return _along_cosine(self.start, 1.0, progress / self.fraction)
        return _along_cosine(1.0, self.minimum, (progress - self.fraction) / (1 - self.fraction))

    def ends(self) -> bool:
        return True


@description
class Warmup(Schedule):
    """Linear warmup of the learning rate, followed by another schedule.

    Parameters
    ----------
    schedule : str or Schedule, default="constant"
        Schedule after the warmup. It starts at its beginning, and runs over the remaining epochs.
    fraction : float, default=0.1
        Share of ``max_iter`` spent on the warmup, 0 or more and less than 1.
    start : float, default=0.0
        Factor at the start of the warmup, from 0 to 1.

    Notes
    -----
    The warmup takes e = fraction * max_iter epochs. During it,
    factor = (start + (1 - start) * epoch / e) * schedule.factor(0, max_iter - e). After it,
    factor = schedule.factor(epoch - e, max_iter - e). P. Goyal et al., "Accurate, large minibatch SGD",
    arXiv:1706.02677, section 2.2.

    Examples
    --------
    >>> from skcnn.schedules import Warmup
    >>> [Warmup("cosine", fraction=0.2).factor(epoch, max_iter=10) for epoch in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    schedule: str | Schedule = "constant"
    fraction: float = 0.1
    start: float = 0.0

    name = "warmup"

    def check(self) -> None:
        self._inner()
        self._require("fraction", is_real(self.fraction, 0, 1, open_high=True), "a number of 0 or more and less than 1")
        self._require("start", is_real(self.start, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        rise = self.fraction * max_iter
        risen = self.start + (1 - self.start) * epoch / rise if epoch < rise else 1.0
        return risen * self._inner().factor(max(epoch - rise, 0.0), max_iter - rise)

    def follow(self, trend: Trend, measure: str, value: float) -> Trend:
        return self._inner().follow(trend, measure, value)

    def ends(self) -> bool:
        return self._inner().ends()

    def _inner(self) -> Schedule:
        return resolve(Schedule, self.schedule, "schedule")


@description
class Adaptive(Schedule):
    """Learning rate reduced on plateaus.

    The schedule monitors the validation score after each epoch, or the training loss if there is no validation set.

    Parameters
    ----------
    gamma : float, default=0.2
        Factor of each reduction, 0 or more and less than 1.
    patience : int, default=3
        Number of epochs without improvement to tolerate, 0 or more. Choose it smaller than the estimator's
        ``n_iter_no_change``, which stops training on a plateau.
    tol : float, default=1e-4
        Minimum change that counts as an improvement, 0 or more.
    minimum : float, default=0.0
        Lowest factor, from 0 to 1.

    Notes
    -----
    factor = max(factor * gamma, minimum) after ``patience + 1`` consecutive epochs that did not improve the best value
    by more than ``tol``. PyTorch's ``ReduceLROnPlateau`` with an absolute threshold uses the same rule. The factor 0.2
    and the name are from ``learning_rate="adaptive"`` of `MLPClassifier`.

    The state persists from ``fit`` to ``partial_fit`` and across warm starts, and is pickled. It is reset when you set
    a different schedule.

    Examples
    --------
    >>> from skcnn.schedules import Adaptive, Trend
    >>> schedule, trend = Adaptive(patience=1), Trend()
    >>> for loss in (2.0, 1.0, 1.1, 1.0):
    ...     trend = schedule.follow(trend, "loss", loss)
    >>> trend.factor
    0.2
    """

    gamma: float = 0.2
    patience: int = 3
    tol: float = 1e-4
    minimum: float = 0.0

    name = "adaptive"

    def check(self) -> None:
        self._require("gamma", is_real(self.gamma, 0, 1, open_high=True), "a number of 0 or more and less than 1")
        self._require("patience", is_count(self.patience, 0), "an int of 0 or more")
        self._require("tol", is_real(self.tol, 0), "a number of 0 or more")
        self._require("minimum", is_real(self.minimum, 0, 1), "a number from 0 to 1")

    def factor(self, epoch: float, max_iter: float) -> float:
        return 1.0

    def follow(self, trend: Trend, measure: str, value: float) -> Trend:
        best = trend.best if trend.measure == measure else math.inf  # scores and losses are not comparable
        if value < best - self.tol:
            return Trend(trend.factor, value, 0, measure)
        if trend.unchanged < self.patience:
            return replace(trend, unchanged=trend.unchanged + 1)
        return replace(trend, factor=max(trend.factor * self.gamma, self.minimum), unchanged=0)


def _along_cosine(start: float, end: float, progress: float) -> float:
    """Interpolate from ``start`` to ``end`` along half a cosine; ``progress`` is from 0 to 1."""
    return float(end + (start - end) * (1 + math.cos(math.pi * progress)) / 2)
