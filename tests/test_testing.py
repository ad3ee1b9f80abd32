"""The gradient checker passes what is right, and tells where what is wrong is wrong."""

import re

import numpy as np
import pytest
from cases import LAYERS, LOSSES

from skcnn._tape.parameters import Parameter
from skcnn.architecture import build_layers
from skcnn.description import description
from skcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, GlobalAvgPool2D, Layer, Residual, Tanh
from skcnn.layers.base import unread
from skcnn.losses import Focal, LogLoss, Loss, Poisson
from skcnn.testing import check_gradients, run


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
def test_layers_of_the_package_pass(case):
    assert check_gradients(case.layer, case.shape, rows=2) is None


@description
class Quadratic(Layer):
    """y = a x^2 + b, with a mistake to choose."""

    mistake: str = ""

    def output_shape(self, shape):
        return (*shape[:-1], 9) if self.mistake == "shape" else shape

    def parameters(self, shape):
        return {"a": Parameter(shape[-1:], 1.0), "b": Parameter(shape[-1:], 0.0)}

    def record(self, tape, x, p, g):
        y = tape(np.multiply, x, x, tape.output(x.shape))
        tape(np.multiply, y, p.a, y)
        tape(np.add, y, p.b, y)

        def backward(dy, needs_dx=True):
            product = tape(np.multiply, dy, x, tape.scratch(x.shape))
            if self.mistake != "unwritten":
                tape(lambda v, out: np.sum(v, 0, out=out), dy, g.b)
            square = tape(np.multiply, product, x, tape.scratch(x.shape))
            tape(lambda v, out: np.sum(v, 0, out=out), square, g.a)
            if self.mistake == "one number":
                tape(np.add, g.a[2:3], 0.25, g.a[2:3])
            dx = tape(np.multiply, product, p.a, tape.output(x.shape))
            return tape(np.multiply, dx, 2.5 if self.mistake == "factor" else 2, dx)

        return y, backward


def test_what_is_right_passes():
    assert check_gradients(Quadratic(), (5,)) is None


NUMBER = r"(-?[\d.]+(?:e-?\d+)?|nan)"


def message_of(mistake):
    with pytest.raises(AssertionError) as caught:
        check_gradients(Quadratic(mistake), (5,))
    return str(caught.value)


def values_in(line):
    found = re.search(rf"gives {NUMBER}, the central difference is {NUMBER} \((\d+) of (\d+)", line)
    return [float(value) for value in found.groups()]


def test_one_wrong_number_is_named_with_its_place_and_the_two_values():
    message = message_of("one number")
    head, line = message.splitlines()
    assert head == "Quadratic('one number') on (5,) has wrong gradients:"
    assert line.startswith("a[2]: backward gives ")
    given, expected, wrong, size = values_in(line)
    assert given - expected == pytest.approx(0.25, abs=1e-6)
    assert (wrong, size) == (1, 5)


def test_the_input_is_named_where_its_gradient_is_wrong():
    _, line = message_of("factor").splitlines()
    assert re.match(r"input\[\d, \d\]: ", line)
    given, expected, wrong, size = values_in(line)
    assert given / expected == pytest.approx(1.25, rel=1e-6)
    assert (wrong, size) == (15, 15)


def test_a_gradient_that_is_not_written_is_found():
    _, line = message_of("unwritten").splitlines()
    assert line.startswith("b[0]: backward gives nan")
    assert values_in(line)[2:] == [5, 5]


def test_a_shape_that_is_not_the_promised_one_is_found():
    assert "returns an output of shape (5,), but its output_shape returns (9,)" in message_of("shape")


@description
class Stale(Layer):
    """Reads a buffer before it is written."""

    def record(self, tape, x, p, g):
        y = tape(np.add, x, tape.scratch(x.shape), tape.output(x.shape))
        return y, lambda dy, needs_dx=True: dy


def test_a_layer_that_reads_what_it_has_not_written_is_found():
    with pytest.raises(AssertionError, match=r"input\[.*central difference is nan"):
        check_gradients(Stale(), (2, 3, 1))


@description
class Forgetful(Layer):
    """A square, whose backward pass reads its input although it may declare that it does not."""

    forgotten: tuple = ()

    def record(self, tape, x, p, g):
        y = tape(np.multiply, x, x, tape.output(x.shape))

        def backward(dy, needs_dx=True):
            product = tape(np.multiply, dy, x, tape.scratch(x.shape))
            return tape(np.multiply, product, 2, tape.output(x.shape))

        return y, unread(backward, *({"x": x, "y": y}[name] for name in self.forgotten))


def test_a_backward_pass_that_reads_what_it_declares_unread_is_found():
    assert check_gradients(Forgetful(()), (2, 3, 1)) is None
    assert check_gradients(Forgetful(("y",)), (2, 3, 1)) is None
    with pytest.raises(AssertionError, match=r"input\[.*backward gives nan"):
        check_gradients(Forgetful(("x", "y")), (2, 3, 1))


def test_a_random_layer_gets_the_same_numbers_each_time():
    check_gradients(Dropout(0.5), (4, 4, 2), seed=3)


def test_what_is_no_layer_is_told_so():
    with pytest.raises(TypeError, match=r"Dense is a class. Pass an object"):
        check_gradients(Dense, (3,))
    with pytest.raises(TypeError, match=r"layer must be a layer, a list of layers or a loss, got 'relu'"):
        check_gradients("relu", (3,))
    with pytest.raises(ValueError, match="filters must be"):
        check_gradients(Conv2D(0), (3, 3, 1))
    with pytest.raises(ValueError, match="needs a flat input"):
        check_gradients(Dense(3), (3, 3, 1))


# -- losses


@pytest.mark.parametrize("loss", [case.loss for case in LOSSES], ids=repr)
def test_losses_of_the_package_pass(loss):
    alpha = getattr(loss, "alpha", None)  # Focal's are for classes, or one is for labels
    if not isinstance(alpha, float):
        check_gradients(loss, (3 if alpha is None else len(alpha),), rows=5)
    if loss.task == "classification" and not isinstance(alpha, list | tuple):
        check_gradients(loss, (3,), target=[[0, 1, 1], [1, 0, 0]])
        check_gradients(loss, (1,))


@description
class Cubic(Loss):
    """sum((raw - target)^4), with a mistake to choose."""

    mistake: str = ""
    task = "regression"

    def record(self, tape, raw, target):
        d = tape(np.subtract, raw, target, tape.scratch(raw.shape, np.float64))
        values = tape.scratch((len(raw),), np.float64)
        tape(lambda d, out: np.sum(d**4, 1, out=out), d, values)
        if self.mistake == "leak":
            tape(lambda d, out: np.add(out, d[0, 0] ** 2, out=out), d, values)
        gradient = tape.scratch(raw.shape, np.float64)
        tape(lambda d, out: np.multiply(d**3, 3 if self.mistake == "factor" else 4, out=out), d, gradient)
        return values[:, None] if self.mistake == "shape" else values, gradient


def test_a_loss_of_ones_own_is_checked():
    check_gradients(Cubic(), (2,))
    with pytest.raises(
        AssertionError, match=r"Cubic\('factor'\) on \(2,\) has wrong gradients:\nraw\[\d, \d\]: backward"
    ):
        check_gradients(Cubic("factor"), (2,))
    with pytest.raises(AssertionError, match=r"raw\[0, 0\]: .* \(1 of 6 numbers are wrong\)"):
        check_gradients(Cubic("leak"), (2,))
    with pytest.raises(AssertionError, match=r"values of shape \(3, 1\) in float64, but must record \(3,\)"):
        check_gradients(Cubic("shape"), (2,))


def test_a_loss_is_given_raw_predictions_and_targets_that_it_takes():
    with pytest.raises(ValueError, match=r"raw predictions of a loss must be \(k,\), got \(3, 3, 1\)"):
        check_gradients(LogLoss(), (3, 3, 1))
    with pytest.raises(ValueError, match=r"0 or more, but target contains -1\.0"):
        check_gradients(Poisson(), (1,), target=[[-1.0]])
    with pytest.raises(ValueError, match="gamma"):
        check_gradients(Focal(gamma=-1), (3,))


# -- networks


NETWORKS = {
    "knobs": build_layers((6, 5, 2), conv_filters=(3, 4), hidden_layer_sizes=(5,), activation="tanh"),
    "normed": [Conv2D(3), BatchNorm(), Tanh(), Dropout(0.3), Flatten()],
    "nested": [Residual([Conv2D(4), Tanh(), Conv2D(4)]), GlobalAvgPool2D()],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_all_weights_of_a_network_are_checked(name, loss):
    check_gradients(NETWORKS[name], (6, 5, 2), loss=loss, rows=4)


def test_a_layer_with_a_mistake_is_found_in_a_network():
    with pytest.raises(AssertionError) as caught:
        check_gradients([Flatten(), Dense(4), Quadratic("factor"), Dense(2)], (2, 2, 1))
    lines = str(caught.value).splitlines()[1:]
    assert [line.partition("[")[0] for line in lines] == ["dense1.kernel", "dense1.bias"]  # those in front of it


def test_the_targets_of_a_network_are_those_that_are_given():
    check_gradients([Flatten(), Dense(3)], (2, 2, 1), target=[0, 5])
    check_gradients([Flatten(), Dense(3)], (2, 2, 1), target=[[1, 0], [0, 1]], loss="hinge")
    with pytest.raises(ValueError, match="must end with a flat output"):
        check_gradients([Conv2D(2)], (4, 4, 1))
    with pytest.raises(ValueError, match="loss='log'"):
        check_gradients([Flatten()], (4, 4, 1), loss="log")


def test_parameters_may_lie_in_memory_in_any_order():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 5, 3)), rng.normal(size=(3, 3, 4, 3))
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    layer = Conv2D(4, use_bias=False)
    assert np.array_equal(run(layer, x, {"kernel": turned}), run(layer, x, {"kernel": turned.copy()}))
