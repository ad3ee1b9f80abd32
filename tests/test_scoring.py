"""Scores of a fit: what is measured on the training and validation rows, and what follows from it."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import accuracy_score, get_scorer, log_loss, r2_score
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.class_weight import compute_sample_weight

import skcnn
from skcnn import CNNClassifier, CNNRegressor
from skcnn._estimators.judging import accuracy, r2
from skcnn.callbacks import Checkpoint

RNG = np.random.default_rng(0)
SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 32}


@pytest.fixture(scope="module")
def data():
    """Images of which some pixels say the class, and rows to validate on."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(160, 6, 6))
    y = (X[:, :3].mean(axis=(1, 2)) > 0.1).astype(int) + (X[:, 3:].mean(axis=(1, 2)) > 0.2)
    return X[:120], y[:120], X[120:], y[120:]


class Collector:
    """Keeps a result of each epoch's estimator."""

    def __init__(self, function):
        self.function, self.found = function, []

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.found.append(self.function(fitted_estimator))


def same_arrays(one, two):
    for name, array in one.parameters_.items():
        assert_array_equal(array, two.parameters_[name])


# -- the formulas


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_r2_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 2, 30)
    labels, guessed = rng.integers(0, 2, (2, 30, 3))
    assert_allclose(
        accuracy(labels[:, 0], guessed[:, 0], w), accuracy_score(labels[:, 0], guessed[:, 0], sample_weight=w)
    )
    assert_allclose(accuracy(labels, guessed, w), accuracy_score(labels, guessed, sample_weight=w))
    y, predicted = rng.normal(size=(2, 30, 3))
    y[:, 2] = 4.0  # a constant output: 0 unless it is predicted
    assert_allclose(r2(y, predicted, w), r2_score(y, predicted, sample_weight=w))
    predicted[:, 2] = 4.0
    assert_allclose(r2(y, predicted, w), r2_score(y, predicted, sample_weight=w))


# -- weights of classes reach the validation rows


def test_class_weights_with_early_stopping_are_their_sample_weights(digits):
    X, y = digits
    rare = (y == 8).astype(int)
    weights = compute_sample_weight("balanced", rare)
    # The standardization weighs rows by sample_weight alone.
    options = {"early_stopping": True, "max_iter": 6, "standardize": False, "learning_rate": 1e-4, **SMALL}
    by_class = CNNClassifier(class_weight="balanced", **options).fit(X, rare)
    by_row = CNNClassifier(**options).fit(X, rare, sample_weight=weights)
    same_arrays(by_class, by_row)
    assert by_class.validation_scores_ == by_row.validation_scores_
    named = CNNClassifier(class_weight=dict(zip([0, 1], [weights.min(), weights.max()], strict=True)), **options)
    same_arrays(named.fit(X, rare), by_row)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
def test_a_given_validation_set_is_weighted_by_the_classes_of_the_fit(data, class_weight):
    X, y, X_val, y_val = data
    own = RNG.uniform(0.5, 2, len(y_val))
    model = CNNClassifier(class_weight=class_weight, max_iter=1, **SMALL)
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=own)
    factors = {k: len(y) / (3 * np.sum(y == k)) for k in range(3)} if class_weight == "balanced" else class_weight
    w = own * np.array([factors[k] for k in y_val])
    assert model.validation_scores_ == pytest.approx([accuracy_score(y_val, model.predict(X_val), sample_weight=w)])
    expected = log_loss(y_val, model.predict_proba(X_val), sample_weight=w)
    assert model.history_["val_loss"] == pytest.approx([expected])


def test_labels_have_weights_in_the_validation_set_too(data):
    X, y, X_val, y_val = data
    labels, labels_val = ((values[:, None] == [0, 1]).astype(int) for values in (y, y_val))
    class_weight = [{0: 1.0, 1: 3.0}, {0: 2.0, 1: 1.0}]
    model = CNNClassifier(class_weight=class_weight, max_iter=1, **SMALL).fit(X, labels, X_val=X_val, y_val=labels_val)
    w = np.where(labels_val[:, 0], 3.0, 1.0) * np.where(labels_val[:, 1], 1.0, 2.0)
    expected = accuracy_score(labels_val, model.predict(X_val), sample_weight=w)
    assert model.validation_scores_ == pytest.approx([expected])


def test_a_validation_set_without_weight_is_refused(data):
    X, y, X_val, y_val = data
    with pytest.raises(ValueError, match="All rows of the validation set have weight 0"):
        CNNClassifier(class_weight={0: 0, 1: 1, 2: 1}, **SMALL).fit(X, y, X_val=X_val, y_val=0 * y_val)
    with pytest.raises(ValueError, match="In the validation set"):
        CNNClassifier(**SMALL).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=np.zeros(len(y_val)))


# -- scoring


@pytest.mark.parametrize("scoring", ["balanced_accuracy", "neg_log_loss", "roc_auc_ovr", "f1_macro"])
def test_scores_are_those_of_the_scorer(data, scoring):
    X, y, X_val, y_val = data
    w = RNG.uniform(0.5, 2, len(y_val))
    collector = Collector(lambda est: get_scorer(scoring)(est, X_val, y_val, sample_weight=w))
    model = CNNClassifier(scoring=scoring, max_iter=4, **SMALL).set_callbacks(collector)
    model.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=w)
    assert_allclose(model.validation_scores_, collector.found, rtol=1e-6)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert_allclose(get_scorer(scoring)(model, X_val, y_val, sample_weight=w), model.best_validation_score_, rtol=1e-6)


def test_two_classes_and_labels_have_scorers_too(data):
    X, y, X_val, y_val = data
    for targets, targets_val, scoring in (
        (np.array(["no", "yes"])[(y > 0).astype(int)], np.array(["no", "yes"])[(y_val > 0).astype(int)], "roc_auc"),
        ((y[:, None] == [0, 1]).astype(int), (y_val[:, None] == [0, 1]).astype(int), "average_precision"),
    ):
        model = CNNClassifier(scoring=scoring, max_iter=3, **SMALL)
        model.fit(X, targets, X_val=X_val, y_val=targets_val)
        found = get_scorer(scoring)(model, X_val, targets_val)
        assert_allclose(found, model.best_validation_score_, rtol=1e-6)


@pytest.mark.parametrize("scoring", ["neg_mean_absolute_error", "neg_root_mean_squared_error"])
def test_scores_of_numbers_are_in_their_unit(data, scoring):
    X, y, X_val, y_val = data
    model = CNNRegressor(scoring=scoring, max_iter=4, **SMALL)
    model.fit(X, 1000.0 * y + 50, X_val=X_val, y_val=1000.0 * y_val + 50)
    found = get_scorer(scoring)(model, X_val, 1000.0 * y_val + 50)
    assert_allclose(found, model.best_validation_score_, rtol=1e-6)
    assert found < -100


def test_a_callable_gets_an_estimator_images_and_targets(data):
    X, y, X_val, y_val = data
    seen = []

    def scoring(estimator, images, targets):
        seen.append((images, targets))
        # Other images than those of the validation set are predicted, not looked up.
        assert len(estimator.predict(X[:7])) == 7
        return np.mean(estimator.predict(images) == targets)

    model = CNNClassifier(scoring=scoring, max_iter=3, **SMALL).fit(X, y, X_val=X_val, y_val=y_val)
    plain = CNNClassifier(max_iter=3, **SMALL).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.validation_scores_ == pytest.approx(plain.validation_scores_)
    same_arrays(model, plain)
    assert np.isnan(model.history_["score"]).all()
    assert_array_equal(seen[0][0][..., 0], X_val)
    assert_array_equal(seen[0][1], y_val)


def test_the_loss_is_a_score(data):
    X, y, X_val, y_val = data
    model = CNNClassifier(scoring="loss", max_iter=5, **SMALL, alpha=0.1).fit(X, y, X_val=X_val, y_val=y_val)
    assert_allclose(model.validation_scores_, -np.array(model.history_["val_loss"]))
    assert_allclose(log_loss(y_val, model.predict_proba(X_val)), min(model.history_["val_loss"]), rtol=1e-6)
    assert (-np.array(model.history_["score"]) < model.loss_curve_).all()  # without the penalty


@pytest.mark.parametrize("scoring", ["accurate", 3, {"a": "accuracy"}])
def test_what_is_no_score_is_refused(data, scoring):
    with pytest.raises(ValueError, match="The 'scoring' parameter of CNNClassifier must be"):
        CNNClassifier(scoring=scoring, **SMALL).fit(*data[:2])


def test_patience_counts_epochs_that_improve_neither_score_nor_loss(digits):
    """All rows are of one class at first sight: the accuracy stays for long while the loss falls."""
    X, y = digits
    rare = (y == 8).astype(int)
    model = CNNClassifier((4,), hidden_layer_sizes=(), learning_rate=3e-4, max_iter=30, random_state=0)
    model.set_params(early_stopping=True, n_iter_no_change=3).fit(X, rare)
    scores, losses = model.validation_scores_, model.history_["val_loss"]
    assert scores[:10] == [scores[0]] * 10
    assert (np.diff(losses[:10]) < 0).all()
    assert model.n_iter_ > 10


# -- the training score


def test_the_training_score_is_that_of_the_model_where_it_does_not_change(data):
    X, y, _, _ = data
    w = RNG.uniform(0.5, 2, len(y))
    model = CNNClassifier(learning_rate=0.0, max_iter=2, output_initializer="truncated_normal", **SMALL)
    model.fit(X, y, sample_weight=w)
    expected = accuracy_score(y, model.predict(X), sample_weight=w)
    assert model.history_["score"] == pytest.approx([expected] * 2)
    assert 0 < expected < 1
    regressor = CNNRegressor(learning_rate=0.0, max_iter=2, output_initializer="truncated_normal", **SMALL)
    regressor.fit(X, np.stack([y, -3.0 * y], axis=1), sample_weight=w)
    expected = r2_score(np.stack([y, -3.0 * y], axis=1), regressor.predict(X), sample_weight=w)
    assert regressor.history_["score"] == pytest.approx([expected] * 2)


def test_the_training_score_is_of_the_rows_that_are_learnt_from(data):
    X, y, _, _ = data
    options = {
        "learning_rate": 0.0,
        "max_iter": 1,
        "output_initializer": "he",
        "scoring": "balanced_accuracy",
    }
    model = CNNClassifier(early_stopping=True, validation_fraction=0.5, **options, **SMALL).fit(X, y)
    half = CNNClassifier(**options, **SMALL).fit(X, y)
    assert half.history_["score"] == pytest.approx([get_scorer("balanced_accuracy")(half, X, y)])
    assert model.history_["score"] != half.history_["score"]


@pytest.mark.parametrize("augmentation", ["mixup", ["random_flip", "cutmix"]])
def test_mixed_images_have_no_score(data, augmentation):
    model = CNNClassifier(max_iter=2, augmentation=augmentation, **SMALL).fit(*data[:2])
    assert np.isnan(model.history_["score"]).all()


def test_one_row_has_no_score():
    model = CNNRegressor(max_iter=1, **SMALL).fit(np.ones((1, 6, 6)), [2.0])
    assert np.isnan(model.history_["score"]).all()
    assert_allclose(model.predict(np.ones((1, 6, 6))), [2.0])


def test_lines_have_the_training_score(data, capsys):
    X, y, X_val, y_val = data
    CNNClassifier(max_iter=2, verbose=1, **SMALL).fit(X, y, X_val=X_val, y_val=y_val)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    pattern = (
        r"epoch 1/2  loss \d\.\d{4}  score \d\.\d{4}  val loss \d\.\d{4}  val score \d\.\d{4}  lr 0.001  \d\.\d\d s"
    )
    assert re.fullmatch(pattern, lines[0])


def test_a_second_level_prints_lines_within_an_epoch(data, capsys, monkeypatch):
    X, y, _, _ = data
    CNNClassifier(max_iter=1, verbose=2, **SMALL).fit(X, y)
    assert len(capsys.readouterr().out.splitlines()) == 1  # an epoch of milliseconds has none
    monkeypatch.setattr("skcnn._engine.training.LINE", 0.0)
    CNNClassifier(max_iter=1, verbose=2, **SMALL).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5  # of 120 rows in batches of 32
    assert re.fullmatch(r"epoch 1/1   27% of 120 rows  loss \d\.\d{4}  0 s", lines[0])
    CNNClassifier(max_iter=1, verbose=1, **SMALL).fit(X, y)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_resumed_fit_has_the_scores_of_one_that_was_not_broken_off(data, tmp_path):
    X, y, X_val, y_val = data

    class Stop(Collector):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "epoch" and context.task_id == 2:
                raise RuntimeError("broken off")

    model = CNNRegressor(max_iter=5, scoring="neg_mean_absolute_error", **SMALL)
    expected = clone(model).fit(X, 7.0 * y, X_val=X_val, y_val=7.0 * y_val)
    checkpoint = Checkpoint(tmp_path / "model")
    with pytest.raises(RuntimeError, match="broken off"):
        clone(model).set_callbacks(checkpoint, Stop(None)).fit(X, 7.0 * y, X_val=X_val, y_val=7.0 * y_val)
    again = clone(model).set_callbacks(checkpoint).fit(X, 7.0 * y, X_val=X_val, y_val=7.0 * y_val)
    same_arrays(again, expected)
    for name in ("score", "val_score", "loss"):
        assert again.history_[name] == expected.history_[name]
    assert_array_equal(again.predict(X), expected.predict(X))


# -- validation sets in another coding


def test_a_validation_set_in_another_coding_is_said(data):
    X, _, X_val, _ = data
    target, target_val = np.exp(3 * X[:, :3].mean(axis=(1, 2))), np.exp(3 * X_val[:, :3].mean(axis=(1, 2)))
    network = CNNRegressor(max_iter=40, learning_rate=0.01, **SMALL)
    model = TransformedTargetRegressor(network, func=np.log, inverse_func=np.exp, check_inverse=False)
    with pytest.warns(skcnn.ValidationSetWarning, match="another coding or unit than y") as caught:
        model.fit(X, target, X_val=X_val, y_val=1000 * target_val)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, target, X_val=X_val, y_val=np.log(target_val))  # in the coding that the network gets
    rare, rare_val = (images[:, :3].mean(axis=(1, 2)) > 0.25 for images in (X, X_val))
    with pytest.warns(skcnn.ValidationSetWarning):
        CNNClassifier(max_iter=60, learning_rate=0.01, **SMALL).fit(X, rare, X_val=X_val, y_val=~rare_val)


def test_validation_sets_that_are_hard_are_not_questioned(data):
    X, y, X_val, y_val = data
    noise = np.random.default_rng(5).permutation(np.r_[y, y_val])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({}, {"early_stopping": True}):
            fast = {"max_iter": 60, "learning_rate": 0.01, **SMALL, **options}
            given = {} if options else {"X_val": X_val, "y_val": noise[120:]}
            memorized = CNNClassifier(**fast).fit(X, noise[:120], **given)  # nothing can be predicted
            assert memorized.history_["score"][-1] > 0.6
            given = {} if options else {"X_val": X_val, "y_val": noise[120:] * 1.0}
            CNNRegressor(**fast).fit(X, noise[:120] * 1.0, **given)
        CNNRegressor(max_iter=2, **SMALL).fit(X, y, X_val=X_val[:2], y_val=[5.0, 9.0])  # hardly learnt
        scale = FunctionTransformer(lambda z: z / 10, lambda z: 10 * z, check_inverse=False)
        TransformedTargetRegressor(CNNRegressor(max_iter=3, early_stopping=True, **SMALL), transformer=scale).fit(X, y)
