"""Saving and loading of models without pickle, and the list of types that skops needs.

`skcnn._engine.files` documents the format.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

from ._arrays.elementwise import Array
from ._engine.files import RECORDS as PREDICTING
from ._engine.files import (
    Content,
    File,
    Refused,
    check_binary,
    check_classes,
    check_model,
    check_reader,
    encode,
    of_this_package,
    read_bytes,
    read_file,
    refusals,
    remove_abandoned,
    write_file,
)
from ._engine.model import Model
from ._engine.network import Network
from ._engine.progress import History, Monitor, Progress, Snapshot, Unfinished
from ._estimators.base import BaseCNN
from ._estimators.fitted import VERSION
from ._estimators.pretrained import saved_parameters
from ._version import __version__
from .augmentation import Augmentation
from .classifier import CNNClassifier
from .description import Description
from .features import CNNFeatures
from .images import ImageReader
from .initializers import Initializer
from .layers.base import Layer
from .losses import Loss
from .optimizers import Optimizer
from .regressor import CNNRegressor
from .schedules import Schedule, Trend
from .versions import warn_of_other_version

SAVED_KINDS = Augmentation, Initializer, Layer, Loss, Optimizer, Schedule
ESTIMATORS: dict[str, type[BaseCNN]] = {"CNNClassifier": CNNClassifier, "CNNRegressor": CNNRegressor}
KEPT = PREDICTING | {cls.__name__: cls for cls in (Progress, Trend)}
RECORDS = KEPT | {cls.__name__: cls for cls in (Monitor, Snapshot, Unfinished)}
REMEMBERED: dict[str, type] = {
    **{"seed": int, "schedule": Schedule, "optimizer": tuple, "trend": Trend, "warned": bool},
    **dict.fromkeys(("epochs", "steps", "averaged"), int),
}
FOLLOWED: dict[str, type] = {"factor": float, "best": float, "unchanged": int, "measure": str}
MONITORED: dict[str, type] = {
    "best_score": float, "best_loss": float, "lowest_loss": float, "unchanged": int, "diverged": bool
}  # fmt: skip
COUNTABLE = 1 << 53  # upper bound of epochs and steps
SHARED = "_model", "_progress", "_goes_on", "input_shape_", "n_features_in_", "layers_", "history_"
ROUTED = "fit", "partial_fit", "score"  # the methods that take metadata
PIPELINE = "transform_input", "verbose"  # saved parameters of a pipeline
FITTED = {"CNNClassifier": (*SHARED, "_labels", "classes_"), "CNNRegressor": (*SHARED, "_columns")}


def _trusted() -> list[str]:
    """Return the names, in skops's form, of all classes in the state of an estimator. They contain only data."""
    concrete = (cls for cls in of_this_package(*SAVED_KINDS) if "__dataclass_fields__" in vars(cls))
    descriptions = [cls for cls in concrete if not cls.__name__.startswith("_")]
    classes = {*ESTIMATORS.values(), CNNFeatures, ImageReader, Network, *KEPT.values(), *descriptions}
    return sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)


SKOPS_TRUSTED = _trusted()
"""Types to trust when skops loads an estimator of this package: ``skops.io.load(path, trusted=SKOPS_TRUSTED)``."""


class Loaded(Protocol):
    """Return type of `load`: an estimator, or a pipeline that ends with one."""

    def predict(self, X: Any) -> Array:
        """Predict images."""

    def __getattr__(self, name: str) -> Any: ...


def save(estimator: BaseCNN | Pipeline, path: File) -> None:
    """Save an estimator to a file of arrays and JSON, without pickle. Read it with `load`.

    Parameters
    ----------
    estimator : CNNClassifier, CNNRegressor, or Pipeline of an ImageReader and one of them
        Estimator to save, fitted or not. The ``memory`` of a pipeline is not saved.
    path : str, path-like or binary file object
        Output path. An existing file is replaced atomically. A file object is written at its current position, and need
        not be seekable.

    Raises
    ------
    TypeError
        If `estimator` has a different type, if a parameter is neither a plain value nor an array nor a description, or
        if `path` is neither a path nor a file object in binary mode.
    ValueError
        If layers are nested more than about 40 levels deep, or there are more than about 20,000. The file format is
        limited to that.

    Examples
    --------
    >>> import os, tempfile
    >>> import skcnn
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> classifier = skcnn.CNNClassifier(max_iter=1).fit(digits.images, digits.target)
    >>> path = os.path.join(tempfile.mkdtemp(), "digits.skcnn")
    >>> skcnn.save(classifier, path)
    >>> bool((skcnn.load(path).predict(digits.images) == classifier.predict(digits.images)).all())
    True
    """
    check_binary(path, "write")
    if isinstance(estimator, Pipeline):
        reader, network = _parts(estimator)
        fitted = {key: getattr(reader, key) for key in ("dtype_", "channels_") if hasattr(reader, key)}
        pipeline = {"steps": [name for name, _ in estimator.steps]} | {key: getattr(estimator, key) for key in PIPELINE}
        write(network, path, reader=reader.get_params() | fitted, pipeline=pipeline)
    else:
        write(estimator, path)
    if isinstance(path, (str, os.PathLike)):
        remove_abandoned(Path(path).parent)


def _parts(pipeline: Pipeline) -> list[Any]:
    """Return the reader and the network of a pipeline; raise a TypeError if it cannot be saved."""
    parts = [part for _, part in pipeline.steps]
    if [type(part) for part in parts[:-1]] != [ImageReader] or not isinstance(parts[-1], BaseCNN):
        given = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            f"save takes a pipeline of an ImageReader and a {' or '.join(ESTIMATORS)}, got one of {given}. Use"
            " joblib.dump for other pipelines."
        )
    return parts


def write(estimator: BaseCNN, path: File, unfinished: Unfinished | None = None, **more: dict[str, Any]) -> None:
    """Save an estimator, with the state of an unfinished fit or with the reader and pipeline around it."""
    name = type(estimator).__name__
    if ESTIMATORS.get(name) is not type(estimator):
        known = " or ".join(ESTIMATORS)
        raise TypeError(f"save takes a {known}, got {type(estimator).__name__}. Use joblib.dump for other estimators.")
    state = estimator.__getstate__()
    # Callbacks are not part of the model, and the file already contains the version.
    held = {key: value for key, value in state.items() if not _is_foreign(name, key)}
    beside: dict[str, Any] = more if unfinished is None else {"unfinished": unfinished}
    if (request := state.get("_metadata_request")) is not None:  # set by set_fit_request and similar methods
        beside["requests"] = {method: dict(getattr(request, method).requests) for method in ROUTED}
    write_file(path, name, held, RECORDS, **beside)


def load(path: File, *, classes: Iterable[type[Description]] = ()) -> Loaded:
    """Load an estimator from a file written by `save`. The file contains no code, so loading runs none.

    Parameters
    ----------
    path : str, path-like or binary file object
        Path of the file. A file object is read from its current position to its end.
    classes : iterable of classes, default=()
        Your own layers, losses and similar classes that the file may contain.

    Returns
    -------
    CNNClassifier, CNNRegressor or Pipeline
        The saved estimator. Its predictions are bitwise identical.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    TypeError
        If an entry of `classes` is not a class, or if `path` is neither a path nor a file object in binary mode.
    ValueError
        If the file was not written by `save`, is damaged, has a newer format, or names an unknown class.
    """
    estimator, _, pipeline = read(path, classes)
    return estimator if pipeline is None else pipeline


def read(path: File, classes: Iterable[type[Description]] = ()) -> tuple[BaseCNN, Unfinished | None, Pipeline | None]:
    """Return an estimator from a file, the state of its unfinished fit or None, and its pipeline or None."""
    own = check_classes(classes)
    data = read_bytes(path)
    with refusals(path):
        content = read_file(data, SAVED_KINDS, own, RECORDS)
        estimator, unfinished = _build(content), content.more("unfinished")
        if (requests := content.more("requests")) is not None:
            estimator._metadata_request = _requested(estimator, requests)
        if unfinished is not None:
            _check_unfinished(unfinished, estimator)
        pipeline = _pipeline(content, estimator)
    warn_of_other_version(content.name, content.version, stacklevel=3)
    return estimator, unfinished, pipeline


def check_writable(estimator: BaseCNN) -> None:
    """Raise a TypeError if a parameter cannot be saved."""
    for name, value in saved_parameters(estimator.get_params(deep=False)).items():
        encode(value, [], RECORDS, name)


def same_value(first: Any, second: Any) -> bool:
    """Return whether two parameters are equal in a file."""
    written = []
    for value in (first, second):
        arrays: list[Array] = []
        text = encode(value, arrays, RECORDS, "parameter")
        written.append((text, [(array.dtype, array.shape, array.tobytes()) for array in arrays]))
    return written[0] == written[1]


def _build(content: Content) -> BaseCNN:
    """Build an estimator from a state, and check all parts on which predictions and further training depend."""
    name, state = content.name, {key: content[key] for key in content}
    cls = ESTIMATORS[name]
    parameters = cls().get_params(deep=False)
    if missing := [key for key in parameters if key not in state]:
        raise Refused(f"it lacks the parameter {missing[0]!r}.")
    if foreign := [k for k in state if k not in parameters and (hasattr(cls, k) or _is_foreign(name, k))]:
        raise Refused(f"it sets {foreign[0]!r}, which is not an attribute of a saved model.")
    estimator = cls(**{key: state[key] for key in parameters})
    estimator._validate_params()
    if lacking := [key for key in FITTED[name] if key not in state]:
        if len(lacking) < len(FITTED[name]):
            raise Refused(f"it lacks {lacking[0]!r}.")
    else:
        check_model(name, state)
        _check_memory(state)
    estimator.__setstate__(state | {VERSION: __version__})
    return estimator


def _pipeline(content: Content, network: BaseCNN) -> Pipeline | None:
    """Return the pipeline that was saved with a network, or None."""
    saved, outer = content.more("reader"), content.more("pipeline")
    if saved is None:
        return None
    reader = ImageReader(saved["size"])
    reader.set_params(**{name: saved[name] for name in reader.get_params()})
    if "dtype_" in saved:
        if network.__sklearn_is_fitted__():
            check_reader(saved, network.input_shape_)
        reader.dtype_, reader.channels_ = saved["dtype_"], saved["channels_"]
    names = outer["steps"]
    if len(set(names)) != 2 or not all(isinstance(name, str) for name in names):
        raise Refused("the steps of its pipeline have no valid names.")
    return Pipeline(list(zip(names, (reader, network), strict=True)), **{key: outer[key] for key in PIPELINE})


def _is_foreign(name: str, key: str) -> bool:
    """Return whether an attribute is private and not part of a model.

    In a loaded estimator, the next fit would treat it as left by a callback.
    """
    return key.startswith("_") and key not in FITTED[name]


def _requested(estimator: BaseCNN, requests: dict[str, dict[str, Any]]) -> Any:
    """Return the metadata requests of an estimator's methods."""
    request = get_routing_for_object(estimator)
    for method, wanted in requests.items():
        if method not in ROUTED or not set(wanted) <= set(getattr(request, method).requests):
            raise Refused(f"it requests metadata that {method!r} does not accept.")
        for name, alias in wanted.items():
            getattr(request, method).add_request(param=name, alias=alias)
    return request


def _check_memory(state: dict[str, Any]) -> None:
    """Raise `Refused` if training could not continue from the saved training state."""
    model = state["_model"]
    if not isinstance(state["_goes_on"], bool):
        raise Refused("its training state is not valid.")
    _check_progress(state["_progress"], model)
    history = vars(History(**state["history_"])).values()
    if any(not isinstance(values, list) or not all(isinstance(value, float) for value in values) for values in history):
        raise Refused("its history contains other values than numbers.")
    if state["layers_"] != list(model.network.hidden):
        raise Refused("its layers_ differ from the layers of its network.")
    if "classes_" in state and not np.array_equal(np.unique(state["classes_"]), state["classes_"]):
        raise Refused("its classes are not sorted.")


def _check_progress(progress: Any, model: Model) -> None:
    if not isinstance(progress, Progress):
        raise Refused("its training state is not valid.")
    _check_kinds(progress, REMEMBERED)
    _check_kinds(progress.trend, FOLLOWED)
    counts = progress.seed, progress.epochs, progress.steps, progress.averaged
    named = all(isinstance(name, str) for name in progress.optimizer)
    if not named or not all(0 <= count < COUNTABLE for count in counts):
        raise Refused("its training state is not valid.")
    shapes = (len(progress.optimizer) - 1, *model.weights.shape), model.weights.shape
    for part, shape in zip((progress.slots, progress.trained), shapes, strict=True):
        if part is not None and (part.shape, part.dtype) != (shape, model.weights.dtype):
            raise Refused("its training state does not fit its layers.")


def _check_kinds(record: Any, kinds: dict[str, type]) -> None:
    if wrong := [name for name, kind in kinds.items() if not isinstance(getattr(record, name), kind)]:
        raise Refused(f"its training state has no valid {wrong[0]}.")


def _check_unfinished(unfinished: Any, estimator: BaseCNN) -> None:
    if not isinstance(unfinished, Unfinished) or not estimator.__sklearn_is_fitted__():
        raise Refused("its state of an unfinished fit is not valid.")
    progress, monitor, model = unfinished.progress, unfinished.monitor, estimator._model
    epochs = range(len(estimator.history_["loss"]) + 1)
    if not isinstance(monitor, Monitor) or type(unfinished.done) is not int or unfinished.done not in epochs:
        raise Refused("its state of an unfinished fit is not valid.")
    _check_progress(progress, model)
    _check_kinds(monitor, MONITORED)
    if progress.slots is None:
        raise Refused("it lacks the state of the optimizer.")
    if monitor.best is not None:
        shapes = [part.shape for part in Snapshot.copied_arrays(model, progress)]
        if [part.shape for part in monitor.best.arrays] != shapes:
            raise Refused("the weights of its best epoch do not fit its layers.")
