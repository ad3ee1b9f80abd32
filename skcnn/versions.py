"""Warning about models that were saved by a different version."""

from __future__ import annotations

import warnings

from ._version import __version__
from .exceptions import VersionWarning


def warn_of_other_version(name: str, written: object, stacklevel: int) -> None:
    """Warn if a model of class ``name`` was written by a different version. The version is unknown if it is None."""
    if written != __version__:
        other = f"skcnn {written}" if written else "an unknown version of skcnn"
        warnings.warn(
            f"This {name} was written by {other}, and is read by skcnn {__version__}. Its predictions may differ."
            " Compare them with predictions that you have stored, or train the model again.",
            VersionWarning,
            stacklevel=stacklevel + 1,
        )
