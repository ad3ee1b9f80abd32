"""Accuracy of the classifier on small colour photos, CIFAR-10.

The images come from ``cifar10.npz`` in the folder of the environment variable SKCNN_DATA (arrays X (n, 32, 32, 3) in
uint8 and y (n,)), or from OpenML through scikit-learn, which caches them.

    SKCNN_DATA=folder python benchmarks/colour.py small residual
    SKCNN_DATA=folder python benchmarks/colour.py record --test --seeds 3
    SKCNN_DATA=folder python benchmarks/colour.py parts --rows 20000 --epochs 4 --width 32 --seeds 3

The classifiers learn from the first 40,000 training images and are scored on the other 10,000. With ``--test``, they
learn from all 50,000 and are scored on the 10,000 test images, after their last epoch. ``parts`` changes one part of
the recipe of ``record`` at a time. ``--synthetic`` uses a small generated data set instead, to test the script.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from speed import cpu_model

from skcnn import CNNClassifier
from skcnn.architecture import resnet
from skcnn.augmentation import RandomCrop, RandomFlip
from skcnn.initializers import Dirac, He, Initializer, VarianceScaling
from skcnn.layers import (
    GELU,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Rescaling,
    WhiteningConv2D,
)
from skcnn.losses import LogLoss
from skcnn.optimizers import SGD, Muon

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
    return CNNClassifier(layers=layers, schedule="cosine", max_iter=epochs, verbose=1)


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
        verbose=1,
    )


WHITENING = WhiteningConv2D(2, padding="valid"), GELU()
NORMALIZATION = BatchNorm(0.6, epsilon=1e-12, scale=False)
IDENTITY = Dirac(VarianceScaling(1 / 3, distribution="uniform"))
ALTERNATING = RandomFlip(alternate=True)


def record(
    epochs: int,
    *,
    width: int = 64,
    first: Sequence[Layer] = WHITENING,
    normalization: Layer = NORMALIZATION,
    initializer: Initializer = IDENTITY,
    flip: RandomFlip = ALTERNATING,
    fill: str | float = "mirror",
    views: str | None = "flip_shift",
    smoothing: float = 0.2,
    batch_size: int = 2000,
    **other: Any,
) -> CNNClassifier:
    """The recipe of airbench94_muon (K. Jordan, 2024, https://github.com/KellerJordan/cifar10-airbench).

    Its learning rates are those of the published code, which adds the losses of a batch where skcnn averages them.
    """
    layers = list(first)
    for filters in (width, 4 * width, 4 * width):
        for pooling in ([MaxPool2D()], []):
            convolution = Conv2D(filters, use_bias=False, kernel_initializer=initializer)
            layers += [convolution, *pooling, normalization, GELU()]
    layers += [MaxPool2D(3), Flatten(), Rescaling(1 / (4 * width))]
    biases, output = 0.053 * batch_size, 0.67 * batch_size
    recipe = {
        "optimizer": Muon(0.6, steps=3, normalize=True, optimizer=SGD(0.85), factor=biases / 0.24),
        "learning_rate": 0.24,
        "learning_rate_factors": {"output.kernel": output / biases, "output.bias": 0},
        "schedule": "polynomial",
        "alpha": 2e-6 * batch_size / output,
    }
    return CNNClassifier(
        layers=layers,
        loss=LogLoss(label_smoothing=smoothing),
        augmentation=[flip, RandomCrop(2, fill=fill)],
        test_time_augmentation=views,
        batch_size=batch_size,
        max_iter=epochs,
        n_iter_no_change=epochs,
        verbose=1,
        **recipe | other,
    )


# The output layer behind `Rescaling` needs larger rates. Those of the other layers are usual ones.
ADAM = {
    "optimizer": "adam", "learning_rate": 5e-3, "learning_rate_factors": {"output.kernel": 64, "output.bias": 0},
    "alpha": 0.0, "schedule": "one_cycle",
}  # fmt: skip
MOMENTUM = {
    "optimizer": SGD(0.85), "learning_rate": 0.75,
    "learning_rate_factors": {"batchnorm*": 64, "output.kernel": 50, "output.bias": 0}, "alpha": 1.33e-3,
    "schedule": "one_cycle",
}  # fmt: skip
PARTS: dict[str, dict[str, Any]] = {
    "all parts": {},
    "predictions of one view": {"views": None},
    "predictions of two views": {"views": "flip"},
    "a trained first convolution": {"first": (Conv2D(24, kernel_size=2, padding="valid"), GELU())},
    "He initialization": {"initializer": He()},
    "batch norm with scale": {"normalization": BatchNorm(0.6, epsilon=1e-12)},
    "flips at random": {"flip": RandomFlip()},
    "crops padded with zeros": {"fill": 0.0},
    "no label smoothing": {"smoothing": 0.0},
    "averaged weights": {"average": 0.97},
    "Adam": ADAM,
    "SGD": MOMENTUM,
}
RUNS: dict[str, tuple[Callable[..., CNNClassifier], int]] = {
    "small": (small, 12),
    "residual": (residual, 60),
    "record": (record, 8),
}


def split(X: Any, y: Any, *, test: bool, rows: int | None = None) -> tuple[Any, ...]:
    """Images to learn from and their classes, and images to be scored on and theirs."""
    learnt = TRAINING_ROWS + VALIDATION_ROWS * test
    if len(X) < learnt + VALIDATION_ROWS:  # the small generated set
        learnt = len(X) * 4 // 5
    scored = slice(learnt, learnt + VALIDATION_ROWS)
    return X[:learnt][:rows], y[:learnt][:rows], X[scored], y[scored]


def run(build: Callable[[], CNNClassifier], images: tuple[Any, ...], seed: int = 0) -> tuple[float, CNNClassifier]:
    """Seconds of training, and the classifier."""
    classifier = build().set_params(random_state=seed)
    start = time.perf_counter()
    classifier.fit(*images[:2])
    return time.perf_counter() - start, classifier


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description="Train on CIFAR-10.")
    parser.add_argument("runs", nargs="*", metavar="run", help=f"{', '.join(RUNS)}, parts; small by default")
    parser.add_argument("--epochs", type=int, help="in place of the usual number")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, help="number of images to learn from; all by default")
    parser.add_argument("--width", type=int, default=64, help="filters of the first block of record and parts")
    parser.add_argument("--batch-size", type=int, help="of record and parts; 2000 by default")
    parser.add_argument("--test", action="store_true", help="learn from all training images, score the test images")
    parser.add_argument("--synthetic", action="store_true", help="a small set that is made here")
    arguments = parser.parse_args()
    builds: dict[str, Callable[[], CNNClassifier]] = {}
    options = {"width": arguments.width} | ({"batch_size": arguments.batch_size} if arguments.batch_size else {})
    for name in arguments.runs or ["small"]:
        if name not in (*RUNS, "parts"):
            parser.error(f"there is no run {name!r}, only {', '.join(RUNS)}, parts")
        build, usual = RUNS.get(name, RUNS["record"])
        epochs = arguments.epochs or usual
        if name == "parts":
            for part, change in PARTS.items():
                builds[part] = partial(record, epochs, **options, **change)
        else:
            builds[name] = partial(build, epochs, **(options if name == "record" else {}))
    X, y = make() if arguments.synthetic else load()
    images = split(X, y, test=arguments.test, rows=arguments.rows)
    print(f"{cpu_model()}; {len(images[0]):,} images to learn from\n")
    print("| run | seconds | accuracy | of each seed |\n| --- | --- | --- | --- |")
    fits: list[tuple[float, CNNClassifier]] = []
    for name, one in builds.items():
        if "predictions" not in name:  # the views of a prediction do not change the training
            fits = [run(one, images, seed) for seed in range(arguments.seeds)]
        views = one().test_time_augmentation
        found = [fit.set_params(test_time_augmentation=views).score(*images[2:]) for _, fit in fits]
        each = ", ".join(f"{accuracy:.4f}" for accuracy in found)
        print(f"| {name} | {np.mean([s for s, _ in fits]):.0f} | {np.mean(found):.4f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
