"""Draw the figure of the landing page: `python docs/figures_start.py` from the root of a checkout.

It shows the network of that page: the loss of each epoch, and predictions for test images.
"""

from __future__ import annotations

from pathlib import Path

from figures_style import BLUE, GRID, IMAGES, INK, MUTED, ORANGE, save
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skcnn


def draw(path: Path) -> None:
    """Train the network, and draw what it does."""
    images, y = load_digits().images, load_digits().target
    X_train, X_test, y_train, y_test = train_test_split(images, y, random_state=0)
    classifier = skcnn.CNNClassifier(random_state=0).fit(X_train, y_train)
    probabilities = classifier.predict_proba(X_test)
    wrong = (probabilities.argmax(axis=1) != y_test).nonzero()[0]
    shown = [*range(7), int(wrong[0])]

    canvas = Figure(figsize=(10, 2.9), layout="constrained", facecolor="white")
    FigureCanvasAgg(canvas)
    left, right = canvas.subfigures(1, 2, width_ratios=(1, 1.7))
    axes = left.subplots()
    axes.plot(range(1, len(classifier.loss_curve_) + 1), classifier.loss_curve_, color=BLUE)
    axes.set_title("Training loss", fontsize=10, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel("epoch", fontsize=9, color=MUTED)
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(labelsize=8, colors=MUTED, length=0)
    axes.spines[:].set_visible(False)
    for panel, i in zip(right.subplots(2, 4).flat, shown, strict=True):
        best = int(probabilities[i].argmax())
        panel.imshow(X_test[i], cmap="gray_r")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        color = INK if best == y_test[i] else ORANGE
        panel.set_title(f"{best}  ({probabilities[i, best]:.0%})", fontsize=9, color=color)
    right.suptitle("Predictions for test images, one of them wrong", fontsize=10, color=INK, fontweight="bold")
    save(canvas, path)


if __name__ == "__main__":
    draw(IMAGES / "start.svg")
