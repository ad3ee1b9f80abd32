"""Initializers: the variance and the distribution of what they draw."""

import numpy as np
import pytest
from cases import INITIALIZERS
from scipy.stats import kstest

import skcnn.initializers
from skcnn.initializers import Glorot, He, Zeros

initializers = pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
VARIANCES = {"He": lambda i, o: 2 / i, "Glorot": lambda i, o: 2 / (i + o), "LeCun": lambda i, o: 1 / i}


@initializers
def test_distribution_is_the_published_one(initializer):
    draws = initializer.sample(np.random.default_rng(0), (20_000,), fan_in=30, fan_out=90)
    if isinstance(initializer, Zeros):
        assert not draws.any()
        return
    deviation = np.sqrt(VARIANCES[type(initializer).__name__](30, 90))
    if initializer.distribution == "normal":
        assert kstest(draws / deviation, "norm").pvalue > 0.01
    else:
        limit = deviation * np.sqrt(3)
        assert kstest(draws, "uniform", args=(-limit, 2 * limit)).pvalue > 0.01


@initializers
def test_shape_and_determinism(initializer):
    draws = [initializer.sample(np.random.default_rng(1), (3, 3, 2, 4), 18, 36) for _ in range(2)]
    assert draws[0].shape == (3, 3, 2, 4)
    np.testing.assert_array_equal(*draws)


def test_he_keeps_the_variance_through_relu_layers():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 256))
    for _ in range(10):
        x = np.maximum(x @ He().sample(rng, (256, 256), 256, 256), 0)
    assert 0.3 < np.mean(x**2) < 3


def test_glorot_counts_both_fans():
    assert Glorot().variance(10, 30) == pytest.approx(1 / 20)


@initializers
def test_description_is_a_value(initializer):
    assert eval(repr(initializer), vars(skcnn.initializers)) == initializer
