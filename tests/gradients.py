"""Gradients by central differences."""

import numpy as np


def directional(f, arrays, directions, step=1e-6):
    """The derivative of ``f(*arrays)`` along ``directions``, by a central difference."""
    values = [
        f(*[array + sign * step * direction for array, direction in zip(arrays, directions, strict=True)])
        for sign in (1, -1)
    ]
    return (values[0] - values[1]) / (2 * step)


def inner(arrays, directions):
    """The derivative along ``directions`` that the gradients ``arrays`` mean."""
    return sum(float(np.sum(a * d)) for a, d in zip(arrays, directions, strict=True))
