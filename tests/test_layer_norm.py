"""Normalization of each image by itself: the cases that have another name, and precision far from zero."""

import numpy as np
import pytest
from harness import draw_parameters, run

from skcnn.layers import BatchNorm, GroupNorm, LayerNorm

SHAPE = (4, 5, 6)
X = np.random.default_rng(0).normal(2, 3, size=(3, *SHAPE))
PLAIN = {"scale": np.ones(6), "offset": np.zeros(6)}


def test_one_group_is_the_whole_image():
    y = run(GroupNorm(1), X, PLAIN)
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var((1, 2, 3)), 1, rtol=1e-5)


def test_a_group_per_channel_is_batch_norm_of_single_images():
    p = draw_parameters(GroupNorm(6), SHAPE)
    statistics = {"running_mean": np.zeros(6), "running_variance": np.ones(6)}
    dy = np.random.default_rng(1).normal(size=X.shape)
    ours = run(GroupNorm(6), X, p, dy)
    for i in range(len(X)):
        y, dx, _ = run(BatchNorm(), X[i : i + 1], p | statistics, dy[i : i + 1])
        np.testing.assert_allclose(ours[0][i], y[0], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(ours[1][i], dx[0], rtol=1e-9, atol=1e-10)


def test_layer_norm_is_group_norm_of_its_pixels():
    p = draw_parameters(LayerNorm(), SHAPE)
    pixels = run(GroupNorm(1), X.reshape(-1, 6), p)
    np.testing.assert_allclose(run(LayerNorm(), X, p), pixels.reshape(X.shape), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("channels", [6, 24])
@pytest.mark.parametrize("layer", [LayerNorm(), GroupNorm(2)])
def test_single_precision_far_from_zero(layer, channels):
    rng = np.random.default_rng(2)
    x = rng.normal(1000, 1, size=(3, 20, 20, channels)).astype(np.float32)
    dy = rng.normal(size=x.shape)
    p = {"scale": np.ones(channels), "offset": np.zeros(channels)}
    single, double = (run(layer, x, p, dy, dtype=dtype) for dtype in (np.float32, np.float64))
    for mine, expected in zip(single[:2], double[:2], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(4, 5, 6), (3, 4, 24), (12,)])
@pytest.mark.parametrize("layer", [LayerNorm(), GroupNorm(3)])
def test_constant_images_become_the_offset(layer, shape):
    p = draw_parameters(layer, shape)
    y = run(layer, np.full((2, *shape), 7.0), p)
    np.testing.assert_allclose(y, np.broadcast_to(p["offset"], y.shape), atol=1e-10)
