"""How much memory a training takes, estimated from shapes before anything is allocated."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..exceptions import MemoryUseWarning, warn_user
from .network import Network
from .progress import Recipe

SHARE = 1 / 8  # of the memory of the machine that a training takes without a word: searches run several
OUTPUTS = 2  # times the outputs of all layers that a step holds: their gradients, and what algorithms need in between
SHARD = 32  # rows that a thread holds at a time
LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # of a container


def machine_memory() -> int | None:
    """Bytes of memory that this process may have, or None where the system does not say."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    if pages <= 0 or size <= 0:
        return None
    found = pages * size
    for path in LIMITS:
        with suppress(OSError, ValueError):  # there is no container, or it has no limit: "max"
            found = min(found, int(Path(path).read_text()))
    return found


def training_memory(network: Network, recipe: Recipe, rows: int, dtype: Any) -> tuple[int, int]:
    """Estimated bytes of weights with all their copies, and of what a batch of ``rows`` leaves behind."""
    # The weights, the copy of a new best epoch beside that of the best before, and what the optimizer remembers.
    copies = (3 + bool(recipe.average)) * network.weights.size
    trained = sum(part.stop - part.start for part in network.trained(recipe.freeze))
    behind = {owner for owner, _ in network.steps_after(recipe.freeze)}
    parts = [part for part in network.parts if part[0].split(".")[0] in behind]
    outputs = sum(math.prod(layer.output_shape(shape)) for _, layer, shape in parts)
    held = min(rows, SHARD * recipe.threads) * OUTPUTS
    itemsize = np.dtype(dtype).itemsize
    return (copies + len(recipe.optimizer.slots) * trained) * itemsize, held * outputs * itemsize


def check_memory(network: Network, recipe: Recipe, rows: int, dtype: Any) -> None:
    """Warn if a training takes much of the machine's memory; a MemoryError if its weights cannot fit."""
    there = machine_memory()
    weights, batch = training_memory(network, recipe, rows, dtype)
    if there is None or weights + batch <= SHARE * there:
        return
    layer, most = _largest(network)
    message = (
        f"Training takes about {_shown(weights + batch)} of memory, and this machine has {_shown(there)}:"
        f" {_shown(weights)} for {network.weights.size:,} weights, {most:,} of them in {layer!r}, and {_shown(batch)}"
        f" for what the layers make of {rows} images of shape {network.input_shape}. Smaller images, a larger"
        " pool_size and fewer filters need less of both. More blocks, as in conv_filters=(32, 64, 64, 64), or"
        " GlobalAvgPool2D() instead of Flatten() need fewer weights. A smaller batch_size needs less for the images."
    )
    if weights > there:
        raise MemoryError(message)
    warn_user(message, MemoryUseWarning)


def _largest(network: Network) -> tuple[str, int]:
    """The layer with the most weights, and how many."""
    sizes: dict[str, int] = {}
    for name, parameter in network.weights.parameters.items():
        owner = name.rpartition(".")[0]
        sizes[owner] = sizes.get(owner, 0) + parameter.size
    return max(sizes.items(), key=lambda item: item[1])


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
