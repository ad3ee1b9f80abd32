"""The format of `skcnn.save`: arrays and JSON, which cannot run code.

A file consists of a line that names the format, the length of the header, the header, and the arrays, each at a
multiple of 64 bytes. The header is JSON. It contains the parts of the estimator as plain values, and descriptions by
the names of their classes and fields. Only known classes are built, through their constructors, and their arguments are
checked. A file whose parts do not fit together raises a ValueError, whatever its bytes.
"""

from __future__ import annotations

import io
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._arrays.elementwise import Array
from .._decoding import Reading
from .._version import __version__
from ..description import Description, subclasses
from ..layers.conv import Convolution
from ..layers.pooling import AvgPool2D, MaxPool2D
from ..losses import Loss, resolve_loss
from .model import Model, predicted_classes, predicted_targets, predictor_of, probabilities
from .network import Network
from .scaling import Scaling

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed, so that no lock is needed
    fcntl = None  # type: ignore[assignment]

File = str | os.PathLike[str] | IO[bytes]  # a path, or a file object that was opened in binary mode

MAGIC = b"skcnn model\n"
FORMAT = 2  # a file of a network without an image reader has format 1, which older versions can read too
ALIGNMENT = 64
TASKS = {"CNNClassifier": "classification", "CNNRegressor": "regression"}
RECORDS: dict[str, type] = {cls.__name__: cls for cls in (Model, Scaling)}
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES = ("bool", *INTEGERS, "float16", "float32", "float64")
# Limits that keep a small malicious file from taking much time or memory.
LARGEST = 1 << 28  # numbers in an image or in the output of a layer: 2 GB in double precision
LETTERS = 1 << 28  # characters in all arrays of strings, each as wide as its longest string: 1 GB
DEEPEST = 128  # levels of lists and dictionaries, three for a layer within a layer, because reading is recursive
DESCRIBED = 1 << 16  # descriptions, about three for each layer: seconds
WINDOWS = 1 << 20  # pixels in the windows of all pooling layers, because each pixel is a recorded call: seconds
BEYOND = 16  # largest ratio between the window of a pooling layer and its image
TOO_DEEP = f"it nests lists, dictionaries or layers more than {DEEPEST} levels deep"


class Refused(Exception):
    """Error about the content of a file."""


@contextmanager
def refusals(file: File) -> Iterator[None]:
    """Turn errors that the content of a file causes inside the block into a ValueError that names the file."""
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else getattr(file, "name", file)
    try:
        yield
    except Refused as error:
        raise ValueError(f"{name!r} cannot be loaded: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name!r} does not contain a model whose parts fit together ({problem}).") from None


def of_this_package(*kinds: type[Description]) -> list[type[Description]]:
    """Return the imported classes of some kinds that are part of this package."""
    return [cls for kind in kinds for cls in subclasses(kind) if not _is_own(cls)]


def _is_own(cls: type[Description]) -> bool:
    """Return whether a class is defined outside this package."""
    return cls.__module__.partition(".")[0] != __name__.partition(".")[0]


def kind_of(cls: type[Description]) -> str:
    """Return the name of the kind of a class, because some names, such as Constant, occur in two kinds."""
    return next(base.__name__ for base in cls.__mro__ if base.__base__ is Description)


# -- the file


def write_file(file: File, name: str, state: Mapping[str, Any], records: Mapping[str, type], **more: Any) -> None:
    """Write the state of an estimator, and further named values.

    Raises
    ------
    TypeError
        If a value has no form in the file.
    ValueError
        If the description is too deep or too large.
    """
    arrays: list[Array] = []
    encoded = {key: encode(value, arrays, records, key) for key, value in state.items()}
    rest = {key: encode(value, arrays, records, key) for key, value in more.items()}
    described = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in arrays]
    body = b"".join(_padded(array.tobytes()) for array in arrays)
    header = {
        "format": FORMAT if "reader" in rest else 1,
        "skcnn": __version__,
        "estimator": name,
        "state": encoded,
        **rest,
        "arrays": described,
        "crc32": zlib.crc32(body),
    }
    if excess := _excess(header):
        raise ValueError(f"{name} cannot be saved: {excess}. joblib.dump can save it.")
    text = _padded(json.dumps(header, allow_nan=False).encode(), b" ", len(MAGIC) + 8)
    data = MAGIC + len(text).to_bytes(8, "little") + text + body
    if isinstance(file, (str, os.PathLike)):
        with whole_file(Path(file)) as whole:
            whole.write(data)
    else:
        _write_to(file, data)


@dataclass(frozen=True)
class Content:
    """Content of a file, each value of which is decoded when it is read."""

    name: str
    version: object
    _header: dict[str, Any]
    _arrays: list[Array]
    _known: Mapping[tuple[str, str], type[Description]]
    _own: Mapping[tuple[str, str], type[Description]]
    _records: Mapping[str, type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._header["state"])

    def __getitem__(self, key: str) -> Any:
        return self._decode(self._header["state"][key])

    def more(self, key: str) -> Any:
        """Return the extra content beside the state, or None."""
        return self._decode(self._header.get(key))

    def _decode(self, value: Any) -> Any:
        """Return the value that `encode` has written, and refuse anything else."""
        arrays, records = self._arrays, self._records
        if isinstance(value, list):
            return [self._decode(item) for item in value]
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
                    raise Refused("it has an array of strings with other objects in it.")
                return np.array(strings, dtype=object if is_object else str).reshape(shape)
            case {"tuple": list(items)}:
                return tuple(self._decode(items))
            case {"dict": list(pairs)}:
                return {self._decode(key): self._decode(item) for key, item in pairs}
            case {"RandomState": state}:
                random_state = np.random.RandomState()
                random_state.set_state(self._decode(state))
                return random_state
            case {"Network": {"tuple": list(items)}}:
                return Network(*(self._decode(item) for item in items))
            case {"description": str(name), "kind": str(kind), "fields": dict(named)}:
                known = self._own if value.get("own") else self._known
                if (kind, name) not in known:
                    raise Refused(f"it names a class {name!r}; if it is one of your own, pass classes=[{name}].")
                found = known[kind, name](**{key: self._decode(item) for key, item in named.items()})
                found.check()
                return found
            case {"record": str(name), "fields": dict(named)} if name in records:
                return records[name](**{key: self._decode(item) for key, item in named.items()})
        raise Refused(f"it has a value that skcnn.save does not write: {str(value)[:60]}")


def check_classes(classes: Any) -> tuple[type[Description], ...]:
    """Return the user's own classes that a file may name, or raise a TypeError for other objects."""
    given = tuple(classes) if isinstance(classes, Iterable) and not isinstance(classes, str) else None
    if given is None or not all(isinstance(cls, type) and issubclass(cls, Description) for cls in given):
        raise TypeError(f"classes must be a list of classes of your own, such as [MyLayer], got {classes!r}.")
    return given


def read_bytes(file: File) -> bytes:
    """Return the content of a file, or the rest of a file object."""
    if isinstance(file, (str, os.PathLike)):
        return Path(file).read_bytes()
    check_binary(file, "read")
    return file.read()


def check_binary(file: Any, method: str) -> None:
    """Raise a TypeError unless this is a path or a file object in binary mode."""
    if not isinstance(file, (str, os.PathLike)) and not hasattr(file, method):
        raise TypeError(f"Expected a path, or a file object with a {method} method, got {type(file).__name__}.")
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"{file!r} is a text file: open it in binary mode, open(path, '{method[0]}b').")


def _write_to(file: IO[bytes], data: bytes) -> None:
    """Write to a file object at its current position."""
    if isinstance(file, io.RawIOBase):  # an unbuffered file may write less than it is given
        buffered = io.BufferedWriter(file)
        try:
            buffered.write(data)
            buffered.flush()
        finally:
            buffered.detach()
    else:
        file.write(data)


def read_file(
    data: bytes,
    kinds: Iterable[type[Description]],
    classes: Iterable[type[Description]],
    records: Mapping[str, type] = RECORDS,
) -> Content:
    """Return the content of a file, with the classes of this package's ``kinds`` and the user's own ``classes``."""
    header, arrays = _parse(data)
    given = {(kind_of(cls), cls.__name__): cls for cls in classes}
    own = {key: cls for key, cls in given.items() if _is_own(cls)}
    # In files of older versions, the user's own classes are not marked, so an unmarked name may be one of them.
    known = given | {(kind_of(cls), cls.__name__): cls for cls in of_this_package(*kinds)}
    name = header["estimator"]
    if not isinstance(name, str) or name not in TASKS:
        raise Refused(f"it contains a {name!r}, which is not an estimator of skcnn.")
    return Content(name, header.get("skcnn"), header, arrays, known, own, records)


def _padded(data: bytes, filler: bytes = b"\0", start: int = 0) -> bytes:
    return data + filler * (-(start + len(data)) % ALIGNMENT)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file that gets its name when it is complete, so that a reader never sees a part of it."""
    file = _locked_file(path.parent)
    temporary = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:  # Windows does not rename an open file
                file.close()
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_abandoned(folder: Path) -> None:
    """Remove incomplete files that killed processes have left in a folder.

    A process locks the file that it writes. The system releases the lock when the process ends, also on another machine
    that shares the folder, so a file without a lock is abandoned.
    """
    for left in folder.glob(".skcnn-*.part"):
        with suppress(OSError):
            if fcntl is None:
                left.unlink()
            else:
                with left.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()


def _locked_file(folder: Path) -> IO[bytes]:
    """Create a file that `remove_abandoned` does not remove while it is open."""
    while True:
        # The name shows which package has left the file, if the process is killed. It does not contain the name of the
        # model, because it might be too long. The file has the permissions of any new file, unlike a file of tempfile,
        # because a server may read it as another user.
        file = (folder / f".skcnn-{os.urandom(8).hex()}.part").open("xb")
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if Path(file.name).exists():  # another process may have removed it before it was locked
            return file
        file.close()


def _parse(content: bytes) -> tuple[dict[str, Any], list[Array]]:
    """Return the header and the arrays of a file."""
    if not content:
        raise Refused("it is empty. If it is a file object that you have just written to, call seek(0) first.")
    if not content.startswith(MAGIC):
        raise Refused("it is not a file that skcnn.save has written.")
    start = len(MAGIC) + 8
    end = start + int.from_bytes(content[len(MAGIC) : start], "little")
    if end > len(content):
        raise Refused("it is cut off.")
    try:
        header = json.loads(content[start:end])
    except RecursionError:
        raise Refused(f"{TOO_DEEP}.") from None
    except ValueError as error:
        raise Refused(f"its header is damaged ({error}).") from None
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise Refused("its header is damaged.")
    if excess := _excess(header):
        raise Refused(f"{excess}.")
    if header["format"] > FORMAT:
        raise Refused(f"it was written by skcnn {header.get('skcnn')}, in a newer format: upgrade skcnn.")
    if zlib.crc32(content[end:]) != header["crc32"]:
        raise Refused("its arrays are damaged or cut off: the checksum does not match.")
    arrays = []
    for described in header["arrays"]:
        if described["dtype"] not in DTYPES:
            raise Refused(f"it has an array of dtype {described['dtype']!r}.")
        dtype, shape = np.dtype(described["dtype"]), tuple(described["shape"])
        if not all(type(size) is int and size >= 0 for size in shape):
            raise Refused(f"it has an array of shape {shape}.")
        stop = end + math.prod(shape) * dtype.itemsize
        if stop > len(content):
            raise Refused("an array is larger than the file.")
        arrays.append(np.frombuffer(content[end:stop], dtype).reshape(shape).copy())
        end = stop + -(stop - end) % ALIGNMENT
    return header, arrays


def _excess(header: dict[str, Any]) -> str | None:
    """Return a message if a header exceeds a limit, before any object is built from it, or None.

    The limits belong to the format, so every file that is written can be read. Python's own limit of recursion could
    not be used, because it depends on the version of Python and on the caller.
    """
    level: list[Any] = [header]
    depth = described = letters = 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return TOO_DEEP
        for value in level:
            match value:
                case {"description": _}:
                    described += 1
                case {"strings": list(strings), "object": False}:
                    # NumPy gives each string the width of the longest, so a long string among many short ones needs far
                    # more memory than its file.
                    letters += len(strings) * max((len(item) for item in strings if isinstance(item, str)), default=0)
        inside = (value.values() if isinstance(value, dict) else value for value in level)
        level = [item for items in inside for item in items if isinstance(item, (dict, list))]
    if described > DESCRIBED:
        return f"it describes {described:,} layers and other objects, and the limit is {DESCRIBED:,}"
    if letters > LETTERS:
        return "its arrays of strings are too large"
    return None


# -- values


def encode(value: Any, arrays: list[Array], records: Mapping[str, type], place: str) -> Any:
    """Return a value as JSON, with a dictionary that names the kind for each value that JSON lacks.

    Arrays are appended to ``arrays``, and their numbers stand in the JSON. A TypeError for a value without a form in
    the file begins with ``place``.
    """
    match value:
        case np.generic() if value.dtype.name in DTYPES:  # np.float64 is a float as well
            return _encode_array(np.asarray(value), arrays, "scalar")
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case np.ndarray() if value.dtype.kind in "UO":
            if not all(isinstance(item, str) for item in value.ravel()):
                raise TypeError(
                    f"{place} contains an array of objects that are not strings. Use joblib.dump to save the estimator."
                )
            return {"strings": value.ravel().tolist(), "object": value.dtype.kind == "O", "shape": list(value.shape)}
        case np.ndarray() if value.dtype.name in DTYPES:
            return _encode_array(value, arrays, "array")
        case list() | tuple():
            items = [encode(item, arrays, records, f"{place}[{i}]") for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        case dict():
            pairs = [
                [encode(key, arrays, records, place), encode(item, arrays, records, place)]
                for key, item in value.items()
            ]
            return {"dict": pairs}
        case np.random.RandomState():
            generator = value.get_state(legacy=False)["bit_generator"]
            if generator != "MT19937":
                raise TypeError(
                    f"{place} is a RandomState of {generator}, and save can write a RandomState of MT19937 only, such"
                    " as np.random.RandomState(0). Use joblib.dump to save the estimator."
                )
            return {"RandomState": encode(value.get_state(legacy=True), arrays, records, place)}
        case Network():
            return {"Network": encode(value.__reduce__()[1], arrays, records, place)}
        case Description():
            named = {key: encode(item, arrays, records, f"{place}.{key}") for key, item in value.get_params().items()}
            written = {"description": type(value).__name__, "kind": kind_of(type(value)), "fields": named}
            # The mark keeps `read_file` from building a class of this package that has the same name.
            return written | {"own": True} if _is_own(type(value)) else written
    if is_dataclass(value) and records.get(type(value).__name__) is type(value):
        named = {f.name: encode(getattr(value, f.name), arrays, records, f"{place}.{f.name}") for f in fields(value)}
        return {"record": type(value).__name__, "fields": named}
    raise TypeError(
        f"{place} is a {type(value).__name__}, which save cannot write. Use joblib.dump to save the estimator."
    )


def _encode_array(array: Array, arrays: list[Array], kind: str) -> dict[str, int]:
    arrays.append(np.array(array, array.dtype.newbyteorder("<"), order="C"))
    return {kind: len(arrays) - 1}


# -- checks of a model


def check_model(name: str, state: Mapping[str, Any]) -> None:
    """Refuse a model that cannot predict because its parts do not fit together."""
    model = state["_model"]
    if not (isinstance(model, Model) and isinstance(model.network, Network)):
        raise Refused("its model is not a model.")
    network = model.network
    if max(math.prod(shape) for shape in (network.input_shape, *(part[2] for part in network.parts))) > LARGEST:
        raise Refused(f"its network is for images of {network.input_shape}, and it or one of its layers is too large.")
    kind = model.weights.dtype
    sizes = (model.weights.shape, model.state.shape), ((network.weights.size,), (network.state.size,))
    channels = (network.input_shape[2],)
    if kind not in (np.float32, np.float64) or model.state.dtype != kind or sizes[0] != sizes[1]:
        raise Refused("its weights do not fit its layers.")
    _check_windows(network)
    if not _has_moments(model.scaling, channels):
        raise Refused("its standardization does not fit its images.")
    outputs = (network.outputs,)
    if model.target_scaling is not None and not (
        name == "CNNRegressor" and _has_moments(model.target_scaling, outputs)
    ):
        raise Refused("its standardization of targets does not fit its outputs.")
    shapes = state["input_shape_"], network.input_shape
    given = (*shapes[0], state["n_features_in_"])
    if not all(isinstance(shape, tuple) for shape in shapes):
        raise Refused("its images do not fit its layers.")
    if given != (*network.input_shape, math.prod(network.input_shape)) or any(type(size) is not int for size in given):
        raise Refused("its images do not fit its layers.")
    _check_meaning(name, state, model)
    # Recording finds the remaining mistakes, those inside single layers.
    predictor_of(model).record(1)
    for array in (model.weights, model.state):
        array.flags.writeable = False


def _has_moments(scaling: Any, shape: tuple[int, ...]) -> bool:
    """Return whether this is a Scaling of floats of a shape."""
    moments = [scaling.mean, scaling.scale] if isinstance(scaling, Scaling) else []
    return [(part.shape, part.dtype.kind) for part in moments] == [(shape, "f")] * 2


def check_reader(state: Mapping[str, Any], input_shape: tuple[int, ...]) -> Reading:
    """Return the `Reading` of a fitted `ImageReader`, and refuse one that does not fit the network after it."""
    names = "size", "resize", "color", "background"
    reading = Reading.of(**{name: state[name] for name in names}, dtype=state["dtype_"])
    if reading.dtype == "auto" or (*reading.size, state["channels_"]) != input_shape:
        raise Refused("it reads images that do not fit its network.")
    return reading


def _check_windows(network: Network) -> None:
    """Refuse windows that would take too long to record, and borders that would not fit in memory."""
    pixels = 0
    for name, layer, shape in network.parts:
        if isinstance(layer, (Convolution, MaxPool2D, AvgPool2D)):
            windows = layer.geometry(shape)
            axes, far = (windows.rows, windows.columns), False
            if not isinstance(layer, Convolution):  # the file itself has a weight for each pixel of such a window
                pixels += math.prod(windows.kernel)
                far = any(axis.kernel > BEYOND * axis.size for axis in axes)
            if far or pixels > WINDOWS or math.prod(axis.bordered for axis in axes) * shape[2] > LARGEST:
                raise Refused(f"the windows of its layer {name!r} are too large.")


def _check_meaning(name: str, state: Mapping[str, Any], model: Model) -> None:
    """Refuse a loss, classes or targets that do not belong to the outputs."""
    for loss in (state["loss"], model.loss):
        resolve_loss(loss, TASKS[name])
    loss, outputs = model.loss, model.network.outputs
    if not isinstance(loss, Loss):
        raise Refused("its model has no loss.")
    blank = np.zeros((1, outputs))
    if name == "CNNClassifier":
        classes, labels = state["classes_"], state["_labels"]
        fits = isinstance(labels, bool) and isinstance(classes, np.ndarray) and classes.ndim == 1
        expected = 1 if fits and len(classes) == 2 and not labels else len(classes)
    else:
        columns = state["_columns"]
        fits, expected = columns is None or type(columns) is int, columns or 1
    if not fits or expected != outputs:
        raise Refused("its classes or targets do not fit its output layer.")
    if name == "CNNRegressor":
        predicted_targets(model, blank, columns)
        return
    predicted_classes(blank, classes, labels)
    if loss.has_probabilities:
        probabilities(loss, blank, classes, labels)
