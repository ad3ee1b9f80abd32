"""Standardization against NumPy."""

import numpy as np
import pytest

import skcnn.scaling
from skcnn.scaling import measure_scaling


@pytest.mark.parametrize("chunk", [1, 100, 1 << 18])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_moments_equal_numpys_in_chunks_of_any_size(chunk, dtype, monkeypatch):
    monkeypatch.setattr(skcnn.scaling, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    images, rows = rng.integers(0, 256, size=(30, 5, 4, 3)).astype(dtype), np.arange(3, 30, 2)
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
