"""Images one by one in columns and lists, tensors, and messages that fit what was given."""

import copy
import io
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
from collections import deque

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

import skcnn
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor, display, runtime

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


def small(cls=CNNClassifier, **params):
    return cls(**SMALL | params)


@pytest.fixture(scope="module")
def data(digits):
    """120 digits of 8 bits."""
    return (15 * digits[0]).astype(np.uint8), digits[1]


@pytest.fixture(scope="module")
def fitted(data):
    return small().fit(*data)


def through_runtime(model, tmp_path):
    skcnn.save(model, tmp_path / "model.skcnn")
    return runtime.load(tmp_path / "model.skcnn")


class Items:
    """What can be indexed and has a length, and nothing else."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, key):
        return self.items[key]


def objects(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


def pictures(X):
    return [Image.fromarray(image) for image in X]


def of_polars(build):
    return lambda X: build(pytest.importorskip("polars"), X)


def of_torch(build):
    return lambda X: build(pytest.importorskip("torch"), X)


FORMS = {
    "column of a table": lambda X: pd.DataFrame({"image": list(X)})["image"],
    "table of one column": lambda X: pd.DataFrame({"image": list(X)}),
    "column of nested lists": lambda X: pd.Series(X.tolist()),
    "column of rows": lambda X: pd.Series([image.ravel() for image in X]),
    "column of pictures": lambda X: pd.Series(pictures(X)),
    "object array": lambda X: objects(list(X)),
    "column of an object array": lambda X: objects(list(X))[:, np.newaxis],
    "object array of pictures": lambda X: objects(pictures(X)),
    "list of pictures": pictures,
    "pictures and arrays": lambda X: [*pictures(X[:5]), *X[5:]],
    "deque": deque,
    "deque of rows": lambda X: deque(image.ravel() for image in X),
    "any sequence": Items,
    "any sequence of pictures": lambda X: Items(pictures(X)),
    "polars objects": of_polars(lambda pl, X: pl.Series(list(X), dtype=pl.Object)),
    "polars lists": of_polars(lambda pl, X: pl.Series(X.tolist())),
    "polars arrays": of_polars(lambda pl, X: pl.Series(X)),
    "polars rows": of_polars(lambda pl, X: pl.Series(X.reshape(len(X), -1))),
    "polars table of arrays": of_polars(lambda pl, X: pl.DataFrame({"image": X})),
    "polars table of lists": of_polars(lambda pl, X: pl.DataFrame({"image": X.tolist()})),
    "tensor": of_torch(lambda torch, X: torch.as_tensor(X)),
    "tensor of rows": of_torch(lambda torch, X: torch.as_tensor(X.reshape(len(X), -1))),
    "list of tensors": of_torch(lambda torch, X: list(torch.as_tensor(X))),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_images_one_by_one_are_the_same_images(form, data, fitted, tmp_path):
    X, y = data
    given, expected = form(X), fitted.predict_proba(X)
    refitted = small().fit(given, y)
    assert refitted.input_shape_ == (8, 8, 1)
    assert refitted.n_features_in_ == 64
    assert not hasattr(refitted, "feature_names_in_")
    assert_array_equal(refitted.predict_proba(X), expected)
    assert_array_equal(fitted.predict_proba(given), expected)
    assert_array_equal(through_runtime(fitted, tmp_path).predict_proba(given), expected)


def test_a_column_of_colour_images_works_wherever_an_estimator_goes(data):
    X = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 3), dtype=np.uint8)
    y, column = np.arange(60) % 2, pd.DataFrame({"image": pictures(X)})["image"]
    assert small().fit(column, y, X_val=column[:9], y_val=y[:9]).input_shape_ == (6, 5, 3)
    assert_array_equal(
        small(CNNRegressor).partial_fit(column, y).predict(column), small(CNNRegressor).partial_fit(X, y).predict(X)
    )
    by_images, by_column = (cross_val_score(small(), images, y, cv=3) for images in (X, column))
    assert_array_equal(by_column, by_images)
    model = make_pipeline(CNNFeatures(small()), small(input_shape=(1, 8))).fit(column, y)
    assert_array_equal(model.predict(column), model.predict(X))
    search = GridSearchCV(small(), {"max_iter": [1, 2]}, cv=2).fit(column, y)
    assert_array_equal(search.predict(column), search.best_estimator_.predict(X))


NOT_IMAGES = {
    "paths": (
        lambda X: ["a/b.png"] * len(X),
        TypeError,
        r"X\w* contains text or paths instead of images: 'a/b.png' in row 0",
    ),
    "paths of pathlib": (lambda X: [pathlib.PurePosixPath("a/b.png")] * len(X), TypeError, "'a/b.png' in row 0"),
    "column of paths": (lambda X: pd.Series(["a/b.png"] * len(X)), TypeError, "'a/b.png' in row 0"),
    "table of paths": (lambda X: pd.DataFrame({"path": ["a/b.png"] * len(X)}), TypeError, "'a/b.png' in row 0"),
    "array of paths": (lambda X: np.array(["a/b.png"] * len(X)), TypeError, r"read_images\(paths, size=\(h, w\)\)"),
    "polars paths": (of_polars(lambda pl, X: pl.Series(["a.png"] * len(X))), TypeError, r"ImageReader\(size=\(h, w\)"),
    "one path": (lambda X: [*X[:7], "a.png", *X[8:]], TypeError, "'a.png' in row 7"),
    "folder": (lambda X: "photos", TypeError, r"'photos'.*skcnn\.images\.load_folder"),
    "sizes": (
        lambda X: [*X[:2], *X[2:, :7]],
        ValueError,
        r"different sizes: \(8, 8\) in rows 0, 1, \(7, 8\) in rows 2",
    ),
    "sizes of pictures": (lambda X: [Image.new("L", (9, 7)), *X], ValueError, r"\(7, 9\) in row 0.*ImageReader\(size="),
    "many sizes": (lambda X: [np.ones((k, 8)) for k in range(1, 9)], ValueError, r"\(5, 8\) in row 4 and 3 more"),
    "channels": (
        lambda X: [*X[:3], np.ones((8, 8, 3))],
        ValueError,
        r"different channels: \(8, 8\) in rows 0, 1, 2, \(8, 8, 3\) in row 3.*convert\('RGB'\)",
    ),
    "None": (lambda X: [*X[:5], None, *X[6:]], ValueError, "no image in row 5, but None. Leave these rows out"),
    "NaN": (lambda X: pd.Series([*X[:5], np.nan, *X[6:9], np.nan]), ValueError, "no image in rows 5, 9, but nan"),
    "NA": (lambda X: objects([*X[:5], pd.NA]), ValueError, "no image in row 5, but <NA>"),
    "palette": (
        lambda X: [image.convert("P") for image in pictures(X)],
        ValueError,
        r'palette in row 0.*\[image\.convert\("RGB"\) for image in X\w*\]',
    ),
    "one palette": (lambda X: [*X[:3], Image.new("P", (8, 9))], ValueError, "palette in row 3"),
    "pairs": (lambda X: [(image, 1) for image in X], TypeError, "a tuple in row 0.*pass X and y separately"),
    "dicts": (lambda X: [{"bytes": b"1"}] * len(X), TypeError, r"a dict in row 0.*\(h, w\) or \(h, w, c\)"),
    "bytes": (lambda X: [b"123"] * len(X), TypeError, r"bytes in row 0.*read_images"),
    "iterator": (iter, TypeError, r"iterator.*read only once. Pass list\(X\w*\)"),
    "generator": (lambda X: (image for image in X), TypeError, r"generator.*Pass list\(X\w*\)"),
    "one picture": (lambda X: pictures(X)[0], TypeError, r"single image of Pillow, 8 pixels wide.*Pass \[X\w*\]"),
}


@pytest.mark.parametrize(("build", "error", "message"), NOT_IMAGES.values(), ids=NOT_IMAGES)
def test_what_is_no_image_is_told_what_came_and_what_to_write(build, error, message, data, fitted, tmp_path):
    X, y = data
    for call in (
        lambda given: small().fit(given, y),
        lambda given: small(CNNRegressor).partial_fit(given, y),
        lambda given: small().fit(X, y, X_val=given, y_val=y),
        fitted.predict,
        CNNFeatures(small(max_iter=1)).fit(X, y).transform,
        through_runtime(fitted, tmp_path).predict,
    ):
        with pytest.raises(error, match=message):
            call(build(X))


@pytest.mark.parametrize("table", [pd.DataFrame, of_polars(lambda pl, content: pl.DataFrame(content))])
def test_a_column_of_images_among_others_is_named(table, data):
    X, y = data
    given = table({"number": y, "image": X if table is not pd.DataFrame else list(X)})
    with pytest.raises(ValueError, match=r"X has 2 columns, of which 'image' contains images.*X\['image'\]"):
        small().fit(given, y)
    assert small().fit(given["image"], y).input_shape_ == (8, 8, 1)


def test_single_images_of_pillow_become_a_batch_as_the_message_says(data, fitted, tmp_path):
    X, _ = data
    picture = pictures(X)[0]
    for model in (fitted, through_runtime(fitted, tmp_path)):
        assert_array_equal(model.predict([picture]), fitted.predict(X[:1]))


# -- another shape than was fitted

SHAPES = {
    "size": (
        (16, 12, 1),
        (20, 20),
        "Resize the images to 16 x 12, for example with skcnn.images.read_images(paths, size=(16, 12))",
    ),
    "RGB to grey": ((16, 12, 1), (16, 12, 3), "They are RGB, and the images of the fit are grey: pass"),
    "RGBA to grey": ((16, 12, 1), (16, 12, 4), "They are RGBA, and the images of the fit are grey: pass"),
    "grey with alpha": ((16, 12, 1), (16, 12, 2), "They are grey with alpha, and the images of the fit are grey: pass"),
    "RGBA to RGB": ((16, 12, 3), (16, 12, 4), "They are RGBA, and the images of the fit are RGB: pass"),
    "grey to RGB": ((16, 12, 3), (16, 12), "They are grey, and the images of the fit are RGB: pass"),
    "grey with an axis": ((16, 12, 3), (16, 12, 1), "They are grey, and the images of the fit are RGB: pass"),
    "RGB to RGBA": ((16, 12, 4), (16, 12, 3), "They are RGB, and the images of the fit are RGBA."),
    "bands": ((16, 12, 7), (16, 12, 9), "They are of 9 channels, and the images of the fit are of 7 channels."),
    "channels first": ((16, 12, 3), (3, 16, 12), "The channels come first: pass"),
    "grey with channels first": ((16, 12, 1), (1, 16, 12), "The channels come first: pass"),
    "height and width": ((16, 12, 3), (12, 16, 3), "Height and width are swapped: pass"),
    "large with channels first": ((16, 12, 3), (3, 30, 30), "The channels come first"),
    "large RGBA": ((16, 12, 3), (30, 30, 4), "Resize the images to 16 x 12"),
}


@pytest.mark.parametrize(("fit_on", "asked", "advice"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", [np.asarray, lambda X: X.tolist(), pd.Series], ids=["array", "list", "column"])
def test_images_of_another_shape_are_told_how_to_fit(fit_on, asked, advice, form, tmp_path):
    rng = np.random.default_rng(0)
    model = small(max_iter=1).fit(rng.normal(size=(12, *fit_on)), np.arange(12) % 2)
    X = rng.normal(size=(5, *asked))
    given = form(list(X)) if form is pd.Series else form(X)
    full = asked if len(asked) == 3 else (*asked, 1)
    for predict, seen in (
        (model.predict, f"X has images of shape {full}, but CNNClassifier is expecting images of shape {fit_on}"),
        (through_runtime(model, tmp_path).predict, f"X has shape {X.shape}. Expected images of shape (n, "),
    ):
        with pytest.raises(ValueError, match=re.escape(seen)) as caught:
            predict(given)
        assert advice in str(caught.value)
        code = re.search(r"[Pp]ass (.*?)\.$", str(caught.value))
        if code and 30 not in asked:  # what is to be resized as well needs both
            assert predict(eval(code.group(1), {"np": np, "X": given})).shape == (5,)


ALONE = {
    "grey": ((16, 12, 1), (16, 12)),
    "grey with an axis": ((16, 12, 1), (16, 12, 1)),
    "RGB": ((16, 12, 3), (16, 12, 3)),
    "row": ((16, 12, 1), (192,)),
    "RGBA to RGB": ((16, 12, 3), (16, 12, 4)),
    "grey to RGB": ((16, 12, 3), (16, 12)),
    "RGB to grey": ((16, 12, 1), (16, 12, 3)),
}


@pytest.mark.parametrize(("fit_on", "asked"), ALONE.values(), ids=ALONE)
@pytest.mark.parametrize("form", [np.asarray, lambda X: X.tolist()], ids=["array", "list"])
def test_the_advice_for_one_image_works_for_what_was_given(fit_on, asked, form, tmp_path):
    rng = np.random.default_rng(0)
    model = small(max_iter=1).fit(rng.normal(size=(12, *fit_on)), np.arange(12) % 2)
    given = form(rng.normal(size=asked))
    for predict in (model.predict, through_runtime(model, tmp_path).predict):
        with pytest.raises(ValueError, match="This is one image") as caught:
            predict(given)
        code = re.search(r"[Pp]ass (.*?)\.$", str(caught.value)).group(1)
        assert predict(eval(code, {"np": np, "X": given})).shape == (1,)


def test_rows_of_another_length_speak_of_the_images(fitted, data):
    rows = data[0].reshape(len(data[0]), -1)
    with pytest.raises(ValueError, match=r"63 features.*expecting 64.*flattened images of shape \(8, 8, 1\)\.$"):
        fitted.predict(rows[:, 1:])
    with pytest.raises(ValueError, match=r"65 features.*Is the label among the columns\?"):
        fitted.predict(np.column_stack([data[1], rows]))
    with pytest.raises(ValueError, match=r"^Expected 2D array, got 1D array instead, of shape \(64,\).*one image"):
        fitted.predict(rows[0])


def test_images_along_the_last_axis_are_told_to_move(data):
    """As files of MATLAB have them."""
    X, y = data
    with pytest.raises(ValueError, match=r"inconsistent.*last axis: pass np\.moveaxis\(X, -1, 0\)\.$"):
        small().fit(np.moveaxis(X, 0, -1), y)


# -- targets

MISSING = {
    "None": (lambda y: objects([None if row in (3, 7) else value for row, value in enumerate(y)]), "None in rows 3, 7"),
    "list": (lambda y: [None if row == 3 else int(value) for row, value in enumerate(y)], "None in row 3"),
    "words": (
        lambda y: pd.Series([None if row == 3 else str(value) for row, value in enumerate(y)]),
        "(None|nan) in row 3",
    ),
    "NA": (lambda y: objects([pd.NA if row == 3 else value for row, value in enumerate(y)]), "<NA> in row 3"),
    "categories": (
        lambda y: pd.Series([None if row == 3 else f"{value}" for row, value in enumerate(y)], dtype="category"),
        "nan in row 3",
    ),
    "polars": (
        of_polars(lambda pl, y: pl.Series([None if row == 3 else f"{value}" for row, value in enumerate(y)])),
        "None in row 3",
    ),
    "columns": (lambda y: objects([[1, 0]] * 3 + [[1, None]] + [[0, 1]] * (len(y) - 4)).tolist(), "None in row 3"),
}


@pytest.mark.parametrize(("build", "said"), MISSING.values(), ids=MISSING)
def test_targets_without_a_value_are_said_with_their_rows(build, said, data):
    X, y = data
    for call in (
        lambda: small().fit(X, build(y)),
        lambda: small().partial_fit(X, build(y), classes=np.arange(10)),
        lambda: small(CNNRegressor).fit(X, build(y)),
        lambda: CNNFeatures(small()).fit(X, build(y)),
    ):
        with pytest.raises(ValueError, match=f"^y has missing values: {said}. Leave these rows out of X and y.$"):
            call()
    with pytest.raises(ValueError, match=f"y_val has missing values: {said}. Leave these rows out of X_val and y_val."):
        small().fit(X, y, X_val=X, y_val=build(y))


@pytest.mark.parametrize("numbers", [pd.Series([1, 2, None] * 40, dtype="Int64"), pd.Series([1.0, 2, np.nan] * 40)])
@pytest.mark.parametrize("cls", [CNNClassifier, CNNRegressor])
def test_numbers_without_a_value_are_said(cls, numbers, data):
    with pytest.raises(ValueError, match=r"contains NaN|has missing values"):
        small(cls).fit(data[0], numbers)


def test_pixels_that_are_not_finite_are_one_sentence_with_their_rows(data):
    X, y = data[0].astype(float), data[1]
    X[[5, 9], 2, 2] = np.nan
    with pytest.raises(ValueError, match=r"^Input X contains NaN, in rows 5, 9\.$"):
        small().fit(X, y)
    said = r"^In the validation set \(X_val, y_val, sample_weight_val\): Input X_val contains NaN, in rows 5, 9\.$"
    with pytest.raises(ValueError, match=said):
        small().fit(X[:5], y[:5], X_val=X, y_val=y)
    with pytest.raises(ValueError, match=r"^Input X contains infinity.*, in row 2\.$"):
        small().fit(pd.DataFrame(np.where(np.eye(120, 64, -2) * (np.arange(64) == 0), np.inf, 1.0)), y)


def test_a_warm_start_with_other_classes_names_partial_fit(data):
    X, y = data
    model = small(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"same classes only.*partial_fit\(X, y, classes=\.\.\.\)"):
        model.fit(X[:20], y[:20] % 5)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_misclassified_images_are_shown_without_probabilities(loss, classes, data):
    import matplotlib.pyplot as plt

    X, y = data[0], data[1] % classes
    model = small(loss=loss, max_iter=1).fit(X, y)
    drawn = display.MisclassifiedDisplay.from_estimator(model, X, y)
    raw = model.decision_function(X)
    certainty = np.abs(raw) if classes == 2 else raw.max(axis=1)
    wrong = model.predict(X) != y
    assert list(drawn.probability) == sorted(certainty[wrong], reverse=True)
    assert drawn.axes_[0].get_title().endswith(f"\nraw = {certainty[wrong].max():.2f}")
    plt.close("all")


# -- tensors


def check_tensors(dispatch):
    """Tensors are arrays for both estimators and for features, as images and rows, targets and weights."""
    import torch

    digits = load_digits()
    X, y, w = digits.images[:120], digits.target[:120], np.arange(120) % 3
    images, targets, weights = map(torch.as_tensor, (X, y, w))
    expected = small().fit(X, y, sample_weight=w)
    with sklearn.config_context(array_api_dispatch=dispatch):
        for form in (images, images[..., None], images.reshape(120, -1)):
            assert small().fit(form, targets, X_val=form, y_val=targets).validation_scores_ is not None
            model = small().fit(form, targets, sample_weight=weights)
            assert_array_equal(model.predict_proba(form), expected.predict_proba(X))
            assert model.score(form, targets) == expected.score(X, y)
            assert model.partial_fit(form, targets).n_iter_ == 3
            regressor = small(CNNRegressor).fit(form, targets * 0.5)
            assert_array_equal(regressor.predict(form), small(CNNRegressor).fit(X, y * 0.5).predict(X))
            assert CNNFeatures(small()).fit(form, targets).transform(form).shape == (120, 8)
            assert cross_val_score(small(), form, targets, cv=2).shape == (2,)


def test_tensors_are_arrays():
    pytest.importorskip("torch")
    check_tensors(dispatch=False)


def test_tensors_are_arrays_where_scikit_learn_dispatches():
    """SciPy reads the variable when it is imported."""
    pytest.importorskip("torch")
    here = pathlib.Path(__file__).parent
    paths = os.pathsep.join([str(here.parent), str(here)])
    environment = os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-W", "error", "-c", "import test_forms; test_forms.check_tensors(dispatch=True)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- the arrays of a fitted network


def test_parameters_cannot_be_replaced(data):
    model = small(batch_norm=True).fit(*data)
    expected = model.predict_proba(data[0])
    for held in (model.parameters_, model.state_):
        name = next(iter(held))
        for change in (
            lambda held=held, name=name: held.__setitem__(name, 0 * held[name]),
            lambda held=held, name=name: held.__delitem__(name),
            lambda held=held, name=name: held.update({name: 0}),
            lambda held=held, name=name: held.setdefault("other", 0),
            lambda held=held, name=name: held.pop(name),
            lambda held=held: held.popitem(),
            lambda held=held: held.clear(),
            lambda held=held: held.__ior__({}),
        ):
            with pytest.raises(TypeError, match=r"read-only.*network would not use.*set_weights"):
                change()
        with pytest.raises(ValueError, match="read-only"):
            held[name][...] = 0
    with pytest.raises(AttributeError):
        model.parameters_ = {}
    assert_array_equal(model.predict_proba(data[0]), expected)


def test_parameters_are_a_dict_otherwise(data):
    held = small(batch_norm=False).fit(*data).parameters_
    assert list(held) == ["conv1.kernel", "conv1.bias", "dense1.kernel", "dense1.bias", "output.kernel", "output.bias"]
    changed = dict(held)
    changed["conv1.bias"] = 3
    assert (held | {"conv1.bias": 3})["conv1.bias"] == 3
    for again in (pickle.loads(pickle.dumps(held)), copy.deepcopy(held), copy.copy(held)):
        assert type(again) is type(held)
        for name, array in held.items():
            assert_array_equal(again[name], array)
    json.dump({name: array.tolist() for name, array in held.items()}, io.StringIO())
