"""Activations that multiply each number by a gate, which rises from 0 to 1 as the number grows."""

from __future__ import annotations

import math

import numpy as np

from .._arrays import special
from .._arrays.elementwise import Array, minimum
from .._tape.parameters import Arrays
from .._tape.tape import Tape
from ..description import description
from .activation import record_hard_sigmoid, record_hard_sigmoid_slope
from .base import Activation, Backward, unread

SATURATED = 20.0  # exp(20) ** 2 is a number in single precision, and its gate is 1 in double precision
TANH_CUBIC, TANH_SCALE = 0.044715, math.sqrt(8 / math.pi)
NORMAL_DENSITY = 1 / math.sqrt(2 * math.pi)


class _Gated(Activation):
    """Base of the activations y = x gate(x), whose slope is gate(x) + x gate'(x)."""

    kernel_initializer = "he"

    def record_gate(self, tape: Tape, x: Array, gate: Array) -> None:
        """Record ``gate <- gate(x)``."""
        raise NotImplementedError

    def record_gate_slope(self, tape: Tape, x: Array, gate: Array, slope: Array) -> None:
        """Record ``slope <- gate'(x)``."""
        raise NotImplementedError

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        gate = tape.keep(x.shape)
        self.record_gate(tape, x, gate)
        y = tape(np.multiply, x, gate, tape.output(x.shape, framed=True))
        if not tape.backward:
            return y, None
        # The slope replaces the gate below, so that the backward pass needs neither the gate nor x.
        slope = tape.scratch(x.shape)
        self.record_gate_slope(tape, x, gate, slope)
        tape(np.multiply, slope, x, slope)
        slope = tape(np.add, slope, gate, gate)
        return y, unread(lambda dy, needs_dx=True: tape(np.multiply, dy, slope, dy), x, y)


@description
class SiLU(_Gated):
    """Sigmoid linear unit, also called swish.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = x s(x) with the logistic function s: S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units for
    neural network function approximation in reinforcement learning", arXiv:1702.03118, equation 8. P. Ramachandran, B.
    Zoph and Q. Le, "Searching for activation functions", arXiv:1710.05941, introduced the name swish.

    Examples
    --------
    >>> from skcnn.layers import SiLU
    >>> SiLU().output_shape((28, 28, 8))
    (28, 28, 8)
    """

    name = "silu"
    aliases = ("swish",)
    stem = "silu"

    def record_gate(self, tape: Tape, x: Array, gate: Array) -> None:
        tape(special.expit, x, gate)

    def record_gate_slope(self, tape: Tape, x: Array, gate: Array, slope: Array) -> None:
        tape(np.subtract, 1, gate, slope)
        tape(np.multiply, slope, gate, slope)


@description
class GELU(_Gated):
    """Gaussian error linear unit.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    approximate : bool, default=False
        Whether to use the approximation with a hyperbolic tangent, as many published models do. It differs from the
        exact form by at most 0.0005.

    Notes
    -----
    y = x P(Z < x) for a standard normal Z, which is x (1 + erf(x / sqrt(2))) / 2. The approximation is
    x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x ** 3). Its gate equals the logistic function of 2 u.
    D. Hendrycks and K. Gimpel, "Gaussian error linear units", arXiv:1606.08415, section 2.

    Examples
    --------
    >>> from skcnn.layers import GELU
    >>> GELU(approximate=True)
    GELU(True)
    """

    approximate: bool = False

    name = "gelu"
    stem = "gelu"

    def check(self) -> None:
        self._require("approximate", isinstance(self.approximate, (bool, np.bool)), "True or False")

    def record_gate(self, tape: Tape, x: Array, gate: Array) -> None:
        if not self.approximate:
            tape(special.ndtr, x, gate)
            return
        _record_square(tape, x, gate)
        tape(np.multiply, gate, TANH_SCALE * TANH_CUBIC, gate)
        tape(np.add, gate, TANH_SCALE, gate)
        tape(np.multiply, gate, x, gate)
        tape(special.expit, gate, gate)

    def record_gate_slope(self, tape: Tape, x: Array, gate: Array, slope: Array) -> None:
        _record_square(tape, x, slope)
        if not self.approximate:
            tape(np.multiply, slope, -0.5, slope)
            tape(np.exp, slope, slope)
            tape(np.multiply, slope, NORMAL_DENSITY, slope)
            return
        tape(np.multiply, slope, 3 * TANH_SCALE * TANH_CUBIC, slope)
        tape(np.add, slope, TANH_SCALE, slope)
        tape(np.multiply, slope, gate, slope)
        closed = tape(np.subtract, 1, gate, tape.scratch(x.shape))
        tape(np.multiply, slope, closed, slope)


def _record_square(tape: Tape, x: Array, out: Array) -> None:
    """Record ``out <- x ** 2`` with x clipped to -40 ... 40.

    The square of a larger number may overflow, and a Gaussian at 40 is already 0 in double precision.
    """
    tape(np.clip, x, -40.0, 40.0, out)
    tape(np.multiply, out, out, out)


@description
class HardSwish(_Gated):
    """SiLU with a piecewise linear gate.  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = x min(max(x / 6 + 1/2, 0), 1). A. Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, section 5.2.

    Examples
    --------
    >>> from skcnn.layers import HardSwish
    >>> HardSwish().output_shape((28, 28, 8))
    (28, 28, 8)
    """

    name = "hard_swish"
    stem = "hardswish"

    def record_gate(self, tape: Tape, x: Array, gate: Array) -> None:
        record_hard_sigmoid(tape, x, gate)

    def record_gate_slope(self, tape: Tape, x: Array, gate: Array, slope: Array) -> None:
        record_hard_sigmoid_slope(tape, x, slope)


@description
class Mish(_Gated):
    """Self-gated activation x tanh(softplus(x)).  x (n, ...) -> y (n, ...).

    Notes
    -----
    y = x tanh(log(1 + exp(x))). With e = exp(x), the gate is (e ** 2 + 2 e) / (e ** 2 + 2 e + 2). The slope of the gate
    is (1 - gate ** 2) times the logistic function of x. D. Misra, "Mish: a self regularized non-monotonic activation
    function", arXiv:1908.08681, equation 1.

    Examples
    --------
    >>> from skcnn.layers import Mish
    >>> Mish().output_shape((28, 28, 8))
    (28, 28, 8)
    """

    name = "mish"
    stem = "mish"

    def record_gate(self, tape: Tape, x: Array, gate: Array) -> None:
        e = tape(minimum, x, SATURATED, gate)
        tape(np.exp, e, e)
        term = tape(np.add, e, 2, tape.scratch(x.shape))
        tape(np.multiply, term, e, gate)
        tape(np.add, gate, 2, term)
        tape(np.divide, gate, term, gate)

    def record_gate_slope(self, tape: Tape, x: Array, gate: Array, slope: Array) -> None:
        tape(np.multiply, gate, gate, slope)
        tape(np.subtract, 1, slope, slope)
        logistic = tape(special.expit, x, tape.scratch(x.shape))
        tape(np.multiply, slope, logistic, slope)
