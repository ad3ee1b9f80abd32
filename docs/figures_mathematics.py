"""Draw the figures of docs/mathematics: `python docs/figures_mathematics.py` from the root of a checkout.

The results in the figures are computed, most of them by the package itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from figures_activations import activation_curve
from figures_style import BLUE, GREEN, GRID, IMAGES, INK, MUTED, ORANGE, PURPLE, figure, title

from skcnn._tape.interpolation import weights
from skcnn._tape.tape import Batch, Tape
from skcnn._tape.winograd import transforms
from skcnn.initializers import Glorot, He, LeCun
from skcnn.layers import AvgPool2D, Conv2D, MaxPool2D
from skcnn.losses import Focal, Hinge, LogLoss, Loss, SquaredHinge
from skcnn.optimizers import SGD, AdaGrad, Adam, Lion, Optimizer, RMSprop
from skcnn.testing import run

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
PAPER, PALE_BLUE, PALE_ORANGE, PALE_GREEN = "#ffffff", "#dbe8fb", "#fbe3c6", "#d3ecdf"
Point = tuple[float, float]

# The image, the kernel and the upstream gradient of the convolution's figures.
IMAGE = np.array([[1, 2, 0, 1], [0, 1, 3, 1], [2, 0, 1, 0], [1, 1, 0, 2]], float)
KERNEL = np.array([[1, 0, -1], [2, 1, 0], [0, 1, 1]], float)
UPSTREAM = np.array([[1, 2], [-1, 1]], float)


@contextmanager
def canvas(path: Path, width: float, height: float, inches: float = 10) -> Iterator[Any]:
    """An empty panel of so many units, with y downwards, that becomes a small file."""
    with figure(path, 1, 1, (inches, inches * height / width)) as axes:
        panel = axes[0, 0]
        panel.axis("off")
        panel.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
        yield panel


def text(panel: Any, x: float, y: float, words: object, **style: Any) -> None:
    """Words with their middle at a point."""
    panel.text(x, y, words, **{"ha": "center", "va": "center", "fontsize": 9, "color": INK} | style)


def box(panel: Any, x: float, y: float, width: float, height: float, colour: str = PAPER, **style: Any) -> None:
    """A rectangle with its upper left corner at a point."""
    from matplotlib.patches import Rectangle

    drawn = {"facecolor": colour, "edgecolor": MUTED, "linewidth": 0.8} | style
    panel.add_patch(Rectangle((x, y), width, height, **drawn))


def cells(panel: Any, values: np.ndarray, x: float, y: float, colours: Any = PAPER, **style: Any) -> None:
    """A matrix of numbers as squares of one unit; ``colours`` is one, or one for each."""
    chosen = np.broadcast_to(np.array(colours, dtype=object), values.shape)
    for (i, j), value in np.ndenumerate(values):
        box(panel, x + j, y + i, 1, 1, chosen[i, j])
        shown = f"{value:g}".replace("-", MINUS) if isinstance(value, (int, float)) else value
        text(panel, x + j + 0.5, y + i + 0.5, shown, **style)


def arrow(panel: Any, start: Point, end: Point, colour: str = MUTED, **style: Any) -> None:
    """An arrow from point to point."""
    drawn = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0} | style
    panel.annotate("", end, start, arrowprops=drawn)


def plane(x: np.ndarray) -> np.ndarray:
    """A matrix as an image of one channel, or back."""
    return x[None, :, :, None] if x.ndim == 2 else x[0, :, :, 0]


def draw_training(path: Path) -> None:
    """A small network as a chain: values to the right, derivatives of the loss to the left."""
    names = ["x", "a", "h", "z", "L"]
    steps = ["Dense", "ReLU", "Dense", "Loss"]
    with canvas(path, 22, 6.6) as panel:
        for k, name in enumerate(names):
            x = 1 + 5 * k
            box(panel, x - 0.9, 2.2, 1.8, 1.8, PALE_BLUE if k < 4 else PALE_ORANGE)
            text(panel, x, 3.1, f"${name}$", fontsize=14)
        for k, step in enumerate(steps):
            x = 3.5 + 5 * k
            box(panel, x - 1.05, 2.5, 2.1, 1.2, "#f3f4f6")
            text(panel, x, 3.1, step, fontsize=10, fontweight="bold")
            for a, b, y in ((x - 1.55, x - 1.1, 2.8), (x + 1.1, x + 1.55, 2.8)):
                arrow(panel, (a, y), (b, y), BLUE)
            if k:
                for a, b in ((x + 1.55, x + 1.1), (x - 1.1, x - 1.55)):
                    arrow(panel, (a, 3.4), (b, 3.4), ORANGE)
            else:
                arrow(panel, (x + 1.55, 3.4), (x + 1.1, 3.4), ORANGE)
            if step == "Dense":
                number = 1 + k // 2
                text(panel, x, 0.7, f"$W_{number}, b_{number}$", fontsize=11)
                arrow(panel, (x, 1.1), (x, 2.45), BLUE)
                arrow(panel, (x, 3.75), (x, 5.0), ORANGE)
                text(panel, x, 5.5, f"$dW_{number}, db_{number}$", fontsize=11, color=ORANGE)
        for k, name in enumerate(names[1:4], 1):
            text(panel, 1 + 5 * k, 4.6, f"$d{name}$", fontsize=11, color=ORANGE)
        text(panel, 21, 4.6, "$1$", fontsize=11, color=ORANGE)
        text(panel, 8.5, 0.7, "forward: values, in order", color=BLUE, fontsize=9.5)
        text(panel, 8.5, 5.5, "backward: derivatives of L, in reverse", color=ORANGE, fontsize=9.5)


def draw_dense(path: Path) -> None:
    """The three products of a dense layer, as matrices of their shapes."""
    n, f, u = 3.0, 4.5, 2.0
    products = [
        ("forward", ("x", n, f, PALE_BLUE), ("W", f, u, PALE_GREEN), ("y", n, u, PALE_BLUE)),
        ("gradient of the kernel", ("$x^T$", f, n, PALE_BLUE), ("dy", n, u, PALE_ORANGE), ("dW", f, u, PALE_ORANGE)),
        ("gradient of the input", ("dy", n, u, PALE_ORANGE), ("$W^T$", u, f, PALE_GREEN), ("dx", n, f, PALE_ORANGE)),
    ]
    sides = {n: "n", f: "f", u: "u"}
    with canvas(path, 44, 7.6) as panel:
        x = 1.4
        for name, *matrices in products:
            start = x
            for sign, (label, rows, columns, colour) in zip(("", "@", "="), matrices, strict=True):
                if sign:
                    text(panel, x + 0.75, 4.4, sign, fontsize=11)
                    x += 1.75
                box(panel, x, 4.4 - rows / 2, columns, rows, colour)
                text(panel, x + columns / 2, 4.4, label, fontsize=11)
                text(panel, x + columns / 2, 4.4 + rows / 2 + 0.45, sides[columns], fontsize=8, color=MUTED)
                text(panel, x - 0.32, 4.4 - rows / 2 + 0.35, sides[rows], fontsize=8, color=MUTED)
                x += columns
            text(panel, (start + x) / 2, 0.9, name, fontsize=10, fontweight="bold")
            x += 2.3


def draw_convolution(path: Path) -> None:
    """A kernel on two places of an image."""
    y = plane(run(Conv2D(1, padding="valid", use_bias=False), plane(IMAGE), {"kernel": KERNEL[:, :, None, None]}))
    with canvas(path, 32, 6.2) as panel:
        for x, (a, b) in ((2.3, (0, 0)), (18.3, (1, 1))):
            colours = np.full(IMAGE.shape, PAPER, dtype=object)
            colours[a : a + 3, b : b + 3] = PALE_BLUE
            cells(panel, IMAGE, x, 1.2, colours)
            text(panel, x + 4.6, 3.2, "$\\star$", fontsize=15)
            cells(panel, KERNEL, x + 5.2, 1.7, PALE_GREEN)
            text(panel, x + 8.9, 3.2, "=", fontsize=13)
            chosen = np.full(y.shape, PAPER, dtype=object)
            chosen[a, b] = PALE_ORANGE
            cells(panel, y, x + 9.6, 2.2, chosen)
            for at, name in ((2, "image x"), (6.7, "kernel W"), (10.6, "output y")):
                text(panel, x + at, 0.6, name, color=MUTED)
            terms = " + ".join(  # what is 0 is left out
                f"{IMAGE[a + i, b + j]:g}·{KERNEL[i, j]:g}".replace("-", MINUS)
                for i, j in np.ndindex(3, 3)
                if KERNEL[i, j] and IMAGE[a + i, b + j]
            )
            text(panel, x + 5.8, 5.75, f"y[{a}, {b}] = {terms} = {y[a, b]:g}".replace("-", MINUS), fontsize=9)


def draw_im2col(path: Path) -> None:
    """The same convolution as a product of a matrix of windows and a vector."""
    windows = np.lib.stride_tricks.sliding_window_view(IMAGE, (3, 3)).reshape(4, 9)
    product = (windows @ KERNEL.reshape(9, 1)).reshape(4, 1)
    hues = [PALE_BLUE, PALE_ORANGE, PALE_GREEN, "#e9ddf9"]
    with canvas(path, 24, 10.6, 8) as panel:
        text(panel, 2.3, 0.6, "image, and the window of y[1, 0]", color=MUTED)
        colours = np.full(IMAGE.shape, PAPER, dtype=object)
        colours[1:4, 0:3] = hues[2]
        cells(panel, IMAGE, 0.3, 1.2, colours)
        text(panel, 11.2, 2.6, "one row for each window", color=MUTED)
        cells(panel, windows, 6.7, 3.2, np.repeat(np.array(hues, dtype=object)[:, None], 9, axis=1))
        for row, name in enumerate(("y[0, 0]", "y[0, 1]", "y[1, 0]", "y[1, 1]")):
            text(panel, 6.4, 3.7 + row, name, ha="right", fontsize=8, color=MUTED)
        text(panel, 16.4, 5.2, "@", fontsize=12)
        cells(panel, KERNEL.reshape(9, 1), 17.2, 0.9, PALE_GREEN)
        text(panel, 17.7, 10.25, "kernel", color=MUTED)
        text(panel, 19.1, 5.2, "=", fontsize=13)
        cells(panel, product, 19.9, 3.2, np.array(hues, dtype=object)[:, None])
        text(panel, 20.4, 7.6, "output", color=MUTED)
        text(panel, 11.2, 7.6, "each column: one place in the kernel", color=MUTED)


def draw_backward(path: Path) -> None:
    """The gradient by the image: the upstream gradient within zeros, and the kernel turned around."""
    layer, p = Conv2D(1, padding="valid", use_bias=False), {"kernel": KERNEL[:, :, None, None]}
    _, dx, g = run(layer, plane(IMAGE), p, plane(UPSTREAM))
    framed = np.pad(UPSTREAM, 2)
    with canvas(path, 34, 15.2) as panel:
        text(panel, 0.3, 0.6, "dx: a full correlation of dy with the kernel rotated by 180°", ha="left",
             fontweight="bold", fontsize=10)  # fmt: skip
        colours = np.where(np.pad(np.ones((2, 2)), 2) > 0, PALE_ORANGE, "#f3f4f6").astype(object)
        cells(panel, framed, 0.3, 2.0, colours)
        box(panel, 2.3, 3.0, 3, 3, "none", edgecolor=BLUE, linewidth=2.2)
        text(panel, 3.3, 1.5, "dy (2, 2) in a border of 2 zeros", color=MUTED)
        text(panel, 7.1, 5.0, "$\\star$", fontsize=15)
        cells(panel, KERNEL[::-1, ::-1], 8.0, 3.5, PALE_GREEN)
        text(panel, 9.5, 3.0, "rotated kernel", color=MUTED)
        text(panel, 11.8, 5.0, "=", fontsize=13)
        chosen = np.full((4, 4), PAPER, dtype=object)
        chosen[1, 2] = PALE_BLUE
        cells(panel, plane(dx), 12.6, 3.0, chosen)
        text(panel, 14.6, 2.5, "dx (4, 4)", color=MUTED)
        text(panel, 19.3, 2.6, "Reason: four windows read the pixel x[1, 2]", ha="left", fontsize=9)
        readers = [(a, b) for a, b in np.ndindex(2, 2) if 0 <= 1 - a < 3 and 0 <= 2 - b < 3]
        for line, (a, b) in enumerate(readers):
            i, j = 1 - a, 2 - b
            factors = f"{UPSTREAM[a, b]:g} · {KERNEL[i, j]:g}"
            words = f"y[{a}, {b}] reads it with W[{i}, {j}] = {KERNEL[i, j]:g}, and adds {factors}"
            text(panel, 19.3, 3.8 + 1.0 * line, words.replace("-", MINUS), ha="left", fontsize=9)
        total = plane(dx)[1, 2]
        text(panel, 19.3, 3.8 + len(readers), f"dx[1, 2] = {total:g}".replace("-", MINUS), ha="left", fontweight="bold")
        text(panel, 0.3, 9.2, "dW: a correlation of the image with dy", ha="left", fontweight="bold", fontsize=10)
        colours = np.full(IMAGE.shape, PAPER, dtype=object)
        colours[0:2, 1:3] = PALE_BLUE
        cells(panel, IMAGE, 0.3, 10.6, colours)
        text(panel, 2.3, 10.1, "image x", color=MUTED)
        text(panel, 5.2, 12.6, "$\\star$", fontsize=15)
        cells(panel, UPSTREAM, 6.0, 11.6, PALE_ORANGE)
        text(panel, 7.0, 11.1, "dy", color=MUTED)
        text(panel, 8.8, 12.6, "=", fontsize=13)
        chosen = np.full((3, 3), PAPER, dtype=object)
        chosen[0, 1] = PALE_BLUE
        dw = g["kernel"][:, :, 0, 0]
        cells(panel, dw, 9.6, 11.1, chosen)
        text(panel, 11.1, 10.6, "dW (3, 3)", color=MUTED)
        text(panel, 14.0, 12.6, "Reason: W[0, 1] is multiplied by x[a, b + 1] for each y[a, b]", ha="left")


def draw_strides(path: Path) -> None:
    """What a kernel of three weights reads of a signal of seven samples."""
    rows = [
        ("strides=1, padding=0, dilation=1", 1, 0, 1),
        ("padding=1", 1, 1, 1),
        ("strides=2", 2, 0, 1),
        ("dilation=2", 1, 0, 2),
    ]
    hues = [BLUE, ORANGE, GREEN, PURPLE, "#b3261e", "#0e7490", INK]
    with canvas(path, 40, 9.4) as panel:
        for k, (name, s, p, d) in enumerate(rows):
            left = 0.6 + 10 * k
            text(panel, left + 4.3, 0.7, name, fontsize=9.5, fontweight="bold")
            count = (7 + 2 * p - d * 2 - 1) // s + 1
            for u in range(-p, 7 + p):
                inside = 0 <= u < 7
                box(panel, left + u + 1, 7.3, 0.86, 0.86, PALE_BLUE if inside else "#f3f4f6")
                text(panel, left + u + 1.43, 7.73, f"x{u}" if inside else "0", fontsize=7.5)
            for a in range(count):
                centre = left + 1.43 + s * a - p + d
                box(panel, centre - 0.43, 2.0, 0.86, 0.86, PALE_ORANGE)
                text(panel, centre, 2.43, f"y{a}", fontsize=7.5)
                for i in range(3):
                    end = left + 1.43 + s * a + d * i - p
                    panel.plot([centre, end], [2.9, 7.25], color=hues[a], linewidth=1.1)
            text(panel, left + 4.3, 9.0, f"{count} outputs", color=MUTED)


def draw_depthwise(path: Path) -> None:
    """Which channels each filter sees."""
    with canvas(path, 30, 7.2) as panel:
        kinds = [("Conv2D(6)", 1), ("Conv2D(6, groups=3)", 3), ("DepthwiseConv2D()", 6)]
        for k, (name, groups) in enumerate(kinds):
            left = 1.5 + 10 * k
            text(panel, left + 3, 0.6, name, fontsize=10, family="monospace")
            for c, f in np.ndindex(6, 6):
                seen = c * groups // 6 == f * groups // 6
                box(panel, left + f, 1.2 + c * 0.8, 1, 0.8, BLUE if seen else "#f3f4f6", edgecolor=PAPER)
            text(panel, left + 3, 6.4, "filters", color=MUTED)
            text(panel, left - 0.4, 3.6, "channels", color=MUTED, rotation=90)
            text(panel, left + 3, 6.95, f"{36 // groups} small kernels of kh {TIMES} kw weights", fontsize=8.5)


def draw_winograd(path: Path) -> None:
    """How tiles lie on an image, and what the fast algorithm costs in digits."""
    rng = np.random.default_rng(0)
    with figure(path, 1, 2, (10, 3.6)) as axes:
        panel = axes[0, 0]
        panel.axis("off")
        panel.set(xlim=(-0.3, 12.6), ylim=(6.6, -1.0), aspect="equal")
        for i, j in np.ndindex(6, 6):
            box(panel, j, i, 1, 1, "#f3f4f6", edgecolor=PAPER)
        for i, j in np.ndindex(2, 2):
            colour = (BLUE, ORANGE, GREEN, PURPLE)[2 * i + j]
            left, top = 2 * j + 0.06 + 0.16 * i, 2 * i + 0.06 + 0.16 * j  # so that no edge hides another
            box(panel, left, top, 3.72, 3.72, "none", edgecolor=colour, linewidth=2)
            for row, column in np.ndindex(2, 2):
                box(panel, 8 + 2 * j + column, 1 + 2 * i + row, 1, 1, colour, alpha=0.3, edgecolor=PAPER)
        text(panel, 3, -0.5, f"each tile reads 4 {TIMES} 4 pixels", color=MUTED)
        text(panel, 10, 0.4, f"and gives 2 {TIMES} 2 of the 4 {TIMES} 4 outputs", color=MUTED)
        arrow(panel, (6.3, 3), (7.7, 3))
        title(panel, f"F(2 {TIMES} 2, 3 {TIMES} 3)")
        panel = axes[0, 1]
        for k, colour in ((3, BLUE), (5, ORANGE)):
            points, errors = [], []
            for m in range(2, 10 - k + 2):
                at, g, bt = (a.astype(np.float32) for a in transforms(m, k))
                d, w = (rng.normal(size=(2000, size)).astype(np.float32) for size in (m + k - 1, k))
                fast = ((w @ g.T) * (d @ bt.T)) @ at.T
                exact = np.stack([np.sum(d[:, a : a + k].astype(float) * w, axis=1) for a in range(m)], axis=1)
                points.append(m)
                errors.append(np.sqrt(np.mean((fast - exact) ** 2) / np.mean(exact**2)))
            panel.semilogy(points, errors, "o-", color=colour, linewidth=1.6, label=f"F(m, {k}), float32")
        panel.minorticks_off()
        panel.set_xticks(range(2, 9))
        panel.set_yticks([1e-7, 3e-7, 1e-6], ["1e-7", "3e-7", "1e-6"])
        panel.set_xlabel("m: outputs of a tile", fontsize=8.5, color=MUTED)
        panel.set_ylabel("relative error, root mean square", fontsize=8.5, color=MUTED)
        panel.legend(frameon=False, fontsize=9, labelcolor=INK)
        title(panel, "Larger tiles, fewer digits")


def draw_pooling(path: Path) -> None:
    """Where the gradient of a maximum and of a mean go."""
    x = np.array([[1, 4, 2, 2], [3, 0, 2, 1], [0, 1, 5, 3], [1, 1, 4, 6]], float)
    dy = np.array([[1, 2], [4, 8]], float)
    with canvas(path, 34, 12.6) as panel:
        for top, name, layer in ((0, "MaxPool2D(2)", MaxPool2D()), (6.4, "AvgPool2D(2)", AvgPool2D())):
            y, dx, _ = run(layer, plane(x), {}, plane(dy))
            won = np.where(plane(dx) != 0, PALE_ORANGE, PAPER).astype(object)
            text(panel, 0.3, top + 0.6, name, ha="left", family="monospace", fontsize=10)
            cells(panel, x, 0.3, top + 1.6, won if top == 0 else PALE_ORANGE)
            text(panel, 2.3, top + 1.2, "x", color=MUTED)
            arrow(panel, (4.8, top + 3.6), (6.8, top + 3.6), BLUE)
            cells(panel, plane(y), 7.3, top + 2.6, PALE_BLUE, fontsize=7.5)
            text(panel, 8.3, top + 2.2, "y", color=MUTED)
            cells(panel, dy, 14.3, top + 2.6, "#f3f4f6")
            text(panel, 15.3, top + 2.2, "dy", color=MUTED)
            arrow(panel, (16.8, top + 3.6), (18.8, top + 3.6), ORANGE)
            cells(panel, plane(dx), 19.3, top + 1.6, won, fontsize=7.5)
            text(panel, 21.3, top + 1.2, "dx", color=MUTED)
            for corner_x, corner_y in ((0.3, top + 1.6), (19.3, top + 1.6)):
                for i, j in np.ndindex(2, 2):
                    box(panel, corner_x + 2 * j, corner_y + 2 * i, 2, 2, "none", edgecolor=INK, linewidth=1.6)
        of_max = (
            "The first maximum gets all of dy.",
            "Ties go to the first position:",
            "the first 2 and the first 1.",
        )
        of_mean = "Every pixel of a window", "gets a quarter of dy."
        for top, lines in ((2.9, of_max), (9.3, of_mean)):
            for k, line in enumerate(lines):
                text(panel, 24.3, top + 0.9 * k, line, ha="left", fontsize=9)


def draw_moving(path: Path) -> None:
    """A residual block in both directions, and the matrix of a bilinear enlargement."""
    matrix = weights(4, 2, float)
    with canvas(path, 36, 10.4) as panel:
        for left, names, colour, words in (
            (0.8, ("$x$", "$y$"), BLUE, "forward: copied, then added"),
            (12.2, ("$dx$", "$dy$"), ORANGE, "backward: copied, then added"),
        ):
            text(panel, left + 4.6, 0.7, words, fontweight="bold", fontsize=9.5)
            forward = colour == BLUE
            box(panel, left, 4.4, 1.5, 1.5, PALE_BLUE if forward else PALE_ORANGE)
            text(panel, left + 0.75, 5.15, names[0], fontsize=12)
            box(panel, left + 8.0, 4.4, 1.5, 1.5, PALE_BLUE if forward else PALE_ORANGE)
            text(panel, left + 8.75, 5.15, names[1], fontsize=12)
            box(panel, left + 3.5, 2.3, 2.6, 1.3, "#f3f4f6")
            text(panel, left + 4.8, 2.95, "layers", fontweight="bold")
            box(panel, left + 3.5, 6.7, 2.6, 1.3, "#f3f4f6")
            text(panel, left + 4.8, 7.35, "shortcut", fontweight="bold")
            for y, near in ((2.95, 4.4), (7.35, 5.9)):
                ends = [((left + 1.2, near), (left + 3.45, y)), ((left + 6.15, y), (left + 8.3, near))]
                for start, end in ends if forward else [(b, a) for a, b in ends]:
                    arrow(panel, start, end, colour)
        text(panel, 29.7, 0.7, "UpSample2D((1, 2), 'bilinear')", family="monospace", fontsize=9)
        shades = np.array([[PALE_BLUE if value else PAPER for value in row] for row in matrix], dtype=object)
        cells(panel, matrix, 26.6, 1.4, shades, fontsize=7.5)
        text(panel, 31.0, 5.4, "@", fontsize=11)
        cells(panel, np.array([[f"$x_{k}$"] for k in range(4)], dtype=object), 31.5, 3.4)
        text(panel, 33.1, 5.4, "=", fontsize=12)
        cells(panel, np.array([[f"$y_{k}$"] for k in range(8)], dtype=object), 33.7, 1.4)
        text(panel, 30.6, 9.9, "backward: its transpose, dx = $A^T$ dy", color=ORANGE)


def draw_gates(path: Path) -> None:
    """The gates of the activations that have one, and how slopes multiply through layers."""
    from skcnn.layers import GELU, HardSwish, Mish, ReLU, Sigmoid, SiLU, Tanh

    x = np.linspace(-5, 5, 1000)  # without 0, where y / x is not a number
    with figure(path, 1, 2, (10, 3.5)) as axes:
        gated = [(ReLU(), INK), (SiLU(), BLUE), (GELU(), ORANGE), (HardSwish(), GREEN), (Mish(), PURPLE)]
        for layer, colour in gated:
            axes[0, 0].plot(x, activation_curve(layer, x)[0] / x, color=colour, linewidth=1.6, label=repr(layer))
        axes[0, 0].legend(frameon=False, fontsize=8.5, labelcolor=INK)
        axes[0, 0].set_xlabel("x", fontsize=8.5, color=MUTED)
        title(axes[0, 0], "The gate, y / x")
        rng = np.random.default_rng(0)
        for layer, colour, gain in ((ReLU(), INK, 2), (SiLU(), BLUE, 2), (Tanh(), GREEN, 1), (Sigmoid(), ORANGE, 1)):
            signal, slopes, sizes = rng.normal(size=(400, 128)), [], [1.0]
            kernels = [rng.normal(scale=np.sqrt(gain / 128), size=(128, 128)) for _ in range(20)]
            for kernel in kernels:
                z = signal @ kernel
                value, slope = activation_curve(layer, z.ravel())
                signal = value.reshape(z.shape)
                slopes.append(slope.reshape(z.shape))
            gradient = rng.normal(size=(400, 128))
            for kernel, slope in zip(kernels[::-1], slopes[::-1], strict=True):
                gradient = (gradient * slope) @ kernel.T
                sizes.append(np.sqrt(np.mean(gradient**2)))
            label = f"{layer!r}, variance {gain} / fan_in"
            axes[0, 1].semilogy(range(21), sizes, color=colour, linewidth=1.7, label=label)
        axes[0, 1].legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower left")
        axes[0, 1].set_xticks([0, 5, 10, 15, 20])
        axes[0, 1].set_xlabel("layers, from the loss downwards", fontsize=8.5, color=MUTED)
        title(axes[0, 1], "Size of the gradient")


def draw_batch_norm(path: Path) -> None:
    """The graph of batch norm: what reads what, and the derivatives that come back."""
    with canvas(path, 30, 11.0) as panel:
        nodes = {
            "x": (2, 5.4, "$x$"),
            "mean": (7.5, 8.4, r"$\mu = \frac{1}{N}\sum x$"),
            "centred": (12.0, 5.4, r"$x - \mu$"),
            "variance": (16.0, 8.4, r"$v = \frac{1}{N}\sum (x - \mu)^2$"),
            "m": (21.0, 5.4, r"$m = \frac{x - \mu}{\sqrt{v + \epsilon}}$"),
            "y": (27.5, 5.4, r"$y = \gamma m + \beta$"),
        }
        halves = {"x": 0.9, "mean": 2.0, "centred": 1.4, "variance": 2.9, "m": 2.2, "y": 2.1}
        for name, (x, y, words) in nodes.items():
            box(panel, x - halves[name], y - 0.95, 2 * halves[name], 1.9, PALE_BLUE)
            text(panel, x, y, words, fontsize=11)
        paths = [
            ((2.9, 5.4), (10.6, 5.4)),
            ((2.6, 6.35), (5.5, 8.0)),
            ((9.0, 7.45), (11.2, 6.35)),
            ((13.0, 6.35), (14.8, 7.45)),
            ((13.4, 5.4), (18.8, 5.4)),
            ((17.8, 7.45), (19.8, 6.35)),
            ((23.2, 5.4), (25.4, 5.4)),
        ]
        for start, end in paths:
            arrow(panel, start, end, BLUE)
        arrow(panel, (27.5, 4.0), (27.5, 4.45), ORANGE)
        text(panel, 27.5, 3.5, "$dy$", color=ORANGE, fontsize=11)
        notes = [
            (22.6, 3.7, r"$dm = \gamma\, dy$"),
            (16.1, 4.6, r"$dm / \sigma$"),
            (16.0, 10.2, r"$dv = -\frac{1}{2\sigma^2}\sum dm\, m$"),
            (7.5, 10.2, r"$d\mu = -\frac{1}{\sigma}\sum dm$"),
            (6.7, 4.6, r"$dx = \frac{1}{\sigma}\,(dm - \overline{dm} - m\, \overline{dm\, m})$"),
        ]
        for x, y, words in notes:
            text(panel, x, y, words, color=ORANGE, fontsize=11)
        text(panel, 0.6, 0.8, "blue: forward.  orange: the derivative of the loss that comes back."
             r"  $\sigma = \sqrt{v + \epsilon}$, a bar is a mean", ha="left", color=MUTED, fontsize=9.5)  # fmt: skip
        text(panel, 15, 2.2, "x reaches y in three ways: itself, through the mean, and through the variance",
             fontsize=10)  # fmt: skip


def loss_and_slope(loss: Loss, raw: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The losses (n,) of raw predictions (n, k), and their derivatives (n, k)."""
    tape = Tape(np.float64, Batch(len(raw)))
    with tape.step("loss"):
        values, slope = loss.record(tape, raw, target)
    tape.replay(0)
    return values.copy(), slope.copy()


def draw_losses(path: Path) -> None:
    """The gradient of log loss is p minus y; how strongly each loss pulls."""
    z = np.array([[1.0, 2.5, -0.5, 0.5]])
    p = LogLoss().probabilities(z, exclusive=True)[0]
    _, slope = loss_and_slope(LogLoss(), z, np.array([0]))
    with figure(path, 1, 2, (10, 3.5)) as axes:
        place = np.arange(4)
        truth = np.eye(4)[0]
        for shift, values, colour, label in (
            (-0.27, p, BLUE, "p = softmax(z)"),
            (0.0, truth, GREEN, "y"),
            (0.27, slope[0], ORANGE, f"gradient = p {MINUS} y"),
        ):
            axes[0, 0].bar(place + shift, values, 0.25, color=colour, label=label)
        axes[0, 0].set_axisbelow(True)
        axes[0, 0].axhline(0, color=MUTED, linewidth=0.7)
        axes[0, 0].set_xticks(place, [f"class {k}\nz = {value:g}".replace("-", MINUS) for k, value in enumerate(z[0])])
        axes[0, 0].set_ylim(-1.0, 1.2)
        axes[0, 0].legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right")
        title(axes[0, 0], "One image of class 0")
        raw = np.linspace(-4, 4, 801)[:, None]
        for loss, colour in ((LogLoss(), BLUE), (Focal(), GREEN), (Hinge(), ORANGE), (SquaredHinge(), PURPLE)):
            axes[0, 1].plot(raw, -loss_and_slope(loss, raw, np.ones_like(raw))[1], color=colour, linewidth=1.8,
                            label=repr(loss))  # fmt: skip
        axes[0, 1].set_ylim(-0.1, 4)
        axes[0, 1].set_xlabel("raw prediction z, where the truth is 1", fontsize=8.5, color=MUTED)
        axes[0, 1].legend(frameon=False, fontsize=8.5, labelcolor=INK)
        title(axes[0, 1], "Size of the gradient")


def path_of(optimizer: Optimizer, slope: Callable[[np.ndarray], np.ndarray], start: Sequence[float],
            learning_rate: float, steps: int) -> np.ndarray:  # fmt: skip
    """The weights (steps + 1, size) on the way of an optimizer down a slope."""
    w, g = np.array(start, float), np.zeros(len(start))
    slots = {name: np.zeros(w.shape) for name in optimizer.slots}
    scalars = {name: np.zeros(()) for name in optimizer.scalars}
    tape = Tape(np.float64, Batch(1))
    with tape.step("optimizer"):
        optimizer.record(tape, w, g, slots, scalars)
    found = [w.copy()]
    for step in range(1, steps + 1):
        g[...] = slope(w)
        for name, value in zip(optimizer.scalars, optimizer.tick(step, learning_rate), strict=True):
            scalars[name][...] = value
        tape.replay(0)
        found.append(w.copy())
    return np.array(found)


def draw_optimizers(path: Path) -> None:
    """Paths down a bowl that is twenty times as steep in one direction as in the other."""
    curvature = np.array([1.0, 20.0])
    shown = [
        (SGD(0.0, False), 0.09, "SGD(0.0, nesterov=False)"),
        (SGD(0.8, False), 0.03, "SGD(0.8, nesterov=False)"),
        (SGD(0.8), 0.03, "SGD(0.8)"),
        (AdaGrad(), 0.8, "AdaGrad()"),
        (RMSprop(), 0.12, "RMSprop()"),
        (Adam(), 0.25, "Adam()"),
        (Adam(beta_1=0.8, beta_2=0.99), 0.25, "Adam(0.8, beta_2=0.99)"),
        (Lion(), 0.12, "Lion()"),
    ]
    x, y = np.meshgrid(np.linspace(-4.6, 1.8, 57), np.linspace(-1.6, 1.6, 33))
    height = 0.5 * (curvature[0] * x**2 + curvature[1] * y**2)
    with figure(path, 2, 4, (10, 4.0)) as axes:
        for panel, (optimizer, rate, name) in zip(axes.flat, shown, strict=True):
            panel.grid(False)
            panel.contour(x, y, height, levels=np.geomspace(0.1, 30, 9), colors=[GRID], linewidths=0.9)
            way = path_of(optimizer, lambda w: curvature * w, (-4.0, 1.1), rate, 40)
            panel.plot(*way.T, "o-", color=BLUE, markersize=2.2, linewidth=1.0)
            panel.plot(0, 0, "+", color=ORANGE, markersize=9, markeredgewidth=1.8)
            panel.set(xlim=(-4.6, 1.8), ylim=(-1.6, 1.6), xticks=[], yticks=[])
            panel.set_title(f"{name}\nλ = {rate:g}", fontsize=8.5, color=INK, loc="left")


def draw_initialization(path: Path) -> None:
    """The size of signal and gradient through thirty dense layers with ReLU."""
    with figure(path, 1, 2, (10, 3.4)) as axes:
        for initializer, colour in ((He(), BLUE), (LeCun(), ORANGE), (Glorot(), GREEN)):
            rng = np.random.default_rng(0)
            widths = [128, 256] * 15 + [128]
            x = rng.normal(size=(300, widths[0]))
            forward, layers = [1.0], []
            for fan_in, fan_out in pairwise(widths):
                kernel = initializer.sample(rng, (fan_in, fan_out), fan_in, fan_out)
                z = x @ kernel
                layers.append((kernel, z > 0))
                x = np.maximum(z, 0)
                forward.append(np.sqrt(np.mean(x**2)))
            gradient = rng.normal(size=x.shape)
            backward = [1.0]
            for kernel, positive in layers[::-1]:
                gradient = (gradient * positive) @ kernel.T
                backward.append(np.sqrt(np.mean(gradient**2)))
            axes[0, 0].semilogy(forward, color=colour, linewidth=1.7, label=repr(initializer))
            axes[0, 1].semilogy(backward, color=colour, linewidth=1.7, label=repr(initializer))
        for panel, name, label in ((axes[0, 0], "Forward: outputs", "layer"),
                                   (axes[0, 1], "Backward: gradients", "layers below the loss")):  # fmt: skip
            title(panel, name)
            panel.set_ylim(1e-6, 1e2)
            panel.minorticks_off()
            panel.set_xlabel(label, fontsize=8.5, color=MUTED)
            panel.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower left")
        axes[0, 0].set_ylabel("root mean square", fontsize=8.5, color=MUTED)


def draw_receptive(path: Path) -> None:
    """What one number reads through four layers, in one dimension."""
    layers = [
        ("convolution, k = 3", 3, 1, 1),
        ("pooling, k = s = 2", 2, 2, 0),
        ("convolution, k = 3", 3, 1, 1),
        ("convolution, k = 3, d = 2", 3, 1, 2),
    ]
    dilations = [1, 1, 1, 2]
    sizes = [20]
    for _, k, s, p in layers:
        d = dilations[len(sizes) - 1]
        sizes.append((sizes[-1] + 2 * p - d * (k - 1) - 1) // s + 1)
    jumps = [1, 1, 2, 2, 2]
    offsets = [0.0, 0.0, 0.5, 0.5, 0.5]
    with canvas(path, 28, 11.0) as panel:
        lit = {4: {5}}
        for level in range(4, 0, -1):
            _, k, s, p = layers[level - 1]
            d = dilations[level - 1]
            below = {s * a + d * i - p for a in lit[level] for i in range(k)}
            lit[level - 1] = {u for u in below if 0 <= u < sizes[level - 1]}
        for level in range(5):
            y = 9.2 - 2.1 * level
            for u in range(sizes[level]):
                x = 7.2 + jumps[level] * u + offsets[level]
                seen = u in lit[level]
                colour = (PALE_ORANGE if level == 4 else PALE_BLUE) if seen else "#f3f4f6"
                box(panel, x, y, 0.86, 0.86, colour)
                if level and seen:
                    _, k, s, p = layers[level - 1]
                    for i in range(k):
                        v = s * u + dilations[level - 1] * i - p
                        if 0 <= v < sizes[level - 1]:
                            end = 7.2 + jumps[level - 1] * v + offsets[level - 1] + 0.43
                            panel.plot([x + 0.43, end], [y + 0.88, y + 2.08], color=BLUE, linewidth=0.8, alpha=0.7)
            name = layers[level - 1][0] if level else "pixels"
            text(panel, 6.8, y + 0.43, name, ha="right", fontsize=9)
        text(panel, 17.2, 10.6, f"{len(lit[0])} pixels reach the number on top: its receptive field", color=MUTED)


def draw_regularization(path: Path) -> None:
    """A penalty, dropout, and a mean of weights."""
    rng = np.random.default_rng(1)
    with figure(path, 1, 3, (10, 3.2)) as axes:
        best, curvature = np.array([2.0, 1.0]), np.array([[1.0, 0.6], [0.6, 2.0]])
        alphas = np.concatenate([[0], np.geomspace(0.01, 100, 200)])
        way = np.array([np.linalg.solve(curvature + a * np.eye(2), curvature @ best) for a in alphas])
        x, y = np.meshgrid(np.linspace(-0.6, 3, 101), np.linspace(-0.6, 2, 101))
        moved = np.stack([x - best[0], y - best[1]], axis=-1)
        height = np.einsum("...i,ij,...j->...", moved, curvature, moved) / 2
        panel = axes[0, 0]
        panel.contour(x, y, height, levels=[0.05, 0.2, 0.5, 1, 2, 4], colors=[MUTED], linewidths=0.6)
        panel.plot(*way.T, color=BLUE, linewidth=2)
        for alpha in (0.0, 0.5, 2.0, 8.0):
            w = np.linalg.solve(curvature + alpha * np.eye(2), curvature @ best)
            panel.plot(*w, "o", color=ORANGE, markersize=5)
            beside = 5, 5 if alpha == 0 else -12
            panel.annotate(f"alpha = {alpha:g}", w, beside, textcoords="offset points", fontsize=8, color=INK)
        title(panel, "Penalty: weights move to 0")
        rate = 0.5
        panel = axes[0, 1]
        kept = (rng.uniform(size=(4000, 400)) >= rate) / (1 - rate)
        w = rng.normal(size=400) / 20
        panel.hist(kept @ w - w.sum(), 60, color=BLUE, density=True)
        panel.axvline(0, color=ORANGE, linewidth=2)
        panel.set_yticks([])
        panel.set_xlabel("sum with dropout minus sum without", fontsize=8.5, color=MUTED)
        title(panel, "Dropout: noise of mean 0")
        panel = axes[0, 2]
        w, mean, decay, steps = np.array([-2.0, 1.2]), np.zeros(2), 0.95, 150
        ways, means = [], []
        for t in range(1, steps + 1):
            w = w - 0.15 * (w * np.array([1.0, 2.0]) + rng.normal(size=2))
            mean = mean + (w - mean) * (1 - decay) / (1 - decay**t)
            ways.append(w)
            means.append(mean)
        panel.plot(*np.array(ways).T, color=MUTED, linewidth=0.7, label="weights")
        panel.plot(*np.array(means).T, color=BLUE, linewidth=2, label="moving average")
        panel.plot(0, 0, "+", color=ORANGE, markersize=11, markeredgewidth=2)
        panel.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower left")
        title(panel, "Averaging removes noise")


FIGURES: dict[str, Callable[[Path], None]] = {
    "training": draw_training,
    "dense": draw_dense,
    "convolution": draw_convolution,
    "strides": draw_strides,
    "im2col": draw_im2col,
    "backward": draw_backward,
    "winograd": draw_winograd,
    "depthwise": draw_depthwise,
    "pooling": draw_pooling,
    "moving": draw_moving,
    "activations": draw_gates,
    "batch_norm": draw_batch_norm,
    "losses": draw_losses,
    "optimizers": draw_optimizers,
    "initialization": draw_initialization,
    "receptive_field": draw_receptive,
    "regularization": draw_regularization,
}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        draw(IMAGES / f"mathematics_{name}.svg")
