"""Speed-up of a search by two workers, and by successive halving.

The script runs a grid search of eight fits with one worker, and with two workers that have a processor each: processes
of joblib (loky), threads of joblib, and a local cluster of Dask if it is installed. One network is for large images,
where a single fit can use two processors, and one is for small images, where it cannot. Then the script compares a grid
of 27 candidates with successive halving over epochs. It prints wall times, measured in turns, as tables in markdown.

    python benchmarks/search.py --save benchmarks/results/search.md
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from speed import cpu_model, warn_if_busy

from skcnn import CNNClassifier

Task = tuple[CNNClassifier, Any, Any]
Way = tuple[str | None, int, int | None]
Grid = Mapping[str, Sequence[Any]]
WAYS: dict[str, Way] = {  # name -> (joblib's backend, workers, n_jobs of the estimator)
    "one worker with one thread": (None, 1, 1),
    "one worker, `n_jobs=None`": (None, 1, None),
    "two processes (loky)": ("loky", 2, None),
    "two threads (threading), each fit with `n_jobs=1`": ("threading", 2, 1),
    "two processes of a Dask cluster": ("dask", 2, None),
}
GRID: Grid = {"learning_rate": [3e-4, 1e-3], "alpha": [0.0, 1e-4]}
HALVING_GRID: Grid = {
    "learning_rate": [1e-4, 1e-3, 1e-2],
    "conv_filters": [(8,), (16,), (16, 32)],
    "hidden_layer_sizes": [(), (32,), (128,)],
}
EPOCHS = 18
LARGE, SMALL = "32 x 32 x 3, 32 and 64 filters", "8 x 8, 16 and 32 filters"


def tasks(images: int) -> dict[str, Task]:
    """What is fitted: an estimator, its images and their classes."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((images, 32, 32, 3), dtype=np.float32)
    digits = load_digits()
    rows = min(len(digits.images), images)
    return {
        LARGE: (
            CNNClassifier((32, 64), batch_norm=False, max_iter=1, random_state=0),
            noise,
            rng.integers(10, size=images),
        ),
        SMALL: (
            CNNClassifier((16, 32), batch_norm=False, max_iter=30, random_state=0),
            digits.images[:rows].astype(np.float32),
            digits.target[:rows],
        ),
    }


def seconds_of(way: Way, task: Task, grid: Grid) -> float:
    """Seconds of a search over the grid with two folds."""
    (backend, workers, threads), (model, images, y) = way, task
    searched = GridSearchCV(clone(model).set_params(n_jobs=threads), grid, cv=2, refit=False, n_jobs=workers)
    start = time.perf_counter()
    with nullcontext() if backend is None else joblib.parallel_config(backend):
        searched.fit(images, y)
    return time.perf_counter() - start


@contextmanager
def cluster(ways: Mapping[str, Way]) -> Iterator[None]:
    """Two processes for the searches inside, if Dask is there."""
    if "dask" not in {backend for backend, _, _ in ways.values()}:
        yield
        return
    from distributed import Client, LocalCluster

    environment = dict(os.environ)
    with (
        LocalCluster(processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None) as workers,
        Client(workers),
    ):
        # Dask leaves its workers' number of threads in this process, whose children would inherit it.
        os.environ.clear()
        os.environ.update(environment)
        yield


def in_turns(ways: Mapping[str, Way], task: Task, grid: Grid, rounds: int) -> dict[str, float]:
    """Median seconds of each way."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    model, images, y = task
    for way in ways.values():  # workers that are started stay
        seconds_of(way, (model, images[:200], y[:200]), grid)
    for number in range(rounds):
        first, names = number % len(ways), list(ways)  # nobody always comes after the same one
        for name in [*names[first:], *names[:first]]:
            seconds[name].append(seconds_of(ways[name], task, grid))
    return {way: median(values) for way, values in seconds.items()}


def workers_table(rounds: int, images: int, ways: Mapping[str, Way] = WAYS, grid: Grid = GRID) -> str:
    """One worker and two, in markdown."""
    with cluster(ways):
        found = {name: in_turns(ways, task, grid, rounds) for name, task in tasks(images).items()}
    lines = [
        "| eight fits | " + " | ".join(f"{name}: s | speed-up" for name in found) + " |",
        "|---|" + "---|---|" * len(found),
    ]
    alone = {name: min(s for way, s in seconds.items() if ways[way][1] == 1) for name, seconds in found.items()}
    for way in ways:
        cells = [f"{seconds[way]:.2f} | {alone[name] / seconds[way]:.2f}" for name, seconds in found.items()]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def halving_table(rounds: int, images: int, epochs: int = EPOCHS, workers: int = 2, grid: Grid = HALVING_GRID) -> str:
    """A full grid and successive halving with the same candidates, in markdown."""
    _, X, y = tasks(images)[SMALL]
    model = CNNClassifier(batch_norm=False, random_state=0, max_iter=epochs)
    smallest = epochs // 9
    searches = {
        f"full grid, {epochs} epochs each": GridSearchCV(model, grid, cv=3, refit=False, n_jobs=workers),
        f"halving, {smallest} to {epochs} epochs": HalvingGridSearchCV(
            model,
            grid,
            resource="max_iter",
            min_resources=smallest,
            max_resources=epochs,
            cv=3,
            refit=False,
            n_jobs=workers,
            random_state=0,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for number in range(rounds):
        for name in list(searches)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            searches[name].fit(X, y)
            seconds[name].append(time.perf_counter() - start)
    full, halving = searches.values()
    trained = [
        epochs * len(full.cv_results_["params"]),
        sum(n * r for n, r in zip(halving.n_candidates_, halving.n_resources_, strict=True)),
    ]
    chosen = {key: value for key, value in halving.best_params_.items() if key != "max_iter"}
    places = [1, int(full.cv_results_["rank_test_score"][full.cv_results_["params"].index(chosen)])]
    lines = [
        f"| {len(full.cv_results_['params'])} candidates | epochs | s | best accuracy | place in the grid |",
        "|---|---|---|---|---|",
    ]
    for (name, values), count, place in zip(seconds.items(), trained, places, strict=True):
        score = searches[name].best_score_
        lines.append(f"| {name} | {count} in each of 3 folds | {median(values):.1f} | {score:.3f} | {place} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and save if asked to."""
    parser = argparse.ArgumentParser(description="Searches on two workers, and by successive halving.")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--quick", action="store_true", help="one short round: only to see that it works")
    parser.add_argument("--save", type=Path, help="a file for the tables")
    arguments = parser.parse_args(argv)
    warn_if_busy()
    if find_spec("distributed") is None:
        print("Dask is not installed: its row is left out.\n")
        del WAYS["two processes of a Dask cluster"]
    if arguments.quick:
        arguments.rounds, arguments.images = 1, 200
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scikit-learn", "joblib"))
    head = f"{cpu_model()}, {os.cpu_count()} processors, Python {platform.python_version()}, {packages}"
    tables = [
        workers_table(arguments.rounds, arguments.images),
        halving_table(min(3, arguments.rounds), arguments.images, 9 if arguments.quick else EPOCHS),
    ]
    text = "\n\n".join([head, *tables]) + "\n"
    print(text)
    if arguments.save:
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        arguments.save.write_text(text)


if __name__ == "__main__":
    main()
