"""Named arrays in one vector. Layers use the arrays; optimizers, snapshots and files use the vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .._arrays.elementwise import Array, reshape


class Arrays(SimpleNamespace):
    """Namespace of arrays: parameters of a layer, such as ``p.kernel``, or their gradients, such as ``g.kernel``."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Array: ...


@dataclass(frozen=True)
class Parameter:
    """Description of a parameter of a layer.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    initial : float, str or initializer, default=0.0
        Initial value of all numbers, or an initializer.
    fan_in, fan_out : int, default=1
        Number of inputs and of outputs of one unit, for the initializer.
    decay : bool, default=False
        Whether the L2 penalty `alpha` includes the parameter. Set it for kernels, but not for biases.
    trainable : bool, default=True
        Whether the parameter is trained. Running statistics are not.
    """

    shape: tuple[int, ...]
    initial: Any = 0.0
    fan_in: int = 1
    fan_out: int = 1
    decay: bool = False  # whether the L2 penalty includes it: true for kernels, false for biases and batch norm
    trainable: bool = True  # false for running statistics

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Layout:
    """Positions of named parameters in one vector. Parameters with decay come first, so that they form a slice."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = dict(parameters)
        self.slices: dict[str, slice] = {}  # in the order of the vector
        start = self.decayed = 0
        for decay in (True, False):
            for name, parameter in self.parameters.items():
                if parameter.decay is decay:
                    self.slices[name] = slice(start, start + parameter.size)
                    start += parameter.size
            if decay:
                self.decayed = start
        self.size = start

    def views(self, vector: Array) -> dict[str, Array]:
        """Return a dictionary of name -> view into ``vector``, in the order of the parameters."""
        return {name: reshape(vector[self.slices[name]], p.shape) for name, p in self.parameters.items()}
