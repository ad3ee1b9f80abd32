"""Layers that hold others: branches that read the same input, and are added or put side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy
from .._arrays.geometry import Borders
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape, memory
from ..description import description
from .base import Backward, Layer, Shape, ShapeError
from .conv import Conv2D
from .dense import Dense
from .sequence import Step, check_layers, infer_shapes, layer_names, lowered_steps, record_steps, shape_and_rows


def part_of(p: Arrays, owner: str) -> Arrays:
    """Return one inner layer's parameters from those of the layer around it: conv1.kernel -> kernel."""
    prefix = f"{owner}."
    return Arrays(**{key[len(prefix) :]: value for key, value in vars(p).items() if key.startswith(prefix)})


@description
class Branches(Layer):
    """Steps that read the same input, and what becomes of their outputs: what `Residual` and `Concatenate` lower to.

    Branches are rewritten by fusion and folding like the steps of a network.
    """

    branches: tuple[tuple[Step, ...], ...]
    added: bool  # or put side by side, along the channels

    stem = "branches"

    def rewritten(self, rule: Callable[[list[Step]], list[Step]]) -> Branches:
        """The same with other steps in each branch."""
        return self.replaced(branches=tuple(tuple(rule(list(steps))) for steps in self.branches))

    def output_shape(self, shape: Shape) -> Shape:
        shapes = [infer_shapes([layer for _, layer in steps], shape)[-1] for steps in self.branches]
        return shapes[0] if self.added else (*shapes[0][:-1], sum(s[-1] for s in shapes))

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        # Only what suits all of them: a layer that did not ask for a border may not know what to do with one.
        # An identity is copied or added, which it does not mind.
        wanted = {steps[0][1].margin(tape, shape, rows) for steps in self._bound(shape) if steps}
        return wanted.pop() if len(wanted) == 1 else None

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        margin = tape.margin
        shape, _ = shape_and_rows(x)
        found, backwards = [], []
        for steps in self._bound(shape):
            own, gradients = ({owner: part_of(arrays, owner) for owner, _ in steps} for arrays in (p, g))
            y, through = record_steps(tape, steps, x, own, gradients)
            found.append(y)
            backwards.append(through)
        tape.margin = margin
        y = self._record_join(tape, found)
        if not tape.backward:
            tape.end([part for part in found if memory(part) is not memory(x)], but=y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            slopes = [dy] * len(found) if self.added else _slices(dy, found)
            total: Array | None = None
            for i, (through, slope, part) in enumerate(zip(backwards, slopes, found, strict=True)):
                # A branch may overwrite what it gets, and a slice of channels is not contiguous.
                own = self.added and i == len(found) - 1
                dx = through(dy if own else tape(copy, slope, tape.output(part.shape)), needs_dx)
                if total is None:
                    total = dx
                elif dx is not None:
                    tape(np.add, total, dx, total)
                    tape.end([dx], but=total)
            return total

        return y, backward

    def _record_join(self, tape: Tape, found: list[Array]) -> Array:
        # An output of its own: those of the branches may be read again in the backward pass.
        if self.added:
            y = tape.output(found[0].shape, framed=found[0].ndim == 4)
            tape(np.add, found[0], found[1], y)
            return y
        channels = sum(part.shape[-1] for part in found)
        y = tape.output((*found[0].shape[:-1], channels), framed=found[0].ndim == 4)
        for part, piece in zip(found, _slices(y, found), strict=True):
            tape(copy, part, piece)
        return y

    def _bound(self, shape: Shape) -> list[list[Step]]:
        """The steps of each branch on an input of ``shape``, without projections that are not needed."""
        return [
            [step for step in steps if not (isinstance(step[1], Projection) and step[1].bound(shape) is None)]
            for steps in self.branches
        ]


def _slices(y: Array, parts: Sequence[Array]) -> list[Array]:
    """The views of ``y`` that hold the channels of each part."""
    ends = np.cumsum([part.shape[-1] for part in parts])
    return [y[..., end - part.shape[-1] : end] for part, end in zip(parts, ends, strict=True)]


def reachable(steps: Sequence[Step], prefix: str = "") -> Iterator[str]:
    """Names of the layers that steps compute, those inside of others too."""
    for owner, layer in steps:
        yield prefix + owner
        if isinstance(layer, Branches):
            for branch in layer.branches:
                yield from reachable(branch, f"{prefix}{owner}.")


def steps_to(name: str, steps: Sequence[Step], p: Mapping[str, Arrays]) -> tuple[list[Step], dict[str, Arrays]]:
    """The steps as far as one of the `reachable` layers, and the parameters of their owners.

    A layer inside of another one comes after those before it in its branch, and a branch reads what the outer layer
    reads: the way to it is a line, and the other branches are not computed.
    """
    ends = [i for i, (owner, _) in enumerate(steps) if owner == name]
    if ends:
        return list(steps[: ends[-1] + 1]), dict(p)
    for i, (outer, layer) in enumerate(steps):
        inner = name.removeprefix(f"{outer}.")
        for branch in layer.branches if isinstance(layer, Branches) and inner != name else ():
            if inner in reachable(branch):
                way, parts = steps_to(inner, branch, {owner: part_of(p[outer], owner) for owner, _ in branch})
                parts = {f"{outer}.{owner}": part for owner, part in parts.items()}
                return [*steps[:i], *((f"{outer}.{owner}", step) for owner, step in way)], {**p, **parts}
    raise KeyError(name)


@description
class Projection(Layer):
    """Map of an input to the shape that some layers give it: none, a 1 x 1 convolution or a dense layer."""

    layers: tuple[Layer, ...]

    stem = "projection"

    def bound(self, shape: Shape) -> Layer | None:
        """The layer for an input of ``shape``; None where it has the right one already."""
        return self.towards(infer_shapes(self.layers, shape, "its layers")[-1], shape)

    def towards(self, wanted: Shape, shape: Shape) -> Layer | None:
        """The same, for the shape that the layers give an input of ``shape``."""
        if wanted == shape:
            return None
        if len(wanted) == len(shape) == 1:
            return Dense(wanted[0], use_bias=False)
        if len(wanted) == len(shape):
            strides = tuple(_stride(size, out) for size, out in zip(shape[:2], wanted[:2], strict=True))
            if all(strides):
                short = strides[0] if strides[0] == strides[1] else strides
                return Conv2D(wanted[2], kernel_size=1, strides=short, use_bias=False)  # type: ignore[arg-type]
        raise ShapeError(
            f"its layers turn it into {wanted}, and no 1 x 1 convolution with a stride does; use padding='same' in"
            " them, or pass the layers of a shortcut"
        )

    def output_shape(self, shape: Shape) -> Shape:
        return infer_shapes(self.layers, shape)[-1]

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        layer = self.bound(shape)
        return {} if layer is None else layer.parameters(shape)

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        layer = self.bound((*x.shape[:2], x.shape[3]) if x.ndim == 4 else x.shape[1:])
        assert layer is not None  # else it has been left out
        return layer.record(tape, x, p, g)


def _stride(size: int, out: int) -> int:
    """The smallest stride that leaves ``out`` of ``size`` pixels; 0 if none does."""
    return next((stride for stride in range(1, size + 1) if -(-size // stride) == out), 0)


class _Composite(Layer):
    """Base of the layers that hold others: their parameters are those of the layers inside."""

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {
            f"{name}.{key}": parameter
            for name, layer, before in self.inside(shape)
            for key, parameter in layer.parameters(before).items()
        }

    def multiply_adds(self, shape: Shape) -> int:
        return sum(layer.multiply_adds(before) for _, layer, before in self.inside(shape))

    def _check_list(self, layers: Any, where: str) -> None:
        """Refuse what is not a list of good layers."""
        if not isinstance(layers, (list, tuple)):
            raise ValueError(f"{self!r}: {where} must be a list of layers, got {layers!r}.")
        try:
            check_layers(layers, where)
        except ValueError as error:
            raise ValueError(f"{self!r}: its {error}") from None


@description
class Residual(_Composite):
    """Layers, and a shortcut around them that is added to their output.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    layers : list of Layer
        What is learnt on top of the shortcut. They may hold residual layers again.
    shortcut : "auto", Layer or list of Layer, default="auto"
        "auto" is the identity where the layers keep the shape of their input. Where they change it, it is a 1 x 1
        convolution without bias, of the smallest stride that gives the same height and width; on flat inputs a dense
        layer without bias. A layer, or a list of layers, is taken as it is; an empty list is the identity.

    Raises
    ------
    ShapeError
        In ``fit``, if one of the layers cannot take its input, or the shortcut does not lead to their shape.

    Notes
    -----
    y = f(x) + s(x), with f the layers one after the other and s the shortcut. Backward, dx = f'(x)ᵀ dy + s'(x)ᵀ dy.
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", arXiv:1512.03385, equations 1
    and 2. Their blocks end with a ReLU after the sum: put it behind this layer.

    Parameters are those of the layers inside, with their names: ``residual1.conv1.kernel``,
    ``residual1.shortcut.kernel``. In ``set_params`` and searches, ``layers__residual1__conv1__filters``.

    Examples
    --------
    >>> from skcnn.layers import BatchNorm, Conv2D, ReLU, Residual
    >>> block = Residual([Conv2D(32, strides=2), BatchNorm(), ReLU(), Conv2D(32), BatchNorm()])
    >>> block.output_shape((28, 28, 16))
    (14, 14, 32)
    >>> block.parameters((28, 28, 16))["shortcut.kernel"].shape
    (1, 1, 16, 32)
    >>> "shortcut.kernel" in block.parameters((28, 28, 32))  # the stride alone calls for a convolution
    True
    >>> list(Residual([Conv2D(16)]).parameters((28, 28, 16)))
    ['conv1.kernel', 'conv1.bias']
    """

    layers: Sequence[Layer]
    shortcut: str | Layer | Sequence[Layer] = "auto"

    stem = "residual"

    def check(self) -> None:
        self._check_list(self.layers, "layers")
        if isinstance(self.shortcut, str):
            self._require("shortcut", self.shortcut == "auto", "'auto', a layer or a list of layers")
        elif isinstance(self.shortcut, (list, tuple)):
            self._check_list(self.shortcut, "shortcut")
        else:
            self._check_list([self.shortcut], "[shortcut]")

    def inner(self) -> dict[str, Layer]:
        layers = _listed(self.layers)
        names = [*layer_names(layers), *self._shortcut_names()]
        return dict(zip(names, [*layers, *self._shortcut_layers()], strict=True))

    def with_inner(self, name: str, layer: Layer) -> Layer:
        names, count = list(self.inner()), len(self.layers)
        position = names.index(name)
        if position < count:
            return self.replaced(layers=_with(self.layers, position, layer))
        if isinstance(self.shortcut, Layer):
            return self.replaced(shortcut=layer)
        return self.replaced(shortcut=_with(self.shortcut, position - count, layer))

    def output_shape(self, shape: Shape) -> Shape:
        out = infer_shapes(self.layers, shape, "its layers")[-1]
        if isinstance(self.shortcut, str):
            # Asked for ``bound``, it would infer their shape again, and so twice as often at each level of nesting.
            self._projection.towards(out, shape)
        else:
            reached = infer_shapes(self._shortcut_layers(), shape, "its shortcut")[-1]
            if reached != out:
                raise ShapeError(
                    f"its layers turn it into {out}, but its shortcut into {reached}; make them agree, or leave the"
                    " shortcut to 'auto'"
                )
        return out

    def inside(self, shape: Shape) -> list[tuple[str, Layer, Shape]]:
        found = _bind(layer_names(self.layers), self.layers, shape)
        if isinstance(self.shortcut, str):
            layer = self._projection.bound(shape)
            return found if layer is None else [*found, ("shortcut", layer, shape)]
        return found + _bind(self._shortcut_names(), self._shortcut_layers(), shape)

    def lowered(self) -> tuple[Layer, ...]:
        around = (
            [("shortcut", self._projection)]
            if isinstance(self.shortcut, str)
            else lowered_steps(self._shortcut_names(), self._shortcut_layers())
        )
        return (Branches((tuple(lowered_steps(layer_names(self.layers), self.layers)), tuple(around)), added=True),)

    @property
    def _projection(self) -> Projection:
        return Projection(tuple(self.layers))

    def _shortcut_layers(self) -> list[Layer]:
        if isinstance(self.shortcut, str):
            return []
        return [self.shortcut] if isinstance(self.shortcut, Layer) else _listed(self.shortcut)

    def _shortcut_names(self) -> list[str]:
        if isinstance(self.shortcut, Layer):
            return ["shortcut"]
        return [f"shortcut.{name}" for name in layer_names(self._shortcut_layers())]


@description
class Concatenate(_Composite):
    """Branches on the same input, with their outputs side by side.  x (n, h, w, c) -> y (n, h', w', sum of c').

    Parameters
    ----------
    branches : list of lists of Layer
        The layers of each branch; an empty list hands the input on. They may hold such layers again.

    Raises
    ------
    ShapeError
        In ``fit``, if a layer of a branch cannot take its input, or branches differ in height and width.

    Notes
    -----
    y[a, b] = (f1(x)[a, b], f2(x)[a, b], ...), along the channels; flat outputs along the features. Backward, each
    branch gets its slice of dy, and dx is the sum over the branches. C. Szegedy et al., "Going deeper with
    convolutions", arXiv:1409.4842, section 4; with an empty branch, G. Huang et al., "Densely connected convolutional
    networks", arXiv:1608.06993, equation 2.

    Parameters are named after their branch: ``concatenate1.branch1.conv1.kernel``. In ``set_params`` and searches,
    ``layers__concatenate1__branch1__conv1__filters``.

    Examples
    --------
    >>> from skcnn.layers import Concatenate, Conv2D
    >>> Concatenate([[Conv2D(8, kernel_size=1)], [Conv2D(16)], []]).output_shape((28, 28, 3))
    (28, 28, 27)
    """

    branches: Sequence[Sequence[Layer]]

    stem = "concatenate"

    def check(self) -> None:
        wanted = "a list of one or more lists of layers"
        self._require("branches", isinstance(self.branches, (list, tuple)) and len(self.branches) > 0, wanted)
        for i, layers in enumerate(self.branches):
            self._check_list(layers, f"branches[{i}]")

    def inner(self) -> dict[str, Layer]:
        layers = (layer for branch in _listed(self.branches) for layer in _listed(branch))
        return dict(zip(self._names(), layers, strict=True))

    def with_inner(self, name: str, layer: Layer) -> Layer:
        position = self._names().index(name)
        for i, layers in enumerate(self.branches):
            if position < len(layers):
                return self.replaced(branches=_with(self.branches, i, _with(layers, position, layer)))
            position -= len(layers)
        raise AssertionError

    def output_shape(self, shape: Shape) -> Shape:
        shapes = [infer_shapes(layers, shape, f"its branches[{i}]")[-1] for i, layers in enumerate(self.branches)]
        if len({found[:-1] for found in shapes}) > 1:
            raise ShapeError(
                f"its branches turn it into {', '.join(map(str, shapes))}, which differ in more than their channels;"
                " give their convolutions and pooling layers padding='same' and the same strides"
            )
        return (*shapes[0][:-1], sum(found[-1] for found in shapes))

    def inside(self, shape: Shape) -> list[tuple[str, Layer, Shape]]:
        return [
            found for i, layers in enumerate(self.branches) for found in _bind(_branch_names(i, layers), layers, shape)
        ]

    def lowered(self) -> tuple[Layer, ...]:
        steps = (tuple(lowered_steps(_branch_names(i, layers), layers)) for i, layers in enumerate(self.branches))
        return (Branches(tuple(steps), added=False),)

    def _names(self) -> list[str]:
        return [name for i, layers in enumerate(_listed(self.branches)) for name in _branch_names(i, _listed(layers))]


def _listed(value: Any) -> list[Any]:
    """The entries of a list; none where a user has passed something else, which `check` will refuse."""
    return list(value) if isinstance(value, (list, tuple)) else []


def _branch_names(i: int, layers: Sequence[Layer]) -> list[str]:
    return [f"branch{i + 1}.{name}" for name in layer_names(layers)]


def _bind(names: Sequence[str], layers: Sequence[Layer], shape: Shape) -> list[tuple[str, Layer, Shape]]:
    """Name, layer and the shape in front of it."""
    return list(zip(names, layers, infer_shapes(layers, shape), strict=False))


def _with(held: Any, position: int, value: Any) -> Any:
    """A list or tuple with another value at one place."""
    return type(held)([*held[:position], value, *held[position + 1 :]])
