"""Accuracy of the classifier on small colour photos, CIFAR-10.

The images come from ``cifar10.npz`` in the folder of the environment variable SKCNN_DATA (arrays X (n, 32, 32, 3) in
uint8 and y (n,)), or from OpenML through scikit-learn, which caches them.

    SKCNN_DATA=folder python benchmarks/colour.py small residual

``--synthetic`` uses a small generated data set instead, to test the script.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from skcnn import CNNClassifier
from skcnn.architecture import resnet
from skcnn.augmentation import RandomCrop, RandomFlip
from skcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from skcnn.optimizers import SGD

TRAINING_ROWS, VALIDATION_ROWS = 40_000, 10_000
HELP = """\
There is no CIFAR-10: {reason}
Either set SKCNN_DATA to a folder with cifar10.npz, which holds X (60000, 32, 32, 3) in uint8 and y (60000,); or run
once where there is a network, so that sklearn.datasets.fetch_openml("CIFAR_10") can download it."""


def load() -> tuple[Any, Any]:
    """Images (n, 32, 32, 3) and classes (n,); exits with code 1 and advice where there are none."""
    folder = os.environ.get("SKCNN_DATA")
    file = Path(folder) / "cifar10.npz" if folder else None
    if file is not None and file.is_file():
        with np.load(file) as arrays:
            return arrays["X"], arrays["y"]
    try:
        from sklearn.datasets import fetch_openml

        X, y = fetch_openml("CIFAR_10", version=1, as_frame=False, return_X_y=True)
    except (OSError, ImportError) as error:
        missing = "SKCNN_DATA is not set" if file is None else "the folder SKCNN_DATA has no cifar10.npz"
        print(HELP.format(reason=f"{missing}, and OpenML cannot be used ({error})."), file=sys.stderr)
        raise SystemExit(1) from None
    # OpenML's rows hold the red plane, then the green, then the blue.
    return X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8), y.astype(np.uint8)


def make(n: int = 500, seed: int = 0) -> tuple[Any, Any]:
    """Images of four classes: coloured stripes of two directions and two colours, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=n)
    waves = 128 + 90 * np.sin(np.arange(32) / 2 + rng.uniform(0, 6, size=(n, 1)))
    stripes = np.where((y % 2 == 0)[:, None, None], waves[:, :, None], waves[:, None, :])
    X = rng.normal(100, 25, size=(n, 32, 32, 3))
    X[np.arange(n), :, :, np.where(y < 2, 0, 2)] += stripes - 100
    return X.clip(0, 255).astype(np.uint8), y


def small(epochs: int) -> CNNClassifier:
    """Conv 32 - Conv 64 - Dense 128: 70 % on the validation images is the published hope."""
    layers = [Conv2D(32), ReLU(), MaxPool2D(), Conv2D(64), ReLU(), MaxPool2D(), Flatten(), Dense(128), ReLU()]
    return CNNClassifier(layers=layers, schedule="cosine", max_iter=epochs, random_state=0, verbose=1)


def residual(epochs: int) -> CNNClassifier:
    """A residual network of 20 layers with the usual augmentation: as many epochs as an hour on two cores has."""
    return CNNClassifier(
        layers=resnet(depth=20, width=16),
        augmentation=[RandomFlip(), RandomCrop(4)],
        optimizer=SGD(momentum=0.9),
        learning_rate=0.1,
        schedule="one_cycle",
        alpha=5e-4,
        batch_size=128,
        max_iter=epochs,
        random_state=0,
        verbose=1,
    )


RUNS: dict[str, tuple[Callable[[int], CNNClassifier], int]] = {"small": (small, 12), "residual": (residual, 60)}


def run(name: str, X: Any, y: Any, epochs: int | None = None) -> tuple[float, float]:
    """Seconds of training, and the accuracy on the rows that were not learnt from."""
    build, usual = RUNS[name]
    rows = len(X) * TRAINING_ROWS // (TRAINING_ROWS + VALIDATION_ROWS) if len(X) < 50_000 else TRAINING_ROWS
    aside = slice(rows, rows + VALIDATION_ROWS)
    classifier = build(epochs or usual)
    start = time.perf_counter()
    classifier.fit(X[:rows], y[:rows])
    return time.perf_counter() - start, float(classifier.score(X[aside], y[aside]))


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description="Train on CIFAR-10.")
    parser.add_argument("runs", nargs="*", metavar="run", help=f"{', '.join(RUNS)}; all by default")
    parser.add_argument("--epochs", type=int, help="in place of the usual number")
    parser.add_argument("--synthetic", action="store_true", help="a small set that is made here")
    arguments = parser.parse_args()
    chosen = arguments.runs or list(RUNS)
    for name in chosen:
        if name not in RUNS:
            parser.error(f"there is no run {name!r}, only {', '.join(RUNS)}")
    X, y = make() if arguments.synthetic else load()
    print("| run | seconds | accuracy |\n| --- | --- | --- |")
    for name in chosen:
        seconds, accuracy = run(name, X, y, arguments.epochs)
        print(f"| {name} | {seconds:.1f} | {accuracy:.4f} |", flush=True)


if __name__ == "__main__":
    main()
