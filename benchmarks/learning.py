"""The experiments of the section "Learn": what batch norm, the order of pixels, and the rules of design are worth.

    python benchmarks/learning.py rates norm order     # scikit-learn's digits, a few minutes
    python benchmarks/learning.py speed                # the network in plain NumPy beside the package
    SKCNN_DATA=folder python benchmarks/learning.py kernels filters pooling dropout --seeds 3 --epochs 15

Each line is one network: the mean of the accuracy on held-out images over the seeds, half the range between the best
and the worst seed, the weights, and the seconds of a fit on one thread. Each seed draws other training images, other
initial weights and another order. The last command compares networks on 2,000 images of CIFAR-10. SKCNN_DATA names the
folder with ``cifar10.npz``, as for colour.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import few_images
import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skcnn import CNNClassifier
from skcnn.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    ReLU,
    SpatialDropout2D,
)
from skcnn.optimizers import SGD

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
DIGITS, PHOTOGRAPHS = "digits", "cifar-200"
EPOCHS = 20
PLAIN = Path(__file__).parents[1] / "docs" / "learn" / "cnn_in_numpy.py"
Make = Callable[[int, int], Any]  # epochs, seed -> an estimator


@dataclass(frozen=True)
class Group:
    """Networks to compare with each other, and the images for it; some of which have their pixels shuffled."""

    data: str
    networks: dict[str, Make]
    shuffled: tuple[str, ...] = ()


def block(filters: int, kernel_size: int = 3, convolutions: int = 1, pool: Layer | None = None) -> list[Layer]:
    """Convolutions with batch norm and ReLU, then pooling."""
    unit = [Conv2D(filters, kernel_size, use_bias=False), BatchNorm(), ReLU()]
    return [*unit * convolutions, pool or MaxPool2D()]


def network(layers: Sequence[Layer], **options: Any) -> Make:
    """A classifier with these layers, trained by Adam with a cosine schedule."""
    chosen = {"learning_rate": 3e-3, "schedule": "cosine", "n_jobs": 1} | options
    return lambda epochs, seed: CNNClassifier(layers=list(layers), max_iter=epochs, random_state=seed, **chosen)


def plain(rate: float, batch_norm: bool) -> Make:
    """Six convolutions of 16 filters, trained by plain gradient descent, with batch norm or without."""
    unit: list[Layer] = [Conv2D(16), *[BatchNorm()] * batch_norm, ReLU()]
    layers = [*unit * 3, MaxPool2D(), *unit * 3, Flatten()]
    descent = SGD(momentum=0.0, nesterov=False)
    return network(layers, optimizer=descent, learning_rate=rate, schedule="constant")


def momentum(batch_norm: bool) -> Make:
    """The default network, with batch norm or without, trained by gradient descent with momentum and a rate of 0.1."""
    return lambda epochs, seed: CNNClassifier(
        optimizer=SGD(), learning_rate=0.1, batch_norm=batch_norm, max_iter=epochs, n_jobs=1, random_state=seed
    )


def convolutional(epochs: int, seed: int) -> CNNClassifier:
    """The default network without batch norm."""
    return CNNClassifier(batch_norm=False, max_iter=epochs, n_jobs=1, random_state=seed)


def dense(epochs: int, seed: int) -> Any:
    """A network without convolutions, on rows of pixels. It is quicker, and gets five times as many epochs."""
    return make_pipeline(StandardScaler(), MLPClassifier((128,), max_iter=5 * epochs, random_state=seed))


def rows(X: Any) -> Any:
    """Images as rows of pixels."""
    return X.reshape(len(X), -1)


def widths(*filters: int) -> list[Layer]:
    """A block for each width."""
    return [layer for f in filters for layer in block(f)]


def dropped(*, early: Layer | None = None, before_norm: bool = False, late: float = 0.0) -> list[Layer]:
    """Three blocks and a dense layer, with dropout in one of its usual places or in an unusual one."""
    layers: list[Layer] = []
    for f in (16, 32, 64):
        layers += [Conv2D(f, use_bias=False), *[Dropout(0.3)] * before_norm, BatchNorm(), ReLU(), MaxPool2D()]
        layers += [early] if early else []
    return [*layers, Flatten(), Dense(128), ReLU(), *([Dropout(late)] if late else [])]


GROUPS: dict[str, Group] = {
    "rates": Group(
        DIGITS,
        {f"{rate:g}, {'with' if norm else 'without'} batch norm": plain(rate, norm) for norm in (False, True)
         for rate in RATES},
    ),
    "norm": Group(
        DIGITS,
        {f"{'with' if norm else 'without'} batch norm": momentum(norm) for norm in (False, True)},
    ),
    "order": Group(
        DIGITS,
        {
            "convolutional": convolutional,
            "convolutional, pixels shuffled": convolutional,
            "dense": dense,
            "dense, pixels shuffled": dense,
        },
        ("convolutional, pixels shuffled", "dense, pixels shuffled"),
    ),
    "kernels": Group(
        PHOTOGRAPHS,
        {
            "one 3 x 3 a block": network([*block(16), *block(16), *block(16), GlobalMaxPool2D()]),
            "one 5 x 5 a block": network([*block(16, 5), *block(16, 5), *block(16, 5), GlobalMaxPool2D()]),
            "two 3 x 3 a block": network([*block(16, 3, 2), *block(16, 3, 2), *block(16, 3, 2), GlobalMaxPool2D()]),
            "one 7 x 7 a block": network([*block(16, 7), *block(16, 7), *block(16, 7), GlobalMaxPool2D()]),
            "three 3 x 3 a block": network([*block(16, 3, 3), *block(16, 3, 3), *block(16, 3, 3), GlobalMaxPool2D()]),
        },
    ),
    "filters": Group(
        PHOTOGRAPHS,
        {
            "64, 32, 16": network([*widths(64, 32, 16), GlobalMaxPool2D()]),
            "36, 36, 36": network([*widths(36, 36, 36), GlobalMaxPool2D()]),
            "16, 32, 64": network([*widths(16, 32, 64), GlobalMaxPool2D()]),
            "32, 64, 128": network([*widths(32, 64, 128), GlobalMaxPool2D()]),
        },
    ),
    "pooling": Group(
        PHOTOGRAPHS,
        {
            f"{early.__name__}, then {late.__name__}": network(
                [*block(16, pool=early()), *block(32, pool=early()), *block(64)[:-1], late()]
            )
            for early in (MaxPool2D, AvgPool2D)
            for late in (GlobalMaxPool2D, GlobalAvgPool2D, Flatten)
        },
    ),
    "dropout": Group(
        PHOTOGRAPHS,
        {
            "none": network(dropped()),
            "0.5 behind the dense layer": network(dropped(late=0.5)),
            "0.2 behind each pooling": network(dropped(early=Dropout(0.2))),
            "0.2 of the channels behind each pooling": network(dropped(early=SpatialDropout2D(0.2))),
            "0.2 behind each pooling, 0.5 behind the dense layer": network(dropped(early=Dropout(0.2), late=0.5)),
            "0.3 between convolution and batch norm": network(dropped(before_norm=True)),
        },
    ),
}  # fmt: skip


def shuffle(X: Any, seed: int) -> Any:
    """Move the pixels, in all images in the same way."""
    order = np.random.default_rng(1000 + seed).permutation(X[0].size)
    return rows(X)[:, order].reshape(X.shape)


def run(group: str, name: str, seed: int, *, epochs: int = EPOCHS, data: str | None = None) -> tuple[float, int, float]:
    """The accuracy on held-out images, the number of weights, 0 if training diverged, and the seconds of the fit."""
    chosen = GROUPS[group]
    X, y, X_aside, y_aside = few_images.split(data or chosen.data, seed)
    if name in chosen.shuffled:
        X, X_aside = shuffle(X, seed), shuffle(X_aside, seed)
    model = chosen.networks[name](epochs, seed)
    if not isinstance(model, CNNClassifier):
        X, X_aside = rows(X), rows(X_aside)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as many epochs as the others have
        warnings.simplefilter("ignore", RuntimeWarning)  # a rate that is too high is one of the contenders
        try:
            model.fit(X, y)
        except ValueError:  # the loss has become infinite: no better than a guess
            return 1 / len(np.unique(y)), 0, time.perf_counter() - start
    seconds = time.perf_counter() - start
    if isinstance(model, CNNClassifier):
        weights = model.n_parameters_
    else:
        weights = sum(w.size for w in [*model[-1].coefs_, *model[-1].intercepts_])
    return float(model.score(X_aside, y_aside)), weights, seconds


def table(group: str, results: dict[str, list[tuple[float, int, float]]]) -> str:
    """Means and half ranges over the seeds, in Markdown."""
    lines = [f"| {group} | accuracy | weights | seconds |", "|---|---|---|---|"]
    for name, found in results.items():
        scores, weights, seconds = np.transpose(found)
        cells = f"{scores.mean():.3f} ± {np.ptp(scores) / 2:.3f} | {int(weights.max()):,} | {seconds.mean():.1f}"
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def best(f: Callable[[], object], repeats: int) -> float:
    """The seconds of the fastest of several calls; those of the processor, for other programs may run beside it."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        f()
        seconds.append(time.process_time() - start)
    return min(seconds)


def speed(images: int = 1797, by_loops: int = 64, repeats: int = 7) -> str:
    """The seconds of an epoch of the network in docs/learn/cnn_in_numpy.py, on one thread, in Markdown."""
    spec = importlib.util.spec_from_file_location("cnn_in_numpy", PLAIN)
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    X, y, *_ = few_images.split(DIGITS, 0)
    x, y = (np.resize(X, (images, *X.shape[1:]))[..., None] - 4.9) / 6.0, np.resize(y, images)
    layers = [Conv2D(8), ReLU(), MaxPool2D(), Conv2D(16), ReLU(), MaxPool2D(), Flatten()]

    def epoch(rows: int) -> Callable[[], object]:
        rng = np.random.default_rng(0)
        p = plain.initial_weights(rng)
        return lambda: plain.train(p, x[:rows], y[:rows], rng, epochs=1)

    found = {}
    with threadpool_limits(1):
        found["matrix products"] = best(epoch(images), repeats)
        for dtype in ("float64", "float32"):
            model = CNNClassifier(
                layers=layers, optimizer=SGD(nesterov=False), learning_rate=0.03, alpha=0.0, batch_size=32, max_iter=1,
                standardize=False, dtype=dtype, n_jobs=1, random_state=0,
            ).fit(x, y)  # fmt: skip
            found[f"skcnn, {dtype}"] = best(lambda model=model: model.partial_fit(x, y), repeats)
        plain.convolve, plain.convolve_backward = plain.convolve_loops, plain.convolve_loops_backward
        found = {"loops": best(epoch(by_loops), 1) * images / by_loops} | found
    return "\n".join(["| | seconds |", "|---|---|", *(f"| {name} | {found[name]:.3g} |" for name in found)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", choices=[*GROUPS, "speed"], metavar="GROUP",
                        help=", ".join([*GROUPS, "speed"]))  # fmt: skip
    parser.add_argument("--data", help="images, as in few_images.py, instead of those of the group")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--jobs", type=int, default=1, help="fits at the same time")
    arguments = parser.parse_args()
    for group in arguments.groups:
        if group == "speed":
            print(speed(), end="\n\n")
            continue
        names = list(GROUPS[group].networks)
        found = Parallel(n_jobs=arguments.jobs)(
            delayed(run)(group, name, seed, epochs=arguments.epochs, data=arguments.data)
            for name in names
            for seed in range(arguments.seeds)
        )
        grouped = {name: found[k * arguments.seeds : (k + 1) * arguments.seeds] for k, name in enumerate(names)}
        print(table(group, grouped), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
