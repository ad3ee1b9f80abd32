"""The style that the figures of the documentation have in common: colours, axes, and files of SVG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).parent / "images"
INK, MUTED, GRID = "#1f2328", "#6b7280", "#e5e7eb"
BLUE, ORANGE, GREEN, PURPLE = "#1f6feb", "#d97706", "#1a7f4b", "#8250df"


@contextmanager
def figure(path: Path, rows: int, columns: int, size: tuple[float, float]) -> Iterator[Any]:
    """A grid of axes that becomes a small file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canvas = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.grid(color=GRID, linewidth=0.7)
        panel.tick_params(labelsize=7.5, colors=MUTED, length=0)
        for edge in panel.spines.values():
            edge.set_visible(False)
    yield axes
    save(canvas, path)


def save(canvas: Any, path: Path) -> None:
    """Write a figure, with the same bytes for the same figure."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "skcnn", "path.simplify_threshold": 0.5}):
        canvas.savefig(path, metadata={"Date": None})


def title(panel: Any, text: str) -> None:
    """Name a panel."""
    panel.set_title(text, fontsize=10, color=INK, loc="left", fontweight="bold")
