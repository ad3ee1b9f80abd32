"""Learning rates by layer and kind of parameter: against PyTorch's parameter groups, and weights that do not learn."""

import pickle

import numpy as np
import pytest
from cases import OPTIMIZERS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_optimizers import of_pytorch

import skcnn
from skcnn import CNNClassifier
from skcnn._engine.groups import CHUNK, parameter_factors
from skcnn._tape.parameters import Layout
from skcnn.layers import BatchNorm, Conv2D, Dense, Flatten, ReLU, Residual, Tanh
from skcnn.optimizers import Lion, Muon

RATE, ALPHA = 0.02, 0.1
NAMES = [
    "conv1.kernel", "conv1.bias", "residual1.conv1.kernel", "residual1.conv1.bias", "separableconv1.depthwise_kernel",
    "batchnorm1.scale", "output.kernel", "output.bias"
]  # fmt: skip


def dense(**params):
    """A network of 7 and 6 units, one step per epoch, from kernels that are not zero."""
    defaults = {"batch_size": 1000, "learning_rate": RATE, "alpha": ALPHA, "random_state": 0, "max_iter": 5}
    layers = [Flatten(), Dense(7), Tanh(), Dense(6), Tanh()]
    return CNNClassifier(layers=layers, output_initializer="he", dtype="float64", **defaults | params)


@pytest.fixture
def torch():
    """PyTorch, whose NAdam computes the product of its momenta in the default precision."""
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(torch.float32)


def assert_same(a, b):
    for name, value in a.parameters_.items():
        assert_array_equal(value, b.parameters_[name], err_msg=name)


# -- which factor a parameter has


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"conv1": 2}, [2, 2, 1, 1, 1, 1, 1, 1]),
        ({"residual1": 2}, [1, 1, 2, 2, 1, 1, 1, 1]),
        ({"residual1.conv1": 2}, [1, 1, 2, 2, 1, 1, 1, 1]),
        ({"bias": 2}, [1, 2, 1, 2, 1, 1, 1, 2]),
        ({"kernel": 2}, [2, 1, 2, 1, 1, 1, 2, 1]),
        ({"conv1.kernel": 2}, [2, 1, 1, 1, 1, 1, 1, 1]),
        ({"*conv1.kernel": 2}, [2, 1, 2, 1, 1, 1, 1, 1]),
        ({"*kernel": 2}, [2, 1, 2, 1, 2, 1, 2, 1]),
        ({"conv[0-9]": 2}, [2, 2, 1, 1, 1, 1, 1, 1]),
        ({"conv1": 2, "bias": 3, "output.bias": 0}, [2, 6, 1, 3, 1, 1, 1, 0]),
        ({"*": 0.5}, [0.5] * 8),
        ({}, [1] * 8),
        (None, [1] * 8),
    ],
    ids=str,
)
def test_a_pattern_matches_layers_kinds_and_names(given, expected):
    assert parameter_factors(NAMES, given) == dict(zip(NAMES, expected, strict=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"conv9": 1.0}, ["'conv9', which matches no parameter", "Did you mean 'conv1'",
                          "conv1, batchnorm1, dense1, output.", "kernel, scale, offset, bias."]),
        ({"Bias": 1.0}, ["'Bias'", "Did you mean 'bias'"]),
        ({"conv": 1.0}, ["'conv'", "Did you mean 'conv1'"]),
        ({3: 1.0}, ["learning_rate_factors has 3"]),
        ({"bias": -1}, ["{'bias': -1}", "the factor of 'bias' must be a number of 0 or more, got -1"]),
        ({"bias": float("inf")}, ["the factor of 'bias'", "inf"]),
        ({"bias": None}, ["the factor of 'bias'", "None"]),
        ({"bias": True}, ["the factor of 'bias'", "True"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_has_no_meaning_is_an_error_and_changes_nothing(digits, given, said):
    model = CNNClassifier((2,), max_iter=1, random_state=0).fit(*digits)
    before = dict(model.parameters_)
    for call in (model.set_params(learning_rate_factors=given).fit, model.partial_fit):
        with pytest.raises(ValueError, match="learning_rate_factors") as raised:
            call(*digits)
        assert all(part in str(raised.value) for part in said), raised.value
    assert_same(model, CNNClassifier((2,), max_iter=1, random_state=0).fit(*digits))
    assert before.keys() == model.parameters_.keys()


# -- the steps


@pytest.mark.parametrize("clip_norm", [None, 0.3])
@pytest.mark.parametrize("optimizer", [o for o in OPTIMIZERS if not isinstance(o, (Lion, Muon))], ids=repr)
def test_steps_are_those_of_pytorch_with_a_group_for_each_parameter(optimizer, clip_norm, digits, torch):
    X, y = digits
    decoupled = getattr(optimizer, "weight_decay", 0)
    alpha = 0.0 if decoupled else ALPHA
    factors = {"bias": 8, "dense1.kernel": 0.25, "dense2": 0.5, "dense2.bias": 0, "output.kernel": np.float32(3.0)}
    model = dense(
        optimizer=optimizer, clip_norm=clip_norm, alpha=alpha, standardize=False, learning_rate_factors=factors
    )
    start = clone(model).set_params(learning_rate=0.0, max_iter=1).fit(X, y).parameters_
    w = {name: torch.tensor(np.array(value), requires_grad=True) for name, value in start.items()}
    rates = {"dense1.kernel": 0.25, "dense1.bias": 8, "dense2.kernel": 0.5, "output.kernel": 3.0, "output.bias": 8}
    groups = [{"params": [w[name]], "lr": RATE * factor} for name, factor in rates.items()]
    for group, name in zip(groups, rates, strict=True):
        group["weight_decay"] = (decoupled or alpha) if name.endswith("kernel") else 0.0
    theirs = of_pytorch(optimizer, groups, RATE)
    for _ in range(5):
        theirs.zero_grad()
        hidden = torch.tensor(X.reshape(len(X), -1))
        for layer in ("dense1", "dense2"):
            hidden = torch.tanh(hidden @ w[f"{layer}.kernel"] + w[f"{layer}.bias"])
        raw = hidden @ w["output.kernel"] + w["output.bias"]
        torch.nn.functional.cross_entropy(raw, torch.tensor(y)).backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([w[name] for name in rates], clip_norm)
        theirs.step()
    fitted = model.fit(X, y).parameters_
    for name in rates:
        assert_allclose(fitted[name], w[name].detach().numpy(), rtol=1e-9, atol=1e-10, err_msg=name)
    assert_array_equal(fitted["dense2.bias"], start["dense2.bias"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_factor_for_all_weights_is_another_learning_rate(optimizer, digits):
    half = dense(optimizer=optimizer, learning_rate=2 * RATE, learning_rate_factors={"*": 0.5}).fit(*digits)
    assert_same(half, dense(optimizer=optimizer).fit(*digits))


@pytest.mark.parametrize("units", [20, CHUNK // 50])
def test_factors_of_one_give_the_same_bits_as_none(units, digits):
    layers = [Conv2D(3), BatchNorm(), ReLU(), Flatten(), Dense(units), ReLU()]
    model = CNNClassifier(layers=layers, max_iter=2, average=0.9, clip_norm=1.0, random_state=0).fit(*digits)
    ones = clone(model).set_params(learning_rate_factors={"bias": 1, "conv1": 1.0}).fit(*digits)
    assert_same(model, ones)
    assert model.loss_curve_ == ones.loss_curve_


# -- weights that do not learn


@pytest.mark.parametrize(
    "params",
    [
        {"alpha": 1.0},
        {"optimizer": "adamw"},
        {"optimizer": Lion(weight_decay=1.0), "average": 0.9},
        {"optimizer": "sgd", "clip_norm": 0.1, "alpha": 1.0},
    ],
    ids=str,
)
def test_weights_with_the_factor_zero_keep_every_bit(params, digits):
    layers = [Conv2D(4), BatchNorm(), ReLU(), Residual([Conv2D(4), BatchNorm(), ReLU()]), Flatten()]
    model = CNNClassifier(layers=layers, batch_size=40, max_iter=1, warm_start=True, random_state=0, **params).fit(
        *digits
    )
    before = {name: value.copy() for name, value in model.parameters_.items()}
    still = {"conv1.kernel", "batchnorm1.offset", "residual1.batchnorm1.offset"}
    model.set_params(learning_rate_factors={"conv1.kernel": 0, "offset": 0.0}, average=False).fit(*digits)
    for name, value in model.parameters_.items():
        if "average" not in params:  # without its average, a training goes on from other weights
            assert np.array_equal(value, before[name]) == (name in still), name
    after = {name: value.copy() for name, value in model.parameters_.items()}
    model.partial_fit(*digits)
    for name, value in model.parameters_.items():
        assert np.array_equal(value, after[name]) == (name in still), name


def test_the_penalty_in_the_loss_leaves_them_out(digits):
    still = dense(learning_rate=0.0, max_iter=1, alpha=0.5)
    total = still.fit(*digits).loss_
    kernels = {name: np.sum(value**2) / 4 for name, value in still.parameters_.items() if name.endswith("kernel")}
    for factors, left in (
        ({"dense1": 0}, "dense2 output"),
        ({"dense2.kernel": 0, "output": 0}, "dense1"),
        ({"*": 0}, ""),
    ):
        loss = clone(still).set_params(learning_rate_factors=factors).fit(*digits).loss_
        without = sum(value for name, value in kernels.items() if name.split(".")[0] not in left.split())
        assert loss == pytest.approx(total - without, rel=1e-12)


def test_the_average_of_weights_that_no_longer_learn_approaches_them(digits):
    model = dense(average=0.5, max_iter=3, warm_start=True).fit(*digits)
    model.set_params(learning_rate_factors={"dense1": 0}, max_iter=60).fit(*digits)
    trained = model._model.network.weights.views(model._progress.trained)
    assert_allclose(model.parameters_["dense1.kernel"], trained["dense1.kernel"], rtol=1e-12)


def test_frozen_layers_may_have_factors_too(digits):
    X, y = digits
    source = CNNClassifier(layers=[Conv2D(3), ReLU(), Conv2D(4), ReLU(), Flatten()], max_iter=2, random_state=0).fit(
        X, y
    )
    factors = {"conv1": 5.0, "conv2.bias": 0, "output": 0.5}
    tuned = CNNClassifier(pretrained=source, freeze="conv1", max_iter=2, learning_rate_factors=factors, random_state=0)
    fitted = tuned.fit(X, y).parameters_
    kept = {name for name, value in source.parameters_.items() if np.array_equal(value, fitted[name])}
    assert kept == {"conv1.kernel", "conv1.bias", "conv2.bias"}


# -- as a parameter


FACTORS = {"bias": 4.0, "conv1.kernel": 0.0, "dense1": 0.5}


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("params", [{}, {"clip_norm": 0.5, "average": 0.9}], ids=str)
def test_any_number_of_threads_and_calls_gives_the_same_bits(params, digits):
    layers = [Conv2D(4), BatchNorm(), ReLU(), Flatten(), Dense(400), ReLU()]
    model = CNNClassifier(layers=layers, max_iter=3, learning_rate_factors=FACTORS, random_state=0, **params)
    assert Layout(model.set_params(n_jobs=1).fit(*digits)._model.network.weights.parameters).size > CHUNK
    assert_same(model, clone(model).set_params(n_jobs=3).fit(*digits))
    pieces = clone(model).partial_fit(*digits, classes=np.unique(digits[1]))
    pieces = pickle.loads(pickle.dumps(pieces)).partial_fit(*digits).partial_fit(*digits)
    assert_same(model, pieces)


def test_clones_files_and_searches_keep_the_factors(digits, tmp_path):
    X, y = digits
    model = CNNClassifier((2,), max_iter=2, learning_rate_factors=FACTORS, random_state=0).fit(X, y)
    assert clone(model).get_params()["learning_rate_factors"] == FACTORS
    skcnn.save(model, tmp_path / "model.skcnn")
    loaded = skcnn.load(tmp_path / "model.skcnn")
    assert loaded.learning_rate_factors == FACTORS
    assert_same(loaded.fit(X, y), model)
    grid = {"learning_rate_factors": [None, {"output": 0.0}, {"kernel": 20}]}
    search = GridSearchCV(clone(model), grid, cv=2).fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) == 3
