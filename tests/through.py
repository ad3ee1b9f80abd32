"""A model through each of the formats with pickle, by way of a file at a path."""

import pickle

import joblib


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
