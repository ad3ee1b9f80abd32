"""Small real data for the tests of the estimator."""

import pytest
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """120 digits as (n, 8, 8), with pixels from 0 to 16, and their classes."""
    images, y = load_digits(return_X_y=True)
    images, y = images[:120].reshape(-1, 8, 8), y[:120]
    images.flags.writeable = y.flags.writeable = False
    return images, y


@pytest.fixture(autouse=True)
def no_interruption_before(monkeypatch):
    """Each test is the first to be interrupted: two interruptions within seconds end everything."""
    monkeypatch.setattr("skcnn._engine.interruption._pressed", -1e9)


@pytest.fixture
def small_shards(monkeypatch):
    """Batches are cut into shards of eight rows, however little work is in them."""
    monkeypatch.setattr("skcnn._engine.passes.SHARD", (8, 1))
    monkeypatch.setattr("skcnn._engine.passes.PAIR", (8, 1))
