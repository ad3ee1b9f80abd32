"""Products of few rows: in pieces that BLAS computes on one thread, or that several threads compute."""

import numpy as np
import pytest

from skcnn._tape.products import RELEASED, UNROLLED, VECTOR_PRODUCT, may_take_threads, record_rows
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import Dense
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


def recorded(rows, k, n, dtype):
    """The product of random matrices in parts, checked against that in double precision; and the calls that make it."""
    rng = np.random.default_rng(0)
    tape = Tape(dtype, Batch(rows), lanes=4, poison=True)
    x, matrix = rng.normal(size=(rows, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    with tape.step("dense"):
        out = tape.output((rows, n))
        record_rows(tape, x, matrix, out)
    tape.replay(0)
    exact = x.astype(np.float64) @ matrix.astype(np.float64)
    np.testing.assert_allclose(out, exact, rtol=0, atol=np.abs(exact).max() * (1e-12 if dtype == np.float64 else 1e-5))
    found = products(tape.segments[0])
    assert all(product.flags.c_contiguous for _, _, product in found)  # into anything else BLAS writes more slowly
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
    found = recorded(1, k, n, dtype)
    assert len(found) == lanes
    assert sum(a.shape[0] for a, _, _ in found if a.ndim > 2) == (parts if k * n >= VECTOR_PRODUCT else 0)
    if lanes > 1:
        assert all(product.size >= RELEASED for _, _, product in found)  # the others are let work meanwhile
    elif parts > 1:
        assert not any(may_take_threads(1, b.shape[-2], n) for _, b, _ in found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "k", "n", "lanes"),
    [
        (2, 4096, 128, 2),
        (3, 4096, 256, 4),
        (2, 787, 128, 1),
        (3, 784, 128, 1),
        (4, 4096, 128, 2),
        (7, 4096, 128, 2),
        (7, 4097, 128, 1),
        (9, 784, 128, 1),
        (33, 512, 100, 1),
        (2, 4096, 10, 1),
        (4, 60_000, 10, 2),
    ],
)
def test_some_rows_are_vectors_or_as_many_as_blas_wants(rows, k, n, lanes, dtype):
    found = recorded(rows, k, n, dtype)
    assert len(found) == lanes
    for a, b, product in found:
        vectors, height = product.shape[-3:-1]
        assert height == 1 if rows < UNROLLED else height % UNROLLED == 0
        assert vectors * height - rows in range(UNROLLED)
        if lanes > 1:
            assert product.size >= RELEASED
        if rows < UNROLLED and k % 2 == 0 and k * n < 1 << 18:
            assert not may_take_threads(*a.shape[-2:], b.shape[-1])


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_what_is_small_stays_one_product(rows):
    assert [a.shape for a, _, _ in recorded(rows, 100, 10, np.float32)] == [(rows, 100)]


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
def test_only_those_of_predictions_are(rows):
    layer, shape = Dense(128), (784,)
    p, x = draw_parameters(layer, shape), np.random.default_rng(1).normal(size=(rows, 784))
    expected = x @ p["kernel"] + p["bias"]
    np.testing.assert_allclose(run(layer, x, p), expected, rtol=1e-12, atol=1e-12)
    y, _, _ = run(layer, x, p, dy=np.ones((rows, 128)))
    np.testing.assert_array_equal(y, expected)  # one product, as in training
