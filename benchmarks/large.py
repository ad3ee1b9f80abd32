"""Accuracy and memory of networks from the parameters (``conv_filters`` and others) on large images.

    python benchmarks/large.py [--sides 128 224] [--seeds 3] [--photos folder] [name ...]

There are two tasks. The first one is generated shapes in noise: circles, squares and triangles of random sizes, places
and colours. The second one is photos from a folder with a subfolder of JPEG files for each class. Half of the shapes
and two thirds of the photos are for training, and the others are for testing. Photos need Pillow.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, Dense, GlobalAvgPool2D, MaxPool2D, ReLU

SHAPES = 600
EPOCHS = 12


def blocks(side: int, filters: tuple[int, ...]) -> tuple[int, ...]:
    """As many blocks as bring a side to 8 pixels or less, the last number of filters repeated."""
    count = max(len(filters), int(np.ceil(np.log2(side / 8))))
    return (*filters, *[filters[-1]] * (count - len(filters)))


def _global(filters: tuple[int, ...]) -> dict[str, Any]:
    layers = [layer for f in filters for layer in (Conv2D(f), ReLU(), MaxPool2D())]
    return {"layers": [*layers, GlobalAvgPool2D(), Dense(128), ReLU()]}


NETWORKS = {
    "(32, 64)": lambda side: {},
    "(32, 64), pool_size=4": lambda side: {"pool_size": 4},
    "(32, 64, 64, ...)": lambda side: {"conv_filters": blocks(side, (32, 64))},
    "(32, 64, 128, ...)": lambda side: {"conv_filters": blocks(side, (32, 64, 128))},
    "(32, 64), global pooling": lambda side: _global((32, 64)),
    "(32, 64, 64, ...), global pooling": lambda side: _global(blocks(side, (32, 64))),
}


def shapes(side: int, seed: int, n: int | None = None) -> tuple[Any, Any]:
    """Images (n, side, side, 3) in 8 bits, and 0 for a circle, 1 for a square, 2 for a triangle."""
    rng, n = np.random.default_rng(seed), SHAPES if n is None else n
    rows, columns = np.mgrid[:side, :side]
    images = rng.normal(120, 20, (n, side, side, 3))
    kinds = rng.integers(3, size=n)
    for image, kind in zip(images, kinds, strict=True):
        radius = rng.uniform(0.12, 0.3) * side
        down, right = (axis - rng.uniform(radius, side - radius) for axis in (rows, columns))
        inside = (
            down**2 + right**2 < radius**2,
            (abs(down) < 0.89 * radius) & (abs(right) < 0.89 * radius),  # of the area of the circle
            (abs(right) < (down + radius) / 1.5) & (down < 0.9 * radius),
        )[kind]
        image[inside] += rng.choice((-1, 1), 3) * rng.uniform(40, 100, 3)
    return np.clip(images, 0, 255).astype(np.uint8), kinds


def photos(side: int, folder: Path) -> tuple[Any, Any]:
    """Images (n, side, side, 3) in 8 bits, cut to squares, and the names of their folders."""
    from PIL import Image, ImageOps

    paths = sorted(folder.glob("*/*.jpg"))
    images = [np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), (side, side))) for path in paths]
    return np.stack(images), np.array([path.parent.name for path in paths])


def run(name: str, side: int, X: Any, y: Any, seed: int, train_size: float = 0.5) -> tuple[float, int, float]:
    """Accuracy on images that were not learnt from, number of weights, and seconds per epoch."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=train_size, random_state=seed, stratify=y)
    model = CNNClassifier(batch_norm=False, max_iter=EPOCHS, random_state=seed, batch_size=32, **NETWORKS[name](side))
    start = time.perf_counter()
    model.fit(X_train, y_train)
    return model.score(X_test, y_test), model.n_parameters_, (time.perf_counter() - start) / EPOCHS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--sides", type=int, nargs="*", default=[128, 224])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--photos", type=Path)
    arguments = parser.parse_args()
    print("| images | network | weights | s/epoch | accuracies |\n|---|---|---|---|---|")
    for side in arguments.sides:
        tasks = {"shapes": (lambda seed, side=side: shapes(side, seed), 0.5)}
        if arguments.photos:
            found = photos(side, arguments.photos)
            tasks["photos"] = (lambda seed, found=found: found, 2 / 3)
        for task, (make, share) in tasks.items():
            for name in arguments.names:
                runs = [run(name, side, *make(seed), seed, share) for seed in range(arguments.seeds)]
                scores = " ".join(f"{score:.3f}" for score, _, _ in runs)
                print(
                    f"| {task}, {side} px | {name} | {runs[0][1]:,} | {np.mean([t for *_, t in runs]):.1f} | {scores}"
                    f" (mean {np.mean([score for score, _, _ in runs]):.3f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
