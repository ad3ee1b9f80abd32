"""What comes in from users: images in all their forms, targets, weights.

The only module that uses private names of scikit-learn.
"""

from __future__ import annotations

import math
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import _fit_context, is_regressor
from sklearn.model_selection import train_test_split
from sklearn.utils import _optional_dependencies
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
)
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from .._arrays.elementwise import Array
from ..augmentation import Augmentation
from ..description import is_count
from ..initializers import Initializer
from ..layers import Activation
from ..losses import Loss
from ..optimizers import Optimizer
from ..schedules import Schedule

fit_context = _fit_context
check_partial_fit_first_call = _check_partial_fit_first_call
check_matplotlib_support = _optional_dependencies.check_matplotlib_support

# Address of the documentation of an estimator, with {estimator_name} in it; empty while no site is published.
DOCUMENTATION = ""

SQUARE = 64  # 2-D rows of at least this many features that are a square number are square images

_POSITIVE = Interval(Integral, 1, None, closed="left")
_PER_BLOCK = [_POSITIVE, list, tuple]

PARAMETERS: dict[str, list[Any]] = {
    "conv_filters": [_POSITIVE, "array-like"],
    "kernel_size": _PER_BLOCK,
    "pool_size": _PER_BLOCK,
    "hidden_layer_sizes": [_POSITIVE, "array-like"],
    "layers": [list, tuple, None],
    "input_shape": [list, tuple, None],
    "activation": [str, Activation],
    "batch_norm": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
    "output_initializer": [str, Initializer],
    "loss": [str, Loss],
    "optimizer": [str, Optimizer],
    "learning_rate": [Interval(Real, 0, None, closed="left")],
    "schedule": [str, Schedule],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "average": [Interval(Real, 0, 1, closed="neither"), Options(bool, {False})],
    "batch_size": [_POSITIVE],
    "max_iter": [_POSITIVE],
    "shuffle": ["boolean"],
    "augmentation": [str, list, tuple, Augmentation, None],
    "standardize": ["boolean"],
    "early_stopping": ["boolean"],
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
    """What an estimator tells scikit-learn's HTML form of its documentation: the address, or that there is none."""

    @property
    def _doc_link_module(self) -> str:
        return __name__.split(".")[0] if DOCUMENTATION else "sklearn"  # a link is for this module's estimators only

    @property
    def _doc_link_template(self) -> str:
        return DOCUMENTATION


def visual_block(kind: str, parts: Any, **names: Any) -> Any:
    """What ``_sk_visual_block_`` of an estimator returns, to be drawn in scikit-learn's HTML form.

    It is imported where it is needed: should it move, scikit-learn falls back on a plain box.
    """
    from sklearn.utils._repr_html.estimator import _VisualBlock

    return _VisualBlock(kind, parts, **names)


def as_rows(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Images of any form as 2-D rows, and the shape (h, w, c) that they came in, if they came as images.

    Rows stay what they are, for scikit-learn's validation; arrays of images become views wherever that is possible.
    """
    ndim = getattr(X, "ndim", 2)
    if isinstance(X, (list, tuple)):
        try:
            ndim = np.ndim(X)
        except ValueError:  # ragged
            ndim = 2
    if issparse(X) or ndim <= 2:
        return X, None
    X = np.asarray(X)
    if ndim > 4:
        raise ValueError(
            f"X has {ndim} dimensions, shape {X.shape}. Expected images (n, h, w, c) or (n, h, w), or rows"
            " (n, features)."
        )
    shape = X.shape[1:] if ndim == 4 else (*X.shape[1:], 1)
    return X.reshape(len(X), math.prod(shape)), shape


def choose_input_shape(features: int, shape: tuple[int, ...] | None, wanted: Any) -> tuple[int, int, int]:
    """(h, w, c) of the images to fit.

    ``shape`` is theirs if they came as images, ``wanted`` is the estimator's ``input_shape``, ``features`` their
    number of pixels.
    """
    if wanted is not None:
        sizes = tuple(wanted)
        if len(sizes) not in (2, 3) or not all(is_count(s) for s in sizes):
            raise ValueError(f"input_shape must be (h, w) or (h, w, c) with ints of 1 or more, got {wanted!r}.")
        full = (*sizes, 1) if len(sizes) == 2 else sizes
        if shape is not None and shape != full:
            raise ValueError(f"input_shape={wanted!r} does not fit X, whose images have shape {shape}.")
        if math.prod(full) != features:
            raise ValueError(
                f"input_shape={wanted!r} does not fit X: {' * '.join(map(str, full))} = {math.prod(full)}, but each row"
                f" of X has {features} features."
            )
        return full
    if shape is not None:
        return shape  # type: ignore[return-value]
    side = math.isqrt(features)
    if side * side == features and features >= SQUARE:
        return side, side, 1
    third = math.isqrt(features // 3)
    if 3 * third * third == features and third * third >= SQUARE:
        warnings.warn(
            f"X has {features} = 3 * {third} * {third} features: if its rows are flattened RGB images, pass"
            f" input_shape=({third}, {third}, 3). They are taken as signals, 1 x {features} with one channel.",
            UserWarning,
            stacklevel=6,
        )
    return 1, features, 1


def check_images(
    estimator: Any, X: Any, *, reset: bool, input_shape: tuple[int, ...] | None = None, name: str = "X"
) -> Array:
    """Validated images (n, h, w, c), in the dtype in which they came.

    ``reset`` learns their number of features and their names. Without it they must be those that the estimator knows,
    and the images have ``input_shape``, or that of the fitted estimator.
    """
    rows, shape = as_rows(X)
    try:
        return _as_images(estimator, validate_data(estimator, rows, reset=reset), shape, reset, input_shape, name)
    except ValueError as error:
        if reset or not _is_one_image(X, estimator.input_shape_ if input_shape is None else input_shape):
            raise
        raise ValueError(
            f"{error} This is the shape of one image: for a batch of it, give {name}[np.newaxis]."
        ) from None


def _is_one_image(X: Any, wanted: tuple[int, ...]) -> bool:
    """Whether X has the shape of an image (h, w, c), or (h, w), and its rows are not images."""
    try:
        shape = np.shape(X)
    except ValueError:  # ragged
        return False
    is_rows = len(shape) == 2 and shape[1] == math.prod(wanted)
    return not is_rows and shape in (wanted, wanted[:2] if wanted[2] == 1 else wanted)


def check_images_and_targets(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    reset: bool,
    input_shape: tuple[int, ...] | None = None,
    name: str = "X",
) -> tuple[Array, Array]:
    """As `check_images`, with targets (n,) or (n, k), not yet encoded."""
    rows, shape = as_rows(X)
    rows, y = validate_data(estimator, rows, y, reset=reset, multi_output=True, y_numeric=is_regressor(estimator))
    if issparse(y):
        y = y.toarray()
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return _as_images(estimator, rows, shape, reset, input_shape, name), y


def _as_images(
    estimator: Any,
    rows: Array,
    shape: tuple[int, ...] | None,
    reset: bool,
    input_shape: tuple[int, ...] | None,
    name: str,
) -> Array:
    """Validated rows as images, if they can be those that are wanted."""
    if rows.dtype.kind not in "buif":
        raise TypeError(f"{name} must hold numbers, got {rows.dtype}.")
    if reset:
        wanted: tuple[int, ...] = choose_input_shape(rows.shape[1], shape, estimator.input_shape)
    else:
        wanted = estimator.input_shape_ if input_shape is None else input_shape
        if shape is not None and shape != wanted:  # the number of pixels is right, their arrangement is not
            raise ValueError(
                f"{name} has images of shape {shape}, but {type(estimator).__name__} is expecting images of shape"
                f" {wanted} (h, w, c)."
            )
    return rows.reshape(len(rows), *wanted)


def check_class_targets(y: Array) -> bool:
    """Whether y (n, k) is of labels; False for classes. A ValueError for what is neither."""
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind not in ("binary", "multiclass", "multilabel-indicator"):
        raise ValueError(
            f"y is of kind {kind!r}. Expected classes (n,), or labels (n, k) of zeros and ones; fit one estimator per"
            " column with sklearn.multioutput.MultiOutputClassifier."
        )
    return kind == "multilabel-indicator"


def check_regression_targets(y: Array, name: str = "y") -> Array:
    """Targets (n,) or (n, k) as (n, k) in float64; a ValueError for what is no number, or none that is finite."""
    if y.dtype.kind not in "buif":
        raise ValueError(f"{name} must hold numbers to learn from, got {y.dtype}; for classes there is CNNClassifier.")
    targets = y.astype(np.float64).reshape(len(y), -1)
    if not np.isfinite(targets).all():  # a None among objects has become one only now
        raise ValueError(f"{name} contains NaN or infinity.")
    return targets


def check_weights(sample_weight: Any, X: Array) -> Array:
    """Sample weights (n,) in float64, finite and not negative; ones for None."""
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not np.isfinite(weights).all():  # scikit-learn lets a single NaN for all rows pass
        raise ValueError(f"sample_weight must be finite, got {sample_weight!r}.")
    return weights


def with_class_weights(weights: Array, class_weight: Any, y: Array, classes: Array) -> Array:
    """Sample weights times class weights; balanced ones count a row as often as its weight says.

    ``classes`` are all that are known: a chunk in ``partial_fit`` may lack some of them.
    """
    if class_weight is None:
        return weights
    columns, kinds = ([y], classes) if y.ndim == 1 else (list(y.T), np.arange(2))
    used = np.flatnonzero(weights)
    product = weights.copy()
    for by_class, column in zip(_by_column(class_weight, y), columns, strict=True):
        column = column[used]
        known = np.unique(column) if by_class == "balanced" else kinds
        factors = compute_class_weight(by_class, classes=known, y=column, sample_weight=weights[used])
        product[used] *= factors[np.searchsorted(known, column)]
    if not np.isfinite(product).all():
        raise ValueError(f"sample_weight times class_weight={class_weight!r} must be finite for every row.")
    return product


def _by_column(class_weight: Any, y: Array) -> list[Any]:
    """What class_weight says of each column of y, as dicts or "balanced"; a ValueError for what has no meaning."""
    one_for_all = class_weight == "balanced" or (y.ndim == 1 and isinstance(class_weight, dict))
    columns = 1 if y.ndim == 1 else y.shape[1]
    found = [class_weight] * columns if one_for_all else class_weight
    fits = one_for_all or (y.ndim == 2 and isinstance(found, list) and len(found) == columns)
    if not fits or not all(isinstance(weights, dict) or weights == "balanced" for weights in found):
        expected = "a dict" if y.ndim == 1 else f"a list of {columns} dicts {{0: ..., 1: ...}}, one for each label"
        raise ValueError(
            f"class_weight={class_weight!r} does not fit y, which is of shape {y.shape}: expected 'balanced', or"
            f" {expected}."
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
    """Row numbers to learn from, and to validate on: stratified by class if they are given and that can be.

    Raises
    ------
    ValueError
        Where one of the two would be empty.
    """
    seed = int(rng.integers(2**31 - 1))
    classes = None if strata is None else strata[rows]
    if not math.ceil(fraction * len(rows)) < len(rows):
        raise ValueError(
            f"early_stopping=True cannot set aside validation_fraction={fraction} of {len(rows)} rows: nothing would be"
            " left to learn from. Pass X_val and y_val, or a smaller validation_fraction."
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
