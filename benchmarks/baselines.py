"""Accuracies on the test images of scikit-learn's digits, MNIST and CIFAR-10: skcnn beside other classifiers.

    SKCNN_DATA=folder python benchmarks/baselines.py --save results.json
    SKCNN_DATA=folder python benchmarks/baselines.py --data cifar10 --contenders residual --seeds 1 --epochs 15

SKCNN_DATA names the folder with ``mnist.npz`` and ``cifar10.npz``, as for mnist.py and colour.py, whose networks are
contenders here. All contenders of a data set learn from the same training images, or from its first rows where the name
says so, and are tested on the same test images after their last epoch: no epoch is selected on the test images.

``--save`` writes the fits to a JSON file, and does not repeat those that are in it. docs/figures_results.py draws them.
``--synthetic`` takes a few drawn images instead: only to see that everything works.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import colour
import few_images
import mnist
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from speed import cpu_model, warn_if_busy
from threadpoolctl import threadpool_info

from skcnn import CNNClassifier
from skcnn.architecture import build_layers

SLOW_ROWS = 10_000  # of CIFAR-10, for the classifiers that would need hours
ERRORS = 24  # misclassified images that are saved for the figures
Split = tuple[Any, ...]  # X, y to learn from, X, y to test on


@dataclass(frozen=True)
class Contender:
    """A classifier: how to build it from a seed and a number of epochs."""

    build: Callable[[int, int], Any]
    epochs: int = 0  # the usual number, of a network; 0: other classifiers, which get no number
    rows: int | None = None  # training images; None: all
    is_random: bool = True  # whether fits of different seeds differ


@dataclass
class Fit:
    """A fit, and its predictions for the test images."""

    data: str
    contender: str
    seed: int
    epochs: int  # 0: no network, or one that stops early
    rows: int  # training images
    seconds: float
    conditions: str
    accuracy: float
    confusion: list[list[int]]
    loss: list[float] = field(default_factory=list)  # of each epoch, of a network of skcnn
    curve: list[float] = field(default_factory=list)  # accuracy on the test images after each epoch
    errors: list[tuple[int, int, float]] = field(default_factory=list)  # rows, classes, their probabilities


class TestCurve:
    """A callback that scores the test images after each epoch, by one view of each. It does not select an epoch."""

    def __init__(self, X: Any, y: Any) -> None:
        self.X, self.y, self.accuracies, self.seconds = X, y, [], 0.0

    def setup(self, estimator: Any, context: Any) -> None: ...

    def teardown(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        if context.task_name == "epoch":
            start = time.perf_counter()
            fitted_estimator.set_params(test_time_augmentation=None)
            self.accuracies.append(float(fitted_estimator.score(self.X, self.y)))
            self.seconds += time.perf_counter() - start


# -- the images


@cache
def split(name: str) -> Split:
    """The images of that name: to learn from, and to test on."""
    match name:
        case "digits":
            X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
            return X.reshape(-1, 8, 8), y, X_test.reshape(-1, 8, 8), y_test
        case "mnist":
            return mnist.load().rows()
        case "cifar10":
            return colour.split(*colour.load(), test=True)
        case "synthetic":
            return *colour.make(300, seed=0), *colour.make(100, seed=1)
    raise ValueError(f"There are no images {name!r}.")


# -- the contenders


def rows_of_pixels(X: Any) -> Any:
    """Images (n, h, w) or (n, h, w, c) -> (n, features) from 0 to 1."""
    return X.reshape(len(X), -1) / np.float32(16 if X.dtype.kind == "f" else 255)  # scikit-learn's digits are floats


def on_pixels(classifier: Any) -> Any:
    """A classifier of scikit-learn, for images."""
    return make_pipeline(FunctionTransformer(rows_of_pixels), classifier)


def default_network(usual: int, **changed: Any) -> Contender:
    """The default network, with changes."""
    return Contender(lambda seed, epochs: CNNClassifier(max_iter=epochs, random_state=seed, **changed), usual)


def best_network(usual: int) -> Contender:
    """The best network of mnist.py."""
    return Contender(mnist.best_network, usual)


def of_colour(name: str, rows: int | None = None) -> Contender:
    """A network of colour.py."""
    build, usual = colour.RUNS[name]
    return Contender(lambda seed, epochs: build(epochs).set_params(random_state=seed, verbose=0), usual, rows)


def twin(usual: int, *, is_cosine: bool = False) -> Contender:
    """The default network without batch norm in PyTorch, with PyTorch's initial weights."""
    layers = build_layers((8, 8, 1), batch_norm=False)  # larger images have the same ones
    options: dict[str, Any] = {"batch_size": 64, "is_cosine": is_cosine}
    return Contender(lambda seed, epochs: few_images.TorchClassifier(layers, (), epochs, seed, **options), usual)


def tabular(rows: int | None = None, *, C: float = 1.0, early_stopping: bool = True) -> dict[str, Contender]:
    """Four classifiers of scikit-learn, of which two learn from no more than ``rows`` images."""
    logistic = on_pixels(LogisticRegression(C=C))
    boosting = on_pixels(HistGradientBoostingClassifier(early_stopping=False))
    return {
        "LogisticRegression": Contender(lambda seed, epochs: logistic, is_random=False),
        "SVC": Contender(lambda seed, epochs: on_pixels(SVC(C=10)), rows=rows, is_random=False),
        "HistGradientBoostingClassifier": Contender(lambda seed, epochs: boosting, rows=rows, is_random=False),
        "MLPClassifier": Contender(
            lambda seed, epochs: on_pixels(MLPClassifier(early_stopping=early_stopping, random_state=seed))
        ),
    }


CONTENDERS: dict[str, dict[str, Contender]] = {
    "digits": {
        **tabular(early_stopping=False),
        "default": default_network(30),
        "no batch norm": default_network(30, batch_norm=False),
        "PyTorch": twin(30),
        "best": best_network(60),  # as many as a cross-validation on the training images asked for
    },
    "mnist": {
        **tabular(),
        "default": default_network(mnist.EPOCHS),
        "no batch norm": default_network(mnist.EPOCHS, batch_norm=False),
        "PyTorch": twin(mnist.EPOCHS),
        "best": best_network(mnist.BEST_EPOCHS),
    },
    "cifar10": {
        **tabular(SLOW_ROWS, C=0.01),
        **{f"small, {SLOW_ROWS}": of_colour("small", SLOW_ROWS)},
        "PyTorch": twin(colour.RUNS["small"][1], is_cosine=True),
        **{name: of_colour(name) for name in colour.RUNS},
    },
    "synthetic": {**tabular(), "default": default_network(2), "PyTorch": twin(2)},
}


def conditions() -> str:
    """The processor, and the kernels of the BLAS libraries."""
    kernels = {library["architecture"] for library in threadpool_info() if library["user_api"] == "blas"}
    return f"{cpu_model()}, {' and '.join(sorted(kernels))} kernels"


def fitted(data: str, name: str, seed: int, epochs: int) -> Fit:
    """Fit a contender, and predict the test images."""
    contender = CONTENDERS[data][name]
    X, y, X_test, y_test = split(data)
    X, y = X[: contender.rows], y[: contender.rows]
    model, curve = contender.build(seed, epochs), TestCurve(X_test, y_test)
    if isinstance(model, CNNClassifier):
        model.set_callbacks(curve)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # logistic regression ends after 100 iterations
        model.fit(X, y)
    seconds = time.perf_counter() - start - curve.seconds
    predicted = model.predict(X_test)
    fit = Fit(data, name, seed, epochs, len(X), seconds, conditions(), float(np.mean(predicted == y_test)), [])
    fit.confusion = confusion_matrix(y_test, predicted).tolist()
    if isinstance(model, CNNClassifier):
        fit.loss, fit.curve = list(map(float, model.loss_curve_)), curve.accuracies
        certainty = model.predict_proba(X_test).max(axis=1)
        wrong = np.flatnonzero(predicted != y_test)
        wrong = wrong[np.argsort(-certainty[wrong], kind="stable")][:ERRORS]
        fit.errors = [(int(row), int(predicted[row]), float(certainty[row])) for row in wrong]
    return fit


def accuracy_of(fits: list[Fit]) -> str:
    """Mean accuracy of the seeds ± half the range."""
    scores = [fit.accuracy for fit in fits]
    return f"{np.mean(scores):.4f}" + (f" ± {np.ptp(scores) / 2:.4f}" if len(fits) > 1 else "")


def row(fits: list[Fit]) -> str:
    """Accuracy, and seconds of the fastest fit, in Markdown."""
    seconds = min(fit.seconds for fit in fits)
    cells = [fits[0].data, fits[0].contender, f"{fits[0].rows:,}", str(fits[0].epochs or ""), accuracy_of(fits)]
    return f"| {' | '.join([*cells, str(len(fits)), f'{seconds:.1f}', fits[0].conditions])} |"


def read(path: Path | None) -> list[Fit]:
    """Fits that were saved."""
    return [Fit(**record) for record in json.loads(path.read_text())] if path and path.is_file() else []


def main(argv: Iterable[str] | None = None) -> None:
    """Fit what is not saved, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(name for contenders in CONTENDERS.values() for name in contenders))
    sets = [name for name in CONTENDERS if name != "synthetic"]
    parser.add_argument("--data", nargs="+", choices=sets, default=sets)
    parser.add_argument("--contenders", nargs="+", choices=names, metavar="NAME", default=names, help=", ".join(names))
    parser.add_argument("--seeds", type=int, default=3, help="fits of a contender whose fits of different seeds differ")
    parser.add_argument("--epochs", type=int, help="of the networks, instead of the usual numbers")
    parser.add_argument("--save", type=Path, help="a JSON file of fits")
    parser.add_argument("--synthetic", action="store_true", help="a few images that are drawn here")
    arguments = parser.parse_args(None if argv is None else list(argv))
    warn_if_busy()
    saved = read(arguments.save)
    print(
        "| data | classifier | training images | epochs | accuracy | fits | seconds of the fastest | processor |\n"
        + "|---" * 8
        + "|"
    )
    for data in ["synthetic"] if arguments.synthetic else arguments.data:
        for name, contender in CONTENDERS[data].items():
            if name not in arguments.contenders or (name == "PyTorch" and not find_spec("torch")):
                continue
            fits = []
            for seed in range(arguments.seeds if contender.is_random else 1):
                wanted = (data, name, seed, contender.epochs and (arguments.epochs or contender.epochs))
                known = [fit for fit in saved if (fit.data, fit.contender, fit.seed, fit.epochs) == wanted]
                fits.append(known[0] if known else fitted(*wanted))
                if arguments.save and not known:
                    saved.append(fits[-1])
                    arguments.save.write_text(json.dumps([asdict(fit) for fit in saved]) + "\n")
            print(row(fits), flush=True)


if __name__ == "__main__":
    main()
