"""scikit-learn's callbacks: told of every epoch, with an estimator that is fitted as far, and able to stop."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcnn
from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine.passes import Tally

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "random_state": 0}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 6, 6)), rng.integers(0, 3, 60)


class Diary:
    """Notes what it is told, and stops after some epochs."""

    def __init__(self, last=None):
        self.last = last
        self.lines, self.predictions, self.given = [], [], []

    def setup(self, estimator, context):
        self.lines.append("setup")

    def teardown(self, estimator, context):
        self.lines.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.lines.append(f"begin {context.task_name}")
        self.given.append((X, y, metadata))

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.lines.append(f"end {context.task_name}")
        self.predictions.append(fitted_estimator.predict(X))
        return self.last is not None and len(self.predictions) >= self.last


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_every_epoch_is_told_with_an_estimator_fitted_as_far(data, estimator):
    X, y = data
    weights = np.linspace(1, 2, 60)
    diary = Diary()
    model = estimator(**SMALL, max_iter=3).set_callbacks(diary).fit(X, y, sample_weight=weights)
    epochs = ["begin epoch", "end epoch"] * 3
    assert diary.lines == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    for number, predicted in enumerate(diary.predictions[:3], 1):
        expected = estimator(**SMALL, max_iter=number).fit(X, y, sample_weight=weights).predict(X)
        np.testing.assert_array_equal(predicted, expected)
    for given_X, given_y, metadata in diary.given:
        assert given_X is X
        assert given_y is y
        assert metadata["sample_weight"] is weights
    plain = estimator(**SMALL, max_iter=3).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))  # being watched changes nothing


def test_an_epoch_that_diverges_is_told_to_its_end(data, monkeypatch):
    losses = iter([1.0, 0.5, np.nan])
    monkeypatch.setattr(
        "skcnn._engine.passes.Passes.epoch", lambda self, *given: Tally(next(losses), 0.0, np.zeros((len(data[1]), 3)))
    )
    diary = Diary()
    with pytest.warns(ConvergenceWarning, match="nan"):
        CNNClassifier(**SMALL, max_iter=9).set_callbacks(diary).fit(*data)
    assert diary.lines == ["setup", "begin fit", *["begin epoch", "end epoch"] * 3, "end fit", "teardown"]


def test_callbacks_run_under_the_settings_of_their_user(data):
    class Settings(Diary):
        def on_fit_task_end(self, estimator, context, **given):
            self.lines.append((np.geterr(), np.getbufsize()))

    settings = Settings()
    with np.errstate(all="raise"):
        expected = np.geterr(), np.getbufsize()
        model = CNNClassifier(**SMALL, learning_rate=0.3, max_iter=2).set_callbacks(settings)
        model.fit(*data, X_val=data[0], y_val=data[1])  # whose loss is measured under those of the training
    seen = [line for line in settings.lines if isinstance(line, tuple)]
    assert seen == [expected] * 3


def test_a_callback_may_stop_the_training(data):
    model = CNNClassifier(**SMALL, max_iter=9).set_callbacks(Diary(last=2)).fit(*data)
    assert model.n_iter_ == 2
    assert model.set_callbacks().fit(*data).n_iter_ == 9


def test_callbacks_see_the_link_of_the_loss_that_is_minimized(data):
    X, y = data
    diary = Diary()
    model = CNNRegressor(**SMALL, max_iter=2, loss="poisson").fit(X, y)
    model.set_params(loss="squared_error").set_callbacks(diary).fit(X, y - 9)
    assert max(predicted.max() for predicted in diary.predictions) < 0


def test_callbacks_see_the_best_score_so_far(data):
    X, y = data
    seen = []

    class Scores(Diary):
        def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
            seen.append((fitted_estimator.best_validation_score_, fitted_estimator.validation_scores_))

    CNNClassifier(**SMALL, max_iter=4).set_callbacks(Scores()).fit(X, y, X_val=X, y_val=y)
    assert len(seen) == 5
    assert all(best == max(scores) for best, scores in seen)


def test_callbacks_are_told_of_the_end_of_a_fit_that_fails(data):
    diary = Diary()
    X, y = data
    model = CNNClassifier(**SMALL, batch_size=10, optimizer="sgd", learning_rate=1e200).set_callbacks(diary)
    with pytest.raises(ValueError, match=r"learning_rate=1e\+200"):
        model.fit(X, y)
    assert diary.lines[-1] == "teardown"
    assert not hasattr(model, "_callback_fit_ctx")
    assert not hasattr(model, "classes_")


def test_the_scoring_monitor_of_scikit_learn(data):
    X, y = data
    monitor = ScoringMonitor(scoring="accuracy")
    CNNClassifier(**SMALL, max_iter=4).set_callbacks(monitor).fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert scores == [CNNClassifier(**SMALL, max_iter=epochs).fit(X, y).score(X, y) for epochs in (1, 2, 3, 4)]


def test_the_progress_bar_of_scikit_learn_inside_a_search(data):
    pytest.importorskip("rich")
    X, y = data
    pipeline = make_pipeline(StandardScaler(), CNNClassifier(**SMALL, max_iter=2))
    search = GridSearchCV(pipeline, {"cnnclassifier__alpha": [0.0, 0.1]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.set_callbacks(ProgressBar()).fit(X.reshape(60, -1), y)
    assert search.best_estimator_.predict(X.reshape(60, -1)).shape == (60,)


def test_copies_and_files(data, tmp_path):
    model = CNNClassifier(**SMALL, max_iter=2).set_callbacks(Diary()).fit(*data)
    assert clone(model)._skl_callbacks == model._skl_callbacks
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))
    skcnn.save(model, tmp_path / "model.skcnn")  # without its callbacks, which are not part of what was learnt
    np.testing.assert_array_equal(skcnn.load(tmp_path / "model.skcnn").predict(data[0]), model.predict(data[0]))
