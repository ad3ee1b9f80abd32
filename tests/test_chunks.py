"""Learning from data that can only be sliced, a chunk at a time."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import log_loss

from skcnn import CNNClassifier, CNNRegressor, load, save

CLASSES = np.arange(10)


class Sliceable:
    """What zarr arrays and HDF5 datasets have in common: a shape, a dtype and slices, read when asked for."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.rows_read = 0

    def __getitem__(self, rows):
        found = self._array[rows].copy()
        self.rows_read += len(found)
        return found

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype)


def network(**params):
    return CNNClassifier((4,), **{"hidden_layer_sizes": (16,), "learning_rate": 0.01, "random_state": 0} | params)


def learn(model, X, y, rows, passes, order):
    """A model after each of some passes over chunks of so many rows."""
    for _ in range(passes):
        for start in order.permutation(range(0, X.shape[0], rows)):
            model.partial_fit(X[start : start + rows], y[start : start + rows], classes=CLASSES)
        yield model


@pytest.fixture(params=["sliceable", "memory map", "big-endian memory map"])
def stored(request, digits, tmp_path):
    """The images as something that is not in memory."""
    if request.param == "sliceable":
        return Sliceable(digits[0])
    np.save(tmp_path / "images.npy", digits[0].astype(">f8" if "big" in request.param else digits[0].dtype))
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def test_chunks_of_a_file_are_chunks_of_an_array(digits, stored):
    (there,) = learn(network(), stored, digits[1], 50, 1, np.random.default_rng(0))
    (here,) = learn(network(), *digits, 50, 1, np.random.default_rng(0))
    assert_array_equal(there.predict_proba(stored[:30]), here.predict_proba(digits[0][:30]))
    assert there.n_iter_ == 3


def test_a_pass_reads_each_row_once(digits):
    stored = Sliceable(digits[0])
    list(learn(network(), stored, digits[1], 50, 2, np.random.default_rng(0)))
    assert stored.rows_read == 2 * stored.shape[0]


def test_fit_reads_all_of_what_can_only_be_sliced(digits):
    stored = Sliceable(digits[0])
    assert_array_equal(network().fit(stored, digits[1]).predict(stored), network().fit(*digits).predict(digits[0]))
    assert stored.rows_read == 2 * stored.shape[0]


def test_a_regressor_learns_from_chunks(digits):
    stored, y = Sliceable(digits[0]), digits[0].mean(axis=(1, 2))
    model = CNNRegressor((4,), hidden_layer_sizes=(16,), learning_rate=0.01, random_state=0)
    for start in 20 * list(range(0, stored.shape[0], 40)):
        model.partial_fit(stored[start : start + 40], y[start : start + 40])
    assert model.score(digits[0], y) > 0.9


@pytest.mark.slow
def test_a_curve_over_chunks_is_that_of_the_whole_within_the_spread_of_seeds(digits):
    X, y = digits

    def curves(rows):
        models = [network(random_state=seed, batch_size=20, batch_norm=False) for seed in range(5)]
        orders = [np.random.default_rng(seed) for seed in range(5)]
        passes = [learn(model, X, y, rows, 8, order) for model, order in zip(models, orders, strict=True)]
        return np.array([[log_loss(y, model.predict_proba(X)) for model in each] for each in passes])

    whole, chunked = curves(len(X)), curves(40)
    spread = np.sqrt((whole.var(axis=0, ddof=1) + chunked.var(axis=0, ddof=1)) / 2)
    assert whole[:, -1].mean() < whole[:, 0].mean() / 3, "it is meant to learn"
    assert (np.abs(whole.mean(axis=0) - chunked.mean(axis=0)) < spread).all()


def test_a_schedule_over_chunks_falls_as_it_does_in_fit(digits):
    X, y = digits
    whole = network(schedule="cosine", max_iter=4).fit(X, y)
    chunked = network(schedule="cosine", max_iter=4 * 3)
    list(learn(chunked, X, y, 40, 4, np.random.default_rng(0)))
    falling = chunked.history_["learning_rate"]
    assert falling == sorted(falling, reverse=True)
    assert falling[::3] == pytest.approx(whole.history_["learning_rate"])  # at the beginning of each pass


def test_the_standardization_is_that_of_the_first_chunk(digits):
    X, y = digits
    model = network().partial_fit(X[:50], y[:50], classes=CLASSES).partial_fit(X[50:], y[50:])
    assert_array_equal(model.input_mean_, network().partial_fit(X[:50], y[:50], classes=CLASSES).input_mean_)
    assert model.input_mean_ == pytest.approx(X[:50].mean())


@pytest.mark.parametrize("how", ["pickle", "file"])
def test_the_scale_of_the_weights_is_kept_with_the_model(digits, tmp_path, how):
    X, y = digits
    model = network().partial_fit(X[:60], y[:60], classes=CLASSES, sample_weight=np.full(60, 4.0))
    if how == "pickle":
        kept = pickle.loads(pickle.dumps(model))
    else:
        save(model, tmp_path / "model.skcnn")
        kept = load(tmp_path / "model.skcnn")
    afresh = network().partial_fit(X[:60], y[:60], classes=CLASSES)
    for each in (model, kept, afresh):
        each.partial_fit(X[60:], y[60:])
    assert_array_equal(kept.predict_proba(X), model.predict_proba(X))
    assert (model.predict_proba(X) != afresh.predict_proba(X)).any()  # there, the rows of the second chunk weigh 1
