"""Initializers: rules for the initial values of kernels.

Most keep the variance of activations or gradients about constant from layer to layer. To do so, they draw numbers whose
variance decreases with the number of inputs (fan_in) or outputs (fan_out) of a unit.
"""

from __future__ import annotations

import math

import numpy as np

from ._arrays import special
from ._arrays.elementwise import Array
from .description import Description, description, is_real, resolve


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


@description
class VarianceScaling(_Scaled):
    """Variance scale / fan. `He`, `Glorot` and `LeCun` are special cases.

    Parameters
    ----------
    scale : float, default=1.0
        Factor of the variance, above 0.
    mode : {"fan_in", "fan_out", "fan_avg"}, default="fan_in"
        Number by which the variance is divided: the number of inputs of a unit, the number of its outputs, or the mean
        of both.
    distribution : {"normal", "uniform"}, default="normal"
        Distribution of the numbers. It does not change their variance.

    Notes
    -----
    The initializer has the name and the arguments of the same initializer in Keras. ``VarianceScaling(2.0)`` is `He`,
    ``VarianceScaling(1.0, "fan_avg")`` is `Glorot`, and ``VarianceScaling(1.0)`` is `LeCun`.

    PyTorch draws the kernels of its convolutions and linear layers uniformly between -1 / sqrt(fan_in) and
    1 / sqrt(fan_in), which is ``VarianceScaling(1 / 3, distribution="uniform")``: X. Glorot and Y. Bengio,
    "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010, equation 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import VarianceScaling
    >>> pytorch = VarianceScaling(1 / 3, distribution="uniform")
    >>> kernel = pytorch.sample(np.random.default_rng(0), (100, 300), fan_in=100, fan_out=300)
    >>> bool(0.099 < abs(kernel).max() <= 0.1)
    True
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "normal"

    name = "variance_scaling"

    def check(self) -> None:
        super().check()
        self._require("scale", is_real(self.scale, 0, open_low=True), "a number above 0")
        self._require("mode", self.mode in ("fan_in", "fan_out", "fan_avg"), "'fan_in', 'fan_out' or 'fan_avg'")

    def variance(self, fan_in: int, fan_out: int) -> float:
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        return float(self.scale) / fans[self.mode]


@description
class Dirac(Initializer):
    """Identity: the first filters pass on one channel each, and another initializer draws the remaining filters.

    Parameters
    ----------
    remaining_initializer : str or initializer, default="he"
        Initializer of the remaining filters, of which there are some if a layer has more filters than channels.

    Raises
    ------
    ValueError
        If the shape of the kernel, ``fan_in`` and ``fan_out`` are not the shape and the fans of a convolution or dense
        layer. Raised in ``fit``.

    Notes
    -----
    With c channels and f filters, filter i < min(c, f) is 1 at channel i in the centre of the window, and 0 elsewhere.
    A convolution with strides of 1, windows of odd size and the padding "same" then starts by copying its input to its
    first channels. For a window of k pixels, the centre is at the position k // 2, counted from 0. For even k, the
    copy is shifted by one pixel. In a convolution with groups, the rule holds for each group.
    A dense layer starts with an identity matrix.

    The convolutions of PyTorch's ``torch.nn.init.dirac_`` are the same, except that its remaining filters are 0.
    S. Zagoruyko and N. Komodakis, "DiracNets: Training very deep neural networks without skip-connections",
    arXiv:1706.00388. K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498, section 3.3,
    leaves the remaining filters at PyTorch's default, ``Dirac(VarianceScaling(1 / 3, distribution="uniform"))``.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.initializers import Dirac
    >>> Dirac("zeros").sample(np.random.default_rng(0), (2, 3), fan_in=2, fan_out=3)
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """

    remaining_initializer: str | Description = "he"

    name = "dirac"

    def check(self) -> None:
        resolve(Initializer, self.remaining_initializer, f"{type(self).__name__}'s remaining_initializer")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
        *window, channels, filters = shape if len(shape) > 1 else (0, 0)
        pixels = math.prod(window)
        if fan_in != pixels * channels or pixels * filters % fan_out:
            raise ValueError(
                f"{self!r} needs a kernel (kh, kw, c / groups, filters) with fan_in = kh kw c / groups and fan_out ="
                f" kh kw filters / groups, or (features, units), got the shape {shape}, fan_in={fan_in} and"
                f" fan_out={fan_out}. Use another initializer."
            )
        kernel = resolve(Initializer, self.remaining_initializer, "remaining_initializer").sample(
            rng, shape, fan_in, fan_out
        )
        groups = pixels * filters // fan_out
        passed = np.arange(min(channels, filters // groups))
        chosen = np.add.outer(np.arange(groups) * (filters // groups), passed)
        kernel[..., chosen] = 0
        centre = kernel[tuple(size // 2 for size in window)]
        centre[passed, chosen] = 1
        return kernel
