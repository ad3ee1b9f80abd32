"""Optimizers: trajectories against the published formulas, and the two functions that everyone tries."""

import pickle

import numpy as np
import pytest
from cases import OPTIMIZERS

import skcnn.optimizers
from skcnn import CNNClassifier
from skcnn._arrays.elementwise import reshape
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import Dense, Flatten, ReLU
from skcnn.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, Lion, Muon, Nadam, RMSprop

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def minimize(optimizer, w, gradient, steps, learning_rate, dtype=np.float64):
    """The weights, all of which decay, after each step; the learning rate may be a function of the step."""
    w, g = np.array(w, dtype), np.zeros(len(w), dtype)
    slots = {name: np.zeros(len(w), dtype) for name in optimizer.slots}
    numbers = np.zeros(len(optimizer.scalars), dtype)
    scalars = {name: reshape(numbers[i : i + 1], ()) for i, name in enumerate(optimizer.scalars)}
    tape = Tape(dtype, Batch(1), poison=True)
    with tape.step("optimizer"):
        optimizer.record_decay(tape, w, scalars)
        optimizer.record(tape, w, g, slots, scalars)
    path = []
    for step in range(1, steps + 1):
        g[...] = gradient(w)
        numbers[:] = optimizer.tick(step, learning_rate(step) if callable(learning_rate) else learning_rate)
        tape.replay(0)
        path.append(w.copy())
    return np.array(path)


def sgd_as_published(o, w, gradient, steps, learning_rate):
    path, velocity = [], np.zeros_like(w)
    for _ in range(steps):
        g = gradient(w)
        velocity = o.momentum * velocity + g
        w = w - learning_rate * (g + o.momentum * velocity if o.nesterov else velocity)
        path.append(w)
    return np.array(path)


def adam_as_published(o, w, gradient, steps, learning_rate):
    path, m, v, largest = [], np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w)
        w = w - learning_rate * getattr(o, "weight_decay", 0) * w
        m = o.beta_1 * m + (1 - o.beta_1) * g
        v = o.beta_2 * v + (1 - o.beta_2) * g**2
        largest = np.maximum(largest, v)
        corrected_m, corrected_v = m / (1 - o.beta_1**t), (largest if o.amsgrad else v) / (1 - o.beta_2**t)
        w = w - learning_rate * corrected_m / (np.sqrt(corrected_v) + o.epsilon)
        path.append(w)
    return np.array(path)


def nadam_as_published(o, w, gradient, steps, learning_rate):
    path, m, v = [], np.zeros_like(w), np.zeros_like(w)
    momentum = o.beta_1 * (1 - 0.5 * 0.96 ** (np.arange(1, steps + 2) * o.momentum_decay))
    for t in range(1, steps + 1):
        g = gradient(w)
        m = o.beta_1 * m + (1 - o.beta_1) * g
        v = o.beta_2 * v + (1 - o.beta_2) * g**2
        corrected_g = (1 - momentum[t - 1]) * g / (1 - np.prod(momentum[:t]))
        corrected_m = momentum[t] * m / (1 - np.prod(momentum[: t + 1]))
        w = w - learning_rate * (corrected_g + corrected_m) / (np.sqrt(v / (1 - o.beta_2**t)) + o.epsilon)
        path.append(w)
    return np.array(path)


def rmsprop_as_published(o, w, gradient, steps, learning_rate):
    path, m, v, u = [], np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for _ in range(steps):
        g = gradient(w)
        v = o.decay * v + (1 - o.decay) * g**2
        m = o.decay * m + (1 - o.decay) * g
        variance = v - m**2 if o.centered else v
        u = o.momentum * u + g / (np.sqrt(variance) + o.epsilon)
        w = w - learning_rate * u
        path.append(w)
    return np.array(path)


def adagrad_as_published(o, w, gradient, steps, learning_rate):
    path, v = [], np.zeros_like(w)
    for _ in range(steps):
        g = gradient(w)
        v = v + g**2
        w = w - learning_rate * g / (np.sqrt(v) + o.epsilon)
        path.append(w)
    return np.array(path)


def adadelta_as_published(o, w, gradient, steps, learning_rate):
    path, v, u = [], np.zeros_like(w), np.zeros_like(w)
    for _ in range(steps):
        g = gradient(w)
        v = o.rho * v + (1 - o.rho) * g**2
        d = np.sqrt(u + o.epsilon) / np.sqrt(v + o.epsilon) * g
        u = o.rho * u + (1 - o.rho) * d**2
        w = w - learning_rate * d
        path.append(w)
    return np.array(path)


def lion_as_published(o, w, gradient, steps, learning_rate):
    path, m = [], np.zeros_like(w)
    for _ in range(steps):
        g = gradient(w)
        w = w - learning_rate * (np.sign(o.beta_1 * m + (1 - o.beta_1) * g) + o.weight_decay * w)
        m = o.beta_2 * m + (1 - o.beta_2) * g
        path.append(w)
    return np.array(path)


def muon_as_published(o, w, gradient, steps, learning_rate):
    """Of weights that are not kernels, which take the steps of another optimizer: test_muon.py has those of kernels."""
    inner = Adam() if o.optimizer == "adam" else o.optimizer
    return PUBLISHED[type(inner)](inner, w, gradient, steps, o.factor * learning_rate)


PUBLISHED = {
    SGD: sgd_as_published,
    Adam: adam_as_published,
    AdamW: adam_as_published,
    Nadam: nadam_as_published,
    RMSprop: rmsprop_as_published,
    AdaGrad: adagrad_as_published,
    AdaDelta: adadelta_as_published,
    Lion: lion_as_published,
    Muon: muon_as_published,
}


def of_pytorch(optimizer, params, learning_rate):
    """PyTorch's optimizer of the same settings; None where it has none."""
    import torch

    o, optim = optimizer, torch.optim
    if isinstance(o, SGD):
        return optim.SGD(params, lr=learning_rate, momentum=o.momentum, nesterov=o.nesterov and o.momentum > 0)
    if isinstance(o, AdamW):
        more = {"amsgrad": o.amsgrad, "weight_decay": o.weight_decay}
        return optim.AdamW(params, lr=learning_rate, betas=(o.beta_1, o.beta_2), eps=o.epsilon, **more)
    if isinstance(o, Adam):
        return optim.Adam(params, lr=learning_rate, betas=(o.beta_1, o.beta_2), eps=o.epsilon, amsgrad=o.amsgrad)
    if isinstance(o, Nadam):
        more = {"momentum_decay": o.momentum_decay}
        return optim.NAdam(params, lr=learning_rate, betas=(o.beta_1, o.beta_2), eps=o.epsilon, **more)
    if isinstance(o, RMSprop):
        more = {"centered": o.centered, "momentum": o.momentum}
        return optim.RMSprop(params, lr=learning_rate, alpha=o.decay, eps=o.epsilon, **more)
    if isinstance(o, AdaGrad):
        return optim.Adagrad(params, lr=learning_rate, eps=o.epsilon)
    if isinstance(o, AdaDelta):
        return optim.Adadelta(params, lr=learning_rate, rho=o.rho, eps=o.epsilon)
    return None


def rosenbrock_gradient(w):
    x, y = w
    return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])


@optimizers
def test_trajectory_equals_the_published_formula(optimizer):
    start = np.array([-0.5, 0.7])
    mine = minimize(optimizer, start, rosenbrock_gradient, 50, 1e-4)
    published = PUBLISHED[type(optimizer)](optimizer, start, rosenbrock_gradient, 50, 1e-4)
    np.testing.assert_allclose(mine, published, rtol=1e-12)


@optimizers
def test_trajectory_equals_that_of_pytorch(optimizer):
    torch = pytest.importorskip("torch")
    start = np.array([-0.5, 0.7])
    w = torch.tensor(start, requires_grad=True)
    theirs = of_pytorch(optimizer, [w], 1e-3)
    if theirs is None:
        pytest.skip("not in PyTorch")
    path = []
    for _ in range(20):
        w.grad = torch.tensor(rosenbrock_gradient(w.detach().numpy()))
        theirs.step()
        path.append(w.detach().numpy().copy())
    np.testing.assert_allclose(minimize(optimizer, start, rosenbrock_gradient, 20, 1e-3), path, rtol=1e-9)


def free_of_decay(optimizer):
    return optimizer.replaced(weight_decay=0.0) if hasattr(optimizer, "weight_decay") else optimizer


@optimizers
def test_parabola_is_minimized(optimizer):
    target = np.array([1.0, -2.0, 3.0])
    height = {AdaGrad: 0.5, AdaDelta: 1.0, Muon: 1.0}.get(
        type(optimizer), 0.02
    )  # those three bring their own small steps
    falling = lambda step: height * (1 - step / 3_001)  # noqa: E731
    path = minimize(free_of_decay(optimizer), np.zeros(3), lambda w: w - target, 3_000, falling)
    np.testing.assert_allclose(path[-1], target, atol=1e-3)


@optimizers
def test_single_precision_stays_close_to_double(optimizer):
    path = [minimize(optimizer, [0.3, -0.2], lambda w: w - 3, 100, 0.01, dtype) for dtype in (np.float32, np.float64)]
    np.testing.assert_allclose(path[0], path[1], rtol=1e-4, atol=1e-5)


@optimizers
def test_step_does_not_depend_on_how_the_weights_are_cut(optimizer):
    start = np.array([0.5, -2.0, 3.0])
    whole = minimize(optimizer, start, np.sign, 5, 0.1)
    for i in range(3):
        np.testing.assert_array_equal(minimize(optimizer, start[i : i + 1], np.sign, 5, 0.1), whole[:, i : i + 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centered_rmsprop_survives_a_gradient_that_does_not_change(dtype):
    """Then mean square and squared mean are the same but for rounding, which must not make the root a NaN."""
    path = minimize(RMSprop(decay=0.5, centered=True), np.zeros(50), lambda w: np.linspace(-3, 3, 50), 60, 1e-3, dtype)
    assert np.isfinite(path).all()


def test_decay_without_a_gradient_is_a_geometric_series():
    for optimizer in (AdamW(weight_decay=0.5), Lion(weight_decay=0.5)):
        path = minimize(optimizer, [4.0], np.zeros_like, 10, 0.1)
        np.testing.assert_allclose(path[:, 0], 4 * 0.95 ** np.arange(1, 11), rtol=1e-12)


@pytest.mark.parametrize("kind", [AdamW, Lion])
def test_decay_shrinks_kernels_and_leaves_biases_alone(kind):
    """On images of zeros kernels have no gradient, and the output's bias one that does not know of them."""
    X, y = np.zeros((4, 2, 2)), np.array([0, 1, 1, 1])
    layers = [Flatten(), Dense(3), ReLU()]
    free, bound = (
        CNNClassifier(layers=layers, optimizer=kind(weight_decay=decay), alpha=0, learning_rate=0.1, random_state=0)
        .set_params(max_iter=3)
        .fit(X, y)
        .parameters_
        for decay in (0.0, 2.0)
    )
    assert free["output.bias"][0] > 0.2
    np.testing.assert_array_equal(bound["output.bias"], free["output.bias"])
    np.testing.assert_allclose(bound["dense1.kernel"], 0.8**3 * free["dense1.kernel"], rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 30, 100_000])
def test_nadam_stays_cheap_and_exact_after_many_steps(steps):
    o = Nadam()
    momentum = o.beta_1 * (1 - 0.5 * 0.96 ** (np.arange(1, steps + 2) * o.momentum_decay))
    expected = (1 - momentum[-2]) / (1 - np.prod(momentum[:-1]))
    root = np.sqrt((1 - o.beta_2**steps) / (1 - o.beta_2))
    assert o.tick(steps, 1.0)[0] == pytest.approx(root * expected, rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (Adam(amsgrad=1), "amsgrad must be True or False, got 1"),
        (AdamW(weight_decay=-1), "weight_decay must be a number of 0 or more, got -1"),
        (Lion(beta_2=1.0), "beta_2 must be a number of 0 or more and less than 1, got 1.0"),
        (Lion(weight_decay=None), "weight_decay must be a number of 0 or more"),
        (Nadam(momentum_decay=-0.1), "momentum_decay must be a number of 0 or more"),
        (Nadam(beta_1=-0.1), "beta_1 must be"),
        (RMSprop(decay=1.0), "decay must be a number of 0 or more and less than 1"),
        (RMSprop(momentum="0.9"), "momentum must be"),
        (RMSprop(centered=None), "centered must be True or False"),
        (AdaGrad(epsilon=0), "epsilon must be a number above 0, got 0"),
        (AdaDelta(rho=2), "rho must be"),
    ],
)
def test_a_field_without_a_meaning_is_named(optimizer, said):
    with pytest.raises(ValueError, match=f"{type(optimizer).__name__}.*{said}"):
        CNNClassifier(optimizer=optimizer).fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])


@optimizers
def test_digits_are_learnt(optimizer, digits):
    rates = {SGD: 0.05, AdaGrad: 0.02, AdaDelta: 1.0, Lion: 1e-3, Muon: 0.05}
    model = CNNClassifier(
        layers=[Flatten(), Dense(32), ReLU()],
        optimizer=free_of_decay(optimizer),
        learning_rate=rates.get(type(optimizer), 5e-3),
        batch_size=20,
        max_iter=20,
        random_state=0,
    )
    assert model.fit(*digits).score(*digits) > 0.9


@pytest.mark.parametrize("other", [AdaDelta(), RMSprop(momentum=0.5), RMSprop(centered=True), Nadam()], ids=repr)
def test_an_optimizer_does_not_take_over_what_another_one_remembers(digits, other):
    """Though it keeps as many vectors: it begins as in a pickle of a model that was only fitted."""
    model = CNNClassifier((2,), hidden_layer_sizes=(), max_iter=2, random_state=0).fit(*digits)
    reloaded = pickle.loads(pickle.dumps(model))
    for each in (model, reloaded):
        each.set_params(optimizer=other, learning_rate=0.01).partial_fit(*digits)
    for name, value in model.parameters_.items():
        np.testing.assert_array_equal(value, reloaded.parameters_[name])


@optimizers
def test_description_is_a_value(optimizer):
    assert eval(repr(optimizer), vars(skcnn.optimizers)) == optimizer
    assert hash(optimizer) == hash(optimizer.replaced())
