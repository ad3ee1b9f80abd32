"""Initializers: how kernels are drawn before training.

They keep the variance of what flows through a layer about constant, forward or backward, by drawing numbers of a
variance that falls with the number of inputs (fan_in) or outputs (fan_out) of a unit.
"""

from __future__ import annotations

import numpy as np

from .description import Description, description
from .functional.elementwise import Array


class Initializer(Description):
    """Base of all initializers."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw an array of ``shape`` in float64."""
        raise NotImplementedError


class _Scaled(Initializer):
    """Numbers of a given variance, normal or uniform."""

    distribution: str

    def check(self) -> None:
        self._require("distribution", self.distribution in ("normal", "uniform"), "'normal' or 'uniform'")

    def variance(self, fan_in: int, fan_out: int) -> float:
        """The variance of each number."""
        raise NotImplementedError

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        deviation = np.sqrt(self.variance(fan_in, fan_out))
        if self.distribution == "normal":
            return rng.normal(0, deviation, shape)
        limit = np.sqrt(3) * deviation  # the variance of U(-a, a) is a ** 2 / 3
        return rng.uniform(-limit, limit, shape)


@description
class Zeros(Initializer):
    """All zeros, right for an output layer: at first all classes are equally probable, and no guess has to be unlearnt.

    Notes
    -----
    Not for hidden layers, whose units would stay equal for ever.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import Zeros
    >>> Zeros().sample(np.random.default_rng(0), (2, 3), fan_in=2, fan_out=3)
    array([[0., 0., 0.],
           [0., 0., 0.]])
    """

    name = "zeros"

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        return np.zeros(shape)


@description
class He(_Scaled):
    """Variance 2 / fan_in, right for ReLU and its kin.

    Parameters
    ----------
    distribution : {"normal", "uniform"}, default="normal"
        Which numbers are drawn.

    Notes
    -----
    K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", arXiv:1502.01852, equation 10. Also called
    Kaiming's.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import He
    >>> kernel = He().sample(np.random.default_rng(0), (200, 300), fan_in=200, fan_out=300)
    >>> round(float(kernel.var()), 4)
    0.01
    """

    distribution: str = "normal"

    name = "he"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / fan_in


@description
class Glorot(_Scaled):
    """Variance 2 / (fan_in + fan_out), right for tanh and the logistic function.

    Parameters
    ----------
    distribution : {"normal", "uniform"}, default="normal"
        Which numbers are drawn.

    Notes
    -----
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
    equation 12. Also called Xavier's.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import Glorot
    >>> kernel = Glorot("uniform").sample(np.random.default_rng(0), (200, 300), fan_in=200, fan_out=300)
    >>> round(float(kernel.var()), 3)
    0.004
    """

    distribution: str = "normal"

    name = "glorot"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / (fan_in + fan_out)


@description
class LeCun(_Scaled):
    """Variance 1 / fan_in, right for SELU and for linear layers.

    Parameters
    ----------
    distribution : {"normal", "uniform"}, default="normal"
        Which numbers are drawn.

    Notes
    -----
    Y. LeCun, L. Bottou, G. Orr and K.-R. Müller, "Efficient BackProp", in *Neural Networks: Tricks of the Trade*,
    Springer 1998, equation 16.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import LeCun
    >>> kernel = LeCun().sample(np.random.default_rng(0), (200, 300), fan_in=200, fan_out=300)
    >>> round(float(kernel.var()), 3)
    0.005
    """

    distribution: str = "normal"

    name = "lecun"

    def variance(self, fan_in: int, fan_out: int) -> float:
        return 1 / fan_in
