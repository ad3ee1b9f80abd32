"""`CNNRegressor`: what it learns, and that it is used as the classifier is."""

import pickle

import numpy as np
import pytest
from cases import Untrained
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skcnn import CNNClassifier, CNNRegressor
from skcnn.layers import Flatten

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


@pytest.fixture(scope="module")
def data():
    """Images whose targets are linear in them, two of them."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 8, 8))
    return X, X.reshape(120, -1) @ rng.normal(size=(64, 2)) / 8


@pytest.mark.slow
@parametrize_with_checks([CNNRegressor()])
def test_every_check_passes(estimator, check):
    check(estimator)


def test_it_takes_the_parameters_of_the_classifier():
    of_classifier, of_regressor = CNNClassifier().get_params(deep=False), CNNRegressor().get_params(deep=False)
    del of_classifier["class_weight"]
    assert of_regressor == of_classifier | {"loss": "squared_error", "batch_norm": False}


def test_without_a_network_it_is_ridge_regression(data):
    X, y = data
    alpha = 0.05
    model = CNNRegressor(
        layers=[Flatten()], standardize=False, alpha=alpha, batch_size=120, learning_rate=0.03, max_iter=1500, tol=0.0,
        optimizer="adam", schedule="cosine", random_state=0, n_iter_no_change=1500,
    ).fit(X, y)  # fmt: skip
    # Half the mean square, averaged over two outputs, and half of alpha times the squares; of standardized targets.
    z = StandardScaler().fit_transform(y)
    kernel = Ridge(alpha=alpha * len(X) * 2).fit(X.reshape(len(X), -1), z).coef_.T
    np.testing.assert_allclose(model.parameters_["output.kernel"], kernel, atol=2e-4)
    scaled = TransformedTargetRegressor(Ridge(alpha=alpha * len(X) * 2), transformer=StandardScaler())
    expected = scaled.fit(X.reshape(len(X), -1), y)
    np.testing.assert_allclose(model.predict(X), expected.predict(X.reshape(len(X), -1)), atol=2e-3)


def test_shapes_follow_y(data):
    X, y = data
    for target, shape in ((y[:, 0], (120,)), (y, (120, 2))):
        model = CNNRegressor(**SMALL).fit(X, target)
        assert model.predict(X).shape == shape
        assert model.predict(X).dtype == np.float64
        assert model.score(X, target) == pytest.approx(r2_score(target, model.predict(X)))
    with pytest.warns(match="column-vector"):
        model = CNNRegressor(**SMALL).fit(X, y[:, :1])
    assert model.predict(X).shape == (120,)


def test_weight_of_two_is_a_row_twice(data):
    X, y = data
    parameters = SMALL | {"batch_size": 400, "max_iter": 20}
    weighted = CNNRegressor(**parameters).fit(X, y, sample_weight=np.where(np.arange(120) < 30, 2, 1))
    twice = CNNRegressor(**parameters).fit(np.concatenate([X, X[:30]]), np.concatenate([y, y[:30]]))
    np.testing.assert_allclose(weighted.predict(X), twice.predict(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile"])
def test_losses_of_regression(data, loss):
    X, y = data
    model = CNNRegressor(**SMALL | {"max_iter": 150, "learning_rate": 0.01}, loss=loss).fit(X, y)
    assert model.score(X, y) > 0.8
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]


def test_poisson_predicts_counts(data):
    X, y = data
    counts = np.random.default_rng(0).poisson(np.exp(y[:, 0]))
    model = CNNRegressor(**SMALL | {"max_iter": 40}, loss="poisson").fit(X, counts)
    predicted = model.predict(X)
    assert (predicted > 0).all()
    assert np.corrcoef(predicted, counts)[0, 1] > 0.5
    with pytest.raises(ValueError, match="targets of 0 or more, but y contains -3"):
        CNNRegressor(**SMALL, loss="poisson").fit(X, y)


def test_validation_brings_back_the_epoch_with_the_best_r_squared(data):
    X, y = data
    model = CNNRegressor(**SMALL | {"max_iter": 12, "learning_rate": 0.05}).fit(
        X[:90], y[:90], X_val=X[90:], y_val=y[90:]
    )
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.score(X[90:], y[90:]) == pytest.approx(model.best_validation_score_)
    stopped = CNNRegressor(**SMALL | {"max_iter": 50}, early_stopping=True, n_iter_no_change=2, tol=0.5).fit(X, y)
    assert stopped.n_iter_ < 50
    with pytest.raises(ValueError, match="2 rows or more"):
        CNNRegressor(**SMALL).fit(X, y, X_val=X[:1], y_val=y[:1])


def test_it_goes_where_regressors_go(data):
    X, y = data
    rows = X.reshape(120, -1)
    assert cross_val_score(make_pipeline(StandardScaler(), CNNRegressor(**SMALL)), rows, y, cv=2).shape == (2,)
    search = GridSearchCV(CNNRegressor(**SMALL), {"optimizer": ["sgd", "adam"], "loss": ["huber"]}, cv=2).fit(X, y)
    assert search.best_estimator_.predict(X).shape == y.shape
    scaled = TransformedTargetRegressor(CNNRegressor(**SMALL), transformer=StandardScaler()).fit(X, 1000 * y[:, 0])
    z = (y[:, 0] - y[:, 0].mean()) / y[:, 0].std()
    expected = 1000 * (CNNRegressor(**SMALL).fit(X, z).predict(X) * y[:, 0].std() + y[:, 0].mean())
    np.testing.assert_allclose(scaled.predict(X), expected, rtol=1e-6)


def test_partial_fit_warm_start_and_pickle_go_on(data):
    X, y = data
    whole = CNNRegressor(**SMALL).fit(X, y)
    parts = clone(whole)
    for _ in range(3):
        parts.partial_fit(X, y)
        parts = pickle.loads(pickle.dumps(parts))
    np.testing.assert_array_equal(parts.predict(X), whole.predict(X))
    warm = CNNRegressor(**SMALL, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="y was 2 columns, and is a vector"):
        warm.fit(X, y[:, 0])
    with pytest.raises(ValueError, match="a vector"):
        parts.partial_fit(X, y[:, 0])
    assert warm.fit(X, y).n_iter_ == 6


@pytest.mark.usefixtures("small_shards")
def test_same_bits_for_every_number_of_threads(data):
    X, y = data
    fits = [CNNRegressor(**SMALL, n_jobs=n_jobs).fit(X, y).predict(X) for n_jobs in (1, 2, 4, None)]
    for other in fits[1:]:
        np.testing.assert_array_equal(other, fits[0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["a", "b"] * 60), "y must contain numbers|could not convert"),
        (np.full(120, np.nan), "NaN"),
        (np.zeros((120, 2, 2)), "dim|array"),
    ],
)
def test_targets_that_are_none(data, y, message):
    with pytest.raises(ValueError, match=message):
        CNNRegressor(**SMALL).fit(data[0], y)


@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_targets_that_are_not_finite_are_named_before_the_training(data, bad):
    X, y = data[0], np.where(np.arange(120) % 2, bad, 1)
    for call in (lambda m: m.fit(X, y), lambda m: m.partial_fit(X, y)):
        with pytest.raises(ValueError, match=r"y (contains (NaN|infinity)|has missing values: None)"):
            call(CNNRegressor(**SMALL, schedule=Untrained()))
    with pytest.raises(ValueError, match=r"y(_val)?.* (contains (NaN|infinity)|has missing values: None)"):
        CNNRegressor(**SMALL, schedule=Untrained()).fit(X, data[1], X_val=X, y_val=np.stack([y, y], axis=1))


def test_the_rule_of_a_loss_for_targets_is_that_of_the_validation_set_too(data):
    X, y = data[0], np.abs(data[1])
    model = CNNRegressor(**SMALL, loss="poisson")
    weights = np.where(np.arange(120) % 5, 1, 0)
    below = np.where(weights[:, None], y, -2)
    zeros = np.stack([y[:, 0], 0 * y[:, 0]], axis=1)
    model.fit(X, y, X_val=X, y_val=below, sample_weight_val=weights).fit(X, y, X_val=X, y_val=zeros)
    with pytest.raises(ValueError, match="needs targets of 0 or more, but y_val contains -2"):
        model.set_params(schedule=Untrained()).fit(X, y, X_val=X, y_val=below)


def test_losses_of_the_other_kind_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match="log_loss"):
        CNNRegressor(**SMALL, loss="log_loss").fit(X, y)
    with pytest.raises(ValueError, match="huber"):
        CNNClassifier(**SMALL, loss="huber").fit(X, y[:, 0] > 0)
