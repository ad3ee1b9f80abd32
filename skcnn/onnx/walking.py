"""Conversion of the nodes of a graph to values and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from .._arrays.elementwise import Array
from ..layers import Flatten, Layer
from ..layers.base import Shape
from .folding import fold, shape_array
from .pointwise import Function
from .reading import LARGEST, Node, Refused, Source, refuse

IMAGE = ("N", "C", "H", "W")
LAYOUTS = {"NCHW": IMAGE, "NHWC": ("N", "H", "W", "C")}
POOLED = ("N", "F", "1", "1")
INPUT = ""  # name of the value with the images


@dataclass(frozen=True, eq=False)
class Value:
    """Tensor of the graph, and its meaning in this package.

    ``axes`` names the axes of the tensor: N images, C channels, H height, W width, F features of a flat value, 1 an
    axis of length 1, G groups of channels, R the rest after grouping, A all numbers of all images. ``order`` contains
    the feature index in this package for each number of a flat tensor. None means that the orders are equal.
    """

    axes: tuple[str, ...]
    shape: Shape  # (h, w, c), or (features,)
    order: Array | None = None
    groups: int = 0

    @property
    def sizes(self) -> dict[str, int | None]:
        """Dictionary of axis -> length. The length of N is None."""
        found: dict[str, int | None] = {"N": None, "A": None, "1": 1}
        if len(self.shape) == 3:
            found |= dict(zip("HWC", self.shape, strict=True))
        else:
            found["F"] = self.shape[0]
        if self.groups:
            found |= {"G": self.groups, "R": math.prod(self.shape) // self.groups}
        return found

    @property
    def dims(self) -> tuple[int | None, ...]:
        """Shape of the tensor, with None for the number of images."""
        sizes = self.sizes
        return tuple(sizes[axis] for axis in self.axes)

    @property
    def is_flat(self) -> bool:
        """Whether the value is one row per image."""
        return len(self.shape) == 1

    def axis(self, number: int) -> int:
        """Convert an axis that may be negative to an axis from 0 on; raise a ValueError if it does not exist."""
        if not -len(self.axes) <= number < len(self.axes):
            raise ValueError(f"it has no axis {number}")
        return number % len(self.axes)

    def features(self, vector: Array) -> Array:
        """Return a vector over channels or features of the tensor in the order of this package."""
        if self.order is None:
            return vector
        ours = np.empty_like(vector)
        ours[self.order] = vector
        return ours

    def __str__(self) -> str:
        return f"({', '.join('N' if size is None else str(size) for size in self.dims)})"


@dataclass(frozen=True, eq=False)
class Part:
    """Layer and its arrays by name."""

    layer: Layer
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Step:
    """Computation of a value from other values.

    ``kind`` is "layers" for the sequence ``parts``, "add", "multiply" or "concatenate" for a join of several values,
    and "open" for an operator that is supported only as part of an activation. ``function`` is the function of an
    elementwise step.
    """

    node: Node | None
    kind: str
    sources: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    function: Function | None = None
    pattern: bool = False  # whether it may be the last node of an activation that consists of several


Handler = Callable[["Walk", Node], None]


class Walk:
    """Traversal of all nodes on which an output depends. It converts each to a step or a value."""

    def __init__(self, source: Source, start: str, image: Value, output: str, flat: bool) -> None:
        self.source = source
        self.constants = dict(source.constants)
        self.values: dict[str, Value] = {INPUT: image}
        self.steps: dict[str, Step] = {}
        self.numbers: dict[str, float] = {INPUT: -2}  # value -> position of the node that computes it
        self.joined: dict[tuple[Any, ...], str] = {}  # concatenated values -> result
        self._alias: dict[str, str] = {}
        if flat:
            self.values[start] = Value(("N", "F"), (math.prod(image.shape),))
            self.steps[start] = Step(None, "layers", (INPUT,), (Part(Flatten()),))
            self.numbers[start] = -1
        else:
            self._alias[start] = INPUT
        self.output = output
        self._known = {start}

    def run(self, handlers: dict[str, Handler]) -> None:
        """Visit the nodes; raise `Refused` for a node that is not supported."""
        for node in self._needed():
            try:
                self._visit(node, handlers)
            except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError) as error:
                refuse(node, f"it is not valid for its inputs ({error})", self.shapes(node))

    def _needed(self) -> list[Node]:
        makers, wanted, found = self.source.makers, [self.output], set()
        while wanted:
            node = makers.get(name) if (name := wanted.pop()) not in self._known else None
            if node is not None and node.number not in found:
                found.add(node.number)
                wanted += node.inputs
        return [node for node in self.source.nodes if node.number in found]

    def _visit(self, node: Node, handlers: dict[str, Handler]) -> None:
        names = [self.resolved(name) for name in node.inputs if name]
        unknown = [name for name in names if name not in self.constants and name not in self.values]
        if unknown:
            refuse(node, f"it reads {unknown[0]!r}, which does not exist")
        if node.operator == "Shape":
            dims = (
                shape_array(self.values[names[0]].dims) if names[0] in self.values else self.constants[names[0]].shape
            )
            self.constants[node.outputs[0]] = np.asarray(dims)[node("start", 0) : node("end")]
            return
        if all(name in self.constants for name in names):
            found = fold(node, self.arrays(node))
            if found is None:
                refuse(node, "it computes with constants in an unsupported way", self.shapes(node))
            self.constants[node.outputs[0]] = found
            return
        if node.operator not in handlers:
            quantized = "Linear" in node.operator or "Integer" in node.operator
            remedy = "Export the model before quantization" if quantized else ""
            self.refuse(node, "there is no layer for it", remedy)
        handlers[node.operator](self, node)

    # -- queries of handlers

    def resolved(self, name: str) -> str:
        """Return the value that a name stands for. Nodes without effect share the value of their input."""
        return self._alias.get(name, name)

    def arrays(self, node: Node) -> list[Any]:
        """Return the constant inputs of a node, with None for other and for omitted inputs."""
        return [self.constants.get(self.resolved(name)) if name else None for name in node.inputs]

    def lives(self, node: Node) -> list[str]:
        """Return the names of the inputs of a node that are not constant."""
        return [found for name in node.inputs if name and (found := self.resolved(name)) not in self.constants]

    def image(self, node: Node) -> tuple[str, Value]:
        """Return name and value of the first input; refuse the node if other inputs are not constant."""
        names = self.lives(node)
        if len(names) != 1 or names[0] != self.resolved(node.inputs[0]):
            self.refuse(node, "all inputs except the first must be constants")
        return names[0], self.values[names[0]]

    def constant(self, node: Node, position: int, default: Any = None) -> Any:
        """Return a constant input, or ``default`` if it is omitted; refuse the node if it is not constant."""
        if len(node.inputs) <= position or not node.inputs[position]:
            return default
        return self.arrays(node)[position]

    def shapes(self, node: Node) -> str:
        """Describe the inputs of a node, for messages."""
        found = []
        for resolved in (self.resolved(name) for name in node.inputs if name):
            if resolved in self.values:
                found.append(str(self.values[resolved]))
            elif resolved in self.constants:
                found.append(f"a constant {self.constants[resolved].shape}")
        return f" of {', '.join(found)}" if found else ""

    def refuse(self, node: Node, why: str, remedy: str = "") -> NoReturn:
        """Raise `Refused` for a node, with the shapes of its inputs."""
        refuse(node, why, self.shapes(node), remedy)

    # -- results of handlers

    def give(
        self,
        node: Node,
        value: Value,
        sources: Sequence[str],
        parts: Sequence[Part] = (),
        *,
        kind: str = "layers",
        function: Function | None = None,
        pattern: bool = False,
    ) -> None:
        """Store the result of a node. If it has no layers and leaves the value unchanged, no step is added."""
        output = node.outputs[0]
        source = self.values[sources[0]]
        if math.prod(value.shape) > LARGEST:
            self.refuse(node, f"its result {value} is too large")
        if kind == "layers" and not parts and not pattern and same(value, source):
            self._alias[output] = sources[0]
            return
        self.values[output] = value
        self.steps[output] = Step(node, kind, tuple(sources), tuple(parts), function, pattern)
        self.numbers[output] = node.number

    def flattened(self, names: Sequence[str]) -> list[str]:
        """Return the values. If one of them is a row, single-pixel images are flattened, as global pooling does."""
        mixed = any(self.values[name].is_flat for name in names)
        return [self._row(name) if mixed and not self.values[name].is_flat else name for name in names]

    def _row(self, name: str) -> str:
        value = self.values[name]
        if value.shape[:2] != (1, 1) or value.groups:
            return name
        row = f"{name}\0row"
        axes = tuple({"C": "F", "H": "1", "W": "1"}.get(axis, axis) for axis in value.axes)
        self.values[row] = Value(axes, value.shape[2:])
        self.steps[row] = Step(None, "layers", (name,), (Part(Flatten()),))
        self.numbers[row] = self.numbers[name] + 0.5
        return row

    def result(self) -> str:
        """Return the name of the value that is the output."""
        name = self.resolved(self.output)
        if name not in self.values:
            raise Refused(f"its output {self.output!r} does not depend on the images.")
        return name


def same(value: Value, other: Value) -> bool:
    """Return whether two tensors have the same axes, sizes and order."""
    if value.order is None or other.order is None:
        orders = value.order is other.order
    else:
        orders = np.array_equal(value.order, other.order)
    return value.axes == other.axes and value.shape == other.shape and value.groups == other.groups and orders
