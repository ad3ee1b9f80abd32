"""Export of estimators of this package, and of pipelines and other meta-estimators by skl2onnx."""

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

OPSETS = range(17, 23)  # the first with LayerNormalization, to the last that skl2onnx supports


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
        Fitted estimator. For a search, the best estimator is exported. skl2onnx converts all parts that are not from
        this package. It supports most of scikit-learn's pipelines, transformers and meta-estimators.
    converters : dict, default=None
        Converters of your own layers and losses: class -> function. The function of a layer is called as
        ``function(graph, layer, x, p)`` with a `Graph`, the layer, its input as a `Tensor` and its parameters by name.
        It adds nodes to the graph and returns the name of the output. The function of a loss is called as
        ``function(graph, loss, raw, exclusive)`` with raw predictions. It returns the name of the probabilities, of
        classes if ``exclusive`` and of labels otherwise, or the name of a regressor's predictions.
    initial_types : list of (str, type), default=None
        Names and types of the inputs, in skl2onnx's format. By default there is one float32 matrix. Pass it for other
        inputs, such as uint8 pixels, or columns of different types for a ColumnTransformer.
    opset : int, default=17
        Version of the operators, from 17 to 22. All give the same network. Choose the version that your runtime
        requires.

    Returns
    -------
    onnx.ModelProto
        Model with the input ``X``, float32 (N, features), for any N. Each row is an image in the order h, w, c. The
        outputs of a classifier are ``label`` and ``probabilities``, or ``scores`` if its loss provides no
        probabilities. The output of a regressor or of features is ``variable`` (N, outputs).

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If onnx is not installed, or if skl2onnx is not installed and the estimator is a Pipeline or another
        meta-estimator, or `initial_types` is given.
    TypeError
        If a layer or a loss has no converter, or classes are neither whole numbers nor strings.
    ValueError
        If `opset` is out of range, if the number of features is unknown and `initial_types` is not given, or if
        skl2onnx would export different predictions. The latter happens for isotonic calibration, calibration of a
        Pipeline or a search, and tuned thresholds.

    Notes
    -----
    The graph computes in single precision, like `onnxruntime`'s convolutions, even for an estimator in double
    precision. Batch norm remains a separate node, so that nodes and constants have the names of ``summary()`` and
    ``parameters_``. Runtimes fold it themselves. For the format see https://onnx.ai/onnx/repo-docs/IR.html.

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
    """Register the estimators of this package with skl2onnx, so that you can call ``skl2onnx.to_onnx`` directly.

    `to_onnx` registers them automatically. Repeated calls have no effect.

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
        # Pipelines and calibration require these options. `zipmap` has no effect, because scores are a matrix.
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
    """Return the estimator classes of this package, their subclasses, and FrozenEstimator if skl2onnx lacks it."""
    ours = [*subclasses(BaseCNN), CNNFeatures, *CNNFeatures.__subclasses__()]  # type: ignore[type-abstract]
    try:
        alias = needs("skl2onnx").get_model_alias(FrozenEstimator)
    except RuntimeError:  # skl2onnx does not support it
        alias = _alias(FrozenEstimator)
    return [*ours, FrozenEstimator] if alias == _alias(FrozenEstimator) else ours


def _alias(cls: type) -> str:
    return f"Skcnn{cls.__name__}"


def _with(converters: Mapping[type, Converter] | None) -> dict[type, Converter]:
    """Return the table of converters, with the user's converters added."""
    if not isinstance(converters, Mapping | None):
        raise TypeError(f"converters must be a dict of classes and functions, got {converters!r}.")
    for kind, function in (converters or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, (Layer, Loss)) and callable(function)):
            raise TypeError(
                f"converters must map classes of layers or losses to functions, got {kind!r}: {function!r}."
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
                f"{kind} has an unknown number of features. Pass initial_types, for example"
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
        # Not registered, because they apply to this call only.
        custom_conversion_functions=dict.fromkeys(_ours(), _converting(converters)),
    )


def _prepared(part: Any) -> Any:
    """Return a copy of an estimator or one of its parts that skl2onnx can read.

    Steps without effect are removed from pipelines, because skl2onnx cannot process their names. Pipelines may be
    nested in each other, in column transformers and in fitted meta-estimators.

    Raises
    ------
    ValueError
        If skl2onnx would export different predictions.
    """
    if type(part) in (list, tuple):
        return type(part)(map(_prepared, part))
    # Calibration stores its fitted parts in objects that are not estimators.
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
    """Raise a ValueError if skl2onnx would export an estimator with different predictions."""
    if isinstance(part, CalibratedClassifierCV) and part.method == "isotonic":
        raise ValueError(
            "skl2onnx exports isotonic calibration as a step function, but scikit-learn interpolates between the steps,"
            " so that probabilities would differ. Calibrate with method='sigmoid'."
        )
    fitted = getattr(part, "calibrated_classifiers_", None)
    inner = fitted[0].estimator if fitted else None
    around = isinstance(inner, Pipeline) or hasattr(inner, "best_estimator_")
    if around and hasattr(inner, "decision_function") and hasattr(inner, "predict_proba"):
        raise ValueError(
            f"skl2onnx calibrates the probabilities of a {type(inner).__name__}, but scikit-learn calibrates its"
            " decision_function, so that probabilities would differ. Calibrate the classifier inside it."
        )
    if isinstance(part, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        raise ValueError(
            f"skl2onnx ignores the threshold of a {type(part).__name__}, so that labels would differ. Export its"
            " estimator_ and apply the threshold to the exported probabilities."
        )


# -- functions that skl2onnx calls


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare an operator and its named outputs."""
    types = needs("skl2onnx.common.data_types")
    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    raw_scores = scope.get_options(model, {"raw_scores": False}, fail=False) or {}
    for name in outputs_of(_inside(model), raw_scores.get("raw_scores", False)):
        kind = types.Int64TensorType if name == "label" else types.FloatTensorType
        operator.outputs.append(scope.declare_local_variable(name, kind()))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    """Set types and shapes of the outputs; raise a ValueError if the inputs are not a single matrix."""
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
            f" initial_types=[('X', FloatTensorType([None, {features}]))], or concatenate the columns before it."
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
            raise ValueError(f"The networks of skcnn require target_opset={OPSETS[0]} or more, got {opset}.")
        raw_scores = False
        if isinstance(estimator, CNNClassifier):
            raw_scores = container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]
        cast = not isinstance(operator.inputs[0].type, needs("skl2onnx.common.data_types").FloatTensorType)
        model = build(estimator, converters, opset, raw_scores=raw_scores, cast=cast)
        needs("skl2onnx.helpers.integration").add_onnx_graph(scope, operator, container, model)

    return convert


def _inside(model: Any) -> Any:
    """Return the estimator, or the estimator inside a FrozenEstimator."""
    estimator = model.estimator if isinstance(model, FrozenEstimator) else model
    if not isinstance(estimator, (BaseCNN, CNNFeatures)):
        raise TypeError(f"skl2onnx does not convert {model!r}. Remove the FrozenEstimator around the estimator.")
    return estimator
