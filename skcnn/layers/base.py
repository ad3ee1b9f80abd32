"""Base of the layers: immutable descriptions that infer shapes, name parameters and record their computation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from .._arrays.elementwise import Array
from .._arrays.geometry import Borders
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape, memory
from ..description import Description

Shape = tuple[int, ...]


class Backward(Protocol):
    """Function that records the backward pass of a layer.

    It maps the gradient with respect to the output to the gradient with respect to the input. It returns None if
    ``needs_dx`` is false.
    """

    def __call__(self, dy: Array, needs_dx: bool = True) -> Array | None: ...


@dataclass(frozen=True)
class _Unreading:
    """A backward pass with the arrays that it does not read."""

    record: Backward
    unread: tuple[Array, ...]

    def __call__(self, dy: Array, needs_dx: bool = True) -> Array | None:
        return self.record(dy, needs_dx)


def unread(backward: Backward, *arrays: Array) -> Backward:
    """Return ``backward`` with the declaration that it does not read ``arrays``, the layer's input, output or both.

    If the backward passes of two neighbouring layers do not read the array between them, its memory is free when the
    forward pass of the second one ends. A function that calls the result makes no such declaration.
    """
    return _Unreading(backward, arrays)


def reads(backward: Backward | None, array: Array) -> bool:
    """Return whether a backward pass may read an array."""
    return not any(memory(array) is memory(other) for other in getattr(backward, "unread", ()))


class ShapeError(ValueError):
    """Error for an input shape that a layer cannot process. The message states the required shape and a remedy."""


class Layer(Description):
    """Base of all layers.

    To write a layer, define its fields, its ``stem`` and `record`. Define `output_shape` too if the layer changes the
    shape, and `parameters` if it has any. Shapes describe one image, without the batch axis: (h, w, c), or (features,)
    after `Flatten`.
    """

    stem: ClassVar[str] = "layer"  # beginning of the layer's name in a network: conv -> conv1, conv2, ...

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one output for one input of ``shape``; raise `ShapeError` if the shape does not fit."""
        return shape

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        """Return a dictionary of name -> parameter for an input of ``shape``."""
        return {}

    def adapt(self, shape: Shape, batches: Iterator[Array]) -> dict[str, Array]:
        """Return arrays for parameters that are not trainable, computed from training images before the first step.

        ``batches`` are the inputs of the layer, (n, h, w, c) or (n, features), for a sample of the training images. A
        layer with such parameters that keeps their initial values need not define this method.
        """
        return {}

    def multiply_adds(self, shape: Shape) -> int:
        """Return the number of multiplications in the matrix products of one forward pass of one image."""
        return 0

    def lowered(self) -> tuple[Layer, ...]:
        """Return the layers that compute this one. Each is a separate step, which fusion can move."""
        return (self,)

    def scalable(self) -> str | None:
        """Return the name of the parameter into which a following batch norm can be folded, or None.

        The output before the bias is proportional to this parameter, whose last axis is the output channels.
        """
        return None

    def inner(self) -> dict[str, Layer]:
        """Return a dictionary of name -> nested layer. Nested parameters are set under these names."""
        return {}

    def with_inner(self, name: str, layer: Layer) -> Layer:
        """Return a copy in which the nested layer ``name`` is replaced by ``layer``."""
        raise ValueError(f"{type(self).__name__} contains no layer {name!r}.")

    def inside(self, shape: Shape) -> list[tuple[str, Layer, Shape]]:
        """Return (name, layer, input shape) for each nested layer, for an input of ``shape``."""
        return []

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        """Return the border of zeros to allocate around ``rows`` input images, or None for no border.

        The border is ((top, bottom), (left, right)), in pixels.
        """
        return None

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        """Record the forward pass on ``tape``; return the output and a function that records the backward pass.

        Parameters
        ----------
        tape : Tape
            Tape that records the calls and allocates the arrays.
        x : ndarray
            Input, (h, w, n, c) or (n, features). It must not be modified.
        p : namespace
            Parameters by name.
        g : namespace
            Arrays for the gradients of the parameters, by name. Empty if no backward pass follows.

        Returns
        -------
        y : ndarray
            Output, (h', w', n, c') or (n, features').
        backward : callable or None
            ``backward(dy, needs_dx=True) -> dx``. It writes the gradients to ``g`` and may overwrite ``dy``. It may be
            None only if ``tape.backward`` is false. The gradients in ``g`` are unused if ``tape.training`` is false.
        """
        raise NotImplementedError


class Activation(Layer):
    """Base of the activation layers.

    The class attribute ``kernel_initializer`` names the initializer that suits the layer before the activation.
    """

    kernel_initializer: ClassVar[str] = "glorot"


def image(shape: Shape) -> Shape:
    """Return the shape if it is an image shape (h, w, c); otherwise raise `ShapeError`."""
    if len(shape) != 3:
        raise ShapeError("needs images (h, w, c); put it before Flatten() or a global pooling layer")
    return shape


def flat(shape: Shape) -> Shape:
    """Return the shape if it is flat (features,); otherwise raise `ShapeError`."""
    if len(shape) != 1:
        raise ShapeError("needs a flat input; put Flatten() before it")
    return shape
