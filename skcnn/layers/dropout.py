"""Dropout, of numbers and of whole channels."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, in_memory_order, uniform
from .._tape.parameters import Arrays
from .._tape.tape import Tape
from ..description import description, is_real
from .base import Backward, Layer, Shape, image


class _Dropout(Layer):
    """Base of the dropout layers: a mask is drawn, and multiplied with the array that it broadcasts to."""

    rate: float

    def check(self) -> None:
        self._require("rate", is_real(self.rate, 0, 1, open_high=True), "a number of 0 or more and less than 1")

    def mask_shape(self, shape: Shape) -> Shape:
        """Shape of the mask for ``x`` of ``shape``, inside the engine."""
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
        return y, lambda dy, needs_dx=True: tape(np.multiply, dy, factor, dy)


@description
class Dropout(_Dropout):
    """Drop numbers at random while training; the identity when predicting.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    rate : float, default=0.5
        The probability that a number is dropped: 0 or more, less than 1.

    Notes
    -----
    y = x * m / (1 - rate), where each m is 1 with probability 1 - rate, and else 0, so that the expectation of y is x.
    N. Srivastava et al., *Journal of Machine Learning Research* 15 (2014), 1929-1958.

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
    """Drop whole channels of images at random while training; else the identity.  x (n, h, w, c) -> y (n, h, w, c).

    Neighbouring pixels of a channel say nearly the same, so that to drop single ones hides little.

    Parameters
    ----------
    rate : float, default=0.5
        The probability that a channel of an image is dropped: 0 or more, less than 1.

    Raises
    ------
    ShapeError
        In ``fit``, if the input is flat.

    Notes
    -----
    y[a, b, k] = x[a, b, k] * m[k] / (1 - rate), where each m[k] of an image is 1 with probability 1 - rate, and else 0.
    J. Tompson et al., "Efficient object localization using convolutional networks", arXiv:1411.4280, section 3.2.

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
