"""Descriptions: immutable values such as layers, losses, optimizers, schedules and initializers.

The fields of a description are the unmodified arguments of its constructor. It contains no trained arrays. Two
descriptions are equal if their fields are equal, so they can be dictionary keys and entries of a search grid. Their
``repr`` is the code that recreates them.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import numpy as np


@dataclass_transform(frozen_default=True)
def description(cls: type[T]) -> type[T]:
    """Turn a class into an immutable description whose annotated fields are the arguments of its constructor."""
    return dataclass(frozen=True, repr=False, eq=False)(cls)


class Description:
    """Base of all descriptions."""

    name: ClassVar[str] = ""  # registered name, which users may pass instead of an object with default fields
    aliases: ClassVar[tuple[str, ...]] = ()  # alternative names

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        own = [name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)]
        if "__dataclass_fields__" not in vars(cls) and (own or not is_dataclass(cls)):
            raise TypeError(
                f"{cls.__name__} is not a description. Put @description above the class. Without it, its fields"
                f" ({', '.join(own) or 'none here'}) are not parameters."
            )
        return super().__new__(cls)

    def check(self) -> None:
        """Raise a ValueError that names the field if a field is invalid."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return a dictionary of field -> value, for scikit-learn's nested parameters. ``deep`` has no effect."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with changed fields; raise a ValueError that lists the fields if a name is unknown."""
        unknown = [key for key in changes if key not in self.get_params()]
        if unknown:
            known = ", ".join(self.get_params()) or "none"
            raise ValueError(f"{type(self).__name__} has no parameter {unknown[0]!r}. Its parameters are: {known}.")
        return replace(self, **changes)  # type: ignore[type-var]

    def __sklearn_clone__(self) -> Self:
        return self

    def __repr__(self) -> str:
        shown: list[str] = []
        for position, field in enumerate(fields(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not _is_default(field, value):
                shown.append(_plain_repr(value) if position == 0 else f"{field.name}={_plain_repr(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def _key(self) -> tuple[Any, ...]:
        return tuple(_hashable(value) for value in self.get_params().values())

    def _require(self, field: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ValueError(f"{self!r}: {field} must be {expected}, got {getattr(self, field)!r}.")


T = TypeVar("T")
D = TypeVar("D", bound=Description)


def is_count(value: object, least: int = 1) -> bool:
    """Return whether ``value`` is an int of ``least`` or more. A bool is not."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_real(
    value: object, low: float, high: float = np.inf, *, open_low: bool = False, open_high: bool = False
) -> bool:
    """Return whether ``value`` is a finite number from ``low`` to ``high``.

    The bounds are included, unless ``open_low`` or ``open_high`` excludes them.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    number = float(value)
    above = low < number if open_low else low <= number
    return above and (number < high if open_high else number <= high) and np.isfinite(number)


def is_size(value: object, least: int = 1) -> bool:
    """Return whether ``value`` is an int of ``least`` or more, or a pair of them."""
    if isinstance(value, (tuple, list)):
        return len(value) == 2 and all(is_count(v, least) for v in value)
    return is_count(value, least)


def registered(kind: type[D]) -> dict[str, type[D]]:
    """Return a dictionary of name -> class, for all named subclasses of ``kind``."""
    named = [cls for cls in subclasses(kind) if cls.__dict__.get("name")]
    found = {name: cls for cls in named for name in (cls.name, *cls.aliases)}
    return dict(sorted(found.items()))


def resolve(kind: type[D], value: object, parameter: str) -> D:
    """Return a description of ``kind`` from an object, or from the name of a class, which is then built with defaults.

    Raises
    ------
    ValueError
        If the name is unknown, or a field is invalid. The message suggests the most similar name.
    TypeError
        If ``value`` has a different type. If it is a class, the message says to pass an object.
    """
    if isinstance(value, str):
        names = registered(kind)
        if value not in names:
            near = difflib.get_close_matches(value.lower(), names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{parameter}={value!r} is not a known name.{hint}"
                f" Known names: {', '.join(map(repr, names))}. You can also pass an object."
            )
        value = names[value]()
    refuse_class(value, parameter)
    if not isinstance(value, kind):
        raise TypeError(f"{parameter} must be a name or an object of a {kind.__name__} class, got {value!r}.")
    value.check()
    return value


def refuse_class(value: object, parameter: str) -> None:
    """Raise a TypeError if ``value`` is a class instead of an object."""
    if inspect.isclass(value):
        raise TypeError(f"{parameter}={value.__name__} is a class. Pass an object, {value.__name__}(...).")


def subclasses(kind: type[D]) -> Iterator[type[D]]:
    """Yield all direct and indirect subclasses of ``kind``."""
    for cls in kind.__subclasses__():
        yield cls
        yield from subclasses(cls)


def _is_default(field: Any, value: object) -> bool:
    return type(field.default) is type(value) and field.default == value


def _plain_repr(value: object) -> str:
    """Return ``repr`` of a value, with NumPy numbers as Python numbers.

    A value from a search grid such as ``np.arange(3)`` then looks the same as a Python int.
    """
    return repr(value.item() if isinstance(value, np.generic) else value)


def _hashable(value: object) -> object:
    return tuple(_hashable(v) for v in value) if isinstance(value, (list, tuple)) else value


def numbered(stems: Iterable[str]) -> list[str]:
    """Append counters to names: conv, conv, dense -> conv1, conv2, dense1."""
    counts: dict[str, int] = {}
    names = []
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
        names.append(f"{stem}{counts[stem]}")
    return names
