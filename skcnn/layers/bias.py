"""Bias of convolutions and dense layers, a separate step so that fusion can move it."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array
from .._tape.channels import by_channel, record_channel_sums
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import description
from .base import Backward, Layer, Shape, unread


@description
class Bias(Layer):
    """Learnable offset of each channel.  x (..., c) -> y (..., c).

    `Conv2D` and `Dense` are lowered to a product and this layer.

    Notes
    -----
    y = x + bias.

    Examples
    --------
    >>> from skcnn.layers.bias import Bias
    >>> Bias().parameters((8, 8, 32))["bias"].shape
    (32,)
    """

    stem = "bias"

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {"bias": Parameter(shape[-1:])}

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape.output(x.shape, framed=True)
        tape(np.add, x, by_channel(tape, p.bias, x), y)

        def backward(dy: Array, needs_dx: bool = True) -> Array:
            record_channel_sums(tape, dy, g.bias)
            return dy

        return y, unread(backward, x, y)
