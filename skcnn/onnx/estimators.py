"""Graphs of whole estimators, from images to labels and probabilities, targets or features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._engine.views import View, views_of
from .._estimators.base import BaseCNN
from .._tape.parameters import Arrays
from ..classifier import CNNClassifier
from ..features import CNNFeatures
from ..losses import Loss
from .graph import Converter, Graph, Tensor, needs
from .layers import LINKS, flatten, images

Output = tuple[int, tuple[int, ...]]  # element type, and shape without N


def build(
    estimator: Any, converters: Mapping[type, Converter], opset: int, *, raw_scores: bool = False, cast: bool = False
) -> Any:
    """Build the ``onnx.ModelProto`` of a fitted estimator of this package.

    With ``raw_scores``, the second output of a classifier are raw predictions, one column per class. With ``cast``, the
    input is converted to float32.
    """
    graph = Graph(opset, converters)
    graph.part("input")
    x = graph("Cast", "X", attributes={"to": needs("onnx").TensorProto.FLOAT}) if cast else "X"
    network = estimator.estimator_ if isinstance(estimator, CNNFeatures) else estimator
    if isinstance(estimator, CNNFeatures):
        outputs = _features(graph, estimator, x)
    elif isinstance(estimator, CNNClassifier):
        outputs = _classes(graph, estimator, x, raw_scores)
    else:
        outputs = _targets(graph, estimator, x)
    return graph.model(network.n_features_in_, outputs)


def outputs_of(estimator: Any, raw_scores: bool = False) -> dict[str, Output]:
    """Return a dictionary of output name -> (element type, shape without N) for the graph of `build`."""
    kinds = needs("onnx").TensorProto
    if isinstance(estimator, CNNFeatures):
        return {"variable": (kinds.FLOAT, (estimator._n_features_out,))}
    if not isinstance(estimator, CNNClassifier):
        return {"variable": (kinds.FLOAT, (estimator._columns or 1,))}
    k = (len(estimator.classes_),)
    kind = kinds.STRING if _class_values(estimator).dtype.kind in "OU" else kinds.INT64
    scores = "probabilities" if estimator._loss().has_probabilities and not raw_scores else "scores"
    return {"label": (kind, k if estimator._labels else ()), scores: (kinds.FLOAT, k)}


def _layers(graph: Graph, estimator: BaseCNN, rows: str, last: str = "output") -> Tensor:
    """Add the layers from the input to the layer ``last``; return its output.

    The output of the network is averaged over the views of the estimator's test-time augmentation.
    """
    model, network = estimator._model, estimator._model.network
    p = network.bind(model.weights, model.state)
    if (targets := model.target_scaling) is not None:
        kernel, bias = (array.astype(np.float64) for array in (p["output"].kernel, p["output"].bias))
        p["output"] = Arrays(kernel=kernel * targets.scale, bias=bias * targets.scale + targets.mean)
    x = images(graph, rows, network.input_shape)
    if model.scaling.mean.any():
        x = Tensor(graph("Sub", x, graph.by_channel(model.scaling.mean, x, "mean")), x.shape)
    if (model.scaling.scale != 1).any():
        x = Tensor(graph("Mul", x, graph.by_channel(1 / model.scaling.scale, x, "factor")), x.shape)
    views = views_of(estimator.test_time_augmentation, network.input_shape) if last == "output" else []
    if views:
        x = Tensor(graph("Concat", *(_seen(graph, x, view) for view in views), attributes={"axis": 0}), x.shape)
    graph.part("")
    for name, layer in zip(network.names, network.layers, strict=True):
        x = graph.layer(name, layer, x, p[name])
        if last in graph.reached:  # a nested layer, so that the output of the outer layer is not needed
            x = graph.reached[last]
            break
    else:
        raise ValueError(f"The converter of the layer around {last!r} exports nested layers without graph.layer.")
    graph.part("output")
    return _averaged(graph, x, views) if views else x


def _seen(graph: Graph, x: Tensor, view: View) -> str | Tensor:
    """Add the pixels of a view of the images x (n, c, h, w)."""
    seen: str | Tensor = x
    for axis, positions in ((2, view.rows), (3, view.columns)):
        if not np.array_equal(positions, np.arange(len(positions))):
            seen = graph("Gather", seen, positions, attributes={"axis": axis})
    return seen


def _averaged(graph: Graph, raw: Tensor, views: list[View]) -> Tensor:
    """Add the mean of the raw predictions (views * n, outputs), whose rows are ordered by view."""
    split = graph("Reshape", raw, np.array([len(views), -1, *raw.shape]))
    weighted = graph("Mul", split, np.array([view.weight for view in views]).reshape(-1, 1, 1))
    return Tensor(graph("ReduceSum", weighted, np.array([0]), attributes={"keepdims": 0}), raw.shape)


def _features(graph: Graph, estimator: CNNFeatures, rows: str) -> dict[str, Output]:
    x = _layers(graph, estimator.estimator_, rows, estimator.layer_)
    if estimator._pooling is not None:
        x = graph.layer("pool", estimator._pooling, x, None)
    graph.output(x if len(x.shape) == 1 else flatten(graph, None, x, None), "variable")
    return outputs_of(estimator)


def _targets(graph: Graph, estimator: BaseCNN, rows: str) -> dict[str, Output]:
    raw, loss = _layers(graph, estimator, rows), estimator._loss()
    graph.output(_linked(graph, loss, type(loss).predict, raw, False), "variable")
    return outputs_of(estimator)


def _classes(graph: Graph, estimator: CNNClassifier, rows: str, raw_scores: bool) -> dict[str, Output]:
    raw, loss = _layers(graph, estimator, rows), estimator._loss()
    kinds, binary = needs("onnx").TensorProto, estimator._is_binary()
    positive = None
    if binary or estimator._labels:
        positive = graph("Cast", graph("Greater", raw, 0.0), attributes={"to": kinds.INT64})
    if estimator._labels:
        graph.output(str(positive), "label")
    else:
        number = (
            graph("Reshape", positive, np.array([-1]))
            if binary
            else graph("ArgMax", raw, attributes={"axis": 1, "keepdims": 0})
        )
        graph.output(graph("Gather", graph.constant(_class_values(estimator), "classes"), number), "label")
    found = outputs_of(estimator, raw_scores)
    scores = list(found)[1]
    if scores == "probabilities":
        second = _linked(graph, loss, type(loss).probabilities, raw, not (binary or estimator._labels))
    else:
        second = raw
    if binary:
        first = graph("Neg", raw) if scores == "scores" else graph("Sub", 1.0, second)
        second = graph("Concat", first, second, attributes={"axis": 1})
    graph.output(second, scores)
    return found


def _linked(graph: Graph, loss: Loss, method: Any, raw: Tensor, exclusive: bool) -> str | Tensor:
    """Add the conversion of raw predictions to the predictions of a loss; return its output."""
    if method in LINKS and type(loss) not in graph.converters:
        convert: Converter = LINKS[method]
    else:
        convert = graph.converter(loss, "(graph, loss, raw, exclusive) -> name of the output")
    y: Any = convert(graph, loss, raw, exclusive)
    if not isinstance(y, (str, Tensor)):
        raise TypeError(f"The converter of {loss!r} must return the name of its output, a str, got {y!r}.")
    return y


def _class_values(estimator: CNNClassifier) -> Array:
    """Return the classes in a type of ONNX, int64 or strings; raise a TypeError if there is none."""
    classes = np.asarray(estimator.classes_)
    if classes.dtype.kind == "U" or (classes.dtype.kind == "O" and all(isinstance(c, str) for c in classes)):
        return classes
    try:
        whole = classes.astype(np.int64)
    except (TypeError, ValueError):
        whole = None
    if whole is None or not np.array_equal(whole, classes):
        raise TypeError(
            f"Labels in ONNX are whole numbers or strings, but the classes are {classes.tolist()}. Fit on"
            " y.astype(str), or on the output of sklearn.preprocessing.LabelEncoder."
        )
    return whole
