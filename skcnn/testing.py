"""Tools for testing layers, networks and losses: gradient checks, and single runs on a tape."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ._arrays.elementwise import Array, copy, fill
from ._engine.network import Network
from ._engine.scaling import no_scaling
from ._tape.arena import Arena
from ._tape.parameters import Arrays, Parameter
from ._tape.tape import Batch, Tape, read_only
from .description import refuse_class, resolve
from .initializers import Initializer
from .layers import Layer
from .layers.base import Shape, ShapeError, reads
from .losses import Loss

INSIDE, OUTSIDE = (1, 2, 0, 3), (2, 0, 1, 3)  # (n, h, w, c) -> (h, w, n, c), and back
SHOWN = 5  # most arrays listed by a failed check
OUTPUTS = 3  # default number of outputs of a network


def check_gradients(
    layer: Layer | Sequence[Layer] | Loss,
    input_shape: Shape,
    *,
    loss: str | Loss = "log_loss",
    target: Any = None,
    rows: int = 3,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> None:
    """Check the gradients of a layer, a network or a loss against central differences.

    The layer, network or loss is recorded for training in double precision, with random parameters and images, and runs
    forward and backward. Then each number on which the output depends is increased and decreased by a step, and the
    change of the output is compared with the gradient. All buffers contain NaN before they are written, so the check
    also detects a layer that reads uninitialized memory. Random layers get the same random numbers in every run.

    Parameters
    ----------
    layer : Layer, list of Layer or Loss
        Layer to check with respect to its input and parameters, list of the hidden layers of a network to check with
        respect to all weights including the output layer, or loss to check with respect to raw predictions.
    input_shape : tuple of int
        Shape of one input, (h, w, c) or (features,). For a loss, (k,) with the number k of raw predictions.
    loss : str or Loss, default="log_loss"
        Loss of a network.
    target : array-like (n,) or (n, k), default=None
        Targets of a network or a loss: class indices (n,), labels (n, k) or numbers (n, k). By default they are random
        class indices for classification, random labels if k is 1, and random positive numbers for regression. The
        output layer of a network has as many units as the targets require.
    rows : int, default=3
        Number of images in the batch, if there is no `target`.
    step : float, default=1e-6
        Change of each number. Near a corner of a function, such as `ReLU` at 0, the check fails if a number is closer
        to the corner than the step.
    tolerance : float, default=1e-6
        Maximum difference, relative to the largest number in the same array or to the largest output.
    seed : int, default=0
        Seed of the random numbers.

    Raises
    ------
    AssertionError
        If a gradient is wrong, or an output has the wrong shape. The message contains the name of the parameter,
        "input" or "raw", the position and the two values.
    TypeError
        If `layer` is neither a layer nor a list of layers nor a loss.
    ValueError
        If a layer cannot process its input, or the loss is not defined for the target.

    Examples
    --------
    >>> from skcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
    >>> from skcnn.losses import Huber
    >>> from skcnn.testing import check_gradients
    >>> check_gradients(Conv2D(2, strides=2), (5, 4, 3))
    >>> check_gradients([Conv2D(2), ReLU(), MaxPool2D(), Flatten(), Dense(3)], (6, 6, 1), loss="focal")
    >>> check_gradients(Huber(0.5), (2,))
    """
    refuse_class(layer, "layer")
    shape = tuple(input_shape)
    found: _Gradients
    if isinstance(layer, Layer):
        found = _LayerGradients(layer, shape, rows, seed)
    elif isinstance(layer, Loss):
        found = _LossGradients(layer, shape, target, rows, seed)
    elif isinstance(layer, (list, tuple)):
        found = _NetworkGradients(layer, shape, resolve(Loss, loss, "loss"), target, rows, seed)
    else:
        raise TypeError(f"layer must be a layer, a list of layers or a loss, got {layer!r}.")
    wrong = []
    for name, (array, gradient) in found.pairs.items():
        expected = found.differences(array, step)
        allowed = tolerance * max(np.abs(expected).max(initial=0), np.abs(found.y).max(initial=0))
        failed = ~(np.abs(gradient - expected) <= allowed)  # NaN fails
        if failed.any():
            wrong.append(_report(name, gradient, expected, failed))
    if wrong:
        more = f"\n... and {len(wrong) - SHOWN} more." if len(wrong) > SHOWN else ""
        raise AssertionError(f"{layer!r} on {shape} has wrong gradients:\n" + "\n".join(wrong[:SHOWN]) + more)


def _report(name: str, gradient: Array, expected: Array, failed: Array) -> str:
    """Describe the largest error of a gradient."""
    distance = np.where(failed, np.nan_to_num(np.abs(gradient - expected), nan=np.inf), -1)
    position = tuple(int(i) for i in np.unravel_index(distance.argmax(), distance.shape))
    return (
        f"{name}[{', '.join(map(str, position))}]: backward gives {gradient[position]:.9g}, the central difference is"
        f" {expected[position]:.9g} ({failed.sum()} of {failed.size} numbers are wrong)."
    )


class _Gradients:
    """Base of the checks: something that runs forward and backward repeatedly.

    Its gradients are the gradients of sum(dy * y).
    """

    y: Array  # output
    dy: Any
    pairs: dict[
        str, tuple[Array, Array]
    ]  # name -> an array on which the output depends, and the gradient with respect to it

    def output(self) -> Array:
        """Run forward and backward; return the output."""
        raise NotImplementedError

    def differences(self, array: Array, step: float) -> Array:
        """Return the numerical gradient of sum(dy * y) with respect to an array."""
        slope = np.empty(array.shape)
        for position in np.ndindex(array.shape):
            value = array[position]
            outputs = []
            for moved in (value + step, value - step):
                array[position] = moved
                outputs.append(self.output().copy())
            array[position] = value
            slope[position] = np.sum(self.dy * (outputs[0] - outputs[1])) / (2 * step)
        return slope


class _LayerGradients(_Gradients):
    def __init__(self, layer: Layer, shape: Shape, rows: int, seed: int) -> None:
        layer.check()
        try:
            promised = layer.output_shape(shape)
        except ShapeError as error:
            raise ShapeError(f"{layer!r} cannot take input of shape {shape}: {error}.") from None
        parameters = draw_parameters(layer, shape, seed)
        LayerRun([*layer.lowered()], (rows, *shape), parameters, training=False)  # some mistakes are found only here
        self._run = LayerRun([*layer.lowered()], (rows, *shape), parameters, seed=seed)
        self._x, p = self._run.shards[0].x, self._run.p
        self._random = [shard.tape.rng.bit_generator.state for shard in self._run.shards]
        rng = np.random.default_rng(seed + 1)
        self._x[...] = rng.normal(size=self._x.shape)
        self.dy = rng.normal(size=self._run.shards[0].y.shape)
        self.y, dx, g = self._replay()
        if self.y.shape[1:] != promised:
            raise AssertionError(
                f"{layer!r} returns an output of shape {self.y.shape[1:]}, but its output_shape returns {promised}."
            )
        names = [name for name, parameter in layer.parameters(shape).items() if parameter.trainable]
        self.pairs = {"input": (self._x, dx)} | {name: (p[name], g[name].copy()) for name in names}

    def output(self) -> Array:
        return self._replay()[0]

    def _replay(self) -> tuple[Array, Array, dict[str, Array]]:
        for shard, state in zip(self._run.shards, self._random, strict=True):
            shard.tape.rng.bit_generator.state = state
        return self._run(self._x, self.dy)


class _LossGradients(_Gradients):
    def __init__(self, loss: Loss, shape: Shape, target: Any, rows: int, seed: int) -> None:
        loss.check()
        if len(shape) != 1:
            raise ShapeError(f"The shape of the raw predictions of a loss must be (k,), got {shape}.")
        rng = np.random.default_rng(seed)
        target = _targets(loss, target, rows, shape[0], rng)
        raw = rng.normal(size=(len(target), *shape))
        self._tape = Tape(np.float64, Batch(len(raw)), poison=True)
        self._raw = self._tape.input(raw.shape)
        with self._tape.step("loss"):
            self._values, gradient = loss.record(self._tape, self._raw, target)
        for name, given, promised in (("values", self._values, raw.shape[:1]), ("gradient", gradient, raw.shape)):
            if given.shape != promised or given.dtype != np.float64:
                raise AssertionError(
                    f"{loss!r} records {name} of shape {given.shape} in {given.dtype}, but must record {promised} in"
                    " float64."
                )
        self.dy, self.pairs = 1.0, {"raw": (raw, gradient)}
        self.y = self.output().copy()
        self.pairs = {"raw": (raw, gradient.copy())}

    def output(self) -> Array:
        self._raw[...] = self.pairs["raw"][0]
        self._tape.replay(0)
        return self._values


class _NetworkGradients(_Gradients):
    def __init__(self, layers: Sequence[Layer], shape: Shape, loss: Loss, target: Any, rows: int, seed: int) -> None:
        loss.check()
        rng = np.random.default_rng(seed)
        target = _targets(loss, target, rows, OUTPUTS, rng)
        outputs = target.shape[1] if target.ndim == 2 else max(OUTPUTS, int(target.max()) + 1)
        network = Network(layers, shape, outputs, "he")
        weights, state = np.empty(network.weights.size), np.empty(network.state.size)
        for layout, vector in ((network.weights, weights), (network.state, state)):
            for name, view in layout.views(vector).items():
                view[...] = _drawn(layout.parameters[name], name, rng)
        gradient = np.full(weights.shape, np.nan)
        self._images = rng.normal(size=(len(target), *shape))
        self._tape = Tape(np.float64, Batch(len(target)), training=True, rng=np.random.default_rng(seed), poison=True)
        assert self._tape.rng is not None
        self._random = self._tape.rng.bit_generator.state
        self._x, self._total = self._tape.input(self._images.shape), self._tape.input((1,))
        network.record_training(
            self._tape,
            self._x,
            target,
            np.ones(len(target)),
            p=network.bind(weights, state),
            g=network.bind(gradient),
            scaling=no_scaling(shape[2]),
            loss=loss,
            total=self._total,
        )
        self.dy = 1 / len(target)
        self.y = self.output().copy()
        values, slopes = (network.weights.views(vector) for vector in (weights, gradient.copy()))
        self.pairs = {name: (values[name], slopes[name]) for name in values}

    def output(self) -> Array:
        assert self._tape.rng is not None
        self._tape.rng.bit_generator.state = self._random
        self._x[...] = self._images
        self._tape.replay(0)
        return self._total


def _targets(loss: Loss, target: Any, rows: int, outputs: int, rng: np.random.Generator) -> Array:
    """Return the given targets as an array, or random targets that suit most losses of the task."""
    if target is not None:
        found = np.asarray(target)
        found = found.astype(np.float64 if found.ndim == 2 else np.intp)
    elif loss.task == "regression":
        found = rng.exponential(size=(rows, outputs))
    elif outputs == 1:
        found = rng.integers(2, size=(rows, 1)).astype(np.float64)
    else:
        found = rng.integers(outputs, size=rows)
    loss.check_target(found, "target")
    return found


def draw_parameters(layer: Layer, shape: Shape, seed: int = 0) -> dict[str, Array]:
    """Draw random parameters for a layer.

    Kernels are drawn by their initializers. All other parameters are drawn uniformly around their initial values.

    Parameters
    ----------
    layer : Layer
        Layer whose parameters are drawn.
    shape : tuple of int
        Shape of one input, (h, w, c) or (features,).
    seed : int, default=0
        Seed of the random numbers.

    Returns
    -------
    dict of str -> ndarray
        Parameters by name.

    Examples
    --------
    >>> from skcnn.layers import Dense
    >>> from skcnn.testing import draw_parameters
    >>> {name: p.shape for name, p in draw_parameters(Dense(3), (4,)).items()}
    {'kernel': (4, 3), 'bias': (3,)}
    """
    rng = np.random.default_rng(seed)
    return {name: _drawn(parameter, name, rng) for name, parameter in layer.parameters(shape).items()}


def _drawn(parameter: Parameter, name: str, rng: np.random.Generator) -> Array:
    if isinstance(parameter.initial, float):
        return parameter.initial + rng.uniform(-0.4, 0.4, parameter.shape)
    initializer = resolve(Initializer, parameter.initial, name)
    return initializer.sample(rng, parameter.shape, parameter.fan_in, parameter.fan_out)


class LayerRun:
    """Layers recorded for images of ``x_shape`` (n, h, w, c), in one or more shards.

    Call the object to run the layers. All buffers contain NaN before they are written.

    Parameters
    ----------
    layers : sequence of Layer
        Layers to record, in order.
    x_shape : tuple of int
        Shape of the batch, (n, h, w, c) or (n, features).
    p : dict of str -> ndarray
        Parameters by name. All layers read the same.
    training : bool, default=True
        Whether to record for training, with a backward pass.
    shards : int, default=1
        Number of shards into which the batch is divided.
    dtype : dtype, default=float64
        Floating-point type used for computation.
    arenas : sequence of Arena, default=None
        Memory of each shard. By default the shards share one, as on one thread of a training.
    seed : int, default=0
        Seed of random layers.
    """

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
        shared = Arena()
        constants: dict[Any, Any] = {}

        def record(batch: Batch, owns: Sequence[Any]) -> list[Any]:
            found = []
            for number, (own, its) in enumerate(zip(rows, owns, strict=True)):
                tape = Tape(
                    dtype,
                    batch,
                    number,
                    training=training,
                    rng=np.random.default_rng([seed, number]),
                    arena=shared if arenas is None else arenas[number],
                    own=its,
                    constants=constants,
                    poison=True,
                )
                found.append(self._record(tape, layers, (len(own), *x_shape[1:]), own))
            return found

        self.shards = record(Batch(x_shape[0], shards), [None] * shards)
        if shards > 1 and arenas is None:  # as in a training, see `Passes`
            owns = [(Arena(), shard.tape.crossing) for shard in self.shards]
            self.shards = record(Batch(x_shape[0], shards), owns)

    def _record(self, tape: Tape, layers: Sequence[Layer], shape: Shape, rows: Array) -> Any:
        shard = SimpleNamespace(tape=tape, rows=rows, x=tape.input(shape))
        shard.g = {name: np.full(value.shape, np.nan, value.dtype) for name, value in self.p.items()}
        with tape.step("x"):
            y = self._move(tape, shard.x, INSIDE)
        steps, between = [], [y]
        for layer in layers:
            with tape.step("layer"):
                g = Arrays(**shard.g) if self.training else Arrays()
                y, backward = layer.record(tape, read_only(y), Arrays(**self.p), g)
            steps.append(backward)
            between.append(y)
        shard.y = self._give(tape, y)
        if self.training:
            with tape.step("unread"):  # what no backward pass reads, so that a wrong declaration shows
                for number, array in enumerate(between):
                    if not any(reads(backward, array) for backward in steps[max(0, number - 1) : number + 1]):
                        tape(fill, np.nan, array)
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
        tape.finish()
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
        """Run the layers on ``x``; return y, or (y, dx, gradients of the parameters by name) if ``dy`` is given."""
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
    """Record a layer for ``x`` and run it once.

    Parameters
    ----------
    layer : Layer
        Layer to run.
    x : ndarray (n, h, w, c) or (n, features)
        Input.
    p : dict of str -> ndarray
        Parameters by name, for example from `draw_parameters`.
    dy : ndarray, default=None
        Gradient with respect to the output. If given, the layer also runs backward.
    **options
        Keyword arguments of `LayerRun`, for example ``training`` or ``dtype``.

    Returns
    -------
    y : ndarray
        Output. Without ``dy``, it is the only return value.
    dx : ndarray
        Gradient with respect to the input.
    g : dict of str -> ndarray
        Gradients of the parameters by name.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.layers import ReLU
    >>> from skcnn.testing import run
    >>> run(ReLU(), np.array([[-1.0, 2.0]]), {})
    array([[0., 2.]])
    """
    training = options.pop("training", dy is not None)
    return LayerRun([*layer.lowered()], x.shape, p, training=training, **options)(x, dy)


def directional(f: Any, arrays: Sequence[Array], directions: Sequence[Array], step: float = 1e-6) -> float:
    """Return the derivative of ``f(*arrays)`` along ``directions``, by a central difference.

    Parameters
    ----------
    f : callable
        Function of the arrays that returns a number.
    arrays, directions : sequence of ndarray
        Point and direction, with equal shapes.
    step : float, default=1e-6
        Change along the direction.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.testing import directional
    >>> round(directional(lambda x: float(x @ x), [np.array([3.0, 0.0])], [np.array([1.0, 0.0])]), 6)
    6.0
    """
    values = [
        f(*[array + sign * step * direction for array, direction in zip(arrays, directions, strict=True)])
        for sign in (1, -1)
    ]
    return (values[0] - values[1]) / (2 * step)


def inner(arrays: Sequence[Array], directions: Sequence[Array]) -> float:
    """Return the sum of the inner products of ``arrays`` and ``directions``.

    If ``arrays`` are gradients, this is the derivative along the directions.

    Parameters
    ----------
    arrays, directions : sequence of ndarray
        Arrays with equal shapes.

    Returns
    -------
    float
    """
    return sum(float(np.sum(a * d)) for a, d in zip(arrays, directions, strict=True))
