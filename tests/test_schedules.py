"""Schedules: factors against their formulas, and inside a fit."""

import math
import pickle

import numpy as np
import pytest
from cases import SCHEDULES

import skcnn.schedules
from skcnn import CNNClassifier
from skcnn.description import resolve
from skcnn.layers import Flatten
from skcnn.optimizers import SGD
from skcnn.schedules import (
    Adaptive,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseScaling,
    OneCycle,
    Polynomial,
    Schedule,
    Step,
    Trend,
    Warmup,
)

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
    if isinstance(schedule, Exponential):
        return math.exp(epoch * math.log(schedule.gamma))
    if isinstance(schedule, Polynomial):
        line = np.interp(epoch, [0, max_iter], [1, 0])
        return np.interp(line**schedule.power, [0, 1], [schedule.minimum, 1])
    if isinstance(schedule, InverseScaling):
        return math.exp(-schedule.power * math.log1p(epoch))
    if isinstance(schedule, CosineRestarts):
        lengths = schedule.period * schedule.growth ** np.arange(20)
        restarts = np.concatenate([[0], np.cumsum(lengths)])
        period = np.searchsorted(restarts, epoch, side="right") - 1
        cosine = np.cos(np.pi * (epoch - restarts[period]) / lengths[period])
        return np.interp(cosine, [-1, 1], [schedule.minimum, 1])
    if isinstance(schedule, OneCycle):
        height = schedule.fraction * max_iter
        if epoch < height:
            return np.interp(-np.cos(np.pi * epoch / height), [-1, 1], [schedule.start, 1])
        angle = np.interp(epoch, [height, max_iter], [0, np.pi])
        return np.interp(np.cos(angle), [-1, 1], [schedule.minimum, 1])
    if isinstance(schedule, Warmup):
        inner, end = resolve(Schedule, schedule.schedule, "schedule"), schedule.fraction * max_iter
        if epoch < end:
            return np.interp(epoch, [0, end], [schedule.start, 1]) * published(inner, 0, max_iter - end)
        return published(inner, epoch - end, max_iter - end)
    assert isinstance(schedule, (Constant, Adaptive))
    return 1


@schedules
def test_factor_equals_the_formula(schedule):
    for epoch in (0, 0.5, 1, 1.99, 2, 9, 10, 17.25, 29.9, 30, 45):
        assert schedule.factor(epoch, 30) == pytest.approx(published(schedule, epoch, 30), abs=1e-12)


@schedules
def test_factor_lies_between_zero_and_one_and_starts_at_one_but_where_it_rises(schedule):
    factors = [schedule.factor(epoch, 30) for epoch in np.linspace(0, 60, 200).tolist()]
    assert all(type(factor) is float for factor in factors)
    if not isinstance(schedule, (OneCycle, Warmup)):
        assert factors[0] == 1
    assert min(factors) >= 0
    assert max(factors) <= 1


@schedules
def test_a_schedule_that_ends_is_lowest_at_the_end_and_stays_there(schedule):
    before, *after = (schedule.factor(epoch, 30) for epoch in (29, 30, 30.5, 31, 40, 60))
    assert schedule.ends() == (before > after[0] and len(set(after)) == 1)


def of_pytorch(schedule, steps, make):
    """The factors of a scheduler of PyTorch at each of its steps."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, factors = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Step(step_size=4, gamma=0.3), lambda s, o: s.StepLR(o, 4, 0.3)),
        (Exponential(gamma=0.8), lambda s, o: s.ExponentialLR(o, 0.8)),
        (Polynomial(power=1.7), lambda s, o: s.PolynomialLR(o, 30, 1.7)),
        (Cosine(minimum=0.1), lambda s, o: s.CosineAnnealingLR(o, 30, 0.1)),
        (CosineRestarts(4, growth=2.0, minimum=0.1), lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.1)),
    ],
    ids=lambda value: "" if callable(value) else repr(value),
)
def test_factors_equal_those_of_pytorch(schedule, make):
    expected = of_pytorch(schedule, 30, make)
    np.testing.assert_allclose([schedule.factor(epoch, 30) for epoch in range(30)], expected, rtol=1e-9)


def test_one_cycle_equals_that_of_pytorch():
    """Which counts steps from 0 to 19, and has its height at step 0.3 * 20 - 1."""
    expected = of_pytorch(None, 20, lambda s, o: s.OneCycleLR(o, 1.0, total_steps=21, pct_start=0.3, div_factor=25.0))
    schedule = OneCycle(fraction=(0.3 * 21 - 1) / 20)
    np.testing.assert_allclose([schedule.factor(step, 20) for step in range(20)], expected, rtol=1e-9)


MEASURES = [3, 2, 2.05, 1.99, 1.5, 1.6, 1.5, 1.49, 1.7, 1.2, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.0, 1.1, 1.1, 1.1, 1.1]


@pytest.mark.parametrize(("patience", "minimum"), [(0, 0.0), (1, 0.05), (3, 0.0)])
def test_adaptive_equals_that_of_pytorch(patience, minimum):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=patience, threshold=0.02, threshold_mode="abs", min_lr=minimum, eps=0
    )
    schedule, trend = Adaptive(gamma=0.3, patience=patience, tol=0.02, minimum=minimum), Trend()
    for measure in MEASURES:
        plateau.step(measure)
        trend = schedule.follow(trend, "loss", measure)
        assert trend.factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-7)


def test_adaptive_does_not_compare_a_score_with_a_loss():
    schedule = Adaptive(patience=1)
    trend = schedule.follow(Trend(), "score", -0.9)
    trend = schedule.follow(trend, "loss", 0.5)
    assert trend == Trend(1.0, 0.5, 0, "loss")
    assert schedule.follow(trend, "loss", math.nan).unchanged == 1


def test_warmup_hands_the_trend_to_what_it_warms_up():
    warm, plain = Warmup("adaptive"), Adaptive()
    trends = [Trend(), Trend()]
    for measure in MEASURES:
        trends = [s.follow(t, "loss", measure) for s, t in zip((warm, plain), trends, strict=True)]
    assert trends[0] == trends[1]
    assert trends[0].factor < 1


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if not isinstance(s, Adaptive)], ids=repr)
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


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Exponential(gamma=1.1), "gamma must be a number from 0 to 1, got 1.1"),
        (Polynomial(power=0), "power must be a number above 0, got 0"),
        (Polynomial(minimum=-1), "minimum must be a number from 0 to 1"),
        (InverseScaling(power=-1), "power must be a number of 0 or more, got -1"),
        (CosineRestarts(period=0), "period must be an int of 1 or more, got 0"),
        (CosineRestarts(growth=0.5), "growth must be a number of 1 or more, got 0.5"),
        (OneCycle(fraction=1.0), "fraction must be a number above 0 and less than 1, got 1.0"),
        (OneCycle(start=2), "start must be"),
        (OneCycle(minimum=2), "minimum must be"),
        (Warmup(fraction=1.0), "fraction must be a number of 0 or more and less than 1, got 1.0"),
        (Warmup(start=None), "start must be"),
        (Warmup("cosin"), "schedule='cosin' is not a known name. Did you mean 'cosine'"),
        (Warmup(Cosine(minimum=2)), r"Cosine\(2\): minimum must be"),
        (Adaptive(gamma=1.0), "gamma must be a number of 0 or more and less than 1, got 1.0"),
        (Adaptive(patience=-1), "patience must be an int of 0 or more, got -1"),
        (Adaptive(tol=-1), "tol must be"),
        (Adaptive(minimum=2), "minimum must be"),
    ],
    ids=repr,
)
def test_a_field_without_a_meaning_is_named(schedule, said):
    with pytest.raises(ValueError, match=said):
        CNNClassifier(schedule=schedule).fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])


def test_what_is_warmed_up_can_be_searched():
    model = CNNClassifier(schedule=Warmup(Step()))
    assert model.set_params(schedule__schedule__gamma=0.5, schedule__fraction=0.2).schedule == Warmup(
        Step(gamma=0.5), fraction=0.2
    )


# -- a schedule that follows the training


def followed(measures, schedule):
    """The factor at which each epoch began, counted as PyTorch does."""
    factors, factor, best, bad = [], 1.0, math.inf, 0
    for measure in measures:
        factors.append(factor)
        bad = 0 if measure < best - schedule.tol else bad + 1
        best = measure if bad == 0 else best
        if bad > schedule.patience:
            factor, bad = max(factor * schedule.gamma, schedule.minimum), 0
    return factors


def small(**params):
    shape = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "batch_norm": False}
    defaults = {**shape, "learning_rate": 0.01, "random_state": 0}
    return CNNClassifier(**defaults | params)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(("measure", "tol"), [("loss", 0.3), ("score", 0.05)])
def test_adaptive_follows_the_score_or_the_loss(digits, warm, measure, tol):
    X, y = digits
    adaptive = Adaptive(patience=1, tol=tol)
    given = {"X_val": X[80:], "y_val": y[80:]} if measure == "score" else {}
    model = small(schedule=Warmup(adaptive, fraction=0) if warm else adaptive, max_iter=12)
    model.fit(X[:80], y[:80], **given)
    measures = np.array(model.loss_curve_) if measure == "loss" else -np.array(model.validation_scores_)
    factors = followed(measures, adaptive)
    assert factors != followed(-measures, adaptive), "improvements are meant to be met"
    assert min(factors) < 1, "and plateaus"
    np.testing.assert_allclose(model.history_["learning_rate"], 0.01 * np.array(factors), rtol=1e-12)


@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
def test_adaptive_goes_on_and_another_schedule_begins_anew(digits, how):
    model = small(schedule=Adaptive(patience=0, tol=1.0), warm_start=how == "warm start", max_iter=1)

    def learn(model):
        model.fit(*digits) if how == "warm start" else model.partial_fit(*digits, classes=range(10))
        return pickle.loads(pickle.dumps(model))

    for _ in range(3):
        model = learn(model)
    np.testing.assert_allclose(model.history_["learning_rate"], [0.01, 0.01, 0.002], rtol=1e-12)
    model.set_params(schedule__gamma=0.5)
    for _ in range(3):
        model = learn(model)
    np.testing.assert_allclose(model.history_["learning_rate"][3:], [0.01, 0.01, 0.005], rtol=1e-12)


# -- the end of a schedule


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.ends()], ids=repr)
def test_partial_fit_beyond_the_end_of_a_schedule_warns_once(digits, schedule):
    model = small(schedule=schedule, max_iter=2)
    model.partial_fit(*digits, classes=range(10)).partial_fit(*digits)
    with pytest.warns(UserWarning, match=r"passed max_iter=2 .*learning rate stays at .*Set max_iter") as caught:
        model.partial_fit(*digits)
    assert [warning.filename for warning in caught] == [__file__]
    pickle.loads(pickle.dumps(model)).partial_fit(*digits)
    model.partial_fit(*digits)


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if not s.ends()], ids=repr)
def test_a_schedule_without_an_end_does_not_warn(digits, schedule):
    model = small(schedule=schedule, max_iter=1)
    for _ in range(3):
        model.partial_fit(*digits, classes=range(10))


def test_warm_starts_do_not_warn_of_the_end_of_a_schedule(digits):
    model = small(schedule="cosine", max_iter=1, warm_start=True)
    for _ in range(3):
        model.fit(*digits)
