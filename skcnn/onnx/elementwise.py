"""Import of elementwise operators, and of operators that join values."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array
from ..layers import (
    ELU,
    GELU,
    SELU,
    Clip,
    HardSigmoid,
    HardSwish,
    Layer,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Scale,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from ..layers.activation import SELU_ALPHA, SELU_SCALE
from .pointwise import FUNCTIONS
from .reading import Node
from .walking import Handler, Part, Value, Walk, same
from .windowed import number

FLOATING = 1, 10, 11, 16  # types float, float16, double and bfloat16
BOUNDLESS = float(np.finfo(np.float32).max)


def _scale(factor: Array, shift: Array | None = None) -> Part:
    """Return a `Scale` with these factors and optional offsets."""
    arrays = {"scale": factor} | ({} if shift is None else {"bias": shift})
    return Part(Scale(use_bias=shift is not None), arrays)


def _nothing(walk: Walk, node: Node) -> None:
    """Import an operator without effect in prediction."""
    name, value = walk.image(node)
    if node.operator == "Dropout" and np.any(walk.constant(node, 2, False)):
        walk.refuse(node, "it is random dropout", "Export the model for prediction")
    walk.give(node, value, [name])


def _cast(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    if node("to") not in FLOATING:
        walk.refuse(node, "it rounds to integers")
    walk.give(node, value, [name])


def _activation(walk: Walk, node: Node, layer: Layer) -> None:
    name, value = walk.image(node)
    walk.give(node, value, [name], [Part(layer)], function=FUNCTIONS.get(node.operator))


def _plain(layer: Layer) -> Handler:
    return lambda walk, node: _activation(walk, node, layer)


def _leaky(walk: Walk, node: Node) -> None:
    slope = number(node, "alpha", 0.01)
    if not 0 <= slope <= 1:
        walk.refuse(node, f"its slope must be from 0 to 1, but is {slope}")
    _activation(walk, node, LeakyReLU(slope))


def _elu(walk: Walk, node: Node) -> None:
    alpha = number(node, "alpha", 1.0)
    if alpha < 0:
        walk.refuse(node, f"its alpha must be 0 or more, but is {alpha}")
    _activation(walk, node, ELU(alpha))


def _celu(walk: Walk, node: Node) -> None:
    """Import Celu, max(0, x) + min(0, a (exp(x / a) - 1)), which is a times the ELU of x / a."""
    name, value = walk.image(node)
    alpha = number(node, "alpha", 1.0)
    if alpha <= 0:
        walk.refuse(node, f"its alpha must be above 0, but is {alpha}")
    one = np.ones(value.shape[-1:])
    parts = [Part(ELU())] if alpha == 1 else [_scale(one / alpha), Part(ELU()), _scale(one * alpha)]
    walk.give(node, value, [name], parts)


def _selu(walk: Walk, node: Node) -> None:
    found = number(node, "alpha", SELU_ALPHA), number(node, "gamma", SELU_SCALE)
    if np.allclose(found, (SELU_ALPHA, SELU_SCALE), rtol=1e-6, atol=0):
        _activation(walk, node, SELU())
        return
    name, value = walk.image(node)
    if found[0] < 0:
        walk.refuse(node, f"its alpha must be 0 or more, but is {found[0]}")
    walk.give(node, value, [name], [Part(ELU(found[0])), _scale(np.full(value.shape[-1:], found[1]))])


def _gelu(walk: Walk, node: Node) -> None:
    kind = node("approximate", "none")
    if kind not in ("none", "tanh"):
        walk.refuse(node, f"approximate={kind!r} is not supported")
    _activation(walk, node, GELU(kind == "tanh"))


def _hard_sigmoid(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    alpha, beta = number(node, "alpha", 0.2), number(node, "beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        parts = [Part(HardSigmoid())]
    else:
        full = np.ones(value.shape[-1:])
        parts = [_scale(alpha * full, beta * full), Part(Clip(0.0, 1.0))]
    function = lambda x: np.clip(alpha * x + beta, 0, 1)  # noqa: E731
    walk.give(node, value, [name], parts, function=function)


def _swish(walk: Walk, node: Node) -> None:
    if number(node, "alpha", 1.0) != 1:
        walk.refuse(node, "its alpha must be 1")
    _activation(walk, node, SiLU())


def _prelu(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    slope = walk.constant(node, 1)
    vector = None if slope is None else per_channel(value, slope)
    if vector is None:
        walk.refuse(node, "it must have one slope, or one per channel")
    walk.give(node, value, [name], [Part(PReLU(), {"slope": vector})])


def _softmax(walk: Walk, node: Node) -> None:
    """Import Softmax or LogSoftmax over channels. Before version 13, they normalize over all axes from ``axis`` on."""
    name, value = walk.image(node)
    old = walk.source.opset < 13
    axis = value.axis(node("axis", 1 if old else -1))
    behind = set(value.dims[axis + 1 :]) if old else {1}
    if value.axes[axis] not in ("C", "F") or behind - {1}:
        walk.refuse(node, "it must normalize over the channels of each pixel")
    if node.operator == "LogSoftmax":
        walk.give(node, value, [name], kind="open")
    else:
        walk.give(node, value, [name], [Part(Softmax())])


def bounded(low: float, high: float) -> list[Part]:
    """Return layers that clip numbers to two bounds."""
    low, high = (float(str(np.float32(bound))) for bound in (low, high))
    if (low, high) == (0, 6):
        return [Part(ReLU6())]
    if low == 0 and high >= BOUNDLESS:
        return [Part(ReLU())]
    found = None if low <= -BOUNDLESS else low, None if high >= BOUNDLESS else high
    return [] if found == (None, None) else [Part(Clip(*found))]


def _clip(walk: Walk, node: Node) -> None:
    """Import Clip, or Max or Min with a number."""
    name, value = walk.lives(node)[0], walk.values[walk.lives(node)[0]]
    low, high = node("min", -np.inf), node("max", np.inf)
    if node.operator == "Clip":
        if len(walk.lives(node)) > 1:
            walk.refuse(node, "its bounds must be constants")
        given = walk.constant(node, 1, np.array(low)), walk.constant(node, 2, np.array(high))
    else:
        others = [array for array in walk.arrays(node) if array is not None]
        if len(walk.lives(node)) != 1 or len(others) != 1:
            walk.refuse(node, "it must have one constant input")
        given = (others[0], np.array(np.inf)) if node.operator == "Max" else (np.array(-np.inf), others[0])
    if any(bound.size != 1 or bound.ndim > len(value.axes) for bound in given):
        walk.refuse(node, "its bounds must be single numbers")
    low, high = (float(bound.ravel()[0]) for bound in given)
    if not low < high:
        walk.refuse(node, f"its lower bound {low} must be less than its upper bound {high}")
    walk.give(node, value, [name], bounded(low, high), function=lambda x: np.clip(x, low, high))


def per_channel(value: Value, constant: Array) -> Array | None:
    """Return a constant that is broadcast against a tensor as one number per channel, or None if it is not."""
    rank = len(value.axes)
    if constant.ndim > rank:
        return None
    full = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
    channels = value.shape[-1]
    for axis, size in zip(value.axes, full.shape, strict=True):
        if size != 1 and not (axis in ("C", "F") and size == channels):
            return None
    vector = full.ravel()
    return np.full(channels, vector[0]) if vector.size == 1 else value.features(vector)


def _arithmetic(walk: Walk, node: Node) -> None:
    """Import Add, Sub, Mul, Div or Pow of a value and a constant, or of two values."""
    if len(walk.lives(node)) > 1:
        _join(walk, node)
        return
    name, arrays = walk.lives(node)[0], walk.arrays(node)
    value = walk.values[name]
    first = arrays[0] is None
    constant = arrays[1] if first else arrays[0]
    vector, function = per_channel(value, constant), None
    if vector is None or constant.dtype.kind not in "biuf":
        walk.refuse(node, "its constant must be a single number, or one number per channel")
    vector = vector.astype(np.float64)
    if constant.size == 1:
        operation, c = FUNCTIONS[node.operator], float(constant.ravel()[0])
        function = (lambda x: operation(x, c)) if first else (lambda x: operation(c, x))
    one = np.ones_like(vector)
    match node.operator, first:
        case "Add", _:
            parts = [_scale(one, vector)] if vector.any() else []
        case "Sub", True:
            parts = [_scale(one, -vector)] if vector.any() else []
        case "Sub", False:
            parts = [_scale(-one, vector)]
        case ("Mul", _) | ("Div", True):
            if node.operator == "Div" and not vector.all():
                walk.refuse(node, "it divides by zero")
            factor = vector if node.operator == "Mul" else 1 / vector
            parts = [_scale(factor)] if (factor != 1).any() else []
        case "Pow", True if (vector == 1).all():
            parts = []
        case _:
            walk.give(node, value, [name], kind="open", function=function, pattern=True)
            return
    walk.give(node, value, [name], parts, function=function, pattern=function is not None)


def _open(walk: Walk, node: Node) -> None:
    """Import an operator that is supported only as part of an activation."""
    name, value = walk.image(node)
    walk.give(node, value, [name], kind="open", function=FUNCTIONS.get(node.operator), pattern=True)


def _negative(walk: Walk, node: Node) -> None:
    name, value = walk.image(node)
    part = _scale(-np.ones(value.shape[-1:]))
    walk.give(node, value, [name], [part], function=np.negative, pattern=True)


def _join(walk: Walk, node: Node) -> None:
    """Import the join of two or more values: a sum, a product, or a part of an activation."""
    names = walk.lives(node)
    if len(names) != len(node.inputs) or (len(names) != 2 and node.operator not in ("Add", "Sum")):
        walk.refuse(node, "it joins values and constants in an unsupported way")
    kind = {"Add": "add", "Sum": "add", "Mul": "multiply"}.get(node.operator, "open")
    if kind == "add":
        names = walk.flattened(names)
    found = [walk.values[name] for name in names]
    if kind == "multiply" and found[0].is_flat and not found[1].is_flat:  # the gated value comes first
        names, found = names[::-1], found[::-1]
    value = found[0]
    if not all(_alike(value, other) or (kind == "multiply" and _is_gate(other, value)) for other in found[1:]):
        walk.refuse(node, "its inputs must have the same shape")
    walk.give(node, value, names, kind=kind, function=FUNCTIONS.get(node.operator), pattern=len(names) == 2)


def _sum(walk: Walk, node: Node) -> None:
    if len(walk.lives(node)) == 1 == len(node.inputs):
        _nothing(walk, node)
    elif len(node.inputs) == 2:
        _arithmetic(walk, Node(**vars(node) | {"operator": "Add"}))
    else:
        _join(walk, node)


def _alike(value: Value, other: Value) -> bool:
    """Return whether two values have the same axes, sizes and order."""
    return same(value, other) and not value.groups


def _is_gate(gate: Value, value: Value) -> bool:
    """Return whether ``gate`` has one number for each channel of the image ``value``, on the axis of its channels."""
    fits = gate.is_flat and not value.is_flat and gate.shape == value.shape[-1:] and gate.order is None
    return fits and gate.axes == tuple({"N": "N", "C": "F"}.get(axis, "1") for axis in value.axes)


def _concat(walk: Walk, node: Node) -> None:
    names = walk.lives(node)
    if len(names) != len(node.inputs):
        walk.refuse(node, "it concatenates constants and values")
    names = walk.flattened(names)
    found = [walk.values[name] for name in names]
    axis = found[0].axis(node("axis", 1))
    value = found[0]
    if value.axes[axis] not in ("C", "F") or any(
        other.axes != value.axes or other.shape[:-1] != value.shape[:-1] or other.groups for other in found
    ):
        walk.refuse(node, "it must concatenate channels of images with equal height and width")
    sizes = [other.shape[-1] for other in found]
    order = None
    if any(other.order is not None for other in found):
        starts = np.cumsum([0, *sizes[:-1]])
        parts = (np.arange(n) if v.order is None else v.order for v, n in zip(found, sizes, strict=True))
        order = np.concatenate([start + part for start, part in zip(starts, parts, strict=True)])
    # Dense blocks concatenate all earlier outputs. Values that have been concatenated before are reused as a whole.
    key = (value.axes[axis], *names)
    longest = next((n for n in range(len(names) - 1, 1, -1) if key[: n + 1] in walk.joined), 0)
    if longest:
        names = [walk.joined[key[: longest + 1]], *names[longest:]]
    walk.joined[key] = node.outputs[0]
    walk.give(node, Value(value.axes, (*value.shape[:-1], sum(sizes)), order), names, kind="concatenate")


def _fields(operators: dict[str, Layer]) -> dict[str, Handler]:
    return {operator: _plain(layer) for operator, layer in operators.items()}


ELEMENTWISE: dict[str, Handler] = {
    **_fields(
        {
            "Relu": ReLU(),
            "Sigmoid": Sigmoid(),
            "Tanh": Tanh(),
            "Softplus": Softplus(),
            "HardSwish": HardSwish(),
            "Mish": Mish(),
        }
    ),
    **dict.fromkeys(("Identity", "Dropout"), _nothing),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow"), _arithmetic),
    **dict.fromkeys(("Abs", "Erf", "Exp", "Log", "Reciprocal", "Sqrt"), _open),
    **dict.fromkeys(("Clip", "Max", "Min"), _clip),
    "Cast": _cast,
    "Celu": _celu,
    "Concat": _concat,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky,
    "LogSoftmax": _softmax,
    "Neg": _negative,
    "PRelu": _prelu,
    "Selu": _selu,
    "Softmax": _softmax,
    "Sum": _sum,
    "Swish": _swish,
}
