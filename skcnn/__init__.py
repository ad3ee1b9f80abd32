"""A convolutional neural network that is a scikit-learn estimator, in plain NumPy."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .classifier import CNNClassifier
    from .exceptions import (
        ImageLayoutWarning,
        ImageScaleWarning,
        MemoryUseWarning,
        OutputLayerWarning,
        TargetFormatWarning,
        ValidationSetWarning,
        VersionWarning,
    )
    from .features import CNNFeatures
    from .persistence import SKOPS_TRUSTED, load, save
    from .profiling import profile
    from .regressor import CNNRegressor

__all__ = [
    "SKOPS_TRUSTED",
    "CNNClassifier",
    "CNNFeatures",
    "CNNRegressor",
    "ImageLayoutWarning",
    "ImageScaleWarning",
    "MemoryUseWarning",
    "OutputLayerWarning",
    "TargetFormatWarning",
    "ValidationSetWarning",
    "VersionWarning",
    "__version__",
    "load",
    "profile",
    "save",
]

_MODULES = {
    "CNNClassifier": "classifier",
    "CNNFeatures": "features",
    "CNNRegressor": "regressor",
    "ImageLayoutWarning": "exceptions",
    "ImageScaleWarning": "exceptions",
    "OutputLayerWarning": "exceptions",
    "MemoryUseWarning": "exceptions",
    "SKOPS_TRUSTED": "persistence",
    "TargetFormatWarning": "exceptions",
    "ValidationSetWarning": "exceptions",
    "VersionWarning": "exceptions",
    "load": "persistence",
    "profile": "profiling",
    "save": "persistence",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, because `skcnn.runtime` starts without scikit-learn."""
    if name in _MODULES:
        value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
