"""Layers that change only the shape."""

from __future__ import annotations

import math

from .._arrays.elementwise import Array, copy, reshape
from .._tape.parameters import Arrays
from .._tape.tape import Tape
from ..description import description
from .base import Backward, Layer, Shape, image, unread


@description
class Flatten(Layer):
    """Flattening of each image into a row.  x (n, h, w, c) -> y (n, h * w * c).

    Raises
    ------
    ShapeError
        If the input is already flat. Raised in ``fit``.

    Notes
    -----
    The numbers have the same order as in NumPy's ``reshape``: y[(a w + b) c + k] = x[a, b, k].

    Examples
    --------
    >>> from skcnn.layers import Flatten
    >>> Flatten().output_shape((7, 7, 16))
    (784,)
    """

    stem = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(image(shape)),)

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        h, w, n, c = x.shape
        size = h * w * c
        if n == 1 and x.flags.c_contiguous and not tape.backward:  # memory order is already (h, w, c)
            return reshape(x, (n, size)), None
        y = tape.output((n, size))
        tape(copy, x, reshape(y, (n, h, w, c)).transpose(1, 2, 0, 3))

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if needs_dx:
                return tape(copy, reshape(dy, (n, h, w, c)).transpose(1, 2, 0, 3), tape.output(x.shape))
            return None

        return y, unread(backward, x, y)
