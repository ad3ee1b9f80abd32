"""Layers that contain other layers: branches that read the same input and are added, multiplied or concatenated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, reshape, sum_first
from .._arrays.geometry import Borders
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape, memory
from ..description import description
from .base import Backward, Layer, Shape, ShapeError, reads, unread
from .conv import Conv2D
from .dense import Dense
from .sequence import Step, check_layers, infer_shapes, layer_names, lowered_steps, record_steps, shape_and_rows


def part_of(p: Arrays, owner: str) -> Arrays:
    """Select the parameters of one nested layer and strip its name: conv1.kernel -> kernel."""
    prefix = f"{owner}."
    return Arrays(**{key[len(prefix) :]: value for key, value in vars(p).items() if key.startswith(prefix)})


@description
class Branches(Layer):
    """Lists of steps that read the same input, and the operation that joins their outputs.

    Layers that contain other layers are lowered to this one. Fusion and folding rewrite its branches like the steps of
    a network.
    """

    branches: tuple[tuple[Step, ...], ...]
    join: str  # "add", "multiply", or "concatenate" along the channels

    stem = "branches"

    def rewritten(self, rule: Callable[[list[Step]], list[Step]]) -> Branches:
        """Return a copy with ``rule`` applied to the steps of each branch."""
        return self.replaced(branches=tuple(tuple(rule(list(steps))) for steps in self.branches))

    def output_shape(self, shape: Shape) -> Shape:
        shapes = [infer_shapes([layer for _, layer in steps], shape)[-1] for steps in self.branches]
        return (*shapes[0][:-1], sum(s[-1] for s in shapes)) if self.join == "concatenate" else shapes[0]

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        # A border is allocated only if all branches need the same one, because other layers cannot read framed arrays.
        # An identity is copied or added, which works with any border.
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
            total: Array | None = None
            for through, slope in zip(backwards, self._slopes(tape, dy, found), strict=True):
                dx = through(slope, needs_dx)
                if total is None:
                    total = dx
                elif dx is not None:
                    tape(np.add, total, dx, total)
                    tape.end([dx], but=total)
            return total

        x_is_read = self.join == "multiply" or any(reads(through, x) for through in backwards)
        return y, unread(backward, y) if x_is_read else unread(backward, x, y)

    def _slopes(self, tape: Tape, dy: Array, found: list[Array]) -> Iterator[Array]:
        """Record the gradient with respect to the output of each branch, in arrays that may be overwritten."""
        if self.join == "multiply":  # both first: the backward pass of a branch releases the branch's output
            first = tape(np.multiply, dy, found[1], tape.output(dy.shape))
            second = tape(np.multiply, dy, found[0], dy)
            if found[1].ndim < dy.ndim:
                pixels = reshape(second, (-1, *found[1].shape))
                second = tape(sum_first, pixels, tape.output(found[1].shape))
            yield from (first, second)
            return
        own = 1 if self.join == "add" else 0  # the last branch may overwrite dy
        parts = [dy] * len(found) if own else _slices(dy, found)
        for part in parts[: len(parts) - own]:
            yield tape(copy, part, tape.output(part.shape))
        yield from parts[len(parts) - own :]

    def _record_join(self, tape: Tape, found: list[Array]) -> Array:
        # A separate array, because the backward passes of the branches may read their outputs again.
        if self.join != "concatenate":
            y = tape.output(found[0].shape, framed=found[0].ndim == 4)
            tape(np.add if self.join == "add" else np.multiply, found[0], found[1], y)
            return y
        channels = sum(part.shape[-1] for part in found)
        y = tape.output((*found[0].shape[:-1], channels), framed=found[0].ndim == 4)
        for part, piece in zip(found, _slices(y, found), strict=True):
            tape(copy, part, piece)
        return y

    def _bound(self, shape: Shape) -> list[list[Step]]:
        """Return the steps of each branch for an input of ``shape``, without unneeded projections."""
        return [
            [step for step in steps if not (isinstance(step[1], Projection) and step[1].bound(shape) is None)]
            for steps in self.branches
        ]


def _slices(y: Array, parts: Sequence[Array]) -> list[Array]:
    """Return one view of ``y`` for the channels of each part."""
    ends = np.cumsum([part.shape[-1] for part in parts])
    return [y[..., end - part.shape[-1] : end] for part, end in zip(parts, ends, strict=True)]


def reachable(steps: Sequence[Step], prefix: str = "") -> Iterator[str]:
    """Yield the names of the layers that steps compute, including nested layers."""
    for owner, layer in steps:
        yield prefix + owner
        if isinstance(layer, Branches):
            for branch in layer.branches:
                yield from reachable(branch, f"{prefix}{owner}.")


def steps_to(name: str, steps: Sequence[Step], p: Mapping[str, Arrays]) -> tuple[list[Step], dict[str, Arrays]]:
    """Return the steps up to and including one of the `reachable` layers, and the parameters of their owners.

    A branch reads the input of its outer layer. A nested layer is therefore reached by the steps before the outer
    layer, followed by the steps before it in its branch. Other branches are not computed.
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
    """Linear map of an input to the output shape of other layers.

    It is the identity, a 1 x 1 convolution or a dense layer, depending on the shapes.
    """

    layers: tuple[Layer, ...]

    stem = "projection"

    def bound(self, shape: Shape) -> Layer | None:
        """Return the layer for an input of ``shape``, or None for the identity."""
        return self.towards(infer_shapes(self.layers, shape, "its layers")[-1], shape)

    def towards(self, wanted: Shape, shape: Shape) -> Layer | None:
        """Return the layer that maps ``shape`` to ``wanted``, or None for the identity.

        Raises
        ------
        ShapeError
            If no such layer exists.
        """
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
            f"its layers turn it into {wanted}, which no strided 1 x 1 convolution can do; use padding='same' in the"
            " layers, or pass the layers of a shortcut"
        )

    def output_shape(self, shape: Shape) -> Shape:
        return infer_shapes(self.layers, shape)[-1]

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        layer = self.bound(shape)
        return {} if layer is None else layer.parameters(shape)

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        layer = self.bound((*x.shape[:2], x.shape[3]) if x.ndim == 4 else x.shape[1:])
        assert layer is not None  # identities have been removed from the steps
        return layer.record(tape, x, p, g)


def _stride(size: int, out: int) -> int:
    """Return the smallest stride that reduces ``size`` pixels to ``out``, or 0 if there is none."""
    return next((stride for stride in range(1, size + 1) if -(-size // stride) == out), 0)


class _Composite(Layer):
    """Base of the layers that contain other layers, and have the parameters of these."""

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {
            f"{name}.{key}": parameter
            for name, layer, before in self.inside(shape)
            for key, parameter in layer.parameters(before).items()
        }

    def multiply_adds(self, shape: Shape) -> int:
        return sum(layer.multiply_adds(before) for _, layer, before in self.inside(shape))

    def _check_list(self, layers: Any, where: str) -> None:
        """Raise a ValueError if ``layers`` is not a list of valid layers."""
        if not isinstance(layers, (list, tuple)):
            raise ValueError(f"{self!r}: {where} must be a list of layers, got {layers!r}.")
        try:
            check_layers(layers, where)
        except ValueError as error:
            raise ValueError(f"{self!r}: its {error}") from None


@description
class Residual(_Composite):
    """Residual block: the sum of some layers and a shortcut around them.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    layers : list of Layer
        Layers of the residual branch. They may contain other residual layers.
    shortcut : "auto", Layer or list of Layer, default="auto"
        Shortcut around the layers. "auto" is the identity if the layers keep the shape of their input. If they change
        it, "auto" is a 1 x 1 convolution without bias, with the smallest stride that gives the same height and width,
        or a dense layer without bias for flat inputs. You can pass a layer or a list of layers instead. An empty list
        is the identity.

    Raises
    ------
    ShapeError
        If one of the layers cannot process its input, or the shortcut and the layers have different output shapes.
        Raised in ``fit``.

    Notes
    -----
    y = f(x) + s(x), with f the layers in order and s the shortcut. In the backward pass, dx = f'(x)ᵀ dy + s'(x)ᵀ dy.
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", arXiv:1512.03385, equations 1
    and 2. Their blocks end with a ReLU after the sum. To build such a block, add a `ReLU` after this layer.

    Parameters are named after the nested layers, for example ``residual1.conv1.kernel`` and
    ``residual1.shortcut.kernel``. In ``set_params`` and searches, write ``layers__residual1__conv1__filters``.

    Examples
    --------
    >>> from skcnn.layers import BatchNorm, Conv2D, ReLU, Residual
    >>> block = Residual([Conv2D(32, strides=2), BatchNorm(), ReLU(), Conv2D(32), BatchNorm()])
    >>> block.output_shape((28, 28, 16))
    (14, 14, 32)
    >>> block.parameters((28, 28, 16))["shortcut.kernel"].shape
    (1, 1, 16, 32)
    >>> "shortcut.kernel" in block.parameters((28, 28, 32))  # the stride changes the shape
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
            # ``bound`` would infer the shape again, and double the number of inferences at each level of nesting.
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
        return (Branches((tuple(lowered_steps(layer_names(self.layers), self.layers)), tuple(around)), "add"),)

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
    """Concatenation of branches that read the same input.  x (n, h, w, c) -> y (n, h', w', sum of c').

    Parameters
    ----------
    branches : list of lists of Layer
        Layers of each branch. An empty list is the identity. Branches may contain other such layers.

    Raises
    ------
    ShapeError
        If a layer of a branch cannot process its input, or branches differ in height or width. Raised in ``fit``.

    Notes
    -----
    y[a, b] = (f1(x)[a, b], f2(x)[a, b], ...), concatenated along the channels. Flat outputs are concatenated along the
    features. In the backward pass, each branch gets its slice of dy, and dx is the sum over the branches. C. Szegedy et
    al., "Going deeper with convolutions", arXiv:1409.4842, section 4. For an empty branch see G. Huang et al., "Densely
    connected convolutional networks", arXiv:1608.06993, equation 2.

    Parameters are named after their branch, for example ``concatenate1.branch1.conv1.kernel``. In ``set_params`` and
    searches, write ``layers__concatenate1__branch1__conv1__filters``.

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
                " use padding='same' and the same strides in all branches"
            )
        return (*shapes[0][:-1], sum(found[-1] for found in shapes))

    def inside(self, shape: Shape) -> list[tuple[str, Layer, Shape]]:
        return [
            found for i, layers in enumerate(self.branches) for found in _bind(_branch_names(i, layers), layers, shape)
        ]

    def lowered(self) -> tuple[Layer, ...]:
        steps = (tuple(lowered_steps(_branch_names(i, layers), layers)) for i, layers in enumerate(self.branches))
        return (Branches(tuple(steps), "concatenate"),)

    def _names(self) -> list[str]:
        return [name for i, layers in enumerate(_listed(self.branches)) for name in _branch_names(i, _listed(layers))]


@description
class Gate(_Composite):
    """Product of the input and a gate that layers compute from it.  x (n, ...) -> y (n, ...).

    Parameters
    ----------
    layers : list of Layer
        Layers that compute the gate. Their output has the shape of the gated array, or one number for each channel.
        They may contain other such layers.
    around : list of Layer, default=()
        Layers between the input and the product. By default the gate multiplies the input.

    Raises
    ------
    ShapeError
        If one of the layers cannot process its input, or the shape of the gate does not fit the gated array. Raised in
        ``fit``.

    Notes
    -----
    y = s(x) f(x), with f the layers of the gate and s the layers around it. A gate (c,) of an image (h, w, c)
    multiplies all pixels of a channel by the same number. In the backward pass, s gets f(x) dy, and f gets s(x) dy,
    summed over the pixels if the gate is (c,). J. Hu, L. Shen, S. Albanie, G. Sun and E. Wu, "Squeeze-and-excitation
    networks", arXiv:1709.01507, equation 4.

    Parameters are named after the nested layers, for example ``gate1.dense1.kernel`` and, for the layers around the
    gate, ``gate1.around.conv1.kernel``. In ``set_params`` and searches, write ``layers__gate1__dense1__units``.

    Examples
    --------
    >>> from skcnn.layers import Dense, Gate, GlobalAvgPool2D, ReLU, Sigmoid
    >>> squeeze_excite = Gate([GlobalAvgPool2D(), Dense(8), ReLU(), Dense(32), Sigmoid()])
    >>> squeeze_excite.output_shape((28, 28, 32))
    (28, 28, 32)
    >>> squeeze_excite.parameters((28, 28, 32))["dense1.kernel"].shape
    (32, 8)
    """

    layers: Sequence[Layer]
    around: Sequence[Layer] = ()

    stem = "gate"

    def check(self) -> None:
        self._check_list(self.layers, "layers")
        self._check_list(self.around, "around")

    def inner(self) -> dict[str, Layer]:
        return dict(zip(self._names(), [*_listed(self.layers), *_listed(self.around)], strict=True))

    def with_inner(self, name: str, layer: Layer) -> Layer:
        position, count = self._names().index(name), len(self.layers)
        if position < count:
            return self.replaced(layers=_with(self.layers, position, layer))
        return self.replaced(around=_with(self.around, position - count, layer))

    def output_shape(self, shape: Shape) -> Shape:
        gate = infer_shapes(self.layers, shape, "its layers")[-1]
        gated = infer_shapes(self.around, shape, "its around")[-1]
        if gate not in (gated, gated[-1:]):
            raise ShapeError(
                f"its layers turn it into {gate}, which does not fit {gated}; end them with that shape, or with"
                f" {gated[-1:]}, one number for each channel"
            )
        return gated

    def inside(self, shape: Shape) -> list[tuple[str, Layer, Shape]]:
        names, count = self._names(), len(self.layers)
        return _bind(names[:count], self.layers, shape) + _bind(names[count:], self.around, shape)

    def lowered(self) -> tuple[Layer, ...]:
        names, count = self._names(), len(self.layers)
        branches = lowered_steps(names[count:], self.around), lowered_steps(names[:count], self.layers)
        return (Branches(tuple(map(tuple, branches)), "multiply"),)

    def _names(self) -> list[str]:
        around = (f"around.{name}" for name in layer_names(_listed(self.around)))
        return [*layer_names(_listed(self.layers)), *around]


def _listed(value: Any) -> list[Any]:
    """Return the entries of a list, or an empty list for any other value, for which `check` raises."""
    return list(value) if isinstance(value, (list, tuple)) else []


def _branch_names(i: int, layers: Sequence[Layer]) -> list[str]:
    return [f"branch{i + 1}.{name}" for name in layer_names(layers)]


def _bind(names: Sequence[str], layers: Sequence[Layer], shape: Shape) -> list[tuple[str, Layer, Shape]]:
    """Return (name, layer, input shape) for each layer."""
    return list(zip(names, layers, infer_shapes(layers, shape), strict=False))


def _with(held: Any, position: int, value: Any) -> Any:
    """Return a copy of a list or tuple with ``value`` at ``position``."""
    return type(held)([*held[:position], value, *held[position + 1 :]])
