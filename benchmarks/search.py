"""Whether a grid search on two workers is faster than one after the other.

Threads of the workers must not get in each other's way.

The same search, with `n_jobs=1` of the search and all threads in each fit, and with two workers that have a processor
each, under joblib's process and thread backends. Wall times, in turns.

    python benchmarks/search.py
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import joblib
import numpy as np
from sklearn.model_selection import GridSearchCV

from skcnn import CNNClassifier

BACKENDS = (("one after the other", None, 1), ("two processes (loky)", "loky", 2), ("two threads", "threading", 2))
IMAGES = 3_000


def search(n_jobs: int, backend: str | None, images: Any, y: Any) -> float:
    """Seconds of a search over four candidates with two folds."""
    model = CNNClassifier((32, 64), max_iter=1, random_state=0)
    grid = GridSearchCV(model, {"learning_rate": [3e-4, 1e-3], "alpha": [0.0, 1e-4]}, cv=2, n_jobs=n_jobs, refit=False)
    start = time.perf_counter()
    if backend is None:
        grid.fit(images, y)
    else:
        with joblib.parallel_backend(backend, n_jobs=n_jobs):
            grid.fit(images, y)
    return time.perf_counter() - start


def main() -> None:
    """Measure in turns and print the medians."""
    parser = argparse.ArgumentParser(description="Grid searches on two workers.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images, y = (
        rng.standard_normal((arguments.images, 32, 32, 3), dtype=np.float32),
        rng.integers(10, size=arguments.images),
    )
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in BACKENDS}
    for _, backend, n_jobs in BACKENDS:
        search(n_jobs, backend, images[:200], y[:200])  # workers that are started stay
    for _ in range(arguments.rounds):
        for name, backend, n_jobs in BACKENDS:
            seconds[name].append(search(n_jobs, backend, images, y))
    alone = median(seconds[BACKENDS[0][0]])
    for name, values in seconds.items():
        print(f"{name:24s} {median(values):6.2f} s   {median(values) / alone:.2f}")


if __name__ == "__main__":
    main()
