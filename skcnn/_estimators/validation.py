"""Validation of user input: images in all their forms, targets and weights.

This is the only module that uses private names of scikit-learn.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import _fit_context, is_regressor
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import _optional_dependencies, metaestimators
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
)
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from .._arrays.elementwise import Array
from .._engine.inputs import as_code, cure, is_missing, rows_of, stacked
from .._engine.scaling import warn_of_scale
from .._engine.views import SHIFTS
from ..augmentation import Augmentation
from ..initializers import Initializer
from ..layers import Activation
from ..losses import Loss
from ..optimizers import Optimizer
from ..schedules import Schedule
from .mistakes import choose_input_shape

F = TypeVar("F", bound=Callable[..., Any])
check_partial_fit_first_call = _check_partial_fit_first_call
check_matplotlib_support = _optional_dependencies.check_matplotlib_support


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]:
    """Return scikit-learn's decorator of methods that fit. Its type keeps their signatures."""
    return _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)


def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]:
    """Return scikit-learn's decorator of methods that some estimators lack. Its type keeps their signatures."""
    return metaestimators.available_if(check)


# Address of the documentation of an estimator, with {estimator_name} in it. It is empty while no site is published.
DOCUMENTATION = ""

_POSITIVE = Interval(Integral, 1, None, closed="left")
_PER_BLOCK = [_POSITIVE, list, tuple]

PARAMETERS: dict[str, list[Any]] = {
    "conv_filters": [_POSITIVE, "array-like"],
    "kernel_size": _PER_BLOCK,
    "pool_size": _PER_BLOCK,
    "hidden_layer_sizes": [_POSITIVE, "array-like"],
    "layers": [list, tuple, None],
    "pretrained": [HasMethods("fit"), str, None],
    "freeze": [str, None],
    "freeze_statistics": ["boolean", None],
    "input_shape": [list, tuple, None],
    "activation": [str, Activation],
    "batch_norm": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
    "output_initializer": [str, Initializer],
    "loss": [str, Loss],
    "optimizer": [str, Optimizer],
    "learning_rate": [Interval(Real, 0, None, closed="left")],
    "learning_rate_factors": [dict, None],
    "schedule": [str, Schedule],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "average": [Interval(Real, 0, 1, closed="neither"), Options(bool, {False})],
    "batch_size": [_POSITIVE],
    "max_iter": [_POSITIVE],
    "shuffle": ["boolean"],
    "augmentation": [str, list, tuple, Augmentation, None],
    "test_time_augmentation": [StrOptions(set(SHIFTS)), None],
    "standardize": ["boolean"],
    "early_stopping": ["boolean"],
    "scoring": [StrOptions({"loss", *get_scorer_names()}), callable, None],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [_POSITIVE],
    "tol": [Interval(Real, 0, None, closed="left")],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "dtype": [StrOptions({"auto", "float32", "float64"})],
    "n_jobs": [Integral, None],
    "verbose": ["verbose"],
}
REGRESSOR_PARAMETERS = PARAMETERS
CLASSIFIER_PARAMETERS = PARAMETERS | {"class_weight": [dict, list, StrOptions({"balanced"}), None]}


class DocumentationLink:
    """Link from scikit-learn's HTML representation to the documentation."""

    @property
    def _doc_link_module(self) -> str:
        # scikit-learn links an estimator only if its class is in this package.
        return __name__.split(".")[0] if DOCUMENTATION else "sklearn"

    @property
    def _doc_link_template(self) -> str:
        return DOCUMENTATION


def visual_block(kind: str, parts: Any, **names: Any) -> Any:
    """Return a block for ``_sk_visual_block_``, which scikit-learn draws in its HTML representation.

    The class is imported here and not at the top, so that scikit-learn draws a plain box if a later version moves it.
    """
    from sklearn.utils._repr_html.estimator import _VisualBlock

    return _VisualBlock(kind, parts, **names)


def as_rows(X: Any, name: str = "X") -> tuple[Any, tuple[int, ...] | None]:
    """Return images of any form as 2-D rows, and their shape (h, w, c), or None if X has rows already.

    Rows are returned as they are, for scikit-learn's validation. Arrays of images become views if that is possible.
    """
    X = stacked(X, name)
    ndim = getattr(X, "ndim", 2)
    if issparse(X) or ndim <= 2:
        return X, None
    X = np.asarray(X)
    if ndim > 4:
        raise ValueError(
            f"{name} has {ndim} dimensions, shape {X.shape}. Expected images (n, h, w, c) or (n, h, w), or rows"
            " (n, features)."
        )
    shape = X.shape[1:] if ndim == 4 else (*X.shape[1:], 1)
    return X.reshape(len(X), math.prod(shape)), shape


def check_images(
    estimator: Any, X: Any, *, reset: bool, input_shape: tuple[int, ...] | None = None, name: str = "X"
) -> Array:
    """Return validated images (n, h, w, c) in the dtype of X.

    With ``reset``, the estimator stores their number of features and feature names. Otherwise these must be the same as
    in the fit, and images must have the shape ``input_shape``, or the shape in the fit if it is None.
    """
    return _checked(estimator, X, reset, input_shape, name)[0]


def check_images_and_targets(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    reset: bool,
    input_shape: tuple[int, ...] | None = None,
    name: str = "X",
) -> tuple[Array, Array]:
    """Return validated images like `check_images`, and validated targets (n,) or (n, k), not yet encoded."""
    y = as_numpy(y)
    _refuse_missing(y, name.replace("X", "y"))
    options = {"multi_output": True, "y_numeric": is_regressor(estimator)}
    images, y = _checked(estimator, X, reset, input_shape, name, y=y, **options)
    if issparse(y):
        y = y.toarray()
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return images, y


def _checked(
    estimator: Any, X: Any, reset: bool, input_shape: tuple[int, ...] | None, name: str, **targets: Any
) -> tuple[Array, Any]:
    """Return validated images (n, h, w, c), and targets, or None without targets."""
    rows, shape = as_rows(X, name)
    wanted: Any = None if reset else estimator.input_shape_ if input_shape is None else input_shape
    if wanted is not None and shape not in (None, wanted):
        raise ValueError(
            f"{name} has images of shape {shape}, but {type(estimator).__name__} is expecting images of shape"
            f" {wanted} (h, w, c).{cure(X, _shape(X), wanted, name)}"
        )
    try:
        found = validate_data(estimator, rows, reset=reset, **targets)
    except ValueError as error:
        raise ValueError(_in_short(error, X, rows, wanted, name, targets.get("y"))) from None
    rows, y = found if targets else (found, None)
    if rows.dtype.kind not in "buif":
        raise TypeError(f"{name} must contain numbers, got {rows.dtype}.")
    if reset:
        wanted = choose_input_shape(X, rows, shape, estimator.input_shape)
    images = rows.reshape(len(rows), *wanted)
    if input_shape is None and not reset:
        warn_of_scale(images, estimator._model.scaling, name)
    return images, y


def _shape(X: Any) -> tuple[int, ...]:
    """Return the shape of X as an array, or () if X is not one."""
    try:
        return np.shape(stacked(X))
    except (TypeError, ValueError):
        return ()


def _in_short(error: ValueError, X: Any, rows: Any, wanted: tuple[int, ...] | None, name: str, y: Any) -> str:
    """Return scikit-learn's message about X in one sentence, with the rows, and with advice if X does not fit."""
    message, shape = str(error), _shape(X)
    if message.startswith("Input X contains"):
        message = message.splitlines()[0].replace("Input X", f"Input {name}")
        values = np.asarray(rows)
        if values.dtype.kind != "f":
            return message
        return f"{message[:-1]}, in {rows_of(np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist())}."
    if "inconsistent numbers of samples" in message and len(shape) > 2 and shape[-1] == np.shape(y)[0] != shape[0]:
        return f"{message}. The images lie along the last axis: pass np.moveaxis({as_code(X, name)}, -1, 0)."
    if message.startswith("Expected 2D array"):
        message = (
            f"{message.partition(':')[0]}, of shape {shape}. Reshape your data: images are (n, h, w) or (n, h, w, c),"
            " rows are (n, features)."
        )
    if wanted is None or (len(shape) == 2 and shape[1] == math.prod(wanted)):
        return message
    return message + cure(X, shape, wanted, name)


def as_numpy(values: Any) -> Any:
    """Return tensors of other libraries as arrays, and other objects as they are."""
    return np.asarray(values) if hasattr(values, "__dlpack__") else values


def _refuse_missing(y: Any, name: str) -> None:
    """Raise a ValueError that names the rows in which y has no value. scikit-learn finds NaN in arrays of floats."""
    try:
        values = np.asarray(y)
    except ValueError:  # ragged
        return
    if y is None or values.dtype != object or values.ndim not in (1, 2):
        return
    missing = [place for place, value in enumerate(values.ravel()) if is_missing(value)]
    if missing:
        rows = sorted({place // (values.size // len(values)) for place in missing})
        value = values.ravel()[missing[0]]
        raise ValueError(
            f"{name} has missing values: {value} in {rows_of(rows)}. Leave these rows out of {name.replace('y', 'X')}"
            f" and {name}."
        )


def check_class_targets(y: Array) -> bool:
    """Return whether y has labels (n, k) instead of classes, or raise a ValueError if it has neither."""
    if y.ndim == 2 and y.dtype.kind == "f" and np.allclose(y.sum(axis=1), 1) and not (y == np.round(y)).all():
        raise ValueError("y contains probabilities. Expected classes: pass np.asarray(y).argmax(axis=1).")
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind not in ("binary", "multiclass", "multilabel-indicator"):
        raise ValueError(
            f"y is of kind {kind!r}. Expected classes (n,), or labels (n, k) of zeros and ones. To predict several"
            " columns of classes, use sklearn.multioutput.MultiOutputClassifier."
        )
    return kind == "multilabel-indicator"


def check_regression_targets(y: Array, name: str = "y") -> Array:
    """Return targets (n,) or (n, k) as (n, k) in float64, or raise a ValueError if they are not finite numbers."""
    if y.dtype.kind not in "buif":
        raise ValueError(f"{name} must contain numbers, got {y.dtype}. For classes, use CNNClassifier.")
    targets = y.astype(np.float64).reshape(len(y), -1)
    if not np.isfinite(targets).all():  # checked again, because a None among objects has just become NaN
        raise ValueError(f"{name} contains NaN or infinity.")
    return targets


def check_weights(sample_weight: Any, X: Array) -> Array:
    """Return sample weights (n,) in float64, finite and not negative, or ones for None."""
    if getattr(sample_weight, "ndim", 1) > 1:
        raise ValueError(
            f"sample_weight must have shape (n,), got {np.shape(sample_weight)}. If it is a validation set, pass it by"
            " name: fit(X, y, X_val=X_val, y_val=y_val)."
        )
    weights = _check_sample_weight(as_numpy(sample_weight), X, dtype=np.float64, ensure_non_negative=True)
    if not np.isfinite(weights).all():  # scikit-learn accepts a single NaN for all rows
        raise ValueError(f"sample_weight must be finite, got {sample_weight!r}.")
    return weights


def class_weigher(class_weight: Any, y: Array, weights: Array, classes: Array) -> Callable[[Array, Array], Array]:
    """Return a function of sample weights and their targets: the product of the sample weights and the class weights.

    Balanced class weights are computed from the targets ``y`` of the fit, with each row counted by its sample weight.
    ``classes`` are all known classes, of which a chunk in ``partial_fit`` may lack some.
    """
    if class_weight is None:
        return lambda weights, y: weights
    columns, kinds = ([y], classes) if y.ndim == 1 else (list(y.T), np.arange(2))
    used = weights > 0
    factors = []
    for by_class, column in zip(_by_column(class_weight, y), columns, strict=True):
        known = np.unique(column[used]) if by_class == "balanced" else kinds
        found = compute_class_weight(by_class, classes=known, y=column[used], sample_weight=weights[used])
        factors.append((known, found))

    def weigh(weights: Array, y: Array) -> Array:
        product = weights.copy()
        used = np.flatnonzero(weights)
        for (known, found), column in zip(factors, [y] if y.ndim == 1 else y.T, strict=True):
            present = np.flatnonzero(np.isin(column[used], known))  # a class without weight in the fit has no factor
            product[used[present]] *= found[np.searchsorted(known, column[used[present]])]
        if not np.isfinite(product).all():
            raise ValueError(f"sample_weight times class_weight={class_weight!r} must be finite for every row.")
        return product

    return weigh


def _by_column(class_weight: Any, y: Array) -> list[Any]:
    """Return class_weight for each column of y, as dicts or "balanced", or raise a ValueError if it does not fit y."""
    one_for_all = class_weight == "balanced" or (y.ndim == 1 and isinstance(class_weight, dict))
    columns = 1 if y.ndim == 1 else y.shape[1]
    found = [class_weight] * columns if one_for_all else class_weight
    fits = one_for_all or (y.ndim == 2 and isinstance(found, list) and len(found) == columns)
    if not fits or not all(isinstance(weights, dict) or weights == "balanced" for weights in found):
        expected = "a dict" if y.ndim == 1 else f"a list of {columns} dicts {{0: ..., 1: ...}}, one for each label"
        raise ValueError(
            f"class_weight={class_weight!r} does not fit y of shape {y.shape}. Expected 'balanced', or {expected}."
        )
    for weights in found:
        for label, weight in weights.items() if isinstance(weights, dict) else ():
            if not _is_weight(weight):
                raise ValueError(
                    f"class_weight={class_weight!r}: weights must be finite and not negative, got {weight!r} for"
                    f" {label!r}."
                )
    return found


def _is_weight(value: Any) -> bool:
    try:
        return 0 <= float(value) < math.inf
    except (OverflowError, TypeError, ValueError):
        return False


def split(rows: Array, strata: Array | None, fraction: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the row numbers of a training set and of a validation set.

    The split is stratified by the classes ``strata``, if they are given and each class has enough rows.

    Raises
    ------
    ValueError
        If one of the two sets would be empty.
    """
    seed = int(rng.integers(2**31 - 1))
    classes = None if strata is None else strata[rows]
    if not math.ceil(fraction * len(rows)) < len(rows):
        raise ValueError(
            f"early_stopping=True cannot set aside validation_fraction={fraction} of {len(rows)} rows, because no rows"
            " would be left for training. Pass X_val and y_val, or a smaller validation_fraction."
        )
    try:
        learn, aside = train_test_split(rows, test_size=fraction, random_state=seed, stratify=classes)
    except ValueError as error:
        if classes is None or len(rows) < 2:
            raise ValueError(
                f"early_stopping=True cannot set aside validation_fraction={fraction} of {len(rows)} rows: {error}"
            ) from None
        warnings.warn(
            f"The validation set of early_stopping is not stratified by class: {error}",
            UserWarning,
            stacklevel=6,
        )
        learn, aside = train_test_split(rows, test_size=fraction, random_state=seed)
    return np.sort(learn), np.sort(aside)
