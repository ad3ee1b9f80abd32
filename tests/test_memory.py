"""What a fit and a prediction hold at most."""

import tracemalloc

import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn._engine.data import Data
from skcnn.callbacks import Checkpoint
from skcnn.layers import Conv2D, Flatten, MaxPool2D, ReLU

LAYERS = [Conv2D(2, strides=2), ReLU(), MaxPool2D(), Flatten()]


def peak(call):
    """Bytes that a call allocates at most beyond what was there."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """24 MB of 8-bit images in a file, as a read-only memory map."""
    path = tmp_path_factory.mktemp("images") / "images.npy"
    rng = np.random.default_rng(0)
    np.save(path, rng.integers(0, 256, size=(6_000, 64, 64), dtype=np.uint8))
    return np.load(path, mmap_mode="r")


@pytest.mark.slow
def test_fit_converts_a_memory_mapped_array_batch_by_batch(images):
    y = np.arange(len(images)) % 3
    model = CNNClassifier(layers=LAYERS, max_iter=1, n_jobs=1, early_stopping=True)
    whole = 4 * images.size  # bytes in float32
    assert peak(lambda: model.fit(images, y)) < whole / 3
    assert peak(lambda: model.predict(images)) < whole / 3


@pytest.mark.slow
def test_a_checkpoint_reads_a_memory_mapped_array_block_by_block(images, tmp_path):
    y = np.arange(len(images)) % 3
    model = CNNClassifier(layers=LAYERS, max_iter=1, n_jobs=1, early_stopping=True)
    model.set_callbacks(Checkpoint(tmp_path / "model"))
    data = Data(images.reshape(-1, 64, 64, 1), np.arange(len(images)), y, np.ones(len(images)))
    assert peak(lambda: data.checksum) < images.nbytes / 2
    assert peak(lambda: model.fit(images, y)) < 4 * images.size / 3


@pytest.mark.slow
def test_peak_does_not_grow_with_the_number_of_rows(images):
    y = np.arange(len(images)) % 3
    model = CNNClassifier(layers=LAYERS, max_iter=1, n_jobs=1)
    few, many = (peak(lambda n=n: model.fit(images[:n], y[:n])) for n in (3_000, 6_000))
    assert many - few < 200_000


def test_predictions_go_in_chunks():
    X = np.random.default_rng(0).normal(size=(2_000, 32, 32)).astype(np.float32)
    y = np.arange(len(X)) % 2
    model = CNNClassifier((16,), hidden_layer_sizes=(), max_iter=1, n_jobs=1).fit(X[:64], y[:64])
    whole = X.nbytes * 16  # the output of the first convolution for all rows
    assert peak(lambda: model.predict_proba(X)) < whole / 8


@pytest.mark.usefixtures("small_shards")
def test_shards_that_a_thread_computes_one_after_the_other_have_the_same_memory():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 24, 24)).astype(np.float32), np.arange(64) % 3
    held = []
    for batch_size in (8, 64):
        layers = [Conv2D(16), ReLU(), MaxPool2D(), Flatten()]
        model = CNNClassifier(layers=layers, batch_size=batch_size, max_iter=1, n_jobs=1)
        held.append(peak(lambda model=model: model.fit(X, y)))
    assert held[1] < 2 * held[0]  # with eight shards in place of one, each with its images and its gradient
