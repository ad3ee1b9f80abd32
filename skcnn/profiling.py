"""Profiling of the steps of a model, measured on its tapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length

from ._arrays.elementwise import Array, ufunc_settings
from ._arrays.table import Table
from ._engine.data import Data
from ._engine.parallel import Team, one_blas_thread
from ._engine.passes import Passes, Work
from ._engine.progress import Fit, Progress
from ._estimators.base import BaseCNN, check_fitted_network
from ._estimators.validation import check_images
from ._tape.depthwise import SUMS_OF_PRODUCTS
from ._tape.tape import Tape
from .description import is_count


@dataclass(frozen=True)
class StepProfile:
    """Cost of one step of a training step or prediction."""

    name: str  # name of the layer, or "input", "loss", "optimizer"
    milliseconds: float
    calls: int
    flops: float  # floating-point operations: two per multiply-add of a product, one per element of other results
    bytes: float  # bytes that the calls read and write


@dataclass(frozen=True, repr=False)
class Profile:
    """Costs of a training step or a prediction. ``print`` and notebooks show them as a table.

    Attributes
    ----------
    title : str
        Description of the measurement.
    steps : tuple of StepProfile
        Costs of the steps, in forward order.
    """

    title: str
    steps: tuple[StepProfile, ...]

    @property
    def milliseconds(self) -> float:
        """Total time in milliseconds, on one thread."""
        return sum(step.milliseconds for step in self.steps)

    def table(self) -> Table:
        """Return the steps as a table."""
        whole = self.milliseconds

        def row(name: str, steps: Sequence[StepProfile]) -> tuple[str, ...]:
            ms = sum(step.milliseconds for step in steps)
            flops, size = sum(step.flops for step in steps), sum(step.bytes for step in steps)
            return (
                name,
                f"{ms:.3f}",
                f"{ms / whole:.1%}",
                str(sum(step.calls for step in steps)),
                f"{flops / 1e6:,.2f}",
                f"{flops / ms / 1e6:,.1f}",
                f"{size / 1e6:,.2f}",
            )

        header = ("step", "ms", "share", "calls", "MFLOP", "GFLOP/s", "MB")
        rows = tuple(row(step.name, [step]) for step in self.steps)
        return Table(header, rows, row("total", self.steps), numeric=6)

    def __str__(self) -> str:
        return f"{self.title}\n{self.table()}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<p>{self.title}</p>{self.table()._repr_html_()}"


def profile(estimator: BaseCNN, X: Any, y: Any = None, *, repeats: int = 20) -> Profile:
    """Measure the time of each layer of a fitted estimator, for a training step if ``y`` is given, or a prediction.

    All calls run on one thread, so that the times of all shards of a batch add up. Bias, activation and pooling layers
    that are fused into a step are listed under the name of the layer that owns the step. The estimator is not modified.
    A training step has no frozen layers, because a fit computes them before.

    Parameters
    ----------
    estimator : CNNClassifier or CNNRegressor
        Fitted estimator.
    X : array-like (n, h, w, c), (n, h, w) or (n, features)
        Images. A training step uses at most ``batch_size`` of them, a prediction at most one chunk.
    y : array-like, default=None
        Targets of the images. If None, a prediction is measured.
    repeats : int, default=20
        Number of repetitions, 1 or more. Times are medians.

    Returns
    -------
    Profile
        Costs of each step.

    Raises
    ------
    TypeError
        If `estimator` is not an estimator of this package.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If X or y have the wrong shape or contain invalid values, or `repeats` is not a positive integer.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier, profile
    >>> digits = load_digits()
    >>> classifier = CNNClassifier(max_iter=1).fit(digits.images, digits.target)
    >>> print(profile(classifier, digits.images))  # doctest: +SKIP
    >>> [step.name for step in profile(classifier, digits.images, digits.target, repeats=1).steps][:3]
    ['input', 'conv1', 'batchnorm1']
    """
    check_fitted_network(estimator)
    if not is_count(repeats):
        raise ValueError(f"repeats must be an int of 1 or more, got {repeats!r}.")
    images = check_images(estimator, X, reset=False)
    check_consistent_length(images, y)
    if y is None:
        title, tapes, load = _prediction(estimator, images)
    else:
        title, tapes, load = _training_step(estimator, images, np.asarray(y)[: len(images)])
    measured: dict[str, list[Any]] = {}
    with one_blas_thread, ufunc_settings():
        for repeat in range(repeats + 1):
            load()
            seconds = _replay(tapes)
            if repeat:  # the first repetition only warms up the caches
                for name, value in seconds.items():
                    measured.setdefault(name, []).append(value)
    costs = _costs(tapes)
    steps = [StepProfile(name, 1e3 * float(np.median(measured[name])), *costs[name]) for name in costs]
    return Profile(f"{title}; one thread, {estimator._model.weights.dtype}, medians of {repeats}", tuple(steps))


def _prediction(estimator: BaseCNN, images: Array) -> tuple[str, list[Tape], Callable[[], None]]:
    predictor = estimator._predictor
    images = images[: predictor.rows]
    tape, (x,), _ = predictor.record(len(images))
    return f"prediction of {len(images)} rows", [tape], lambda: np.copyto(x, images, casting="unsafe")


def _training_step(estimator: BaseCNN, images: Array, y: Array) -> tuple[str, list[Tape], Callable[[], None]]:
    rows = min(len(images), estimator.batch_size)
    targets, used = estimator._encode(y[:rows]), np.arange(rows)
    data = Data(images, used, targets, np.ones(rows), y[:rows])
    recipe, trained = estimator._recipe(), estimator._model
    model = replace(trained, weights=trained.weights.copy(), state=trained.state.copy())
    fit = Fit(model, Progress.begin(model, recipe, seed=0))
    passes = Passes(fit, Work.of(model, data, recipe), recipe, Team(1))
    return f"training step of {rows} rows", passes.recorded(rows).tapes, lambda: passes.load(used)


def _replay(tapes: list[Tape]) -> dict[str, float]:
    """Replay the tapes; return a dictionary of step -> seconds."""
    seconds: dict[str, float] = {}
    for segment in range(len(tapes[0].segments)):
        for tape in tapes:
            for (f, arguments), owner in zip(tape.segments[segment], tape.owners[segment], strict=True):
                start = time.perf_counter()
                f(*arguments)
                seconds[owner] = seconds.get(owner, 0.0) + time.perf_counter() - start
    return seconds


def _costs(tapes: list[Tape]) -> dict[str, tuple[int, float, float]]:
    """Return a dictionary of step -> (calls, floating-point operations, bytes)."""
    costs: dict[str, tuple[int, float, float]] = {}
    for tape in tapes:
        for calls, owners in zip(tape.segments, tape.owners, strict=True):
            for (f, arguments), owner in zip(calls, owners, strict=True):
                arrays = [a for a in arguments if isinstance(a, np.ndarray)]
                before = costs.get(owner, (0, 0.0, 0.0))
                moved = float(sum(a.nbytes for a in arrays))
                costs[owner] = before[0] + 1, before[1] + _flops(f, arrays), before[2] + moved
    return costs


def _flops(f: Callable[..., Any], arrays: list[Array]) -> float:
    if f is np.matmul:
        return 2.0 * arrays[-1].size * arrays[0].shape[-1]
    if f in SUMS_OF_PRODUCTS:
        return 2.0 * arrays[0].size
    return float(arrays[-1].size) if isinstance(f, np.ufunc) else 0.0
