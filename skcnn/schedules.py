"""Schedules: what the learning rate is multiplied by as training goes on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .description import Description, description, is_count, is_real, resolve


@dataclass(frozen=True)
class Trend:
    """State of a schedule that follows the training, from epoch to epoch.

    Parameters
    ----------
    factor : float
        What the learning rate is multiplied by, besides the factor of the moment.
    best : float
        The lowest value so far.
    unchanged : int
        Epochs without an improvement.
    measure : str
        What `best` is the best of: "loss" or "score".
    """

    factor: float = 1.0
    best: float = math.inf
    unchanged: int = 0
    measure: str = ""


class Schedule(Description):
    """Base of all schedules."""

    def factor(self, epoch: float, max_iter: float) -> float:
        """A number in [0, 1] for the moment ``epoch`` (2.5 is halfway through the third) of ``max_iter`` epochs."""
        raise NotImplementedError

    def follow(self, trend: Trend, measure: str, value: float) -> Trend:
        """The trend after an epoch at whose end the ``measure`` was ``value``, where lower is better."""
        return trend

    def ends(self) -> bool:
        """Whether it has come to its end after ``max_iter`` epochs, so that going on would learn little."""
        return False


@description
class Constant(Schedule):
    """The learning rate stays as it is.

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
    """The learning rate falls by a factor every few epochs.

    Parameters
    ----------
    step_size : int, default=10
        Epochs between two steps.
    gamma : float, default=0.1
        What the learning rate is multiplied by at each: 0 or more, at most 1.

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
    """The learning rate falls by the same factor in each epoch, step by step.

    Parameters
    ----------
    gamma : float, default=0.9
        What an epoch multiplies the learning rate by: 0 or more, at most 1.

    Notes
    -----
    factor = gamma ** epoch: PyTorch's ``ExponentialLR``, continued within an epoch.

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
    """The learning rate falls along a power of the epochs that are left, to its end after ``max_iter`` epochs.

    Parameters
    ----------
    power : float, default=1.0
        Above 0; 1 is a straight line.
    minimum : float, default=0.0
        The factor at the end, where it stays: 0 or more, at most 1.

    Notes
    -----
    factor = minimum + (1 - minimum) * (1 - epoch / max_iter) ** power. The "poly" policy of W. Liu, A. Rabinovich and
    A. Berg, "ParseNet", arXiv:1506.04579.

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
    """The learning rate falls as a power of the time that has gone by: fast at first, then ever more slowly.

    Parameters
    ----------
    power : float, default=0.5
        0 or more.

    Notes
    -----
    factor = 1 / (1 + epoch) ** power. H. Robbins and S. Monro, "A stochastic approximation method", 1951, ask for such
    a fall with a power above 1/2 and at most 1. `MLPClassifier` counts rows where this counts epochs.

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
    """The learning rate falls along half a cosine, step by step, to its end after ``max_iter`` epochs.

    Parameters
    ----------
    minimum : float, default=0.0
        The factor at the end, where it stays: 0 or more, at most 1.

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
    """The learning rate falls along half a cosine again and again.

    Parameters
    ----------
    period : int, default=10
        Epochs until the first restart.
    growth : float, default=1.0
        What each period is longer by than the one before: 1 or more. With ``period=10`` and ``growth=2``, restarts come
        after 10, 30 and 70 epochs.
    minimum : float, default=0.0
        The factor in front of a restart: 0 or more, at most 1.

    Notes
    -----
    factor = minimum + (1 - minimum) * (1 + cos(pi * passed / length)) / 2, where a period is ``length`` epochs long, of
    which ``passed`` have gone by. I. Loshchilov and F. Hutter, "SGDR", arXiv:1608.03983, equation 5. With restarts
    that fall together with ``max_iter``, the model that is kept is one of small steps: 30 epochs are 3 periods of 10.

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
    """The learning rate rises to its height and falls to almost nothing, along two halves of a cosine.

    Parameters
    ----------
    fraction : float, default=0.3
        Share of ``max_iter`` during which it rises: above 0, less than 1.
    start : float, default=0.04
        The factor at the beginning: 0 or more, at most 1.
    minimum : float, default=4e-6
        The factor at the end, where it stays: 0 or more, at most 1.

    Notes
    -----
    With p = epoch / max_iter, and c(a, b, q) = b + (a - b) * (1 + cos(pi q)) / 2,

        factor = c(start, 1, p / fraction) up to p = fraction, then c(1, minimum, (p - fraction) / (1 - fraction)).

    L. Smith and N. Topin, "Super-convergence", arXiv:1708.07120, in the form of PyTorch's ``OneCycleLR`` and with its
    defaults, but for the momentum, which stays as it is. The ``learning_rate`` of the estimator is the height, a few
    times what a constant one would be.

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
    """The learning rate rises along a straight line, then follows another schedule.

    Parameters
    ----------
    schedule : str or Schedule, default="constant"
        The other one. It begins where the rise ends, and has the rest of ``max_iter`` for itself.
    fraction : float, default=0.1
        Share of ``max_iter`` during which the learning rate rises: 0 or more, less than 1.
    start : float, default=0.0
        The factor at the beginning: 0 or more, at most 1.

    Notes
    -----
    With e = fraction * max_iter, factor = (start + (1 - start) * epoch / e) * schedule.factor(0, max_iter - e) up to e,
    then schedule.factor(epoch - e, max_iter - e). P. Goyal et al., "Accurate, large minibatch SGD", arXiv:1706.02677,
    section 2.2.

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
    """The learning rate falls whenever training has come to a plateau.

    After each epoch it looks at the validation score, or at the training loss where there is no validation set.

    Parameters
    ----------
    gamma : float, default=0.2
        What the learning rate is multiplied by on a plateau: 0 or more, less than 1.
    patience : int, default=3
        Epochs without an improvement that are borne: 0 or more. It should be less than the estimator's
        ``n_iter_no_change``, which ends a training that has come to a plateau.
    tol : float, default=1e-4
        What is no improvement yet: 0 or more.
    minimum : float, default=0.0
        The factor below which it does not fall: 0 or more, at most 1.

    Notes
    -----
    factor = max(factor * gamma, minimum) after ``patience + 1`` epochs in a row that were not better than the best
    by more than ``tol``. The rule is that of PyTorch's ``ReduceLROnPlateau`` with an absolute threshold; the factor 0.2
    and the name are those of ``learning_rate="adaptive"`` of `MLPClassifier`. The trend goes on from ``fit`` to
    ``partial_fit`` and from one warm start to the next, in a pickle too, until the schedule is another one.

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
        best = trend.best if trend.measure == measure else math.inf  # a score says nothing about a loss
        if value < best - self.tol:
            return Trend(trend.factor, value, 0, measure)
        if trend.unchanged < self.patience:
            return replace(trend, unchanged=trend.unchanged + 1)
        return replace(trend, factor=max(trend.factor * self.gamma, self.minimum), unchanged=0)


def _along_cosine(start: float, end: float, progress: float) -> float:
    """From ``start`` to ``end`` along half a cosine."""
    return float(end + (start - end) * (1 + math.cos(math.pi * progress)) / 2)
