"""Base of the layers: immutable descriptions that infer shapes, name parameters and record their arithmetic."""

from __future__ import annotations

from typing import ClassVar, Protocol

from .._arrays.elementwise import Array
from .._arrays.geometry import Borders
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import Description

Shape = tuple[int, ...]


class Backward(Protocol):
    """Records the backward pass of a layer: the gradient of its output -> that of its input, if it is needed."""

    def __call__(self, dy: Array, needs_dx: bool = True) -> Array | None: ...


class ShapeError(ValueError):
    """A layer cannot take an input of this shape. The message says what it needs and what to do."""


class Layer(Description):
    """Base of all layers.

    To write one, give it fields, a ``stem`` and `record`; where it changes shapes or has parameters, `output_shape`
    and `parameters`. Shapes are those of one image, without the batch: (h, w, c), or (features,) once flat.
    """

    stem: ClassVar[str] = "layer"  # of its name in a network: conv -> conv1, conv2, ...

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of one output for one input of ``shape``; a `ShapeError` if it cannot be."""
        return shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Name -> parameter, for an input of ``shape``."""
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        """Multiplications in one forward pass of one image, where they dominate: in matrix products."""
        return 0

    def lowered(self) -> tuple[Layer, ...]:
        """The layers that compute this one, each a step of its own that fusion can move."""
        return (self,)

    def scalable(self) -> str | None:
        """The parameter, output channels last, that scales the output before its bias: batch norm folds into it."""
        return None

    def inner(self) -> dict[str, Layer]:
        """Name -> layer, where a layer holds others: the names under which a user reaches into it."""
        return {}

    def with_inner(self, name: str, layer: Layer) -> Layer:
        """The same layer with another one inside."""
        raise ValueError(f"{type(self).__name__} holds no layer {name!r}.")

    def inside(self, shape: Shape) -> list[tuple[str, Layer, Shape]]:
        """Name, layer and the shape in front of it, of all layers inside, for an input of ``shape``."""
        return []

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        """The border of zeros that it wants around ``rows`` images, ((top, bottom), (left, right)); None for none."""
        return None

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        """Record the forward pass on ``tape``; return the output and a function that records the backward pass.

        Parameters
        ----------
        tape : Tape
            Takes the calls and owns the arrays.
        x : ndarray
            The input, (h, w, n, c) or (n, features). Never written to.
        p : namespace
            The parameters, by their names.
        g : namespace
            Where their gradients go; empty where no backward pass follows.

        Returns
        -------
        y : ndarray
            The output.
        backward : callable or None
            ``backward(dy, needs_dx=True) -> dx``. It writes the gradients to ``g`` and may overwrite ``dy``. None only
            where ``tape.backward`` is false. Where ``tape.training`` is false, nobody reads the gradients in ``g``.
        """
        raise NotImplementedError


class Activation(Layer):
    """Base of the layers that map each number for itself.

    A class attribute ``kernel_initializer`` names the initializer that suits the layer in front.
    """

    kernel_initializer: ClassVar[str] = "glorot"


def image(shape: Shape) -> Shape:
    """The shape, if it is one of images (h, w, c)."""
    if len(shape) != 3:
        raise ShapeError("needs images (h, w, c); put it before Flatten() or a global pooling layer")
    return shape


def flat(shape: Shape) -> Shape:
    """The shape, if it is flat (features,)."""
    if len(shape) != 1:
        raise ShapeError("needs a flat input; put Flatten() before it")
    return shape
