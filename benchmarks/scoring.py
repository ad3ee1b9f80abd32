"""Which score should early stopping follow by default? Four tasks, paired draws: the score of the task, or the loss.

    python benchmarks/scoring.py [--draws 8]

Rows in digits are of 8 x 8 pixels, with noise so that early stopping has something to decide. Each draw splits anew and
fits twice with `early_stopping=True`, once for each `scoring`, and without it. Test rows choose nothing.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
from scipy.ndimage import rotate
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, log_loss, mean_squared_error
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier, CNNRegressor

FIT = {"conv_filters": (16, 32), "hidden_layer_sizes": (64,), "batch_norm": False, "max_iter": 60}


def tasks(rng: np.random.Generator) -> dict[str, tuple[Any, ...]]:
    """Name -> estimator, images, targets."""
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) + rng.normal(0, 6, (len(images), 8, 8))
    rare = np.flatnonzero((y != 8) | (rng.uniform(size=len(y)) < 0.3))
    labels = np.stack([y % 2 == 0, y > 4, np.isin(y, (2, 3, 5, 7))], axis=1).astype(int)
    angles = rng.uniform(-30, 30, len(images))
    turned = np.stack(
        [rotate(image, angle, reshape=False, order=1) for image, angle in zip(images, angles, strict=True)]
    )
    return {
        "balanced": (CNNClassifier(**FIT), images, y),
        "rare class": (CNNClassifier(**FIT), images[rare], (y[rare] == 8).astype(int)),
        "labels": (CNNClassifier(**FIT), images, labels),
        "regression": (CNNRegressor(**FIT), turned, angles),
    }


def measures(model: Any, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The score, and a second measure: log loss, average precision of a rare class, or root mean squared error."""
    score = model.score(X, y)
    if not is_classifier(model):
        return score, mean_squared_error(y, model.predict(X)) ** 0.5
    p = model.predict_proba(X)
    if y.ndim == 2:
        return score, log_loss(y.ravel(), p.ravel())
    return score, average_precision_score(y, p[:, 1]) if p.shape[1] == 2 else log_loss(y, p)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=8)
    draws = parser.parse_args().draws
    ways = {"none": {}, "score": {"early_stopping": True}, "loss": {"early_stopping": True, "scoring": "loss"}}
    found: dict[str, list[list[tuple[float, float, float]]]] = {}
    for draw in range(draws):
        for task, (model, X, y) in tasks(np.random.default_rng(draw)).items():
            strata = y if is_classifier(model) and y.ndim == 1 else None
            X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=draw, stratify=strata)
            row = []
            for options in ways.values():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fitted = clone(model).set_params(random_state=draw, **options).fit(X_train, y_train)
                row.append((*measures(fitted, X_test, y_test), float(fitted.n_iter_)))
            found.setdefault(task, []).append(row)
    print(
        f"{draws} draws: mean test score, second measure, epochs; and loss minus score, paired, with its standard error"
    )
    for task, rows in found.items():
        values = np.array(rows)  # (draws, ways, measures)
        for number, name in enumerate(ways):
            score, second, epochs = values[:, number].mean(axis=0)
            print(f"{task:12} {name:6} {score:.3f}  {second:7.3f}  {epochs:4.0f}")
        difference = values[:, 2, :2] - values[:, 1, :2]
        error = difference.std(axis=0, ddof=1) / np.sqrt(draws)
        mean = difference.mean(axis=0)
        print(f"{'':12} paired {mean[0]:+.3f} ± {error[0]:.3f}  {mean[1]:+.3f} ± {error[1]:.3f}")


if __name__ == "__main__":
    main()
