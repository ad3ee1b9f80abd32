"""Gradients that are clipped to a norm: against a softmax regression by hand, and against PyTorch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcnn import CNNClassifier
from skcnn._engine.groups import CHUNK
from skcnn._engine.update import _clipping_factor
from skcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from skcnn.optimizers import SGD

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

RATE, ALPHA = 0.5, 0.1


def regression(**params):
    """A softmax regression, one step of plain gradient descent per epoch."""
    return CNNClassifier(
        layers=[Flatten()],
        optimizer=SGD(momentum=0, nesterov=False),
        **{"learning_rate": RATE, "alpha": ALPHA, "batch_size": 1000, "max_iter": 8, "standardize": False} | params,
    )


def images(*shape):
    """Images whose gradients are as large for any number of pixels, and their classes."""
    rng = np.random.default_rng(0)
    return rng.normal(0, 3 / np.sqrt(np.prod(shape)), size=(90, *shape)), rng.integers(0, 4, 90)


@pytest.fixture(params=["few weights", "many weights", "many weights in many shards"])
def data(request):
    """Of which a softmax regression has a few weights, or more than are updated at a time."""
    if request.param == "many weights in many shards":
        request.getfixturevalue("small_shards")
    found = images(3, 3) if request.param == "few weights" else images(40, 45, 10)
    assert 4 * found[0][0].size > CHUNK or request.param == "few weights"
    return found


@pytest.mark.parametrize("clip_norm", [0.05, 0.15, 1e3])
def test_steps_are_those_of_a_clipped_softmax_regression(data, clip_norm):
    X, y = data
    x, bias, clipped = X.reshape(90, -1), np.zeros(4), 0
    kernel = np.zeros((x.shape[1], 4))
    for _ in range(8):
        scores = np.exp(x @ kernel + bias)
        error = (scores / scores.sum(axis=1, keepdims=True) - np.eye(4)[y]) / 90
        slopes = x.T @ error, error.sum(axis=0)
        norm = np.sqrt(np.sum(slopes[0] ** 2) + np.sum(slopes[1] ** 2))
        factor = min(1, clip_norm / (norm + 1e-6))
        clipped += factor < 1
        kernel, bias = kernel - RATE * (factor * slopes[0] + ALPHA * kernel), bias - RATE * factor * slopes[1]
    assert clipped > 0 or clip_norm == 1e3, "a bound that never holds is no test"
    fitted = regression(clip_norm=clip_norm).fit(X, y).parameters_
    assert_allclose(fitted["output.kernel"], kernel, rtol=1e-9, atol=1e-15)
    assert_allclose(fitted["output.bias"], bias, rtol=1e-9, atol=1e-15)


def test_steps_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    X, y = images(3, 3)
    model = torch.nn.Linear(9, 4, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
    decayed, free = {"params": [model.weight], "weight_decay": ALPHA}, {"params": [model.bias]}
    optimizer = torch.optim.SGD([decayed, free], lr=RATE)
    for _ in range(8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.tensor(X.reshape(90, -1))), torch.tensor(y)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    fitted = regression(clip_norm=0.1).fit(X, y).parameters_
    assert_allclose(fitted["output.kernel"], model.weight.detach().numpy().T, rtol=1e-9)
    assert_allclose(fitted["output.bias"], model.bias.detach().numpy(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bound_that_is_never_reached_changes_nothing(data, dtype):
    layers = [Flatten(), Dense(8), BatchNorm(), ReLU(), Dropout(0.3), Dense(20), ReLU()]
    model = CNNClassifier(layers=layers, batch_size=64, max_iter=2, dtype=dtype, random_state=0)
    free = model.fit(*data).parameters_
    bound = model.set_params(clip_norm=1e6).fit(*data).parameters_
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    for name, value in free.items():
        assert_allclose(bound[name], value, rtol=tolerance, atol=tolerance / 10, err_msg=name)


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_every_number_of_threads_gives_the_same_bits(n_jobs):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (200, 12, 12), dtype=np.uint8), rng.integers(0, 3, 200)
    layers = [Conv2D(8), BatchNorm(), ReLU(), Flatten(), Dense(64), ReLU()]
    model = CNNClassifier(layers=layers, batch_size=100, max_iter=2, clip_norm=0.2, average=0.9, random_state=0)
    expected = model.set_params(n_jobs=1).fit(X, y)
    weights = {name: value.copy() for name, value in expected.parameters_.items()}
    assert sum(value.size for value in weights.values()) > CHUNK
    for name, value in model.set_params(n_jobs=n_jobs).fit(X, y).parameters_.items():
        assert_array_equal(value, weights[name], err_msg=name)


def test_a_norm_whose_square_overflows_single_precision_is_clipped():
    """Pixels of 1e25 make slopes as large, whose squares single precision does not hold."""
    X, y = np.full((20, 2, 2), 1e25, np.float32), np.arange(20) % 4 // 3
    fitted = regression(clip_norm=1.0, alpha=0, max_iter=1, dtype="float32").fit(X, y).parameters_
    step = np.concatenate([value.ravel() for value in fitted.values()]).astype(np.float64)
    assert np.linalg.norm(step) == pytest.approx(RATE, rel=1e-5)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_not_made_finite(value):
    """Or training would go on with steps of nothing, and nobody would be told."""
    gradient, factor = np.array([value, 1.0]), np.ones(())
    _clipping_factor(np.array([np.sum(gradient**2)]), 1.0, factor)
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(gradient * factor).all()
