"""Named arrays inside one vector: what optimizers, snapshots and files see as flat, layers see as arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .._arrays.elementwise import Array, reshape


class Arrays(SimpleNamespace):
    """Arrays by name: the parameters of a layer, ``p.kernel``, or where their gradients go, ``g.kernel``."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Array: ...


@dataclass(frozen=True)
class Parameter:
    """A parameter that a layer asks for.

    ``initial`` is a number, or an initializer that draws from the number of inputs and outputs of one unit.
    """

    shape: tuple[int, ...]
    initial: Any = 0.0
    fan_in: int = 1
    fan_out: int = 1
    decay: bool = False  # whether `alpha` shrinks it: kernels, but not biases or batch norm
    trainable: bool = True  # or a running statistic

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Layout:
    """Where each named parameter lies in one vector: those that decay come first, so that decay is a slice."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = dict(parameters)
        self._slices: dict[str, slice] = {}
        start = self.decayed = 0
        for decay in (True, False):
            for name, parameter in self.parameters.items():
                if parameter.decay is decay:
                    self._slices[name] = slice(start, start + parameter.size)
                    start += parameter.size
            if decay:
                self.decayed = start
        self.size = start

    def views(self, vector: Array) -> dict[str, Array]:
        """Name -> the parameter as a view into ``vector``, in the order in which they were given."""
        return {name: reshape(vector[self._slices[name]], p.shape) for name, p in self.parameters.items()}
