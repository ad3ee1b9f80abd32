"""Models as files, in threads and in other processes."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from threading import Barrier

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal, assert_equal
from sklearn.base import clone
from through import through_compressed_joblib, through_joblib, through_memory_map, through_pickle

from skcnn import CNNClassifier
from skcnn._engine.parallel import one_blas_thread, thread_count
from skcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | params
    )


MODELS = {
    "plain": {},
    "float32": {"dtype": "float32"},
    "batch norm": {"batch_norm": True, "dropout": 0.2},
    "sgd": {"optimizer": "sgd", "schedule": "adaptive"},
    "average": {"average": 0.9, "clip_norm": 0.5},
    "layers": {"layers": [Conv2D(4), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(8), BatchNorm(), Dropout(0.1)]},
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def fitted(request, digits):
    return small(**request.param).fit(*digits)


# -- files


WAYS = [through_pickle, through_joblib, through_compressed_joblib, through_memory_map]
ways = pytest.mark.parametrize("through", WAYS)


@ways
def test_a_reloaded_model_is_the_same(fitted, digits, through, tmp_path):
    X = digits[0]
    reloaded = through(fitted, tmp_path / "model.joblib")
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(reloaded, method)(X), getattr(fitted, method)(X))
    assert reloaded.get_params() == fitted.get_params()
    assert_equal(reloaded.history_, fitted.history_)
    for mine, theirs in ((reloaded.parameters_, fitted.parameters_), (reloaded.state_, fitted.state_)):
        assert list(mine) == list(theirs)
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert str(reloaded.summary()) == str(fitted.summary())
    assert repr(reloaded) == repr(fitted)


@ways
def test_a_reloaded_model_learns_on_and_leaves_the_file_alone(fitted, digits, through, tmp_path):
    X, y = digits
    path = tmp_path / "model.joblib"
    joblib.dump(fitted, path)
    before = path.read_bytes()
    reloaded = through(fitted, path)
    expected = pickle.loads(pickle.dumps(fitted)).partial_fit(X, y)
    assert_array_equal(reloaded.partial_fit(X, y).predict_proba(X), expected.predict_proba(X))
    assert_array_equal(clone(reloaded).fit(X, y).predict_proba(X), fitted.predict_proba(X))
    if through is not through_compressed_joblib:
        assert path.read_bytes() == before


def root(array):
    """The array at the bottom of a chain of views."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_memory_mapped_weights_stay_on_the_disk(fitted, digits, tmp_path):
    reloaded = through_memory_map(fitted, tmp_path / "model.joblib")
    reloaded.predict(digits[0])
    for array in reloaded.parameters_.values():
        assert isinstance(root(array), np.memmap)
        assert not array.flags.writeable


def test_weights_are_read_only_views(fitted):
    for array in [*fitted.parameters_.values(), *fitted.state_.values()]:
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    owners = {id(root(array)) for array in fitted.parameters_.values()}
    assert len(owners) == 1


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("used", [False, True])
def test_a_pickle_is_hardly_larger_than_the_weights(digits, tmp_path, batch_norm, dtype, used):
    X, y = digits
    model = small(conv_filters=(64, 64), hidden_layer_sizes=(1000,), dtype=dtype, batch_norm=batch_norm, max_iter=1)
    model.set_params(average=0.9 if used else False)
    model.fit(X, y)
    if used:
        model.predict(X)
    weights = sum(array.nbytes for array in model.parameters_.values())
    assert weights > 1e6
    assert len(pickle.dumps(model)) <= 1.1 * weights
    joblib.dump(model, tmp_path / "model.joblib")
    assert (tmp_path / "model.joblib").stat().st_size <= 1.1 * weights


def test_a_pickle_does_not_hold_the_training_data(digits):
    X, y = digits
    sizes = [len(pickle.dumps(small().fit(X[:n], y[:n]))) for n in (60, 120)]
    assert abs(sizes[1] - sizes[0]) < 200


def test_a_model_that_is_not_fitted_can_be_pickled():
    model = small(layers=MODELS["layers"]["layers"])
    assert through_pickle(model, None).get_params() == model.get_params()


# -- threads

BATCHES = [1, 2, 7, 64, 120, 65, 3, 120, 1, 40]


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_eight_threads_get_the_answers_of_one(digits, n_jobs, batch_norm):
    X, y = digits
    model = small(conv_filters=(8,), batch_norm=batch_norm, n_jobs=n_jobs).fit(X, y)
    serial = [model.predict_proba(X[:n]) for n in BATCHES]
    fresh = pickle.loads(pickle.dumps(model))  # with no tape recorded yet
    together = Barrier(8)

    def predict(number):
        together.wait()
        order = np.roll(np.arange(len(BATCHES)), number)
        return [(i, fresh.predict_proba(X[: BATCHES[i]])) for _ in range(5) for i in order]

    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(predict, range(8)):
            for i, answer in answers:
                assert_array_equal(answer, serial[i])


def test_eight_threads_can_fit_at_once(digits):
    X, y = digits
    expected = small(dropout=0.2).fit(X, y).predict_proba(X)
    with ThreadPoolExecutor(8) as pool:
        for fitted in pool.map(lambda _: small(dropout=0.2).fit(X, y), range(8)):
            assert_array_equal(fitted.predict_proba(X), expected)


def test_predictions_change_nothing(fitted, digits):
    X, y = digits
    before = dict(vars(fitted))
    contents = pickle.dumps(fitted)
    fitted.predict(X), fitted.predict_proba(X[:3]), fitted.predict_log_proba(X), fitted.decision_function(X)
    fitted.score(X, y), fitted.summary(), repr(fitted), fitted.get_params(), fitted._repr_html_()
    assert list(vars(fitted)) == list(before)
    assert all(vars(fitted)[name] is value for name, value in before.items())
    assert pickle.dumps(fitted) == contents


def test_predictions_are_the_callers_own(fitted, digits):
    first = fitted.decision_function(digits[0][:5])
    kept = first.copy()
    fitted.decision_function(digits[0][5:10])
    assert_array_equal(first, kept)
    first[...] = 0
    assert_array_equal(fitted.decision_function(digits[0][:5]), kept)


# -- processes

forking = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 warns of every fork


def forked(function, *arguments):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(function, *arguments).result(timeout=60)


@forking
def test_a_forked_worker_predicts_the_same_bits(fitted, digits):
    expected = fitted.predict_proba(digits[0])
    assert_array_equal(forked(fitted.predict_proba, digits[0]), expected)


@forking
def test_a_worker_that_is_forked_during_a_prediction_is_free_of_it(fitted, digits):
    expected, threads = fitted.predict_proba(digits[0]), thread_count(None)
    with one_blas_thread:  # as in another thread that predicts
        answer, threads_there = forked(_prediction_and_threads, fitted, digits[0])
    assert_array_equal(answer, expected)
    assert threads_there == thread_count(None) == threads


def _prediction_and_threads(model, X):
    return model.predict_proba(X), thread_count(None)


@pytest.mark.slow
def test_workers_of_joblib_predict_and_fit_the_same_bits(digits):
    """Arrays of more than a kilobyte, weights too, come to them as read-only memory maps."""
    X, y = digits
    model = small(conv_filters=(16,), hidden_layer_sizes=(64,), batch_norm=True).fit(X, y)
    jobs = [joblib.delayed(model.predict_proba)(X), joblib.delayed(_fitted_proba)(clone(model), X, y)]
    with joblib.parallel_config(backend="loky", n_jobs=2, max_nbytes=1024):
        for answer in joblib.Parallel()(jobs):
            assert_array_equal(answer, model.predict_proba(X))


def _fitted_proba(model, X, y):
    return model.fit(X, y).predict_proba(X)
