"""Initializers: rules for the initial values of kernels.

Most keep the variance of activations or gradients about constant from layer to layer. To do so, they draw numbers whose
variance decreases with the number of inputs (fan_in) or outputs (fan_out) of a unit.
"""

from __future__ import annotations

import math

import numpy as np

from ._arrays import special
from ._arrays.elementwise import Array
from .description import Description, description, is_real


class Initializer(Description):
    """Base of all initializers."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        """Draw a kernel.

        Parameters
        ----------
        rng : Generator
            Source of all random numbers.
        shape : tuple of int
            Shape of the kernel.
        fan_in, fan_out : int
            Number of inputs and of outputs of a unit.

        Returns
        -------
        ndarray
            Kernel of ``shape``, in float64.
        """
        raise NotImplementedError


class _Scaled(Initializer):
    """Base of the initializers that draw normal or uniform numbers of a given variance."""

    distribution: str

    def check(self) -> None:
        self._require("distribution", self.distribution in ("normal", "uniform"), "'normal' or 'uniform'")

    def variance(self, fan_in: int, fan_out: int) -> float:
        """Return the variance of each number."""
        raise NotImplementedError

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        deviation = np.sqrt(self.variance(fan_in, fan_out))
        if self.distribution == "normal":
            return rng.normal(0, deviation, shape)
        limit = np.sqrt(3) * deviation  # the variance of U(-a, a) is a ** 2 / 3
        return rng.uniform(-limit, limit, shape)


@description
class Zeros(Initializer):
    """Zeros, for output layers.

    With a zero kernel in the output layer, all classes start equally probable, and training need not correct random
    initial predictions.

    Notes
    -----
    Do not use it for hidden layers, because their units would remain equal during training.

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
class Constant(Initializer):
    """Constant value.

    Parameters
    ----------
    value : float, default=0.0
        Value of all numbers of the kernel.

    Notes
    -----
    Do not use it for hidden layers, because their units would remain equal during training. For example, a convolution
    of one channel with the value 1 / (kh kw) starts as a moving average.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import Constant
    >>> Constant(0.5).sample(np.random.default_rng(0), (2, 3), fan_in=2, fan_out=3)
    array([[0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5]])
    """

    value: float = 0.0

    name = "constant"

    def check(self) -> None:
        self._require("value", is_real(self.value, -np.inf), "a finite number")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        return np.full(shape, float(self.value))


@description
class TruncatedNormal(Initializer):
    """Normal distribution truncated at two standard deviations.

    Parameters
    ----------
    stddev : float, default=0.05
        Standard deviation before truncation, above 0. The standard deviation of the drawn numbers is 0.880 times this
        value. Meaning and default are the same as in Keras.

    Notes
    -----
    Numbers are the inverse of the normal distribution function at uniform numbers between its values at -2 and 2: L.
    Devroye, *Non-Uniform Random Variate Generation*, Springer 1986, section II.2.

    The standard deviation does not depend on the size of the layer. For deep networks, you have to tune it.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import TruncatedNormal
    >>> kernel = TruncatedNormal(0.1).sample(np.random.default_rng(0), (200, 300), fan_in=200, fan_out=300)
    >>> float(abs(kernel).max()) <= 0.2
    True
    """

    stddev: float = 0.05

    name = "truncated_normal"

    def check(self) -> None:
        self._require("stddev", is_real(self.stddev, 0, open_low=True), "a number above 0")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        low, high = special.ndtr([-2.0, 2.0])
        return float(self.stddev) * special.ndtri(rng.uniform(low, high, shape))


@description
class Orthogonal(Initializer):
    """Random orthogonal matrix.

    The columns of the kernel are orthonormal, or its rows if there are fewer rows than columns.

    Parameters
    ----------
    gain : float, default=1.0
        Factor of all numbers, above 0. The square root of 2 suits ReLU.

    Notes
    -----
    The kernel of a convolution is treated as a matrix (kh kw c, filters). It is the orthogonal factor of the QR
    decomposition of a matrix of normal numbers: A. Saxe, J. McClelland and S. Ganguli, "Exact solutions to the
    nonlinear dynamics of learning in deep linear neural networks", arXiv:1312.6120. The signs are chosen so that all
    orthogonal matrices are equally probable: F. Mezzadri, "How to generate random matrices from the classical compact
    groups", arXiv:math-ph/0609050, section 5.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import Orthogonal
    >>> kernel = Orthogonal().sample(np.random.default_rng(0), (5, 3), fan_in=5, fan_out=3)
    >>> np.allclose(kernel.T @ kernel, np.eye(3))
    True
    """

    gain: float = 1.0

    name = "orthogonal"

    def check(self) -> None:
        self._require("gain", is_real(self.gain, 0, open_low=True), "a number above 0")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        normal = rng.normal(size=(max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(normal)
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # otherwise the QR algorithm would determine the signs
        return float(self.gain) * (q if rows >= columns else q.T).reshape(shape)


@description
class He(_Scaled):
    """Variance 2 / fan_in, for layers before ReLU and similar activations.

    Parameters
    ----------
    distribution : {"normal", "uniform"}, default="normal"
        Distribution of the numbers. It does not change their variance.

    Notes
    -----
    K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", arXiv:1502.01852, equation 10. It is
    also called Kaiming initialization.

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
    """Variance 2 / (fan_in + fan_out), for layers before tanh and the logistic function.

    Parameters
    ----------
    distribution : {"normal", "uniform"}, default="normal"
        Distribution of the numbers. It does not change their variance.

    Notes
    -----
    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
    equation 12. It is also called Xavier initialization.

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
    """Variance 1 / fan_in, for layers before SELU and for linear layers.

    Parameters
    ----------
    distribution : {"normal", "uniform"}, default="normal"
        Distribution of the numbers. It does not change their variance.

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
