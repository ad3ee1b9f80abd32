"""A model through each of the formats with pickle, by way of a file at a path, and whether it is still the same."""

import pickle

import joblib
from numpy.testing import assert_array_equal


def assert_same_model(a, b):
    """The same weights, the same running statistics and the same losses, to the bit."""
    for ours, theirs in ((a.parameters_, b.parameters_), (a.state_, b.state_)):
        assert list(ours) == list(theirs)
        for name, array in ours.items():
            assert_array_equal(array, theirs[name], err_msg=name)
    for key in ("loss", "val_loss", "val_score", "learning_rate"):
        assert_array_equal(a.history_[key], b.history_[key])
    assert a.n_iter_ == b.n_iter_


def through_pickle(model, path):
    return pickle.loads(pickle.dumps(model))


def through_joblib(model, path):
    joblib.dump(model, path)
    return joblib.load(path)


def through_compressed_joblib(model, path):
    joblib.dump(model, path, compress=3)
    return joblib.load(path)


def through_memory_map(model, path):
    joblib.dump(model, path)
    return joblib.load(path, mmap_mode="r")
