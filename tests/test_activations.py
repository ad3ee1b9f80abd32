"""Activations: published formulas, numbers that are far out, and PyTorch."""

import math
import warnings

import numpy as np
import pytest
from scipy.special import erf, expit, log1p, softmax

from skcnn import CNNClassifier
from skcnn.architecture import build_layers
from skcnn.description import registered, resolve
from skcnn.layers import (
    ELU,
    GELU,
    SELU,
    Activation,
    Clip,
    Conv2D,
    Dense,
    Flatten,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from skcnn.optimizers import SGD
from skcnn.testing import LayerRun, run


def softplus(x):
    return np.maximum(x, 0) + log1p(np.exp(-np.abs(x)))


def hard(x):
    return np.clip(x / 6 + 0.5, 0, 1)


def normal_density(x):
    return np.exp(-np.minimum(x**2, 1400) / 2) / math.sqrt(2 * math.pi)


def leaky(s):
    return lambda x: np.where(x > 0, x, s * x), lambda x: np.where(x > 0, 1, s)


def held(low, high):
    return lambda x: np.minimum(np.maximum(x, low), high), lambda x: (low < x) & (x < high)


def exponential(alpha, scale=1.0):
    low = lambda x: np.exp(np.minimum(x, 0))  # noqa: E731
    return (
        lambda x: scale * np.where(x > 0, x, alpha * (low(x) - 1)),
        lambda x: scale * np.where(x > 0, 1, alpha * low(x)),
    )


# Value and derivative, in double precision.
FORMULAS = {
    ReLU(): (lambda x: np.maximum(x, 0), lambda x: x > 0),
    LeakyReLU(0.2): leaky(0.2),
    PReLU(): leaky(0.25),
    Clip(): held(-1, 1),
    Clip(-0.5, None): held(-0.5, np.inf),
    Clip(None, 2.5): held(-np.inf, 2.5),
    ReLU6(): held(0, 6),
    ELU(): exponential(1.0),
    ELU(2.5): exponential(2.5),
    SELU(): exponential(1.6732632423543772848, 1.0507009873554804934),
    Tanh(): (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    Sigmoid(): (expit, lambda x: expit(x) * expit(-x)),
    HardSigmoid(): (hard, lambda x: (np.abs(x) < 3) / 6),
    HardSwish(): (lambda x: x * hard(x), lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0)),
    Softplus(): (softplus, expit),
    SiLU(): (lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    GELU(): (
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        lambda x: (1 + erf(x / math.sqrt(2))) / 2 + x * normal_density(x),
    ),
    Mish(): (
        lambda x: x * np.tanh(softplus(x)),
        lambda x: np.tanh(softplus(x)) + x * expit(x) / np.cosh(np.minimum(softplus(x), 300)) ** 2,
    ),
}
formulas = pytest.mark.parametrize("layer", FORMULAS, ids=repr)
every = pytest.mark.parametrize("layer", [*FORMULAS, GELU(True), Softmax()], ids=repr)


def start(layer, channels):
    """The parameters with their initial values."""
    return {name: np.full(p.shape, p.initial) for name, p in layer.parameters((channels,)).items()}


def value_and_slope(layer, x, dtype=np.float32):
    y, dx, _ = run(layer, x, start(layer, x.shape[1]), np.ones_like(x), dtype=dtype)
    return y, dx


@formulas
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value_and_slope_equal_the_formula(layer, dtype):
    x = np.linspace(-12, 12, 4001, dtype=dtype)[None]
    with np.errstate(all="raise", under="ignore"):
        y, slope = value_and_slope(layer, x, dtype)
    assert y.dtype == slope.dtype == dtype
    value, derivative = FORMULAS[layer]
    tolerance = {"rtol": 1e-6, "atol": 3e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(y, value(x.astype(float)), **tolerance)
    np.testing.assert_allclose(slope, derivative(x.astype(float)), **tolerance)


@formulas
@pytest.mark.parametrize("size", [30.0, 90.0, 1e4, 1e18, 1e37])
def test_far_out_it_is_a_straight_line_without_warnings(layer, size):
    x = np.array([[-size, size]], np.float32)
    with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        y, slope = value_and_slope(layer, x)
    value, derivative = FORMULAS[layer]
    np.testing.assert_allclose(y, value(x.astype(float)), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(slope, derivative(x.astype(float)), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [90.0, 1e4, 1e18])
def test_tanh_form_of_gelu_stays_finite_far_out(size):
    with np.errstate(all="raise", under="ignore"):
        y, slope = value_and_slope(GELU(True), np.array([[-size, size]], np.float32))
    np.testing.assert_allclose(y, [[0, np.float32(size)]], atol=1e-30)
    np.testing.assert_allclose(slope, [[0, 1]], atol=1e-30)


def test_tanh_form_of_gelu_is_near_the_exact_one():
    x = np.linspace(-8, 8, 2001)[None]
    exact, form = (value_and_slope(layer, x, np.float64)[0] for layer in (GELU(), GELU(True)))
    assert 1e-4 < np.abs(exact - form).max() < 5e-4  # as the docstring says


def test_softmax_is_that_of_the_channels_and_stays_finite():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32) * 1e4
    with np.errstate(all="raise", under="ignore"):
        y, dx, _ = run(Softmax(), x, {}, np.ones_like(x), dtype=np.float32)
    np.testing.assert_allclose(y, softmax(x.astype(float), axis=-1), atol=1e-6)
    np.testing.assert_allclose(dx, 0, atol=1e-6)  # the sum does not change


def test_selu_keeps_mean_and_variance_through_the_layers():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 200))
    for _ in range(8):
        kernel = resolve(Activation, "selu", "activation").kernel_initializer
        assert kernel == "lecun"
        x = run(SELU(), x @ rng.normal(0, math.sqrt(1 / 200), (200, 200)), {})
    assert abs(x.mean()) < 0.1
    assert 0.8 < x.var() < 1.2


def test_prelu_learns_its_slopes():
    rng = np.random.default_rng(2)
    x, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    slopes = np.array([0.5, -1.0, 0.0])
    recorded = LayerRun([PReLU()], x.shape, {"slope": slopes})
    y, dx, g = recorded(x, dy)
    np.testing.assert_allclose(y, np.where(x > 0, x, slopes * x))
    np.testing.assert_allclose(dx, np.where(x > 0, 1, slopes) * dy)
    np.testing.assert_allclose(g["slope"], np.sum(dy * np.minimum(x, 0), axis=0))


def test_prelu_slopes_are_not_shrunk_by_alpha(digits):
    X, y = digits
    layers = build_layers((8, 8, 1), conv_filters=(4,), hidden_layer_sizes=(8,), activation="prelu")
    fitted = CNNClassifier(layers=layers, alpha=1e6, learning_rate=0.0, max_iter=1, random_state=0).fit(X, y)
    assert set(fitted.parameters_) >= {"prelu1.slope", "prelu2.slope"}
    assert fitted.parameters_["prelu2.slope"].shape == (8,)
    kernels = [value for name, value in fitted.parameters_.items() if name.endswith("kernel")]
    penalty = 1e6 / 2 * sum(np.sum(kernel**2) for kernel in kernels)
    assert fitted.loss_ == pytest.approx(penalty + math.log(10), rel=1e-6)


@pytest.mark.parametrize("name", registered(Activation))
def test_every_name_trains_a_network(name, digits):
    X, y = digits
    options = {"conv_filters": (16,), "hidden_layer_sizes": (), "batch_size": 12, "max_iter": 12}
    fitted = CNNClassifier(**options, activation=name, learning_rate=0.01, random_state=0).fit(X, y)
    assert fitted.score(X, y) > 0.7
    activation = resolve(Activation, name, "activation")
    assert activation in fitted.layers_
    drawn = {layer.kernel_initializer for layer in fitted.layers_ if isinstance(layer, (Conv2D, Dense))}
    assert drawn == {activation.kernel_initializer}


def test_swish_is_silu():
    assert resolve(Activation, "swish", "activation") == SiLU()


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (ELU(-1), r"ELU\(-1\): alpha must be a number of 0 or more, got -1"),
        (PReLU("a"), r"slope must be a finite number, got 'a'"),
        (PReLU(float("nan")), r"slope must be a finite number, got nan"),
        (Clip("a"), r"Clip\('a'\): low must be a finite number or None, got 'a'"),
        (Clip(0.0, float("inf")), r"high must be a finite number or None, got inf"),
        (Clip(2.0), r"Clip\(2.0\): high must be above low=2.0, got 1.0"),
        (GELU("tanh"), r"approximate must be True or False, got 'tanh'"),
    ],
)
def test_fields_without_a_meaning_are_refused(layer, words):
    with pytest.raises(ValueError, match=words):
        layer.check()


@every
def test_equals_pytorch(layer):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    twins = {
        Tanh: nn.Tanh, ReLU: nn.ReLU, Sigmoid: nn.Sigmoid, HardSigmoid: nn.Hardsigmoid, HardSwish: nn.Hardswish,
        SELU: nn.SELU, SiLU: nn.SiLU, Mish: nn.Mish, Softmax: lambda: nn.Softmax(dim=1),
        Softplus: lambda: nn.Softplus(threshold=1000), LeakyReLU: lambda: nn.LeakyReLU(0.2),
        ELU: lambda: nn.ELU(layer.alpha), GELU: lambda: nn.GELU("tanh" if layer.approximate else "none"),
        PReLU: lambda: nn.PReLU(5, 0.25), ReLU6: nn.ReLU6,
        Clip: lambda: nn.Hardtanh(*layer.bounds()),
    }  # fmt: skip
    rng = np.random.default_rng(3)
    x, dy = rng.normal(0, 3, (4, 6, 7, 5)), rng.normal(size=(4, 6, 7, 5))
    y, dx, g = run(layer, x, start(layer, 5), dy)
    module = twins[type(layer)]().double()
    theirs = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    out = module(theirs)
    out.backward(torch.tensor(dy.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(y, out.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-10, atol=1e-12)
    rtol = 1e-7 if isinstance(layer, HardSigmoid) else 1e-10  # PyTorch's slope is 1/6 in single precision
    np.testing.assert_allclose(dx, theirs.grad.numpy().transpose(0, 2, 3, 1), rtol=rtol, atol=1e-12)
    if g:
        np.testing.assert_allclose(g["slope"], module.weight.grad.numpy(), rtol=1e-10)


def moved(layer, channels, dtype, steps=3):
    """All weights after some steps of a network in which the layer stands between convolutions, and before them."""
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(20, 9, 8, 3)), np.arange(20) % 3
    layers = [Conv2D(channels), layer, Conv2D(channels), layer, Conv2D(2), layer, Flatten()]
    options = {"optimizer": SGD(momentum=0.0, nesterov=False), "alpha": 0.0, "batch_size": 20, "shuffle": False}
    model = CNNClassifier(layers=layers, learning_rate=0.05, warm_start=True, random_state=0, dtype=dtype, **options)
    found = []
    for epochs, rate in ((2, 0.05), (steps, 0.05), (1, 1e-6), (1, 1e-6)):
        model.set_params(max_iter=epochs, learning_rate=rate).fit(X, y)
        found.append((np.concatenate([value.ravel() for value in model.parameters_.values()]), model.loss_))
    return found


@every
@pytest.mark.parametrize("channels", [4, 17])
def test_gradients_between_convolutions_equal_what_a_small_step_gains(layer, channels):
    _, (before, _), (after, start), (_, end) = moved(layer, channels, "float64")
    gradient = (before - after) / 1e-6
    assert (start - end) / 1e-6 == pytest.approx(gradient @ gradient, rel=1e-3)


@every
def test_between_convolutions_by_winograd_it_writes_into_the_border_of_the_next_layer(layer):
    """See `Tape.output`: in single precision only, and so compared with double precision."""
    single, double = (moved(layer, 17, dtype)[:2] for dtype in ("float32", "float64"))
    step = double[1][0] - double[0][0]
    # Where a number is next to 0, single precision may decide otherwise on which side of a corner it is.
    np.testing.assert_allclose(single[1][0] - single[0][0], step, atol=1e-2 * np.abs(step).max())
