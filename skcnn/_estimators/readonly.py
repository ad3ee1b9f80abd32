"""A read-only dictionary for the named arrays of a fitted network."""

from __future__ import annotations

from typing import Any, NoReturn


class ReadOnly(dict[str, Any]):
    """Dictionary that raises an error when it is changed, because the network would not use the new array."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "The arrays of a fitted network are read-only, because the network would not use an array that is added to"
            " parameters_ or state_. Use set_weights, for example set_weights({'conv1.kernel': array})."
        )

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)
