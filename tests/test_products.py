"""Products of few rows: in pieces that BLAS computes on one thread."""

import numpy as np
import pytest

from skcnn._tape.products import UNROLLED, VECTOR_PRODUCT, may_take_threads, record_rows
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import Dense
from skcnn.testing import draw_parameters, run


def recorded(rows, k, n, dtype):
    """The product of random matrices in parts, checked against that in double precision; and the calls that make it."""
    rng = np.random.default_rng(0)
    tape = Tape(dtype, Batch(rows), poison=True)
    x, matrix = rng.normal(size=(rows, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    with tape.step("dense"):
        out = tape.output((rows, n))
        record_rows(tape, x, matrix, out)
    tape.replay(0)
    exact = x.astype(np.float64) @ matrix.astype(np.float64)
    np.testing.assert_allclose(out, exact, rtol=0, atol=np.abs(exact).max() * (1e-12 if dtype == np.float64 else 1e-5))
    found = [arguments for f, arguments in tape.segments[0] if f is np.matmul]
    assert all(product.flags.c_contiguous for _, _, product in found)  # into anything else BLAS writes more slowly
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("k", "n", "in_parts"),
    [
        (100, 10, False),
        (784, 128, True),
        (2048, 128, True),
        (787, 128, False),  # a prime number cannot be cut
        (20, 12_000, False),  # nor can a row that is too long
        (4096, 64, True),
        (4100, 64, False),  # too large for parts to pay
        (4096, 1024, False),
    ],
)
def test_one_row_is_multiplied_in_parts_that_need_no_threads(k, n, in_parts, dtype):
    ((a, b, _),) = recorded(1, k, n, dtype)
    assert (len(a) > 1) == in_parts
    assert not in_parts or not may_take_threads(1, b.shape[-2], n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [784, 787, 4096, 4097, 6000])
@pytest.mark.parametrize("n", [10, 128, 256])
@pytest.mark.parametrize("rows", [2, 3, 4, 7, 9, 33])
def test_some_rows_are_vectors_or_as_many_as_blas_wants(rows, k, n, dtype):
    if k * n < VECTOR_PRODUCT:
        return
    ((a, b, product),) = recorded(rows, k, n, dtype)
    vectors, height = product.shape[-3:-1]
    assert height == 1 if rows < UNROLLED else height % UNROLLED == 0
    assert vectors * height - rows in range(UNROLLED)
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
