"""Standardization against NumPy."""

import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skcnn import CNNClassifier
from skcnn._engine.scaling import CHUNK, Scaling, measure_scaling, needed_dtype


@pytest.mark.parametrize(("shape", "chunks"), [((5, 4, 3), 1), ((150, 150, 3), 3), ((300, 300, 3), 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_moments_equal_numpys_in_chunks_of_any_size(shape, chunks, dtype):
    rng = np.random.default_rng(0)
    images, rows = rng.integers(0, 256, size=(18, *shape)).astype(dtype), np.arange(3, 18, 2)
    assert -(-len(rows) // max(1, CHUNK // math.prod(shape))) == chunks
    scaling = measure_scaling(images, rows, np.ones(len(rows)))
    used = images[rows].astype(np.float64)
    np.testing.assert_allclose(scaling.mean, used.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(scaling.scale, used.std((0, 1, 2)), rtol=1e-12)


def test_a_weight_of_two_is_a_row_twice():
    images = np.random.default_rng(1).normal(size=(6, 3, 3, 2))
    weights = np.array([1, 2, 3, 1, 0, 2])
    weighted = measure_scaling(images, np.arange(6), weights.astype(float))
    repeated = np.repeat(images, weights, axis=0)
    np.testing.assert_allclose(weighted.mean, repeated.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(weighted.scale, repeated.std((0, 1, 2)), rtol=1e-12)


def test_large_offsets_lose_no_precision():
    images = 1e8 + np.random.default_rng(2).normal(size=(50, 8, 8, 1))
    scaling = measure_scaling(images, np.arange(50), np.ones(50))
    assert scaling.scale[0] == pytest.approx(images.std(), rel=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.1, 255.0, 1e9])
def test_channels_that_do_not_vary_keep_their_scale(value):
    scaling = measure_scaling(np.full((40, 3, 3, 1), value), np.arange(40), np.ones(40))
    assert scaling.mean[0] == pytest.approx(value)
    assert scaling.scale[0] == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", np.float64])
def test_rounding_is_no_reason_to_scale(dtype):
    """scikit-learn's StandardScaler, which measures in double precision, says the same of float64."""
    images = np.full((40, 3, 3, 1), 0.3, dtype)
    images[0, 0, 0] = np.nextafter(images[0, 0, 0], images.dtype.type(1), dtype=images.dtype.newbyteorder("="))
    assert np.ptp(images) > 0
    assert measure_scaling(images, np.arange(40), np.ones(40)).scale[0] == 1
    if images.dtype == np.float64:
        assert StandardScaler().fit(images.reshape(40, 9)[:, :1]).scale_ == [1]


@pytest.mark.parametrize(("dtype", "mean", "width"), [(np.float32, 1e5, 0.02), (np.float16, 300, 0.5)])
def test_what_varies_by_a_few_digits_is_scaled(dtype, mean, width):
    images = (mean + width * np.random.default_rng(3).uniform(-1, 1, (40, 3, 3, 1))).astype(dtype)
    scale = measure_scaling(images, np.arange(40), np.ones(40)).scale[0]
    assert scale == pytest.approx(images.astype(np.float64).std())


@pytest.mark.parametrize(
    ("kind", "mean", "scale", "needed"),
    [
        ("f8", 0, 1, "f8"), (">f8", 0, 1, "f8"), ("f4", 1e9, 1, "f4"), ("f2", 0, 1, "f4"), ("?", 0.5, 0.5, "f4"),
        ("u1", 255, 1e-3, "f4"), ("i2", 3e4, 1e-3, "f4"), ("i8", 128, 60, "f4"), ("i4", 1e7, 1, "f4"),
        ("i4", 2e7, 50, "f8"), ("i4", 2e7, 1e4, "f4"), ("u4", 2**31, 20, "f8"), ("i8", -(2**40), 1e6, "f8"),
    ],
)  # fmt: skip
def test_integers_that_single_precision_would_not_tell_apart_need_double(kind, mean, scale, needed):
    scaling = Scaling(np.array([0.0, mean]), np.array([1.0, scale]))
    assert np.dtype(needed_dtype(np.dtype(kind), scaling)) == needed


def test_wide_integers_are_learnt_as_well_as_floats():
    noise = np.random.default_rng(4).normal(size=(120, 4, 4))
    X, y = (2**31 + 20 * noise).astype(np.int64), (noise.mean((1, 2)) > 0).astype(int)
    model = CNNClassifier((4,), max_iter=30, learning_rate=0.01, random_state=0)
    assert model.fit(X, y).score(X, y) == clone(model).fit(X.astype(float), y).score(X, y) > 0.9
