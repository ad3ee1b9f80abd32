"""Rules that rewrite neighbouring steps of a network into cheaper ones.

A step is a pair (name of the owner, layer). Parameters stay with the layer that owns them, so files, names and
gradients do not depend on these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, fill, maximum
from .._arrays.geometry import Borders
from .._tape.channels import by_channel
from .._tape.parameters import Arrays, Parameter
from .._tape.pooling import record_max, record_max_gradient
from .._tape.tape import Tape
from ..description import description
from ..layers.activation import Held, ReLU
from ..layers.base import Backward, Layer, Shape, reads, unread
from ..layers.bias import Bias
from ..layers.layer_norm import OwnNorm
from ..layers.normalization import BatchNorm, Moments
from ..layers.pooling import GlobalMaxPool2D, MaxPool2D
from ..layers.residual import Branches, part_of
from ..layers.sequence import Step

# Numbers in a kernel into which batch norm is not folded. The scaled kernel would need as much memory as the weights,
# and each output is a sum of so many products that scaling it takes no measurable time.
LARGE = 1 << 19

Rule = Callable[[Step, Step], "tuple[Step, ...] | None"]


@description
class Rectified(Layer):
    """A layer and the ReLU, ReLU6 or Clip after it, computed in place in the layer's output.

    The layer's backward pass must not read its output again, because the activation has overwritten it.
    """

    layer: Layer
    activation: Layer = ReLU()

    stem = "rectified"

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return self.layer.parameters(shape)

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        return self.layer.margin(tape, shape, rows)

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        y, through = self.layer.record(tape, x, p, g)
        bounded = self.activation if isinstance(self.activation, Held) else None
        if bounded is None:
            tape(maximum, y, tape.zeros(y), y)
        else:
            bounded.record_value(tape, y, y)

        if not tape.backward:
            return y, None
        positive = tape.keep(y.shape, bool)  # a quarter of the output's memory or less, which need not be kept then
        if bounded is None:
            tape(np.greater, y, 0, positive)
        else:
            bounded.record_inside(tape, y, positive)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            dy = tape(np.multiply, dy, positive, dy)
            assert through is not None
            return through(dy, needs_dx)

        return y, unread(backward, y) if reads(through, x) else unread(backward, x, y)


@description
class PooledBatchNorm(Layer):
    """Batch norm and the max pooling after it, with moments of all numbers, but only the chosen ones normalized.

    Normalization commutes with the maximum where the scale of a channel is positive. Where it is negative, the
    smallest number becomes the largest, so the minimum is chosen.
    """

    norm: BatchNorm
    pool: MaxPool2D

    stem = "pooledbatchnorm"

    def output_shape(self, shape: Shape) -> Shape:
        return self.pool.output_shape(shape)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return self.norm.parameters(shape)

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        if not tape.training:
            y, through_norm = self.norm.record(tape, x, p, g)
            y, through_pool = self.pool.record(tape, y, p, g)

            def through(dy: Array, needs_dx: bool = True) -> Array | None:
                assert through_norm is not None
                assert through_pool is not None
                between = through_pool(dy)
                assert between is not None
                return through_norm(between, needs_dx)

            return y, through
        h, w, n, c = x.shape
        geometry = self.pool.geometry((h, w, c))
        moments = Moments(self.norm, tape, x, p)
        chosen = tape.keep((*geometry.out, n, c))
        raised = record_max(tape, x, geometry, chosen, negative=p.scale if self.norm.scale else None)
        y = tape.output(chosen.shape, framed=True)
        moments.record_normalization(chosen, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            found = moments.record_gradients(dy, chosen, g)
            if not needs_dx:
                return None
            dx = tape.output(x.shape)
            if found is None:
                tape(fill, 0, dx)
            else:
                slope, constant = found
                tape(np.multiply, x, moments.by_row(slope, x), dx)
                tape(np.add, dx, moments.by_row(constant, x), dx)
            tape(np.multiply, dy, by_channel(tape, moments.factor, dy), dy)
            record_max_gradient(tape, dy, raised, dx, geometry, add=True)
            return dx

        return y, unread(backward, y)


def _swap(first: type[Layer], second: tuple[type[Layer], ...]) -> Rule:
    """Return a rule that moves a layer behind a maximum with which it commutes, where there are fewer numbers."""

    def rule(a: Step, b: Step) -> tuple[Step, ...] | None:
        return (b, a) if isinstance(a[1], first) and isinstance(b[1], second) else None

    return rule


def _join(a: Step, b: Step) -> tuple[Step, ...] | None:
    """Join a layer and the ReLU, ReLU6 or Clip after it into one step, which saves writing and reading one array."""
    if isinstance(a[1], _WRITTEN_ONCE) and isinstance(b[1], (ReLU, Held)):
        return ((a[0], Rectified(a[1], b[1])),)
    return None


def _pooled(a: Step, b: Step) -> tuple[Step, ...] | None:
    """Join batch norm and the pooling after it into one step."""
    if isinstance(a[1], BatchNorm) and isinstance(b[1], MaxPool2D):
        return ((a[0], PooledBatchNorm(a[1], b[1])),)
    return None


_MAXIMA = (MaxPool2D, GlobalMaxPool2D)
_WRITTEN_ONCE = (BatchNorm, PooledBatchNorm, OwnNorm, Bias, Branches)  # their backward pass does not read their output

# The swaps come before the join, because a bias that is joined with its ReLU cannot move behind the pooling layer.
RULES: tuple[Rule, ...] = (_swap(ReLU, _MAXIMA), _swap(Bias, _MAXIMA), _pooled, _join)


def fuse(steps: list[Step]) -> list[Step]:
    """Apply each rule in turn until it matches no pair, first inside branches."""
    steps = [(owner, layer.rewritten(fuse) if isinstance(layer, Branches) else layer) for owner, layer in steps]
    for rule in RULES:
        position = 0
        while position + 1 < len(steps):
            found = rule(steps[position], steps[position + 1])
            if found is None:
                position += 1
            else:
                steps = [*steps[:position], *found, *steps[position + 2 :]]
                position = max(position - 1, 0)
    return steps


def fold(steps: list[Step], p: Mapping[str, Any]) -> tuple[list[Step], dict[str, Any]]:
    """Fold batch norm into the kernel and bias of the convolution or dense layer before it, for prediction.

    It stays a step of its own after a large kernel.
    Lowered steps and the parameters of their owners are not changed. The new steps and parameters share the arrays that
    stay the same.
    """
    folded: list[Step] = []
    parameters = dict(p)
    for owner, layer in steps:
        target = _before_bias(folded)
        scalable = target[1].scalable() if target is not None else None
        kernel = None if target is None or scalable is None else vars(parameters[target[0]])[scalable]
        if isinstance(layer, BatchNorm) and kernel is not None and kernel.size < LARGE:
            assert target is not None
            assert scalable is not None
            factor, shift = layer.predicting(p[owner])
            old = vars(parameters[target[0]])
            changed = {scalable: kernel * factor, "bias": shift + factor * old.get("bias", 0.0)}
            new = {name: value.astype(kernel.dtype) for name, value in changed.items()}
            parameters[target[0]] = SimpleNamespace(**(old | new))
            if folded[-1] is target:
                folded.append((target[0], Bias()))
        elif isinstance(layer, Branches):
            layer, parameters[owner] = _fold_inside(layer, p[owner])
            folded.append((owner, layer))
        else:
            folded.append((owner, layer))
    return folded, parameters


def _fold_inside(layer: Branches, p: Any) -> tuple[Branches, SimpleNamespace]:
    """Fold the steps of each branch, and leave out parameters that no step reads any more."""
    branches = []
    found: dict[str, Array] = {}
    for steps in layer.branches:
        folded, parameters = fold(list(steps), {owner: part_of(p, owner) for owner, _ in steps})
        branches.append(tuple(folded))
        for owner, _ in folded:
            found |= {f"{owner}.{key}": value for key, value in vars(parameters[owner]).items()}
    return layer.replaced(branches=tuple(branches)), SimpleNamespace(**found)


def _before_bias(steps: list[Step]) -> Step | None:
    """Return the last step, the step before it if the last one is its bias, or None if there is none."""
    if len(steps) > 1 and isinstance(steps[-1][1], Bias) and steps[-2][0] == steps[-1][0]:
        return steps[-2]
    return steps[-1] if steps else None
