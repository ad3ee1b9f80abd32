"""Every format keeps every row of the tables: the same predictions, bit for bit."""

import copy
import pickle
import warnings
from functools import cache

import cases
import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from through import through_compressed_joblib, through_joblib, through_memory_map, through_pickle

import skcnn
from skcnn import SKOPS_TRUSTED, CNNClassifier, CNNFeatures, CNNRegressor, VersionWarning, runtime, versions
from skcnn._engine import files
from skcnn.layers import Conv2D, Dense, Flatten, ReLU
from skcnn.optimizers import SGD

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

SMALL = {"conv_filters": (2,), "hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0, "n_jobs": 1}


def rows():
    """Name -> kind and row of a table."""
    kinds = {
        "layer": cases.LAYERS,
        "loss": cases.LOSSES,
        "optimizer": cases.OPTIMIZERS,
        "schedule": cases.SCHEDULES,
        "initializer": cases.INITIALIZERS,
        "augmentation": cases.AUGMENTATIONS,
    }
    named = [(kind, number, row) for kind, table in kinds.items() for number, row in enumerate(table)]
    return {f"{kind} {number} {described(row)!r:.40}": (kind, row) for kind, number, row in named}


def described(row):
    """The object of a row, which layers and losses have in a case."""
    return row.layer if isinstance(row, cases.LayerCase) else row.loss if isinstance(row, cases.LossCase) else row


ROWS = rows()
OF_LABELS = [name for name, (kind, row) in ROWS.items() if kind == "loss" and row.kinds == ["labels"]]
every_row = pytest.mark.parametrize("name", ROWS)


def unfitted(name):
    """An estimator with a row in one of its parameters, and images for it."""
    kind, row = ROWS[name]
    shape, params = (6, 6, 3), {kind: row}
    if kind == "layer":
        shape = row.shape if len(row.shape) == 3 else (1, 1, *row.shape)
        before = [] if len(row.shape) == 3 else [Flatten()]
        after = [] if len(row.layer.output_shape(row.shape)) == 1 else [Flatten()]
        params = {"layers": [*before, row.layer, *after]}
    elif kind == "loss":
        params = {"loss": row.loss}
    elif kind == "initializer":
        params = {"layers": [Conv2D(2, kernel_initializer=row), ReLU(), Flatten(), Dense(5, kernel_initializer=row)]}
    cls = CNNRegressor if kind == "loss" and row.numbers else CNNClassifier
    return cls(**SMALL | params), np.random.default_rng(0).normal(size=(12, *shape))


@cache
def fitted(name):
    model, X = unfitted(name)
    y = np.arange(12) % 4
    return model.fit(X, np.stack([y > 0, y > 1], 1).astype(int) if name in OF_LABELS else y), X


def answers(model, X):
    """All that a model says of images."""
    found = {}
    for method in ("predict", "predict_proba", "decision_function"):
        try:
            found[method] = getattr(model, method)(X)
        except AttributeError:  # a regressor, or a loss without probabilities
            continue
    return found


def assert_same_answers(mine, theirs, X):
    mine, theirs = answers(mine, X), answers(theirs, X)
    assert list(mine) == list(theirs)
    for method, expected in theirs.items():
        np.testing.assert_array_equal(mine[method], expected)
        assert mine[method].dtype == expected.dtype


def test_a_served_model_can_be_copied_after_it_has_predicted(digits, tmp_path):
    skcnn.save(CNNClassifier((4,), max_iter=1, random_state=0).fit(*digits), tmp_path / "model.skcnn")
    served = runtime.load(tmp_path / "model.skcnn")
    expected = served.predict_proba(digits[0])
    for again in (copy.deepcopy(served), pickle.loads(pickle.dumps(served))):
        np.testing.assert_array_equal(again.predict_proba(digits[0]), expected)


def test_numbers_beyond_single_precision_are_an_error(digits, tmp_path):
    """Rounded they would be infinite, and the prediction NaN, or the first class."""
    X, y = digits[0].astype(np.float32), digits[1]
    model = CNNClassifier((8, 16), max_iter=1, random_state=0).fit(np.repeat(np.repeat(X, 2, axis=1), 2, axis=2), y)
    wide = np.repeat(np.repeat(digits[0][:3].astype(np.float64), 2, axis=1), 2, axis=2)
    wide[1, 0, 0] = -1e300
    skcnn.save(model, tmp_path / "model.skcnn")
    for predict in (model.predict, model.predict_proba, runtime.load(tmp_path / "model.skcnn").predict):
        with pytest.raises(ValueError, match=r"Images contain 1e\+300, which is too large for float32"):
            predict(wide)
        assert len(predict(wide[:1])) == 1


# -- the formats


def through_file(model, path):
    skcnn.save(model, path)
    return skcnn.load(path)


def through_runtime(model, path):
    skcnn.save(model, path)
    return runtime.load(path)


def through_skops(model, path):
    skops = pytest.importorskip("skops.io")
    skops.dump(model, path)
    assert set(skops.get_untrusted_types(file=path)) <= set(SKOPS_TRUSTED)
    return skops.load(path, trusted=SKOPS_TRUSTED)


ESTIMATORS = [
    through_pickle, through_joblib, through_compressed_joblib, through_memory_map, through_file, through_skops
]  # fmt: skip
every_format = pytest.mark.parametrize("through", [*ESTIMATORS, through_runtime])


@pytest.mark.slow
@every_row
@every_format
def test_every_format_gives_the_same_predictions(name, through, tmp_path):
    model, X = fitted(name)
    loaded = through(model, tmp_path / "model")
    assert_same_answers(loaded, model, X)
    if through is not through_runtime:
        assert repr(loaded.get_params()) == repr(model.get_params())
        assert loaded.layers_ == model.layers_
        assert repr(loaded.history_) == repr(model.history_)  # NaN is not equal to itself


@pytest.mark.parametrize("through", [through_file, through_skops])
@every_row
def test_formats_without_pickle_take_models_that_are_not_fitted(name, through, tmp_path):
    model, _ = unfitted(name)
    loaded = through(model, tmp_path / "model")
    assert type(loaded) is type(model)
    assert repr(loaded.get_params()) == repr(model.get_params())


TARGETS = {
    "two classes": (CNNClassifier, lambda y: np.where(y > 0, "yes", "no")),
    "two classes, objects": (CNNClassifier, lambda y: np.where(y > 0, "yes", "no").astype(object)),
    "labels": (CNNClassifier, lambda y: np.stack([y > 0, y > 1, y > 2], 1).astype(int)),
    "one class": (CNNClassifier, lambda y: np.zeros(len(y))),
    "targets": (CNNRegressor, lambda y: np.stack([y, -y], 1)),
    "one column": (CNNRegressor, lambda y: y / 3),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_format
def test_every_format_keeps_the_meaning_of_targets(kind, dtype, through, digits, tmp_path):
    X = digits[0][:40]
    cls, encode = TARGETS[kind]
    model = cls(**SMALL, batch_norm=True, dtype=dtype).fit(X, encode(np.arange(40) % 4))
    assert_same_answers(through(model, tmp_path / "model"), model, X)


@pytest.mark.parametrize("through", ESTIMATORS)
def test_every_format_trains_on(through, digits, tmp_path):
    X, y = digits
    model = CNNClassifier(**SMALL, dropout=0.2, average=0.9).partial_fit(X, y, classes=np.arange(10))
    loaded = through(model, tmp_path / "model")
    assert_same_answers(loaded.partial_fit(X, y), model.partial_fit(X, y), X)


# -- skops


def test_skops_takes_pipelines_searches_and_features(digits, tmp_path):
    X, y = digits[0].reshape(len(digits[0]), -1)[:60], digits[1][:60] % 3
    for build in (
        lambda: make_pipeline(MinMaxScaler(), CNNClassifier(**SMALL)),
        lambda: make_pipeline(CNNFeatures(CNNClassifier(**SMALL)), CNNClassifier(**SMALL)),
        lambda: CNNFeatures(FrozenEstimator(CNNClassifier(**SMALL).fit(X, y)), layer="conv1"),
    ):
        model = build()
        assert repr(through_skops(model, tmp_path / "new")) == repr(model)
        model.fit(X, y)
        loaded = through_skops(model, tmp_path / "fitted")
        if hasattr(model, "predict"):
            assert_same_answers(loaded, model, X)
        else:
            np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


def test_skops_takes_a_search_with_what_it_wants_for_any_search(digits, tmp_path):
    skops = pytest.importorskip("skops.io")
    X, y = digits[0].reshape(len(digits[0]), -1)[:60], digits[1][:60] % 3
    another = GridSearchCV(DummyClassifier(), {"strategy": ["prior", "uniform"]}, cv=2).fit(X, y)
    of_searches = skops.get_untrusted_types(data=skops.dumps(another))
    grid = {"cnnclassifier__optimizer": ["adam", SGD(momentum=0.5)], "cnnclassifier__layers": [None, [Flatten()]]}
    model = GridSearchCV(make_pipeline(MinMaxScaler(), CNNClassifier(**SMALL)), grid, cv=2).fit(X, y)
    content = skops.dumps(model)
    assert set(skops.get_untrusted_types(data=content)) <= {*SKOPS_TRUSTED, *of_searches}
    loaded = skops.loads(content, trusted=[*SKOPS_TRUSTED, *of_searches])
    assert_same_answers(loaded, model, X)
    assert loaded.best_params_ == model.best_params_


def test_skops_trusts_classes_of_this_package_only():
    assert sorted(set(SKOPS_TRUSTED)) == SKOPS_TRUSTED
    for name in SKOPS_TRUSTED:
        module, _, cls = name.rpartition(".")
        assert module.split(".")[0] == "skcnn"
        assert not cls.startswith("_")
        assert isinstance(getattr(__import__(module, fromlist=[cls]), cls), type)


def test_skops_is_told_of_every_class_of_the_tables():
    used = {type(described(row)) for _, row in ROWS.values()}
    assert {f"{cls.__module__}.{cls.__qualname__}" for cls in used} <= set(SKOPS_TRUSTED)


# -- versions


def aged(model, version):
    """A pickle that another version has written."""
    class_, state = type(model), model.__getstate__()
    state.pop("_skcnn_version")
    return _Aged(class_, state | ({"_skcnn_version": version} if version else {}))


class _Aged:
    def __init__(self, cls, state):
        self.cls, self.state = cls, state

    def __reduce__(self):
        return object.__new__, (self.cls,), self.state


@pytest.mark.parametrize(("version", "told"), [("0.0.1", "skcnn 0.0.1"), ("99.1", "skcnn 99.1"), (None, "unknown")])
def test_a_pickle_of_another_version_warns(version, told, digits):
    model = CNNClassifier(**SMALL).fit(*digits)
    content = pickle.dumps(aged(model, version))
    with pytest.warns(VersionWarning, match=rf"CNNClassifier was written by .*{told}.*read by skcnn"):
        loaded = pickle.loads(content)
    assert_same_answers(loaded, model, digits[0])
    assert "_skcnn_version" not in vars(loaded)


def test_the_warning_points_at_the_line_that_loads(digits):
    content = pickle.dumps(aged(CNNClassifier(**SMALL), "0.0.1"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pickle.loads(content)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("load", [skcnn.load, runtime.load])
def test_a_file_of_another_version_warns(load, digits, tmp_path, monkeypatch):
    model = CNNClassifier(**SMALL).fit(*digits)
    with monkeypatch.context() as patch:
        patch.setattr(files, "__version__", "0.0.1")
        skcnn.save(model, tmp_path / "old.skcnn")
    with pytest.warns(VersionWarning, match=r"written by skcnn 0\.0\.1") as caught:
        loaded = load(tmp_path / "old.skcnn")
    assert [warning.filename for warning in caught] == [__file__]
    assert_same_answers(loaded, model, digits[0])


@pytest.mark.parametrize("through", ESTIMATORS)
def test_a_file_of_this_version_is_quiet_and_knows_its_version(through, digits, tmp_path, monkeypatch):
    model = CNNClassifier(**SMALL).fit(*digits)
    through(model, tmp_path / "model")  # warnings are errors
    monkeypatch.setattr(versions, "__version__", "7.0")
    with pytest.warns(VersionWarning):
        through(model, tmp_path / "model")


# -- the runtime


def test_the_runtime_takes_the_forms_of_images_that_the_estimator_takes(digits, tmp_path):
    X, y = digits
    model = CNNClassifier(**SMALL).fit(X, y)
    served = through_runtime(model, tmp_path / "model")
    expected = model.predict_proba(X)
    for form in (X, X[..., None], X.reshape(len(X), -1), X.astype(np.uint8), X.tolist(), np.asfortranarray(X)):
        np.testing.assert_array_equal(served.predict_proba(form), expected)
    assert repr(served) == "<CNNClassifier for images of (8, 8, 1), 10 classes>"


WRONG = {
    "shape": (np.zeros((2, 8, 9)), ValueError, r"\(2, 8, 9\). Expected .*\(n, 8, 8, 1\) or \(n, 64\) or \(n, 8, 8\)"),
    "one image alone": (np.zeros((8, 8)), ValueError, r"shape \(8, 8\).*For a batch of one image, pass X\[np"),
    "none": (np.zeros((0, 8, 8)), ValueError, "at least one"),
    "NaN": (np.full((1, 8, 8), np.nan), ValueError, "NaN or infinity"),
    "words": (np.full((1, 8, 8), "a"), TypeError, "must contain numbers"),
    "a number": (3.0, ValueError, r"shape \(\)"),
}  # fmt: skip


@pytest.mark.parametrize(("X", "kind", "message"), WRONG.values(), ids=WRONG)
def test_the_runtime_refuses_what_is_no_image(X, kind, message, digits, tmp_path):
    served = through_runtime(CNNClassifier(**SMALL).fit(*digits), tmp_path / "model")
    with pytest.raises(kind, match=message):
        served.predict(X)


def test_the_runtime_says_what_a_model_cannot_do(digits, tmp_path):
    X, y = digits
    served = through_runtime(CNNClassifier(**SMALL, loss="hinge").fit(X, y), tmp_path / "model")
    with pytest.raises(AttributeError, match=r"Hinge\(\) provides no probabilities"):
        served.predict_proba(X)
    served = through_runtime(CNNRegressor(**SMALL).fit(X, y), tmp_path / "model")
    assert repr(served) == "<CNNRegressor for images of (8, 8, 1)>"
    with pytest.raises(AttributeError, match=r"CNNRegressor has no decision_function\. Use predict"):
        served.decision_function(X)


def test_the_runtime_refuses_what_it_cannot_serve(digits, tmp_path):
    skcnn.save(CNNClassifier(**SMALL), tmp_path / "new.skcnn")
    with pytest.raises(ValueError, match=r"new\.skcnn.*not fitted"):
        runtime.load(tmp_path / "new.skcnn")
    (tmp_path / "other").write_bytes(pickle.dumps(3))
    with pytest.raises(ValueError, match=r"not a file that skcnn\.save has written"):
        runtime.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        runtime.load(tmp_path / "nowhere")
