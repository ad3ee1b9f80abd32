"""Dropout of single numbers and of whole channels."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, in_memory_order, uniform
from .._tape.parameters import Arrays
from .._tape.tape import Tape
from ..description import description, is_real
from .base import Backward, Layer, Shape, image, unread


class _Dropout(Layer):
    """Base of the dropout layers, which multiply the input by a random mask."""

    rate: float

    def check(self) -> None:
        self._require("rate", is_real(self.rate, 0, 1, open_high=True), "a number of 0 or more and less than 1")

    def mask_shape(self, shape: Shape) -> Shape:
        """Return the shape of the mask for ``x`` of ``shape``, in the engine's axis order (h, w, n, c)."""
        return shape

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        if not tape.training or self.rate == 0:
            return x, lambda dy, needs_dx=True: dy
        shape = self.mask_shape(x.shape)
        factor = tape.keep(shape)
        kept = tape.scratch(shape, bool)
        tape(uniform, tape.rng, in_memory_order(factor))
        tape(np.greater_equal, factor, self.rate, kept)
        tape(copy, kept, factor)
        tape(np.multiply, factor, 1 / (1 - self.rate), factor)
        y = tape(np.multiply, x, factor, tape.output(x.shape))
        return y, unread(lambda dy, needs_dx=True: tape(np.multiply, dy, factor, dy), x, y)


@description
class Dropout(_Dropout):
    """Dropout of single numbers.  x (n, ...) -> y (n, ...).

    Random numbers are set to 0 in training. In prediction the layer is the identity.

    Parameters
    ----------
    rate : float, default=0.5
        Probability that a number is set to 0, 0 or more and less than 1.

    Notes
    -----
    y = x * m / (1 - rate), where each m is 1 with probability 1 - rate and 0 otherwise. The expectation of y is x.
    N. Srivastava et al., "Dropout", *Journal of Machine Learning Research* 15 (2014), 1929-1958.

    Examples
    --------
    >>> from skcnn.layers import Dropout
    >>> Dropout(0.25)
    Dropout(0.25)
    """

    rate: float = 0.5

    stem = "dropout"


@description
class SpatialDropout2D(_Dropout):
    """Dropout of whole channels.  x (n, h, w, c) -> y (n, h, w, c).

    Random channels of each image are set to 0 in training. In prediction the layer is the identity. Neighbouring pixels
    of a channel are similar, so that dropping single pixels removes little information.

    Parameters
    ----------
    rate : float, default=0.5
        Probability that a channel of an image is set to 0, 0 or more and less than 1.

    Raises
    ------
    ShapeError
        If the input is flat. Raised in ``fit``.

    Notes
    -----
    y[a, b, k] = x[a, b, k] * m[k] / (1 - rate), where each m[k] of an image is 1 with probability 1 - rate and 0
    otherwise. J. Tompson et al., "Efficient object localization using convolutional networks", arXiv:1411.4280,
    section 3.2.

    Examples
    --------
    >>> from skcnn.layers import SpatialDropout2D
    >>> SpatialDropout2D(0.25).output_shape((14, 14, 32))
    (14, 14, 32)
    """

    rate: float = 0.5

    stem = "spatialdropout"

    def output_shape(self, shape: Shape) -> Shape:
        return image(shape)

    def mask_shape(self, shape: Shape) -> Shape:
        return 1, 1, *shape[2:]
