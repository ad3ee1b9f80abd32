"""Losses: values against scikit-learn, gradients against central differences."""

import numpy as np
import pytest
from cases import LOSSES
from scipy.special import log_softmax
from sklearn.metrics import log_loss

import skcnn.losses
from skcnn.losses import LogLoss, mean_loss
from skcnn.tape import Batch, Tape
from skcnn.testing import directional

losses = pytest.mark.parametrize("loss", LOSSES, ids=repr)
TARGETS = {
    "classes": np.array([0, 2, 1, 2, 3, 0]),
    "labels": np.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0.0]]),
}
kinds = pytest.mark.parametrize("kind", TARGETS)


def record(loss, raw, target, dtype=np.float64):
    tape = Tape(dtype, Batch(len(raw)), poison=True)
    x = tape.input(raw.shape)
    x[...] = raw
    with tape.step("loss"):
        values, gradient = loss.record(tape, x, target)
    tape.replay(0)
    return values, gradient


@losses
@kinds
def test_gradient_equals_the_central_difference(loss, kind):
    rng = np.random.default_rng(0)
    raw, target = rng.normal(size=(6, 4)), TARGETS[kind]
    _, gradient = record(loss, raw, target)
    for _ in range(3):
        direction = rng.normal(size=raw.shape)
        expected = directional(lambda z: record(loss, z, target)[0].sum(), [raw], [direction])
        assert np.sum(gradient * direction) == pytest.approx(expected, abs=1e-9 * np.linalg.norm(gradient))


@losses
@kinds
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


@losses
@kinds
def test_huge_raw_predictions_stay_finite(loss, kind):
    raw = np.array([[1e4, -1e4, 0.0, 1e3]] * 6)
    values, gradient = record(loss, raw, TARGETS[kind])
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()


@losses
def test_single_precision_predictions_give_probabilities_that_sum_to_one(loss):
    raw = np.random.default_rng(4).normal(size=(100, 10)).astype(np.float32)
    p = loss.probabilities(raw, exclusive=True)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)


@losses
def test_description_is_a_value(loss):
    assert eval(repr(loss), vars(skcnn.losses)) == loss
