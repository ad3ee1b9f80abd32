"""Test-time augmentation: averages over views equal the plain estimator's predictions for views made by hand."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skcnn
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor, runtime
from skcnn._engine.views import SHIFTS
from skcnn.features import activations
from skcnn.layers import BatchNorm, Conv2D, Flatten, ReLU
from skcnn.losses import Poisson
from skcnn.saliency import input_gradient

names = pytest.mark.parametrize("name", SHIFTS)
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (50, 7, 6, 3)).astype(np.uint8)
CLASSES = np.array(["a", "b", "c"])[np.arange(50) % 3]
NUMBERS = X.mean(axis=(1, 2, 3)) + RNG.normal(size=50)
LAYERS = [Conv2D(4), BatchNorm(), ReLU(), Flatten()]
KINDS = {
    "classes": (CNNClassifier, CLASSES, {}),
    "two classes": (CNNClassifier, CLASSES == "a", {}),
    "labels": (CNNClassifier, np.stack([CLASSES == "a", NUMBERS > 127], axis=1).astype(int), {}),
    "hinge": (CNNClassifier, CLASSES, {"loss": "hinge"}),
    "numbers": (CNNRegressor, NUMBERS, {}),
    "two numbers": (CNNRegressor, np.stack([NUMBERS, -NUMBERS], axis=1), {}),
    "counts": (CNNRegressor, np.round(NUMBERS), {"loss": Poisson()}),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def fitted(kind="classes", **params):
    cls, y, own = KINDS[kind]
    return cls(layers=LAYERS, max_iter=2, learning_rate=0.01, random_state=0, **own | params).fit(X, y)


def by_hand(raw, name, images=X):
    """The averages of airbench94 (K. Jordan), from the raw predictions of a function."""

    def mirror(images):
        return 0.5 * raw(images) + 0.5 * raw(images[:, :, ::-1])

    if name == "flip":
        return mirror(images)
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    h, w = images.shape[1:3]
    shifted = mirror(padded[:, :h, :w]), mirror(padded[:, 2:, 2:])
    return 0.5 * mirror(images) + 0.5 * (shifted[0] + shifted[1]) / 2


@names
@kinds
def test_predictions_are_averages_of_raw_predictions(kind, name):
    plain, views = fitted(kind), fitted(kind, test_time_augmentation=name)
    assert_array_equal(views._model.weights, plain._model.weights)  # training does not depend on it
    if isinstance(plain, CNNClassifier):
        raw = by_hand(plain.decision_function, name)
        assert_allclose(views.decision_function(X), raw, rtol=1e-12)
        assert (raw != plain.decision_function(X)).any()
        odds = raw if kind == "labels" else np.stack([-raw / 2, raw / 2], axis=1) if raw.ndim == 1 else raw
        expected = (odds > 0).astype(int) if kind == "labels" else plain.classes_[odds.argmax(axis=1)]
        assert_array_equal(views.predict(X), expected)
        right = expected == KINDS[kind][1]
        assert views.score(X, KINDS[kind][1]) == pytest.approx(
            np.mean(right.all(axis=1) if kind == "labels" else right)
        )
        if kind != "hinge":
            p = 1 / (1 + np.exp(-raw)) if kind == "labels" else np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
            assert_allclose(views.predict_proba(X), p, rtol=1e-9)
    elif kind == "counts":  # raw predictions are logarithms
        expected = np.exp(by_hand(lambda images: np.log(plain.predict(images)), name))
        assert_allclose(views.predict(X), expected, rtol=1e-6)
    else:
        assert_allclose(views.predict(X), by_hand(plain.predict, name), rtol=1e-6)


@names
@pytest.mark.parametrize("shape", [(1, 9, 1), (2, 2, 1), (9, 1, 2), (5, 4, 3)])
def test_every_shape_of_image(name, shape):
    images = RNG.normal(size=(12, *shape))
    model = CNNClassifier((2,), max_iter=1, random_state=0).fit(images, np.arange(12) % 3)
    expected = by_hand(model.decision_function, name, images)
    assert_allclose(model.set_params(test_time_augmentation=name).decision_function(images), expected, rtol=1e-12)


def test_it_may_change_after_the_fit():
    model = fitted()
    plain = model.decision_function(X)
    model.set_params(test_time_augmentation="flip")
    assert_array_equal(model.decision_function(X), by_hand(fitted().decision_function, "flip"))
    assert_array_equal(model.set_params(test_time_augmentation=None).decision_function(X), plain)
    for other in ("mirror", ["flip"], True):
        message = "test_time_augmentation must be None or one of 'flip', 'flip_shift', got "
        with pytest.raises(ValueError, match=message):
            model.set_params(test_time_augmentation=other).predict(X)
        with pytest.raises(ValueError, match="The 'test_time_augmentation' parameter of CNNClassifier must be"):
            model.fit(X, CLASSES)


@names
def test_the_same_bits_for_any_number_of_threads_and_rows_of_a_memory_map(name, tmp_path):
    np.save(tmp_path / "X.npy", np.tile(X, (6, 1, 1, 1)))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    one, three = (fitted(test_time_augmentation=name, n_jobs=n).decision_function(mapped) for n in (1, 3))
    assert_array_equal(one, three)


def test_views_are_made_chunk_by_chunk():
    images = np.zeros((20_000, 16, 16, 3), np.uint8)
    model = CNNClassifier((2,), hidden_layer_sizes=(), max_iter=1, n_jobs=1).fit(images[:20], np.arange(20) % 2)
    model.set_params(test_time_augmentation="flip_shift").predict(images[:1000])
    tracemalloc.start()
    model.predict(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 2


@kinds
@names
def test_files_pickles_and_the_runtime_keep_it(kind, name, tmp_path):
    model = fitted(kind, test_time_augmentation=name)
    expected = model.predict(X)
    skcnn.save(model, tmp_path / "model.skcnn")
    served = runtime.load(tmp_path / "model.skcnn")
    for other in (skcnn.load(tmp_path / "model.skcnn"), pickle.loads(pickle.dumps(model)), served):
        assert_array_equal(other.predict(X), expected)
    if hasattr(model, "predict_proba"):
        assert_array_equal(served.predict_proba(X), model.predict_proba(X))
    if isinstance(model, CNNClassifier):
        assert_array_equal(served.decision_function(X), model.decision_function(X))


@pytest.mark.parametrize("load", [skcnn.load, runtime.load])
def test_a_file_with_an_unknown_name_is_refused(load, tmp_path):
    model = fitted()
    model.test_time_augmentation = "mirror"
    skcnn.save(model, tmp_path / "model.skcnn")
    with pytest.raises(ValueError, match="test_time_augmentation"):
        load(tmp_path / "model.skcnn")


@names
@pytest.mark.parametrize("scoring", [None, "accuracy", "neg_log_loss", "loss", lambda model, X, y: model.score(X, y)])
def test_validation_scores_are_scores_of_the_averages(name, scoring):
    params = {"layers": LAYERS, "max_iter": 3, "random_state": 0, "scoring": scoring, "test_time_augmentation": name}
    model = CNNClassifier(**params).fit(X[:30], CLASSES[:30], X_val=X[30:], y_val=CLASSES[30:])
    p = model.predict_proba(X[30:])
    accuracy = np.mean(model.predict(X[30:]) == CLASSES[30:])
    log_loss = -np.mean(np.log(p[np.arange(20), np.searchsorted(model.classes_, CLASSES[30:])]))
    expected = -log_loss if scoring in ("neg_log_loss", "loss") else accuracy
    assert model.best_validation_score_ == pytest.approx(expected, rel=1e-5)


@names
def test_validation_scores_of_a_network_with_frozen_layers(name):
    source = fitted()
    tuned = CNNClassifier(
        pretrained=source, freeze="batchnorm1", max_iter=2, scoring="loss", test_time_augmentation=name, random_state=0
    )
    tuned.fit(X[:30], CLASSES[:30], X_val=X[30:], y_val=CLASSES[30:])
    p = tuned.predict_proba(X[30:])
    log_loss = -np.mean(np.log(p[np.arange(20), np.searchsorted(tuned.classes_, CLASSES[30:])]))
    assert tuned.best_validation_score_ == pytest.approx(-log_loss, rel=1e-5)


def test_looks_inside_a_network_see_the_image_itself():
    plain, views = fitted(), fitted(test_time_augmentation="flip_shift")
    assert_array_equal(activations(views, X, "output"), activations(plain, X, "output"))
    assert_array_equal(input_gradient(views, X), input_gradient(plain, X))
    features = [CNNFeatures(FrozenEstimator(model)).fit(X).transform(X) for model in (plain, views)]
    assert_array_equal(*features)


def test_clones_and_searches():
    search = GridSearchCV(
        clone(fitted()).set_params(max_iter=1),
        {"test_time_augmentation": [None, *SHIFTS]},
        cv=2,
        scoring="neg_log_loss",
    )
    scores = search.fit(X, CLASSES).cv_results_["mean_test_score"]
    assert len(set(scores)) == 3


# -- ONNX


def run(model, images):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": images.reshape(len(images), -1).astype(np.float32)})


@names
@kinds
def test_an_exported_graph_averages_itself(kind, name):
    onnx = pytest.importorskip("onnx")
    model = fitted(kind, test_time_augmentation=name)
    graph = skcnn.onnx.to_onnx(model)
    onnx.checker.check_model(graph, full_check=True)
    for images in (X, X[:1]):
        found = run(graph, images)
        if isinstance(model, CNNClassifier):
            assert_array_equal(found[0], model.predict(images))
            scores = getattr(model, "decision_function" if kind == "hinge" else "predict_proba")(images)
            assert_allclose(found[1], scores, rtol=1e-5, atol=1e-5)
        else:
            expected = model.predict(images)
            assert_allclose(found[0].reshape(expected.shape), expected, rtol=1e-5, atol=1e-4)


@names
@pytest.mark.parametrize("shape", [(1, 9, 1), (2, 2, 1), (9, 1, 2)])
def test_exported_graphs_of_narrow_images(name, shape):
    pytest.importorskip("onnx")
    images = RNG.normal(size=(12, *shape))
    model = CNNClassifier((2,), max_iter=1, random_state=0, test_time_augmentation=name).fit(images, np.arange(12) % 3)
    assert_allclose(run(skcnn.onnx.to_onnx(model), images)[1], model.predict_proba(images), atol=1e-5)


def test_an_exported_pipeline_averages_and_features_do_not():
    pytest.importorskip("skl2onnx")
    rows = X.reshape(50, -1).astype(np.float32)
    model = clone(fitted()).set_params(test_time_augmentation="flip_shift", input_shape=(7, 6, 3))
    pipeline = make_pipeline(FunctionTransformer(), model).fit(rows, CLASSES)
    assert_allclose(run(skcnn.onnx.to_onnx(pipeline), X)[1], pipeline.predict_proba(rows), atol=1e-5)
    features = CNNFeatures(FrozenEstimator(pipeline[-1])).fit(rows)
    assert_allclose(run(skcnn.onnx.to_onnx(features), X)[0], features.transform(rows), rtol=1e-4, atol=1e-4)


def test_an_averaging_graph_is_not_imported():
    pytest.importorskip("onnx")
    graph = skcnn.onnx.to_onnx(fitted(test_time_augmentation="flip")).SerializeToString()
    with pytest.raises(ValueError, match="cannot be imported: node 4, Gather 'input/Gather'"):
        skcnn.onnx.from_onnx(graph, input_shape=(7, 6, 3), mean=0, scale=1)
