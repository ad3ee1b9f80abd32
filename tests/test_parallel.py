"""Threads: teams, the number of them, and BLAS held to one."""

import multiprocessing
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from skcnn import CNNClassifier
from skcnn._arrays.elementwise import BUFFER, ufunc_settings
from skcnn._engine import parallel
from skcnn._engine.model import predictor_of
from skcnn._engine.parallel import Team, one_blas_thread, thread_count
from skcnn._engine.passes import SHARD
from skcnn._engine.predictor import LEAST_ROWS, TAPES
from skcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU


def blas_threads():
    """Of the BLAS that NumPy computes with: its wheel's own, if there is one."""
    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    own = [library for library in found if "numpy.libs" in library["filepath"]]
    return {library["num_threads"] for library in own or found}


def test_team_does_all_jobs_and_gives_each_number_to_the_same_thread():
    seen = [set() for _ in range(5)]
    with Team(3) as team:
        for _ in range(20):
            team.run([partial(lambda number: seen[number].add(threading.get_ident()), k) for k in range(5)])
    assert [len(threads) for threads in seen] == [1] * 5
    assert seen[0] == seen[3] == {threading.get_ident()}
    assert seen[1] == seen[4] != seen[2]


def test_team_leaves_no_thread_behind():
    before = set(threading.enumerate())
    with Team(4) as team:
        team.run([lambda: None] * 4)
        assert len(set(threading.enumerate()) - before) == 3
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("place", range(3))
def test_error_of_any_job_is_raised_when_all_have_ended(place):
    done = []

    def job(number):
        time.sleep(0.01 * (number != place))
        if number == place:
            raise ZeroDivisionError(number)
        done.append(number)

    with Team(3) as team:
        with pytest.raises(ZeroDivisionError):
            team.run([partial(job, number) for number in range(3)])
        assert sorted(done) == [number for number in range(3) if number != place]
        team.run([partial(done.append, "again")] * 3)
    assert done.count("again") == 3


def test_workers_do_not_warn_of_what_the_caller_does_not_warn_of():
    with ufunc_settings(), Team(2) as team:
        team.run([lambda: np.log(np.zeros(3))] * 2)


def test_blas_is_held_to_one_thread_until_the_last_has_left():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        inside, leave, left = threading.Event(), threading.Event(), threading.Event()

        def stay():
            with one_blas_thread:
                inside.set()
                leave.wait()
            left.set()

        with one_blas_thread:  # the first to come, and not the last to go
            thread = threading.Thread(target=stay)
            thread.start()
            inside.wait()
        assert blas_threads() == {1}
        leave.set()
        thread.join()
        assert blas_threads() == before == {2}


def test_number_of_threads():
    with threadpool_limits(2, user_api="blas"):
        assert thread_count(None) == 2
        with one_blas_thread:
            assert thread_count(None) == 1
    assert thread_count(3) == 3
    assert thread_count(-1) == joblib.cpu_count()
    with pytest.raises(ValueError, match="n_jobs"):
        thread_count(0)


class Cluster(joblib.parallel.ParallelBackendBase):
    """A backend whose jobs are a hundred processes elsewhere, as Dask's, and which says so in this process too."""

    apply_async = None  # abstract in joblib 1.4

    def effective_n_jobs(self, n_jobs):
        warnings.warn("these are processes, not threads", stacklevel=2)
        return 100


def test_threads_are_not_the_jobs_of_a_cluster():
    with joblib.parallel_config(Cluster()):
        assert joblib.parallel.get_active_backend()[0].__class__ is Cluster
        assert [thread_count(n_jobs) for n_jobs in (1, 2, 7)] == [1, 2, 7]
        assert thread_count(-1) == joblib.cpu_count()
        assert thread_count(-1000) == 1
        with pytest.raises(ValueError, match="n_jobs=0 has no meaning"):
            thread_count(0)


def test_joblib_ends_threads_that_are_nested_too_deeply():
    def inside(depth):
        if not depth:
            return thread_count(2)
        return joblib.Parallel(n_jobs=2)(joblib.delayed(inside)(depth - 1) for _ in range(2))[0]

    with joblib.parallel_config("threading"):
        assert [inside(depth) for depth in range(4)] == [2, 2, 1, 1]


def test_prediction_and_fit_leave_blas_as_it_was():
    X, y = np.random.default_rng(0).normal(size=(20, 8, 8)), np.arange(20) % 2
    with threadpool_limits(2, user_api="blas"):
        CNNClassifier((2,), hidden_layer_sizes=(), max_iter=1).fit(X, y).predict(X)
        assert blas_threads() == {2}


def test_small_problems_start_no_thread(monkeypatch):
    def start(thread):
        raise AssertionError(f"{thread} was started")

    monkeypatch.setattr(threading.Thread, "start", start)
    X, y = np.random.default_rng(0).normal(size=(2 * SHARD[0], 8, 8)), np.arange(2 * SHARD[0]) % 2
    model = CNNClassifier((2,), hidden_layer_sizes=(), max_iter=2, n_jobs=4).fit(X, y)
    assert model.predict(np.repeat(X, 10, axis=0)).shape == (20 * SHARD[0],)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("features", [5_000, 50_000, 100_000])
def test_few_rows_have_the_same_bits_however_many_threads_blas_may_use(features, rows):
    """Where BLAS is not held, because that takes longer than the prediction, it must not split a product."""
    X, y = np.random.default_rng(0).normal(size=(6, 1, features)), np.arange(6) % 2
    model = CNNClassifier(layers=[Flatten()], max_iter=1, random_state=0).fit(X, y)
    answers = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            answers.append([model.decision_function(X[i : i + rows]) for i in range(0, 6, rows)])
    np.testing.assert_array_equal(*answers)


LARGE = [Conv2D(32), ReLU(), Conv2D(64), ReLU(), MaxPool2D(4), Flatten(), Dense(128)]


@pytest.fixture(scope="module")
def large():
    """A network of which a few images are worth a thread, and its images."""
    X = np.random.default_rng(0).normal(size=(20, 32, 32, 3)).astype(np.float32)
    return CNNClassifier(layers=LARGE, max_iter=1, random_state=0).fit(X, np.arange(20) % 3), X


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 20])
def test_few_rows_have_the_same_bits_for_every_number_of_threads(large, rows):
    model, X = large
    expected = model.set_params(n_jobs=1).decision_function(X[:rows])
    for n_jobs in (2, 3, 4, None):
        np.testing.assert_array_equal(model.set_params(n_jobs=n_jobs).decision_function(X[:rows]), expected)
    alone = [model.decision_function(X[i : i + 1]) for i in range(rows)]
    np.testing.assert_allclose(np.concatenate(alone), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("longest", [1, 6, 15, 21, 31, 64])
def test_no_chunk_is_longer_than_it_may_be(large, longest, monkeypatch):
    predictor = large[0]._predictor
    monkeypatch.setattr(predictor, "rows", longest)
    for rows in range(1, 300):
        sizes = [chunk.stop - chunk.start for chunk in predictor._chunks(rows)]
        assert sum(sizes) == rows
        assert min(sizes) >= 1
        assert max(sizes) <= longest


def test_chunks_are_nearly_equal_and_as_many_as_two_and_four_threads_can_share(large):
    predictor = large[0]._predictor
    least = -(-LEAST_ROWS[1] // predictor.network.multiply_adds)
    assert 1 < least < LEAST_ROWS[0]
    lengths = set()
    for rows in [*range(1, 300), 1000, 1024, 60_000]:
        sizes = [chunk.stop - chunk.start for chunk in predictor._chunks(rows)]
        assert sum(sizes) == rows
        assert max(sizes) - min(sizes) <= (1 if len(sizes) <= 2 else 7)
        lengths.update(sizes[:-1] if len(sizes) > 2 else ())
        assert max(sizes) <= predictor.rows
        assert min(sizes) >= min(rows, least)
        assert len(sizes) in (1, 2) or len(sizes) % 4 == 0
    assert len(lengths) <= 5  # a server that is asked for any number of rows records few tapes


def test_a_thread_predicts_with_the_memory_that_it_had_last(large):
    """Written by another processor, it would have to be fetched from its cache."""
    predictor = large[0]._predictor
    predictor._pool.clear()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        kits = [thread.submit(predictor._kit).result() for thread in (first, second)]
        for order in ((0, 1), (1, 0)):
            predictor._pool[:] = [kits[i] for i in order]
            assert [thread.submit(predictor._kit).result() for thread in (first, second)] == kits
        predictor._pool.append(kits[1])
        assert first.submit(predictor._kit).result() is kits[1]  # rather than a new one


def test_a_row_is_predicted_from_eight_threads_at_once(large):
    model, X = large
    expected = [model.decision_function(X[i : i + 1]) for i in range(len(X))]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda i: model.decision_function(X[i : i + 1]), [*range(len(X))] * 5)
    for answer, wanted in zip(answers, expected * 5, strict=True):
        np.testing.assert_array_equal(answer, wanted)


def _predict(model, X, queue):
    queue.put(model.predict_proba(X))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_both_kinds_predict_the_same(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"{method} is not available here")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 12, 12)).astype(np.float32), np.arange(300) % 3
    model = CNNClassifier((4, 20), hidden_layer_sizes=(8,), max_iter=1, random_state=0).fit(X, y)
    expected = model.predict_proba(X)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_predict, args=(model, X, queue))
    process.start()
    answer = queue.get(timeout=60)
    process.join()
    np.testing.assert_array_equal(answer, expected)


def test_a_team_waits_for_the_next_prediction_and_then_ends(monkeypatch):
    monkeypatch.setattr(parallel, "IDLE_SECONDS", 0.05)
    before = set(threading.enumerate())
    with parallel.idle.team(3) as first:
        first.run([time.sleep] * 0)
        with parallel.idle.team(3) as second:
            assert second is not first  # nobody else may use it meanwhile
    with parallel.idle.team(3) as third:
        assert third in (first, second)
        done = []
        third.run([partial(done.append, number) for number in range(3)])
        assert sorted(done) == [0, 1, 2]
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def test_a_team_that_was_interrupted_is_not_used_again():
    with pytest.raises(KeyboardInterrupt), parallel.idle.team(2) as team:
        raise KeyboardInterrupt
    with parallel.idle.team(2) as other:
        assert other is not team


def ended_threads(before):
    """Whether all threads but those of before have come to their end."""
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    return set(threading.enumerate()) <= before


def test_a_team_of_which_a_thread_cannot_be_started_leaves_none(monkeypatch):
    start, before = threading.Thread.start, set(threading.enumerate())

    def failing(thread):
        if thread.name == "skcnn-2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    for team in (lambda: Team(3), lambda: parallel._Idle().team(3)):
        with pytest.raises(RuntimeError, match="can't start"), team():
            pass
        assert ended_threads(before)


def test_a_team_that_nobody_has_any_more_ends():
    before = set(threading.enumerate())
    team = Team(3).__enter__()  # as an interruption leaves it, between being taken and being given back
    team.run([partial(id, team)] * 3)  # nor do threads hold on to what they did last
    del team
    assert ended_threads(before)


@pytest.mark.parametrize("moment", range(3))
def test_an_interruption_while_blas_is_held_or_released_does_not_last(moment, monkeypatch):
    """One before the number of threads is set, or one after it, is made good by the next who holds BLAS."""
    before, made, wanted = blas_threads(), [], parallel._set_blas_threads

    def interrupted(numbers):
        made.append(numbers)
        if len(made) == moment:
            raise KeyboardInterrupt
        wanted(numbers)

    monkeypatch.setattr(parallel, "_set_blas_threads", interrupted)
    for _ in range(2):
        try:
            with one_blas_thread:
                assert blas_threads() == {1}
        except KeyboardInterrupt:
            pass
    assert blas_threads() == before
    assert one_blas_thread._inside == 0


class InterruptedLock:
    """A lock during whose release Ctrl-C is pressed, once."""

    def __init__(self):
        self.lock, self.pressed = threading.Lock(), False

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *error):
        self.lock.release()
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt


def test_who_was_interrupted_while_entering_does_not_hold_blas(monkeypatch):
    before = blas_threads()
    monkeypatch.setattr(one_blas_thread, "_lock", InterruptedLock())
    with pytest.raises(KeyboardInterrupt), one_blas_thread:
        pass
    assert blas_threads() == before
    assert one_blas_thread._inside == 0


def test_ufunc_settings_that_were_interrupted_are_not_kept(monkeypatch):
    def interrupted(size):
        raise KeyboardInterrupt

    before, size = np.geterr(), np.getbufsize()
    monkeypatch.setattr(np, "setbufsize", interrupted)
    with pytest.raises(KeyboardInterrupt), ufunc_settings():
        pass
    monkeypatch.undo()
    assert (np.geterr(), np.getbufsize()) == (before, size)


def test_number_of_threads_without_joblib(monkeypatch):
    """What serves a model does not import it."""
    # Not every system tells which processors a process may use.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    monkeypatch.delitem(sys.modules, "joblib")
    assert [thread_count(n_jobs) for n_jobs in (1, 3, -1, -1000)] == [1, 3, allowed, 1]
    assert "joblib" not in sys.modules


def test_the_tapes_that_were_asked_for_last_stay(large, monkeypatch):
    model, X = large
    predictor, recorded = predictor_of(model._model), []
    record = predictor.record
    monkeypatch.setattr(predictor, "record", lambda rows, *more: recorded.append(rows) or record(rows, *more))
    predictor.raw(X, 1)  # the largest first: its memory is enough for the others
    for rows in range(2, 2 + 2 * TAPES):
        predictor.raw(X[:1], 1)
        predictor.raw(np.repeat(X[:1], rows, axis=0), 1)
    assert recorded.count(1) == 1


def test_ufunc_settings_are_brought_back():
    before = np.getbufsize()
    with ufunc_settings():
        assert np.getbufsize() == BUFFER
        np.divide(np.ones(1), np.zeros(1))
    assert np.getbufsize() == before
