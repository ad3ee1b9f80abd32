"""Losses: values against formulas, scikit-learn and PyTorch, gradients against central differences."""

import math
import pickle

import numpy as np
import pytest
from cases import LOSSES
from numpy.testing import assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import (
    hinge_loss,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
    r2_score,
)

import skcnn.losses
import skcnn.runtime
from skcnn import CNNClassifier, CNNRegressor
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import Flatten
from skcnn.losses import (
    AbsoluteError,
    Focal,
    Hinge,
    Huber,
    LogLoss,
    Poisson,
    Quantile,
    SquaredError,
    mean_loss,
    resolve_loss,
)
from skcnn.testing import directional

TARGETS = {
    "classes": np.array([0, 2, 1, 2, 3, 0]),
    "labels": np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0.0]]),
    "numbers": np.array([[0, 1.5, 3, 0.2], [1, 1, 1, 1], [0, 0, 4, 9], [1, 0.1, 0, 1], [0, 1, 5, 0], [2, 0, 1, 0.0]]),
}


CASES = [(case, kind) for case in LOSSES for kind in case.kinds]
cases = pytest.mark.parametrize(("case", "kind"), CASES, ids=[f"{case.loss!r} of {kind}" for case, kind in CASES])
CLASSIFYING = [case for case in LOSSES if case.loss.task == "classification"]
OF_NUMBERS = [case for case in LOSSES if case.loss.task == "regression"]


def each_of(rows):
    """A test for each of some rows."""
    return pytest.mark.parametrize("case", rows, ids=lambda case: repr(case.loss))


def record(loss, raw, target, dtype=np.float64):
    tape = Tape(dtype, Batch(len(raw)), poison=True)
    x = tape.input(raw.shape)
    x[...] = raw
    with tape.step("loss"):
        values, gradient = loss.record(tape, x, target)
    tape.replay(0)
    return values, gradient


@cases
def test_gradient_equals_the_central_difference(case, kind):
    rng = np.random.default_rng(0)
    loss, raw, target = case.loss, rng.normal(size=(6, 4)), TARGETS[kind]
    _, gradient = record(loss, raw, target)
    for _ in range(3):
        direction = rng.normal(size=raw.shape)
        expected = directional(lambda z: record(loss, z, target)[0].sum(), [raw], [direction])
        assert np.sum(gradient * direction) == pytest.approx(expected, abs=1e-8 * np.linalg.norm(gradient))


@pytest.mark.parametrize("kind", ["classes", "labels"])
@pytest.mark.parametrize("loss", [LogLoss()], ids=repr)
def test_gradient_is_zero_on_average_over_the_model(loss, kind):
    """Where the truth is drawn from the model's own probabilities, the expected gradient vanishes."""
    raw = np.random.default_rng(1).normal(size=(1, 4))
    p = loss.probabilities(raw, exclusive=kind == "classes")[0]
    if kind == "classes":
        mean = sum(p[k] * record(loss, raw, np.array([k]))[1] for k in range(4))
    else:
        outcomes = np.array(np.meshgrid(*[[0.0, 1.0]] * 4)).reshape(4, -1).T
        chances = np.prod(np.where(outcomes == 1, p, 1 - p), axis=1)
        mean = sum(c * record(loss, raw, y[None])[1] for c, y in zip(chances, outcomes, strict=True))
    np.testing.assert_allclose(mean, 0, atol=1e-12)


def test_log_loss_of_classes_equals_scikit_learn():
    raw = np.random.default_rng(2).normal(size=(6, 4))
    weights = np.arange(1.0, 7.0)
    p = LogLoss().probabilities(raw, exclusive=True)
    np.testing.assert_allclose(np.log(p), log_softmax(raw, axis=1), rtol=1e-12)
    expected = log_loss(TARGETS["classes"], p, sample_weight=weights, labels=range(4))
    assert mean_loss(LogLoss(), raw, TARGETS["classes"], weights) == pytest.approx(expected, rel=1e-12)


def test_log_loss_of_labels_equals_scikit_learn_summed_over_labels():
    raw = np.random.default_rng(3).normal(size=(6, 4))
    weights = np.arange(1.0, 7.0)
    p = LogLoss().probabilities(raw, exclusive=False)
    expected = sum(log_loss(TARGETS["labels"][:, k], p[:, k], sample_weight=weights, labels=[0, 1]) for k in range(4))
    assert mean_loss(LogLoss(), raw, TARGETS["labels"], weights) == pytest.approx(expected, rel=1e-12)


@cases
def test_huge_raw_predictions_stay_finite(case, kind):
    raw = np.minimum(np.array([[1e4, -1e4, 0.0, 1e3]] * 6), case.largest)
    values, gradient = record(case.loss, raw, TARGETS[kind])
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()


@each_of([case for case in LOSSES if case.loss.has_probabilities])
def test_single_precision_predictions_give_probabilities_that_sum_to_one(case):
    raw = np.random.default_rng(4).normal(size=(100, 10)).astype(np.float32)
    p = case.loss.probabilities(raw, exclusive=True)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)


@each_of(LOSSES)
def test_description_is_a_value(case):
    loss = case.loss
    assert eval(repr(loss), vars(skcnn.losses)) == loss
    assert hash(loss) == hash(eval(repr(loss), vars(skcnn.losses)))


# -- formulas


@cases
@pytest.mark.parametrize("size", [0.5, 2.0, 8.0])
def test_values_equal_the_formula(case, kind, size):
    raw, target = np.random.default_rng(5).normal(0, size, (6, 4)), TARGETS[kind]
    values, gradient = record(case.loss, raw, target)
    np.testing.assert_allclose(values, case.values(raw, target), rtol=1e-9, atol=1e-12)
    assert values.dtype == gradient.dtype == np.float64


@cases
def test_single_precision_predictions_have_a_loss_in_double_precision(case, kind):
    loss, raw = case.loss, np.random.default_rng(6).normal(size=(6, 4)).astype(np.float32)
    for a, b in zip(record(loss, raw, TARGETS[kind], np.float32), record(loss, raw, TARGETS[kind]), strict=True):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, b)


def test_focal_without_focus_is_the_log_loss():
    raw = np.random.default_rng(7).normal(0, 5, (6, 4))
    for kind in ("classes", "labels"):
        focal, log = (record(loss, raw, TARGETS[kind]) for loss in (Focal(gamma=0), LogLoss()))
        for a, b in zip(focal, log, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("loss", [Focal(), Focal(0.3, 0.2), Focal(alpha=(0.3, 1.5))], ids=repr)
def test_two_classes_with_one_output_are_two_classes_with_two(loss):
    """A sigmoid of z is the softmax of 0 and z."""
    z, y = np.random.default_rng(8).normal(0, 3, (9, 1)), np.arange(9) % 2
    one = record(loss, z, y[:, None].astype(float))
    weights = loss.alpha if isinstance(loss.alpha, tuple) else None if loss.alpha is None else (0.8, 0.2)
    two = record(loss.replaced(alpha=weights), np.hstack([np.zeros_like(z), z]), y)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(one[1], two[1][:, 1:], rtol=1e-9, atol=1e-14)


def test_hinge_equals_that_of_scikit_learn_for_two_classes():
    z, y = np.random.default_rng(9).normal(0, 2, (20, 1)), np.arange(20.0)[:, None] % 2
    expected = hinge_loss(y[:, 0], z[:, 0])
    assert mean_loss(Hinge(), z, y, np.ones(20)) == pytest.approx(expected, rel=1e-12)


def test_regression_losses_equal_the_metrics_of_scikit_learn():
    rng = np.random.default_rng(10)
    raw, y, w = rng.normal(size=(30, 2)), rng.uniform(0, 3, (30, 2)), rng.uniform(0.1, 2, 30)
    expected = {
        SquaredError(): mean_squared_error(y, raw, sample_weight=w) / 2,
        AbsoluteError(): mean_absolute_error(y, raw, sample_weight=w),
        Quantile(0.8): mean_pinball_loss(y, raw, sample_weight=w, alpha=0.8),
    }
    for loss, value in expected.items():
        assert mean_loss(loss, raw, y, w) == pytest.approx(value, rel=1e-12)
    # The deviance differs from the loss by what does not depend on the prediction.
    for column in range(2):
        z, t = raw[:, [column]], y[:, [column]]
        deviance = mean_poisson_deviance(t[:, 0], np.exp(z[:, 0]), sample_weight=w) / 2
        constant = np.average(t * np.log(t) - t, axis=0, weights=w)[0]
        assert mean_loss(Poisson(), z, t, w) + constant == pytest.approx(deviance, rel=1e-12)


# -- starting points


@each_of(OF_NUMBERS)
def test_base_score_is_near_the_best_constant(case):
    loss, rng = case.loss, np.random.default_rng(11)
    target, weights = rng.gamma(1.0, 2.0, (301, 2)), rng.integers(0, 4, 301).astype(float)
    start = loss.base_score(target, weights)
    assert start.shape == (2,)
    for column in range(2):
        y = target[:, [column]]

        def risk(z, y=y):
            return mean_loss(loss, np.full_like(y, z), y, weights)

        best = minimize_scalar(risk, bounds=(-5, 15), method="bounded").fun
        assert risk(start[column]) <= best * (1 + np.sign(best) * case.slack)
    repeated = np.repeat(target, weights.astype(int), axis=0)
    np.testing.assert_allclose(loss.base_score(repeated, np.ones(len(repeated))), start, rtol=1e-12)


def test_base_scores_are_the_textbook_ones():
    target, weights = np.array([[1.0], [2.0], [9.0]]), np.array([1.0, 1.0, 1.0])
    expected = {
        SquaredError(): 4.0,
        AbsoluteError(): 2.0,
        Quantile(0.9): 9.0,
        Huber(): 2.0 + (-1 + 0 + 1) / 3,
        Poisson(): math.log(4),
    }
    for loss, score in expected.items():
        assert loss.base_score(target, weights) == pytest.approx(score)
    assert Hinge().base_score(np.array([0, 1, 2]), weights) == 0


def test_quantiles_do_not_hang_on_the_scale_of_the_weights():
    """Where the share is reached exactly, rounding must not decide between two neighbours."""
    rng = np.random.default_rng(16)
    for _ in range(200):
        n = int(rng.integers(2, 12))
        y, w = rng.normal(size=(n, 1)), rng.integers(1, 4, n).astype(float)
        expected = np.quantile(np.repeat(y, w.astype(int), axis=0), 0.5, axis=0, method="inverted_cdf")
        for scale in (1.0, 1 / 3, 1 / w.mean(), 0.1):
            np.testing.assert_array_equal(AbsoluteError().base_score(y, w * scale), expected)
    aside = np.array([[-9.0], [1.0], [2.0], [9.0]])
    assert AbsoluteError().base_score(aside, np.array([0.0, 1.0, 1.0, 0.0])) == 1


def test_poisson_needs_counts():
    Poisson().check_target(np.array([[0.0], [2.0]]))
    with pytest.raises(ValueError, match=r"loss=Poisson\(\) needs targets of 0 or more, but y contains -1.0"):
        Poisson().check_target(np.array([[0.0], [-1.0]]))
    with pytest.raises(ValueError, match=r"needs a positive target in every output"):
        Poisson().check_target(np.array([[0.0, 1.0], [0.0, 2.0]]))


def test_predictions_go_through_the_link():
    raw = np.array([[0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(SquaredError().predict(raw), raw)
    np.testing.assert_allclose(Poisson().predict(raw), [[1.0, math.e]], rtol=1e-15)
    assert SquaredError().predict(raw).dtype == Poisson().predict(raw).dtype == np.float64


# -- fields, names and errors


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (LogLoss(1.0), r"label_smoothing must be a number of 0 or more and less than 1, got 1.0"),
        (Focal(-1), r"gamma must be a number of 0 or more, got -1"),
        (Focal(alpha=2.0), r"alpha must be None, a number from 0 to 1, or a list"),
        (Focal(alpha=[1.0]), r"alpha must be None, a number from 0 to 1, or a list"),
        (Huber(0), r"delta must be a number above 0, got 0"),
        (Quantile(1.0), r"quantile must be a number above 0 and below 1, got 1.0"),
    ],
)
def test_fields_without_a_meaning_are_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        loss.check()


@pytest.mark.parametrize(
    ("alpha", "target", "words"),
    [
        (0.25, TARGETS["classes"], "there are 4 classes, so alpha must be None or a list of 4 weights"),
        ([1.0, 2.0], TARGETS["classes"], "there are 4 classes, so alpha must be None or a list of 4 weights"),
        ([1.0, 2.0], TARGETS["labels"], "y contains 4 labels, so alpha must be None or a number, got"),
        (
            [1, 2, 3],
            TARGETS["labels"][:, :1],
            "two classes, so alpha must be None, a number or a list of two weights",
        ),
    ],
)
def test_alpha_must_fit_the_classes(alpha, target, words):
    with pytest.raises(ValueError, match=words):
        record(Focal(alpha=alpha), np.zeros((6, 4 if target.ndim == 1 else target.shape[1])), target)


@pytest.mark.parametrize(
    ("theirs", "names"),
    [
        (SGDClassifier(max_iter=5, tol=None), ["log_loss", "hinge", "squared_hinge"]),
        (SGDRegressor(max_iter=5, tol=None), ["squared_error", "huber"]),
        (HistGradientBoostingRegressor(max_iter=1), ["absolute_error", "poisson", "quantile"]),
    ],
)
def test_names_are_those_of_scikit_learn(theirs, names):
    for name in names:
        options = {"quantile": 0.5} if name == "quantile" else {}
        theirs.set_params(loss=name, **options).fit(np.arange(8.0)[:, None], np.arange(8) % 2)
        assert resolve_loss(name, "classification" if is_classifier(theirs) else "regression").name == name


def test_a_loss_for_the_other_task_is_refused(digits):
    assert resolve_loss("huber", "regression") == Huber()
    words = "loss='huber' is a loss for regression, not for classification. Losses for classification: 'focal',"
    with pytest.raises(ValueError, match=words):
        CNNClassifier(loss="huber").fit(*digits)
    with pytest.raises(ValueError, match="loss='log_loss' is a loss for classification, not for regression"):
        CNNRegressor(loss="log_loss").fit(*digits)


# -- in an estimator


LEARNT = [
    pytest.param(case, kind, id=f"{case.loss!r} of {kind}")
    for case in CLASSIFYING
    for kind in [*(["classes"] if case.classes else []), *(["two classes", "labels"] if case.labels else [])]
]


@pytest.mark.parametrize(("case", "kind"), LEARNT)
def test_every_loss_learns_every_kind_of_target(case, kind, digits):
    X, y = (array[digits[1] < 4] for array in digits)
    y = {"classes": y, "two classes": y > 1, "labels": np.column_stack([y > 1, y % 2]).astype(int)}[kind]
    options = {"hidden_layer_sizes": (), "max_iter": 30, "batch_size": 10, "learning_rate": 0.003, "random_state": 0}
    fitted = CNNClassifier((8,), loss=case.loss, **options).fit(X, y)
    assert np.mean(fitted.predict(X) == y) > 0.9
    raw = fitted.decision_function(X)
    assert raw.shape == (len(X), *{"classes": [4], "two classes": [], "labels": [2]}[kind])
    if case.loss.has_probabilities:
        assert np.isfinite(fitted.predict_proba(X)).all()


MARGINS = [case.loss for case in CLASSIFYING if not case.loss.has_probabilities]


@pytest.mark.parametrize("loss", [*MARGINS, "hinge"], ids=repr)
def test_margins_give_no_probabilities(loss, digits):
    fitted = CNNClassifier((4,), hidden_layer_sizes=(), loss=loss, max_iter=8, random_state=0).fit(*digits)
    for method in ("predict_proba", "predict_log_proba"):
        assert not hasattr(fitted, method)
        assert not hasattr(CNNClassifier(loss=loss), method)
        assert hasattr(CNNClassifier(), method)
        with pytest.raises(AttributeError, match=f"has no attribute '{method}'") as caught:
            getattr(fitted, method)
        assert "provides no probabilities. Use decision_function instead, wrap" in str(caught.value.__cause__)
        assert repr(resolve_loss(loss, "classification")) in str(caught.value.__cause__)


def test_a_fitted_classifier_keeps_the_link_that_it_has_learnt(digits):
    X, y = digits
    few = {"layers": [Flatten()], "max_iter": 2, "random_state": 0}
    fitted = CNNClassifier(**few).fit(X, y)
    p = fitted.predict_proba(X)
    assert_array_equal(fitted.set_params(loss="hinge").predict_proba(X), p)
    with pytest.raises(ValueError, match="y has unknown classes"):
        fitted.partial_fit(X, y + 20)
    assert_array_equal(fitted.predict_proba(X), p)
    assert not hasattr(fitted.partial_fit(X, y), "predict_proba")  # it has learnt to minimize another one
    assert not hasattr(fitted.set_params(loss="log_loss"), "predict_proba")


def test_a_fitted_regressor_keeps_the_link_that_it_has_learnt(tmp_path):
    rng = np.random.default_rng(16)
    X, y, few = rng.normal(size=(40, 4, 4)), rng.uniform(1, 5, 40), {"layers": [Flatten()], "max_iter": 2}
    fitted = CNNRegressor(loss="poisson", **few).fit(X, y)
    expected = fitted.predict(X)
    assert_array_equal(expected, np.exp(fitted._raw(X).ravel()))
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.set_params(loss="squared_error").fit(X, y * np.nan)
    skcnn.save(fitted, tmp_path / "model.skcnn")
    for found in (fitted, skcnn.load(tmp_path / "model.skcnn"), pickle.loads(pickle.dumps(fitted))):
        assert found.loss == "squared_error"
        assert_array_equal(found.predict(X), expected)
    assert_array_equal(skcnn.runtime.load(tmp_path / "model.skcnn").predict(X), expected)
    again = fitted.fit(X, y - 3, X_val=X, y_val=y - 3)
    assert again.score(X, y - 3) == pytest.approx(again.best_validation_score_, rel=1e-9)
    assert_array_equal(again.predict(X), again._raw(X).ravel() * again.target_scale_ + again.target_mean_)


def test_margins_can_be_calibrated(digits):
    X, y = digits
    hinge = CNNClassifier((4,), hidden_layer_sizes=(), loss="hinge", max_iter=8, batch_size=20, random_state=0)
    p = CalibratedClassifierCV(hinge, cv=2).fit(X, y > 4).predict_proba(X)
    assert log_loss(y > 4, p) < 0.5


def test_focal_loss_and_weights_of_classes_raise_the_recall_of_the_rare_one(digits):
    X, y = digits
    rare = y == 8
    options = {"conv_filters": (4,), "hidden_layer_sizes": (), "max_iter": 4, "random_state": 0}
    found = [
        CNNClassifier(loss=loss, **options).fit(X, rare).predict(X)[rare].mean()
        for loss in (Focal(alpha=0.05), Focal(alpha=0.95))
    ]
    assert found[0] < found[1]


@each_of(OF_NUMBERS)
def test_every_loss_learns_numbers(case):
    rng = np.random.default_rng(12)
    X = rng.uniform(size=(200, 6, 6))
    y = np.column_stack([X[:, :3].sum(axis=(1, 2)), X[:, 3:].sum(axis=(1, 2))]) / 2
    options = {"conv_filters": (), "hidden_layer_sizes": (), "batch_size": 20, "random_state": 0}
    unlearnt = CNNRegressor(loss=case.loss, max_iter=1, learning_rate=0.0, **options).fit(X, y)
    scaled = case.loss.standardizes_targets
    mean, deviation = (y.mean(axis=0), y.std(axis=0)) if scaled else (np.zeros(2), np.ones(2))
    np.testing.assert_allclose(unlearnt.target_mean_, mean)
    np.testing.assert_allclose(unlearnt.target_scale_, deviation)
    start = case.loss.predict(case.loss.base_score((y - mean) / deviation, np.ones(200))) * deviation + mean
    np.testing.assert_allclose(unlearnt.predict(X), np.tile(start, (200, 1)), rtol=1e-12)
    learning = {"max_iter": 60, "learning_rate": 0.02, "schedule": "cosine"}
    fitted = CNNRegressor(loss=case.loss, **learning, **options).fit(X, y)
    assert r2_score(y, fitted.predict(X)) > 0.9
    assert fitted.loss_ < unlearnt.loss_
    assert fitted.predict(X).dtype == np.float64


def test_a_share_of_the_targets_lies_below_a_quantile():
    rng = np.random.default_rng(14)
    X = rng.uniform(size=(400, 4, 4))
    y = X.sum(axis=(1, 2)) + rng.exponential(2.0, 400)
    options = {"conv_filters": (), "hidden_layer_sizes": (), "max_iter": 60, "learning_rate": 0.02, "random_state": 0}
    for share in (0.1, 0.5, 0.9):
        fitted = CNNRegressor(loss=Quantile(share), **options).fit(X, y)
        assert np.mean(y < fitted.predict(X)) == pytest.approx(share, abs=0.04)


@each_of(OF_NUMBERS)
def test_sample_weights_are_repetitions(case):
    rng = np.random.default_rng(15)
    X, y, w = rng.uniform(size=(20, 4, 4)), rng.uniform(1, 5, (20, 2)), rng.integers(1, 4, 20)
    options = {"conv_filters": (), "hidden_layer_sizes": (3,), "max_iter": 5, "batch_size": 100, "random_state": 0}
    weighted = CNNRegressor(loss=case.loss, **options).fit(X, y, sample_weight=w)
    repeated = CNNRegressor(loss=case.loss, **options).fit(np.repeat(X, w, axis=0), np.repeat(y, w, axis=0))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-9)


def test_poisson_regression_refuses_negative_numbers(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"loss='?Poisson\(\)'? needs targets of 0 or more, but y contains -3"):
        CNNRegressor(loss="poisson", layers=[Flatten()]).fit(X, y - 3.0)


# -- PyTorch


@pytest.mark.parametrize(
    ("case", "kind"),
    [pytest.param(case, kind, id=f"{case.loss!r} of {kind}") for case, kind in CASES if case.pytorch],
)
def test_equals_pytorch(case, kind):
    torch = pytest.importorskip("torch")
    raw = np.random.default_rng(13).normal(0, 2, (6, 4))
    z = torch.tensor(raw, requires_grad=True)
    theirs = case.pytorch(torch, case.loss, z, torch.tensor(TARGETS[kind]))
    theirs.sum().backward()
    values, gradient = record(case.loss, raw, TARGETS[kind])
    np.testing.assert_allclose(values, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-10, atol=1e-12)
