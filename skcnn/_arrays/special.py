"""SciPy's special functions, imported on first use.

Importing them takes longer than importing all of `skcnn.runtime`. Networks with ReLU and three or more classes do not
need them.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Return a function of `scipy.special`."""
    if name.startswith("__"):
        raise AttributeError(name)
    from scipy import special

    return getattr(special, name)
