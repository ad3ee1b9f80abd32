"""What a fit and a prediction hold at most."""

import copy
import gc
import threading
import time
import tracemalloc

import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn._engine import parallel, predictor
from skcnn._engine.data import Data
from skcnn.callbacks import Checkpoint
from skcnn.layers import GELU, BatchNorm, Conv2D, Flatten, GlobalAvgPool2D, MaxPool2D, ReLU

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

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
    data = Data(images.reshape(-1, 64, 64, 1), np.arange(len(images)), y, np.ones(len(images)), y)
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
    assert held[1] < 3 * held[0]  # with eight shards in place of one, each with its images and its gradient


@pytest.mark.usefixtures("small_shards")
def test_shards_that_meet_at_a_barrier_share_the_memory_of_all_that_crosses_none():
    """The transformed kernels and their gradients are most of it. With a thread for each shard, each has its own."""
    X, y = np.random.default_rng(0).normal(size=(64, 8, 8)).astype(np.float32), np.arange(64) % 3
    layers = [Conv2D(64), BatchNorm(), GELU(), Conv2D(64), BatchNorm(), GELU(), MaxPool2D(), Flatten()]
    one, each = (
        peak(lambda n=n: CNNClassifier(layers=layers, batch_size=64, max_iter=1, n_jobs=n).fit(X, y)) for n in (1, 8)
    )
    assert one < each / 2


def test_arrays_that_no_backward_pass_reads_are_not_kept():
    X, y = np.random.default_rng(0).normal(size=(16, 32, 32)).astype(np.float32), np.arange(16) % 3
    block = [Conv2D(16), GELU()]
    few, many = (
        peak(lambda n=n: CNNClassifier(layers=[*block * n, GlobalAvgPool2D()], max_iter=1, n_jobs=1).fit(X, y))
        for n in (4, 8)
    )
    kept = (many - few) / 4 / (4 * X.size * 16)  # of each block, in outputs of a layer
    assert kept < 1 + (10 / 8) ** 2  # slopes of GELU, and tiles that read 10 x 10 pixels for 8 x 8 outputs


def held_by(model):
    """Bytes of the arrays that the predictions of a model have left behind."""
    return sum(kit._arena.size + sum(tape.size for tape in kit._tapes.values()) for kit in model._predictor._pool)


@pytest.fixture
def predicting():
    """A fitted network of few weights, whose tapes are large, and images."""
    X = np.random.default_rng(0).normal(size=(300, 16, 16)).astype(np.float32)
    model = CNNClassifier((16,), hidden_layer_sizes=(16,), max_iter=1, n_jobs=1).fit(X[:30], np.arange(30) % 3)
    return model, X


@pytest.mark.parametrize("step", [1, -1, 37])
def test_predictions_of_ever_other_numbers_of_rows_keep_bounded_memory(predicting, step):
    model, X = predicting
    once = copy.deepcopy(model)
    once.predict(X[: once._predictor.rows])  # the largest chunk
    largest = held_by(once)
    for rows in range(300):
        model.predict(X[: 1 + rows * step % 299])
    assert held_by(model) <= predictor.MOST * largest
    gc.collect()
    tracemalloc.start()
    try:
        for rows in range(300):
            model.predict(X[: 1 + rows * step % 299])
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown <= predictor.MOST * largest + 1_000_000  # and nothing else does


def test_few_tapes_are_recorded_again_where_the_memory_is_bounded(predicting, monkeypatch):
    model, X = predicting
    recorded = []
    record = model._predictor.record
    monkeypatch.setattr(model._predictor, "record", lambda rows, *more: recorded.append(rows) or record(rows, *more))
    for _ in range(5):
        for rows in (60, 1, 33, 7, 100, 128):
            model.predict(X[:rows])
    assert len(recorded) <= 12


def test_what_many_threads_have_predicted_with_is_given_up_when_it_is_idle(predicting, monkeypatch):
    monkeypatch.setattr(predictor, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(parallel, "IDLE_SECONDS", 0.05)
    model, X = predicting
    expected = model.predict_proba(X[:20])
    one = held_by(model)
    meet, threads, answers = threading.Barrier(16), [], []

    def work():
        kit = model._predictor._kit()
        meet.wait()  # all have one of their own
        model._predictor._put_back(kit)
        answers.append(model.predict_proba(X[:20]))

    for _ in range(16):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert len(model._predictor._pool) > 1
    deadline = time.monotonic() + 10
    while len(model._predictor._pool) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(model._predictor._pool) == 1
    assert held_by(model) <= one
    for answer in (*answers, model.predict_proba(X[:20])):
        np.testing.assert_array_equal(answer, expected)


def test_memory_that_is_in_use_is_not_given_up(predicting, monkeypatch):
    monkeypatch.setattr(predictor, "IDLE_SECONDS", 1000)
    found = predicting[0]._predictor
    kits = [found._kit() for _ in range(3)]
    for kit in kits:
        found._put_back(kit)
    assert found.sweep()
    assert len(found._pool) == 3
    kits[0].used -= 2000
    assert found.sweep()
    assert found._pool == kits[1:]
    for kit in kits:
        kit.used -= 2000
    assert not found.sweep()
    assert len(found._pool) == 1  # the last one stays for the next prediction


def test_the_thread_that_gives_up_memory_ends_and_does_not_hold_models(monkeypatch):
    monkeypatch.setattr(parallel, "IDLE_SECONDS", 0.02)
    sweeper = parallel._Sweeper()

    class Owner:
        swept = 0

        def sweep(self):
            self.swept += 1
            return True

    owner = Owner()
    sweeper.watch(owner)
    sweeper.watch(owner)
    thread = sweeper._thread
    deadline = time.monotonic() + 10
    while owner.swept < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thread.is_alive()
    del owner
    thread.join(10)
    assert not thread.is_alive()
    assert sweeper._thread is None


def test_predictions_need_no_thread_that_gives_up_memory(monkeypatch):
    """As when the interpreter ends, and no thread can be started any more."""

    def failing(thread):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", failing)
    sweeper = parallel._Sweeper()
    sweeper.watch(sweeper)
    assert sweeper._thread is None
