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
from skcnn.initializers import (
    Constant,
    Dirac,
    Glorot,
    He,
    Initializer,
    LeCun,
    Orthogonal,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
)
from skcnn.layers import Conv2D, Dense, DepthwiseConv2D, Flatten, ReLU, SeparableConv2D, Tanh
from skcnn.testing import draw_parameters, run

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


@pytest.mark.parametrize(
    ("scaling", "kind"),
    [
        (VarianceScaling(2.0), He()),
        (VarianceScaling(2.0, distribution="uniform"), He("uniform")),
        (VarianceScaling(1.0, "fan_avg"), Glorot()),
        (VarianceScaling(), LeCun()),
    ],
    ids=repr,
)
def test_variance_scaling_includes_the_other_initializers(scaling, kind):
    drawn, expected = (i.sample(np.random.default_rng(0), (40, 50), fan_in=40, fan_out=50) for i in (scaling, kind))
    np.testing.assert_allclose(drawn, expected, rtol=1e-15)


def test_variance_scaling_divides_by_the_outputs_of_a_unit():
    draws = VarianceScaling(3.0, "fan_out").sample(np.random.default_rng(0), (20_000,), fan_in=30, fan_out=90)
    assert kstest(draws / np.sqrt(3 / 90), "norm").pvalue > 0.01


def test_a_uniform_third_is_the_default_of_pytorch():
    torch = pytest.importorskip("torch")
    scaling = VarianceScaling(1 / 3, distribution="uniform")
    kernel = scaling.sample(np.random.default_rng(0), (3, 3, 16, 64), fan_in=144, fan_out=576)
    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(16, 64, 3).weight.detach().numpy()
    assert kstest(kernel.ravel(), "uniform", args=(-1 / 12, 1 / 6)).pvalue > 0.01
    assert kstest(theirs.ravel(), "uniform", args=(-1 / 12, 1 / 6)).pvalue > 0.01


KERNELS = [(Conv2D(7), 3), (Conv2D(3), 7), (Conv2D(4, kernel_size=(2, 5)), 4), (Conv2D(6, kernel_size=4), 2)]
KERNELS += [(Conv2D(6, groups=3), 12), (Conv2D(12, kernel_size=(1, 2), groups=2), 4), (Conv2D(8, groups=8), 8)]
KERNELS += [(DepthwiseConv2D(depth_multiplier=2), 5)]


@pytest.mark.parametrize(("layer", "channels"), KERNELS, ids=repr)
def test_dirac_is_that_of_pytorch(layer, channels):
    torch = pytest.importorskip("torch")
    p = layer.replaced(kernel_initializer="dirac").parameters((9, 9, channels))["kernel"]
    groups = channels // p.shape[2]
    theirs = torch.nn.init.dirac_(torch.empty(p.shape[3], p.shape[2], *p.shape[:2]), groups=groups)
    theirs = theirs.permute(2, 3, 1, 0).numpy()
    plain = Dirac("zeros").sample(np.random.default_rng(0), p.shape, p.fan_in, p.fan_out)
    np.testing.assert_array_equal(plain, theirs)

    passed = theirs.any(axis=(0, 1, 2))  # the other filters are those of the other initializer
    drawn, he = (i.sample(np.random.default_rng(0), p.shape, p.fan_in, p.fan_out) for i in (Dirac(), He()))
    np.testing.assert_array_equal(drawn[..., passed], theirs[..., passed])
    np.testing.assert_array_equal(drawn[..., ~passed], he[..., ~passed])


def test_dirac_is_an_identity_matrix_for_dense_layers():
    for shape in ((3, 5), (5, 3)):
        np.testing.assert_array_equal(Dirac("zeros").sample(np.random.default_rng(0), shape, *shape), np.eye(*shape))


def test_a_separable_convolution_with_dirac_copies_its_input():
    layer = SeparableConv2D(5, depthwise_initializer="dirac", pointwise_initializer="dirac")
    x, p = np.random.default_rng(0).normal(size=(2, 6, 5, 3)), draw_parameters(layer, (6, 5, 3))
    np.testing.assert_allclose(run(layer, x, p | {"bias": np.zeros(5)})[..., :3], x, rtol=1e-12)


@pytest.mark.parametrize(("shape", "fans"), [((4,), (4, 4)), ((3, 3, 2, 4), (1, 1)), ((3, 3, 2, 4), (18, 5))])
def test_dirac_refuses_what_is_no_kernel(shape, fans):
    with pytest.raises(ValueError, match=r"Dirac\(\) needs a kernel .* got the shape \("):
        Dirac().sample(np.random.default_rng(0), shape, *fans)


def test_the_initializer_inside_of_dirac_is_a_nested_parameter():
    model = CNNClassifier(layers=[Conv2D(4, kernel_initializer="dirac"), Flatten()])
    model.set_params(layers__conv1__kernel_initializer__remaining_initializer__distribution="uniform")
    assert model.layers[0].kernel_initializer == Dirac(He("uniform"))


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
        (VarianceScaling(0.0), r"scale must be a number above 0, got 0.0"),
        (VarianceScaling(mode="fan"), r"mode must be 'fan_in', 'fan_out' or 'fan_avg', got 'fan'"),
        (Dirac("hee"), r"Dirac's remaining_initializer='hee' is not a known name. Did you mean 'he'"),
        (Dirac(He("gaussian")), r"distribution must be 'normal' or 'uniform', got 'gaussian'"),
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
        elif name == "dirac":
            np.testing.assert_array_equal(kernel[:6], np.eye(6))
            assert not kernel[6:].any()
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
