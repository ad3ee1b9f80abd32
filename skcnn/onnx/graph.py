"""An ONNX graph while it is built: nodes and constants, named after the layer that they compute."""

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
    """A value of the graph.

    Parameters
    ----------
    name : str
        By which nodes refer to it.
    shape : tuple of int
        Of one image, as the layers have it: (h, w, c), which the graph holds as (n, c, h, w), or (features,), which it
        holds as (n, features).
    """

    name: str
    shape: Shape


class Graph:
    """Takes nodes and constants, and names them.

    A converter calls it once for each node: ``graph("Relu", x)`` adds the node and returns the name of its output.

    Parameters
    ----------
    opset : int
        Version of the operators that the graph is to be read with.
    converters : mapping of type to callable
        What converts the layers and losses.

    Notes
    -----
    The operators and their versions: https://onnx.ai/onnx/operators. All of `skcnn.onnx` means the same in the
    versions 17 to 22 of the operator set.

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
        self.reached: dict[str, Tensor] = {}  # what each layer gives, those inside of others too, by its full name
        self._helper = needs("onnx.helper")
        self._numpy = needs("onnx.numpy_helper")
        self._owner = ""
        self._taken = {"X"}

    def __call__(self, operator: str, *inputs: Any, attributes: Mapping[str, Any] | None = None) -> str:
        """Add a node with one output.

        Parameters
        ----------
        operator : str
            As ONNX calls it: "Relu".
        *inputs : Tensor, str, ndarray or float
            Values of the graph, or constants: integers become int64, and other numbers float32.
        attributes : mapping, default=None
            The operator's attributes.

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
        """Add an array that the layer owns, as ``conv1.kernel``; its name."""
        return self._constant(value, f"{self._owner}.{name}")

    def by_channel(self, vector: Array, x: Tensor, name: str) -> str:
        """Add a vector (c,) that the layer owns, in the form that broadcasts against ``x``; its name."""
        return self.constant(vector if len(x.shape) == 1 else vector.reshape(-1, 1, 1), name)

    def layer(self, name: str, layer: Layer, x: Tensor, p: Any) -> Tensor:
        """Add what a layer computes, by its converter.

        Parameters
        ----------
        name : str
            The layer's name, inside of the layer that is being converted, if there is one.
        layer : Layer
            What is converted.
        x : Tensor
            Its input.
        p : namespace
            Its parameters.

        Returns
        -------
        Tensor
            Its output.

        Raises
        ------
        TypeError
            If there is no converter for layers of its type, or it does not give a name.
        """
        outer = self._owner
        whole = self._owner = f"{outer}.{name}" if outer else name
        convert = self.converter(layer, "(graph, layer, x, p) -> name of the output")
        y = convert(self, layer, x, p)
        self._owner = outer
        if not isinstance(y, (str, Tensor)):
            raise TypeError(f"The converter of {name} = {layer!r} must give the name of its output, a str, got {y!r}.")
        self.reached[whole] = Tensor(y.name if isinstance(y, Tensor) else y, layer.output_shape(x.shape))
        return self.reached[whole]

    def converter(self, what: Any, signature: str) -> Converter:
        """The converter of a layer or a loss; a TypeError that says how to pass one, if there is none."""
        kind = type(what)
        if kind not in self.converters:
            name = f"{self._owner} = {what!r}" if self._owner else repr(what)
            raise TypeError(
                f"{name} has no converter to ONNX. Pass one: to_onnx(..., converters={{{kind.__name__}: function}})"
                f" with function{signature}."
            )
        return self.converters[kind]

    def part(self, owner: str) -> None:
        """Name what follows after a part of the model that is no layer: its input, or its output."""
        self._owner = owner

    def output(self, value: Tensor | str, name: str) -> None:
        """Give a value the name of an output of the graph."""
        value = value.name if isinstance(value, Tensor) else value
        self._taken.add(name)
        self.nodes.append(self._helper.make_node("Identity", [value], [name], self._unique(f"{name}/Identity")))

    def model(self, columns: int, outputs: Mapping[str, tuple[int, Shape]]) -> Any:
        """The whole as an ``onnx.ModelProto`` with the input X (N, columns).

        ``outputs`` are name -> (element type, shape behind N).
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
            ir_version=10,  # onnxruntime reads it since 1.18, of 2024
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
    """A module of a package that only the export needs; an ImportError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise ImportError(f"skcnn.onnx needs {package}, which is not installed: pip install 'skcnn[onnx]'") from error
