"""Factors: a learnable factor and offset of each channel, and a fixed factor of all numbers."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array
from .._tape.channels import by_channel, record_channel_products
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import description, is_real
from .base import Backward, Layer, Shape, unread
from .bias import Bias


@description
class Scale(Layer):
    """Learnable factor and offset of each channel.  x (n, ..., c) -> y (n, ..., c).

    Parameters
    ----------
    initial : float, default=1.0
        Initial value of all factors, any finite number. With the default, the layer starts as the identity.
    use_bias : bool, default=True
        Whether to add a learnable number to each channel.

    Notes
    -----
    y = scale x + bias, with ``scale`` and ``bias`` (c,). In the backward pass, dscale is the sum of dy x over all
    pixels of the channel, dbias is the sum of dy, and dx = scale dy. The L2 penalty `alpha` excludes the factors.

    Deep networks become trainable if each residual branch ends with this layer and a small initial factor: H. Touvron
    et al., "Going deeper with image transformers", arXiv:2103.17239, equation 4.

    Examples
    --------
    >>> from skcnn.layers import Scale
    >>> {name: p.shape for name, p in Scale().parameters((28, 28, 8)).items()}
    {'scale': (8,), 'bias': (8,)}
    """

    initial: float = 1.0
    use_bias: bool = True

    stem = "scale"

    def check(self) -> None:
        self._require("initial", is_real(self.initial, -np.inf), "a finite number")
        self._require("use_bias", isinstance(self.use_bias, (bool, np.bool)), "True or False")

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        factors = {"scale": Parameter(shape[-1:], float(self.initial))}
        return factors | Bias().parameters(shape) if self.use_bias else factors

    def lowered(self) -> tuple[Layer, ...]:
        return (self.replaced(use_bias=False), Bias()) if self.use_bias else (self,)

    def scalable(self) -> str | None:
        return "scale"

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape(np.multiply, x, by_channel(tape, p.scale, x), tape.output(x.shape))

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            record_channel_products(tape, x, dy, g.scale)
            return tape(np.multiply, dy, by_channel(tape, p.scale, dy), dy) if needs_dx else None

        return y, unread(backward, y)


@description
class Rescaling(Layer):
    """Fixed factor of all numbers.  x (n, ..., c) -> y (n, ..., c).

    Parameters
    ----------
    factor : float
        Factor, any finite number.

    Notes
    -----
    y = factor x, and dx = factor dy. In contrast to `Scale`, the factor is not learned.

    As the last hidden layer, it multiplies the raw predictions, except the bias of the output layer, and the gradients
    of all kernels. K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498, uses a factor of
    1 / 9. Keras has a layer of this name.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.layers import Rescaling
    >>> from skcnn.testing import run
    >>> run(Rescaling(0.5), np.array([[2.0, -3.0]]), {})
    array([[ 1. , -1.5]])
    """

    factor: float

    stem = "rescaling"

    def check(self) -> None:
        self._require("factor", is_real(self.factor, -np.inf), "a finite number")

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        factor = float(self.factor)
        y = tape(np.multiply, x, factor, tape.output(x.shape))
        return y, unread(lambda dy, needs_dx=True: tape(np.multiply, dy, factor, dy), x, y)
