"""ONNX graphs under construction, with nodes and constants named after their layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .._arrays.elementwise import Array
from .._version import __version__
from ..layers.base import Layer, Shape

Converter = Callable[..., "Tensor | str"]


class Tensor(NamedTuple):
    """Value of the graph.

    Parameters
    ----------
    name : str
        Name by which nodes refer to the value.
    shape : tuple of int
        Shape of one image in the layers, (h, w, c) or (features,). In the graph it is (n, c, h, w) or (n, features).
    """

    name: str
    shape: Shape


class Graph:
    """ONNX graph under construction.

    A converter calls the graph once for each node. ``graph("Relu", x)`` adds the node and returns the name of its
    output.

    Parameters
    ----------
    opset : int
        Version of the operators, from 17 to 22.
    converters : mapping of type to callable
        Converters of the layers and losses.

    Notes
    -----
    For the operators and their versions see https://onnx.ai/onnx/operators. All graphs of `skcnn.onnx` have the same
    meaning in versions 17 to 22.

    Examples
    --------
    >>> from skcnn.onnx import CONVERTERS, Graph, Tensor
    >>> graph = Graph(17, CONVERTERS)
    >>> x = Tensor("X", (5,))
    >>> graph("Mul", graph("Sigmoid", x), 2.0)
    'Mul'
    >>> [(node.op_type, list(node.input)) for node in graph.nodes]
    [('Sigmoid', ['X']), ('Mul', ['Sigmoid', 'Mul.1'])]
    """

    def __init__(self, opset: int, converters: Mapping[type, Converter]) -> None:
        self.opset = opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.converters = converters
        self.reached: dict[str, Tensor] = {}  # full name of each layer, including nested layers -> its output
        self._helper = needs("onnx.helper")
        self._numpy = needs("onnx.numpy_helper")
        self._owner = ""
        self._taken = {"X"}

    def __call__(self, operator: str, *inputs: Any, attributes: Mapping[str, Any] | None = None) -> str:
        """Add a node with one output.

        Parameters
        ----------
        operator : str
            Name of the operator in ONNX, for example "Relu".
        *inputs : Tensor, str, ndarray or float
            Values of the graph, or constants. Integer constants become int64, other numbers float32.
        attributes : mapping, default=None
            Attributes of the operator. By default there are none.

        Returns
        -------
        str
            Name of the output.
        """
        name = self._unique(f"{self._owner}/{operator}" if self._owner else operator)
        values = [
            v.name if isinstance(v, Tensor) else v if isinstance(v, str) else self._constant(v, f"{name}.{i}")
            for i, v in enumerate(inputs)
        ]
        self.nodes.append(self._helper.make_node(operator, values, [name], name, **(attributes or {})))
        return name

    def constant(self, value: Any, name: str) -> str:
        """Add an array of the current layer, such as ``conv1.kernel``, and return its name."""
        return self._constant(value, f"{self._owner}.{name}")

    def by_channel(self, vector: Array, x: Tensor, name: str) -> str:
        """Add a vector (c,) of the current layer in a shape that broadcasts against ``x``, and return its name."""
        return self.constant(vector if len(x.shape) == 1 else vector.reshape(-1, 1, 1), name)

    def layer(self, name: str, layer: Layer, x: Tensor, p: Any) -> Tensor:
        """Add a layer with its converter.

        Parameters
        ----------
        name : str
            Name of the layer, relative to the layer under conversion.
        layer : Layer
            Layer to convert.
        x : Tensor
            Input of the layer.
        p : namespace
            Parameters of the layer, by name.

        Returns
        -------
        Tensor
            Output of the layer.

        Raises
        ------
        TypeError
            If the layer has no converter, or the converter does not return a name.
        """
        outer = self._owner
        whole = self._owner = f"{outer}.{name}" if outer else name
        convert = self.converter(layer, "(graph, layer, x, p) -> name of the output")
        y = convert(self, layer, x, p)
        self._owner = outer
        if not isinstance(y, (str, Tensor)):
            raise TypeError(
                f"The converter of {name} = {layer!r} must return the name of its output, a str, got {y!r}."
            )
        self.reached[whole] = Tensor(y.name if isinstance(y, Tensor) else y, layer.output_shape(x.shape))
        return self.reached[whole]

    def converter(self, what: Any, signature: str) -> Converter:
        """Return the converter of a layer or a loss; raise a TypeError that says how to pass one if it is missing."""
        kind = type(what)
        if kind not in self.converters:
            name = f"{self._owner} = {what!r}" if self._owner else repr(what)
            raise TypeError(
                f"{name} has no converter to ONNX. Pass one: to_onnx(..., converters={{{kind.__name__}: function}})"
                f" with function{signature}."
            )
        return self.converters[kind]

    def part(self, owner: str) -> None:
        """Name the following nodes after a part of the model that is not a layer, such as the input or output."""
        self._owner = owner

    def output(self, value: Tensor | str, name: str) -> None:
        """Make a value an output of the graph with the given name."""
        value = value.name if isinstance(value, Tensor) else value
        self._taken.add(name)
        self.nodes.append(self._helper.make_node("Identity", [value], [name], self._unique(f"{name}/Identity")))

    def model(self, columns: int, outputs: Mapping[str, tuple[int, Shape]]) -> Any:
        """Return the graph as an ``onnx.ModelProto`` with the input X (N, columns).

        ``outputs`` maps names to (element type, shape without N).
        """
        onnx = needs("onnx")
        infos = [
            self._helper.make_tensor_value_info(name, kind, ["N", *shape])
            for name, (kind, shape) in {"X": (onnx.TensorProto.FLOAT, (columns,)), **outputs}.items()
        ]
        graph = self._helper.make_graph(self.nodes, "skcnn", infos[:1], infos[1:], self.constants)
        return self._helper.make_model(
            graph,
            opset_imports=[self._helper.make_opsetid("", self.opset)],
            ir_version=10,  # supported by onnxruntime since version 1.18 (2024)
            producer_name="skcnn",
            producer_version=__version__,
        )

    def _constant(self, value: Any, name: str) -> str:
        array = np.asarray(value)
        if array.dtype.kind in "OU":
            kind = needs("onnx").TensorProto.STRING
            tensor = self._helper.make_tensor(name, kind, array.shape, [str(v).encode() for v in array.ravel()])
        else:
            dtype = np.int64 if array.dtype.kind in "iub" else np.float32
            tensor = self._numpy.from_array(np.ascontiguousarray(array, dtype).reshape(array.shape), name)
        tensor.name = self._unique(name)
        self.constants.append(tensor)
        return tensor.name

    def _unique(self, name: str) -> str:
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found


def needs(module: str) -> Any:
    """Import a module of an optional package; raise an ImportError with an install command if it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(f"skcnn.onnx requires {package}. Install it: pip install 'skcnn[onnx]'") from error
