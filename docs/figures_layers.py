"""The figures of layers.md: which numbers share a mean in each normalization, found by asking the layers.

Run from the root of a checkout: python docs/figures_layers.py
"""

from types import SimpleNamespace

import matplotlib
import numpy as np
from figures_style import BLUE, ORANGE, save
from figures_style import IMAGES as FOLDER

from skcnn._arrays.elementwise import copy
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import BatchNorm, GroupNorm, LayerNorm

matplotlib.use("Agg")
import matplotlib.pyplot as plt

IMAGES, HEIGHT, WIDTH, CHANNELS = 4, 3, 3, 6
LAYERS = [BatchNorm(), LayerNorm(), GroupNorm(1), GroupNorm(3), GroupNorm(6)]
CHOSEN = (1, 1, 1, 2)  # image, row, column, channel
FILE = FOLDER / "normalization.svg"
GROUND, SHARED, MARKED = "#f1efe8", BLUE, ORANGE


def what_it_depends_on(layer):
    """Which inputs (n, h, w, c) have a gradient from the chosen output."""
    shape = HEIGHT, WIDTH, CHANNELS
    p, g = (
        SimpleNamespace(**{name: np.ones(v.shape) for name, v in layer.parameters(shape).items()}) for _ in range(2)
    )
    tape = Tape(np.float64, Batch(IMAGES), training=True)
    with tape.step("layer"):
        x, dy = (tape.output((HEIGHT, WIDTH, IMAGES, CHANNELS)) for _ in range(2))
        y, backward = layer.record(tape, x, p, g)
        dx = tape(copy, backward(tape(copy, dy, tape.output(y.shape))), tape.output(x.shape))
    rng = np.random.default_rng(0)
    image, row, column, channel = CHOSEN
    dy.fill(0)
    dy[row, column, image, channel] = 1
    x[...] = rng.normal(size=x.shape)
    tape.replay(0)
    return np.abs(dx).transpose(2, 0, 1, 3) > 1e-9


def main():
    """Draw a panel per layer: images below each other, their channels side by side, and each a square of pixels."""
    figure, panels = plt.subplots(1, len(LAYERS), figsize=(12, 2.2), dpi=140)
    for panel, layer in zip(panels, LAYERS, strict=True):
        depends = what_it_depends_on(layer)
        for n, h, w, c in np.ndindex(depends.shape):
            chosen = (n, h, w, c) == CHOSEN
            colour = MARKED if chosen else SHARED if depends[n, h, w, c] else GROUND
            corner = c * (WIDTH + 0.7) + w, n * (HEIGHT + 0.7) + h
            panel.add_patch(plt.Rectangle(corner, 0.82, 0.82, facecolor=colour, linewidth=0))
        panel.set(xlim=(-0.5, CHANNELS * (WIDTH + 0.7)), ylim=(IMAGES * (HEIGHT + 0.7), -0.5), aspect="equal")
        panel.set_title(repr(layer), fontsize=10, family="monospace")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_xlabel("channels", fontsize=9)
        for side in panel.spines.values():
            side.set_visible(False)
    panels[0].set_ylabel("images", fontsize=9)
    figure.tight_layout()
    save(figure, FILE)


if __name__ == "__main__":
    main()
