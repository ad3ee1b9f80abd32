"""Optimizers: rules that update the weights from their gradient.

An optimizer is a description without state. Its state between steps consists of vectors as long as the weights, which
the training loop owns. `tick` returns the numbers of a step, which the recorded calls read from a small array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ._arrays.elementwise import Array, copy, maximum, reshape
from ._tape.tape import Tape
from .description import Description, description, is_count, is_real, resolve

NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # coefficients of x, x^3 and x^5
LEAST_NORM = 1e-7  # of a matrix that is divided by its norm
FRACTION = "a number of 0 or more and less than 1"
POSITIVE = "a number above 0"


class Optimizer(Description):
    """Base of all optimizers.

    To write an optimizer, define ``slots``, ``scalars``, `tick` and `record`. See the user guide's page "Parts of your
    own". All calls that `record` records must be elementwise, because several threads update the weights in chunks. For
    matrix operations, also define `updates_whole` and `record_kernel`.

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

    # Names of the vectors kept between steps, initially 0. It is a property where it depends on the fields.
    slots: ClassVar[tuple[str, ...]] = ()
    scalars: ClassVar[tuple[str, ...]] = ("step_size",)  # names of the numbers that change with each step

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        """Return the ``scalars`` of a step, which counts from 1."""
        return (learning_rate,)

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        """Record the update of the weights ``w`` (size,) by the gradient ``g`` (size,), which may be overwritten.

        ``slots`` maps names to vectors (size,). ``scalars`` maps names to arrays of shape () that contain the numbers
        returned by `tick`.
        """
        raise NotImplementedError

    def record_decay(self, tape: Tape, w: Array, scalars: Mapping[str, Array]) -> None:
        """Record the decoupled weight decay of the kernels ``w``, applied before each step. The default is no decay."""

    def updates_whole(self, name: str, shape: tuple[int, ...]) -> bool:
        """Return whether `record_kernel` updates a kernel, such as ``"conv1.kernel"``. The default is `record`."""
        return False

    def record_kernel(
        self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]
    ) -> None:
        """Record the update of a whole kernel, with its decoupled weight decay, in any operations.

        ``w``, ``g`` and the vectors in ``slots`` have the shape of the kernel, (h, w, inputs, outputs) or
        (inputs, outputs). ``g`` may be overwritten.
        """
        raise NotImplementedError

    def _require_fractions(self, *names: str) -> None:
        for name in names:
            self._require(name, is_real(getattr(self, name), 0, 1, open_high=True), FRACTION)


@description
class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    momentum : float, default=0.9
        Decay of the velocity per step, 0 or more and less than 1. 0 is plain gradient descent.
    nesterov : bool, default=True
        Whether to use Nesterov momentum.

    Notes
    -----
    In each step, v = momentum v + g. Then w = w - learning_rate (g + momentum v) with Nesterov momentum, and
    w = w - learning_rate v without. The form is the same as in PyTorch's ``SGD``. I. Sutskever et al., "On the
    importance of initialization and momentum in deep learning", ICML 2013.

    Typical learning rates are 0.01 to 0.1. The default of the estimators suits Adam and is too small for SGD.

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
        step = tape.scratch(w.shape)
        direction = _record_momentum(tape, slots["velocity"], g, self.momentum, self.nesterov, step)
        tape(np.multiply, direction, scalars["step_size"], step)
        tape(np.subtract, w, step, w)


@description
class Adam(Optimizer):
    """Gradient descent with step sizes adapted to running moments of the gradient.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the first moment per step, 0 or more and less than 1.
    beta_2 : float, default=0.999
        Decay of the second moment per step, 0 or more and less than 1.
    epsilon : float, default=1e-8
        Number added to the square root of the second moment, above 0, to avoid division by zero.
    amsgrad : bool, default=False
        Whether to divide by the largest second moment so far instead of the current one.

    Notes
    -----
    In step t, m = beta_1 m + (1 - beta_1) g, v = beta_2 v + (1 - beta_2) g ** 2, and

        w = w - learning_rate * (m / (1 - beta_1 ** t)) / (sqrt(v / (1 - beta_2 ** t)) + epsilon).

    D. Kingma and J. Ba, "Adam", arXiv:1412.6980, algorithm 1. With ``amsgrad``, v is replaced by the largest v of all
    steps: S. Reddi, S. Kale and S. Kumar, "On the convergence of Adam and beyond", arXiv:1904.09237, algorithm 2, with
    bias corrections as in PyTorch.

    The implementation stores m / (1 - beta_1) and v / (1 - beta_2). These factors and the bias corrections are folded
    into the step size and epsilon, which saves four passes over the weights.

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
        """Names of the vectors kept between steps."""
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
    """Adam with decoupled weight decay.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the first moment per step, 0 or more and less than 1.
    beta_2 : float, default=0.999
        Decay of the second moment per step, 0 or more and less than 1.
    epsilon : float, default=1e-8
        Number added to the square root of the second moment, above 0, to avoid division by zero.
    amsgrad : bool, default=False
        Whether to divide by the largest second moment so far instead of the current one.
    weight_decay : float, default=0.01
        Weight decay, 0 or more. Each step multiplies the kernels by 1 - learning_rate * weight_decay.

    Notes
    -----
    Each step first sets w = w - learning_rate * weight_decay * w for kernels, but not for biases and normalization
    parameters. A step of `Adam` follows. I. Loshchilov and F. Hutter, "Decoupled weight decay regularization",
    arXiv:1711.05101, algorithm 2. As in PyTorch, the decay is multiplied by the learning rate.

    The estimator's ``alpha`` is still a penalty in the loss, and its gradient enters the moments. Set ``alpha=0`` to
    use decoupled weight decay only.

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
    """Adam with Nesterov momentum.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Decay of the first moment per step, 0 or more and less than 1.
    beta_2 : float, default=0.999
        Decay of the second moment per step, 0 or more and less than 1.
    epsilon : float, default=1e-8
        Number added to the square root of the second moment, above 0, to avoid division by zero.
    momentum_decay : float, default=0.004
        Rate, 0 or more, at which the momentum grows from half of ``beta_1`` to ``beta_1``.

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
            if product < 1e-20:  # further factors would not change 1 - product, so save time
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
    """Gradient descent with gradients divided by their running root mean square.

    Parameters
    ----------
    decay : float, default=0.99
        Decay of the mean square per step, 0 or more and less than 1.
    epsilon : float, default=1e-8
        Number added to the root mean square, above 0, to avoid division by zero.
    centered : bool, default=False
        Whether to divide by the running standard deviation of the gradient instead of its root mean square.
    momentum : float, default=0.0
        Decay of the velocity per step, 0 or more and less than 1. The default uses no momentum.

    Notes
    -----
    In each step, v = decay v + (1 - decay) g ** 2, u = momentum u + g / (sqrt(v) + epsilon), and
    w = w - learning_rate u. With ``centered``, m = decay m + (1 - decay) g, and sqrt(v - m ** 2) replaces sqrt(v). Both
    have the same form as in PyTorch's ``RMSprop``. T. Tieleman and G. Hinton, "Neural networks for machine learning",
    lecture 6.5, 2012. For the centered form see A. Graves, arXiv:1308.0850, equations 38 to 45.

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
        """Names of the vectors kept between steps."""
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
            tape(np.absolute, s, s)  # rounding may make a variance near 0 negative
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
    """Gradient descent with gradients divided by the square root of the sum of all squared gradients so far.

    Parameters
    ----------
    epsilon : float, default=1e-10
        Number added to the square root, above 0, to avoid division by zero.

    Notes
    -----
    In each step, v = v + g ** 2 and w = w - learning_rate g / (sqrt(v) + epsilon). The form is the same as in PyTorch's
    ``Adagrad``. J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods", JMLR 12, 2011, with the diagonal
    matrix.

    A typical learning rate is 0.01. Step sizes only decrease, because v only grows.

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
    """Gradient descent with gradients scaled by the ratio of the root mean squares of past steps and gradients.

    Parameters
    ----------
    rho : float, default=0.9
        Decay of both mean squares per step, 0 or more and less than 1.
    epsilon : float, default=1e-6
        Number added to both mean squares before the square root, above 0. It determines the size of the first steps.

    Notes
    -----
    In each step, v = rho v + (1 - rho) g ** 2, d = sqrt(u + epsilon) / sqrt(v + epsilon) g,
    u = rho u + (1 - rho) d ** 2, and w = w - learning_rate d. M. Zeiler, "ADADELTA", arXiv:1212.5701, algorithm 1.

    The algorithm of the paper has no learning rate. Set ``learning_rate=1.0``, because the default of the estimators is
    far too small.

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
    """Gradient descent with steps of equal size, in the direction of the sign of a running mean of the gradient.

    Parameters
    ----------
    beta_1 : float, default=0.9
        Weight of the running mean in the sign, 0 or more and less than 1.
    beta_2 : float, default=0.99
        Decay of the running mean per step, 0 or more and less than 1.
    weight_decay : float, default=0.0
        Decoupled weight decay as in `AdamW`, 0 or more. The default is no decay.

    Notes
    -----
    In each step, w = w - learning_rate (sign(beta_1 m + (1 - beta_1) g) + weight_decay w), then
    m = beta_2 m + (1 - beta_2) g. X. Chen et al., "Symbolic discovery of optimization algorithms", arXiv:2302.06675,
    algorithm 2.

    Typical learning rates are three to ten times smaller than for Adam. Lion stores one vector, Adam two.

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
        # The slot stores m / (1 - beta_2). Division by 1 - beta_1 does not change a sign.
        tape(np.multiply, m, self.beta_1 * (1 - self.beta_2) / (1 - self.beta_1), s)
        tape(np.add, s, g, s)
        tape(np.sign, s, s)
        tape(np.multiply, s, scalars["step_size"], s)
        tape(np.subtract, w, s, w)
        tape(np.multiply, m, self.beta_2, m)
        tape(np.add, m, g, m)


@description
class Muon(Optimizer):
    """Gradient descent with momentum, whose steps are orthogonalized matrices.

    Muon updates the kernels of hidden layers. Another optimizer updates the output layer, the biases and the parameters
    of normalization layers.

    Parameters
    ----------
    momentum : float, default=0.95
        Decay of the velocity per step, 0 or more and less than 1.
    nesterov : bool, default=True
        Whether to use Nesterov momentum.
    steps : int, default=5
        Number of Newton-Schulz steps, 1 or more. More steps bring the singular values closer to 1.
    weight_decay : float, default=0.0
        Decoupled weight decay of the kernels of hidden layers, as in `AdamW`, 0 or more. The default is no decay.
    normalize : bool, default=False
        Whether to scale these kernels to the norm sqrt(outputs) before each step. Set it only if batch normalization
        follows each of the layers, so that the scale of a kernel has no effect on the output.
    optimizer : str or Optimizer, default="adam"
        Optimizer of all other weights.
    factor : float, default=0.015
        Factor of the learning rate for all other weights, 0 or more.

    Notes
    -----
    Each kernel is a matrix with ``outputs`` columns: filters or units. Its rows are the inputs of an output. In each
    step, v = momentum v + g and x = g + momentum v with Nesterov momentum, or x = v without. Then x is divided by its
    norm, and ``steps`` times replaced by

        x = 3.4445 x - 4.7750 (x x^T) x + 2.0315 (x x^T)^2 x.

    With five steps, singular values above 0.002 become 0.68 to 1.21, and smaller ones grow by a factor of up to 480.
    Finally, w = (1 - learning_rate weight_decay) w - learning_rate sqrt(max(1, outputs / inputs)) x. K. Jordan et al.,
    "Muon: an optimizer for hidden layers in neural networks", 2024, https://kellerjordan.github.io/posts/muon. The
    defaults equal the defaults of its code, where Adam has the learning rate 0.0003. ``normalize`` is a part of the
    optimizer in airbench94_muon, the code that continues K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU",
    arXiv:2404.00498. The original code computes the products in bfloat16, skcnn in the precision of the network.

    A typical learning rate is 0.02. A step takes longer than with other optimizers: about 2 ``steps`` products of each
    kernel with a square matrix. Their time does not depend on the batch size, so Muon suits large batches.

    Examples
    --------
    >>> from skcnn import CNNClassifier
    >>> from skcnn.optimizers import SGD, Muon
    >>> CNNClassifier(optimizer=Muon(optimizer=SGD(0.85), factor=0.2), learning_rate=0.02).optimizer
    Muon(optimizer=SGD(0.85), factor=0.2)
    """

    momentum: float = 0.95
    nesterov: bool = True
    steps: int = 5
    weight_decay: float = 0.0
    normalize: bool = False
    optimizer: str | Optimizer = "adam"
    factor: float = 0.015

    name = "muon"

    @property
    def slots(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the vectors kept between steps. The first one contains the velocity of the kernels."""
        return self._inner().slots or ("velocity",)

    @property
    def scalars(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the numbers that change with each step."""
        return "kernel_step_size", "kernel_shrinkage", *self._inner().scalars

    def check(self) -> None:
        self._require_fractions("momentum")
        self._require("nesterov", isinstance(self.nesterov, (bool, np.bool)), "True or False")
        self._require("steps", is_count(self.steps), "an int of 1 or more")
        self._require("weight_decay", is_real(self.weight_decay, 0), "a number of 0 or more")
        self._require("normalize", isinstance(self.normalize, (bool, np.bool)), "True or False")
        self._require("optimizer", not isinstance(self._inner(), Muon), "another optimizer than Muon")
        self._require("factor", is_real(self.factor, 0), "a number of 0 or more")

    def tick(self, step: int, learning_rate: float) -> tuple[float, ...]:
        inner = self._inner().tick(step, self.factor * learning_rate)
        return learning_rate, 1 - learning_rate * self.weight_decay, *inner

    def record(self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]) -> None:
        self._inner().record(tape, w, g, slots, scalars)

    def record_decay(self, tape: Tape, w: Array, scalars: Mapping[str, Array]) -> None:
        self._inner().record_decay(tape, w, scalars)

    def updates_whole(self, name: str, shape: tuple[int, ...]) -> bool:
        return name != "output.kernel" and len(shape) > 1

    def record_kernel(
        self, tape: Tape, w: Array, g: Array, slots: Mapping[str, Array], scalars: Mapping[str, Array]
    ) -> None:
        inputs, outputs = g.size // g.shape[-1], g.shape[-1]
        w, g, v = (reshape(array, (inputs, outputs)) for array in (w, g, slots[self.slots[0]]))
        x = tape.scratch(g.shape)
        if _record_momentum(tape, v, g, self.momentum, self.nesterov, x) is v:
            tape(copy, v, x)
        x = _record_orthogonalization(tape, x, self.steps)
        if self.normalize:
            norm = _record_norm(tape, w)
            tape(np.divide, w, norm, w)
            tape(np.multiply, w, math.sqrt(outputs), w)
        if self.weight_decay:
            tape(np.multiply, w, scalars["kernel_shrinkage"], w)
        tape(np.multiply, x, scalars["kernel_step_size"], x)
        if outputs > inputs:
            tape(np.multiply, x, math.sqrt(outputs / inputs), x)
        tape(np.subtract, w, x, w)

    def _inner(self) -> Optimizer:
        return resolve(Optimizer, self.optimizer, "optimizer")


def _record_momentum(tape: Tape, v: Array, g: Array, momentum: float, nesterov: bool, out: Array) -> Array:
    """Record v <- momentum v + g, and return ``out`` <- g + momentum v with Nesterov momentum, or v without."""
    tape(np.multiply, v, momentum, v)
    tape(np.add, v, g, v)
    if not nesterov:
        return v
    tape(np.multiply, v, momentum, out)
    return tape(np.add, out, g, out)


def _record_norm(tape: Tape, x: Array) -> Array:
    """Record the Frobenius norm of ``x``, at least `LEAST_NORM`, and return it as an array ()."""
    flat, norm = reshape(x, (x.size,)), tape.scratch(())
    tape(np.dot, flat, flat, norm)
    tape(np.sqrt, norm, norm)
    return tape(maximum, norm, LEAST_NORM, norm)


def _record_orthogonalization(tape: Tape, x: Array, steps: int) -> Array:
    """Record Newton-Schulz steps, which bring all singular values of ``x`` (m, n) close to 1, and return the result.

    The steps overwrite ``x``. With s = x x^T or x^T x, whichever is smaller, each step replaces x by
    (a + b s + c s^2) x or x (a + b s + c s^2).
    """
    a, b, c = NEWTON_SCHULZ
    wide, n = x.shape[0] < x.shape[1], min(x.shape)
    square, factor, polynomial = (tape.scratch((n, n)) for _ in range(3))
    factor_diagonal, polynomial_diagonal = (reshape(s, (n * n,))[:: n + 1] for s in (factor, polynomial))
    other = tape.scratch(x.shape)
    tape(np.divide, x, _record_norm(tape, x), x)
    for _ in range(steps):
        tape(np.matmul, *((x, x.T) if wide else (x.T, x)), square)
        tape(np.multiply, square, c, factor)
        tape(np.add, factor_diagonal, b, factor_diagonal)
        tape(np.matmul, square, factor, polynomial)
        tape(np.add, polynomial_diagonal, a, polynomial_diagonal)
        tape(np.matmul, *((polynomial, x) if wide else (x, polynomial)), other)
        x, other = other, x
    return x
