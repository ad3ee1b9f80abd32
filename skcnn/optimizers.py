"""Optimizers: a few calls on flat vectors.

An optimizer is a description; what it remembers between steps lies in vectors of the weights' length, which the
training owns. `tick` writes the numbers of a step into a small array, from which the recorded calls read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ._arrays.elementwise import Array, maximum
from ._tape.tape import Tape
from .description import Description, description, is_real

FRACTION = "a number of 0 or more and less than 1"
POSITIVE = "a number above 0"


class Optimizer(Description):
    """Base of all optimizers.

    One of your own names its ``slots`` and ``scalars``, and has `tick` and `record`: see "Parts of your own" in the
    documentation. The weights are updated a chunk at a time, by several threads, so that what `record` records must be
    elementwise.

    Examples
    --------
    >>> from skcnn.description import description
    >>> from skcnn.optimizers import Optimizer
    >>> import numpy as np
    >>> @description
    ... class SignSGD(Optimizer):
    ...     def record(self, tape, w, g, slots, scalars):
    ...         tape(np.sign, g, g)
    ...         tape(np.multiply, g, scalars["step_size"], g)
    ...         tape(np.subtract, w, g, w)
    >>> SignSGD().tick(1, 0.1)
    (0.1,)
    """

    # The vectors that it keeps from step to step, zeros at the start. Where they follow from the fields: a property.
    slots: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[tuple[str, ...]] = ("step_size",)  # the numbers that change from step to step

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        """The scalars of step 1, 2, ..."""
        return (learning_rate,)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        """Record the update of the weights ``w`` (size,) by the gradient ``g`` (size,), which may be overwritten.

        ``slots`` are vectors (size,) by their names, ``scalars`` arrays (), which hold what `tick` gave for the step.
        """
        raise NotImplementedError

    def record_decay(self, tape: Tape, w: Array, scalars: Mapping[str, Array]) -> None:
        """Record what shrinks the kernels ``w`` before a step, whatever their gradient: by default, nothing."""

    def _require_fractions(self, *names: str) -> None:
        for name in names:
            self._require(name, is_real(getattr(self, name), 0, 1, open_high=True), FRACTION)


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
        self._require_fractions("momentum")
        self._require("nesterov", isinstance(self.nesterov, (bool, np.bool)), "True or False")

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
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
    amsgrad : bool, default=False
        Whether to divide by the largest second moment so far, so that steps never grow again.

    Notes
    -----
    m = beta_1 m + (1 - beta_1) g, v = beta_2 v + (1 - beta_2) g ** 2, and in step t

        w = w - learning_rate * (m / (1 - beta_1 ** t)) / (sqrt(v / (1 - beta_2 ** t)) + epsilon).

    What is kept are the sums m / (1 - beta_1) and v / (1 - beta_2); these factors and the corrections by t are folded
    into the step size and into epsilon, which saves four passes over the weights.
    D. Kingma and J. Ba, "Adam", arXiv:1412.6980, algorithm 1. With ``amsgrad``, v is replaced by the largest v of all
    steps: S. Reddi, S. Kale and S. Kumar, "On the convergence of Adam and beyond", arXiv:1904.09237, algorithm 2, with
    the corrections by t that PyTorch keeps.

    Examples
    --------
    >>> from skcnn.optimizers import Adam
    >>> Adam(beta_2=0.99)
    Adam(beta_2=0.99)
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False

    name = "adam"
    scalars = ("step_size", "epsilon")

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors that it keeps."""
        return ("mean", "square", "largest") if self.amsgrad else ("mean", "square")

    def check(self) -> None:
        self._require_fractions("beta_1", "beta_2")
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), POSITIVE)
        self._require("amsgrad", isinstance(self.amsgrad, (bool, np.bool)), "True or False")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        root = math.sqrt((1 - self.beta_2**step) / (1 - self.beta_2))
        return learning_rate * root * (1 - self.beta_1) / (1 - self.beta_1**step), self.epsilon * root

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        m, v = slots["mean"], slots["square"]
        s = tape.scratch(w.shape)
        tape(np.multiply, m, self.beta_1, m)
        tape(np.add, m, g, m)
        tape(np.multiply, v, self.beta_2, v)
        tape(np.multiply, g, g, g)
        tape(np.add, v, g, v)
        if self.amsgrad:
            v = tape(maximum, v, slots["largest"], slots["largest"])
        tape(np.sqrt, v, s)
        tape(np.add, s, scalars["epsilon"], s)
        tape(np.divide, m, s, s)
        tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)


@description
class AdamW(Adam):
    """Adam, with a decay of the weights that its moments do not see.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Weight of the past in the first moment: 0 or more, less than 1.
    beta_2 : float, default=0.999
        Weight of the past in the second moment: 0 or more, less than 1.
    epsilon : float, default=1e-8
        Added to the root of the second moment.
    amsgrad : bool, default=False
        Whether to divide by the largest second moment so far.
    weight_decay : float, default=0.01
        Share of itself, times the learning rate, that a kernel loses in each step: 0 or more.

    Notes
    -----
    w = w - learning_rate * weight_decay * w for kernels (not for biases and batch norm), then a step of `Adam`.
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", arXiv:1711.05101, algorithm 2, with the
    learning rate in the decay as in PyTorch. The estimator's ``alpha`` remains what it is for every optimizer, a
    penalty in the loss, whose gradient passes through the moments: set ``alpha=0`` to have this decay alone.

    Examples
    --------
    >>> from skcnn import CNNClassifier
    >>> from skcnn.optimizers import AdamW
    >>> CNNClassifier(optimizer=AdamW(weight_decay=0.05), alpha=0).optimizer
    AdamW(weight_decay=0.05)
    """

    weight_decay: float = 0.01

    name = "adamw"
    scalars = ("step_size", "epsilon", "shrinkage")  # type: ignore[assignment]

    def check(self) -> None:
        super().check()
        self._require("weight_decay", is_real(self.weight_decay, 0), "a number of 0 or more")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        return *super().tick(step, learning_rate), 1 - learning_rate * self.weight_decay

    def record_decay(self, tape: Tape, w: Array, scalars: Mapping[str, Array]) -> None:
        if self.weight_decay:
            tape(np.multiply, w, scalars["shrinkage"], w)


@description
class Nadam(Optimizer):
    """Adam with Nesterov's momentum.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Weight of the past in the first moment: 0 or more, less than 1.
    beta_2 : float, default=0.999
        Weight of the past in the second moment: 0 or more, less than 1.
    epsilon : float, default=1e-8
        Added to the root of the second moment.
    momentum_decay : float, default=0.004
        How fast the momentum grows from half of ``beta_1`` to ``beta_1``: 0 or more.

    Notes
    -----
    With the moments m and v of `Adam`, mu_t = beta_1 (1 - 0.96 ** (t momentum_decay) / 2) and M_t = mu_1 ... mu_t,

        w = w - learning_rate * ((1 - mu_t) / (1 - M_t) g + mu_(t+1) / (1 - M_(t+1)) m)
                              / (sqrt(v / (1 - beta_2 ** t)) + epsilon).

    T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR 2016 workshop, algorithm 2, in the form of PyTorch's
    ``NAdam``.

    Examples
    --------
    >>> from skcnn.optimizers import Nadam
    >>> Nadam(beta_1=0.95).slots
    ('mean', 'square')
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    momentum_decay: float = 4e-3

    name = "nadam"
    slots = ("mean", "square")
    scalars = ("step_size", "epsilon", "momentum")

    def check(self) -> None:
        self._require_fractions("beta_1", "beta_2")
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), POSITIVE)
        self._require("momentum_decay", is_real(self.momentum_decay, 0), "a number of 0 or more")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        root = math.sqrt((1 - self.beta_2**step) / (1 - self.beta_2))
        now, ahead = self._momentum(step), self._momentum(step + 1)
        product = 1.0
        for t in range(1, step + 1):
            product *= self._momentum(t)
            if product < 1e-20:  # what follows would not change 1 - product, and steps are many
                break
        of_gradient = (1 - now) / (1 - product)
        of_mean = (1 - self.beta_1) * ahead / (1 - product * ahead)
        return learning_rate * root * of_gradient, self.epsilon * root, of_mean / of_gradient

    def _momentum(self, step: int) -> float:
        return self.beta_1 * (1 - 0.96 ** (step * self.momentum_decay) / 2)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        m, v = slots["mean"], slots["square"]
        s, ahead = tape.scratch(w.shape), tape.scratch(w.shape)
        tape(np.multiply, m, self.beta_1, m)
        tape(np.add, m, g, m)
        tape(np.multiply, m, scalars["momentum"], ahead)
        tape(np.add, ahead, g, ahead)
        tape(np.multiply, v, self.beta_2, v)
        tape(np.multiply, g, g, g)
        tape(np.add, v, g, v)
        tape(np.sqrt, v, s)
        tape(np.add, s, scalars["epsilon"], s)
        tape(np.divide, ahead, s, s)
        tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)


@description
class RMSprop(Optimizer):
    """Gradients divided by their running root mean square.

    Parameters
    ----------
    decay : float, default=0.99
        Weight of the past in the mean square: 0 or more, less than 1.
    epsilon : float, default=1e-8
        Added to the root.
    centered : bool, default=False
        Whether the root is that of the variance: the squared mean is subtracted from the mean square.
    momentum : float, default=0.0
        0 or more, less than 1.

    Notes
    -----
    v = decay v + (1 - decay) g ** 2; u = momentum u + g / (sqrt(v) + epsilon); w = w - learning_rate u. Centered, with
    m = decay m + (1 - decay) g, the root is that of v - m ** 2. T. Tieleman and G. Hinton, "Neural networks for machine
    learning", lecture 6.5, 2012; centered: A. Graves, arXiv:1308.0850, equations 38 to 45; both in the form of
    PyTorch's ``RMSprop``.

    Examples
    --------
    >>> from skcnn.optimizers import RMSprop
    >>> RMSprop(centered=True, momentum=0.9).slots
    ('square', 'mean', 'velocity')
    """

    decay: float = 0.99
    epsilon: float = 1e-8
    centered: bool = False
    momentum: float = 0.0

    name = "rmsprop"

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """The vectors that it keeps."""
        return ("square", *["mean"] * bool(self.centered), *["velocity"] * bool(self.momentum))

    def check(self) -> None:
        self._require_fractions("decay", "momentum")
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), POSITIVE)
        self._require("centered", isinstance(self.centered, (bool, np.bool)), "True or False")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        return (learning_rate / math.sqrt(1 - self.decay),)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        v, s = slots["square"], tape.scratch(w.shape)
        tape(np.multiply, v, self.decay, v)
        tape(np.multiply, g, g, s)
        tape(np.add, v, s, v)
        if self.centered:
            m = slots["mean"]
            tape(np.multiply, m, self.decay, m)
            tape(np.add, m, g, m)
            tape(np.multiply, m, m, s)
            tape(np.multiply, s, 1 - self.decay, s)
            tape(np.subtract, v, s, s)
            tape(np.absolute, s, s)  # a variance near 0 may be rounded to a number below it, which has no root
            tape(np.sqrt, s, s)
        else:
            tape(np.sqrt, v, s)
        tape(np.add, s, self.epsilon / math.sqrt(1 - self.decay), s)
        tape(np.divide, g, s, s)
        if self.momentum:
            u = slots["velocity"]
            tape(np.multiply, u, self.momentum, u)
            tape(np.add, u, s, u)
            tape(np.multiply, u, scalars["step_size"], s)
        else:
            tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)


@description
class AdaGrad(Optimizer):
    """Gradients divided by the root of the sum of all their squares: steps that only fall.

    Parameters
    ----------
    epsilon : float, default=1e-10
        Added to the root.

    Notes
    -----
    v = v + g ** 2; w = w - learning_rate g / (sqrt(v) + epsilon). J. Duchi, E. Hazan and Y. Singer, "Adaptive
    subgradient methods", JMLR 12, 2011, with the diagonal matrix, in the form of PyTorch's ``Adagrad``. A usual
    learning rate is 0.01.

    Examples
    --------
    >>> from skcnn.optimizers import AdaGrad
    >>> AdaGrad().slots
    ('square',)
    """

    epsilon: float = 1e-10

    name = "adagrad"
    slots = ("square",)

    def check(self) -> None:
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), POSITIVE)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        v, s = slots["square"], tape.scratch(w.shape)
        tape(np.multiply, g, g, s)
        tape(np.add, v, s, v)
        tape(np.sqrt, v, s)
        tape(np.add, s, self.epsilon, s)
        tape(np.divide, g, s, s)
        tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)


@description
class AdaDelta(Optimizer):
    """Gradients scaled by the ratio of two running root mean squares: that of the steps, and their own.

    Parameters
    ----------
    rho : float, default=0.9
        Weight of the past in both mean squares: 0 or more, less than 1.
    epsilon : float, default=1e-6
        Added to both before the root is taken; it decides how large the first steps are.

    Notes
    -----
    v = rho v + (1 - rho) g ** 2; d = sqrt(u + epsilon) / sqrt(v + epsilon) g; u = rho u + (1 - rho) d ** 2;
    w = w - learning_rate d. M. Zeiler, "ADADELTA", arXiv:1212.5701, algorithm 1, which has no learning rate: set
    ``learning_rate=1.0``, for the estimators' default is far too small here.

    Examples
    --------
    >>> from skcnn import CNNClassifier
    >>> CNNClassifier(optimizer="adadelta", learning_rate=1.0)
    CNNClassifier(learning_rate=1.0, optimizer='adadelta')
    """

    rho: float = 0.9
    epsilon: float = 1e-6

    name = "adadelta"
    slots = ("square", "square_of_steps")

    def check(self) -> None:
        self._require_fractions("rho")
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), POSITIVE)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        v, u = slots["square"], slots["square_of_steps"]
        s, d = tape.scratch(w.shape), tape.scratch(w.shape)
        epsilon = self.epsilon / (1 - self.rho)
        tape(np.multiply, v, self.rho, v)
        tape(np.multiply, g, g, s)
        tape(np.add, v, s, v)
        tape(np.add, v, epsilon, s)
        tape(np.add, u, epsilon, d)
        tape(np.divide, d, s, d)
        tape(np.sqrt, d, d)
        tape(np.multiply, d, g, d)
        tape(np.multiply, u, self.rho, u)
        tape(np.multiply, d, d, s)
        tape(np.add, u, s, u)
        tape(np.multiply, d, scalars["step_size"], d)
        tape(np.subtract, w, d, w)


@description
class Lion(Optimizer):
    """Steps of exactly the same size for every weight: the sign of a running mean of its gradient.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Weight of the past in the sign: 0 or more, less than 1.
    beta_2 : float, default=0.99
        Weight of the past in the mean: 0 or more, less than 1.
    weight_decay : float, default=0.0
        Share of itself, times the learning rate, that a kernel loses in each step, as with `AdamW`: 0 or more.

    Notes
    -----
    w = w - learning_rate (sign(beta_1 m + (1 - beta_1) g) + weight_decay w), then m = beta_2 m + (1 - beta_2) g.
    X. Chen et al., "Symbolic discovery of optimization algorithms", arXiv:2302.06675, algorithm 2. A usual learning
    rate is a third to a tenth of Adam's. It keeps one vector where Adam keeps two.

    Examples
    --------
    >>> from skcnn.optimizers import Lion
    >>> Lion().slots
    ('mean',)
    """

    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0

    name = "lion"
    slots = ("mean",)
    scalars = ("step_size", "shrinkage")

    def check(self) -> None:
        self._require_fractions("beta_1", "beta_2")
        self._require("weight_decay", is_real(self.weight_decay, 0), "a number of 0 or more")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        return learning_rate, 1 - learning_rate * self.weight_decay

    def record_decay(self, tape: Tape, w: Array, scalars: Mapping[str, Array]) -> None:
        if self.weight_decay:
            tape(np.multiply, w, scalars["shrinkage"], w)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        m, s = slots["mean"], tape.scratch(w.shape)
        # m / (1 - beta_2) is kept, and a sign does not change when it is divided by 1 - beta_1.
        tape(np.multiply, m, self.beta_1 * (1 - self.beta_2) / (1 - self.beta_1), s)
        tape(np.add, s, g, s)
        tape(np.sign, s, s)
        tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)
        tape(np.multiply, m, self.beta_2, m)
        tape(np.add, m, g, m)
