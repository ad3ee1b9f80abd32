"""Names of the arrays of published networks in other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .._arrays.elementwise import Array
from ..architecture import efficientnet_lite0, mobilenet_v2, resnet18, resnet50, squeezenet1_1
from ..layers import BatchNorm, Conv2D, Dense, DepthwiseConv2D, Layer
from ..layers.sequence import layer_names
from .tensors import Refused

NORM = {"weight": "scale", "bias": "offset", "running_mean": "running_mean", "running_var": "running_variance"}
IGNORED = "num_batches_tracked"  # number of updates of a batch norm, which predictions do not use


@dataclass(frozen=True)
class Architecture:
    """A network and the names of its modules with arrays, in the order of its layers, with the output layer last."""

    layers: Callable[[], list[Layer]]
    modules: tuple[str, ...]
    has_output: bool = True  # if not, the last convolution has a filter for each class, and the output layer copies


def _residual(convolutions: int, blocks: Sequence[int], projected: int) -> Iterator[str]:
    yield from ("conv1", "bn1")
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            for i in range(1, convolutions + 1):
                yield from (f"layer{stage}.{block}.conv{i}", f"layer{stage}.{block}.bn{i}")
            if block == 0 and stage >= projected:
                yield from (f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1")
    yield "fc"


def _mobilenet() -> Iterator[str]:
    yield from ("features.0.0", "features.0.1", "features.1.conv.0.0", "features.1.conv.0.1")
    yield from ("features.1.conv.1", "features.1.conv.2")
    for i in range(2, 18):
        for part in ("0.0", "0.1", "1.0", "1.1", "2", "3"):
            yield f"features.{i}.conv.{part}"
    yield from ("features.18.0", "features.18.1", "classifier.1")


def _squeezenet() -> Iterator[str]:
    yield "features.0"
    for i in (3, 4, 6, 7, 9, 10, 11, 12):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            yield f"features.{i}.{part}"
    yield "classifier.1"


def _lite0() -> Iterator[str]:
    yield from ("_conv_stem", "_bn0")
    for i in range(16):
        if i:
            yield from (f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        for part in ("_depthwise_conv", "_bn1", "_project_conv", "_bn2"):
            yield f"_blocks.{i}.{part}"
    yield from ("_conv_head", "_bn1", "_fc")


ARCHITECTURES = {
    "efficientnet_lite0": Architecture(efficientnet_lite0, tuple(_lite0())),
    "mobilenet_v2": Architecture(mobilenet_v2, tuple(_mobilenet())),
    "resnet18": Architecture(resnet18, tuple(_residual(2, (2, 2, 2, 2), projected=2))),
    "resnet50": Architecture(resnet50, tuple(_residual(3, (3, 4, 6, 3), projected=1))),
    "squeezenet1_1": Architecture(squeezenet1_1, tuple(_squeezenet()), has_output=False),
}


def renamed(name: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of an architecture with the names and the order of axes that this package uses."""
    architecture = ARCHITECTURES[name]
    owners = [*with_arrays(architecture.layers())]
    if architecture.has_output:
        owners.append(("output", Dense(1)))
    left = {key for key in tensors if not key.endswith(IGNORED)}
    found: dict[str, Array] = {}
    for (owner, layer), module in zip(owners, architecture.modules, strict=True):
        for theirs, ours in _keys(layer).items():
            key = f"{module}.{theirs}"
            if key not in tensors:
                raise Refused(f"it lacks {key!r}, so it does not contain the weights of {name}.")
            left.discard(key)
            found[f"{owner}.{ours}"] = _turned(tensors[key]) if ours == "kernel" else tensors[key]
    if left:
        raise Refused(f"it has {min(left)!r}, which {name} does not have.")
    if not architecture.has_output:
        classes = len(next(reversed(found.values())))
        found |= {"output.kernel": np.eye(classes, dtype=np.float32), "output.bias": np.zeros(classes, np.float32)}
    return found


def with_arrays(layers: Sequence[Layer], names: Sequence[str] | None = None) -> Iterator[tuple[str, Layer]]:
    """Yield name and layer of each layer that has arrays, including layers inside others."""
    for name, layer in zip(layer_names(layers) if names is None else names, layers, strict=True):
        if inner := layer.inner():
            yield from with_arrays([*inner.values()], [f"{name}.{key}" for key in inner])
        elif isinstance(layer, (BatchNorm, Conv2D, Dense, DepthwiseConv2D)):
            yield name, layer


def _keys(layer: Layer) -> dict[str, str]:
    """Return a dictionary from PyTorch's names of a layer's arrays to the names in this package."""
    if isinstance(layer, BatchNorm):
        return NORM
    return {"weight": "kernel"} | ({"bias": "bias"} if layer.use_bias else {})  # type: ignore[attr-defined]


def _turned(kernel: Array) -> Array:
    """Return a kernel of PyTorch, (filters, c, kh, kw) or (units, features), as (kh, kw, c, filters) or transposed."""
    if kernel.ndim not in (2, 4):
        raise Refused(f"it has a kernel of shape {kernel.shape}.")
    return kernel.T if kernel.ndim == 2 else kernel.transpose(2, 3, 1, 0)
