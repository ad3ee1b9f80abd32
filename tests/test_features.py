"""`CNNFeatures` and `activations`: what a hidden layer gives."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn.features import activations
from skcnn.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU

LAYERS = [Conv2D(4), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(5), ReLU()]


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 6, 6)), rng.integers(0, 3, 40)
    return CNNClassifier(layers=LAYERS, max_iter=2, random_state=0).fit(X, y), X, y


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


def test_in_pipelines_and_searches(fitted):
    _, X, y = fitted
    network = CNNClassifier(layers=LAYERS, max_iter=1, random_state=0)
    pipeline = make_pipeline(CNNFeatures(network), LogisticRegression(max_iter=1000))
    search = GridSearchCV(pipeline, {"cnnfeatures__layer": ["maxpool1", "dense1"]}, cv=2).fit(X, y)
    assert search.best_estimator_.predict(X).shape == y.shape
    assert not hasattr(network, "classes_")
    frame = clone(pipeline).set_output(transform="pandas").fit(X, y)[0].transform(X)
    assert list(frame.columns[:1]) == ["cnnfeatures0"]
    assert CNNFeatures(CNNRegressor(layers=LAYERS, max_iter=1)).fit(X, y).transform(X).shape == (40, 5)


def test_errors(fitted):
    model, X, y = fitted
    with pytest.raises(ValueError, match=r"layer='conv9' is not in the network.*conv1, batchnorm1"):
        CNNFeatures(FrozenEstimator(model), layer="conv9").fit(X)
    with pytest.raises(ValueError, match="conv9"):
        activations(model, X, "conv9")
    with pytest.raises(TypeError, match="CNNClassifier or CNNRegressor, got LogisticRegression"):
        CNNFeatures(LogisticRegression()).fit(X.reshape(40, -1), y)
