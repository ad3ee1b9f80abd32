"""Initializers: the variance and the distribution of what they draw."""

import math
import pickle

import numpy as np
import pytest
from cases import INITIALIZERS
from scipy.stats import kstest, truncnorm
from sklearn.base import clone

import skcnn.initializers
from skcnn import CNNClassifier, CNNRegressor
from skcnn.description import registered
from skcnn.initializers import Constant, Glorot, He, Initializer, LeCun, Orthogonal, TruncatedNormal, Zeros
from skcnn.layers import Conv2D, Dense, Flatten, ReLU, Tanh

initializers = pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
VARIANCES = {"He": lambda i, o: 2 / i, "Glorot": lambda i, o: 2 / (i + o), "LeCun": lambda i, o: 1 / i}


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("kind", [He, Glorot, LeCun], ids=lambda kind: kind.__name__)
def test_distribution_is_the_published_one(kind, distribution):
    draws = kind(distribution).sample(np.random.default_rng(0), (20_000,), fan_in=30, fan_out=90)
    deviation = np.sqrt(VARIANCES[kind.__name__](30, 90))
    if distribution == "normal":
        assert kstest(draws / deviation, "norm").pvalue > 0.01
    else:
        limit = deviation * np.sqrt(3)
        assert kstest(draws, "uniform", args=(-limit, 2 * limit)).pvalue > 0.01


def test_constants_are_constant():
    rng = np.random.default_rng(0)
    assert not Zeros().sample(rng, (3, 4), 3, 4).any()
    np.testing.assert_array_equal(Constant(-1.5).sample(rng, (3, 4), 3, 4), np.full((3, 4), -1.5))


def test_truncated_normal_is_that_of_scipy():
    draws = TruncatedNormal(0.3).sample(np.random.default_rng(0), (20_000,), fan_in=30, fan_out=90)
    assert kstest(draws / 0.3, truncnorm(-2, 2).cdf).pvalue > 0.01
    assert np.abs(draws).max() <= 0.6
    assert draws.std() == pytest.approx(0.3 * 0.880, rel=0.01)  # as the docstring says


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (3, 3, 2, 5), (2, 2, 1, 20), (6, 1)], ids=str)
def test_orthogonal_kernels_keep_lengths(shape):
    kernel = Orthogonal(3.0).sample(np.random.default_rng(0), shape, fan_in=1, fan_out=1)
    assert kernel.shape == shape
    matrix = kernel.reshape(-1, shape[-1])
    smaller = matrix.T @ matrix if len(matrix) >= shape[-1] else matrix @ matrix.T
    np.testing.assert_allclose(smaller, 9 * np.eye(min(matrix.shape)), atol=1e-12)


def test_all_orthogonal_matrices_are_equally_probable():
    """Rotations and reflections of the plane: the angle of the first column is uniform, and half are reflections."""
    rng = np.random.default_rng(1)
    draws = np.array([Orthogonal().sample(rng, (2, 2), 2, 2) for _ in range(3000)])
    angles = np.arctan2(draws[:, 1, 0], draws[:, 0, 0])
    assert kstest(angles, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 0.01
    assert np.mean(np.linalg.det(draws) > 0) == pytest.approx(0.5, abs=0.05)


def test_orthogonal_kernels_carry_gradients_through_many_linear_layers():
    rng = np.random.default_rng(2)
    for initializer, kept in ((Orthogonal(), True), (LeCun(), False)):
        x = np.eye(32)
        for _ in range(60):
            x = x @ initializer.sample(rng, (32, 32), 32, 32)
        singular = np.linalg.svd(x, compute_uv=False)
        assert (singular.max() / singular.min() < 1 + 1e-9) == kept


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


@pytest.mark.parametrize(
    ("initializer", "words"),
    [
        (He("gaussian"), r"distribution must be 'normal' or 'uniform', got 'gaussian'"),
        (Orthogonal(0), r"gain must be a number above 0, got 0"),
        (TruncatedNormal(-1.0), r"stddev must be a number above 0, got -1.0"),
        (Constant("1"), r"value must be a finite number, got '1'"),
    ],
)
def test_fields_without_a_meaning_are_refused(initializer, words):
    with pytest.raises(ValueError, match=words):
        initializer.check()


def test_every_name_draws_the_kernels_of_a_network(digits):
    X, y = digits
    for name, kind in registered(Initializer).items():
        layers = [Conv2D(4, kernel_initializer=name), ReLU(), Flatten(), Dense(6, kernel_initializer=kind()), Tanh()]
        fitted = CNNClassifier(layers=layers, learning_rate=0.0, max_iter=1, random_state=0).fit(X, y)
        kernel = fitted.parameters_["dense1.kernel"]
        if name in ("zeros", "constant"):
            assert not kernel.any()
        elif name == "orthogonal":
            np.testing.assert_allclose(kernel.T @ kernel, np.eye(6), atol=1e-12)
        else:
            assert 0.02 < kernel.std() < 0.12


# -- the output layer


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_the_output_layer_is_drawn_as_its_initializer_says(estimator):
    X, y = np.random.default_rng(0).normal(size=(40, 6, 6)), np.arange(40) % 4
    start = {
        "conv_filters": (16,),
        "hidden_layer_sizes": (500,),
        "learning_rate": 0.0,
        "max_iter": 1,
        "random_state": 0,
    }
    plain, he = (estimator(**start, **more).fit(X, y) for more in ({}, {"output_initializer": "he"}))
    assert not plain.parameters_["output.kernel"].any()
    kernel = he.parameters_["output.kernel"]
    assert kstest(kernel.ravel() / np.sqrt(2 / 500), "norm").pvalue > 0.01
    for name, value in plain.parameters_.items():  # all others are the same
        if name != "output.kernel":
            np.testing.assert_array_equal(he.parameters_[name], value)
    constant = estimator(layers=[Flatten()], **start | {"conv_filters": 1}, output_initializer=Constant(0.25)).fit(X, y)
    assert (constant.parameters_["output.kernel"] == 0.25).all()


def test_the_output_layers_initializer_is_a_parameter_like_others():
    model = CNNClassifier((4,), output_initializer="he", max_iter=1, random_state=0)
    model.set_params(output_initializer__distribution="uniform")
    assert model.output_initializer == He("uniform")
    assert clone(model).get_params()["output_initializer"] == He("uniform")
    X, y = np.random.default_rng(0).normal(size=(20, 6, 6)), np.arange(20) % 3
    trained = clone(model).set_params(learning_rate=0.0).fit(X, y)
    assert np.abs(trained.parameters_["output.kernel"]).max() <= np.sqrt(6 / 128)
    for wrong, message in (("hee", "output_initializer='hee'.*'he'"), (He, "output_initializer.*class")):
        with pytest.raises((TypeError, ValueError), match=message):
            clone(model).set_params(output_initializer=wrong).fit(X, y)
    with pytest.raises(ValueError, match=r"TruncatedNormal\(-1\): stddev must be a number above 0"):
        clone(model).set_params(output_initializer=TruncatedNormal(-1)).fit(X, y)


def test_the_output_layers_initializer_is_kept_by_files_and_pickles(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(20, 6, 6)), np.arange(20) % 3
    model = CNNClassifier((4,), output_initializer=He("uniform"), max_iter=1, random_state=0).fit(X, y)
    skcnn.save(model, tmp_path / "model")
    for copied in (skcnn.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        assert copied.output_initializer == He("uniform")
        np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
        again = copied.fit(X, y)
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
