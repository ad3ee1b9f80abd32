"""SciPy's special functions, imported when one is asked for.

That takes longer than to import all of `skcnn.runtime`, and networks of ReLUs for three classes or more need none.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """A function of `scipy.special`."""
    if name.startswith("__"):
        raise AttributeError(name)
    from scipy import special

    return getattr(special, name)
