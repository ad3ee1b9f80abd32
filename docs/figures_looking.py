"""Draw the picture of looking_inside.md: the last figure of its example.

Run it from the root of a checkout: ``python docs/figures_looking.py``. It needs matplotlib.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib

DOCS = Path(__file__).parent

if __name__ == "__main__":
    matplotlib.use("Agg")
    example = runpy.run_path(str(DOCS.parent / "examples" / "looking_inside.py"))
    example["figure"].savefig(DOCS / "images" / "looking_inside.png", dpi=90)
