"""Dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..description import description, is_real
from ..functional.elementwise import Array, copy, in_memory_order, uniform
from .base import Backward, Layer


@description
class Dropout(Layer):
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

    def check(self) -> None:
        self._require("rate", is_real(self.rate, 0, 1, open_high=True), "a number of 0 or more and less than 1")

    def record(self, tape: Any, x: Array, p: Any, g: Any) -> tuple[Array, Backward | None]:
        if not tape.training or self.rate == 0:
            return x, lambda dy, needs_dx=True: dy
        factor = tape.keep(x.shape)
        kept = tape.scratch(x.shape, bool)
        tape(uniform, tape.rng, in_memory_order(factor))
        tape(np.greater_equal, factor, self.rate, kept)
        tape(copy, kept, factor)
        tape(np.multiply, factor, 1 / (1 - self.rate), factor)
        y = tape(np.multiply, x, factor, tape.output(x.shape))
        return y, lambda dy, needs_dx=True: tape(np.multiply, dy, factor, dy)
