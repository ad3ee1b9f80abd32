"""What dropout drops: how much, of what, and from which random numbers."""

import numpy as np
import pytest
from harness import LayerRun, run

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, Dropout, Flatten, ReLU, SpatialDropout2D

X = np.random.default_rng(0).uniform(1, 2, (40, 5, 4, 30))
DY = np.random.default_rng(1).uniform(1, 2, X.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [3, 30])
@pytest.mark.parametrize("kind", [Dropout, SpatialDropout2D])
def test_numbers_are_dropped_or_scaled(kind, channels, dtype):
    x, dy = X[..., :channels].astype(dtype), DY[..., :channels].astype(dtype)
    y, dx, _ = run(kind(0.25), x, {}, dy, dtype=dtype)
    assert set(np.unique(np.round(y / x, 5))) == {0, np.round(dtype(4 / 3), 5)}
    np.testing.assert_allclose(dx / dy, y / x, rtol=1e-5)


def test_numbers_are_dropped_one_by_one():
    mask = run(Dropout(0.25), X, {}, DY)[0] > 0
    assert abs(mask.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / mask.size)
    assert abs(np.corrcoef(mask[:, 0, 0].ravel(), mask[:, 0, 1].ravel())[0, 1]) < 4 / np.sqrt(40 * 30)


def test_channels_of_an_image_are_dropped_whole():
    mask = run(SpatialDropout2D(0.25), X, {}, DY)[0] > 0
    np.testing.assert_array_equal(mask, np.broadcast_to(mask[:, :1, :1], mask.shape))
    of_channels = mask[:, 0, 0]  # (images, channels)
    assert abs(of_channels.mean() - 0.75) < 4 * np.sqrt(0.25 * 0.75 / of_channels.size)
    assert len(np.unique(of_channels, axis=0)) == len(X)
    assert len(np.unique(of_channels, axis=1).T) == 30


@pytest.mark.parametrize("kind", [Dropout, SpatialDropout2D])
def test_every_replay_and_every_shard_draws_anew(kind):
    recorded = LayerRun([kind(0.5)], X.shape, {}, shards=2)
    first, second = (recorded(X, DY)[0] > 0 for _ in range(2))
    assert (first != second).any()
    assert (first[:20] != first[20:]).any()


@pytest.mark.parametrize("kind", [Dropout, SpatialDropout2D])
def test_a_fit_is_repeated_by_its_seed_whatever_the_number_of_threads(digits, kind):
    def weights(rate, n_jobs=1):
        layers = [Conv2D(4), ReLU(), kind(rate), Flatten()]
        model = CNNClassifier(layers=layers, max_iter=2, batch_size=80, random_state=0, n_jobs=n_jobs)
        return model.fit(*digits).parameters_["conv1.kernel"]

    expected = weights(0.5)
    np.testing.assert_array_equal(weights(0.5, n_jobs=2), expected)
    assert (weights(0.0) != expected).any()
