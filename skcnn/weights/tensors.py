"""Tensors of a file that PyTorch has written, read without PyTorch and without pickle.

Such a file contains a pickle, which is a program for a small stack machine that builds objects. Python's own machine
calls whatever the program names, so a malicious file could run any code. The machine in this module builds numbers,
strings, lists, dictionaries and tensors only. It calls nothing, and refuses every other instruction.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .._arrays.elementwise import Array

MAGIC = 0x1950A86A20F9469CFC6C  # begins files of PyTorch before 1.6, which are not zip archives
KINDS = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf16", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
ORDERED = "collections.OrderedDict"
NAMES = {TENSOR, PARAMETER, ORDERED, *(f"torch.{kind}" for kind in KINDS)}
MARK = object()
DAMAGED = (
    AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError, OverflowError, RuntimeError,
    TypeError, ValueError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


class Refused(Exception):
    """Error about the content of a file."""


@dataclass(frozen=True)
class Name:
    """Name of a function or class in the program. It is never looked up or called."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Numbers that tensors share: their kind, their key in the file, and their count."""

    kind: str
    key: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """View of a storage. Offset and strides are counted in numbers, not in bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(content: bytes) -> dict[str, Array]:
    """Return the tensors of a file as a dictionary of arrays."""
    try:
        return _read_archive(content) if zipfile.is_zipfile(io.BytesIO(content)) else _read_old(content)
    except DAMAGED as error:
        raise Refused(f"it is damaged or cut off ({type(error).__name__}: {error}).") from None


def _read_archive(content: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        programs = [name for name in entries if name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise Refused("it is an archive, but not one of PyTorch's.")
        folder = programs[0].removesuffix("data.pkl")

        def entry(name: str) -> bytes:
            if name not in entries:
                raise Refused(f"it lacks {name!r}.")
            if entries[name].compress_type != zipfile.ZIP_STORED or entries[name].file_size > len(content):
                raise Refused(f"its {name!r} is compressed, which files of PyTorch never are.")
            return archive.read(name)

        if f"{folder}byteorder" in entries and entry(f"{folder}byteorder") != b"little":
            raise Refused("its numbers are big-endian.")
        found = named_tensors(run(io.BytesIO(entry(programs[0]))))
        return _arrays(found, lambda storage: entry(f"{folder}data/{storage.key}"))


def _read_old(content: bytes) -> dict[str, Array]:
    file = io.BytesIO(content)
    if run(file) != MAGIC:
        raise Refused("it is not a file of tensors that PyTorch has written.")
    run(file)  # the version of the format
    system = run(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("its numbers are big-endian.")
    found = named_tensors(run(file))
    keys, storages = run(file), {tensor.storage.key: tensor.storage for tensor in found.values()}
    if not isinstance(keys, list):
        raise Refused("it does not say where its numbers are.")
    data: dict[str, bytes] = {}
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise Refused("it has numbers that no tensor reads.")
        size = int.from_bytes(_exactly(file, 8), "little")
        if size != storages[key].size:
            raise Refused(f"its storage {key!r} has {size} numbers, which does not match its tensors.")
        data[key] = _exactly(file, size * _width(storages[key].kind))
    return _arrays(found, lambda storage: data[storage.key])


def _exactly(file: BinaryIO, size: int) -> bytes:
    found = file.read(size)
    if len(found) != size:
        raise Refused("it is cut off.")
    return found


def _width(kind: str) -> int:
    return 2 if kind == "bf16" else np.dtype(kind).itemsize


def named_tensors(value: Any) -> dict[str, Tensor]:
    """Return the tensors of a dictionary, or of the dictionary under "state_dict" that training scripts save in it."""
    for _ in range(2):
        if not isinstance(value, dict):
            break
        if value and all(isinstance(k, str) and isinstance(item, Tensor) for k, item in value.items()):
            return value
        value = value.get("state_dict")
    raise Refused("it contains no dictionary of names and tensors. Save model.state_dict().")


def _arrays(tensors: Mapping[str, Tensor], read: Callable[[Storage], bytes]) -> dict[str, Array]:
    return {name: _array(name, tensor, read(tensor.storage)) for name, tensor in tensors.items()}


def _array(name: str, tensor: Tensor, data: bytes) -> Array:
    kind, shape, strides = tensor.storage.kind, tensor.shape, tensor.strides
    count = math.prod(shape)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    available = len(data) // _width(kind)
    if min(tensor.offset, *shape, *strides, 0) < 0 or count > available or (count and last >= available):
        raise Refused(f"its tensor {name!r} of shape {shape} is larger than its numbers.")
    numbers = np.frombuffer(data, "<u2" if kind == "bf16" else np.dtype(kind).newbyteorder("<"))
    view = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :], shape, tuple(step * numbers.itemsize for step in strides), writeable=False
    )
    if kind == "bf16":
        return (view.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return np.array(view, view.dtype.newbyteorder("="))


# -- the machine


def run(file: BinaryIO) -> Any:
    """Run the program of a pickle and return the object of numbers, strings, lists, dictionaries and tensors."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    try:
        for instruction, argument, _ in pickletools.genops(file):
            name = instruction.name
            if name == "STOP":
                (result,) = stack
                return result
            if name in PUSHED:
                stack.append(PUSHED[name](argument))
            elif name in HANDLERS:
                HANDLERS[name](stack, argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name not in ("PROTO", "FRAME"):
                raise Refused(f"it has the instruction {name}, which no tensor needs.")
    except DAMAGED as error:
        raise Refused(f"it is damaged or cut off ({type(error).__name__}: {error}).") from None
    raise Refused("it is cut off.")


def _to_mark(stack: list[Any]) -> list[Any]:
    """Take the values above the last mark off the stack, with the mark, and return them."""
    place = max(i for i, value in enumerate(stack) if value is MARK)
    values = stack[place + 1 :]
    del stack[place:]
    return values


def _name(stack: list[Any], argument: Any) -> None:
    """GLOBAL and STACK_GLOBAL: push a name that belongs to tensors."""
    if argument is None:
        attribute, module = stack.pop(), stack.pop()
    else:
        module, attribute = argument.split(" ")
    if f"{module}.{attribute}" not in NAMES:
        raise Refused(
            f"it names {module}.{attribute}, which is not part of a tensor. No code of the file has been run."
        )
    stack.append(Name(f"{module}.{attribute}"))


def _call(stack: list[Any], argument: Any) -> None:
    """REDUCE: build the object that a name with arguments stands for."""
    arguments, name = stack.pop(), stack.pop()
    match name, arguments:
        case Name("collections.OrderedDict"), ():
            stack.append({})
        case Name("torch._utils._rebuild_tensor_v2"), (Storage() as storage, int(offset), shape, strides, *_):
            whole = (*shape, *strides)
            if len(shape) != len(strides) or not all(type(number) is int for number in whole):
                raise Refused(f"it has a tensor of shape {shape}.")
            stack.append(Tensor(storage, offset, tuple(shape), tuple(strides)))
        case Name("torch._utils._rebuild_parameter"), (Tensor() as tensor, *_):
            stack.append(tensor)
        case _:
            what = name.name if isinstance(name, Name) else type(name).__name__
            raise Refused(f"it calls {what} with arguments that do not build a tensor.")


def _stored(stack: list[Any], argument: Any) -> None:
    """BINPERSID: push a reference to numbers that are elsewhere in the file."""
    match stack.pop():
        case ("storage", Name(name), str(key), _, int(size), *_) if name.removeprefix("torch.") in KINDS:
            stack.append(Storage(KINDS[name.removeprefix("torch.")], key, size))
        case _:
            raise Refused("it refers to something that is not a storage of numbers.")


def _set_items(stack: list[Any], argument: Any) -> None:
    values = _to_mark(stack)
    _update(stack[-1], values[::2], values[1::2])


def _set_item(stack: list[Any], argument: Any) -> None:
    value, key = stack.pop(), stack.pop()
    _update(stack[-1], [key], [value])


def _update(target: Any, keys: list[Any], values: list[Any]) -> None:
    # Keys are restricted because hashing deeply nested tuples may take forever.
    if not isinstance(target, dict) or not all(isinstance(key, (str, int)) for key in keys):
        raise Refused("it has a dictionary whose keys are not names.")
    target.update(zip(keys, values, strict=True))


def _append(stack: list[Any], argument: Any) -> None:
    value = stack.pop()
    stack[-1].extend([value])


def _extend(stack: list[Any], argument: Any) -> None:
    values = _to_mark(stack)
    stack[-1].extend(values)


def _tuple(size: int) -> Callable[[list[Any], Any], None]:
    def build(stack: list[Any], argument: Any) -> None:
        values = tuple(stack[len(stack) - size :])
        if len(values) != size:
            raise Refused("it is damaged.")
        del stack[len(stack) - size :]
        stack.append(values)

    return build


def _build(stack: list[Any], argument: Any) -> None:
    """BUILD: drop the attributes of a dictionary, which are version numbers without a meaning for the tensors."""
    stack.pop()
    if not isinstance(stack[-1], dict):
        raise Refused("it sets attributes of something that is not a dictionary.")


Instruction = Callable[[list[Any], Any], None]
PUSHED: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
         "BINSTRING", "SHORT_BINSTRING"),
        lambda argument: argument,
    ),
    "NONE": lambda argument: None,
    "NEWTRUE": lambda argument: True,
    "NEWFALSE": lambda argument: False,
    "MARK": lambda argument: MARK,
    "EMPTY_DICT": lambda argument: {},
    "EMPTY_LIST": lambda argument: [],
    "EMPTY_TUPLE": lambda argument: (),
}  # fmt: skip
HANDLERS: dict[str, Instruction] = {
    "GLOBAL": _name,
    "STACK_GLOBAL": _name,
    "REDUCE": _call,
    "BINPERSID": _stored,
    "SETITEMS": _set_items,
    "SETITEM": _set_item,
    "APPENDS": _extend,
    "APPEND": _append,
    "TUPLE": lambda stack, argument: stack.append(tuple(_to_mark(stack))),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "BUILD": _build,
}
