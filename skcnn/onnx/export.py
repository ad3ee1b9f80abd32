"""`to_onnx`: of an estimator of this package alone, or of a Pipeline and the like, by skl2onnx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from sklearn.base import BaseEstimator, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._estimators.base import BaseCNN
from ..classifier import CNNClassifier
from ..description import subclasses
from ..features import CNNFeatures
from ..layers import Layer
from ..losses import Loss
from .estimators import build, outputs_of
from .graph import Converter, needs
from .layers import CONVERTERS

OPSETS = range(17, 23)  # the first that has LayerNormalization, and the last that skl2onnx takes


def to_onnx(
    estimator: Any,
    *,
    converters: Mapping[type, Converter] | None = None,
    initial_types: Sequence[tuple[str, Any]] | None = None,
    opset: int = 17,
) -> Any:
    """Export a fitted estimator to ONNX.

    Parameters
    ----------
    estimator : CNNClassifier, CNNRegressor, CNNFeatures, Pipeline or other estimator
        Fitted. Of a search it is the best estimator. What is not of this package is converted by skl2onnx, which knows
        most of scikit-learn's pipelines, transformers and meta-estimators.
    converters : dict, default=None
        What converts layers and losses of your own: the class -> a function. That of a layer is called as
        ``function(graph, layer, x, p)`` with a `Graph`, the layer, its input as a `Tensor` and its parameters by their
        names. It adds nodes to the graph and returns the name of the layer's output. That of a loss is called as
        ``function(graph, loss, raw, exclusive)`` with raw predictions, and returns the name of the probabilities, of
        exclusive classes or else of labels, or of a regressor's predictions.
    initial_types : list of (str, type), default=None
        Names and types of the inputs, as skl2onnx has them, where they are not one matrix of float32: pixels of uint8,
        or columns of different types for a ColumnTransformer.
    opset : int, default=17
        Version of the operators, from 17 to 22. Newer ones say nothing more about a network; a runtime may ask for one.

    Returns
    -------
    onnx.ModelProto
        Its input is ``X``, float32 (N, features): a row for each image, its numbers in the order h, w, c; any N. The
        outputs are ``label`` and ``probabilities`` of a classifier, or ``scores`` where its loss gives none, and
        ``variable`` (N, outputs) of a regressor or of features.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If onnx is not installed; or skl2onnx, which a Pipeline and the like need, and `initial_types`.
    TypeError
        If a layer or a loss has no converter, or classes are neither whole numbers nor strings.
    ValueError
        If `opset` is not one of those, the number of features is not known and `initial_types` is not given, or
        skl2onnx would get it wrong: isotonic calibration, that of a Pipeline or a search, and tuned thresholds.

    Notes
    -----
    The graph computes in single precision, that of `onnxruntime`'s convolutions, also for an estimator in double
    precision. Batch norm stays a node of its own, so that nodes and constants have the names of ``summary()`` and
    ``parameters_``; runtimes fold it themselves. The format: https://onnx.ai/onnx/repo-docs/IR.html.

    Examples
    --------
    >>> import numpy as np
    >>> import onnxruntime
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier
    >>> from skcnn.onnx import to_onnx
    >>> digits = load_digits()
    >>> classifier = CNNClassifier((8,), max_iter=3, random_state=0).fit(digits.images, digits.target)
    >>> model = to_onnx(classifier)
    >>> session = onnxruntime.InferenceSession(model.SerializeToString())
    >>> rows = digits.data[:5].astype(np.float32)
    >>> label, probabilities = session.run(["label", "probabilities"], {"X": rows})
    >>> bool(np.abs(probabilities - classifier.predict_proba(rows)).max() < 1e-5)
    True
    """
    if opset not in OPSETS:
        raise ValueError(f"opset must be a number from {OPSETS[0]} to {OPSETS[-1]}, got {opset!r}.")
    needs("onnx")
    while isinstance(estimator, FrozenEstimator) or hasattr(estimator, "best_estimator_"):
        estimator = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator.best_estimator_
    check_is_fitted(estimator)
    known = _with(converters)
    if isinstance(estimator, (BaseCNN, CNNFeatures)) and initial_types is None:
        return build(estimator, known, opset)
    return _through_skl2onnx(estimator, known, initial_types, opset)


def register() -> None:
    """Make the estimators of this package known to skl2onnx, for those who call ``skl2onnx.to_onnx`` themselves.

    `to_onnx` does it by itself. To do it again does no harm.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Examples
    --------
    >>> from skcnn.onnx import register
    >>> register()
    """
    skl2onnx = needs("skl2onnx")
    for cls in _ours():
        # Pipelines and calibration ask each classifier for these; `zipmap` changes nothing: scores are a matrix.
        options = {"zipmap": [True, False, "columns"], "raw_scores": [True, False]}
        skl2onnx.update_registered_converter(
            cls,
            _alias(cls),
            _set_shapes,
            _converting(CONVERTERS),
            parser=_parse,
            options=options if issubclass(cls, (CNNClassifier, FrozenEstimator)) else None,
        )


def _ours() -> Iterable[type]:
    """The classes of this package, those that derive from them, and what keeps them from being fitted again."""
    ours = [*subclasses(BaseCNN), CNNFeatures, *CNNFeatures.__subclasses__()]  # type: ignore[type-abstract]
    try:
        alias = needs("skl2onnx").get_model_alias(FrozenEstimator)
    except RuntimeError:  # skl2onnx does not know it
        alias = _alias(FrozenEstimator)
    return [*ours, FrozenEstimator] if alias == _alias(FrozenEstimator) else ours


def _alias(cls: type) -> str:
    return f"Skcnn{cls.__name__}"


def _with(converters: Mapping[type, Converter] | None) -> dict[type, Converter]:
    """The table of converters, with those of the user."""
    if not isinstance(converters, Mapping | None):
        raise TypeError(f"converters must be a dict of classes and functions, got {converters!r}.")
    for kind, function in (converters or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, (Layer, Loss)) and callable(function)):
            raise TypeError(
                "converters must hold classes of layers or losses, and a function for each, got"
                f" {kind!r}: {function!r}."
            )
    return CONVERTERS | dict(converters or {})


def _through_skl2onnx(estimator: Any, converters: Any, initial_types: Any, opset: int) -> Any:
    skl2onnx = needs("skl2onnx")
    register()
    kind = type(estimator).__name__
    estimator = _prepared(estimator)
    if initial_types is None:
        features = getattr(estimator, "n_features_in_", None)
        if features is None:
            raise ValueError(
                f"{kind} does not know its number of features: pass initial_types, for example"
                " [('X', skl2onnx.common.data_types.FloatTensorType([None, 64]))]."
            )
        initial_types = [("X", needs("skl2onnx.common.data_types").FloatTensorType([None, features]))]
    options = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    return skl2onnx.convert_sklearn(
        estimator,
        name="skcnn",
        initial_types=initial_types,
        target_opset=opset,
        options=options,
        # Not registered: they are of this call alone.
        custom_conversion_functions=dict.fromkeys(_ours(), _converting(converters)),
    )


def _prepared(part: Any) -> Any:
    """An estimator, or what one holds, as skl2onnx can read it; a ValueError for what it would change.

    skl2onnx stumbles over the names of steps that do nothing. Pipelines may be anywhere: in each other, among columns,
    or in what a meta-estimator has fitted.
    """
    if type(part) in (list, tuple):
        return type(part)(map(_prepared, part))
    # Calibration keeps what it has fitted in objects that are no estimators.
    if isinstance(part, (BaseCNN, CNNFeatures)) or not (
        isinstance(part, BaseEstimator) or type(part).__module__ == CalibratedClassifierCV.__module__
    ):
        return part
    _refuse_what_skl2onnx_changes(part)
    inside = {name: _prepared(value) for name, value in vars(part).items()}
    if isinstance(part, Pipeline):
        steps = [step for step in inside["steps"] if step[1] not in ("passthrough", None)]
        return Pipeline(steps) if steps else "passthrough"
    part = copy(part)
    vars(part).update(inside)
    return part


def _refuse_what_skl2onnx_changes(part: Any) -> None:
    """A ValueError for an estimator that would predict something else once it is exported."""
    if isinstance(part, CalibratedClassifierCV) and part.method == "isotonic":
        raise ValueError(
            "skl2onnx rounds isotonic calibration to its steps, where scikit-learn interpolates between them: the"
            " probabilities would be others. Calibrate with method='sigmoid'."
        )
    fitted = getattr(part, "calibrated_classifiers_", None)
    inner = fitted[0].estimator if fitted else None
    around = isinstance(inner, Pipeline) or hasattr(inner, "best_estimator_")
    if around and hasattr(inner, "decision_function") and hasattr(inner, "predict_proba"):
        raise ValueError(
            f"skl2onnx calibrates the probabilities of a {type(inner).__name__}, where scikit-learn calibrates"
            " its decision_function: the probabilities would be others. Calibrate the classifier inside of it."
        )
    if isinstance(part, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        raise ValueError(
            f"skl2onnx leaves out the threshold of a {type(part).__name__}: the labels would be others. Export its"
            " estimator_, and compare what that gives with the threshold."
        )


# -- what skl2onnx calls


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare an operator and its outputs, by their names."""
    types = needs("skl2onnx.common.data_types")
    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    raw_scores = scope.get_options(model, {"raw_scores": False}, fail=False) or {}
    for name in outputs_of(_inside(model), raw_scores.get("raw_scores", False)):
        kind = types.Int64TensorType if name == "label" else types.FloatTensorType
        operator.outputs.append(scope.declare_local_variable(name, kind()))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    """Set types and shapes of the outputs; a ValueError for inputs that are not one matrix."""
    types, kinds = needs("skl2onnx.common.data_types"), needs("onnx").TensorProto
    of_kind = {
        kinds.FLOAT: types.FloatTensorType,
        kinds.INT64: types.Int64TensorType,
        kinds.STRING: types.StringTensorType,
    }
    estimator = _inside(operator.raw_operator)
    features = (estimator.estimator_ if isinstance(estimator, CNNFeatures) else estimator).n_features_in_
    widths = [(variable.type.shape or [None, None])[-1] for variable in operator.inputs]
    if len(widths) > 1 or widths[0] not in (None, features):
        raise ValueError(
            f"{type(estimator).__name__} takes one input of {features} features, but the inputs have {widths}. Pass"
            f" initial_types=[('X', FloatTensorType([None, {features}]))], or put the columns together before it."
        )
    rows = operator.inputs[0].get_first_dimension()
    outputs = outputs_of(estimator).values()
    for variable, (kind, shape) in zip(operator.outputs, outputs, strict=True):
        variable.set_type(of_kind[kind]([rows, *shape]))


def _converting(converters: Mapping[type, Converter]) -> Any:
    """Return a converter that adds the graph of an estimator to the graph of a Pipeline."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        estimator = _inside(operator.raw_operator)
        opset = container.target_opset
        if opset < OPSETS[0]:
            raise ValueError(f"The networks of skcnn need target_opset={OPSETS[0]} or more, got {opset}.")
        raw_scores = False
        if isinstance(estimator, CNNClassifier):
            raw_scores = container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]
        cast = not isinstance(operator.inputs[0].type, needs("skl2onnx.common.data_types").FloatTensorType)
        model = build(estimator, converters, opset, raw_scores=raw_scores, cast=cast)
        needs("skl2onnx.helpers.integration").add_onnx_graph(scope, operator, container, model)

    return convert


def _inside(model: Any) -> Any:
    """The estimator, or that inside of a FrozenEstimator."""
    estimator = model.estimator if isinstance(model, FrozenEstimator) else model
    if not isinstance(estimator, (BaseCNN, CNNFeatures)):
        raise TypeError(f"skl2onnx does not convert {model!r}. Put the estimator in without FrozenEstimator.")
    return estimator
