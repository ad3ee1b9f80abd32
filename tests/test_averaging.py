"""The running mean of the weights, against the weights that a training without it goes through."""

import pickle
import warnings

import numpy as np
import pytest
from disturbances import InterruptedAt, JumpsAt
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine.groups import CHUNK
from skcnn.optimizers import SGD
from skcnn.schedules import Adaptive

DECAY = 0.7


def small(**params):
    defaults = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "batch_size": 1000, "max_iter": 6, "random_state": 0}
    return CNNClassifier(**defaults | {"learning_rate": 0.02} | params)


def vector(model):
    return np.concatenate([value.ravel() for value in model.parameters_.values()])


def path(X, y, epochs, **params):
    """The weights after each epoch, and so after each step, of a training without a mean."""
    model = small(max_iter=1, warm_start=True, **params)
    return np.array([vector(model.fit(X, y)) for _ in range(epochs)])


def mean(weights):
    """As published: of powers of the decay, scaled to a sum of 1."""
    powers = DECAY ** np.arange(len(weights))[::-1]
    return powers @ weights / powers.sum()


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_norm": True},
        {"optimizer": "sgd"},
        {"dropout": 0.2},
        {"hidden_layer_sizes": (1100,), "batch_norm": True},  # more weights than are updated at a time
        {"hidden_layer_sizes": (1100,), "optimizer": "sgd", "learning_rate": 0.005},
    ],
    ids=str,
)
def test_the_model_is_the_mean_of_the_weights_after_each_step(digits, params):
    passed = path(*digits, 6, **params)
    assert passed.shape[1] > CHUNK or "hidden_layer_sizes" not in params
    for epochs in (1, 2, 6):
        averaged = small(average=DECAY, max_iter=epochs, **params).fit(*digits)
        assert_allclose(vector(averaged), mean(passed[:epochs]), rtol=1e-9, atol=1e-12)


def test_the_mean_does_not_change_the_training(digits):
    plain, averaged = (small(average=average, batch_size=16, batch_norm=True).fit(*digits) for average in (False, 0.9))
    assert averaged.loss_curve_ == plain.loss_curve_
    assert_array_equal(averaged.state_["batchnorm1.running_mean"], plain.state_["batchnorm1.running_mean"])
    assert not np.array_equal(vector(averaged), vector(plain))


@pytest.mark.slow
def test_the_mean_lessens_the_noise_of_the_steps():
    """A mean estimated by large steps from one row at a time: its noise is the point of averaging."""
    rng = np.random.default_rng(0)
    X, y = np.zeros((400, 2, 2)), (rng.uniform(size=400) < 0.7).astype(int)
    sgd = SGD(momentum=0, nesterov=False)
    errors = {False: [], 0.99: []}
    for average, found in errors.items():
        for seed in range(5):
            model = CNNClassifier((), hidden_layer_sizes=(), optimizer=sgd, learning_rate=0.5, batch_size=1)
            model.set_params(average=average, max_iter=3, random_state=seed, n_iter_no_change=100)
            found.append(abs(model.fit(X, y).predict_proba(X[:1])[0, 1] - y.mean()))
    assert np.mean(errors[0.99]) < np.mean(errors[False]) / 2


def test_the_mean_is_validated_and_its_best_epoch_brought_back(digits):
    X, y = digits
    train, validation = (X[:80], y[:80]), {"X_val": X[80:], "y_val": y[80:]}
    params = {"average": DECAY, "learning_rate": 0.05}
    model = small(**params, max_iter=12).fit(*train, **validation)
    scores = [small(**params, max_iter=epochs).fit(*train).score(X[80:], y[80:]) for epochs in range(1, 13)]
    assert model.validation_scores_ == scores
    assert model.score(X[80:], y[80:]) == max(scores) == model.best_validation_score_


def test_training_goes_on_from_the_weights_of_the_best_epoch(digits):
    """Those behind the mean, not the mean."""
    X, y = digits
    params = {"average": DECAY, "optimizer": SGD(momentum=0, nesterov=False), "learning_rate": 0.2, "warm_start": True}
    model = small(max_iter=12, schedule=JumpsAt(8, 1e4), **params)
    with pytest.warns(ConvergenceWarning, match="best validation score is kept"):
        model.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    best = int(np.argmax(model.validation_scores_))
    assert best < 8, "the learning rate is meant to ruin the last epochs"
    again = small(max_iter=best + 1, **params).fit(X[:80], y[:80])
    assert_array_equal(vector(model), vector(again))
    for each in (model, again):
        each.set_params(max_iter=1, schedule="constant").fit(X[:80], y[:80])
    assert_allclose(vector(model), vector(again), rtol=1e-12, atol=1e-15)


def test_the_mean_can_be_switched_off_and_on(digits):
    X, y = digits
    passed = path(X, y, 6)
    model = small(average=DECAY, warm_start=True, max_iter=2).fit(X, y)
    model.set_params(average=False).fit(X, y)
    assert_array_equal(vector(model), passed[3])
    model.set_params(average=DECAY).fit(X, y)
    assert_allclose(vector(model), mean(passed[4:]), rtol=1e-9, atol=1e-12)


def test_a_pickle_in_the_middle_holds_the_weights_behind_the_mean_and_one_at_the_end_does_not(digits):
    X, y = digits
    ended = small(average=DECAY).fit(X, y)
    middle = small(average=DECAY, warm_start=True).fit(X, y)
    assert len(pickle.dumps(middle)) > len(pickle.dumps(ended)) + 2.5 * vector(ended).nbytes
    before = vector(ended)
    reloaded = pickle.loads(pickle.dumps(ended)).set_params(learning_rate=0.0)
    assert_array_equal(vector(reloaded.partial_fit(X, y)), before)  # it goes on from the mean
    assert_array_equal(
        vector(pickle.loads(pickle.dumps(middle)).fit(X, y)), vector(small(average=DECAY, max_iter=12).fit(X, y))
    )


@pytest.mark.parametrize(("schedule", "category"), [(JumpsAt(3), ConvergenceWarning), (InterruptedAt(3), UserWarning)])
def test_divergence_and_interruption_keep_the_mean_of_the_last_epoch(digits, schedule, category):
    X, y = digits
    params = {"average": DECAY, "optimizer": SGD(momentum=0, nesterov=False), "batch_size": 30}
    with pytest.warns(category):
        model = small(schedule=schedule, warm_start=True, **params).fit(X, y)
    assert_array_equal(vector(model), vector(small(max_iter=3, **params).fit(X, y)))
    model.set_params(schedule="constant", max_iter=2).fit(X, y)
    assert_array_equal(vector(model), vector(small(max_iter=5, **params).fit(X, y)))


def test_a_decay_from_a_grid_of_numpy_is_a_decay(digits):
    for average in np.linspace(0.5, 0.9, 2, dtype=np.float32):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted = small(average=average, clip_norm=np.float32(1.0), max_iter=1).fit(*digits)
        assert fitted.parameters_["conv1.kernel"].dtype == np.float64


def test_a_regressor_averages_clips_and_adapts_too(digits):
    X, target = digits[0], digits[0].mean(axis=(1, 2))
    params = {"average": DECAY, "clip_norm": 0.5, "schedule": Adaptive(patience=0, tol=0.1), "optimizer": "adamw"}
    whole, parts = (CNNRegressor((4,), hidden_layer_sizes=(8,), random_state=0, **params) for _ in range(2))
    whole.set_params(max_iter=4).fit(X, target)
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, target)))
    assert_array_equal(vector(parts), vector(whole))
    assert parts.history_["learning_rate"] == whole.history_["learning_rate"]
    assert not np.array_equal(vector(whole), vector(whole.set_params(average=False).fit(X, target)))
