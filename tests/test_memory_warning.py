"""What a training takes is told before it is allocated, where it is much."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from test_memory import peak

import skcnn
from skcnn import CNNClassifier, CNNRegressor, MemoryUseWarning
from skcnn._engine import memory
from skcnn.layers import BatchNorm, Conv2D, Flatten, GlobalAvgPool2D, MaxPool2D, ReLU
from skcnn.optimizers import SGD

NETWORKS = {
    "default": {},
    "many blocks": {"conv_filters": (8, 16, 32)},
    "global pooling": {"layers": [Conv2D(16), ReLU(), MaxPool2D(), Conv2D(32), ReLU(), GlobalAvgPool2D()]},
    "batch norm": {"batch_norm": True},
    "dense": {"layers": [Flatten()], "optimizer": SGD()},
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("side", "rows"), [(32, 64), (64, 7)])
def test_the_estimate_is_near_what_a_training_takes(name, side, rows):
    model = CNNClassifier(max_iter=2, n_jobs=2, **NETWORKS[name])
    X, y = np.random.default_rng(0).normal(size=(rows, side, side, 3)).astype(np.float32), np.arange(rows) % 3
    network = model._network((side, side, 3), 3)
    estimate = sum(memory.training_memory(network, model._recipe(), rows, np.float32))
    assert 0.4 < estimate / peak(lambda: model.fit(X, y)) < 1.6


def test_the_estimate_of_large_batches_with_batch_norm():
    """All shards hold their outputs, although one thread computes them one after the other."""
    model = CNNClassifier((32,), batch_norm=True, batch_size=256, max_iter=1, n_jobs=1)
    X, y = np.random.default_rng(0).normal(size=(256, 32, 32, 3)).astype(np.float32), np.arange(256) % 3
    estimate = sum(memory.training_memory(model._network((32, 32, 3), 3), model._recipe(), len(X), np.float32))
    assert 0.8 < estimate / peak(lambda: model.fit(X, y)) < 1.9


@pytest.fixture
def small_machine(monkeypatch):
    """A machine with 100 MB."""
    monkeypatch.setattr(memory, "machine_memory", lambda: 100_000_000)


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_much_memory_is_told_with_its_reasons_and_remedies(estimator, method, small_machine):
    X, y = np.zeros((8, 64, 64, 3), np.uint8), np.arange(8) % 2
    X[::2] = 1
    model = estimator(max_iter=1)
    classes = {"classes": [0, 1]} if (estimator, method) == (CNNClassifier, "partial_fit") else {}
    with pytest.warns(MemoryUseWarning) as caught:
        getattr(model, method)(X, y, **classes)
    (warning,) = caught
    assert warning.filename == __file__
    said = str(warning.message)
    for part in ("this machine has 0.1 GB", f"{model.n_parameters_:,} weights", "of them in 'dense1'", "8 images"):
        assert part in said
    for remedy in ("Smaller images", "pool_size", "conv_filters", "GlobalAvgPool2D()", "batch_size"):
        assert remedy in said
    assert skcnn.MemoryUseWarning is MemoryUseWarning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X, y)  # it has the memory already


def test_weights_that_cannot_fit_are_an_error_before_they_are_allocated(small_machine):
    X, y = np.zeros((4, 256, 256, 3), np.uint8), np.arange(4) % 2
    model = CNNClassifier(batch_norm=False, max_iter=1)

    def fit():
        with pytest.raises(MemoryError, match=r"Training takes about 0\.\d GB of memory, and this machine has 0\.1 GB"):
            model.fit(X, y)

    assert peak(fit) < 30_000_000
    assert not hasattr(model, "n_iter_")


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((8, 8, 1), {}), ((28, 28, 1), {}), ((32, 32, 3), {"batch_norm": True}), ((1, 2000, 1), {}), ((9, 9, 200), {}),
        ((64, 64, 3), {"layers": [Conv2D(16), BatchNorm(), ReLU(), MaxPool2D(4), GlobalAvgPool2D()]}),
    ],
)  # fmt: skip
def test_usual_trainings_take_a_small_share_of_a_small_machine(shape, params, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 4_000_000_000)
    model = CNNClassifier(n_jobs=4, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory.check_memory(model._network(shape, 10), model._recipe(), 64, np.float32)


def test_a_machine_that_does_not_tell_its_memory_is_not_asked_twice(monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: None)
    model = CNNClassifier()
    memory.check_memory(model._network((1024, 1024, 3), 10), model._recipe(), 64, np.float32)


def test_the_memory_of_this_machine(monkeypatch, tmp_path):
    if Path("/proc/meminfo").exists():
        told = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
        monkeypatch.setattr(memory, "LIMITS", ())
        assert memory.machine_memory() == pytest.approx(told, rel=1e-6)
    if hasattr(os, "sysconf"):
        (tmp_path / "max").write_text("max\n")
        (tmp_path / "limit").write_text("123456789\n")
        monkeypatch.setattr(memory, "LIMITS", (tmp_path / "nowhere", tmp_path / "max", tmp_path / "limit"))
        assert memory.machine_memory() == 123456789
        monkeypatch.setattr(os, "sysconf", lambda name: -1)
        assert memory.machine_memory() is None
        monkeypatch.delattr(os, "sysconf")
    assert memory.machine_memory() is None
