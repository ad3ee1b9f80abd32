"""Elementwise activations, and softmax over channels."""

from __future__ import annotations

import numpy as np

from .._arrays import special
from .._arrays.elementwise import Array, channel_max, channel_sum, copy, copy_where, maximum, minimum
from .._tape.channels import by_channel, record_channel_products
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import description, is_real
from .base import Activation, Backward, Shape, unread

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # fixed point of mean 0 and variance 1


class _Pointwise(Activation):
    """Base of the activations defined by two formulas, one for the value and one for the slope."""

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        """Record ``y <- f(x)``."""
        raise NotImplementedError

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        """Record ``slope <- f'(x)``, given y = f(x)."""
        raise NotImplementedError

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape.output(x.shape, framed=True)
        self.record_value(tape, x, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            slope = tape.scratch(x.shape)
            self.record_slope(tape, x, y, slope)
            return tape(np.multiply, dy, slope, dy)

        return y, backward


@description
class ReLU(Activation):
    """Rectified linear unit.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = max(x, 0), with slope 0 at 0. X. Glorot, A. Bordes and Y. Bengio, "Deep sparse rectifier neural networks",
    AISTATS 2011.

    Examples
    --------
    >>> from skcnn.layers import ReLU
    >>> ReLU().output_shape((28, 28, 8))
    (28, 28, 8)
    """

    name = "relu"
    stem = "relu"
    kernel_initializer = "he"

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape(maximum, x, tape.zeros(x), tape.output(x.shape, framed=True))

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            positive = tape.scratch(y.shape, bool)
            tape(np.greater, y, 0, positive)
            return tape(np.multiply, dy, positive, dy)

        return y, unread(backward, x)


@description
class LeakyReLU(_Pointwise):
    """Rectified linear unit with a slope below 0.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    negative_slope : float, default=0.01
        Slope for x < 0, from 0 to 1. By default, negative numbers are multiplied by 0.01.

    Notes
    -----
    y = max(x, negative_slope * x). A. Maas, A. Hannun and A. Ng, "Rectifier nonlinearities improve neural network
    acoustic models", ICML 2013.

    Examples
    --------
    >>> from skcnn.layers import LeakyReLU
    >>> LeakyReLU(negative_slope=0.2)
    LeakyReLU(0.2)
    """

    negative_slope: float = 0.01

    name = "leaky_relu"
    stem = "leakyrelu"
    kernel_initializer = "he"

    def check(self) -> None:
        self._require("negative_slope", is_real(self.negative_slope, 0, 1), "a number from 0 to 1")

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        tape(np.multiply, x, float(self.negative_slope), y)
        tape(maximum, x, y, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        positive = tape(np.greater, x, 0, tape.scratch(x.shape, bool))
        tape(np.multiply, positive, 1 - float(self.negative_slope), slope)
        tape(np.add, slope, float(self.negative_slope), slope)


@description
class PReLU(Activation):
    """Rectified linear unit with one learnable slope below 0 per channel.  x (n, ..., c) -> y (n, ..., c).

    Parameters
    ----------
    slope : float, default=0.25
        Initial slope of all channels, any finite number.

    Notes
    -----
    y = max(x, 0) + s min(x, 0). In the backward pass, ds is the sum of dy min(x, 0) over all pixels of the channel. K.
    He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", arXiv:1502.01852, equations 1 and 8. As they
    advise, the slopes are excluded from the L2 penalty `alpha`, which would pull the layer towards ReLU.

    Examples
    --------
    >>> from skcnn.layers import PReLU
    >>> PReLU().parameters((8, 8, 32))["slope"].shape
    (32,)
    """

    slope: float = 0.25

    name = "prelu"
    stem = "prelu"
    kernel_initializer = "he"

    def check(self) -> None:
        self._require("slope", is_real(self.slope, -np.inf), "a finite number")

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {"slope": Parameter(shape[-1:], float(self.slope))}

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape.output(x.shape, framed=True)
        tape(np.multiply, x, by_channel(tape, p.slope, x), y)
        tape(copy_where, tape(np.greater, x, 0, tape.scratch(x.shape, bool)), x, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            below = tape(minimum, x, tape.zeros(x), tape.scratch(x.shape))
            record_channel_products(tape, below, dy, g.slope)
            if not needs_dx:
                return None
            positive = tape(np.greater, x, 0, tape.scratch(x.shape, bool))
            slope = tape(copy, p.slope, below)
            tape(copy_where, positive, 1.0, slope)
            return tape(np.multiply, dy, slope, dy)

        return y, unread(backward, y)


@description
class ELU(_Pointwise):
    """Exponential linear unit.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    alpha : float, default=1.0
        Scale of the negative part, 0 or more. The output is always above -alpha.

    Notes
    -----
    y = x where x > 0, else alpha (exp(x) - 1). The slope below 0 is y + alpha. D.-A. Clevert, T. Unterthiner and S.
    Hochreiter, "Fast and accurate deep network learning by exponential linear units", arXiv:1511.07289, equation 15.

    Examples
    --------
    >>> from skcnn.layers import ELU
    >>> ELU(0.5).output_shape((28, 28, 8))
    (28, 28, 8)
    """

    alpha: float = 1.0

    name = "elu"
    stem = "elu"
    kernel_initializer = "he"

    def check(self) -> None:
        self._require("alpha", is_real(self.alpha, 0), "a number of 0 or more")

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        _record_exponential_linear(tape, x, float(self.alpha), 1.0, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        _record_exponential_linear_slope(tape, y, float(self.alpha), 1.0, slope)


@description
class SELU(_Pointwise):
    """Exponential linear unit that preserves mean 0 and variance 1.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = s x where x > 0, else s a (exp(x) - 1), with a = 1.67326 and s = 1.05070. G. Klambauer, T. Unterthiner, A. Mayr
    and S. Hochreiter, "Self-normalizing neural networks", arXiv:1706.02515, equation 2. Mean and variance are preserved
    if the kernel before it has variance 1 / fan_in. Use ``kernel_initializer="lecun"`` in that layer.

    Examples
    --------
    >>> from skcnn.layers import SELU
    >>> SELU().kernel_initializer
    'lecun'
    """

    name = "selu"
    stem = "selu"
    kernel_initializer = "lecun"

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        _record_exponential_linear(tape, x, SELU_ALPHA, SELU_SCALE, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        _record_exponential_linear_slope(tape, y, SELU_ALPHA, SELU_SCALE, slope)


def _record_exponential_linear(tape: Tape, x: Array, alpha: float, scale: float, y: Array) -> None:
    """Record ``y <- scale * (x where x > 0, else alpha (exp(x) - 1))``."""
    positive = tape(np.greater, x, 0, tape.scratch(x.shape, bool))
    tape(minimum, x, tape.zeros(x), y)  # exp cannot overflow
    tape(np.expm1, y, y)
    if alpha != 1:
        tape(np.multiply, y, alpha, y)
    tape(copy_where, positive, x, y)
    if scale != 1:
        tape(np.multiply, y, scale, y)


def _record_exponential_linear_slope(tape: Tape, y: Array, alpha: float, scale: float, slope: Array) -> None:
    """Record ``slope <- scale where y > 0, else y + scale * alpha``."""
    positive = tape(np.greater, y, 0, tape.scratch(y.shape, bool))
    tape(np.add, y, alpha * scale, slope)
    tape(copy_where, positive, scale, slope)


@description
class Softplus(_Pointwise):
    """Smooth approximation of ReLU.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = log(1 + exp(x)), computed as max(x, 0) + log(1 + exp(-abs(x))). Its slope is the logistic function. C. Dugas, Y.
    Bengio, F. Bélisle, C. Nadeau and R. Garcia, "Incorporating second-order functional knowledge for better option
    pricing", NIPS 2000.

    Examples
    --------
    >>> from skcnn.layers import Softplus
    >>> Softplus().output_shape((128,))
    (128,)
    """

    name = "softplus"
    stem = "softplus"
    kernel_initializer = "he"

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        tape(np.logaddexp, x, 0, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        tape(special.expit, x, slope)


@description
class Tanh(_Pointwise):
    """Hyperbolic tangent.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = tanh(x), with derivative 1 - y ** 2. Y. LeCun et al., "Efficient BackProp", 1998, recommend it instead of the
    logistic function.

    Examples
    --------
    >>> from skcnn.layers import Tanh
    >>> Tanh().output_shape((128,))
    (128,)
    """

    name = "tanh"
    stem = "tanh"

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        tape(np.tanh, x, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        tape(np.multiply, y, y, slope)
        tape(np.subtract, 1, slope, slope)


@description
class Sigmoid(_Pointwise):
    """Logistic function.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = 1 / (1 + exp(-x)), with derivative y * (1 - y). I. Goodfellow, Y. Bengio and A. Courville, *Deep Learning*,
    MIT Press 2016, section 3.10.

    Examples
    --------
    >>> from skcnn.layers import Sigmoid
    >>> Sigmoid().output_shape((128,))
    (128,)
    """

    name = "sigmoid"
    stem = "sigmoid"

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        tape(special.expit, x, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        tape(np.subtract, 1, y, slope)
        tape(np.multiply, slope, y, slope)


@description
class HardSigmoid(_Pointwise):
    """Piecewise linear approximation of the logistic function.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = min(max(x / 6 + 1/2, 0), 1), with slope 1/6 between -3 and 3. A. Howard et al., "Searching for MobileNetV3",
    arXiv:1905.02244, section 5.2. PyTorch uses the same formula. Keras 2 used x / 5 instead of x / 6.

    Examples
    --------
    >>> from skcnn.layers import HardSigmoid
    >>> HardSigmoid().output_shape((128,))
    (128,)
    """

    name = "hard_sigmoid"
    stem = "hardsigmoid"

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        record_hard_sigmoid(tape, x, y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        record_hard_sigmoid_slope(tape, x, slope)


def record_hard_sigmoid(tape: Tape, x: Array, y: Array) -> None:
    """Record ``y <- x / 6 + 1/2``, clipped to 0 ... 1."""
    tape(np.multiply, x, 1 / 6, y)
    tape(np.add, y, 0.5, y)
    tape(np.clip, y, 0, 1, y)


def record_hard_sigmoid_slope(tape: Tape, x: Array, slope: Array) -> None:
    """Record ``slope <- 1/6 between -3 and 3, else 0``."""
    tape(np.abs, x, slope)
    inside = tape(np.less, slope, 3, tape.scratch(x.shape, bool))
    tape(np.multiply, inside, 1 / 6, slope)


class Held(_Pointwise):
    """Base of the activations that are the identity between two bounds."""

    def bounds(self) -> tuple[float, float]:
        """Return the lower and the upper bound."""
        raise NotImplementedError

    def record_value(self, tape: Tape, x: Array, y: Array) -> None:
        tape(np.clip, x, *self.bounds(), y)

    def record_slope(self, tape: Tape, x: Array, y: Array, slope: Array) -> None:
        low, high = self.bounds()
        above = tape(np.greater, x, low, tape.scratch(x.shape, bool))
        below = tape(np.less, x, high, tape.scratch(x.shape, bool))
        tape(np.multiply, above, below, slope)

    def record_inside(self, tape: Tape, y: Array, inside: Array) -> None:
        """Record ``inside <- low < y < high``, for y = f(x) as for x."""
        low, high = self.bounds()
        tape(np.greater, y, low, inside)
        below = tape(np.less, y, high, tape.scratch(y.shape, bool))
        tape(np.logical_and, inside, below, inside)
        tape.release(below)


@description
class Clip(Held):
    """Clipping to an interval.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    low : float or None, default=-1.0
        Lower bound. If None, there is no lower bound.
    high : float or None, default=1.0
        Upper bound, above `low`. If None, there is no upper bound.

    Notes
    -----
    y = min(max(x, low), high). The slope is 1 between the bounds, and 0 elsewhere and at the bounds. With the default
    bounds it is the hard hyperbolic tangent: R. Collobert, *Large scale machine learning*, PhD thesis, Université
    Paris VI, 2004.

    Examples
    --------
    >>> from skcnn.layers import Clip
    >>> Clip(0.0, 6.0).output_shape((28, 28, 8))
    (28, 28, 8)
    """

    low: float | None = -1.0
    high: float | None = 1.0

    name = "clip"
    aliases = ("hard_tanh",)
    stem = "clip"

    def check(self) -> None:
        for field in ("low", "high"):
            value = getattr(self, field)
            self._require(field, value is None or is_real(value, -np.inf), "a finite number or None")
        low, high = self.bounds()
        self._require("high", low < high, f"above low={self.low!r}")

    def bounds(self) -> tuple[float, float]:
        return -np.inf if self.low is None else float(self.low), np.inf if self.high is None else float(self.high)


@description
class ReLU6(Held):
    """Rectified linear unit with an upper bound of 6.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = min(max(x, 0), 6), with slope 0 at 0 and at 6. A. Krizhevsky, "Convolutional deep belief networks on CIFAR-10",
    2010. MobileNets use it, because numbers between 0 and 6 need few bits.

    Examples
    --------
    >>> from skcnn.layers import ReLU6
    >>> ReLU6().output_shape((28, 28, 8))
    (28, 28, 8)
    """

    name = "relu6"
    stem = "relu"
    kernel_initializer = "he"

    def bounds(self) -> tuple[float, float]:
        return 0.0, 6.0


@description
class Softmax(Activation):
    """Softmax over channels.  x (n, ..., c) -> y (n, ..., c).

    Notes
    -----
    y[i] = exp(x[i]) / (sum over j of exp(x[j])), over the channels of each pixel, or the features of a flat input. In
    the backward pass, dx = y (dy - sum of dy y). C. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006,
    equation 4.62.

    Do not end `layers` with a softmax. The loss applies the softmax over classes.

    Examples
    --------
    >>> from skcnn.layers import Softmax
    >>> Softmax().output_shape((4, 4, 10))
    (4, 4, 10)
    """

    name = "softmax"
    stem = "softmax"

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape.output(x.shape, framed=True)
        reduced = (*x.shape[:-1], 1)
        each = tape(channel_max, x, tape.scratch(reduced))
        tape(np.subtract, x, each, y)  # exp cannot overflow
        tape(np.exp, y, y)
        tape(channel_sum, y, each)
        tape(np.divide, y, each, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            product = tape(np.multiply, dy, y, tape.scratch(x.shape))
            mean = tape(channel_sum, product, tape.scratch(reduced))
            difference = tape(np.subtract, dy, mean, dy)
            return tape(np.multiply, difference, y, difference)

        return y, backward
