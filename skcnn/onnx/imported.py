"""Import of ONNX graphs from any library as estimators of this package."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._engine.files import Refused as Unfit
from .._engine.files import check_model
from .._estimators.given import full_shape, given_scaling
from ..classifier import CNNClassifier
from ..layers import Dense, Scale
from ..layers.base import Shape
from ..regressor import CNNRegressor
from .elementwise import ELEMENTWISE, FLOATING
from .folding import fold, ints
from .operators import LINEAR
from .reading import Node, Refused, Source, name_of, read, refusals, refuse
from .structure import Builder, named
from .walking import LAYOUTS, Part, Value, Walk
from .windowed import WINDOWED

HANDLERS = WINDOWED | LINEAR | ELEMENTWISE
SCORES = "probabilities", "scores"  # names that converters give to outputs of classifiers
LARGEST = 1 << 26  # most numbers in an output layer that is the identity
VARIABLE = "variable"  # name of the output of a regressor


def from_onnx(
    source: str | os.PathLike[str] | bytes,
    *,
    mean: Any,
    scale: Any,
    input_shape: Any = None,
    classes: Any = None,
    task: str | None = None,
    output: str | None = None,
) -> CNNClassifier | CNNRegressor:
    """Import a network from ONNX, as a fitted estimator.

    The network becomes layers of this package with the weights of the file. A returned estimator computes the same
    function as the graph. If a node cannot be converted, an error names it. You can use the result like any fitted
    estimator: with `CNNFeatures`, `save`, `runtime` and `to_onnx`, and for further training.

    Parameters
    ----------
    source : str, path-like or bytes
        Path or content of the file. External weights are read only from the folder of the file.
    mean, scale : float or array-like (c,)
        Standardization of the images. The network reads (x - mean) / scale for the pixels x of an image. Use 0 and 1
        for no standardization. For networks of PyTorch's torchvision and pixels from 0 to 255, use
        mean=[123.675, 116.28, 103.53] and scale=[58.395, 57.12, 57.375]. It is applied in addition to any
        standardization at the beginning of the graph.
    input_shape : (int, int) or (int, int, int), default=None
        Shape (h, w) or (h, w, c) of the images. It is required if the file does not define height and width.
    classes : array-like (n_classes,), default=None
        Classes in the order of the outputs. If None, the classes stored by `to_onnx` are used, or 0, 1, 2 and so on.
    task : {"classification", "regression"}, default=None
        Meaning of the outputs. If None, it is regression for an output called "variable", as in exported regressors,
        and classification otherwise.
    output : str, default=None
        Name of the output, required if the graph has several. It may be the name of any value in the graph.

    Returns
    -------
    CNNClassifier or CNNRegressor
        Fitted estimator. A softmax or sigmoid at the end of the graph becomes the link of the loss. With a sigmoid,
        several outputs are labels.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If onnx is not installed.
    ValueError
        If the file is damaged, a node cannot be converted, or a parameter does not fit the graph. The message names the
        node, its operator, the shapes of its inputs and a remedy.

    Notes
    -----
    Images in this package have the channels last. The graph may have them first or last. If the graph does not
    determine their position, pass `input_shape`.

    Computations use double precision if the graph does, and single precision otherwise. Libraries sum in a different
    order, so that results agree to about 1e-5 of the largest number.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier
    >>> from skcnn.onnx import from_onnx, to_onnx
    >>> digits = load_digits()
    >>> classifier = CNNClassifier((8,), batch_norm=False, max_iter=3).fit(digits.images, digits.target)
    >>> again = from_onnx(to_onnx(classifier).SerializeToString(), mean=0, scale=1)
    >>> again.layers_
    [Conv2D(8, padding=1), ReLU(), MaxPool2D(strides=2), Flatten(), Dense(128), ReLU()]
    >>> difference = again.predict_proba(digits.images) - classifier.predict_proba(digits.images)
    >>> bool(np.abs(difference).max() < 1e-5)
    True
    """
    if task not in (None, "classification", "regression"):
        raise ValueError(f"task must be 'classification', 'regression' or None, got {task!r}.")
    shape = None if input_shape is None else full_shape(input_shape)
    with refusals(name_of(source)):
        found = read(source)
        end = _output(found, output)
        is_regressor = task == "regression" or (task is None and end == VARIABLE and classes is None)
        network = _network(found, end, shape, is_regressor)
        estimator, options = _estimator(found, network, end, is_regressor, classes)
        kind = np.float64 if found.double else np.float32
        arrays = {name: array.astype(kind, copy=False) for name, array in network.arrays()}
    options |= network.scaling(mean, scale)
    try:
        estimator.set_weights(arrays, input_shape=network.shape, **options)
    except RecursionError:
        raise ValueError(f"{name_of(source)} cannot be imported: its branches are too deeply nested.") from None
    with refusals(name_of(source)):
        try:
            check_model(type(estimator).__name__, vars(estimator))
        except Unfit as error:
            raise Refused(str(error)) from None
    return estimator


@dataclass(frozen=True)
class _Network:
    """Imported network: layers from the images to raw predictions, and the link of the raw predictions."""

    shape: Shape  # (h, w, c) of an image
    parts: list[Part]
    end: Value
    link: str  # operator after the raw predictions, or ""

    def hidden(self) -> list[Part]:
        """Return the layers without the output layer, and without factors and offsets at the beginning."""
        first = 1 if self._starts_with_scale() else 0
        last = len(self.parts) - len(self._head())
        return self.parts[first:last]

    def arrays(self) -> Iterator[tuple[str, Array]]:
        """Yield (name, array) of all layers. If the last layer is not dense, the output layer is the identity."""
        yield from named(self.hidden()).items()
        head = self._head()
        if not head:
            (size,) = self.end.shape
            if size * size > LARGEST:
                raise Refused(f"it ends with {size} numbers that no dense layer computes. Choose another output=...")
            kernel = np.eye(size)
            yield "output.kernel", kernel if self.end.order is None else kernel[:, self.end.order]
            yield "output.bias", np.zeros(size)
            return
        kernel = head[0].arrays["kernel"]
        bias = head[0].arrays.get("bias", np.zeros(kernel.shape[1]))
        for part in head[1:]:
            kernel = kernel * part.arrays["scale"]
            bias = bias * part.arrays["scale"] + part.arrays.get("bias", 0.0)
        yield "output.kernel", kernel
        yield "output.bias", bias

    def scaling(self, mean: Any, scale: Any) -> dict[str, Array]:
        """Return mean and scale of the images, combined with factors and offsets at the beginning of the graph."""
        given = given_scaling(mean, scale, self.shape[2], None)
        if not self._starts_with_scale():
            return {"mean": given.mean, "scale": given.scale}
        arrays = self.parts[0].arrays
        combined = given.scale / arrays["scale"]
        return {"mean": given.mean - arrays.get("bias", 0.0) * combined, "scale": combined}

    def _starts_with_scale(self) -> bool:
        first = self.parts[0] if self.parts else None
        return first is not None and isinstance(first.layer, Scale) and bool((first.arrays["scale"] > 0).all())

    def _head(self) -> list[Part]:
        """Return the dense layer at the end, and factors and offsets after it."""
        for count in (1, 2):
            tail = self.parts[-count:]
            scales = all(isinstance(part.layer, Scale) for part in tail[1:])
            if len(tail) == count and isinstance(tail[0].layer, Dense) and scales:
                return tail
        return []


def _output(source: Source, output: str | None) -> str:
    """Return the name of the requested output, or of the only output with scores."""
    known = {*source.outputs, *source.makers}
    if output is not None:
        if output not in known:
            raise Refused(f"it has no output {output!r}. Its outputs are: {', '.join(source.outputs)}.")
        return output
    scores = [name for name in source.outputs if name in SCORES]
    if len(source.outputs) == 1 or len(scores) == 1:
        return (scores or list(source.outputs))[0]
    raise Refused(f"it has several outputs: {', '.join(source.outputs)}. Pass the name of one as output=...")


# -- the input


def _network(source: Source, output: str, wanted: Shape | None, is_regressor: bool) -> _Network:
    """Return the network, with images in the only layout that is consistent with the graph."""
    start, dims, layouts = _start(source)
    found: list[_Network] = []
    errors: list[Refused] = []
    for layout in layouts:
        try:
            found.append(_with_layout(source, start, dims, layout, output, wanted, is_regressor))
        except Refused as error:
            errors.append(error)
    if not found:
        raise max(errors, key=lambda error: error.number)
    if len(found) > 1:
        remedy = "" if wanted is not None else " Pass input_shape=(h, w, c)."
        raise Refused(f"its images may be {' or '.join(layouts)}.{remedy}")
    return found[0]


def _start(source: Source) -> tuple[str, tuple[int | None, ...], list[str]]:
    """Return the name of the first value with images, its dimensions, and its possible layouts."""
    name, dims = source.input, source.dims
    while True:
        readers = [node for node in source.nodes if name in node.inputs]
        node = readers[0] if len(readers) == 1 and name not in source.outputs else None
        if node is None or node.operator not in ("Identity", "Cast", "Reshape"):
            break
        if node.operator == "Cast" and node("to") not in FLOATING:
            break
        if node.operator == "Reshape":
            target = _target(source, node)
            if len(dims) != 2 or target is None or len(target) != 4 or min(target[1:]) < 1 or target[0] not in (0, -1):
                break
            if dims[1] not in (None, math.prod(target[1:])):
                refuse(node, f"it reshapes rows of {dims[1]} numbers to images {tuple(target[1:])}")
            dims = (dims[0], *target[1:])
        name = node.outputs[0]
    if len(dims) == 2:
        return name, dims, ["rows"]
    if len(dims) != 4:
        raise Refused(f"its input has {len(dims)} axes, but must have four, (N, channels, height, width), or two.")
    if node is not None and node.operator == "Transpose" and node("perm") in ([0, 3, 1, 2], [0, 2, 3, 1]):
        return name, dims, ["NHWC" if node("perm")[1] == 3 else "NCHW"]
    return name, dims, ["NCHW"] if source.producer == "skcnn" else list(LAYOUTS)


def _target(source: Source, node: Node) -> list[int] | None:
    """Return the target shape of a reshape node if it is constant, or None."""
    name = node.inputs[1] if len(node.inputs) > 1 else ""
    maker = source.makers.get(name)
    array = fold(maker, []) if maker is not None and maker.operator == "Constant" else source.constants.get(name)
    return None if array is None else ints(array)


def _with_layout(
    source: Source,
    start: str,
    dims: tuple[int | None, ...],
    layout: str,
    output: str,
    wanted: Shape | None,
    is_regressor: bool,
) -> _Network:
    if layout == "rows":
        features = dims[1] if dims[1] is not None or wanted is None else math.prod(wanted)
        if features is None:
            raise Refused("it does not define the number of features. Pass input_shape=(h, w, c).")
        image = Value(LAYOUTS["NHWC"], (1, features, 1) if wanted is None else wanted)
        if math.prod(image.shape) != features:
            raise Refused(f"input_shape={wanted} does not fit its input of {features} features.")
    else:
        image = Value(LAYOUTS[layout], _shape(dims, layout, wanted))
    walk = Walk(source, start, image, output, layout == "rows")
    walk.run(HANDLERS)
    name, link = _ending(walk, is_regressor)
    value = walk.values[name]
    try:
        if not value.is_flat or value.axes[0] != "N":
            raise Refused(
                f"its output is an image {value}, but networks of this package end with one row per image. Add a global"
                " pooling layer or Flatten at its end, or choose another output=..."
            )
        return _Network(image.shape, Builder(walk).chain(name), value, link)
    except Refused as error:
        error.number = len(source.nodes)  # all nodes are consistent with this layout
        raise


def _shape(dims: tuple[int | None, ...], layout: str, wanted: Shape | None) -> Shape:
    """Return (h, w, c) of the images, from the file and ``wanted``."""
    known = dict(zip(LAYOUTS[layout][1:], dims[1:], strict=True))
    given = tuple(known[axis] for axis in "HWC")
    shape = given if wanted is None else tuple(a or b for a, b in zip(given, wanted, strict=True))
    if None in shape:
        raise Refused(f"it defines the shape of its images only as {given} (h, w, c). Pass input_shape=(h, w, c).")
    if wanted is not None and shape != wanted:
        raise Refused(f"input_shape={wanted} does not fit its images of {given} (h, w, c).")
    return tuple(size for size in shape if size is not None)


# -- the output


def _ending(walk: Walk, is_regressor: bool) -> tuple[str, str]:
    """Return the name of the raw predictions, and the operator that converts them to the output, or ""."""
    name, link = walk.result(), ""
    while (step := walk.steps.get(name)) is not None and step.node is not None and not link:
        operator, value = step.node.operator, walk.values[name]
        links = ("Exp",) if is_regressor else ("Softmax", "LogSoftmax", "Sigmoid")
        if operator in links and value.is_flat:
            name, link = step.sources[0], operator
        elif _is_two_classes(walk, name) and not is_regressor:
            name = step.sources[1]
        elif step.kind == "layers" and not step.parts and value.is_flat and value.order is None:
            name = step.sources[0]
        else:
            break
    return name, link


def _is_two_classes(walk: Walk, name: str) -> bool:
    """Return whether a value concatenates 1 - p and p, or -d and d, of two classes."""
    step = walk.steps[name]
    if step.kind != "concatenate" or walk.values[name].shape != (2,):
        return False
    first = walk.steps.get(step.sources[0])
    if first is None or first.kind != "layers" or first.sources != step.sources[1:] or len(first.parts) != 1:
        return False
    part = first.parts[0]
    shift = part.arrays.get("bias", np.zeros(1))
    return isinstance(part.layer, Scale) and bool((part.arrays["scale"] == -1).all() and shift[0] in (0, 1))


def _estimator(
    source: Source, network: _Network, output: str, is_regressor: bool, classes: Any
) -> tuple[CNNClassifier | CNNRegressor, dict[str, Any]]:
    """Return the unfitted estimator, and keyword arguments with its classes."""
    layers = [part.layer for part in network.hidden()]
    if is_regressor:
        if classes is not None:
            raise Refused("a regressor has no classes. Omit classes, or pass task='classification'.")
        return CNNRegressor(layers=layers, loss="poisson" if network.link == "Exp" else "squared_error"), {}
    loss = "hinge" if source.producer == "skcnn" and output == "scores" else "log_loss"
    labels = network.link == "Sigmoid" and network.end.shape[0] > 1
    if classes is None and source.producer == "skcnn" and output in SCORES:
        maker = source.makers["label"]
        while maker.operator == "Identity":
            maker = source.makers[maker.inputs[0]]
        labels = labels or maker.operator == "Cast"
        found = source.constants.get(maker.inputs[0]) if maker.operator == "Gather" else None
        classes = None if found is None else found.astype(str) if found.dtype.kind == "O" else found
    return CNNClassifier(layers=layers, loss=loss), {"classes": classes, "labels": labels}
