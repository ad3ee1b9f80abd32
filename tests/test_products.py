"""Products of one row: in pieces that BLAS computes on one thread, or that several threads compute."""

import numpy as np
import pytest

from skcnn.functional.products import RELEASED, may_take_threads, record_vector_product
from skcnn.layers import Dense
from skcnn.tape import Batch, Tape
from skcnn.testing import draw_parameters, run


def products(calls):
    """The products among recorded calls, and among those of their lanes."""
    found = []
    for f, arguments in calls:
        if f is np.matmul:
            found.append(arguments)
        elif f.__name__ == "_side_by_side":
            found += [product for lane in arguments[0] for product in products(lane.args[0])]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("k", "n", "parts", "lanes"),
    [
        (100, 10, 1, 1),
        (784, 128, 14, 1),
        (2048, 128, 32, 1),
        (787, 128, 1, 1),  # a prime number cannot be cut
        (20, 12_000, 1, 1),  # nor can a row that is too long
        (4096, 64, 32, 1),
        (4100, 64, 1, 1),
        (4096, 256, 4, 2),
        (4096, 600, 4, 4),
        (4096, 1024, 4, 4),
        (4097, 1024, 1, 1),
    ],
)
def test_one_row_is_multiplied_in_parts(k, n, parts, lanes, dtype):
    rng = np.random.default_rng(0)
    tape = Tape(dtype, Batch(1), lanes=4, poison=True)
    x, matrix = rng.normal(size=(1, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    with tape.step("dense"):
        out = tape.output((1, n))
        record_vector_product(tape, x, matrix, out)
    tape.replay(0)
    exact = x.astype(np.float64) @ matrix.astype(np.float64)
    np.testing.assert_allclose(out, exact, rtol=0, atol=np.abs(exact).max() * (1e-12 if dtype == np.float64 else 1e-5))
    found = products(tape.segments[0])
    assert len(found) == lanes
    assert sum(a.shape[0] if a.ndim == 3 else 1 for a, _, _ in found) == parts
    if lanes > 1:
        assert all(product.size >= RELEASED for _, _, product in found)  # the others are let work meanwhile
    elif parts > 1:
        assert not any(may_take_threads(1, b.shape[-2], n) for _, b, _ in found)


def test_only_predictions_of_one_row_are():
    layer, shape = Dense(128), (784,)
    p, x = draw_parameters(layer, shape), np.random.default_rng(1).normal(size=(3, 784))
    y, _, _ = run(layer, x[:1], p, dy=np.ones((1, 128)))
    expected = x @ p["kernel"] + p["bias"]
    np.testing.assert_allclose(run(layer, x, p), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(run(layer, x[:1], p), expected[:1], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(y, x[:1] @ p["kernel"] + p["bias"])  # one product, as in training
