"""A trained network, and what its raw predictions mean: all that predicting needs, and nothing that training does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .._arrays.elementwise import Array
from ..layers import Layer
from ..losses import Loss
from .network import Network
from .predictor import Predictor
from .scaling import Scaling


@dataclass
class Model:
    """Network, weights, state and scaling: everything that a prediction needs."""

    network: Network
    scaling: Scaling
    weights: Array
    state: Array
    loss: Loss  # that the weights were learnt for, and so its link
    target_scaling: Scaling | None = None  # of a regressor's outputs, where the network learns standardized targets


def check_layer(layer: object, names: Iterable[str]) -> None:
    """Refuse what is not the name of a layer."""
    found = tuple(names)  # a list as a layer has no hash to look up
    if layer not in found:
        raise ValueError(f"layer={layer!r} is not in the network. Its layers are: {', '.join(found)}.")


def predictor_of(
    model: Model, layer: str = "output", *, pool: Layer | None = None, after: str | None = None
) -> Predictor:
    """Return a predictor for a model, up to one of its layers, pooled; a ValueError if it has no such layer.

    With ``after``, it takes what that layer gives instead of images.
    """
    check_layer(layer, model.network.reached)
    return Predictor(model.network, model.weights, model.state, model.scaling, layer=layer, pool=pool, after=after)


def is_binary(classes: Array, labels: bool) -> bool:
    """Whether one raw prediction tells two classes apart."""
    return not labels and len(classes) == 2


def probabilities(loss: Loss, raw: Array, classes: Array, labels: bool) -> Array:
    """Raw predictions (n, outputs) -> probabilities of the classes or labels (n, k)."""
    binary = is_binary(classes, labels)
    p = loss.probabilities(raw, exclusive=not (labels or binary))
    return np.hstack([1 - p, p]) if binary else p


def predicted_codes(raw: Array, classes: Array, labels: bool) -> Array:
    """Raw predictions (n, outputs) -> class numbers (n,), or labels (n, k)."""
    if labels:
        return (raw > 0).astype(int)
    return (raw[:, 0] > 0).astype(int) if is_binary(classes, labels) else raw.argmax(axis=1)


def predicted_classes(raw: Array, classes: Array, labels: bool) -> Array:
    """Raw predictions (n, outputs) -> classes (n,), or labels (n, k)."""
    decided = predicted_codes(raw, classes, labels)
    return decided if labels else classes[decided]


def predicted_targets(model: Model, raw: Array, columns: int | None) -> Array:
    """Raw predictions (n, outputs) -> predicted targets (n,) or (n, k)."""
    y = model.loss.predict(raw)
    if model.target_scaling is not None:
        y = y * model.target_scaling.scale + model.target_scaling.mean
    return y[:, 0] if columns is None else y
