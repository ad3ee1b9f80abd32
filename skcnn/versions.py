"""Warnings about models of another version."""

from __future__ import annotations

import warnings

from ._version import __version__
from .exceptions import VersionWarning


def warn_of_other_version(name: str, written: object, stacklevel: int) -> None:
    """Warn if ``written`` is not this version; None is one that is not known. ``name`` is the estimator's."""
    if written != __version__:
        other = f"skcnn {written}" if written else "an unknown version of skcnn"
        warnings.warn(
            f"This {name} was written by {other}, and is read by skcnn {__version__}. Its predictions may differ from"
            " what they were: compare them with some that you have kept, or train it anew.",
            VersionWarning,
            stacklevel=stacklevel + 1,
        )
