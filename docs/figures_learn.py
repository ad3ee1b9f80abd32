"""Draw the figures of docs/learn: `python docs/figures_learn.py [name ...]` from the root of a checkout.

Curves come from fits of scikit-learn's digits that are made here, with three seeds each. The accuracies on held-out
digits are printed: the mean over the seeds and half the range. Without a name, all figures are drawn in a few minutes.
The figure of rates is drawn from the table on its page. docs/figures_steps.py draws the convolution by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from figures_style import BLUE, GRID, INK, MUTED, ORANGE, PURPLE, figure, title
from sklearn.datasets import load_digits

from skcnn import CNNClassifier
from skcnn.augmentation import RandomAffine
from skcnn.features import activations
from skcnn.initializers import Constant, TruncatedNormal
from skcnn.layers import BatchNorm, Conv2D, Flatten, Layer, MaxPool2D, ReLU
from skcnn.optimizers import SGD
from skcnn.testing import run

IMAGES = Path(__file__).parent / "images"
EDGES = {
    "vertical edges": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float),
    "horizontal edges": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], float),
    "any edge": np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], float),
    "blur": np.full((3, 3), 1 / 9),
}
DIGIT = 10  # of scikit-learn's digits: a zero
SEEDS = (0, 1, 2)


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8) and their classes."""
    bunch = load_digits()
    return bunch.images, bunch.target


def enlarged() -> np.ndarray:
    """The digits with 16 x 16 pixels: each pixel four times."""
    return digits()[0].repeat(2, axis=1).repeat(2, axis=2)


def shades(panel: Any, values: np.ndarray, signed: bool = False) -> None:
    """A matrix as squares in shades of grey, or from blue for negative to red for positive numbers."""
    bound = np.abs(values).max() or 1.0
    low = -bound if signed else values.min()
    panel.imshow(values, cmap="RdBu_r" if signed else "gray_r", vmin=low, vmax=bound, interpolation="none")
    panel.set(xticks=[], yticks=[])
    panel.grid(False)


def draw_edges(path: Path) -> None:
    """A digit, and what four kernels make of it."""
    image = enlarged()[DIGIT]
    with figure(path, 2, 5, (10, 4.2)) as axes:
        axes[0, 0].axis("off")
        axes[1, 0].set_ylabel("image", fontsize=9, color=MUTED)
        shades(axes[1, 0], image)
        for k, (name, kernel) in enumerate(EDGES.items(), 1):
            layer = Conv2D(1, padding="same", use_bias=False)
            found = run(layer, image[None, :, :, None], {"kernel": kernel[:, :, None, None]})[0, :, :, 0]
            shades(axes[0, k], kernel, signed=True)
            for (row, column), value in np.ndenumerate(kernel):
                color = "white" if abs(value) > 0.6 * np.abs(kernel).max() else INK
                number = Fraction(value).limit_denominator(9)
                axes[0, k].text(column, row, number, ha="center", va="center", color=color)
            title(axes[0, k], name)
            shades(axes[1, k], found, signed=True)


def filters(learning_rate: float, epochs: int) -> np.ndarray:
    """The kernels (7, 7, 16) of the first layer after so many epochs."""
    layers = [Conv2D(16, 7), ReLU(), MaxPool2D(), Conv2D(32), ReLU(), MaxPool2D(), Flatten()]
    model = CNNClassifier(layers=layers, learning_rate=learning_rate, alpha=0.01, max_iter=epochs, random_state=0)
    kernel: np.ndarray = model.fit(enlarged(), digits()[1]).parameters_["conv1.kernel"][:, :, 0]
    return kernel


def draw_filters(path: Path) -> None:
    """Eight filters before training, and the same ones after it."""
    rows = {"before": filters(1e-12, 1), "after": filters(3e-3, 60)}
    shown = np.argsort(-np.abs(rows["after"]).sum(axis=(0, 1)))[:8]
    with figure(path, 2, 8, (10, 2.9)) as axes:
        for line, (name, kernels) in zip(axes, rows.items(), strict=True):
            for panel, k in zip(line, sorted(shown), strict=True):
                shades(panel, kernels[:, :, k], signed=True)
            line[0].set_ylabel(f"{name} training", fontsize=9, color=MUTED)


def network(initializer: Any = "he", batch_norm: bool = False) -> list[Layer]:
    """Four convolutions of 16 filters, with a pooling after the second and the last."""
    unit = [Conv2D(16, kernel_initializer=initializer), *[BatchNorm()] * batch_norm, ReLU()]
    return [*unit * 2, MaxPool2D(), *unit * 2, MaxPool2D(), Flatten()]


@dataclass(frozen=True)
class Fit:
    """A training to draw: the estimator's options, the images, and how they are spoiled."""

    options: dict[str, Any] = field(default_factory=dict)
    images: int = 1000
    scale: float = 1.0
    shuffled: bool = False

    def __call__(self, seed: int, validate: bool) -> tuple[CNNClassifier, float, float]:
        """The classifier, its accuracy on held-out images after the last epoch, and the share of dead channels."""
        X, y = digits()
        order = np.random.default_rng(seed).permutation(len(y))
        rows, aside = order[: self.images], order[1000:]
        X_fit, X_aside = self.scale * X[rows], self.scale * X[aside]
        y_fit = np.random.default_rng(seed).permutation(y[rows]) if self.shuffled else y[rows]
        model = CNNClassifier(**{"layers": network(), "max_iter": 20, "random_state": seed, "n_jobs": 1} | self.options)
        if validate:  # restores the best epoch at the end
            score = model.fit(X_fit, y_fit, X_val=X_aside, y_val=y[aside]).history_["val_score"][-1]
        else:
            score = model.fit(X_fit, y_fit).score(X_aside, y[aside])
        return model, score, dead(model, X_aside)


def dead(model: CNNClassifier, X: np.ndarray) -> float:
    """The share of the channels behind the last ReLU that are 0 for all images."""
    last = sum(isinstance(layer, ReLU) for layer in model.layers_)
    return float((activations(model, X, f"relu{last}").max(axis=(0, 1, 2)) == 0).mean())


STEPS = {"optimizer": SGD(), "learning_rate": 0.01}
SICK: dict[str, tuple[str, dict[str, Fit]]] = {
    "labels": ("Classes in another order", {
        "shuffled": Fit(shuffled=True),
        "right": Fit(),
    }),
    "scale": ("Scale of the images", {
        "0..255, SGD": Fit(STEPS | {"standardize": False}, scale=16),
        "0..0.004, SGD": Fit(STEPS | {"standardize": False}, scale=1 / 4000),
        "standardized, SGD": Fit(STEPS),
    }),
    "rate": ("Learning rate of Adam", {
        "0.1": Fit({"learning_rate": 0.1}),
        "0.00001": Fit({"learning_rate": 1e-5}),
        "0.001": Fit(),
    }),
    "initialization": ("Initial kernels", {
        "all weights 0.05": Fit(STEPS | {"layers": network(Constant(0.05))}),
        "deviation 0.01": Fit(STEPS | {"layers": network(TruncatedNormal(0.01))}),
        "He": Fit(STEPS),
    }),
    "dead": ("Dead ReLUs", {
        "rate 0.2": Fit({"optimizer": SGD(), "learning_rate": 0.2}),
        "rate 0.02": Fit({"optimizer": SGD(), "learning_rate": 0.02}),
        "rate 0.2, batch norm": Fit({"optimizer": SGD(), "learning_rate": 0.2, "layers": network(batch_norm=True)}),
    }),
    "underfitting": ("Underfitting", {
        "1 filter": Fit({"layers": [Conv2D(1), ReLU(), MaxPool2D(4), Flatten()], "max_iter": 40}),
        "four layers": Fit({"max_iter": 40}),
    }),
    "overfitting": ("Overfitting", {
        "100 images": Fit({"max_iter": 120}, images=100),
        "100 images, augmented": Fit({"max_iter": 120, "augmentation": RandomAffine()}, images=100),
        "1,000 images": Fit({"max_iter": 12}, images=1000),
    }),
}  # fmt: skip
BOTH = ("labels", "underfitting", "overfitting")  # the validation loss is drawn as well
WIDE = ("scale", "initialization")  # losses of several magnitudes


def draw_curves(name: str, path: Path) -> None:
    """The training loss of each fit and each seed; where it matters, beside the loss on held-out images."""
    heading, fits = SICK[name]
    colours = (ORANGE, PURPLE, BLUE) if len(fits) == 3 else (ORANGE, BLUE)
    with figure(path, 1, len(fits) if name in BOTH else 1, (9, 2.9)) as axes:
        panels = axes[0] if name in BOTH else [axes[0, 0]] * len(fits)
        for panel, colour, (label, fit) in zip(panels, colours, fits.items(), strict=True):
            scores, shares = [], []
            for seed in SEEDS:
                model, score, share = fit(seed, name in BOTH)
                epochs = np.arange(1, len(model.loss_curve_) + 1)
                first = seed == SEEDS[0]
                panel.plot(epochs, model.loss_curve_, color=colour, linewidth=1.3,
                           label=("training" if name in BOTH else label) if first else None)  # fmt: skip
                if name in BOTH:
                    panel.plot(epochs, model.history_["val_loss"], color=MUTED, linewidth=1.2, linestyle=(0, (3, 1.5)),
                               label="validation" if first else None)  # fmt: skip
                    title(panel, label)
                scores.append(score)
                shares.append(share)
            print(f"{name} | {label} | {np.mean(scores):.3f} ± {np.ptp(scores) / 2:.3f} | {np.mean(shares):.0%} dead")
            panel.axhline(np.log(10), color=GRID, linewidth=1.5, zorder=0)
            if name in WIDE:
                panel.set_yscale("log")
                panel.minorticks_off()
                panel.set_ylim(bottom=0.005)
            else:
                panel.set_ylim(-0.1, 3.2)
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set_xlabel("epoch", fontsize=8.5, color=MUTED)
            panel.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper right")
        panels[0].set_ylabel("loss", fontsize=8.5, color=MUTED)
        if name not in BOTH:
            title(panels[0], heading)


def draw_rates(path: Path) -> None:
    """The accuracies in the table of why_batch_norm.md, with the range over the seeds."""
    page = (Path(__file__).parent / "learn" / "why_batch_norm.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) ± ([\d.]+) \|$", page, flags=re.MULTILINE)
    rates, plain, spread, normed, spread_normed = np.array(rows, float).T
    with figure(path, 1, 1, (8, 3.2)) as axes:
        panel = axes[0, 0]
        for means, half, colour, label in (
            (plain, spread, ORANGE, "without batch norm"),
            (normed, spread_normed, BLUE, "with batch norm"),
        ):
            panel.fill_between(rates, means - half, means + half, color=colour, alpha=0.2, linewidth=0)
            panel.semilogx(rates, means, color=colour, linewidth=1.8, marker="o", markersize=4, label=label)
        panel.minorticks_off()
        panel.set_ylim(0, 1.02)
        panel.set_xlabel("learning rate", fontsize=8.5, color=MUTED)
        panel.set_ylabel("accuracy on held-out digits", fontsize=8.5, color=MUTED)
        panel.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower center")


@cache
def trained() -> CNNClassifier:
    """The classifier of inside_a_network.md."""
    X, y = digits()
    model = CNNClassifier((16, 32), hidden_layer_sizes=(64,), max_iter=20, random_state=0)
    return model.fit(X[:1000], y[:1000])


def draw_map(path: Path) -> None:
    """The held-out digits in two dimensions, by their pixels and by the last hidden layer."""
    from sklearn.manifold import TSNE

    X, y = digits()
    X, y = X[1000:1500], y[1000:1500]
    features = activations(trained(), X, "relu3")
    with figure(path, 1, 2, (9, 4)) as axes:
        for panel, name, rows in zip(
            axes[0], ("pixels", "last hidden layer"), (X.reshape(len(X), -1), features), strict=True
        ):
            places = TSNE(init="pca", random_state=0).fit_transform(rows)
            for digit in range(10):
                chosen = places[y == digit]
                panel.scatter(*chosen.T, s=5, color=f"C{digit}", linewidths=0)
                panel.text(*np.median(chosen, axis=0), digit, fontsize=12, fontweight="bold", color=INK)
            panel.set(xticks=[], yticks=[])
            title(panel, name)


def draw_occlusion(path: Path) -> None:
    """Three digits, and the probability of their class when a window is covered."""
    X, y = digits()
    with figure(path, 1, 6, (10, 1.9)) as axes:
        for k, number in enumerate((1000, 1003, 1011)):
            shades(axes[0, 2 * k], X[number])
            covered = np.repeat(X[number][None], 64, axis=0)
            for place, (i, j) in enumerate(np.ndindex(8, 8)):
                covered[place, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2] = 0
            probability = trained().predict_proba(covered)[:, y[number]].reshape(8, 8)
            shades(axes[0, 2 * k + 1], 1 - probability)
            title(axes[0, 2 * k], f"a {y[number]}")


FIGURES: dict[str, Callable[[Path], None]] = {
    "edges": draw_edges,
    "filters": draw_filters,
    "rates": draw_rates,
    "map": draw_map,
    "occlusion": draw_occlusion,
    **{name: partial(draw_curves, name) for name in SICK},
}


def main(names: Sequence[str]) -> None:
    """Draw the figures with these names, or all."""
    for name in names or FIGURES:
        FIGURES[name](IMAGES / f"learn_{name}.svg")


if __name__ == "__main__":
    main(sys.argv[1:])
