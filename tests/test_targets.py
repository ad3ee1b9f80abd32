"""Standardized targets: a regressor's predictions do not depend on the unit of y."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skcnn
import skcnn.runtime
from skcnn import CNNRegressor
from skcnn.losses import Huber
from skcnn.saliency import input_gradient

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 32, "max_iter": 4}
LOSSES = ["squared_error", "absolute_error", "huber", "quantile"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(100, 6, 6))
    return X, X[:, :3].mean(axis=(1, 2)) + 0.1 * rng.normal(size=100), rng.uniform(0.5, 2, 100)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("a", "b"), [(1e-3, 0.0), (1e5, 0.0), (-100.0, 7e3)])
def test_predictions_follow_the_unit(data, loss, optimizer, a, b):
    X, y, w = data
    one, other = (CNNRegressor(loss=loss, optimizer=optimizer, **SMALL) for _ in range(2))
    if a < 0 and loss == "quantile":
        return  # the quantile of -y is another one; 0.5 is the median in both, with the other end of a tie
    one.fit(X, y, sample_weight=w)
    other.fit(X, a * y + b, sample_weight=w)
    assert_allclose(other.predict(X), a * one.predict(X) + b, rtol=1e-5, atol=1e-5 * abs(a))
    assert other.score(X, a * y + b) == pytest.approx(one.score(X, y), abs=1e-5)
    assert other.loss_curve_ == pytest.approx(one.loss_curve_, rel=1e-5)


def test_a_power_of_two_changes_no_bit(data):
    X, y, w = data
    one, other = (CNNRegressor(**SMALL).fit(X, scale * y, sample_weight=w) for scale in (1, 2.0**20))
    assert_array_equal(other.predict(X), 2.0**20 * one.predict(X))


def test_it_is_the_standardization_by_hand(data):
    """With the weighted moments, several outputs and chunks."""
    X, y, w = data
    targets = np.stack([y, 300 - 40 * y**2, np.full(100, 7.0)], axis=1)
    mean = np.average(targets, axis=0, weights=w)
    scale = np.sqrt(np.average((targets - mean) ** 2, axis=0, weights=w))
    scale[2] = 1.0
    model = CNNRegressor(**SMALL).fit(X, targets, sample_weight=w)
    assert_allclose(model.target_mean_, mean)
    assert_allclose(model.target_scale_, scale)
    by_hand = CNNRegressor(**SMALL).fit(X, (targets - mean) / scale, sample_weight=w)
    # Adam enlarges the rounding errors of an output that has nothing to learn.
    assert_allclose(model.predict(X), by_hand.predict(X) * scale + mean, rtol=2e-3, atol=1e-3)
    chunks = CNNRegressor(**SMALL).partial_fit(X[:50], targets[:50], sample_weight=w[:50])
    before = chunks.target_scale_
    assert_allclose(before[:2], np.sqrt(np.cov(targets[:50, :2].T, aweights=w[:50], ddof=0).diagonal()))
    chunks.partial_fit(X[50:], targets[50:], sample_weight=w[50:])
    assert_array_equal(chunks.target_scale_, before)


def test_numbers_whose_squares_are_infinite_are_learnt(data):
    X, y, _ = data
    model = CNNRegressor(**SMALL).fit(X, 1e160 * y)
    assert_allclose(model.predict(X), 1e160 * CNNRegressor(**SMALL).fit(X, y).predict(X), rtol=1e-5)


def test_rows_of_weight_0_have_no_say(data):
    X, y, _ = data
    w = np.where(np.arange(100) < 80, 1.0, 0.0)
    model = CNNRegressor(**SMALL).fit(X, np.where(w, y, 1e6), sample_weight=w)
    assert model.target_mean_ == pytest.approx([y[:80].mean()])


def test_a_weight_of_two_is_a_row_twice(data):
    X, y, _ = data
    whole = SMALL | {"batch_size": 200}
    weighted = CNNRegressor(**whole).fit(X, y, sample_weight=np.where(np.arange(100) < 30, 2, 1))
    twice = CNNRegressor(**whole).fit(np.concatenate([X, X[:30]]), np.concatenate([y, y[:30]]))
    assert_allclose(weighted.target_scale_, twice.target_scale_)
    assert_allclose(weighted.predict(X), twice.predict(X), rtol=1e-6)


def test_delta_is_in_standard_deviations(data):
    X, y, _ = data
    narrow, wide = (CNNRegressor(loss=Huber(delta), **SMALL).fit(X, 1e4 * y) for delta in (0.1, 1e3))
    squared = CNNRegressor(**SMALL).fit(X, 1e4 * y)
    assert_allclose(wide.predict(X), squared.predict(X), rtol=1e-6)
    assert not np.allclose(narrow.predict(X), squared.predict(X), rtol=1e-3)


def test_a_loss_with_a_link_learns_y_as_it_is(data):
    X, y, _ = data
    model = CNNRegressor(loss="poisson", **SMALL).fit(X, np.exp(y))
    assert_array_equal(model.target_mean_, [0.0])
    assert_array_equal(model.target_scale_, [1.0])
    assert_array_equal(model.predict(X), np.exp(model._raw(X)[:, 0]))


@pytest.mark.parametrize("columns", [1, 2])
def test_files_pickles_and_the_runtime_follow(data, columns, tmp_path):
    X, y, _ = data
    targets = 1e4 * y if columns == 1 else np.stack([1e4 * y, -y], axis=1)
    model = CNNRegressor(**SMALL).fit(X, targets)
    skcnn.save(model, tmp_path / "model.skcnn")
    loaded, served = (module.load(tmp_path / "model.skcnn") for module in (skcnn, skcnn.runtime))
    for again in (loaded, served, pickle.loads(pickle.dumps(model))):
        assert_array_equal(again.predict(X), model.predict(X))
    assert_array_equal(loaded.target_mean_, model.target_mean_)


def test_onnx_follows_and_comes_back(data):
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from skcnn.onnx import from_onnx, to_onnx

    X, y, _ = data
    model = CNNRegressor(**SMALL).fit(X, np.stack([1e3 * y, 5 - y], axis=1))
    exported = to_onnx(model).SerializeToString()
    session = ort.InferenceSession(exported, providers=["CPUExecutionProvider"])
    (found,) = session.run(["variable"], {"X": X.reshape(100, -1).astype(np.float32)})
    assert_allclose(found, model.predict(X), rtol=1e-4, atol=1e-2)
    back = from_onnx(exported, input_shape=(6, 6), mean=0, scale=1)
    assert_allclose(back.predict(X), model.predict(X), rtol=1e-4, atol=1e-2)


def test_gradients_are_in_the_unit_of_y(data):
    X, y, _ = data
    model = CNNRegressor(**SMALL, dtype="float64").fit(X, 1e3 * y)
    slope = input_gradient(model, X[:1])
    step = 1e-5 * np.random.default_rng(0).normal(size=X[:1].shape)
    change = (model.predict(X[:1] + step) - model.predict(X[:1] - step)) / 2
    assert_allclose(np.sum(slope[..., 0] * step), change[0], rtol=1e-4)


def test_warm_starts_and_partial_fit_keep_the_unit_of_the_first_call(data):
    X, y, _ = data
    whole = CNNRegressor(**SMALL).fit(X, 50 * y)
    parts = CNNRegressor(**SMALL)
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, 50 * y)))
    assert_array_equal(parts.predict(X), whole.predict(X))
    warm = CNNRegressor(**SMALL, warm_start=True).fit(X, 50 * y)
    scale = warm.target_scale_
    assert_array_equal(warm.fit(X[:60], 40 * y[:60]).target_scale_, scale)


def test_the_defaults_learn_y_in_every_unit(digits):
    X, _ = digits
    y = X[:, :4].mean(axis=(1, 2)) - X[:, 4:].mean(axis=(1, 2))
    options = {"conv_filters": (8,), "hidden_layer_sizes": (16,), "random_state": 0, "max_iter": 20}
    scores = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for factor, optimizer in [(1, "adam"), (1e-3, "adam"), (1e5, "adam"), (1, "sgd"), (100, "sgd")]:
            scores.append(CNNRegressor(optimizer=optimizer, **options).fit(X, factor * y).score(X, factor * y))
    assert scores[0] == pytest.approx(scores[1], abs=1e-4) == pytest.approx(scores[2], abs=1e-4)
    assert scores[3] == pytest.approx(scores[4], abs=1e-4)
    assert scores[0] > 0.6
    assert scores[3] > 0.3
