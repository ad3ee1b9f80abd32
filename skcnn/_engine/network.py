"""Networks: layers bound to an input shape. They are immutable and have no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, reshape, sum_first
from .._tape.parameters import Arrays, Layout, Parameter
from .._tape.tape import Tape
from ..description import resolve
from ..initializers import Initializer
from ..layers.base import Layer, Shape, ShapeError
from ..layers.dense import Dense
from ..layers.residual import reachable, steps_to
from ..layers.sequence import Step, check_layers, flattened, infer_shapes, layer_names, lowered_steps, record_steps
from ..losses import Loss, MixedTargets, record_loss
from .fusion import fold, fuse
from .scaling import Scaling


class Network:
    """Hidden layers bound to the shape of an image, and the dense output layer after them.

    Parameters
    ----------
    layers : sequence of Layer
        The hidden layers.
    input_shape : (int, int, int)
        Height, width and channels of an image.
    outputs : int
        Units of the output layer.
    initializer : str or Initializer
        Initializer of the output layer's kernel. Files and pickles leave it out, because they contain the weights.

    Attributes
    ----------
    names : list of str
        Name of each layer. The last one is "output".
    shapes : list of tuple
        Input shape of each layer, and the output shape of the last one.
    weights, state : Layout
        Positions of the trained parameters and of the running statistics in their vectors.

    Raises
    ------
    ValueError
        If a layer cannot take its input. The message names the layer, the shape and the remedy.
    """

    def __init__(
        self, layers: Sequence[Layer], input_shape: Shape, outputs: int, initializer: str | Initializer = "zeros"
    ) -> None:
        check_layers(layers)
        # A layer that contains a list is copied, because the user may change the list after the fit.
        self.hidden = tuple(deepcopy(layer) if layer.inner() else layer for layer in layers)
        self.input_shape = input_shape
        self.outputs = outputs
        self.layers: list[Layer] = [*self.hidden, Dense(outputs, kernel_initializer=initializer)]
        self.names = [*layer_names(layers), "output"]
        self.shapes = self._infer_shapes()
        self.parameters = {
            f"{name}.{key}": parameter
            for name, layer, shape in zip(self.names, self.layers, self.shapes, strict=False)
            for key, parameter in layer.parameters(shape).items()
        }
        self.weights = Layout({k: p for k, p in self.parameters.items() if p.trainable})
        self.state = Layout({k: p for k, p in self.parameters.items() if not p.trainable})
        self.lowered = lowered_steps(self.names, self.layers)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.hidden, self.input_shape, self.outputs)

    def _infer_shapes(self) -> list[Shape]:
        try:
            shapes = infer_shapes(self.hidden, self.input_shape)
        except ShapeError as error:
            raise ShapeError(f"{error}.") from None
        if len(shapes[-1]) != 1:
            raise ShapeError(
                f"layers must end with a flat output, but their output has shape {shapes[-1]}. Add Flatten() or"
                " GlobalAvgPool2D() at the end. The estimator adds the output layer."
            )
        return [*shapes, (self.outputs,)]

    @cached_property
    def multiply_adds(self) -> int:
        """Multiply-adds in one forward pass of one image."""
        return self.multiply_adds_after(None)

    @cached_property
    def parts(self) -> list[tuple[str, Layer, Shape]]:
        """Name, layer and input shape of all layers. Layers inside another layer come right before it."""
        layers = zip(self.names, self.layers, self.shapes, strict=False)
        return [part for name, layer, shape in layers for part in flattened(name, layer, shape)]

    def steps_after(self, layer: str | None) -> list[Step]:
        """Return the lowered steps of the layers after ``layer``, or all steps for None."""
        behind = self._behind(layer)
        return [step for step in self.lowered if step[0] in behind]

    def trained(self, freeze: str | None) -> list[slice]:
        """Return the slices of the vector of weights that are trained when the layers up to ``freeze`` are frozen.

        Weights that decay come first in the vector, so there are two slices: the last of the weights that decay, and
        the last of the others.
        """
        if freeze is None:
            return [slice(0, self.weights.size)]
        behind = self._behind(freeze)
        own = [p for name, p in self.weights.parameters.items() if name.split(".", 1)[0] in behind]
        found = []
        for decay, end in ((True, self.weights.decayed), (False, self.weights.size)):
            size = sum(p.size for p in own if p.decay is decay)
            found.append(slice(end - size, end))  # parameters are in forward order, so the trained ones are the last
        return found

    def multiply_adds_after(self, layer: str | None) -> int:
        """Return the multiply-adds of the layers after ``layer`` in one forward pass of one image."""
        behind = self._behind(layer)
        parts = zip(self.names, self.layers, self.shapes, strict=False)
        return sum(part.multiply_adds(shape) for name, part, shape in parts if name in behind)

    def _behind(self, layer: str | None) -> set[str]:
        return set(self.names if layer is None else self.names[self.names.index(layer) + 1 :])

    def initial(self, layout: Layout, rng: np.random.Generator, dtype: Any) -> Array:
        """Return a vector of newly drawn parameters."""
        vector = np.zeros(layout.size, dtype)
        for name, view in layout.views(vector).items():
            view[...] = _draw(layout.parameters[name], rng, name)
        return vector

    def bind(self, weights: Array, state: Array | None = None) -> dict[str, Arrays]:
        """Return the parameters of each layer by its name, as views into the vectors."""
        bound = {name: Arrays() for name in self.names}
        vectors = [(self.weights, weights)] if state is None else [(self.weights, weights), (self.state, state)]
        for layout, vector in vectors:
            for name, view in layout.views(vector).items():
                owner, key = name.split(".", 1)
                setattr(bound[owner], key, view)
        return bound

    def record_training(
        self,
        tape: Tape,
        x: Array,
        target: Array | MixedTargets,
        row_weights: Array,
        *,
        p: Mapping[str, Arrays],
        g: Mapping[str, Arrays],
        scaling: Scaling,
        loss: Loss,
        total: Array,
        raw: Array | None = None,
        freeze: str | None = None,
    ) -> None:
        """Record a forward and a backward pass.

        The inputs of the tape are ``x`` (n, h, w, c), ``target`` and ``row_weights`` (n,). The calls write the
        gradients of this shard's part of the batch's mean loss to ``g``, the weighted sum of the shard's losses to
        ``total`` (1,), and the raw predictions to ``raw`` (n, outputs), if it is given. With ``freeze``, ``x`` is the
        output of that layer, and both passes contain only the layers after it.
        """
        steps = fuse(self.steps_after(freeze))
        y, backward = record_steps(tape, steps, self._arrange(tape, x, None if freeze else scaling, steps), p, g)
        with tape.step("loss"):
            if raw is not None:
                tape(copy, y, raw)
            values, slope = record_loss(loss, tape, y, target)
            tape(np.multiply, values, row_weights, values)
            tape(sum_first, values[:, None], total)
            tape(np.multiply, slope, row_weights[:, None], slope)
            # Divided by the rows of the whole batch, so that the gradients of the shards only have to be added.
            dy = tape(np.multiply, slope, 1 / tape.batch.rows, tape.output(y.shape))
        backward(dy, False)
        tape.finish()

    def record_prediction(
        self, tape: Tape, x: Array, *, steps: list[Step], p: Mapping[str, Arrays], scaling: Scaling | None
    ) -> Array:
        """Record a forward pass of ``steps`` for the input ``x``, and return their output.

        The input is images (n, h, w, c), or without ``scaling`` the output of a layer, which may be flat. The output is
        (n, h, w, c), or flat, such as raw predictions (n, outputs).
        """
        y, _ = record_steps(tape, steps, self._arrange(tape, x, scaling, steps), p, None, spend=True)
        return y.transpose(2, 0, 1, 3) if y.ndim == 4 else y

    def record_input_gradient(
        self,
        tape: Tape,
        x: Array,
        dy: Array,
        *,
        steps: list[Step],
        p: Mapping[str, Arrays],
        scaling: Scaling,
        gradient: Array,
    ) -> None:
        """Record a forward pass for the input ``x`` (n, h, w, c), and a backward pass down to it.

        The calls write the gradient of sum(dy * raw predictions) with respect to ``x`` to ``gradient`` (n, h, w, c),
        with ``dy`` (n, outputs).
        """
        arranged = self._arrange(tape, x, scaling, steps)
        with tape.step("parameters"):  # layers always write the gradients of their parameters, here into unused memory
            g = {owner: _unread(tape, p[owner]) for owner, _ in steps}
        y, backward = record_steps(tape, steps, arranged, p, g)
        with tape.step("loss"):
            slope = tape(copy, dy, tape.output(y.shape))
        dx = backward(slope, True)
        assert dx is not None
        with tape.step("input"):
            tape(np.multiply, dx, (1 / scaling.scale).astype(tape.dtype), gradient.transpose(1, 2, 0, 3))

    def _arrange(self, tape: Tape, x: Array, scaling: Scaling | None, steps: list[Step]) -> Array:
        """Record standardization and the change of x from (n, h, w, c) to (h, w, n, c), and return the result.

        It has the memory order and the border that the first step reads without another copy.
        """
        tape.margin = steps[0][1].margin(tape, x.shape[1:], len(x)) if steps else None
        if scaling is None:
            with tape.step("input"):
                if x.ndim == 2:
                    return tape(copy, x, tape.output(x.shape))
                turned = x.transpose(1, 2, 0, 3)
                return tape(copy, turned, tape.output(turned.shape, framed=True))
        n, h, w, c = x.shape
        with tape.step("input"):
            rows = reshape(x, (n, h * w * c))  # NumPy's inner loop is then an image long, and not c numbers
            if scaling.mean.any():
                mean = tape.constant("mean", lambda: np.tile(scaling.mean, h * w).astype(tape.dtype))
                tape(np.subtract, rows, mean, rows)
            if (scaling.scale != 1).any():
                factor = tape.constant("factor", lambda: np.tile(1 / scaling.scale, h * w).astype(tape.dtype))
                tape(np.multiply, rows, factor, rows)
            return tape(copy, x.transpose(1, 2, 0, 3), tape.output((h, w, n, c), framed=True))

    def prediction_steps(
        self, p: Mapping[str, Arrays], layer: str = "output", pool: Layer | None = None, after: str | None = None
    ) -> tuple[list[Step], dict[str, Arrays]]:
        """Return the steps up to ``layer`` with batch norm folded and rules applied, and their parameters.

        The steps begin after the layer ``after``, if it is given, and end with the layer ``pool``, which has no
        parameters.
        """
        steps, parameters = fold(*steps_to(layer, self.steps_after(after), p))
        if pool is not None:
            steps, parameters = [*steps, ("pool", pool)], parameters | {"pool": Arrays()}
        return fuse(steps), parameters

    @cached_property
    def reached(self) -> dict[str, Shape]:
        """Output shape by name of the layers that `prediction_steps` can end at, including layers inside others."""
        names = set(reachable(self.lowered))
        return {name: layer.output_shape(shape) for name, layer, shape in self.parts if name in names}


def _unread(tape: Tape, p: Arrays) -> Arrays:
    """Return arrays of the shapes of parameters, for gradients that are not read."""
    return Arrays(**{key: reshape(tape.output((value.size,)), value.shape) for key, value in vars(p).items()})


def _draw(parameter: Parameter, rng: np.random.Generator, name: str) -> Any:
    if isinstance(parameter.initial, float):
        return parameter.initial
    owner, key = name.rsplit(".", 1)
    field = f"{key.removesuffix('_kernel')}_initializer"  # kernel_initializer or, for example, depthwise_initializer
    initializer = resolve(Initializer, parameter.initial, f"{owner}'s {field}")
    return initializer.sample(rng, parameter.shape, parameter.fan_in, parameter.fan_out)
