"""Draw the pictures of docs/results.md from the fits that benchmarks/baselines.py saved, and write its tables.

    SKCNN_DATA=folder python docs/figures_results.py results.json

Run it from the root of a checkout. It needs matplotlib, and the images for the misclassified ones. The table of a data
set is the first one after its heading.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from figures_style import BLUE, GREEN, GRID, IMAGES, INK, MUTED, ORANGE, PURPLE, figure, title

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from baselines import ERRORS, Fit, accuracy_of, read, split

from skcnn.display import MisclassifiedDisplay

PAGE = Path(__file__).parent / "results.md"
PHOTOS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HEADINGS = {"digits": "## Digits of scikit-learn\n", "mnist": "## MNIST\n", "cifar10": "## CIFAR-10\n"}
LOWEST = {"digits": 0.9, "mnist": 0.97, "cifar10": 0.4}  # accuracy at which the axis begins


def table(fits: list[Fit]) -> str:
    """The classifiers of a data set, the most accurate first."""
    contenders: dict[tuple[str, int], list[Fit]] = {}
    for fit in fits:
        contenders.setdefault((fit.contender, fit.epochs), []).append(fit)
    rows: list[tuple[float, str]] = []
    for (_, epochs), of_seeds in contenders.items():
        mean, seconds = np.mean([fit.accuracy for fit in of_seeds]), min(fit.seconds for fit in of_seeds)
        cells = [named(of_seeds[0]), f"{of_seeds[0].rows:,}", str(epochs or ""), accuracy_of(of_seeds)]
        rows.append((float(mean), " | ".join([*cells, f"{seconds:.0f}" if seconds > 10 else f"{seconds:.2g}"])))
    lines = [f"| {row} |" for _, row in sorted(rows, reverse=True)]
    return "\n".join(["| classifier | training images | epochs | accuracy | seconds |", "|---" * 5 + "|", *lines, ""])


def named(fit: Fit) -> str:
    """The classifier in Markdown. The networks of skcnn are in bold type."""
    name = fit.contender.split(",")[0]  # the number of training images has its own column
    match name:
        case "PyTorch":
            return f"{'small network' if fit.data == 'cifar10' else 'default network without batch norm'}, in PyTorch"
        case "no batch norm":
            return "**default network without batch norm**"
        case "record":
            return "**published recipe**"
    return f"**{name} network**" if fit.curve else f"`{name}`"


def write_tables(fits: list[Fit], page: str) -> str:
    """The page, with the table of each data set."""
    for data, heading in HEADINGS.items():
        of_data = [fit for fit in fits if fit.data == data]
        if of_data:
            start = page.index("\n|", page.index(heading)) + 1
            rest = re.sub(r"\A(\|.*\n)+", "", page[start:])
            page = page[:start] + table(of_data) + rest
    return page


def draw_curves(fits: list[Fit], path: Path, lowest: float) -> None:
    """Training loss and test accuracy of each epoch, a line for each seed."""
    names = list(dict.fromkeys(fit.contender for fit in fits))
    with figure(path, 1, 2, (8.6, 3.2)) as axes:
        left, right = axes[0]
        for fit in fits:
            color = (BLUE, ORANGE, GREEN, PURPLE)[names.index(fit.contender)]
            epochs = np.arange(1, len(fit.loss) + 1)
            label = fit.contender if fit.seed == 0 else None
            left.plot(epochs, fit.loss, color=color, linewidth=1.4, label=label)
            right.plot(epochs, fit.curve, color=color, linewidth=1.4)
        left.set_ylim(0, None)
        right.set_ylim(lowest, 1)
        for panel, text in ((left, "Training loss"), (right, "Accuracy on the test images")):
            title(panel, text)
            panel.set_xlabel("epoch", fontsize=9, color=MUTED)
            panel.xaxis.get_major_locator().set_params(integer=True)
        left.legend(frameon=False, fontsize=8)


def draw_confusion(fit: Fit, path: Path, names: tuple[str, ...]) -> None:
    """Numbers of test images, for each pair of a class and a prediction."""
    counts = np.array(fit.confusion)
    with figure(path, 1, 1, (5.4, 4.9)) as axes:
        panel = axes[0, 0]
        panel.grid(visible=False)
        panel.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if row == column else INK if count else GRID
            panel.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
        slanted = {"rotation": 45, "ha": "right"} if len(names[0]) > 1 else {}
        panel.set_xticks(range(len(names)), names, **slanted)
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel("predicted class", fontsize=9, color=MUTED)
        panel.set_ylabel("true class", fontsize=9, color=MUTED)


def draw_errors(fit: Fit, path: Path, names: tuple[str, ...]) -> None:
    """Misclassified images with the highest confidence."""
    import matplotlib

    matplotlib.use("Agg")
    _, _, X, y = split(fit.data)
    rows, predicted, certainty = (np.array(column) for column in zip(*fit.errors, strict=True))
    images, classes = X[rows].reshape(len(rows), *X.shape[1:3], -1), np.array(names)
    truth = classes[y[rows].astype(int)]
    display = MisclassifiedDisplay(images, truth, classes[predicted], certainty).plot()
    wrong = len(y) - int(np.trace(fit.confusion))
    display.figure_.suptitle(
        f"{wrong:,} of {len(y):,} images misclassified, the {len(rows)} most confident", fontsize=10
    )
    display.figure_.savefig(path, dpi=110)


def draw(results: Path, folder: Path) -> None:
    """Draw the curves of the networks of each data set, and the errors of the best one's first seed."""
    networks: dict[str, list[Fit]] = {}
    for fit in read(results):
        if fit.curve:
            networks.setdefault(fit.data, []).append(fit)
    for data, fits in networks.items():
        names = PHOTOS if data == "cifar10" else tuple(map(str, range(len(fits[0].confusion))))
        draw_curves(fits, folder / f"results_{data}.svg", LOWEST.get(data, 0))
        best = max((fit for fit in fits if fit.seed == 0), key=lambda fit: fit.accuracy)
        draw_confusion(best, folder / f"results_{data}_confusion.svg", names)
        if len(best.errors) == ERRORS:
            draw_errors(best, folder / f"results_{data}_errors.png", names)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), IMAGES)
    PAGE.write_text(write_tables(read(Path(sys.argv[1])), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
