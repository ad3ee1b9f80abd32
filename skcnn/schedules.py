"""Schedules: what the learning rate is multiplied by as training goes on."""

from __future__ import annotations

import math

from .description import Description, description, is_count, is_real


class Schedule(Description):
    """Base of all schedules."""

    def factor(self, epoch: float, max_iter: int) -> float:
        """A number in [0, 1] for the moment ``epoch`` (2.5 is halfway through the third) of ``max_iter`` epochs."""
        raise NotImplementedError


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

    def factor(self, epoch: float, max_iter: int) -> float:
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

    def factor(self, epoch: float, max_iter: int) -> float:
        return float(self.gamma ** math.floor(epoch / self.step_size))


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

    def factor(self, epoch: float, max_iter: int) -> float:
        progress = min(epoch / max_iter, 1)
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * progress)) / 2
