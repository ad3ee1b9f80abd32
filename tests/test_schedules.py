"""Schedules: factors against their formulas, and inside a fit."""

import math

import numpy as np
import pytest
from cases import SCHEDULES

import skcnn.schedules
from skcnn import CNNClassifier
from skcnn.layers import Flatten
from skcnn.optimizers import SGD
from skcnn.schedules import Constant, Cosine, Step

schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def published(schedule, epoch, max_iter):
    if isinstance(schedule, Step):
        factor = 1.0
        for passed in range(1, math.floor(epoch) + 1):
            factor *= schedule.gamma if passed % schedule.step_size == 0 else 1
        return factor
    if isinstance(schedule, Cosine):
        angle = np.interp(epoch, [0, max_iter], [0, np.pi])
        return np.interp(np.cos(angle), [-1, 1], [schedule.minimum, 1])
    assert isinstance(schedule, Constant)
    return 1


@schedules
def test_factor_equals_the_formula(schedule):
    for epoch in (0, 0.5, 1, 1.99, 2, 9, 10, 17.25, 29.9, 30, 45):
        assert schedule.factor(epoch, 30) == pytest.approx(published(schedule, epoch, 30), abs=1e-12)


@schedules
def test_factor_lies_between_zero_and_one_and_starts_at_one(schedule):
    factors = [schedule.factor(epoch, 30) for epoch in np.linspace(0, 60, 200)]
    assert factors[0] == 1
    assert min(factors) >= 0
    assert max(factors) <= 1


@schedules
def test_history_holds_the_rate_at_which_each_epoch_began(schedule):
    X, y = np.random.default_rng(0).normal(size=(12, 6)), np.arange(12) % 2
    model = CNNClassifier((2,), hidden_layer_sizes=(), schedule=schedule, learning_rate=0.01, max_iter=4)
    rates = model.fit(X, y).history_["learning_rate"]
    assert rates == pytest.approx([0.01 * published(schedule, epoch, 4) for epoch in range(4)])


def test_cosine_falls_from_step_to_step_within_an_epoch():
    """On images of zeros only the output's bias b moves: up in the first batch, and half as far down in the second."""
    X, y = np.zeros((4, 2)), np.array([1, 1, 0, 0])
    model = CNNClassifier(
        layers=[Flatten()],
        optimizer=SGD(momentum=0.0, nesterov=False),
        schedule="cosine",
        learning_rate=0.1,
        batch_size=2,
        max_iter=1,
        shuffle=False,
    )
    # The slope of the log loss by b is sigmoid(b) - y: -1/2 at first, and then sigmoid(0.05), at half the rate.
    expected = 0.05 - 0.1 * 0.5 / (1 + math.exp(-0.05))
    assert model.fit(X, y).parameters_["output.bias"][0] == pytest.approx(expected, rel=1e-9)


@schedules
def test_description_is_a_value(schedule):
    assert eval(repr(schedule), vars(skcnn.schedules)) == schedule
