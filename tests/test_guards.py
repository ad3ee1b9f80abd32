"""Mistakes in a layer of one's own: each is an error that names the layer, and no wrong gradient."""

import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn._tape.tape import Batch, Tape
from skcnn.description import description
from skcnn.layers import (
    Conv2D,
    Flatten,
    Layer,
    Parameter,
    ReLU,
    ShapeError,
    by_channel,
    record_channel_products,
)
from skcnn.testing import check_gradients


class Pointwise(Layer):
    def record(self, tape, x, p, g):
        y = tape(np.square, x, tape.output(x.shape))

        def backward(dy, needs_dx=True):
            double = tape(np.multiply, x, 2, tape.scratch(x.shape))
            return tape(np.multiply, dy, double, dy)

        return y, backward


@description
class Square(Pointwise):
    """The square."""


@description
class InPlace(Pointwise):
    """The square, over its input."""

    def record(self, tape, x, p, g):
        tape(np.square, x, x)
        return x, lambda dy, needs_dx=True: dy


@description
class NoTuple(Pointwise):
    """Forgets its backward pass."""

    def record(self, tape, x, p, g):
        return super().record(tape, x, p, g)[0]


@description
class NoGradient(Pointwise):
    """Forgets to return dx."""

    def record(self, tape, x, p, g):
        y, through = super().record(tape, x, p, g)
        return y, lambda dy, needs_dx=True: through(dy) is None or None


@description
class WrongShape(Pointwise):
    """Promises another shape."""

    def output_shape(self, shape):
        return (*shape[:2], 1)


@description
class NamedDestination(Pointwise):
    """Writes out=."""

    def record(self, tape, x, p, g):
        y = tape.output(x.shape)
        tape(np.square, x, out=y)
        return y, lambda dy, needs_dx=True: dy


@description
class NewArray(Pointwise):
    """Records a function that returns a new array."""

    def record(self, tape, x, p, g):
        return tape(np.clip, x, 0.0, 1.0), lambda dy, needs_dx=True: dy


@description
class Early(Pointwise):
    """Passes a computed vector to by_channel: right in training, and read too early in prediction."""

    def parameters(self, shape):
        return {"a": Parameter((shape[-1],), 0.0)}

    def record(self, tape, x, p, g):
        factor = tape(np.exp, p.a, tape.keep(p.a.shape))
        y = tape(np.multiply, x, by_channel(tape, factor, x), tape.output(x.shape))

        def backward(dy, needs_dx=True):
            record_channel_products(tape, y, dy, g.a)
            return tape(np.multiply, dy, by_channel(tape, factor, dy), dy) if needs_dx else None

        return y, backward


def fit(layer):
    rng = np.random.default_rng(0)
    layers = [Conv2D(3), layer, Flatten()]
    return CNNClassifier(layers=layers, max_iter=1).fit(rng.normal(size=(30, 4, 4)), np.arange(30) % 3)


def test_a_layer_without_mistakes_is_fitted():
    check_gradients(Square(), (4, 4, 3))
    assert fit(Square()).n_iter_ == 1


@pytest.mark.parametrize(
    ("layer", "kind", "said"),
    [
        (InPlace(), ValueError, r"inplace1: square would write to the layer's input.*tape.output"),
        (NoTuple(), TypeError, r"NoTuple\(\) must return its output and its backward pass from record"),
        (NoGradient(), TypeError, r"NoGradient\(\) must return dx from its backward pass, got None"),
        (WrongShape(), ShapeError, r"WrongShape\(\) returns an output of shape \(4, 4, 3\).*returns \(4, 4, 1\)"),
        (NamedDestination(), TypeError, r"must be the destination array, got out="),
        (NewArray(), TypeError, r"must be the destination array, got 1.0. If clip returns a new array, wrap it"),
        (Early(), ValueError, r"by_channel reads its vector while a prediction is recorded.*tape.derived"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
def test_a_mistake_names_the_layer_and_the_remedy(layer, kind, said):
    type(layer).stem = type(layer).__name__.lower()
    with pytest.raises(kind, match=said):
        fit(layer).predict(np.zeros((2, 4, 4)))


@pytest.mark.parametrize("layer", [InPlace(), NoTuple(), NamedDestination(), NewArray(), Early()], ids=repr)
def test_check_gradients_finds_them_too(layer):
    with pytest.raises((ValueError, TypeError)):
        check_gradients(layer, (4, 4, 3))


def test_a_class_with_fields_needs_the_decorator():
    class Scaled(Layer):
        factor: float = 2.0

    with pytest.raises(TypeError, match=r"Scaled is not a description\. Put @description above the class.*\(factor\)"):
        Scaled()

    class Filtered(Conv2D):
        threshold: float = 0.0

    with pytest.raises(TypeError, match=r"\(threshold\) are not parameters"):
        Filtered(3)

    class Renamed(ReLU):  # no field of its own: what it inherits is enough
        stem = "renamed"

    assert Renamed() == Renamed()


def test_a_tape_prints_one_call_a_line():
    tape = Tape(np.float64, Batch(4, shards=2))
    x = tape.input((4, 3))
    with tape.step("dense1"):
        y = tape(np.matmul, x, np.ones((3, 2)), tape.output((4, 2)))
    tape.barrier()
    with tape.step("relu1"):
        tape(np.maximum, y, 0.5, y)
    assert str(tape).splitlines() == [
        "dense1       matmul       4x3, 3x2 -> 4x2",
        "-- all shards meet --",
        "relu1        maximum      4x2, 0.5 -> 4x2",
    ]
