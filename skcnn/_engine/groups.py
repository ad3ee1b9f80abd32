"""Groups of weights that are updated in the same way, and lie next to each other in the vector of all weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .._tape.parameters import Layout
from ..description import is_real
from ..optimizers import Optimizer

CHUNK = 64_000  # weights in a chunk: with gradients and slots about 1 MB in single precision


@dataclass(frozen=True)
class Group:
    """Part of the vector of weights, and the factor of its learning rate. Weights with the factor 0 do not change.

    A group with a ``shape`` is one kernel, which the optimizer updates as a whole.
    """

    part: slice
    factor: float = 1.0
    shape: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.part.stop - self.part.start

    @property
    def cost(self) -> int:
        """Estimate of the time of an update: for a whole kernel, the multiplications of the product with its square."""
        return self.size if self.shape is None else self.size * min(self.size // self.shape[-1], self.shape[-1])

    def chunks(self) -> list[Group]:
        """Return the group in chunks of weights that fit the cache. A whole kernel is one chunk."""
        if self.shape is not None:
            return [self]
        starts = range(self.part.start, self.part.stop, CHUNK)
        return [Group(slice(start, min(start + CHUNK, self.part.stop)), self.factor) for start in starts]


def grouped(
    layout: Layout, trained: Sequence[slice], factors: Mapping[str, float], optimizer: Optimizer
) -> list[Group]:
    """Return the groups of the weights in the ``trained`` slices, for the factor of each parameter by its name.

    The groups are as long as possible, because each costs separate calls.
    """
    found: list[Group] = []
    for name, part in layout.slices.items():
        if not any(own.start <= part.start < own.stop for own in trained):
            continue
        parameter = layout.parameters[name]
        if factors[name] and parameter.decay and optimizer.updates_whole(name, parameter.shape):
            found.append(Group(part, factors[name], parameter.shape))
        elif found and found[-1] == Group(slice(found[-1].part.start, part.start), factors[name]):
            found[-1] = Group(slice(found[-1].part.start, part.stop), factors[name])
        else:
            found.append(Group(part, factors[name]))
    return found


def parameter_factors(names: Iterable[str], given: Mapping[str, float] | None) -> dict[str, float]:
    """Return the factor of the learning rate of each parameter: the product of the factors of all patterns that match.

    A pattern matches the name of the parameter, of a layer that contains it, or its last part, such as "bias".

    Raises
    ------
    ValueError
        If a pattern matches no parameter, or a factor is not a number of 0 or more.
    """
    factors = dict.fromkeys(names, 1.0)
    for pattern, factor in sorted((given or {}).items(), key=str):  # sorted, so that equal dicts give the same bits
        if not is_real(factor, 0):
            raise ValueError(
                f"learning_rate_factors={given!r}: the factor of {pattern!r} must be a number of 0 or more, got"
                f" {factor!r}."
            )
        matched = [name for name in factors if isinstance(pattern, str) and _matches(pattern, name)]
        if not matched:
            raise ValueError(_unmatched(pattern, factors))
        for name in matched:
            factors[name] *= float(factor)
    return factors


def _matches(pattern: str, name: str) -> bool:
    kind = name.rpartition(".")[2]
    return any(fnmatchcase(*pair) for pair in ((name, pattern), (name, f"{pattern}.*"), (kind, pattern)))


def _unmatched(pattern: object, names: Iterable[str]) -> str:
    layers, _, kinds = zip(*(name.rpartition(".") for name in names), strict=True)
    near = difflib.get_close_matches(str(pattern), [*layers, *kinds, *names], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"learning_rate_factors has {pattern!r}, which matches no parameter.{hint} The layers with parameters are:"
        f" {', '.join(dict.fromkeys(layers))}. Their parameters are: {', '.join(dict.fromkeys(kinds))}. A pattern such"
        " as 'conv1', 'bias', 'conv1.kernel' or 'conv*.kernel' matches a layer, a kind of parameter, or names."
    )
