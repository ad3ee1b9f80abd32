"""Draw the pictures of image_files.md and looking_inside.md that come from the example of photos.

Run it from the root of a checkout: ``python docs/figures_photos.py``. It needs matplotlib and Pillow.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib

DOCS = Path(__file__).parent
EXAMPLES = DOCS.parent / "examples"

if __name__ == "__main__":
    matplotlib.use("Agg")
    sys.path.insert(0, str(EXAMPLES))  # the example imports the server beside it
    example = runpy.run_path(str(EXAMPLES / "photos.py"))
    example["grid"].figure_.savefig(DOCS / "images" / "photos.png", dpi=80)
    example["matrix"].figure_.set(figwidth=4.6, figheight=4.2, layout_engine="constrained")
    example["matrix"].figure_.savefig(DOCS / "images" / "confusion.png", dpi=80)
