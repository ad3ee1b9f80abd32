"""Optimizers: trajectories against the published formulas, and the two functions that everyone tries."""

import numpy as np
import pytest
from cases import OPTIMIZERS

import skcnn.optimizers
from skcnn.functional.elementwise import reshape
from skcnn.optimizers import SGD, Adam
from skcnn.tape import Batch, Tape

optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def minimize(optimizer, w, gradient, steps, learning_rate, dtype=np.float64):
    """The weights after each step."""
    w, g = np.array(w, dtype), np.zeros(len(w), dtype)
    slots = {name: np.zeros(len(w), dtype) for name in optimizer.slots}
    numbers = np.zeros(len(optimizer.scalars), dtype)
    scalars = {name: reshape(numbers[i : i + 1], ()) for i, name in enumerate(optimizer.scalars)}
    tape = Tape(dtype, Batch(1), poison=True)
    with tape.step("optimizer"):
        optimizer.record(tape, w, g, slots, scalars)
    path = []
    for step in range(1, steps + 1):
        g[...] = gradient(w)
        numbers[:] = optimizer.tick(step, learning_rate)
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
    path, m, v = [], np.zeros_like(w), np.zeros_like(w)
    for t in range(1, steps + 1):
        g = gradient(w)
        m = o.beta_1 * m + (1 - o.beta_1) * g
        v = o.beta_2 * v + (1 - o.beta_2) * g**2
        corrected_m, corrected_v = m / (1 - o.beta_1**t), v / (1 - o.beta_2**t)
        w = w - learning_rate * corrected_m / (np.sqrt(corrected_v) + o.epsilon)
        path.append(w)
    return np.array(path)


PUBLISHED = {SGD: sgd_as_published, Adam: adam_as_published}


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
    if isinstance(optimizer, SGD):
        nesterov = optimizer.nesterov and optimizer.momentum > 0
        theirs = torch.optim.SGD([w], lr=1e-4, momentum=optimizer.momentum, nesterov=nesterov)
    else:
        betas = optimizer.beta_1, optimizer.beta_2
        theirs = torch.optim.Adam([w], lr=1e-4, betas=betas, eps=optimizer.epsilon)
    path = []
    for _ in range(20):
        w.grad = torch.tensor(rosenbrock_gradient(w.detach().numpy()))
        theirs.step()
        path.append(w.detach().numpy().copy())
    np.testing.assert_allclose(minimize(optimizer, start, rosenbrock_gradient, 20, 1e-4), path, rtol=1e-12)


@optimizers
def test_parabola_is_minimized(optimizer):
    target = np.array([1.0, -2.0, 3.0])
    path = minimize(optimizer, np.zeros(3), lambda w: w - target, 3_000, 0.01)
    np.testing.assert_allclose(path[-1], target, atol=1e-3)


@optimizers
def test_single_precision_stays_close_to_double(optimizer):
    path = [minimize(optimizer, [0.3, -0.2], lambda w: w - 1, 100, 0.01, dtype) for dtype in (np.float32, np.float64)]
    np.testing.assert_allclose(path[0], path[1], rtol=1e-4, atol=1e-5)


@optimizers
def test_description_is_a_value(optimizer):
    assert eval(repr(optimizer), vars(skcnn.optimizers)) == optimizer
    assert hash(optimizer) == hash(optimizer.replaced())
