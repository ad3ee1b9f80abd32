"""Standardization against NumPy."""

import math

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skcnn import CNNClassifier
from skcnn._engine.scaling import CHEAP, CHUNK, Scaling, measure_scaling, needed_dtype


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


@pytest.mark.parametrize("multiply_adds", [CHEAP - 1, CHEAP])
@pytest.mark.parametrize(
    ("kind", "mean", "scale", "needed"),
    [
        ("f4", 1e9, 1, "f4"), ("f2", 0, 1, "f4"), ("?", 0.5, 0.5, "f4"),
        ("u1", 255, 1e-3, "f4"), ("i2", 3e4, 1e-3, "f4"), ("i8", 128, 60, "f4"), ("i4", 1e7, 1, "f4"),
        ("i4", 2e7, 50, "f8"), ("i4", 2e7, 1e4, "f4"), ("u4", 2**31, 20, "f8"), ("i8", -(2**40), 1e6, "f8"),
    ],
)  # fmt: skip
def test_integers_that_single_precision_would_not_tell_apart_need_double(kind, mean, scale, needed, multiply_adds):
    scaling = Scaling(np.array([0.0, mean]), np.array([1.0, scale]))
    assert np.dtype(needed_dtype(np.dtype(kind), scaling, multiply_adds)) == needed


@pytest.mark.parametrize("kind", ["f8", ">f8"])
@pytest.mark.parametrize(
    ("mean", "scale", "needed"),
    [
        (0, 1, "f4"), (0.5, 0.25, "f4"), (128, 60, "f4"), (1e3, 1, "f4"), (1e5, 1, "f8"), (-1e5, 1, "f8"),
        (1e9, 1e5, "f8"), (1e9, 1e6, "f4"), (0, 1e-20, "f4"), (0, 1e-40, "f8"), (0, 1e20, "f4"), (0, 1e35, "f8"),
        (1e35, 1e34, "f8"),
    ],
)  # fmt: skip
def test_floats_of_large_networks_need_double_only_where_single_would_lose_digits(kind, mean, scale, needed):
    scaling = Scaling(np.array([0.0, mean]), np.array([1.0, scale]))
    assert np.dtype(needed_dtype(np.dtype(kind), scaling, CHEAP)) == needed
    assert np.dtype(needed_dtype(np.dtype(kind), scaling, CHEAP - 1)) == "f8"


def test_images_in_double_precision_are_learnt_in_single_by_a_large_network():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (24, 16, 16)) / 255.0, np.arange(24) % 3
    large, cheap = (CNNClassifier(filters, max_iter=1, random_state=0).fit(X, y) for filters in ((32, 64), (4,)))
    multiply_adds = [model._model.network.multiply_adds for model in (large, cheap)]
    assert multiply_adds[0] > CHEAP > multiply_adds[1]
    assert [model.parameters_["conv1.kernel"].dtype for model in (large, cheap)] == [np.float32, np.float64]
    expected = clone(large).fit(X.astype(np.float32), y)
    assert expected.parameters_["conv1.kernel"].dtype == np.float32
    np.testing.assert_allclose(large.predict_proba(X), expected.predict_proba(X), rtol=1e-4)
    wanted = clone(large).set_params(dtype="float64").fit(X, y)
    assert wanted.parameters_["conv1.kernel"].dtype == np.float64


@pytest.mark.parametrize("offset", [3e5, -1e8])
def test_standardization_of_a_large_offset_loses_no_digits_in_a_large_network(offset):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 16, 16)), np.arange(24) % 3
    model = CNNClassifier(max_iter=2, random_state=0)
    shifted, plain = model.fit(X + offset, y).predict_proba(X + offset), clone(model).fit(X, y).predict_proba(X)
    assert model._model.network.multiply_adds > CHEAP
    np.testing.assert_allclose(shifted, plain, rtol=1e-3)


@pytest.mark.parametrize("factor", [1e-40, 1e39])
def test_images_beyond_single_precision_are_learnt_in_double(factor):
    X, y = np.random.default_rng(0).normal(size=(24, 16, 16)), np.arange(24) % 3
    model = CNNClassifier(max_iter=2, random_state=0)
    scaled, plain = model.fit(X * factor, y).predict_proba(X * factor), clone(model).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(scaled, plain, rtol=1e-3)


def test_wide_integers_are_learnt_as_well_as_floats():
    noise = np.random.default_rng(4).normal(size=(120, 4, 4))
    X, y = (2**31 + 20 * noise).astype(np.int64), (noise.mean((1, 2)) > 0).astype(int)
    model = CNNClassifier((4,), max_iter=30, learning_rate=0.01, random_state=0)
    assert model.fit(X, y).score(X, y) == clone(model).fit(X.astype(float), y).score(X, y) > 0.9
