"""Frozen layers in fine-tuning. They only predict, either once for the whole training or batch by batch."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace

import numpy as np

from .._arrays.elementwise import Array
from .data import Data
from .memory import SHARE, has_disk_room, machine_memory
from .model import Model, predictor_of
from .progress import Recipe
from .views import averaged_raw

# Largest outputs of frozen layers that are kept in memory, in bytes, if the machine has at least eight times as much.
IN_MEMORY = 1 << 30
# Larger outputs, up to this number of bytes, are kept in a memory-mapped temporary file, if it takes at most half of
# the free space on the disk. Still larger ones are not kept, but computed for each batch.
IN_A_FILE = 1 << 34


class Frozen:
    """The layers of a network up to and including ``recipe.freeze``, whose weights and statistics do not change."""

    def __init__(self, model: Model, recipe: Recipe) -> None:
        assert recipe.freeze is not None
        self._predictor = predictor_of(model, recipe.freeze)
        self._threads = recipe.threads
        self._dtype = model.weights.dtype

    def outputs(self, images: Array) -> Array:
        """Return the output of the last frozen layer, (n, h, w, c) or (n, features), for images (n, h, w, c)."""
        return self._predictor.raw(images, self._threads)

    def entered(self, data: Data) -> Data | None:
        """Return data with the output of the last frozen layer instead of images, or None if it is too large."""
        shape = len(data.rows), *self._predictor.shape
        out = _room(shape, self._dtype)
        if out is None:
            return None
        self._predictor.raw(data.images, self._threads, data.rows, out)
        return replace(data, images=out, rows=np.arange(len(out)))


class Evaluation:
    """Raw predictions for a validation set in each epoch, with the outputs of frozen layers computed only once."""

    def __init__(self, data: Data, recipe: Recipe) -> None:
        self._data, self._recipe = data, recipe
        self._entered: Data | None = None
        # With several views of each image, outputs are not kept, because they would take several times the memory.
        self._is_first = recipe.freeze is not None and recipe.test_time_augmentation is None

    def raw(self, model: Model) -> Array:
        """Return the raw predictions (n, outputs) with the current weights."""
        if self._is_first:
            self._entered, self._is_first = Frozen(model, self._recipe).entered(self._data), False
        data, recipe = self._data, self._recipe
        if self._entered is not None:
            predictor = predictor_of(model, after=recipe.freeze)
            return predictor.raw(self._entered.images, recipe.threads, self._entered.rows)
        return averaged_raw(predictor_of(model), data.images, recipe.test_time_augmentation, recipe.threads, data.rows)


def _room(shape: tuple[int, ...], dtype: np.dtype) -> Array | None:
    """Return an uninitialized array in memory or in a temporary file, or None if it is too large for both.

    The file has no name, so the system removes it with the last reference to the array.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= min(IN_MEMORY, SHARE * (machine_memory() or math.inf)):
        return np.empty(shape, dtype)
    if size > IN_A_FILE or not has_disk_room(size):
        return None
    with tempfile.TemporaryFile() as file:
        return np.asarray(np.memmap(file, dtype, "w+", shape=shape))
