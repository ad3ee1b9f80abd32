"""What of dask-ml takes the estimator: blocks of a Dask array, learnt one after the other and predicted in parallel."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skcnn import CNNClassifier

wrappers = pytest.importorskip("dask_ml.wrappers")
from dask import array as da  # noqa: E402  (there is a Dask where there is a dask-ml)

pytestmark = pytest.mark.slow


def network():
    return CNNClassifier((4,), hidden_layer_sizes=(16,), learning_rate=0.01, max_iter=2, random_state=0)


@pytest.fixture
def rows(digits):
    """Digits as rows, in memory and as a Dask array of three blocks, and their classes in both forms."""
    X, y = digits[0].reshape(len(digits[0]), -1), digits[1]
    return X, y, da.from_array(X, chunks=(40, 64)), da.from_array(y, chunks=40)


def test_incremental_is_partial_fit_of_one_block_after_the_other(rows):
    X, y, blocks, labels = rows
    found = wrappers.Incremental(network(), shuffle_blocks=False)
    by_hand = network()
    for _ in range(2):
        found.partial_fit(blocks, labels, classes=np.arange(10))
        for start in range(0, len(X), 40):
            by_hand.partial_fit(X[start : start + 40], y[start : start + 40], classes=np.arange(10))
    assert found.estimator_.n_iter_ == 6
    assert_array_equal(found.estimator_.predict_proba(X), by_hand.predict_proba(X))
    assert found.score(blocks, labels) == by_hand.score(X, y)


def test_parallel_post_fit_predicts_blocks(rows):
    X, y, blocks, _ = rows
    fitted = network().fit(X, y)
    wrapped = wrappers.ParallelPostFit(fitted)
    assert_array_equal(wrapped.predict(blocks).compute(), fitted.predict(X))
    assert_array_equal(wrapped.predict_proba(blocks).compute(), fitted.predict_proba(X))


def test_parallel_post_fit_fits_as_the_estimator_does(rows):
    X, y, blocks, _ = rows
    wrapped = wrappers.ParallelPostFit(network()).fit(X, y)
    assert_array_equal(wrapped.predict(blocks).compute(), network().fit(X, y).predict(X))
