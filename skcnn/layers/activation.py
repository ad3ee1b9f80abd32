"""Activations: each number for itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from ..description import description, is_real
from ..functional.elementwise import Array, maximum
from .base import Activation, Backward


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

    def takes_gaps(self) -> bool:
        return True

    def record(self, tape: Any, x: Array, p: Any, g: Any) -> tuple[Array, Backward | None]:
        y = tape(maximum, x, tape.zeros(x), tape.output(x.shape, framed=True))

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            positive = tape.scratch(y.shape, bool)
            tape(np.greater, y, 0, positive)
            return tape(np.multiply, dy, positive, tape.without_gaps(dy))

        return y, backward


@description
class LeakyReLU(Activation):
    """Rectified linear unit with a slope below 0.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    negative_slope : float, default=0.01
        Slope where x < 0: 0 or more, at most 1.

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

    def record(self, tape: Any, x: Array, p: Any, g: Any) -> tuple[Array, Backward | None]:
        y = tape.output(x.shape)
        tape(np.multiply, x, self.negative_slope, y)
        tape(maximum, x, y, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            positive = tape.scratch(x.shape, bool)
            slope = tape.scratch(x.shape)
            tape(np.greater, x, 0, positive)
            tape(np.multiply, positive, 1 - self.negative_slope, slope)
            tape(np.add, slope, self.negative_slope, slope)
            return tape(np.multiply, dy, slope, dy)

        return y, backward


@description
class Tanh(Activation):
    """Hyperbolic tangent.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = tanh(x), with derivative 1 - y ** 2. Y. LeCun et al., "Efficient BackProp", 1998, argues for it over the
    logistic function.

    Examples
    --------
    >>> from skcnn.layers import Tanh
    >>> Tanh().output_shape((128,))
    (128,)
    """

    name = "tanh"
    stem = "tanh"

    def record(self, tape: Any, x: Array, p: Any, g: Any) -> tuple[Array, Backward | None]:
        y = tape(np.tanh, x, tape.output(x.shape))

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            slope = tape.scratch(y.shape)
            tape(np.multiply, y, y, slope)
            tape(np.subtract, 1, slope, slope)
            return tape(np.multiply, dy, slope, dy)

        return y, backward


@description
class Sigmoid(Activation):
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

    def record(self, tape: Any, x: Array, p: Any, g: Any) -> tuple[Array, Backward | None]:
        y = tape(expit, x, tape.output(x.shape))

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            slope = tape.scratch(y.shape)
            tape(np.subtract, 1, y, slope)
            tape(np.multiply, slope, y, slope)
            return tape(np.multiply, dy, slope, dy)

        return y, backward
