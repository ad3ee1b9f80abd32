"""Models as files without pickle: arrays and JSON, which cannot run code.

A file is a line that names the format, the length of the header, the header, and the arrays, each at a multiple of 64
bytes. The header is JSON: what the estimator consists of, as plain values, and descriptions by the names of their
classes and fields. Only classes that are known are ever built, through their constructors, and what they are given is
checked: a file that does not fit together is refused with a ValueError, whatever its bytes.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .augmentation import Augmentation
from .classifier import CNNClassifier
from .description import Description, subclasses
from .estimators import CALLBACKS, BaseCNN
from .functional.elementwise import Array
from .initializers import Initializer
from .layers.base import Layer
from .losses import Loss
from .network import Network
from .optimizers import Optimizer
from .regressor import CNNRegressor
from .scaling import Scaling
from .schedules import Schedule, Trend
from .training import Model, Monitor, Progress, Snapshot, Unfinished

MAGIC = b"skcnn model\n"
FORMAT = 1
ALIGNMENT = 64
KINDS = Augmentation, Initializer, Layer, Loss, Optimizer, Schedule
ESTIMATORS: dict[str, type[BaseCNN]] = {"CNNClassifier": CNNClassifier, "CNNRegressor": CNNRegressor}
RECORDS: dict[str, type] = {
    cls.__name__: cls for cls in (Model, Monitor, Progress, Scaling, Snapshot, Trend, Unfinished)
}
SHARED = "_model", "_progress", "_goes_on", "input_shape_", "n_features_in_", "layers_", "history_"
FITTED = {"CNNClassifier": (*SHARED, "_labels", "classes_"), "CNNRegressor": (*SHARED, "_columns")}
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64")


def save(estimator: BaseCNN, path: str | os.PathLike[str]) -> None:
    """Write an estimator to a file that `load` reads: arrays and JSON, no pickle.

    Parameters
    ----------
    estimator : CNNClassifier or CNNRegressor
        Fitted or not.
    path : str or path-like
        Where to. A file that is there is replaced when the new one is whole.

    Raises
    ------
    TypeError
        For anything else, and for a parameter that is neither a plain value nor an array nor a description.

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
    write(estimator, path)


def write(estimator: BaseCNN, path: str | os.PathLike[str], unfinished: Unfinished | None = None) -> None:
    """Save an estimator, with what a fit needs that is to go on from it."""
    name = type(estimator).__name__
    if ESTIMATORS.get(name) is not type(estimator):
        known = " or ".join(ESTIMATORS)
        raise TypeError(f"save takes a {known}, got {type(estimator).__name__}; for others there is joblib.dump.")
    arrays: list[Array] = []
    held = estimator.__getstate__()
    for key in ("_skl_callbacks", "_parent_callback_ctx", *CALLBACKS):
        held.pop(key, None)  # callbacks watch a fit, and are not part of what it learns
    state = {key: _encode(value, arrays, key) for key, value in held.items()}
    rest = {} if unfinished is None else {"unfinished": _encode(unfinished, arrays, "unfinished")}
    described = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in arrays]
    body = b"".join(_padded(array.tobytes()) for array in arrays)
    header = {
        "format": FORMAT,
        "skcnn": __version__,
        "estimator": name,
        "state": state,
        **rest,
        "arrays": described,
        "crc32": zlib.crc32(body),
    }
    text = _padded(json.dumps(header, allow_nan=False).encode(), b" ", len(MAGIC) + 8)
    _write_whole(Path(path), MAGIC + len(text).to_bytes(8, "little") + text + body)


def load(path: str | os.PathLike[str], *, classes: Iterable[type[Description]] = ()) -> BaseCNN:
    """Read an estimator that `save` has written. No code of the file is run, for there is none.

    Parameters
    ----------
    path : str or path-like
        The file.
    classes : iterable of classes, default=()
        Layers, losses and so on of your own that the file may name.

    Returns
    -------
    CNNClassifier or CNNRegressor
        It predicts the same, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is not a file that `save` has written, is damaged, was written by a newer version, or names a class that
        is not known.
    """
    return read(path, classes)[0]


def read(path: str | os.PathLike[str], classes: Iterable[type[Description]] = ()) -> tuple[BaseCNN, Unfinished | None]:
    """An estimator from a file, and what the fit needs that is to go on from it, if it has not ended."""
    content = Path(path).read_bytes()
    try:
        header, arrays = _parse(content)
        own = (cls for kind in KINDS for cls in _of_this_package(kind))
        known = {cls.__name__: cls for cls in (*own, *classes)}
        state = {str(key): _decode(value, arrays, known) for key, value in header["state"].items()}
        unfinished = _decode(header.get("unfinished"), arrays, known)
        estimator = _build(header["estimator"], state)
        if unfinished is not None:
            _check_unfinished(unfinished, estimator)
        return estimator, unfinished
    except _Refused as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{os.fspath(path)!r} does not hold a model that fits together ({problem}).") from None


class _Refused(Exception):
    """What is wrong with a file."""


# -- the file


def _padded(data: bytes, filler: bytes = b"\0", start: int = 0) -> bytes:
    return data + filler * (-(start + len(data)) % ALIGNMENT)


def _write_whole(path: Path, data: bytes) -> None:
    """Write to a new file and give it its name at the end: whoever reads never sees half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _parse(content: bytes) -> tuple[dict[str, Any], list[Array]]:
    """The header and the arrays of a file."""
    if not content.startswith(MAGIC):
        raise _Refused("it is not a file that skcnn.save has written.")
    start = len(MAGIC) + 8
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    if end > len(content):
        raise _Refused("it is cut off.")
    try:
        header = json.loads(content[start:end])
    except ValueError as error:
        raise _Refused(f"its header is damaged ({error}).") from None
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise _Refused("its header is damaged.")
    if header["format"] > FORMAT:
        raise _Refused(f"it was written by skcnn {header.get('skcnn')}, in a newer format: upgrade skcnn.")
    if zlib.crc32(content[end:]) != header["crc32"]:
        raise _Refused("its arrays are damaged or cut off: the checksum is not theirs.")
    arrays = []
    for described in header["arrays"]:
        if described["dtype"] not in DTYPES:
            raise _Refused(f"it has an array of dtype {described['dtype']!r}.")
        dtype, shape = np.dtype(described["dtype"]), tuple(described["shape"])
        if not all(type(size) is int and size >= 0 for size in shape):
            raise _Refused(f"it has an array of shape {shape}.")
        stop = end + math.prod(shape) * dtype.itemsize
        if stop > len(content):
            raise _Refused("an array is larger than the file.")
        arrays.append(np.frombuffer(content[end:stop], dtype).reshape(shape).copy())
        end = stop + -(stop - end) % ALIGNMENT
    return header, arrays


# -- values


def _encode(value: Any, arrays: list[Array], place: str) -> Any:
    """A value as JSON: what JSON lacks is a dictionary with the name of its kind."""
    match value:
        case np.generic() if value.dtype.name in DTYPES:  # np.float64 is a float as well
            return _encode_array(np.asarray(value), arrays, "scalar")
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case np.ndarray() if value.dtype.kind in "UO":
            if not all(isinstance(item, str) for item in value.ravel()):
                raise TypeError(f"{place} holds an array of objects that are no strings; there is joblib.dump for it.")
            return {"strings": value.ravel().tolist(), "object": value.dtype.kind == "O", "shape": list(value.shape)}
        case np.ndarray() if value.dtype.name in DTYPES:
            return _encode_array(value, arrays, "array")
        case list() | tuple():
            items = [_encode(item, arrays, f"{place}[{i}]") for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        case dict():
            pairs = [[_encode(key, arrays, place), _encode(item, arrays, place)] for key, item in value.items()]
            return {"dict": pairs}
        case np.random.RandomState():
            return {"RandomState": _encode(value.get_state(legacy=True), arrays, place)}
        case Network():
            return {"Network": _encode(value.__reduce__()[1], arrays, place)}
        case Description():
            named = {key: _encode(item, arrays, f"{place}.{key}") for key, item in value.get_params().items()}
            return {"description": type(value).__name__, "fields": named}
    if is_dataclass(value) and RECORDS.get(type(value).__name__) is type(value):
        named = {f.name: _encode(getattr(value, f.name), arrays, f"{place}.{f.name}") for f in fields(value)}
        return {"record": type(value).__name__, "fields": named}
    raise TypeError(f"{place} is a {type(value).__name__}, which save cannot write; there is joblib.dump for it.")


def same_value(first: Any, second: Any) -> bool:
    """Whether two parameters are written alike."""
    written = []
    for value in (first, second):
        arrays: list[Array] = []
        text = _encode(value, arrays, "parameter")
        written.append((text, [(array.dtype, array.shape, array.tobytes()) for array in arrays]))
    return written[0] == written[1]


def _encode_array(array: Array, arrays: list[Array], kind: str) -> dict[str, int]:
    arrays.append(np.array(array, array.dtype.newbyteorder("<"), order="C"))
    return {kind: len(arrays) - 1}


def _decode(value: Any, arrays: list[Array], known: dict[str, type[Description]]) -> Any:
    """The value that `_encode` has written; anything else is refused."""
    if isinstance(value, list):
        return [_decode(item, arrays, known) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"float": "nan" | "inf" | "-inf" as text}:
            return float(text)
        case {"scalar": int(number)}:
            return arrays[number][()]
        case {"array": int(number)}:
            return arrays[number]
        case {"strings": list(strings), "object": bool(is_object), "shape": list(shape)}:
            if not all(isinstance(item, str) for item in strings):
                raise _Refused("it has an array of strings with something else in it.")
            return np.array(strings, dtype=object if is_object else str).reshape(shape)
        case {"tuple": list(items)}:
            return tuple(_decode(items, arrays, known))
        case {"dict": list(pairs)}:
            return {_decode(key, arrays, known): _decode(item, arrays, known) for key, item in pairs}
        case {"RandomState": state}:
            random_state = np.random.RandomState()
            random_state.set_state(_decode(state, arrays, known))
            return random_state
        case {"Network": {"tuple": list(items)}}:
            return Network(*_decode(items, arrays, known))
        case {"description": str(name), "fields": dict(named)}:
            if name not in known:
                raise _Refused(
                    f"it names a class {name!r}; if it is one of your own, pass load(..., classes=[{name}])."
                )
            found = known[name](**{key: _decode(item, arrays, known) for key, item in named.items()})
            found.check()
            return found
        case {"record": str(name), "fields": dict(named)} if name in RECORDS:
            return RECORDS[name](**{key: _decode(item, arrays, known) for key, item in named.items()})
    raise _Refused(f"it has a value that skcnn.save does not write: {str(value)[:60]}")


# -- the estimator


def _of_this_package(kind: type[Description]) -> list[type[Description]]:
    package = __name__.rpartition(".")[0]
    return [cls for cls in subclasses(kind) if cls.__module__.split(".")[0] == package]


def _build(name: Any, state: dict[str, Any]) -> BaseCNN:
    """An estimator of a state, which is checked as far as predictions and further training depend on it."""
    if not isinstance(name, str) or name not in ESTIMATORS:
        raise _Refused(f"it holds a {name!r}.")
    cls = ESTIMATORS[name]
    parameters = cls().get_params(deep=False)
    if missing := [key for key in parameters if key not in state]:
        raise _Refused(f"it lacks the parameter {missing[0]!r}.")
    if foreign := [key for key in state if key not in parameters and hasattr(cls, key)]:
        raise _Refused(f"it sets {foreign[0]!r}, which is the class's own.")
    estimator = cls(**{key: state[key] for key in parameters})
    estimator._validate_params()
    if lacking := [key for key in FITTED[name] if key not in state]:
        if len(lacking) < len(FITTED[name]):
            raise _Refused(f"it lacks {lacking[0]!r}.")
    else:
        _check_model(state)
    estimator.__setstate__(state)
    return estimator


def _check_progress(progress: Progress, model: Model) -> None:
    remembered = [part for part in (progress.slots, progress.trained) if part is not None]
    if any(part.shape[-1:] != model.weights.shape for part in remembered):
        raise _Refused("what it remembers of the training is not of its layers.")


def _check_unfinished(unfinished: Any, estimator: BaseCNN) -> None:
    if not isinstance(unfinished, Unfinished) or not estimator.__sklearn_is_fitted__():
        raise _Refused("what it has of an unfinished fit is nothing of the kind.")
    progress, monitor, model = unfinished.progress, unfinished.monitor, estimator._model
    if not isinstance(progress, Progress) or not isinstance(monitor, Monitor) or type(unfinished.done) is not int:
        raise _Refused("what it has of an unfinished fit is nothing of the kind.")
    if progress.slots is None or progress.slots.dtype != model.weights.dtype:
        raise _Refused("it lacks what the optimizer remembers.")
    _check_progress(progress, model)
    if monitor.best is not None:
        arrays = [model.weights, model.state, *([] if progress.trained is None else [progress.trained])]
        if [part.shape for part in monitor.best.arrays] != [part.shape for part in arrays]:
            raise _Refused("its best epoch is not of its layers.")


def _check_model(state: dict[str, Any]) -> None:
    model, progress = state["_model"], state["_progress"]
    if not (isinstance(model, Model) and isinstance(progress, Progress) and isinstance(model.network, Network)):
        raise _Refused("its model is none.")
    network, scaling = model.network, model.scaling
    kind = model.weights.dtype
    sizes = (model.weights.shape, model.state.shape), ((network.weights.size,), (network.state.size,))
    channels = (network.input_shape[2],)
    if kind not in (np.float32, np.float64) or model.state.dtype != kind or sizes[0] != sizes[1]:
        raise _Refused("its weights are not those of its layers.")
    moments = [scaling.mean, scaling.scale] if isinstance(scaling, Scaling) else []
    if [(part.shape, part.dtype.kind) for part in moments] != [(channels, "f")] * 2:
        raise _Refused("its standardization is not that of its images.")
    _check_progress(progress, model)
    if state.get("input_shape_") != network.input_shape or state.get("n_features_in_") != math.prod(
        network.input_shape
    ):
        raise _Refused("its images are not those of its layers.")
    columns = state.get("_columns")
    if "classes_" in state:
        classes, labels = state["classes_"], state["_labels"]
        outputs = 1 if len(classes) == 2 and not labels else len(classes)
        fits = isinstance(labels, bool) and isinstance(classes, np.ndarray) and classes.shape == (len(classes),)
    else:
        outputs = columns or 1
        fits = columns is None or type(columns) is int
    if not fits or outputs != network.outputs:
        raise _Refused("its classes or targets are not those of its output layer.")
    for array in (model.weights, model.state):
        array.flags.writeable = False
