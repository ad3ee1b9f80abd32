"""Reading of ONNX files: nodes in order, constants as arrays, a single input, and no access outside its folder."""

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

OPSETS = range(7, 10_000)  # operators have NumPy's broadcasting since version 7
LARGEST = 1 << 28  # most numbers of a constant
DOMAINS = ("", "ai.onnx")
FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
PIXELS = (*FLOATS, "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64")


class Refused(Exception):
    """Error for a graph that this package cannot compute, or for an invalid file."""

    number = -1  # position of the node in the graph


@dataclass(frozen=True, eq=False)
class Node:
    """Node of the graph, with attributes as Python values."""

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
        """Return the value of an attribute."""
        return self.attributes.get(attribute, default)


@dataclass
class Source:
    """Content of a file: nodes, constants by name, and the input and outputs of the graph."""

    opset: int
    producer: str
    nodes: list[Node]
    constants: dict[str, Array]
    input: str
    dims: tuple[int | None, ...]  # dimensions of the input, None if undefined
    outputs: tuple[str, ...]
    double: bool  # whether the input is in double precision
    makers: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers = {output: node for node in self.nodes for output in node.outputs if output}


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Convert all errors while reading a file to a ValueError that names the file."""
    try:
        yield
    except Refused as error:
        raise ValueError(f"{what} cannot be imported: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{what} is damaged or not an ONNX model ({type(error).__name__}: {error}).") from None


def refuse(node: Node, why: str, shapes: str = "", remedy: str = "") -> NoReturn:
    """Raise `Refused` for a node, with the reason."""
    error = Refused(f"{node}{shapes}: {why}.{' ' + remedy + '.' if remedy else ''}")
    error.number = node.number
    raise error


def name_of(source: Any) -> str:
    """Return the name of a path or of bytes in messages."""
    return "The model" if isinstance(source, (bytes, bytearray, memoryview)) else f"{os.fspath(source)!r}"


def read(source: str | os.PathLike[str] | bytes) -> Source:
    """Read a file or its bytes."""
    onnx, folder = needs("onnx"), None
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source)
    else:
        path = Path(source)
        content, folder = path.read_bytes(), path.parent
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf has several error classes, whose modules change between versions
        raise Refused(f"it is not an ONNX model, or is cut off ({error}).") from None
    if not model.graph.node and not model.graph.output:
        raise Refused("it has no graph, so it is not an ONNX model, or is cut off.")
    if model.functions:
        model = needs("onnx.inliner").inline_local_functions(model)
    opset = _opset(model)
    for tensor in _tensors(model.graph):
        _take_in(tensor, folder)
    try:
        needs("onnx.checker").check_model(model)
    except Exception as error:  # invalid models raise other errors besides the checker's own class
        raise Refused(f"the checker of the onnx package found an error: {str(error).strip()}") from None
    graph = model.graph
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    if len(graph.sparse_initializer):
        raise Refused("it has sparse weights. Export it with dense weights.")
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise Refused(f"it must have one input, the images, but has {len(inputs)}: {names}.")
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
            f"it uses version {opset} of the operators, but versions before {OPSETS[0]} have a different meaning."
            " Convert it with onnx.version_converter."
        )
    return int(opset)


def _declared(value: Any) -> tuple[str, tuple[int | None, ...]]:
    """Return type and dimensions of an input."""
    tensor = value.type.tensor_type
    kind = needs("onnx").TensorProto.DataType.Name(tensor.elem_type)
    if not value.type.HasField("tensor_type") or kind not in PIXELS:
        raise Refused(f"its input {value.name!r} must be an array of numbers, but has type {kind}.")
    if not tensor.HasField("shape"):
        raise Refused(f"its input {value.name!r} has no shape. The number of axes must be known.")
    known = (d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)
    return kind, tuple(known)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all tensors of a graph, including tensors in attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _take_in(tensor: Any, folder: Path | None) -> None:
    """Load the external data of a tensor, only from files in the folder of the model."""
    if tensor.data_location != needs("onnx").TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    if folder is None:
        raise Refused(f"its weights {tensor.name!r} are in the file {name!r}. Pass the path instead of bytes.")
    if not name or name in (".", "..") or any(separator in name for separator in "/\\:\0"):
        raise Refused(f"its weights {tensor.name!r} are in {name!r}, but only files in its folder are read.")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise Refused(f"its weights {tensor.name!r} are in {name!r}, which is not a file in its folder.")
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
    """Convert a tensor of the file to an array."""
    if math.prod(tensor.dims) > LARGEST or any(size < 0 for size in tensor.dims):
        raise Refused(f"its weights {tensor.name!r} have the shape {tuple(tensor.dims)}, which is too large.")
    array = needs("onnx.numpy_helper").to_array(tensor)
    if array.dtype.kind in "OSU":
        strings = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
        return np.array(strings, dtype=object).reshape(array.shape)
    if array.dtype.kind not in "biuf":  # bfloat16, which NumPy does not have
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
