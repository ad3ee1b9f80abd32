"""Frozen layers of a network that is fine-tuned: they predict, once for a whole training or batch by batch."""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import replace

import numpy as np

from .._arrays.elementwise import Array
from .data import Data
from .memory import SHARE, machine_memory
from .model import Model, predictor_of
from .progress import Recipe

IN_MEMORY = 1 << 30  # bytes of the outputs of frozen layers that are held in memory at most
IN_A_FILE = (
    1 << 34
)  # bytes that are held in a temporary file, mapped to memory, if it takes up to half of the free disk


class Frozen:
    """The layers of a network up to the one named ``recipe.freeze``, whose weights and statistics stay as they are."""

    def __init__(self, model: Model, recipe: Recipe) -> None:
        assert recipe.freeze is not None
        self._predictor = predictor_of(model, recipe.freeze)
        self._threads = recipe.threads
        self._dtype = model.weights.dtype

    def outputs(self, images: Array) -> Array:
        """Images (n, h, w, c) -> what the last frozen layer gives, (n, h, w, c) or (n, features)."""
        return self._predictor.raw(images, self._threads)

    def entered(self, data: Data) -> Data | None:
        """Data with what the last frozen layer gives instead of images; None if that is too large to be kept."""
        shape = len(data.rows), *self._predictor.shape
        out = _room(shape, self._dtype)
        if out is None:
            return None
        self._predictor.raw(data.images, self._threads, data.rows, out)
        return replace(data, images=out, rows=np.arange(len(out)))


class Evaluation:
    """Raw predictions for a validation set, epoch after epoch: outputs of frozen layers are computed once."""

    def __init__(self, data: Data, recipe: Recipe) -> None:
        self._data, self._recipe = data, recipe
        self._entered: Data | None = None
        self._is_first = recipe.freeze is not None

    def raw(self, model: Model) -> Array:
        """Raw predictions (n, outputs) with the weights of the moment."""
        if self._is_first:
            self._entered, self._is_first = Frozen(model, self._recipe).entered(self._data), False
        if self._entered is None:
            data, predictor = self._data, predictor_of(model)
        else:
            data, predictor = self._entered, predictor_of(model, after=self._recipe.freeze)
        return predictor.raw(data.images, self._recipe.threads, data.rows)


def _room(shape: tuple[int, ...], dtype: np.dtype) -> Array | None:
    """An array in memory, or in a file that is gone when nobody reads it any more; None if it is too large."""
    size = math.prod(shape) * dtype.itemsize
    if size <= min(IN_MEMORY, SHARE * (machine_memory() or math.inf)):
        return np.empty(shape, dtype)
    if size > IN_A_FILE or 2 * size > shutil.disk_usage(tempfile.gettempdir()).free:
        return None
    with tempfile.TemporaryFile() as file:
        return np.asarray(np.memmap(file, dtype, "w+", shape=shape))
