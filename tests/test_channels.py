"""Sums over everything but the channels, compared with NumPy's in double precision."""

import numpy as np
import pytest

from skcnn._arrays.order import NARROW
from skcnn._tape.channels import record_channel_moments, record_channel_products, record_channel_sums
from skcnn._tape.tape import Batch, Tape

SHAPES = [(7, 9, 5, 3), (7, 9, 5, NARROW), (1, 1, 1, 20), (40, 41, 3, 18), (33, 2), (300, 40)]


def arrays(tape, shape, gaps, offset=0.0):
    """An array in the order of the tape's, perhaps a view with gaps between its rows."""
    rng = np.random.default_rng(0)
    if len(shape) == 4 and gaps:
        tape.margin = (1, 1), (2, 0)
    with tape.step("a"):
        found = [tape.output(shape, framed=True) for _ in range(2)]
    for array in found:
        array[...] = rng.normal(size=shape) + offset
    return found


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_and_products(shape, dtype, gaps):
    tape = Tape(dtype, Batch(1), poison=False)
    x, y = arrays(tape, shape, gaps)
    sums, products, both = (np.empty(shape[-1]) for _ in range(3))
    with tape.step("b"):
        record_channel_sums(tape, x, sums)
        record_channel_products(tape, x, y, products, both)
    tape.replay(0)
    axes = tuple(range(len(shape) - 1))
    x, y = x.astype(float), y.astype(float)
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-6 * x.size / shape[-1]} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-11}
    )
    np.testing.assert_allclose(sums, x.sum(axes), **tolerance)
    np.testing.assert_allclose(both, y.sum(axes), **tolerance)
    np.testing.assert_allclose(products, (x * y).sum(axes), **tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1000.0, -30_000.0])
@pytest.mark.parametrize("shape", SHAPES[3:], ids=str)
def test_variance_survives_a_mean_that_is_much_larger_than_the_deviation(shape, offset, weighted):
    tape = Tape(np.float32, Batch(1))
    x, _ = arrays(tape, shape, gaps=False, offset=offset)
    sums, squares = np.empty(shape[-1]), np.empty(shape[-1])
    rows = shape[-2] if len(shape) == 4 else shape[0]
    weights = np.random.default_rng(1).uniform(0.1, 3, (rows, 1)).astype(np.float32)
    with tape.step("b"):
        record_channel_moments(tape, x, sums, squares, weights if weighted else None)
    tape.replay(0)
    values = x.astype(float).reshape(-1, rows, shape[-1])
    shares = np.broadcast_to(weights[:, 0] if weighted else 1.0, values.shape[:2]).ravel()
    count, values = shares.sum(dtype=float), values.reshape(-1, shape[-1])
    mean = np.average(values, axis=0, weights=shares)
    expected = np.average((values - mean) ** 2, axis=0, weights=shares)
    np.testing.assert_allclose(sums / count, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(squares / count - (sums / count) ** 2, expected, rtol=2e-4)
