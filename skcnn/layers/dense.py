"""Fully connected layer."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array
from .._tape.parameters import Arrays, Parameter
from .._tape.products import record_rows
from .._tape.tape import Tape
from ..description import Description, description, is_count
from .base import Backward, Layer, Shape, flat, unread
from .bias import Bias


@description
class Dense(Layer):
    """Fully connected layer.  x (n, f) -> y (n, units).

    Parameters
    ----------
    units : int
        Number of outputs.
    use_bias : bool, default=True
        Whether to add a learnable number to each output.
    kernel_initializer : str or initializer, default="he"
        Initializer of the kernel. The default suits a ReLU after the layer.

    Raises
    ------
    ShapeError
        If the input is not flat. Raised in ``fit``.

    Notes
    -----
    y = x @ kernel + bias, with ``kernel`` (f, units) and ``bias`` (units,). In the backward pass, dkernel = x.T @ dy,
    dbias is the sum of dy over the batch, and dx = dy @ kernel.T.

    Examples
    --------
    >>> from skcnn.layers import Dense
    >>> Dense(128).output_shape((784,))
    (128,)
    >>> Dense(128).parameters((784,))["kernel"].shape
    (784, 128)
    """

    units: int
    use_bias: bool = True
    kernel_initializer: str | Description = "he"

    stem = "dense"

    def check(self) -> None:
        self._require("units", is_count(self.units), "an int of 1 or more")
        self._require("use_bias", isinstance(self.use_bias, (bool, np.bool)), "True or False")

    def output_shape(self, shape: Shape) -> Shape:
        flat(shape)
        return (self.units,)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        kernel = Parameter((shape[0], self.units), self.kernel_initializer, shape[0], self.units, decay=True)
        return {"kernel": kernel} | (Bias().parameters((self.units,)) if self.use_bias else {})

    def multiply_adds(self, shape: Shape) -> int:
        return shape[0] * self.units

    def lowered(self) -> tuple[Layer, ...]:
        return (self.replaced(use_bias=False), Bias()) if self.use_bias else (self,)

    def scalable(self) -> str | None:
        return "kernel"

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y = tape.output((len(x), self.units))
        if tape.backward:
            tape(np.matmul, x, p.kernel, y)
        else:
            record_rows(tape, x, p.kernel, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            tape(np.matmul, x.T, dy, g.kernel)
            return tape(np.matmul, dy, p.kernel.T, tape.output(x.shape)) if needs_dx else None

        return y, unread(backward, y)
