"""Conversion of steps to sequences of layers and nested layers.

Where several values join, their fork is the last value on which all of them depend. The paths between the fork and the
join are branches, which are converted recursively.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from ..layers import BatchNorm, Concatenate, Conv2D, Dense, DepthwiseConv2D, Gate, GroupNorm, LayerNorm, Residual, Scale
from ..layers.sequence import layer_names
from .pointwise import GRID, recognized
from .reading import Refused
from .walking import INPUT, Part, Step, Walk

LONGEST = 16  # most nodes of one activation


class Builder:
    """Builder of the layers of a walk. Each node is used once."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._used: set[str] = set()

    def chain(self, end: str, start: str = INPUT) -> list[Part]:
        """Return the layers from ``start`` to ``end``."""
        groups: list[Sequence[Part]] = []
        name = end
        while name != start:
            step = self._walk.steps.get(name)
            if step is None or self._walk.numbers[name] < self._walk.numbers[start]:
                raise self._tangled(end)
            found = self._activation(name, start)
            if found is not None:
                part, name = found
                groups.append([part])
            elif step.kind == "layers":
                if any(part.arrays for part in step.parts):
                    self._use(name)
                groups.append(step.parts)
                name = step.sources[0]
            elif step.kind == "open":
                assert step.node is not None
                self._walk.refuse(step.node, "there is no layer for it, and it is not part of a known activation")
            else:
                self._use(name)
                fork = self._fork(step.sources)
                groups.append([self._join(step.kind, step.sources, fork)])
                name = fork
        return tidied([part for group in reversed(groups) for part in group])

    def _join(self, kind: str, sources: Sequence[str], fork: str) -> Part:
        """Return the layer that joins several values after their fork."""
        if kind != "concatenate":
            return _joined(kind, [self.chain(source, fork) for source in sources])
        # Neighbours with a later fork are concatenated first, because they share the path to that fork.
        groups: list[list[str]] = []
        for source in sources:
            if groups and self._fork([*groups[-1], source]) != fork:
                groups[-1].append(source)
            else:
                groups.append([source])
        branches = []
        for group in groups:
            if len(group) == 1:
                branches.append(self.chain(group[0], fork))
            else:
                later = self._fork(group)
                branches.append([*self.chain(later, fork), self._join(kind, group, later)])
        return _joined(kind, branches)

    def _use(self, name: str) -> None:
        if name in self._used:
            raise self._tangled(name)
        self._used.add(name)

    def _tangled(self, name: str) -> Refused:
        step = self._walk.steps.get(name)
        where = "The input" if step is None or step.node is None else f"{step.node}{self._walk.shapes(step.node)}"
        return Refused(
            f"{where}: its result is read in several places, whose branches do not join in a nested way. Networks of"
            " this package consist of layers and nested branches."
        )

    def _fork(self, names: Sequence[str]) -> str:
        """Return the last value on which all of these depend."""
        frontier, numbers = set(names), self._walk.numbers
        while len(frontier) > 1:
            latest = max(frontier, key=numbers.__getitem__)
            frontier.remove(latest)
            frontier.update(self._walk.steps[latest].sources)
        return frontier.pop()

    def _activation(self, name: str, start: str) -> tuple[Part, str] | None:
        """Return the activation formed by the last nodes before a value, and its input; None if there is none."""
        steps, numbers = self._walk.steps, self._walk.numbers
        if not steps[name].pattern:
            return None
        frontier = {name}
        for _ in range(LONGEST):
            latest = max(frontier, key=numbers.__getitem__)
            step = steps.get(latest)
            if latest == start or step is None or step.function is None or step.kind == "concatenate":
                return None
            frontier.remove(latest)
            frontier.update(step.sources)
            if len(frontier) == 1:
                (base,) = frontier
                if _same_axes(self._walk, name, base):
                    with np.errstate(all="ignore"):
                        layer = recognized(_values(steps, name, {base: GRID}))
                    if layer is not None:
                        return Part(layer), base
        return None


def _same_axes(walk: Walk, name: str, base: str) -> bool:
    value, other = walk.values[name], walk.values[base]
    return value.axes == other.axes and value.shape == other.shape


def _values(steps: Mapping[str, Step], name: str, known: dict[str, Array]) -> Array:
    """Return the numbers of a value, given ``known`` numbers of earlier values."""
    if name not in known:
        step = steps[name]
        assert step.function is not None
        known[name] = step.function(*(_values(steps, source, known) for source in step.sources))
    return known[name]


def named(parts: Sequence[Part], prefix: str = "") -> dict[str, Array]:
    """Return the arrays of a sequence of layers, by their names in the network."""
    names = layer_names([part.layer for part in parts])
    return {
        f"{prefix}{name}.{key}": array
        for name, part in zip(names, parts, strict=True)
        for key, array in part.arrays.items()
    }


def _layers(parts: Sequence[Part]) -> list[Any]:
    return [part.layer for part in parts]


def _joined(kind: str, branches: list[list[Part]]) -> Part:
    """Return the layer that contains branches, with the arrays of all nested layers."""
    if kind == "concatenate":
        arrays = [named(parts, f"branch{i + 1}.") for i, parts in enumerate(branches)]
        return Part(Concatenate([_layers(parts) for parts in branches]), _together(arrays))
    first, second, *others = branches
    if kind == "multiply":
        # The gated branch comes first. If both are images, the longer branch is the gate.
        if not second:
            first, second = second, first
        layer = Gate(_layers(second), _layers(first)) if first else Gate(_layers(second))
        return Part(layer, _together([named(second), named(first, "around.")]))
    if len(first) < len(second):
        first, second = second, first
    if not second:
        # The summands have equal shapes, so an identity is the "auto" shortcut.
        joined = Part(Residual(_layers(first)), named(first))
    elif len(second) == 1:
        around = {f"shortcut.{key}": array for key, array in second[0].arrays.items()}
        joined = Part(Residual(_layers(first), shortcut=second[0].layer), _together([named(first), around]))
    else:
        joined = Part(
            Residual(_layers(first), shortcut=_layers(second)), _together([named(first), named(second, "shortcut.")])
        )
    return _joined(kind, [[joined], *others]) if others else joined


def _together(arrays: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {name: array for part in arrays for name, array in part.items()}


def tidied(parts: Sequence[Part]) -> list[Part]:
    """Merge factors and offsets into the layers before them."""
    found: list[Part] = []
    for part in parts:
        merged = _merged(found[-1], part) if found and isinstance(part.layer, Scale) else None
        if merged is None:
            found.append(part)
        else:
            found[-1] = merged
    return found


def _merged(before: Part, scale: Part) -> Part | None:
    """Return a layer and a following `Scale` as one equivalent layer, or None if there is none."""
    layer, arrays = before.layer, before.arrays
    factor, shift = scale.arrays["scale"], scale.arrays.get("bias")
    can_add = isinstance(layer, (Conv2D, DepthwiseConv2D, Dense)) and not layer.use_bias
    if can_add and shift is not None and (factor == 1).all():
        return Part(layer.replaced(use_bias=True), arrays | {"bias": shift})
    if isinstance(layer, Scale):
        bias = arrays["bias"] * factor if layer.use_bias else None
        if shift is not None:
            bias = shift if bias is None else bias + shift
        both = {"scale": arrays["scale"] * factor} | ({} if bias is None else {"bias": bias})
        return Part(Scale(use_bias=bias is not None), both)
    plain = isinstance(layer, (BatchNorm, GroupNorm, LayerNorm)) and (arrays["scale"] == 1).all()
    if plain and not arrays["offset"].any():
        return Part(layer, arrays | {"scale": factor, "offset": np.zeros_like(factor) if shift is None else shift})
    return None
