"""Elementwise operators, and recognition of activations that consist of several operators.

Exporters write GELU, SiLU and others as several nodes, in various ways. Such a group is recognized by its values. It is
evaluated in double precision, and compared with each activation of this package.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf, expit, ndtr

from .._arrays.elementwise import Array
from ..layers import GELU, HardSigmoid, HardSwish, Layer, Mish, ReLU, ReLU6, SiLU, Softplus, Tanh

Function = Callable[..., Array]

# The grid is dense where activations bend, includes zero and the corners, and extends far out. Beyond 80, exponentials
# are infinite in single precision. Only finite values are compared.
FAR = np.concatenate([np.linspace(12, 80, 137), np.logspace(2, 6, 41)])
GRID = np.unique(np.concatenate([-FAR, np.linspace(-12, 12, 4801), FAR]))
TOLERANCE = 1e-6
INSIDE = np.abs(GRID) <= 80


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0)


def _hard(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


def _tanh_gelu(x: Array) -> Array:
    return x * expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


# Functions of the operators without attributes.
FUNCTIONS: dict[str, Function] = {
    "Abs": np.abs,
    "Add": np.add,
    "Div": np.divide,
    "Erf": erf,
    "Exp": np.exp,
    "HardSwish": lambda x: x * _hard(x),
    "Identity": lambda x: x,
    "Log": np.log,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": expit,
    "Softplus": _softplus,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Tanh": np.tanh,
}

KNOWN: tuple[tuple[Layer, Array], ...] = tuple(
    (layer, f(GRID))
    for layer, f in (
        (ReLU(), FUNCTIONS["Relu"]),
        (ReLU6(), lambda x: np.clip(x, 0, 6)),
        (SiLU(), lambda x: x * expit(x)),
        (GELU(), lambda x: x * ndtr(x)),
        (GELU(True), _tanh_gelu),
        (HardSwish(), FUNCTIONS["HardSwish"]),
        (HardSigmoid(), _hard),
        (Mish(), FUNCTIONS["Mish"]),
        (Softplus(), _softplus),
        (Tanh(), np.tanh),
    )
)


def recognized(values: Array) -> Layer | None:
    """Return the activation that has these values on the grid, or None."""
    finite = np.isfinite(values)
    if not finite[INSIDE].all():
        return None
    for layer, expected in KNOWN:
        if np.all(np.abs(values - expected)[finite] <= TOLERANCE * (1 + np.abs(expected[finite]))):
            return layer
    return None
