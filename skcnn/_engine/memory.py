"""Memory of a training, estimated from shapes before anything is allocated."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import MemoryUseWarning, warn_user
from ..layers import BatchNorm
from .network import Network
from .progress import Recipe

SHARE = 1 / 8  # share of the machine's memory that a training may take without a warning, because searches run several
OUTPUTS = 1.75  # memory of a step, in multiples of all layers' outputs: also for gradients and work arrays
SHARD = 32  # rows that each thread processes at a time
LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # limits of a container


def has_disk_room(size: int) -> bool:
    """Return whether a temporary file of a number of bytes takes at most half of the free space on its disk."""
    return 2 * size <= shutil.disk_usage(tempfile.gettempdir()).free


def machine_memory() -> int | None:
    """Return the memory that this process may use, in bytes, or None if the system does not report it."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    if pages <= 0 or size <= 0:
        return None
    found = pages * size
    for path in LIMITS:
        with suppress(OSError, ValueError):  # outside a container, or with "max" for no limit
            found = min(found, int(Path(path).read_text()))
    return found


def training_memory(network: Network, recipe: Recipe, rows: int, dtype: Any) -> tuple[int, int]:
    """Return the estimated bytes of all copies of the weights, and of the arrays of a batch of ``rows``."""
    # The weights, the snapshots of the best epoch and of a better one, the average, and the optimizer's slots.
    copies = (3 + bool(recipe.average)) * network.weights.size
    trained = sum(part.stop - part.start for part in network.trained(recipe.freeze))
    behind = {owner for owner, _ in network.steps_after(recipe.freeze)}
    parts = [part for part in network.parts if part[0].split(".")[0] in behind]
    outputs = sum(math.prod(layer.output_shape(shape)) for _, layer, shape in parts)
    # Batch norm needs all rows at once.
    held = rows if any(isinstance(layer, BatchNorm) for _, layer, _ in parts) else min(rows, SHARD * recipe.threads)
    itemsize = np.dtype(dtype).itemsize
    return (copies + len(recipe.optimizer.slots) * trained) * itemsize, int(OUTPUTS * held * outputs * itemsize)


def check_memory(network: Network, recipe: Recipe, rows: int, dtype: Any) -> None:
    """Warn if a training takes much of the machine's memory, and raise a MemoryError if its weights cannot fit."""
    there = machine_memory()
    weights, batch = training_memory(network, recipe, rows, dtype)
    if there is None or weights + batch <= SHARE * there:
        return
    layer, most = _largest(network)
    message = (
        f"Training takes about {_shown(weights + batch)} of memory, and this machine has {_shown(there)}:"
        f" {_shown(weights)} for {network.weights.size:,} weights, {most:,} of them in {layer!r}, and {_shown(batch)}"
        f" for the outputs of the layers for {rows} images of shape {network.input_shape}. Smaller images, a larger"
        " pool_size and fewer filters reduce both. More blocks, such as conv_filters=(32, 64, 64, 64), and"
        " GlobalAvgPool2D() instead of Flatten() reduce the weights. A smaller batch_size reduces the outputs."
    )
    if weights > there:
        raise MemoryError(message)
    warn_user(message, MemoryUseWarning)


def _largest(network: Network) -> tuple[str, int]:
    """Return the name of the layer with the most weights, and their number."""
    sizes: dict[str, int] = {}
    for name, parameter in network.weights.parameters.items():
        owner = name.rpartition(".")[0]
        sizes[owner] = sizes.get(owner, 0) + parameter.size
    return max(sizes.items(), key=lambda item: item[1])


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
