"""Training that diverges and training that is interrupted: what is said, and what is kept."""

import signal
import subprocess
import sys
import time
import warnings

import joblib
import numpy as np
import pytest
from disturbances import InterruptedAt, JumpsAt
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skcnn import CNNClassifier, CNNRegressor

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 32}


@pytest.mark.parametrize("validated", [False, True])
def test_a_finite_divergence_is_said_and_the_best_epoch_is_kept(digits, validated):
    X, y = digits
    options = {**SMALL, "optimizer": "sgd", "learning_rate": 0.05}
    given = {"X_val": X[80:], "y_val": y[80:]} if validated else {}
    model = CNNClassifier(schedule=JumpsAt(5, 2e4), max_iter=8, **options)
    kept = "best validation score" if validated else "lowest loss"
    with pytest.warns(ConvergenceWarning, match=rf"loss of the last epoch is .*constant prediction.* {kept}") as caught:
        model.fit(X[:80], y[:80], **given)
    assert caught[0].filename == __file__
    assert len(caught) == 1
    assert np.isfinite(model.loss_curve_).all()
    best = 1 + int(np.argmax(model.validation_scores_) if validated else np.argmin(model.loss_curve_))
    assert best <= 5
    again = CNNClassifier(max_iter=best, **options).fit(X[:80], y[:80])
    assert_array_equal(model.decision_function(X), again.decision_function(X))
    assert model.n_iter_ == 8


def remedies(estimator, X, y):
    with pytest.raises(ValueError, match="Try a smaller learning_rate") as caught:
        estimator.set_params(learning_rate=1e200).fit(X, y)
    return str(caught.value).partition(" Try ")[2]


def test_the_advice_fits_the_case(digits):
    X, y = digits
    options = {**SMALL, "optimizer": "sgd", "max_iter": 3}
    assert remedies(CNNClassifier(**options), X, y) == "a smaller learning_rate or clip_norm=1.0."
    without = CNNClassifier(batch_norm=False, **options)
    assert remedies(without, X, y) == "a smaller learning_rate, clip_norm=1.0 or BatchNorm layers."
    raw = CNNClassifier(standardize=False, batch_norm=True, clip_norm=10.0, **options)
    assert remedies(raw, X, y) == "a smaller learning_rate or standardize=True."
    assert "targets" not in remedies(CNNRegressor(**options), X, y)
    counts = CNNRegressor(loss="poisson", **options)
    assert "targets of a smaller scale" in remedies(counts, X, 1.0 + y)


def test_a_divergence_at_once_leaves_nothing_half_fitted(digits):
    X, y = digits
    model = CNNClassifier(learning_rate=1e30, optimizer="sgd", max_iter=2, **SMALL)
    with pytest.raises(ValueError, match=r"in epoch 1 with learning_rate=1e\+30.*Try a smaller learning_rate"):
        model.fit(X, y)
    assert not hasattr(model, "classes_")
    assert not [name for name in vars(model) if name.endswith("_") and not name.startswith("_")]


@pytest.mark.parametrize(
    ("optimizer", "learning_rate"), [("sgd", 1.0), ("sgd", 5.0), ("adam", 0.5), ("adam", 1.0)], ids=str
)
def test_units_that_die_are_said_though_their_loss_is_that_of_a_constant(optimizer, learning_rate):
    """Penalties of 1e47 and more, and a data loss of log(10)."""
    X, y = load_digits(return_X_y=True)
    model = CNNClassifier((8,), optimizer=optimizer, learning_rate=learning_rate, max_iter=8, random_state=0)
    with pytest.warns(
        ConvergenceWarning, match="with the penalty of alpha.*constant prediction.*smaller learning_rate"
    ):
        model.fit(X[:600].reshape(-1, 8, 8), y[:600])


def test_a_loss_that_is_still_falling_is_no_divergence(digits):
    X, y = digits
    model = CNNRegressor(**SMALL, max_iter=3, learning_rate=1e-5, output_initializer="he")
    with pytest.warns(ConvergenceWarning, match="not converged.*still falling: try more epochs") as caught:
        model.fit(X, y)
    assert "smaller" not in str(caught[0].message)
    assert model.loss_curve_ == sorted(model.loss_curve_, reverse=True)


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (CNNClassifier(**SMALL, max_iter=2), np.arange(120) % 3),
        (CNNClassifier(**SMALL, max_iter=8, dropout=0.9), np.arange(120) * 7 % 11 % 3),
        (CNNClassifier(**SMALL, max_iter=3, alpha=10.0), np.arange(120) % 3),
        (CNNClassifier(**SMALL, max_iter=3, loss="hinge"), np.arange(120) % 3),
        (CNNClassifier(**SMALL, max_iter=3), (np.arange(120) == 7).astype(int)),
        (CNNRegressor(**SMALL, max_iter=3, loss="poisson"), np.arange(120) * 10.0),
        (CNNRegressor(**SMALL, max_iter=3, loss="quantile"), np.arange(120) ** 3.0),
        (CNNRegressor(**SMALL, max_iter=3), np.full(120, 5.0)),
        (CNNRegressor(**SMALL, max_iter=3, dropout=0.5), 1e-7 * (np.arange(120) % 2)),
    ],
    ids=lambda value: repr(value)[:40] if hasattr(value, "fit") else "",
)
def test_trainings_that_do_not_diverge_are_quiet(digits, estimator, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.fit(digits[0], y)
        estimator.set_params(max_iter=1).fit(digits[0], y)


def test_a_first_chunk_may_be_bad(digits):
    """Its loss is a mean from the first step on."""
    X, y = digits
    model = CNNClassifier(**SMALL, learning_rate=0.3, optimizer="sgd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for start in range(0, 120, 40):
            model.partial_fit(X[start : start + 40], y[start : start + 40], classes=np.arange(10))


@pytest.mark.parametrize("standardize", [True, False])
def test_images_beyond_single_precision_are_refused_in_a_fit_too(digits, standardize):
    X, y = digits
    model = CNNClassifier(**SMALL, max_iter=1, dtype="float32", standardize=standardize)
    with pytest.raises(ValueError, match="float32"):
        model.fit(X * 1e39, y)


# -- Ctrl-C


def test_a_second_press_within_two_seconds_ends_everything(digits, monkeypatch):
    model = CNNClassifier(**SMALL, schedule=InterruptedAt(1))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*digits)
    assert model.n_iter_ == 1
    with pytest.raises(KeyboardInterrupt):
        CNNClassifier(**SMALL, schedule=InterruptedAt(1)).fit(*digits)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 5)  # a press much later is a first one again
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*digits)


@pytest.mark.parametrize("how", ["search", "scores", "joblib", "chain", "rest"])
def test_one_press_ends_a_search(digits, how):
    X, y = digits
    model = CNNClassifier(**SMALL, schedule=InterruptedAt(1), max_iter=2)
    run = {
        "search": lambda: GridSearchCV(model, {"alpha": [0.0, 1.0]}, cv=2).fit(X, y),
        "scores": lambda: cross_val_score(model, X, y, cv=2),
        "chain": lambda: ClassifierChain(model).fit(
            X.reshape(len(X), -1), np.stack([y > 4, y > 6], axis=1).astype(int)
        ),
        "rest": lambda: OneVsRestClassifier(model).fit(X.reshape(len(X), -1), y),
        "joblib": lambda: joblib.Parallel(n_jobs=1)(joblib.delayed(model.fit)(X, y) for _ in range(2)),
    }[how]
    with pytest.raises(KeyboardInterrupt):
        run()


def test_one_press_in_a_pipeline_ends_one_fit(digits):
    model = make_pipeline(FunctionTransformer(), CNNClassifier(**SMALL, schedule=InterruptedAt(1)))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*digits)
    assert model[-1].n_iter_ == 1


SEARCH = """
import sys, numpy as np
from sklearn.model_selection import GridSearchCV
from skcnn import CNNClassifier
X, y = np.random.default_rng(0).normal(size=(400, 16, 16)), np.arange(400) % 2
print("ready", flush=True)
model = CNNClassifier(max_iter=2000)
GridSearchCV(model, {"alpha": [0.0, 0.1]}, cv=2, error_score="raise").fit(X, y)
print("ended")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_search_of_a_real_process():
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert "ended" not in out
