"""Named arrays of a fitted network, which nothing can be put into."""

from __future__ import annotations

from typing import Any, NoReturn


class ReadOnly(dict[str, Any]):
    """A dict that refuses to be changed: an array that is put into it would never reach the network."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "The arrays of a fitted network are read-only: an array put into parameters_ or state_ would not reach the"
            " network. Give it to the estimator's set_weights, for example set_weights({'conv1.kernel': array})."
        )

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)
