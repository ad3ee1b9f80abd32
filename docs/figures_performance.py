"""Draw the chart of docs/performance.md from the table of that page: `python docs/figures_performance.py`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from figures_style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, figure

DOCS = Path(__file__).parent
PREDICTIONS = ("1 image", "64 images", "1,024 images")
GROUPS = {  # row of the table -> the name of each of its ratios, or None for those that are left out
    "training step, batch 64": ("training step, 64 images",),
    "one epoch of `fit`": ("one epoch of training",),
    "prediction, 1 / 64 / 1024 rows": tuple(f"prediction, {rows}" for rows in PREDICTIONS),
    "memory of training, MB": ("memory of training",),
}


def ratios(page: str) -> dict[str, list[float]]:
    """Name of a measurement -> its ratio to PyTorch for the networks N1 to N4."""
    found: dict[str, list[float]] = {}
    for row in re.findall(r"^\|(.*)\|$", page[page.index("| network | | skcnn") :], flags=re.MULTILINE):
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) != 5:
            continue
        for start, names in GROUPS.items():
            if cells[1].startswith(start):
                for name, ratio in zip(names, cells[4].split(" / "), strict=True):
                    found.setdefault(name, []).append(float(ratio))
    return found


def draw(path: Path) -> None:
    """A group of bars for each measurement, with a bar for each network."""
    found = ratios((DOCS / "performance.md").read_text(encoding="utf-8"))
    with figure(path, 1, 1, (6.6, 4.6)) as axes:
        panel = axes[0, 0]
        places = np.arange(len(found))
        for k, color in enumerate((BLUE, ORANGE, GREEN, PURPLE)):
            panel.barh(places + 0.2 * k - 0.3, [row[k] for row in found.values()], 0.18, color=color, label=f"N{k + 1}")
        panel.axvline(1, color=INK, linewidth=1)
        panel.text(1, -0.62, "PyTorch", color=INK, fontsize=8, ha="center")
        panel.set_yticks(places, found, color=INK, fontsize=9)
        panel.set(xlim=(0, 1.15), ylim=(len(found) - 0.5, -0.55))
        panel.set_xlabel("skcnn relative to PyTorch: less is better", fontsize=9, color=MUTED)
        panel.grid(visible=False, axis="y")
        panel.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


if __name__ == "__main__":
    draw(DOCS / "images" / "performance.svg")
