"""Muon: Newton-Schulz steps against the singular values, and whole trainings against the published code in PyTorch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skcnn import CNNClassifier
from skcnn._engine.groups import Group, grouped, parameter_factors
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D, Flatten, ReLU, Tanh
from skcnn.optimizers import SGD, Adam, AdamW, Muon, _record_orthogonalization

COEFFICIENTS = 3.4445, -4.7750, 2.0315
RATE, ALPHA = 0.05, 0.01
LAYERS = [Conv2D(12), Tanh(), DepthwiseConv2D(), Tanh(), Conv2D(5, groups=1), Tanh(), Flatten(), Dense(7), Tanh()]


def orthogonalized(x, steps):
    tape, x = Tape(x.dtype, Batch(1), poison=True), x.copy()
    with tape.step("optimizer"):
        found = _record_orthogonalization(tape, x, steps)
    tape.replay(0)
    return found


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (9, 4), (4, 9), (300, 20), (20, 300), (7, 1), (1, 7)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_singular_vectors_stay_and_singular_values_take_the_polynomial(shape, steps):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s /= np.linalg.norm(s)
    for _ in range(steps):
        s = sum(c * s**power for c, power in zip(COEFFICIENTS, (1, 3, 5), strict=True))
    assert_allclose(orthogonalized(x, steps), (u * s) @ vt, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (16, 16)])
def test_five_steps_bring_singular_values_close_to_one(shape, dtype):
    rng = np.random.default_rng(1)
    u, _, vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    for smallest in (0.01, 0.1, 1.0):
        x = (100 * (u * np.geomspace(smallest, 1, min(shape))) @ vt).astype(dtype)
        values = np.linalg.svd(orthogonalized(x, 5), compute_uv=False)
        assert values.min() > 0.68
        assert values.max() < 1.21


def test_a_gradient_of_zero_is_no_step_and_one_that_is_not_finite_is_not_hidden():
    assert_array_equal(orthogonalized(np.zeros((4, 3)), 5), np.zeros((4, 3)))
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(orthogonalized(np.full((4, 3), np.inf), 5)).any()


def published_step(torch, o, w, g, buffer, rate):
    """As in the code of the post and of airbench94_muon, for a weight (outputs, ...)."""
    buffer.mul_(o.momentum).add_(g)
    update = g.add(buffer, alpha=o.momentum) if o.nesterov else buffer
    a, b, c = COEFFICIENTS
    x = update.reshape(len(update), -1)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm()
    for _ in range(o.steps):
        A = x @ x.T
        x = a * x + (b * A + c * A @ A) @ x
    x = x.T if tall else x
    if o.normalize:
        w.mul_(len(w) ** 0.5 / w.norm())
    w.mul_(1 - rate * o.weight_decay)
    w.add_(x.reshape(w.shape), alpha=-rate * max(1, x.size(0) / x.size(1)) ** 0.5)


def predicted(torch, w, X):
    """Raw predictions of `LAYERS` for weights in PyTorch's layout."""
    conv2d, x = torch.nn.functional.conv2d, torch.tensor(X)[:, None]
    x = torch.tanh(conv2d(x, w["conv1.kernel"], w["conv1.bias"], padding=1))
    x = torch.tanh(conv2d(x, w["depthwiseconv1.kernel"], w["depthwiseconv1.bias"], padding=1, groups=12))
    x = torch.tanh(conv2d(x, w["conv2.kernel"], w["conv2.bias"], padding=1)).permute(0, 2, 3, 1).flatten(1)
    x = torch.tanh(x @ w["dense1.kernel"].T + w["dense1.bias"])
    return x @ w["output.kernel"].T + w["output.bias"]


VARIANTS = {
    "defaults": {"optimizer": "muon"},
    "as in airbench": {"optimizer": Muon(0.6, steps=3, normalize=True, optimizer=SGD(0.85), factor=0.2)},
    "decoupled decay": {
        "optimizer": Muon(0.8, nesterov=False, weight_decay=0.5, optimizer=AdamW(weight_decay=0.3)),
        "alpha": 0.0,
    },
    "clipped": {"optimizer": Muon(factor=0.1), "clip_norm": 0.5},
    "factors": {"optimizer": "muon", "learning_rate_factors": {"bias": 8, "conv2": 0.5, "output.kernel": 3}},
    "not trained": {"optimizer": "muon", "learning_rate_factors": {"conv2.kernel": 0}, "clip_norm": 0.1},
}


@pytest.mark.parametrize("shards", ["one shard", "many shards"])
@pytest.mark.parametrize("name", VARIANTS)
def test_steps_are_those_of_the_published_code(name, shards, digits, request):
    torch = pytest.importorskip("torch")
    if shards == "many shards":
        request.getfixturevalue("small_shards")
    X, y = digits
    params = {"alpha": ALPHA} | VARIANTS[name]
    model = CNNClassifier(
        layers=LAYERS, output_initializer="he", learning_rate=RATE, batch_size=1000, max_iter=4,
        dtype="float64", standardize=False, random_state=0, **params
    )  # fmt: skip
    start = clone(model).set_params(learning_rate_factors={"*": 0}, max_iter=1).fit(X, y).parameters_
    w = {key: torch.tensor(np.moveaxis(value, -1, 0).copy()) for key, value in start.items()}
    w = {key: (value.permute(0, 3, 1, 2).contiguous() if value.ndim == 4 else value) for key, value in w.items()}
    factors = parameter_factors(start, params.get("learning_rate_factors"))
    trained = {key: value.requires_grad_() for key, value in w.items() if factors[key]}
    kernels = {key: torch.zeros_like(p) for key, p in trained.items() if "kernel" in key and "output" not in key}
    o = Muon() if params["optimizer"] == "muon" else params["optimizer"]
    decay = getattr(o.optimizer, "weight_decay", params["alpha"])
    groups = [
        {"params": [p], "lr": RATE * o.factor * factors[key], "weight_decay": decay * key.endswith("kernel")}
        for key, p in trained.items()
        if key not in kernels
    ]
    if isinstance(o.optimizer, SGD):
        others = torch.optim.SGD(groups, momentum=o.optimizer.momentum, nesterov=True)
    else:
        others = (torch.optim.AdamW if isinstance(o.optimizer, AdamW) else torch.optim.Adam)(groups)
    for _ in range(4):
        for p in trained.values():
            p.grad = None
        torch.nn.functional.cross_entropy(predicted(torch, w, X), torch.tensor(y)).backward()
        if "clip_norm" in params:
            torch.nn.utils.clip_grad_norm_(trained.values(), params["clip_norm"])
        with torch.no_grad():
            for key, buffer in kernels.items():
                g = w[key].grad + params["alpha"] * w[key]
                published_step(torch, o, w[key], g, buffer, RATE * factors[key])
        others.step()
    fitted = model.fit(X, y).parameters_
    for key, value in fitted.items():
        theirs = w[key].detach()
        theirs = (theirs.permute(2, 3, 1, 0) if theirs.ndim == 4 else theirs.T if theirs.ndim == 2 else theirs).numpy()
        assert_allclose(value, theirs, rtol=1e-9, atol=1e-9, err_msg=key)
        assert np.array_equal(value, start[key]) == (not factors[key]), key


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("params", [{}, {"clip_norm": 0.5, "average": 0.9}], ids=str)
def test_any_number_of_threads_and_calls_gives_the_same_bits(params, digits):
    layers = [Conv2D(8), BatchNorm(), ReLU(), Conv2D(16), BatchNorm(), ReLU(), Flatten(), Dense(70), ReLU()]
    model = CNNClassifier(layers=layers, optimizer="muon", learning_rate=0.02, max_iter=3, random_state=0, **params)
    model.set_params(n_jobs=1).fit(*digits)
    pieces = clone(model).partial_fit(*digits, classes=np.unique(digits[1]))
    for other in (clone(model).set_params(n_jobs=3).fit(*digits), pieces.partial_fit(*digits).partial_fit(*digits)):
        for name, value in model.parameters_.items():
            assert_array_equal(value, other.parameters_[name], err_msg=name)


def test_whole_kernels_are_those_of_hidden_layers():
    model = CNNClassifier(layers=LAYERS).set_params(max_iter=1).fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])
    layout = model._model.network.weights
    groups = grouped(layout, [slice(0, layout.size)], parameter_factors(layout.parameters, None), Muon())
    names = [name for group in groups for name, part in layout.slices.items() if group.part == part and group.shape]
    assert names == ["conv1.kernel", "depthwiseconv1.kernel", "conv2.kernel", "dense1.kernel"]
    assert [group.part.start for group in groups[1:]] == [group.part.stop for group in groups[:-1]]
    assert groups[-1] == Group(slice(layout.slices["output.kernel"].start, layout.size))


def test_nested_names_reach_the_optimizer_of_the_other_weights(digits):
    model = CNNClassifier((2,), max_iter=1, optimizer="muon", random_state=0).set_params(
        optimizer__optimizer__beta_1=0.5
    )
    assert model.optimizer == Muon(optimizer=Adam(beta_1=0.5))
    model.set_params(optimizer__optimizer=SGD(0.85), optimizer__steps=3).fit(*digits)
    assert repr(model.optimizer) == "Muon(steps=3, optimizer=SGD(0.85))"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"momentum": 1.0}, "momentum must be"),
        ({"steps": 0}, "steps must be an int of 1 or more, got 0"),
        ({"steps": 2.0}, "steps must be"),
        ({"weight_decay": -1}, "weight_decay must be a number of 0 or more"),
        ({"normalize": 1}, "normalize must be True or False"),
        ({"nesterov": None}, "nesterov must be"),
        ({"factor": -0.1}, "factor must be a number of 0 or more"),
        ({"optimizer": "muon"}, "optimizer must be another optimizer than Muon"),
        ({"optimizer": "adamm"}, "Did you mean 'adam'"),
        ({"optimizer": Adam(beta_1=2)}, "beta_1 must be"),
    ],
    ids=str,
)
def test_a_field_without_a_meaning_is_named(fields, said):
    with pytest.raises(ValueError, match=said):
        CNNClassifier(optimizer=Muon(**fields)).fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])
