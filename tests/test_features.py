"""`CNNFeatures` and `activations`: what a hidden layer gives."""

import pickle
import re

import numpy as np
import oracles
import pandas as pd
import pytest
from cases import LAYERS, Untrained
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_layers import network_with, predictor

from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn.features import activations
from skcnn.layers import AvgPool2D, BatchNorm, Concatenate, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Residual

NET = [Conv2D(4), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(5), ReLU()]


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 6, 6)), rng.integers(0, 3, 40)
    return CNNClassifier(layers=NET, max_iter=2, random_state=0).fit(X, y), X, y


@pytest.mark.slow
@parametrize_with_checks([CNNFeatures(CNNClassifier((2,), hidden_layer_sizes=(4,), max_iter=2, random_state=0))])
def test_every_check_passes(estimator, check):
    check(estimator)


def test_every_layer_gives_what_its_weights_say(fitted):
    model, X, _ = fitted
    p, state = model.parameters_, model.state_
    x = (X[..., None] - model.input_mean_) / model.input_scale_
    padded = np.pad(x[..., 0], ((0, 0), (1, 1), (1, 1)))
    kernel = p["conv1.kernel"][:, :, 0]
    conv = (
        sum(padded[:, i : i + 6, j : j + 6, None] * kernel[i, j] for i in range(3) for j in range(3)) + p["conv1.bias"]
    )
    np.testing.assert_allclose(activations(model, X, "conv1"), conv, atol=1e-12)
    norm = (conv - state["batchnorm1.running_mean"]) / np.sqrt(state["batchnorm1.running_variance"] + 1e-5)
    norm = norm * p["batchnorm1.scale"] + p["batchnorm1.offset"]
    np.testing.assert_allclose(activations(model, X, "batchnorm1"), norm, atol=1e-12)
    relu = np.maximum(norm, 0)
    np.testing.assert_allclose(activations(model, X, "relu1"), relu, atol=1e-12)
    pooled = relu.reshape(40, 3, 2, 3, 2, 4).max(axis=(2, 4))
    np.testing.assert_allclose(activations(model, X, "maxpool1"), pooled, atol=1e-12)
    np.testing.assert_allclose(activations(model, X, "flatten1"), pooled.reshape(40, -1), atol=1e-12)
    dense = pooled.reshape(40, -1) @ p["dense1.kernel"] + p["dense1.bias"]
    np.testing.assert_allclose(activations(model, X, "dense1"), dense, atol=1e-12)
    np.testing.assert_array_equal(activations(model, X, "output"), model.decision_function(X))


def test_features_are_the_flattened_activations(fitted):
    model, X, _ = fitted
    features = CNNFeatures(FrozenEstimator(model), layer="maxpool1").fit(X)
    np.testing.assert_array_equal(features.transform(X), activations(model, X, "maxpool1").reshape(40, -1))
    assert features.layer_shape_ == (3, 3, 4)
    assert features.estimator_ is model
    assert list(features.get_feature_names_out()[:2]) == ["cnnfeatures0", "cnnfeatures1"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(X), features.transform(X))
    assert CNNFeatures(FrozenEstimator(model)).fit(X).layer_ == "relu2"


@pytest.mark.parametrize(("pool", "by_hand"), [("avg", np.mean), ("max", np.max)])
def test_pooled_features(fitted, pool, by_hand):
    model, X, _ = fitted
    for layer in ("relu1", "conv1", "maxpool1"):
        features = CNNFeatures(FrozenEstimator(model), layer, pool=pool).fit(X)
        expected = by_hand(activations(model, X, layer), axis=(1, 2))
        np.testing.assert_allclose(features.transform(X), expected, atol=1e-12)
        assert features.layer_shape_ == (4,)
        assert len(features.get_feature_names_out()) == 4
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(features)).transform(X), features.transform(X))
        before = features.transform(X)
        np.testing.assert_array_equal(features.set_params(pool=None).transform(X), before)  # until the next fit
    flat = [CNNFeatures(FrozenEstimator(model), pool=p).fit(X).transform(X) for p in (pool, None)]
    np.testing.assert_array_equal(*flat)


def test_a_pickle_from_before_there_was_pooling(fitted):
    model, X, _ = fitted
    features = CNNFeatures(FrozenEstimator(model), "conv1").fit(X)
    state = features.__getstate__()
    del state["_pool"], state["pool"]
    older = object.__new__(CNNFeatures)
    older.__setstate__(state)
    np.testing.assert_array_equal(older.transform(X), features.transform(X))


@pytest.mark.parametrize("pool", ["mean", "", ["avg"], 2])
def test_pooling_that_does_not_exist(fitted, pool):
    model, X, _ = fitted
    with pytest.raises(ValueError, match=re.escape(f"pool must be 'avg', 'max' or None, got {pool!r}")):
        CNNFeatures(FrozenEstimator(model), pool=pool).fit(X)


@pytest.mark.slow
def test_in_pipelines_and_searches(fitted):
    _, X, y = fitted
    network = CNNClassifier(layers=NET, max_iter=1, random_state=0)
    pipeline = make_pipeline(CNNFeatures(network), LogisticRegression(max_iter=1000))
    search = GridSearchCV(pipeline, {"cnnfeatures__layer": ["maxpool1", "dense1"]}, cv=2).fit(X, y)
    assert search.best_estimator_.predict(X).shape == y.shape
    assert not hasattr(network, "classes_")
    frame = clone(pipeline).set_output(transform="pandas").fit(X, y)[0].transform(X)
    assert list(frame.columns[:1]) == ["cnnfeatures0"]
    assert CNNFeatures(CNNRegressor(layers=NET, max_iter=1)).fit(X, y).transform(X).shape == (40, 5)


def test_names_of_the_columns_are_those_of_the_network(fitted):
    _, X, y = fitted
    table = pd.DataFrame(X.reshape(40, -1)).add_prefix("pixel")
    features = CNNFeatures(CNNClassifier((2,), max_iter=1, input_shape=X.shape[1:])).fit(table, y)
    assert list(features.feature_names_in_) == list(table.columns)
    assert not hasattr(features.fit(table.to_numpy(), y), "feature_names_in_")


def test_errors(fitted):
    model, X, _ = fitted
    with pytest.raises(ValueError, match=r"layer='conv9' is not in the network.*conv1, batchnorm1"):
        CNNFeatures(FrozenEstimator(model), layer="conv9").fit(X)
    with pytest.raises(ValueError, match="conv9"):
        activations(model, X, "conv9")
    for layer in (["conv1"], 0, None):
        with pytest.raises(ValueError, match=r"layer=.* is not in the network"):
            activations(model, X, layer)


@pytest.mark.parametrize(
    "estimator",
    [None, CNNClassifier, LogisticRegression(), CalibratedClassifierCV(CNNClassifier()),
     FrozenEstimator(LogisticRegression()), GridSearchCV(CNNClassifier(), {})],
    ids=str,
)  # fmt: skip
def test_what_is_no_network_is_refused_before_it_is_fitted(fitted, estimator, monkeypatch):
    _, X, y = fitted
    for cls in (CNNClassifier, LogisticRegression, FrozenEstimator):
        monkeypatch.setattr(cls, "fit", None)
    with pytest.raises(TypeError, match=f"CNNClassifier or CNNRegressor, .*got {re.escape(repr(estimator))}"):
        CNNFeatures(estimator).fit(X, y)


@pytest.mark.parametrize(
    ("network", "layer", "names"),
    [
        (CNNClassifier(layers=NET), "conv2", "conv1, batchnorm1, relu1, maxpool1, flatten1, dense1, relu2, output"),
        (CNNRegressor(layers=[Residual([Conv2D(2)]), Flatten()]), "residual1.conv2", "residual1.conv1, .*flatten1"),
        (CNNClassifier((2, 3)), "maxpool3", "conv1, batchnorm1, relu1, maxpool1, .*, relu3, output"),
        (CNNRegressor(), ["conv1"], "conv1, relu1"),
    ],
    ids=["list", "nested", "knobs", "no name"],
)  # fmt: skip
def test_a_layer_that_will_not_be_there_is_refused_before_the_training(fitted, network, layer, names):
    _, X, y = fitted
    with pytest.raises(ValueError, match=rf"layer={re.escape(repr(layer))} is not in .* are: .*{names}"):
        CNNFeatures(network.set_params(schedule=Untrained()), layer).fit(X, y)


def test_layers_that_the_images_or_a_subclass_decide_on(fitted):
    _, X, y = fitted
    small = {"hidden_layer_sizes": (), "max_iter": 1}
    with pytest.raises(
        ValueError, match=r"layer='maxpool3' is not in the network.*maxpool2, conv3, batchnorm3, relu3, flatten1"
    ):
        CNNFeatures(CNNClassifier((2, 2, 2), **small), "maxpool3").fit(X, y)
    assert CNNFeatures(Deeper((2,), **small), "conv3").fit(X, y).layer_shape_ == (1, 1, 2)
    with pytest.raises(ValueError, match="max_iter"):
        CNNFeatures(CNNClassifier(max_iter=0), "conv9").fit(X, y)


class Deeper(CNNClassifier):
    """A classifier that chooses its architecture in its fit."""

    def fit(self, X, y):
        self.conv_filters = (2, 2, 2)
        return super().fit(X, y)


def _forward(layers, names, x, p, state):
    """What the layers of a chain give, computed by hand, by their names."""
    found = {}
    for name, layer in zip(names, layers, strict=True):
        if isinstance(layer, Conv2D):
            q = {key.rsplit(".", 1)[1]: value for key, value in p.items() if key.rsplit(".", 1)[0] == name}
            x = oracles.conv2d(layer, x, q)
        elif isinstance(layer, BatchNorm):
            x = (x - state[f"{name}.running_mean"]) / np.sqrt(state[f"{name}.running_variance"] + layer.epsilon)
            x = x * p[f"{name}.scale"] + p[f"{name}.offset"]
        elif isinstance(layer, ReLU):
            x = np.maximum(x, 0)
        else:
            x = oracles.avg_pool(layer, x, {})
        found[name] = x
    return found


def test_layers_inside_of_others_give_what_their_weights_say():
    """Also where the batch norm behind a convolution is folded into it, and a ReLU joined."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 6, 5, 2)), rng.integers(0, 3, 30)
    block = [Conv2D(4, use_bias=False), BatchNorm(), ReLU(), Conv2D(4), BatchNorm()]
    inner = Residual([BatchNorm(), ReLU(), Conv2D(5)], shortcut=[AvgPool2D(1), Conv2D(5)])
    wide = Concatenate([[Conv2D(3), ReLU()], [], [inner]])
    layers = [Conv2D(3), BatchNorm(), ReLU(), Residual(block), ReLU(), wide, BatchNorm(), ReLU(), Flatten()]
    model = CNNClassifier(layers=layers, max_iter=3, learning_rate=0.01, random_state=0).fit(X, y)
    p, state = model.parameters_, model.state_
    x = (X - model.input_mean_) / model.input_scale_
    expected = _forward(layers[:3], ["conv1", "batchnorm1", "relu1"], x, p, state)
    before = expected["relu1"]
    names = [f"residual1.{name}" for name in ("conv1", "batchnorm1", "relu1", "conv2", "batchnorm2")]
    expected |= _forward(block, names, before, p, state)
    expected |= _forward([Conv2D(4, kernel_size=1, use_bias=False)], ["residual1.shortcut"], before, p, state)
    expected["residual1"] = expected["residual1.batchnorm2"] + expected["residual1.shortcut"]
    before = expected["relu2"] = np.maximum(expected["residual1"], 0)
    one, three = "concatenate1.branch1", "concatenate1.branch3.residual1"
    expected |= _forward(wide.branches[0], [f"{one}.conv1", f"{one}.relu1"], before, p, state)
    names = [f"{three}.{name}" for name in ("batchnorm1", "relu1", "conv1")]
    expected |= _forward(inner.layers, names, before, p, state)
    names = [f"{three}.shortcut.{name}" for name in ("avgpool1", "conv1")]
    expected |= _forward(inner.shortcut, names, before, p, state)
    expected[three] = expected[f"{three}.conv1"] + expected[f"{three}.shortcut.conv1"]
    expected["concatenate1"] = np.concatenate([expected[f"{one}.relu1"], before, expected[three]], axis=-1)
    for name, value in expected.items():
        np.testing.assert_allclose(activations(model, X, name), value, atol=1e-12, err_msg=name)
    in_summary = [layer.name for layer in model.summary().layers][1:]
    assert set(expected) == set(in_summary) - {"batchnorm2", "relu3", "flatten1", "output"}
    for name in in_summary:
        features = CNNFeatures(FrozenEstimator(model), layer=name).fit(X)
        assert features.transform(X).shape == (30, np.prod(features.layer_shape_))
        owners = {key.rpartition(".")[0] for key in p}
        assert owners <= set(in_summary)
    with pytest.raises(ValueError, match=r"'residual1.conv3' is not in.*relu1, residual1.conv1, .*, residual1, relu2"):
        activations(model, X, "residual1.conv3")
    restored = pickle.loads(pickle.dumps(CNNFeatures(FrozenEstimator(model), layer=three).fit(X)))
    np.testing.assert_array_equal(restored.transform(X), activations(model, X, three).reshape(30, -1))


def test_every_layer_inside_of_the_rows_of_the_table_can_be_looked_at():
    for case in LAYERS:
        if not case.layer.inner():
            continue
        network = network_with(case)
        outer = next(name for name in network.names if name.startswith(case.layer.stem))
        inside = [name for name in network.reached if name.startswith(f"{outer}.")]
        assert inside == [name for name, _, _ in network.parts if name.startswith(f"{outer}.")]
        for name in inside:
            found = predictor(network, layer=name)
            raw = found.raw(np.random.default_rng(0).normal(size=(4, *network.input_shape)))
            assert raw.shape[1:] == network.reached[name]
            assert np.isfinite(raw).all()
