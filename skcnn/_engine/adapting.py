"""State that layers compute from training images before the first step of a fit."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np

from .._arrays.elementwise import Array, ufunc_settings
from .._arrays.geometry import evenly
from .._tape.tape import Batch, Tape
from ..layers import Layer
from ..layers.base import Shape
from ..layers.residual import steps_to
from .data import ADAPT, Data, stream
from .inputs import check_range
from .model import Model
from .parallel import one_blas_thread

IMAGES = 5000  # most images from which layers compute their state
CHUNK = 1 << 18  # numbers of images, or of the inputs of a layer, that are computed at a time


def adapt(model: Model, data: Data, seed: int, kept: Collection[str] = ()) -> None:
    """Compute the state of layers that define `Layer.adapt`, in forward order and with the initial weights of others.

    Layers that have an array in ``kept`` keep their state.
    """
    network = model.network
    owners = {name.rpartition(".")[0] for name in kept}
    adaptive = [part for part in network.parts if type(part[1]).adapt is not Layer.adapt and part[0] not in owners]
    if not adaptive:
        return
    rows = data.rows[np.sort(stream(seed, ADAPT).permutation(len(data.rows))[:IMAGES])]
    views = network.state.views(model.state)
    with one_blas_thread, ufunc_settings():
        for name, layer, shape in adaptive:
            for key, array in layer.adapt(shape, _inputs(model, data.images, rows, name, shape)).items():
                views[f"{name}.{key}"][...] = array


def _inputs(model: Model, images: Array, rows: Array, name: str, shape: Shape) -> Iterator[Array]:
    """Yield the inputs of a layer, (n, h, w, c) or (n, features), for the images in ``rows``, in chunks."""
    network, dtype = model.network, model.weights.dtype
    steps, p = steps_to(name, network.lowered, network.bind(model.weights, model.state))
    before = [step for step in steps if step[0] != name]
    numbers = len(rows) * max(math.prod(network.input_shape), math.prod(shape))
    for part in evenly(len(rows), -(-numbers // CHUNK)):
        chunk = images[rows[part]]
        tape = Tape(dtype, Batch(len(chunk)))
        x = tape.input(chunk.shape)
        y = network.record_prediction(tape, x, steps=before, p=p, scaling=model.scaling)
        np.copyto(x, chunk, casting="unsafe")
        if not np.isfinite(x).all():
            check_range(chunk, dtype)
        tape.replay(0)
        yield y
