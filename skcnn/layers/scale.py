"""Learnable factor and offset of each channel."""

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
