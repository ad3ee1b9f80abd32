"""An ONNX file as it is read: nodes in order, constants as arrays, one input, nothing from outside of its folder."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .._arrays.elementwise import Array
from .graph import needs

OPSETS = range(7, 10_000)  # in 7 the operators took their numpy-like broadcasting; a newest one there is not
LARGEST = 1 << 28  # numbers of a constant
DOMAINS = ("", "ai.onnx")
FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
PIXELS = (*FLOATS, "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64")


class Refused(Exception):
    """What this package cannot compute, or what is wrong with a file."""

    number = -1  # of the node


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the graph, with the numbers of its attributes as Python has them."""

    number: int
    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return (
            f"node {self.number}, {self.operator} {self.name!r}"
            if self.name
            else f"node {self.number}, {self.operator}"
        )

    def __call__(self, attribute: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return self.attributes.get(attribute, default)


@dataclass
class Source:
    """What a file says: nodes, the constants by their names, and the input and the outputs of the graph."""

    opset: int
    producer: str
    nodes: list[Node]
    constants: dict[str, Array]
    input: str
    dims: tuple[int | None, ...]  # of the input; None for what the file leaves open
    outputs: tuple[str, ...]
    double: bool  # whether it takes numbers in double precision
    makers: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers = {output: node for node in self.nodes for output in node.outputs if output}


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Whatever a file makes go wrong inside becomes a ValueError that names it."""
    try:
        yield
    except Refused as error:
        raise ValueError(f"{what} cannot be imported: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{what} is damaged, or no ONNX model ({type(error).__name__}: {error}).") from None


def refuse(node: Node, why: str, shapes: str = "", remedy: str = "") -> NoReturn:
    """Say which node cannot be computed, and why."""
    error = Refused(f"{node}{shapes}: {why}.{' ' + remedy + '.' if remedy else ''}")
    error.number = node.number
    raise error


def name_of(source: Any) -> str:
    """What errors call a path or bytes."""
    return "The model" if isinstance(source, (bytes, bytearray, memoryview)) else f"{os.fspath(source)!r}"


def read(source: str | os.PathLike[str] | bytes) -> Source:
    """What a file or its bytes say."""
    onnx, folder = needs("onnx"), None
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
    else:
        path = Path(source)
        content, folder = path.read_bytes(), path.parent
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf has several classes for it, in places that move
        raise Refused(f"it is no ONNX model, or cut off ({error}).") from None
    if not model.graph.node and not model.graph.output:
        raise Refused("it has no graph: it is no ONNX model, or cut off.")
    if model.functions:
        model = needs("onnx.inliner").inline_local_functions(model)
    opset = _opset(model)
    for tensor in _tensors(model.graph):
        _take_in(tensor, folder)
    try:
        needs("onnx.checker").check_model(model)
    except Exception as error:  # its own class, and others for what it cannot make sense of
        raise Refused(f"the checker of the onnx package finds a mistake: {str(error).strip()}") from None
    graph = model.graph
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    if len(graph.sparse_initializer):
        raise Refused("it has sparse weights. Export it with dense ones.")
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise Refused(f"it must have one input, the images, and has {len(inputs)}: {names}.")
    kind, dims = _declared(inputs[0])
    nodes = [_node(number, node) for number, node in enumerate(graph.node)]
    return Source(
        opset,
        model.producer_name,
        nodes,
        constants,
        inputs[0].name,
        dims,
        tuple(value.name for value in graph.output),
        kind == "DOUBLE",
    )


def _opset(model: Any) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 1))
    if opset not in OPSETS:
        raise Refused(
            f"its operators are of version {opset}, and those before {OPSETS[0]} mean other things. Convert it with"
            " onnx.version_converter."
        )
    return int(opset)


def _declared(value: Any) -> tuple[str, tuple[int | None, ...]]:
    """Type and dimensions of the input."""
    tensor = value.type.tensor_type
    kind = needs("onnx").TensorProto.DataType.Name(tensor.elem_type)
    if not value.type.HasField("tensor_type") or kind not in PIXELS:
        raise Refused(f"its input {value.name!r} must be an array of numbers, and is of type {kind}.")
    if not tensor.HasField("shape"):
        raise Refused(f"its input {value.name!r} has no shape: the number of its axes must be known.")
    known = (d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    return kind, tuple(known)


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph, those in attributes too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _take_in(tensor: Any, folder: Path | None) -> None:
    """Put what a tensor has in another file into the tensor: a file beside the model, and nothing else."""
    if tensor.data_location != needs("onnx").TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    if folder is None:
        raise Refused(f"its weights {tensor.name!r} are in the file {name!r}. Give the path, not the bytes.")
    if not name or name in (".", "..") or any(separator in name for separator in "/\\:\0"):
        raise Refused(f"its weights {tensor.name!r} are in {name!r}, and only files of its own folder are read.")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise Refused(f"its weights {tensor.name!r} are in {name!r}, which is no file of its folder.")
    offset = int(entries.get("offset", 0))
    length = int(entries["length"]) if "length" in entries else path.stat().st_size - offset
    if offset < 0 or length < 0 or offset + length > path.stat().st_size:
        raise Refused(f"its weights {tensor.name!r} are beyond the end of the file {name!r}.")
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = needs("onnx").TensorProto.DEFAULT
    del tensor.external_data[:]


def to_array(tensor: Any) -> Array:
    """A tensor of the file as an array."""
    if math.prod(tensor.dims) > LARGEST or any(size < 0 for size in tensor.dims):
        raise Refused(f"its weights {tensor.name!r} have the shape {tuple(tensor.dims)}, too large to be true.")
    array = needs("onnx.numpy_helper").to_array(tensor)
    if array.dtype.kind in "OSU":
        strings = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
        return np.array(strings, dtype=object).reshape(array.shape)
    if array.dtype.kind not in "biuf":  # of the types that NumPy does not have, the one that networks have
        array = array.astype(np.float32)
    return array


def _node(number: int, node: Any) -> Node:
    attributes = {}
    for attribute in node.attribute:
        value = needs("onnx.helper").get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif attribute.HasField("t"):
            value = to_array(attribute.t)
        elif attribute.HasField("g") or attribute.graphs:
            value = None
        attributes[attribute.name] = value
    operator = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
    return Node(number, node.name, operator, tuple(node.input), tuple(node.output), attributes)
