"""Draw docs/images/few_images.svg: the histories of a fit that overfits, one that underfits, one that does not learn.

Run it from the root of a checkout: ``python docs/figures_few_images.py``. It needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from figures_style import IMAGES, save

from skcnn import CNNClassifier
from skcnn.architecture import photos
from skcnn.augmentation import RandomAffine
from skcnn.display import HistoryDisplay

PLUS = np.zeros((5, 5))
PLUS[2] = PLUS[:, 2] = 1
CROSS = np.maximum(np.eye(5), np.eye(5)[::-1])
NETWORK = {"layers": photos(16, width=16), "augmentation": [RandomAffine()], "batch_size": 32}
FITS: dict[str, tuple[int, dict[str, Any]]] = {  # the number of images, and parameters
    "overfits": (60, {"max_iter": 40}),
    "underfits": (100, {**NETWORK, "max_iter": 18}),
    "does not learn": (100, {"batch_norm": False, "learning_rate": 0.03, "max_iter": 40}),
}


def signs(n: int, seed: int) -> tuple[Any, Any]:
    """Plus signs and crosses, anywhere in noise: the images of the page."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(0, 0.3, size=(n, 16, 16)).astype(np.float32), np.arange(n) % 2
    for image, label, (row, column) in zip(X, y, rng.integers(12, size=(n, 2)), strict=True):
        image[row : row + 5, column : column + 5] += (PLUS, CROSS)[label]
    return X, y


def fitted() -> dict[str, CNNClassifier]:
    """The classifiers, each fitted to a few signs, with 400 others to validate it."""
    X_val, y_val = signs(400, 1)
    models = {}
    for name, (n, options) in FITS.items():
        models[name] = CNNClassifier(**options, random_state=0).fit(*signs(n, 0), X_val=X_val, y_val=y_val)
    return models


def draw(path: Path) -> None:
    """Draw the histories side by side, with one legend for all."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for panel, (name, model) in zip(panels, fitted().items(), strict=True):
        display = HistoryDisplay.from_estimator(model, ax=panel)
        names = [text.get_text() for text in panel.get_legend().get_texts()]
        panel.get_legend().remove()
        panel.set(title=name, ylim=(0, 1.3))
        display.score_ax_.set_ylim(0, 1.04)
        panel.label_outer()
        display.score_ax_.set_ylabel(display.score_name if panel is panels[-1] else "")
    figure.legend([*panel.lines, *display.score_ax_.lines], names, frameon=False, loc="outside upper center", ncols=3)
    save(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    draw(IMAGES / "few_images.svg")
