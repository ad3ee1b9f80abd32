"""Sequences of layers: names, shapes and recording.

The network and all layers that contain other layers record their steps with these functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .._arrays.elementwise import Array
from .._tape.parameters import Arrays
from .._tape.tape import Tape, memory, read_only
from ..description import numbered, refuse_class
from .base import Backward, Layer, Shape, ShapeError, reads, unread

Step = tuple[str, Layer]  # name of the layer that the user wrote, and the layer to record


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """Return names such as conv1, relu1, conv2, as used in ``parameters_`` and in nested parameter names."""
    return numbered(getattr(layer, "stem", "layer") for layer in layers)


def lowered_steps(names: Sequence[str], layers: Sequence[Layer]) -> list[Step]:
    """Return the steps that compute the layers."""
    return [(name, part) for name, layer in zip(names, layers, strict=True) for part in layer.lowered()]


def check_layers(layers: Sequence[Layer], where: str = "layers") -> None:
    """Raise an error for entries that are not layers, and for invalid fields. Messages call the list ``where``."""
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            refuse_class(layer, f"{where}[{i}]")
            raise TypeError(f"{where}[{i}] must be a layer, got {layer!r}.")
        try:
            layer.check()
        except ValueError as error:
            raise ValueError(f"{where}[{i}] = {error}") from None


def infer_shapes(layers: Sequence[Layer], shape: Shape, where: str = "layers") -> list[Shape]:
    """Return the input shape of each layer and the output shape of the last.

    Raises
    ------
    ShapeError
        If a layer cannot process its input shape. The message names the layer.
    """
    shapes = [shape]
    for i, layer in enumerate(layers):
        try:
            shapes.append(layer.output_shape(shapes[-1]))
        except ShapeError as error:
            raise ShapeError(f"{where}[{i}] = {layer!r} cannot take input of shape {shapes[-1]}: {error}") from None
    return shapes


def _end_one(tape: Tape, held: list[Array], array: Array, but: Array) -> None:
    """Free a buffer of a step that its backward pass then does not free again."""
    if memory(array) is not memory(but):
        tape.end([other for other in held if memory(other) is memory(array)], but)
        held[:] = [other for other in held if memory(other) is not memory(array)]


def flattened(name: str, layer: Layer, shape: Shape) -> Iterator[tuple[str, Layer, Shape]]:
    """Yield (name, layer, input shape) for all layers nested in ``layer``, and finally for ``layer``."""
    for inner, part, before in layer.inside(shape):
        yield from flattened(f"{name}.{inner}", part, before)
    yield name, layer, shape


def shape_and_rows(x: Array) -> tuple[Shape, int]:
    """Return the shape of one image of ``x`` (h, w, n, c) or (n, f), and n."""
    return ((*x.shape[:2], x.shape[3]), x.shape[2]) if x.ndim == 4 else (x.shape[1:], len(x))


def record_steps(
    tape: Tape,
    steps: Sequence[Step],
    x: Array,
    p: Mapping[str, Arrays],
    g: Mapping[str, Arrays] | None,
    *,
    spend: bool = False,
) -> tuple[Array, Backward]:
    """Record steps in order; return the output and ``backward(dy, needs_dx) -> dx``.

    ``p`` and ``g`` map the names of the steps to their parameters and gradients. ``backward`` releases the memory of
    ``dy`` after reading it. The memory of ``x`` is released only if no backward pass follows and ``spend`` is true. The
    output and dx are contiguous.
    """
    prefix = f"{tape.owner}." if tape.owner else ""
    shape, rows = shape_and_rows(x)
    done: list[tuple[Backward | None, list[Array]]] = []
    y = x
    for i, (owner, layer) in enumerate(steps):
        before, shape = y, layer.output_shape(shape)
        tape.margin = steps[i + 1][1].margin(tape, shape, rows) if i + 1 < len(steps) else None
        with tape.step(prefix + owner) as held:
            recorded = layer.record(tape, read_only(before), p[owner], Arrays() if g is None else g[owner])
        if not isinstance(recorded, tuple) or len(recorded) != 2:
            raise TypeError(f"{layer!r} must return its output and its backward pass from record, got {recorded!r}.")
        y, through = recorded
        if shape_and_rows(y) != (shape, rows):
            found, _ = shape_and_rows(y)
            raise ShapeError(f"{layer!r} returns an output of shape {found}, but its output_shape returns {shape}.")
        if tape.backward and through is None:
            raise TypeError(
                f"{layer!r} records no backward pass. Its record must return one whenever tape.backward is true, also"
                " in prediction."
            )
        if not tape.backward:
            if spend or memory(before) is not memory(x):
                tape.end([before], but=y)
        elif done and not (reads(done[-1][0], before) or reads(through, before)):
            _end_one(tape, done[-1][1], before, y)
        done.append((through, held))

    def backward(dy: Array, needs_dx: bool = True) -> Array | None:
        assert g is not None
        owning = [i for i, (owner, _) in enumerate(steps) if vars(g[owner])]
        first = 0 if needs_dx else owning[0] if owning else len(steps)
        dx: Array | None = dy
        for i in range(len(steps) - 1, first - 1, -1):
            through, held = done[i]
            assert through is not None
            if dx is None:
                raise TypeError(f"{steps[i + 1][1]!r} must return dx from its backward pass, got None.")
            dy = dx
            with tape.step(prefix + steps[i][0]) as produced:
                dx = through(dy, needs_dx=needs_dx or i > first)
            tape.end([*held, *produced, dy], but=x if dx is None else dx)
        return dx if needs_dx else None

    return y, backward if done and reads(done[0][0], x) else unread(backward, x)
