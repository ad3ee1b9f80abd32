"""How the kernel of the output layer should be drawn: what networks learn from zeros, and from random numbers.

    python benchmarks/output_layer.py [task ...] [--seeds 3] [--save scores.json]

Four tasks, optimizers with small, usual and large learning rates, and initializers of the output layer. Each fit is
scored on other images after its first, third and last epoch. The tables show mean scores over the seeds. The digits
come with scikit-learn. MNIST and CIFAR-10 are read from `mnist.npz` and `cifar10.npz` in the folder `SKCNN_DATA`, see
README.md; without the file, the task is left out.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import rotate
from sklearn.base import is_classifier
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier, CNNRegressor

EPOCHS = 1, 3, 10
RATES = ("sgd", 0.001), ("sgd", 0.01), ("sgd", 0.1), ("adam", 1e-4), ("adam", 1e-3), ("adam", 1e-2)
INITIALIZERS = "zeros", "truncated_normal", "glorot", "lecun", "he"


def digits(seed: int) -> tuple[Any, ...]:
    """8 x 8 digits, with the default network without batch norm."""
    X_train, X_test, y_train, y_test = train_test_split(*load_digits(return_X_y=True), random_state=seed)
    return CNNClassifier(batch_norm=False), X_train, y_train, X_test, y_test


def mnist(seed: int) -> tuple[Any, ...]:
    """4,000 digits of MNIST, with a small network."""
    X_train, y_train, X_test, y_test = _stored("mnist.npz", seed, 4000, 2000)
    return CNNClassifier((8, 16), hidden_layer_sizes=(64,), batch_norm=False), X_train, y_train, X_test, y_test


def photographs(seed: int) -> tuple[Any, ...]:
    """4,000 photographs of CIFAR-10, with batch normalization."""
    X_train, y_train, X_test, y_test = _stored("cifar10.npz", seed, 4000, 2000)
    return CNNClassifier((16, 32), hidden_layer_sizes=(64,)), X_train, y_train, X_test, y_test


def angles(seed: int) -> tuple[Any, ...]:
    """A regression: by how far a digit of scikit-learn was turned, in units of the standard deviation."""
    rng = np.random.default_rng(seed)
    images = load_digits().images
    degrees = rng.uniform(-45, 45, len(images))
    turned = np.stack([rotate(image, angle, reshape=False) for image, angle in zip(images, degrees, strict=True)])
    X_train, X_test, y_train, y_test = train_test_split(turned, degrees / degrees.std(), random_state=seed)
    return CNNRegressor(), X_train, y_train, X_test, y_test


def _stored(name: str, seed: int, rows: int, held_out: int) -> list[Any]:
    """Rows of a file drawn at random: images and targets to learn from, and others to test on."""
    with np.load(Path(os.environ.get("SKCNN_DATA", ".")) / name) as arrays:
        names = ("X", "y") if "X" in arrays else ("X_train", "y_train")
        X, y = (arrays[key] for key in names)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=rows, test_size=held_out, random_state=seed, stratify=y
    )
    return [X_train, y_train, X_test, y_test]


TASKS: dict[str, Callable[[int], tuple[Any, ...]]] = {
    task.__name__: task for task in (digits, mnist, photographs, angles)
}


def scores(task: str, optimizer: str, rate: float, initializer: str, seed: int, epochs: tuple[int, ...]) -> list[float]:
    """The score on other images after so many epochs; NaN from the epoch on in which training diverges."""
    estimator, X_train, y_train, X_test, y_test = TASKS[task](seed)
    estimator.set_params(output_initializer=initializer, optimizer=optimizer, learning_rate=rate, random_state=seed)
    found = []
    for epoch in range(1, max(epochs) + 1):
        try:
            estimator.partial_fit(X_train, y_train, *([np.unique(y_train)] if is_classifier(estimator) else []))
        except ValueError:  # the first epoch has diverged
            return [np.nan] * len(epochs)
        if epoch in epochs:
            found.append(float(estimator.score(X_test, y_test)))
    return found


def table(task: str, found: dict[str, dict[str, Any]], epochs: tuple[int, ...]) -> str:
    """Mean scores in percent, a row for each optimizer and number of epochs."""
    lines = [f"| {task} | epochs | {' | '.join(INITIALIZERS)} |", "|---|---|" + "---|" * len(INITIALIZERS)]
    for optimizer, rate in RATES:
        for position, epoch in enumerate(epochs):
            cells = [np.mean([run[position] for run in found[f"{optimizer} {rate:g}"][name]]) for name in INITIALIZERS]
            lines.append(f"| {optimizer} {rate:g} | {epoch} | {' | '.join(f'{100 * cell:.1f}' for cell in cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    everything = {}
    for task in arguments.tasks:
        try:
            TASKS[task](0)
        except FileNotFoundError as error:
            print(f"{task} is left out: {error}")
            continue
        everything[task] = {
            f"{optimizer} {rate:g}": {
                name: [scores(task, optimizer, rate, name, seed, EPOCHS) for seed in range(arguments.seeds)]
                for name in INITIALIZERS
            }
            for optimizer, rate in RATES
        }
        print(table(task, everything[task], EPOCHS), end="\n\n", flush=True)
        if arguments.save:
            arguments.save.write_text(json.dumps(everything))


if __name__ == "__main__":
    main()
