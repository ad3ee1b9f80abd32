"""A trained network and the meaning of its raw predictions: all that prediction needs, and no training."""

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
    """Network, weights, state, scaling and loss: everything that a prediction needs."""

    network: Network
    scaling: Scaling
    weights: Array
    state: Array
    loss: Loss  # minimized in training; it also maps raw predictions to probabilities or targets
    target_scaling: Scaling | None = None  # of a regressor that learns standardized targets


def check_layer(layer: object, names: Iterable[str]) -> None:
    """Raise a ValueError unless ``layer`` is one of the names of layers."""
    found = tuple(names)  # not a set, because ``layer`` may be unhashable
    if layer not in found:
        raise ValueError(f"layer={layer!r} is not in the network. Its layers are: {', '.join(found)}.")


def predictor_of(
    model: Model, layer: str = "output", *, pool: Layer | None = None, after: str | None = None
) -> Predictor:
    """Return a predictor of the output of one of a model's layers, passed through ``pool`` if it is given.

    With ``after``, the predictor starts from the output of that layer instead of images. A ValueError is raised if the
    model has no such ``layer``.
    """
    check_layer(layer, model.network.reached)
    return Predictor(model.network, model.weights, model.state, model.scaling, layer=layer, pool=pool, after=after)


def is_binary(classes: Array, labels: bool) -> bool:
    """Return whether one raw prediction decides between two classes."""
    return not labels and len(classes) == 2


def probabilities(loss: Loss, raw: Array, classes: Array, labels: bool) -> Array:
    """Return the probabilities of the classes or labels (n, k) for raw predictions (n, outputs)."""
    binary = is_binary(classes, labels)
    p = loss.probabilities(raw, exclusive=not (labels or binary))
    return np.hstack([1 - p, p]) if binary else p


def predicted_codes(raw: Array, classes: Array, labels: bool) -> Array:
    """Return class numbers (n,) or labels (n, k) for raw predictions (n, outputs)."""
    if labels:
        return (raw > 0).astype(int)
    return (raw[:, 0] > 0).astype(int) if is_binary(classes, labels) else raw.argmax(axis=1)


def predicted_classes(raw: Array, classes: Array, labels: bool) -> Array:
    """Return classes (n,) or labels (n, k) for raw predictions (n, outputs)."""
    decided = predicted_codes(raw, classes, labels)
    return decided if labels else classes[decided]


def predicted_targets(model: Model, raw: Array, columns: int | None) -> Array:
    """Return predicted targets (n,) or (n, k) for raw predictions (n, outputs)."""
    y = model.loss.predict(raw)
    if model.target_scaling is not None:
        y = y * model.target_scaling.scale + model.target_scaling.mean
    return y[:, 0] if columns is None else y
