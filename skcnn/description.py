"""Frozen, comparable, printable values: layers, losses, optimizers, schedules and initializers are descriptions.

A description holds what its constructor got, unmodified, and no array. That makes it a value: two of them are equal
when their fields are, it can be a dictionary's key or a point of a search grid, its ``repr`` builds it again, and
nobody can change it behind anybody's back.
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
    """Make a class a frozen description whose fields are its constructor's arguments."""
    return dataclass(frozen=True, repr=False, eq=False)(cls)


class Description:
    """Base of everything that is described rather than done."""

    name: ClassVar[str] = ""  # the registered name: what a user may write in place of an object with defaults
    aliases: ClassVar[tuple[str, ...]] = ()  # other names under which the field knows it

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        own = [name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)]
        if "__dataclass_fields__" not in vars(cls) and (own or not is_dataclass(cls)):
            raise TypeError(
                f"{cls.__name__} is not a description: put @description above the class, or its fields"
                f" ({', '.join(own) or 'none here'}) are no parameters."
            )
        return super().__new__(cls)

    def check(self) -> None:
        """Raise a ValueError that names the field, if a field has no meaning."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Field -> value, as scikit-learn's nested parameters want them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def replaced(self, **changes: Any) -> Self:
        """The same description with other values; an error that lists the fields for one that it does not have."""
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
    """Whether ``value`` is an int of ``least`` or more (a bool is not)."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def is_real(
    value: object, low: float, high: float = np.inf, *, open_low: bool = False, open_high: bool = False
) -> bool:
    """Whether ``value`` is a finite number from ``low`` to ``high``."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    number = float(value)
    above = low < number if open_low else low <= number
    return above and (number < high if open_high else number <= high) and np.isfinite(number)


def is_size(value: object, least: int = 1) -> bool:
    """Whether ``value`` is a count, or a pair of them."""
    if isinstance(value, (tuple, list)):
        return len(value) == 2 and all(is_count(v, least) for v in value)
    return is_count(value, least)


def registered(kind: type[D]) -> dict[str, type[D]]:
    """Name -> class, for every class of a kind that has a name of its own."""
    named = [cls for cls in subclasses(kind) if cls.__dict__.get("name")]
    found = {name: cls for cls in named for name in (cls.name, *cls.aliases)}
    return dict(sorted(found.items()))


def resolve(kind: type[D], value: object, parameter: str) -> D:
    """The description behind what a user wrote: an object, or the name of a class, which means its defaults.

    Raises
    ------
    ValueError
        Where a name is unknown, with the nearest one, or a field has no meaning.
    TypeError
        For anything else; a class instead of an object is told so.
    """
    if isinstance(value, str):
        names = registered(kind)
        if value not in names:
            near = difflib.get_close_matches(value.lower(), names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{parameter}={value!r} is not a known name.{hint}"
                f" Known names: {', '.join(map(repr, names))}; or pass an object."
            )
        value = names[value]()
    refuse_class(value, parameter)
    if not isinstance(value, kind):
        raise TypeError(f"{parameter} must be a name or an object of a {kind.__name__} class, got {value!r}.")
    value.check()
    return value


def refuse_class(value: object, parameter: str) -> None:
    """Raise a TypeError where a class stands in place of an object."""
    if inspect.isclass(value):
        raise TypeError(f"{parameter}={value.__name__} is a class: pass an object, {value.__name__}(...).")


def subclasses(kind: type[D]) -> Iterator[type[D]]:
    """The classes of a kind, however far down."""
    for cls in kind.__subclasses__():
        yield cls
        yield from subclasses(cls)


def _is_default(field: Any, value: object) -> bool:
    return type(field.default) is type(value) and field.default == value


def _plain_repr(value: object) -> str:
    """``repr``, but of NumPy's numbers as Python's: a grid of ``np.arange`` must not show in a file or a repr."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def _hashable(value: object) -> object:
    return tuple(_hashable(v) for v in value) if isinstance(value, (list, tuple)) else value


def numbered(stems: Iterable[str]) -> list[str]:
    """conv, conv, dense -> conv1, conv2, dense1."""
    counts: dict[str, int] = {}
    names = []
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
        names.append(f"{stem}{counts[stem]}")
    return names
