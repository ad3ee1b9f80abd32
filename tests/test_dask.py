"""Searches in the processes of a Dask cluster: the same results as one after the other, and no thread too many."""

import os
import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcnn import CNNClassifier
from skcnn._engine.parallel import thread_count
from skcnn.layers import Conv2D, Dense, Flatten, ReLU
from skcnn.optimizers import SGD

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    """A client of two processes with a thread each."""
    environment = dict(os.environ)
    with (
        distributed.LocalCluster(processes=True, n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
    # Dask leaves its workers' variables in the process that started them.
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def dask(client):
    """Everything inside goes to the cluster."""
    with joblib.parallel_config("dask"):
        yield client


def network(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | params
    )


def search(digits, model=None, **params):
    grid = {"learning_rate": [0.001, 0.01], "optimizer": ["adam", SGD(momentum=0.5)]}
    return GridSearchCV(network() if model is None else model, grid, **{"cv": 2} | params).fit(*digits)


def scores(search):
    return {name: values for name, values in search.cv_results_.items() if "score" in name and "time" not in name}


def assert_same_search(found, expected):
    assert found.best_params_ == expected.best_params_
    assert scores(found).keys() == scores(expected).keys()
    for name, values in scores(expected).items():
        assert_array_equal(scores(found)[name], values, err_msg=name)


def test_a_search_on_a_cluster_finds_the_same_bits(digits, dask):
    found = search(digits, scoring="neg_log_loss")
    with joblib.parallel_config("sequential"):
        expected = search(digits, scoring="neg_log_loss")
    assert_same_search(found, expected)
    assert len(set(expected.cv_results_["mean_test_score"])) == 4
    assert_array_equal(found.predict_proba(digits[0]), expected.predict_proba(digits[0]))


def test_a_search_of_layers_through_a_pipeline(digits, dask):
    X, y = digits[0].reshape(len(digits[0]), -1), digits[1]
    pipeline = make_pipeline(StandardScaler(), network())
    grid = {"cnnclassifier__layers": [None, [Conv2D(3), ReLU(), Flatten(), Dense(6)]]}
    found = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    with joblib.parallel_config("sequential"):
        assert_same_search(found, GridSearchCV(pipeline, grid, cv=2).fit(X, y))


def test_successive_halving_on_a_cluster(digits, dask):
    halving = HalvingGridSearchCV(
        network(), {"learning_rate": [0.0, 0.003, 0.01, 0.03]}, resource="max_iter", min_resources=2, max_resources=4,
        factor=2, cv=2, random_state=0,
    )  # fmt: skip
    found = halving.fit(*digits)
    with joblib.parallel_config("sequential"):
        expected = halving.fit(*digits)
    assert found.n_resources_ == [2, 4]
    assert_same_search(found, expected)


def test_images_that_are_scattered_first(digits, client):
    with joblib.parallel_config("dask", scatter=[digits[0]]):
        found = cross_val_score(network(), *digits, cv=2)
    assert_array_equal(found, cross_val_score(network(), *digits, cv=2))


def test_a_dask_array_of_images_is_predicted_block_by_block(digits, client):
    from dask import array as da

    X, y = digits
    fitted = network().fit(X, y)
    blocks = da.from_array(X, chunks=(50, 8, 8))
    axes = {"drop_axis": (1, 2), "new_axis": 1, "chunks": (blocks.chunks[0], 10)}
    found = blocks.map_blocks(fitted.predict_proba, dtype=float, **axes)
    assert found.shape == (120, 10)
    assert_array_equal(found.compute(), fitted.predict_proba(X))
    classes = blocks.map_blocks(fitted.predict, dtype=y.dtype, drop_axis=(1, 2))
    assert_array_equal(classes.compute(), fitted.predict(X))


def test_blocks_of_a_dask_array_are_learnt_one_after_the_other(digits, client):
    from dask import array as da

    X, y = digits
    blocks = da.from_array(X, chunks=(50, 8, 8))
    found, expected = network(), network()
    for number, start in enumerate(range(0, len(X), 50)):
        chunk = slice(start, start + 50)
        found.partial_fit(blocks.blocks[number].compute(), y[chunk], classes=range(10))
        expected.partial_fit(X[chunk], y[chunk], classes=range(10))
    assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def fit_file(path, y, **params):
    return network(**params).fit(np.load(path, mmap_mode="r"), y)


def test_a_file_that_workers_open_themselves(digits, client, tmp_path):
    X, y = digits
    np.save(tmp_path / "images.npy", X)
    futures = [client.submit(fit_file, tmp_path / "images.npy", y, alpha=alpha) for alpha in (0.0, 0.1)]
    for alpha, found in zip((0.0, 0.1), client.gather(futures), strict=True):
        assert_array_equal(found.predict_proba(X), network(alpha=alpha).fit(X, y).predict_proba(X))


def count(n_jobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return os.getpid(), thread_count(n_jobs)


@pytest.mark.parametrize(("n_jobs", "threads"), [(None, 1), (1, 1), (3, 3), (-1, joblib.cpu_count())])
def test_n_jobs_of_an_estimator_is_threads_of_its_worker(client, n_jobs, threads):
    """Dask tells BLAS in its workers to take as many threads as they have slots each: none is taken beyond that."""
    assert client.submit(count, n_jobs, pure=False).result()[1] == threads
    with joblib.parallel_config("dask"):
        assert count(n_jobs)[1] == (threads if n_jobs else thread_count(None))
        answers = joblib.Parallel()(joblib.delayed(count)(n_jobs) for _ in range(4))
    assert {found for _, found in answers} == {threads}
    assert os.getpid() not in {process for process, _ in answers}


def test_callbacks_of_a_search_are_told_of_workers(digits, dask):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    searched = GridSearchCV(network(), {"alpha": [0.0, 0.1]}, cv=2).set_callbacks(ProgressBar()).fit(*digits)
    assert len(searched.cv_results_["params"]) == 2
