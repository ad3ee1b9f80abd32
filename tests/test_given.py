"""`set_weights`: arrays from elsewhere, by name and shape."""

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

import skcnn
import skcnn.runtime
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn.layers import BatchNorm, Conv2D, Dense, Flatten, GlobalAvgPool2D, ReLU, Residual

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
Y = np.arange(30) % 3
LAYERS = [Conv2D(4), BatchNorm(), ReLU(), Residual([Conv2D(6), BatchNorm()]), ReLU(), Flatten(), Dense(5), ReLU()]


def fitted(y=Y, cls=CNNClassifier, **options):
    return cls(layers=LAYERS, max_iter=2, random_state=0, **options).fit(X, y)


def arrays(estimator):
    return estimator.parameters_ | estimator.state_


def scaling(estimator):
    return {"mean": estimator.input_mean_, "scale": estimator.input_scale_}


def described(estimator, **options):
    """An estimator that gets everything that another one has."""
    new = type(estimator)(layers=LAYERS, random_state=0, **options)
    if hasattr(estimator, "classes_"):
        more = {"classes": estimator.classes_}
    else:
        more = {"target_mean": estimator.target_mean_, "target_scale": estimator.target_scale_}
    return new.set_weights(arrays(estimator), input_shape=(8, 8, 3), **scaling(estimator), **more)


@pytest.mark.parametrize("dtype", ["auto", "float64"])
def test_a_described_network_becomes_the_fitted_one(dtype, tmp_path):
    one = fitted(np.array(["b", "a", "c"])[Y], dtype=dtype)
    two = described(one)
    assert_array_equal(two.predict_proba(X), one.predict_proba(X))
    assert_array_equal(two.predict(X), one.predict(X))
    assert two._model.weights.dtype == one._model.weights.dtype
    assert not two.parameters_["conv1.kernel"].flags.writeable
    assert (two.n_iter_, two.loss_curve_, two.validation_scores_) == (0, [], None)
    assert np.isnan(two.loss_)
    assert str(two.summary()) == str(one.summary())
    for again in (pickle.loads(pickle.dumps(two)), _saved(two, tmp_path), _served(two, tmp_path)):
        assert_array_equal(again.predict_proba(X), one.predict_proba(X))
    features = (CNNFeatures(FrozenEstimator(each), "dense1").fit(X).transform(X) for each in (one, two))
    assert_array_equal(*features)
    assert len(pickle.dumps(two)) < 1.1 * two._model.weights.nbytes + 6000
    assert not hasattr(clone(two), "classes_")


def _saved(estimator, tmp_path):
    skcnn.save(estimator, tmp_path / "model.skcnn")
    return skcnn.load(tmp_path / "model.skcnn")


def _served(estimator, tmp_path):
    return skcnn.runtime.load(tmp_path / "model.skcnn")


@pytest.mark.parametrize("y", [Y.astype(float), np.stack([Y, -Y], axis=1)], ids=["vector", "matrix"])
def test_a_regressor(y, tmp_path):
    one = fitted(y, CNNRegressor)
    two = described(one)
    assert_array_equal(two.predict(X), one.predict(X))
    assert two.predict(X).shape == y.shape
    assert_array_equal(_saved(two, tmp_path).predict(X), one.predict(X))
    changed = two.set_weights({"output.bias": two.parameters_["output.bias"] + 1})
    assert_allclose(changed.predict(X), one.predict(X) + one.target_scale_, rtol=1e-5)
    moved = changed.set_weights({}, target_mean=0, target_scale=2.0)
    raw = (one.predict(X) - one.target_mean_) / one.target_scale_
    assert_allclose(moved.predict(X), 2 * (raw + 1), rtol=1e-5)
    assert_array_equal(moved.target_scale_, np.full(len(one.target_scale_), 2.0))
    with pytest.raises(ValueError, match=r"target_scale must be above 0"):
        moved.set_weights({}, target_scale=0.0)
    with pytest.raises(ValueError, match=r"target_mean must be a finite number, or one for each of . outputs"):
        moved.set_weights({}, target_mean=[1, 2, 3])


def test_labels():
    y = np.stack([Y == 1, Y > 1], axis=1).astype(int)
    one = fitted(y)
    two = CNNClassifier(layers=LAYERS).set_weights(arrays(one), input_shape=(8, 8, 3), labels=True, **scaling(one))
    assert_array_equal(two.predict(X), one.predict(X))
    assert_array_equal(two.predict_proba(X), one.predict_proba(X))
    with pytest.raises(ValueError, match="classes has no meaning for labels"):
        two.set_weights({}, classes=["a", "b"])
    exclusive = two.set_weights({}, labels=False)
    assert exclusive.predict(X).shape == (30,)


def test_classes_are_sorted_with_their_outputs():
    one = fitted()
    two = fitted().set_weights({}, classes=["c", "a", "b"])
    assert two.classes_.tolist() == ["a", "b", "c"]
    assert_array_equal(two.predict(X), np.array(["c", "a", "b"])[one.predict(X)])
    assert_allclose(two.predict_proba(X), one.predict_proba(X)[:, [1, 2, 0]], rtol=1e-12)
    assert two.partial_fit(X, np.array(["c", "a", "b"])[Y]).classes_.tolist() == ["a", "b", "c"]


def test_two_classes_have_one_output():
    one = fitted(Y > 0)
    raw = one.decision_function(X)
    two = fitted(Y > 0).set_weights({}, classes=["yes", "no"])  # yes was False, the first one
    assert two.classes_.tolist() == ["no", "yes"]
    assert_allclose(two.decision_function(X), -raw)
    kernel, bias = one.parameters_["output.kernel"], one.parameters_["output.bias"]
    weights = {"output.kernel": np.hstack([kernel, 3 * kernel]), "output.bias": np.hstack([bias, 3 * bias])}
    assert_allclose(one.set_weights(weights).decision_function(X), 2 * raw, rtol=1e-5)
    head = CNNClassifier(layers=[GlobalAvgPool2D()])
    head.set_weights({"output.kernel": [[1.0]], "output.bias": [-2.0]}, input_shape=(4, 4), mean=0, scale=1)
    assert head.classes_.tolist() == [0, 1]
    assert head.predict(np.stack([np.full((4, 4), v) for v in (1.0, 3.0)])).tolist() == [0, 1]


def test_parts_of_a_fitted_network_are_replaced_and_the_rest_is_kept():
    one = fitted()
    before = {name: array.copy() for name, array in arrays(one).items()}
    assert one.set_weights({"conv1.bias": np.arange(4)}) is one
    assert_array_equal(one.parameters_["conv1.bias"], np.arange(4))
    for name, array in arrays(one).items():
        if name != "conv1.bias":
            assert_array_equal(array, before[name])
    assert one.n_iter_ == 2
    assert len(one.loss_curve_) == 2
    one.set_params(warm_start=True).fit(X, Y)
    assert one.n_iter_ == 4


def test_another_size_of_images_and_another_standardization():
    layers = [Conv2D(4), ReLU(), GlobalAvgPool2D()]
    one = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(X, Y)
    small = one.predict_proba(X)
    one.set_weights({}, input_shape=(8, 8, 3))
    assert_array_equal(one.predict_proba(X), small)
    large = RNG.integers(0, 256, (2, 20, 12, 3), dtype=np.uint8)
    assert one.set_weights({}, input_shape=(20, 12, 3)).predict(large).shape == (2,)
    assert one.n_features_in_ == 20 * 12 * 3
    doubled = fitted().set_weights({}, mean=2 * fitted().input_mean_, scale=2 * fitted().input_scale_)
    assert_allclose(doubled.predict_proba(2.0 * X), fitted().predict_proba(X), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"lacks 'dense1.kernel'. Its shape was \(384, 5\) and is \(600, 5\) now"):
        fitted().set_weights({}, input_shape=(10, 10, 3))


def test_training_goes_on_from_given_weights():
    one = described(fitted(), learning_rate=1e-3, max_iter=20, warm_start=True)
    before = one.parameters_["conv1.kernel"].copy()
    one.fit(X, Y)
    assert 0 < np.abs(one.parameters_["conv1.kernel"] - before).max() < 0.2
    assert one.n_iter_ == 20


KEPT = arrays(fitted())
GIVEN = {"input_shape": (8, 8, 3), "mean": 0, "scale": 1}


def without(name):
    return {key: value for key, value in KEPT.items() if key != name}


WRONG = [
    (without("conv1.bias"), {}, ValueError, "weights lacks 'conv1.bias' of shape (4,)."),
    ({}, {}, ValueError, "weights lacks 'output.kernel' and 'output.bias', the output layer"),
    (KEPT | {"conv1.kernl": 1}, {}, ValueError, "weights has 'conv1.kernl', but the network has no array of this name."
     " Did you mean 'conv1.kernel'? The names are: conv1.kernel, conv1.bias"),
    (KEPT | {"conv1.kernel": KEPT["conv1.kernel"].transpose(3, 2, 0, 1)}, {}, ValueError,
     "weights['conv1.kernel'] must have shape (3, 3, 3, 4), got (4, 3, 3, 3). If it is an array of PyTorch,"
     " pass array.transpose(2, 3, 1, 0)."),
    (KEPT | {"dense1.kernel": KEPT["dense1.kernel"].T}, {}, ValueError, "pass array.transpose(1, 0)."),
    (KEPT | {"conv1.bias": np.ones(3)}, {}, ValueError, "must have shape (4,), got (3,)."),
    (KEPT | {"conv1.bias": [0, 0, np.nan, 0]}, {}, ValueError, "weights['conv1.bias'] contains NaN or infinity"),
    (KEPT | {"conv1.bias": np.full(4, 1e300)}, {"dtype": "float32"}, ValueError, "too large for float32"),
    (KEPT | {"conv1.bias": ["a"] * 4}, {}, TypeError, "weights['conv1.bias'] must contain numbers, got <U1"),
    (KEPT | {"batchnorm1.running_variance": [1, 1, -1, 1]}, {}, ValueError, "which cannot be variances"),
    ([KEPT], {}, TypeError, "weights must be a dict of names and arrays, such as {'conv1.kernel': array}, got list"),
    (KEPT, {"mean": None}, ValueError, "mean and scale must be given for a network that is not fitted"),
    (KEPT, {"mean": [1, 2]}, ValueError, "mean must be a finite number, or one for each of 3 channels, got [1, 2]"),
    (KEPT, {"scale": 0}, ValueError, "scale must be above 0, got 0"),
    (KEPT, {"input_shape": None}, ValueError, "input_shape=(h, w, c) must be given"),
    (KEPT, {"input_shape": 8}, ValueError, "input_shape must be (h, w) or (h, w, c) with ints of 1 or more, got 8"),
    (KEPT, {"classes": ["a", "b"]}, ValueError, "The output layer has 3 units, but there are 2 classes: 'a', 'b'."),
    (KEPT, {"classes": ["a", "b", "a"]}, ValueError, "classes must differ, but np.str_('a') occurs twice"),
    (KEPT, {"classes": 3}, ValueError, "classes must be a list of numbers or strings, one for each output, got 3"),
    (KEPT, {"classes": ["a", 1, None]}, ValueError, "classes must be all numbers or all strings, got 'a', 1, None"),
]  # fmt: skip


@pytest.mark.parametrize(("weights", "options", "kind", "said"), WRONG, ids=[row[3][:40] for row in WRONG])
def test_errors_say_what_to_write(weights, options, kind, said):
    options = GIVEN | options
    parameters = {"dtype": options.pop("dtype")} if "dtype" in options else {}
    estimator = CNNClassifier(layers=LAYERS, **parameters)
    before = dict(vars(estimator))
    with pytest.raises(kind, match=re.escape(said)):
        estimator.set_weights(weights, **options)
    assert vars(estimator) == before


def test_a_failed_call_leaves_a_fitted_estimator_as_it_was():
    one = fitted()
    before = one.predict_proba(X)
    with pytest.raises(ValueError, match="must have shape"):
        one.set_weights({"conv1.bias": np.ones(9)}, classes=["a", "b", "c"])
    assert one.classes_.tolist() == [0, 1, 2]
    assert_array_equal(one.predict_proba(X), before)
