"""Optimizers: a few calls on flat vectors.

An optimizer is a description; what it remembers between steps lies in vectors of the weights' length, which the
training owns. `tick` writes the numbers of a step into a small array, from which the recorded calls read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .description import Description, description, is_real
from .functional.elementwise import Array


class Optimizer(Description):
    """Base of all optimizers."""

    slots: ClassVar[tuple[str, ...]] = ()  # the vectors that it keeps from step to step, zeros at the start
    scalars: ClassVar[tuple[str, ...]] = ("step_size",)  # the numbers that change from step to step

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        """The scalars of step 1, 2, ..."""
        return (learning_rate,)

    def record(self, tape: Any, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        """Record the update of the weights ``w`` by the gradient ``g``, which may be overwritten."""
        raise NotImplementedError


@description
class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    momentum : float, default=0.9
        0 or more, less than 1; 0 is plain gradient descent.
    nesterov : bool, default=True
        Whether the momentum looks a step ahead.

    Notes
    -----
    v = momentum v + g; w = w - learning_rate (g + momentum v), or w - learning_rate v without Nesterov. I. Sutskever
    et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in the form of PyTorch's
    ``SGD``. A usual learning rate is 0.01 to 0.1, more than the estimators' default, which suits Adam.

    Examples
    --------
    >>> from skcnn.optimizers import SGD
    >>> SGD(momentum=0.8).slots
    ('velocity',)
    """

    momentum: float = 0.9
    nesterov: bool = True

    name = "sgd"
    slots = ("velocity",)

    def check(self) -> None:
        self._require("momentum", is_real(self.momentum, 0, 1, open_high=True), "a number of 0 or more and less than 1")
        self._require("nesterov", isinstance(self.nesterov, (bool, np.bool)), "True or False")

    def record(self, tape: Any, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        v = slots["velocity"]
        step = tape.scratch(w.shape)
        tape(np.multiply, v, self.momentum, v)
        tape(np.add, v, g, v)
        if self.nesterov:
            tape(np.multiply, v, self.momentum, step)
            tape(np.add, step, g, step)
            tape(np.multiply, step, scalars["step_size"], step)
        else:
            tape(np.multiply, v, scalars["step_size"], step)
        tape(np.subtract, w, step, w)


@description
class Adam(Optimizer):
    """Steps of nearly the same size for every weight, by running moments of its gradient.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Weight of the past in the first moment: 0 or more, less than 1.
    beta_2 : float, default=0.999
        Weight of the past in the second moment: 0 or more, less than 1.
    epsilon : float, default=1e-8
        Added to the root of the second moment.

    Notes
    -----
    m = beta_1 m + (1 - beta_1) g, v = beta_2 v + (1 - beta_2) g ** 2, and in step t

        w = w - learning_rate * (m / (1 - beta_1 ** t)) / (sqrt(v / (1 - beta_2 ** t)) + epsilon).

    What is kept are the sums m / (1 - beta_1) and v / (1 - beta_2); these factors and the corrections by t are folded
    into the step size and into epsilon, which saves four passes over the weights.
    D. Kingma and J. Ba, "Adam", arXiv:1412.6980, algorithm 1.

    Examples
    --------
    >>> from skcnn.optimizers import Adam
    >>> Adam(beta_2=0.99)
    Adam(beta_2=0.99)
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    name = "adam"
    slots = ("mean", "square")
    scalars = ("step_size", "epsilon")

    def check(self) -> None:
        for field in ("beta_1", "beta_2"):
            value = is_real(getattr(self, field), 0, 1, open_high=True)
            self._require(field, value, "a number of 0 or more and less than 1")
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), "a number above 0")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        root = math.sqrt((1 - self.beta_2**step) / (1 - self.beta_2))
        return learning_rate * root * (1 - self.beta_1) / (1 - self.beta_1**step), self.epsilon * root

    def record(self, tape: Any, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        m, v = slots["mean"], slots["square"]
        s = tape.scratch(w.shape)
        tape(np.multiply, m, self.beta_1, m)
        tape(np.add, m, g, m)
        tape(np.multiply, v, self.beta_2, v)
        tape(np.multiply, g, g, g)
        tape(np.add, v, g, v)
        tape(np.sqrt, v, s)
        tape(np.add, s, scalars["epsilon"], s)
        tape(np.divide, m, s, s)
        tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)
