"""Testing layers: running one on a tape, from and to arrays in the user's order, and checking its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ._arrays.elementwise import Array, copy
from ._tape.arena import Arena
from ._tape.parameters import Arrays
from ._tape.tape import Batch, Tape, read_only
from .description import refuse_class, resolve
from .initializers import Initializer
from .layers import Layer
from .layers.base import Shape, ShapeError

INSIDE, OUTSIDE = (1, 2, 0, 3), (2, 0, 1, 3)  # (n, h, w, c) -> (h, w, n, c), and back
SHOWN = 5  # arrays of which a failed check tells


def check_gradients(
    layer: Layer, input_shape: Shape, *, rows: int = 3, step: float = 1e-6, tolerance: float = 1e-6, seed: int = 0
) -> None:
    """Check the gradients that a layer computes against central differences.

    The layer is recorded for training, in double precision, with random parameters and images, and run forward and
    backward. Then each number of its input and of its parameters is moved by a step up and down, and the change of the
    output compared. All buffers hold NaN until they are written, so that a layer that reads what it has not written
    fails, too. A layer that is random gets the same random numbers each time.

    Parameters
    ----------
    layer : Layer
        The layer.
    input_shape : tuple of int
        Shape of one image in front of it: (h, w, c), or (features,).
    rows : int, default=3
        Images in the batch.
    step : float, default=1e-6
        How far each number is moved. A layer with corners, such as `ReLU`, is right only where none is that close.
    tolerance : float, default=1e-6
        How far the two may be apart, as a share of the largest one of the same array, or of the largest output.
    seed : int, default=0
        Of the random numbers.

    Raises
    ------
    AssertionError
        If a gradient is wrong: with the parameter's name, or "input", the position, and the two values. Also if the
        output has not the shape that the layer promises.

    Examples
    --------
    >>> from skcnn.layers import Conv2D
    >>> from skcnn.testing import check_gradients
    >>> check_gradients(Conv2D(2, strides=2), (5, 4, 3))
    """
    refuse_class(layer, "layer")
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer, got {layer!r}.")
    layer.check()
    shape = tuple(input_shape)
    try:
        promised = layer.output_shape(shape)
    except ShapeError as error:
        raise ShapeError(f"{layer!r} cannot take input of shape {shape}: {error}.") from None
    found = _Gradients(layer, shape, rows, seed)
    found.check_shape(promised)
    wrong = []
    for name, (array, gradient) in found.pairs().items():
        expected = found.differences(array, step)
        allowed = tolerance * max(np.abs(expected).max(initial=0), np.abs(found.y).max(initial=0))
        failed = ~(np.abs(gradient - expected) <= allowed)  # NaN fails
        if failed.any():
            wrong.append(_report(name, gradient, expected, failed))
    if wrong:
        more = f"\n... and of {len(wrong) - SHOWN} more." if len(wrong) > SHOWN else ""
        raise AssertionError(f"{layer!r} on {shape} has wrong gradients:\n" + "\n".join(wrong[:SHOWN]) + more)


def _report(name: str, gradient: Array, expected: Array, failed: Array) -> str:
    """Where a gradient is wrong most."""
    distance = np.where(failed, np.nan_to_num(np.abs(gradient - expected), nan=np.inf), -1)
    position = tuple(int(i) for i in np.unravel_index(distance.argmax(), distance.shape))
    return (
        f"{name}[{', '.join(map(str, position))}]: backward gives {gradient[position]:.9g}, the central difference is"
        f" {expected[position]:.9g} ({failed.sum()} of {failed.size} numbers are wrong)."
    )


class _Gradients:
    """A layer, run once forward and backward, and then again wherever it is asked what changes."""

    def __init__(self, layer: Layer, shape: Shape, rows: int, seed: int) -> None:
        self._layer = layer
        self._run = LayerRun([*layer.lowered()], (rows, *shape), draw_parameters(layer, shape, seed), seed=seed)
        self._x, self._p = self._run.shards[0].x, self._run.p
        self._random = [shard.tape.rng.bit_generator.state for shard in self._run.shards]
        self._names = [name for name, parameter in layer.parameters(shape).items() if parameter.trainable]
        rng = np.random.default_rng(seed + 1)
        self._x[...] = rng.normal(size=self._x.shape)
        self._dy = rng.normal(size=self._run.shards[0].y.shape)
        self.y, self._dx, g = self._replay()
        self._g = {name: value.copy() for name, value in g.items()}

    def _replay(self) -> tuple[Array, Array, dict[str, Array]]:
        for shard, state in zip(self._run.shards, self._random, strict=True):
            shard.tape.rng.bit_generator.state = state
        return self._run(self._x, self._dy)

    def check_shape(self, promised: Shape) -> None:
        if self.y.shape[1:] != promised:
            raise AssertionError(
                f"{self._layer!r} returns an output of shape {self.y.shape[1:]}, and its output_shape says {promised}."
            )

    def pairs(self) -> dict[str, tuple[Array, Array]]:
        """Name -> an array that the output depends on, and the gradient that the layer computed."""
        own = {name: (self._p[name], self._g[name]) for name in self._names}
        return {"input": (self._x, self._dx)} | own

    def differences(self, array: Array, step: float) -> Array:
        """The slope of sum(dy * y) along each number of an array, which is what its gradient ought to be."""
        slope = np.empty(array.shape)
        for position in np.ndindex(array.shape):
            value = array[position]
            outputs = []
            for moved in (value + step, value - step):
                array[position] = moved
                outputs.append(self._replay()[0])
            array[position] = value
            slope[position] = np.sum(self._dy * (outputs[0] - outputs[1])) / (2 * step)
        return slope


def draw_parameters(layer: Layer, shape: Shape, seed: int = 0) -> dict[str, Array]:
    """Name -> array: kernels as their initializer draws them, everything else at random around its initial value."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, parameter in layer.parameters(shape).items():
        if isinstance(parameter.initial, float):
            found[name] = parameter.initial + rng.uniform(-0.4, 0.4, parameter.shape)
        else:
            initializer = resolve(Initializer, parameter.initial, name)
            found[name] = initializer.sample(rng, parameter.shape, parameter.fan_in, parameter.fan_out)
    return found


class LayerRun:
    """Layers recorded for images of ``x_shape`` (n, h, w, c) in several shards, ready to be replayed."""

    def __init__(
        self,
        layers: Sequence[Layer],
        x_shape: Shape,
        p: dict[str, Array],
        *,
        training: bool = True,
        shards: int = 1,
        dtype: Any = np.float64,
        arenas: Sequence[Arena] | None = None,
        seed: int = 0,
    ) -> None:
        self.training = training
        self.p = {name: np.array(value, dtype, order="C") for name, value in p.items()}
        rows = np.array_split(np.arange(x_shape[0]), shards)
        batch = Batch(x_shape[0], shards)
        self.shards = []
        for number, own in enumerate(rows):
            arena = Arena() if arenas is None else arenas[number]
            rng = np.random.default_rng([seed, number])
            tape = Tape(dtype, batch, number, training=training, rng=rng, arena=arena, poison=True)
            self.shards.append(self._record(tape, layers, (len(own), *x_shape[1:]), own))

    def _record(self, tape: Tape, layers: Sequence[Layer], shape: Shape, rows: Array) -> Any:
        shard = SimpleNamespace(tape=tape, rows=rows, x=tape.input(shape))
        shard.g = {name: np.full(value.shape, np.nan, value.dtype) for name, value in self.p.items()}
        with tape.step("x"):
            y = self._move(tape, shard.x, INSIDE)
        steps = []
        for layer in layers:
            with tape.step("layer"):
                g = Arrays(**shard.g) if self.training else Arrays()
                y, backward = layer.record(tape, read_only(y), Arrays(**self.p), g)
            steps.append(backward)
        shard.y = self._give(tape, y)
        if self.training:
            shard.dy = tape.input(shard.y.shape)
            with tape.step("dy"):
                dy = self._move(tape, shard.dy, INSIDE)
            for backward in reversed(steps):
                assert backward is not None
                with tape.step("backward"):
                    dx = backward(dy)
                assert dx is not None
                dy = dx
            shard.dx = self._give(tape, dy)
        return shard

    @staticmethod
    def _move(tape: Tape, array: Array, order: tuple[int, ...]) -> Array:
        source = array.transpose(order) if array.ndim == 4 else array
        return tape(copy, source, tape.output(source.shape))

    @staticmethod
    def _give(tape: Tape, array: Array) -> Array:
        source = array.transpose(OUTSIDE) if array.ndim == 4 else array
        return tape(copy, source, tape.input(source.shape))

    def __call__(self, x: Array, dy: Array | None = None) -> Any:
        """Run them: y; and with ``dy`` also dx and the gradients of the parameters."""
        for shard in self.shards:
            shard.x[...] = x[shard.rows]
            if dy is not None:
                shard.dy[...] = dy[shard.rows]
        for segment in range(len(self.shards[0].tape.segments)):
            for shard in self.shards:
                shard.tape.replay(segment)
        y = np.concatenate([shard.y for shard in self.shards])
        if dy is None:
            return y
        dx = np.concatenate([shard.dx for shard in self.shards])
        return y, dx, {name: sum(shard.g[name] for shard in self.shards) for name in self.p}


def run(layer: Layer, x: Array, p: dict[str, Array], dy: Array | None = None, **options: Any) -> Any:
    """Record a layer for ``x`` and run it once."""
    training = options.pop("training", dy is not None)
    return LayerRun([*layer.lowered()], x.shape, p, training=training, **options)(x, dy)


def directional(f: Any, arrays: Sequence[Array], directions: Sequence[Array], step: float = 1e-6) -> float:
    """The derivative of ``f(*arrays)`` along ``directions``, by a central difference."""
    values = [
        f(*[array + sign * step * direction for array, direction in zip(arrays, directions, strict=True)])
        for sign in (1, -1)
    ]
    return (values[0] - values[1]) / (2 * step)


def inner(arrays: Sequence[Array], directions: Sequence[Array]) -> float:
    """The derivative along ``directions`` that the gradients ``arrays`` mean."""
    return sum(float(np.sum(a * d)) for a, d in zip(arrays, directions, strict=True))
