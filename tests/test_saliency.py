"""`input_gradient`: that of a prediction with respect to its image."""

import numpy as np
import pytest
from cases import LAYERS
from test_layers import network_with

from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine.network import Network
from skcnn._engine.predictor import Differentiator, Predictor
from skcnn._engine.scaling import Scaling, no_scaling
from skcnn.description import description
from skcnn.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Tanh,
)
from skcnn.losses import Poisson
from skcnn.saliency import input_gradient

NORMED = [Conv2D(4), MaxPool2D(), BatchNorm(), ReLU(), Dropout(0.5), Residual([BatchNorm(), ReLU(), Conv2D(4)])]
NORMED += [BatchNorm(), MaxPool2D(), Flatten(), Dense(6), ReLU(), Dropout(0.5), BatchNorm()]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 40)
    X = rng.normal(3.0, 20.0, size=(40, 8, 8, 2)) + 20 * y[:, None, None, None]
    return X, np.array(["ash", "elm", "oak"])[y]


@pytest.fixture(scope="module")
def fitted(data):
    model = CNNClassifier(layers=NORMED, max_iter=30, learning_rate=0.01, random_state=0).fit(*data)
    assert max(np.abs(value).max() for value in model.state_.values()) > 0.1
    return model


def differences(function, X, step=1e-4):
    """The slope of each row's function along each of its numbers."""
    found = np.empty(X.shape)
    for position in np.ndindex(X.shape[1:]):
        values = []
        for moved in (step, -step):
            near = X.copy()
            near[(slice(None), *position)] += moved
            values.append(function(near))
        found[(slice(None), *position)] = (values[0] - values[1]) / (2 * step)
    return found


@pytest.mark.parametrize("after", [(), (BatchNorm(), ReLU())], ids=["", "then batch norm"])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_gradients_equal_central_differences_behind_every_layer(case, after):
    network = network_with(case, after=after)
    rng = np.random.default_rng(1)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights, state = weights + rng.uniform(-0.3, 0.3, weights.shape), state + rng.uniform(0, 0.5, state.shape)
    scaling = Scaling(rng.normal(size=network.input_shape[2]), rng.uniform(0.5, 2, network.input_shape[2]))
    given = network, weights, state, scaling
    found = Differentiator(*given, poison=True)
    x, direction = rng.normal(size=(2, 5, *network.input_shape))
    dy = rng.normal(size=(5, 3))
    predicted = Predictor(*given)
    step = 1e-6
    moved = [predicted.raw(x + sign * step * direction) for sign in (1, -1)]
    expected = np.sum(dy * (moved[0] - moved[1]), axis=1) / (2 * step)
    gradient = found.gradient(x, dy)
    scale = np.linalg.norm(gradient) + np.abs(expected).max()
    np.testing.assert_allclose(np.sum(gradient * direction, axis=(1, 2, 3)), expected, atol=1e-7 * scale)
    assert scale > 1e-3
    np.testing.assert_allclose(found.gradient(x[:3], dy[:3]), gradient[:3], atol=1e-12 * scale)


def test_single_precision_computes_by_winograd_and_gives_the_same():
    network = Network(
        [Conv2D(16), Tanh(), BatchNorm(), Conv2D(18), MaxPool2D(), BatchNorm(), Flatten()], (16, 16, 3), 2
    )
    rng = np.random.default_rng(0)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights += rng.uniform(-0.1, 0.1, weights.shape)
    x, dy = rng.normal(size=(9, 16, 16, 3)), rng.normal(size=(9, 2))
    double, single = (
        Differentiator(network, weights.astype(dtype), state.astype(dtype), no_scaling(3), poison=True)
        for dtype in (np.float64, np.float32)
    )
    expected, found = double.gradient(x, dy), single.gradient(x, dy)
    assert found.dtype == np.float32
    assert any("winograd" in key[1] for key in single._constants)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_it_is_that_of_prediction_in_units_of_the_pixels(fitted, data):
    X = data[0][:3]
    for number, label in enumerate(fitted.classes_):
        expected = differences(lambda X, number=number: fitted.decision_function(X)[:, number], X)
        np.testing.assert_allclose(input_gradient(fitted, X, label), expected, atol=1e-6 * np.abs(expected).max())


def test_by_default_it_is_that_of_what_is_predicted(fitted, data):
    X = data[0]
    each = {label: input_gradient(fitted, X, label) for label in fitted.classes_}
    predicted = fitted.predict(X)
    assert len(set(predicted)) > 1
    expected = [each[label][i] for i, label in enumerate(predicted)]
    np.testing.assert_array_equal(input_gradient(fitted, X), expected)
    np.testing.assert_array_equal(input_gradient(fitted, X, predicted), expected)


def test_every_kind_of_target(data):
    X, y = data[0], (data[1] == "elm").astype(int)
    small = {"layers": [Conv2D(3), ReLU(), GlobalAvgPool2D()], "max_iter": 2, "random_state": 0}
    two = CNNClassifier(**small).fit(X, y)
    expected = differences(two.decision_function, X[:2])
    np.testing.assert_allclose(input_gradient(two, X[:2], 1), expected, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(input_gradient(two, X[:2], 0), -input_gradient(two, X[:2], 1))
    signs = np.where(two.predict(X) == 1, 1, -1)[:, None, None, None]
    np.testing.assert_array_equal(input_gradient(two, X), signs * input_gradient(two, X, 1))
    labels = CNNClassifier(**small).fit(X, np.stack([y, 1 - y, y], axis=1))
    expected = differences(lambda X: labels.decision_function(X)[:, 2], X[:2])
    np.testing.assert_allclose(input_gradient(labels, X[:2], 2), expected, atol=1e-6 * np.abs(expected).max())
    largest = labels.decision_function(X).argmax(axis=1)
    np.testing.assert_array_equal(input_gradient(labels, X), input_gradient(labels, X, largest))
    one = CNNRegressor(**small).fit(X, y)
    expected = differences(one.predict, X[:2])
    np.testing.assert_allclose(input_gradient(one, X[:2]), expected, atol=1e-6 * np.abs(expected).max())
    several = CNNRegressor(**small).fit(X, np.stack([y, 2 * y], axis=1))
    expected = differences(lambda X: several.predict(X)[:, 1], X[:2])
    np.testing.assert_allclose(input_gradient(several, X[:2], 1), expected, atol=1e-6 * np.abs(expected).max())
    counts = CNNRegressor(**small, loss=Poisson()).fit(X, y)
    expected = differences(lambda X: np.log(counts.predict(X)), X[:2])
    np.testing.assert_allclose(input_gradient(counts, X[:2]), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["images", "rows", "integers", "single precision"])
def test_every_form_of_images(fitted, data, form):
    X, y = data
    X = np.round(X)
    expected = input_gradient(fitted, X)
    given = {"images": X, "rows": X.reshape(40, -1), "integers": X.astype(np.int16), "single precision": np.float32(X)}
    found = input_gradient(fitted, given[form])
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64
    single = CNNClassifier(layers=NORMED, max_iter=1, dtype="float32").fit(X, y)
    assert input_gradient(single, X).dtype == np.float32


def test_many_images_take_no_more_memory_than_some(data):
    model = CNNClassifier((16,), hidden_layer_sizes=(), max_iter=1).fit(np.float32(data[0]), data[1])
    parts = model._model.network, model._model.weights, model._model.state, model._model.scaling
    found = Differentiator(*parts)
    X, dy = np.repeat(data[0], 50, axis=0), np.ones((2000, 3))
    np.testing.assert_allclose(found.gradient(X, dy, 2)[::50], found.gradient(data[0], dy[:40]), rtol=1e-6)
    kits = found._pool
    assert 1 <= len(kits) <= 2
    for kit in kits:
        assert max(kit._tapes) <= found.rows
        assert kit._arena.size < found.rows * 8 * 8 * 16 * 8 * 40


def test_every_number_of_threads_gives_the_same_bits(data):
    X = np.float32(np.tile(data[0], (10, 2, 2, 1)))
    model = CNNClassifier((16, 32), max_iter=1, random_state=0).fit(X[:40], data[1])
    assert model._model.network.multiply_adds * len(X) > 16_000_000
    found = [input_gradient(model.set_params(n_jobs=n_jobs), X) for n_jobs in (1, 2, 3)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_estimator_does_not_change(fitted, data):
    before = [fitted._model.weights.copy(), fitted._model.state.copy(), fitted.decision_function(data[0])]
    input_gradient(fitted, data[0])
    after = [fitted._model.weights, fitted._model.state, fitted.decision_function(data[0])]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_smoothing_is_the_mean_over_noisy_images(fitted, data):
    X = data[0][:2]
    found = input_gradient(fitted, X, "oak", n_samples=3, noise=0.2, random_state=5)
    rng = np.random.RandomState(5)
    spread = 0.2 * (X.reshape(2, -1).max(axis=1) - X.reshape(2, -1).min(axis=1))[:, None, None, None]
    copies = [input_gradient(fitted, X + spread * rng.normal(size=X.shape), "oak") for _ in range(3)]
    np.testing.assert_allclose(found, np.mean(copies, axis=0), rtol=1e-12)
    still = input_gradient(fitted, X, n_samples=4, noise=0)
    np.testing.assert_allclose(still, input_gradient(fitted, X), rtol=1e-12)
    many = np.repeat(X, 200, axis=0)
    np.testing.assert_allclose(input_gradient(fitted, many, n_samples=2, noise=0)[::200], still, rtol=1e-12)


def test_the_gradient_equals_that_of_torch(data):
    torch = pytest.importorskip("torch")
    X = data[0]
    layers = [Conv2D(5), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(7), ReLU()]
    model = CNNClassifier(layers=layers, max_iter=3, random_state=0).fit(*data)
    p = {key: torch.tensor(np.array(value)) for key, value in (model.parameters_ | model.state_).items()}
    pixels = torch.tensor(X, requires_grad=True)
    x = ((pixels - torch.tensor(model.input_mean_)) / torch.tensor(model.input_scale_)).permute(0, 3, 1, 2)
    f = torch.nn.functional
    x = f.conv2d(x, p["conv1.kernel"].permute(3, 2, 0, 1), p["conv1.bias"], padding=1)
    norm = [p[f"batchnorm1.{name}"] for name in ("running_mean", "running_variance", "scale", "offset")]
    x = f.max_pool2d(f.relu(f.batch_norm(x, *norm, eps=1e-5)), 2).permute(0, 2, 3, 1).flatten(1)
    x = f.relu(x @ p["dense1.kernel"] + p["dense1.bias"]) @ p["output.kernel"] + p["output.bias"]
    x[:, 1].sum().backward()
    expected = pixels.grad.numpy()
    np.testing.assert_allclose(input_gradient(model, X, "elm"), expected, atol=1e-12 * np.abs(expected).max())


@description
class OneWay(Layer):
    """A layer that gives its backward pass in training only."""

    def record(self, tape, x, p, g):
        return x, (lambda dy, needs_dx=True: dy) if tape.training else None


def test_errors(fitted, data):
    X, y = data
    with pytest.raises(ValueError, match=r"target='fir' is not one of the classes \['ash', 'elm', 'oak'\]"):
        input_gradient(fitted, X, "fir")
    with pytest.raises(ValueError, match="target=7 is not one of the classes"):
        input_gradient(fitted, X, 7)
    with pytest.raises(ValueError, match="one for each of the 40 images, got"):
        input_gradient(fitted, X, ["elm", "oak"])
    with pytest.raises(ValueError, match=r"n_samples must be an int of 1 or more, got 0\."):
        input_gradient(fitted, X, n_samples=0)
    with pytest.raises(ValueError, match=r"noise must be a number of 0 or more, got -1\."):
        input_gradient(fitted, X, noise=-1)
    several = CNNRegressor((2,), max_iter=1).fit(X, np.ones((40, 2)))
    with pytest.raises(ValueError, match="index of an output, 0 to 1: the regressor has 2"):
        input_gradient(several, X)
    model = CNNClassifier(layers=[OneWay(), Flatten()], max_iter=1).fit(X, y)
    with pytest.raises(TypeError, match=r"OneWay\(\) records no backward pass.*whenever tape.backward is true"):
        input_gradient(model, X)
