"""Probable mistakes are said, with the line to write instead; and those who do it right hear nothing."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.feature_selection import VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skcnn
from skcnn import (
    CNNClassifier,
    CNNFeatures,
    CNNRegressor,
    ImageLayoutWarning,
    ImageScaleWarning,
    OutputLayerWarning,
    TargetFormatWarning,
    runtime,
)
from skcnn.layers import Conv2D, Dense, Flatten, GlobalAvgPool2D, HardSigmoid, ReLU, Sigmoid, Softmax
from skcnn.saliency import input_gradient

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 1, "random_state": 0}
RNG = np.random.default_rng(0)


def small(cls=CNNClassifier, **params):
    return cls(**SMALL | params)


def learner(**params):
    """A network that learns the digits in a quarter of a second."""
    return small(**{"conv_filters": (8,), "hidden_layer_sizes": (32,), "max_iter": 12, "learning_rate": 3e-3} | params)


@pytest.fixture(scope="module")
def split():
    """600 digits and 400 others."""
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    return images[:600], images[600:1000], y[:600], y[600:1000]


@pytest.fixture(scope="module")
def fitted(split):
    return learner().fit(split[0], split[2])


@pytest.fixture(scope="module")
def served(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.skcnn"
    skcnn.save(fitted, path)
    return runtime.load(path)


def images_of(*shape, n=12):
    """Noise, and two classes."""
    return RNG.normal(size=(n, *shape)), np.arange(n) % 2


def smooth(*shape, n=12):
    """Images whose neighbouring pixels are alike, along the last two axes."""
    X = RNG.normal(size=(n, *shape)).cumsum(axis=-1).cumsum(axis=-2)
    return X, np.arange(n) % 2


def said(category, call):
    """The only warning of a call, which names the line that called."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert [(warning.category, warning.filename) for warning in caught] == [(category, __file__)]
    return str(caught[0].message)


# -- the classes


def test_each_warning_is_a_user_warning_of_its_own():
    classes = [ImageLayoutWarning, ImageScaleWarning, OutputLayerWarning, TargetFormatWarning, skcnn.VersionWarning]
    for cls in classes:
        assert cls.__bases__ == (UserWarning,)
        assert cls.__module__ == "skcnn.exceptions"
        assert getattr(skcnn, cls.__name__) is cls


# -- channels first


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8), (4, 32, 32), (3, 28, 28), (1, 64, 64), (3, 224, 224)])
@pytest.mark.parametrize("cls", [CNNClassifier, CNNRegressor])
def test_square_images_with_channels_first_warn(shape, cls):
    X, y = images_of(*shape, n=3)
    model = small(cls, layers=[GlobalAvgPool2D()])
    message = said(ImageLayoutWarning, lambda: model.fit(X, y))
    c, h, w = shape
    assert f"images of shape {shape}, used as (h, w, c): {c} high, {h} wide, with {w} channels" in message
    assert f"X.transpose(0, 2, 3, 1). If the channels are last, pass input_shape={shape}." in message
    model.fit(X.transpose(0, 2, 3, 1), y)  # warnings are errors
    clone(model).set_params(input_shape=shape).fit(X, y)


@pytest.mark.parametrize("shape", [(1, 62, 47), (3, 32, 100), (3, 48, 64), (4, 90, 120), (1, 112, 92)])
def test_other_images_with_channels_first_warn_where_they_look_like_images(shape):
    message = said(ImageLayoutWarning, lambda: small(layers=[GlobalAvgPool2D()]).fit(*smooth(*shape)))
    assert str(shape) in message


LAYOUTS = {
    "hyperspectral patch": (3, 3, 103),
    "hyperspectral pixel": (1, 1, 200),
    "hyperspectral cube": (5, 5, 200),
    "large cube": (16, 16, 40),
    "sensors": (1, 128, 9),
    "electrodes": (1, 256, 22),
    "leads": (1, 1000, 12),
    "short signal": (1, 8, 2),
    "word vectors": (1, 50, 100),
    "feature maps": (7, 7, 64),
    "small feature maps": (4, 4, 128),
    "three of them": (3, 3, 64),
    "one of them": (1, 1, 512),
    "maps of a line of text": (4, 32, 64),
    "long maps": (1, 8, 64),
    "RGB": (8, 8, 3),
    "small RGB": (3, 3, 3),
    "strip": (3, 40, 3),
    "grey": (8, 8, 1),
    "RGBA": (4, 4, 4),
    "ten bands": (12, 12, 10),
}


@pytest.mark.parametrize("shape", LAYOUTS.values(), ids=LAYOUTS)
def test_images_signals_and_feature_maps_with_channels_last_are_quiet(shape):
    X, y = images_of(*shape, n=4)
    assert small(layers=[GlobalAvgPool2D()]).fit(X, y).input_shape_ == shape


def test_feature_maps_of_a_network_are_quiet(split):
    """They have neighbouring channels that are not alike, as neighbouring columns of an image are."""
    X, _, y, _ = split
    maps = CNNFeatures(small(conv_filters=(16,)), "conv1").fit(X[:60], y[:60]).transform(X[:60]).reshape(60, 8, 8, 16)
    rows = np.tile(maps[:, 3:4], (1, 1, 2, 1))  # (1, 16, 16)
    assert small().fit(rows[:, :, :15], y[:60]).input_shape_ == (1, 15, 16)


def test_channels_first_learns_less(split):
    A, B, a, b = split
    with pytest.warns(ImageLayoutWarning):
        first = learner().fit(A[:, np.newaxis], a).score(B[:, np.newaxis], b)
    transposed = A[:, np.newaxis].transpose(0, 2, 3, 1)
    last = learner().fit(transposed, a).score(B[:, np.newaxis].transpose(0, 2, 3, 1), b)
    assert last > first + 0.03


@pytest.mark.parametrize(
    "form",
    [list, lambda X: X.tolist(), lambda X: pd.Series(list(X)), lambda X: pd.DataFrame({"image": list(X)})],
    ids=["list", "nested list", "column", "table"],
)
def test_the_advice_for_channels_first_works_for_what_was_given(form):
    X, y = images_of(3, 8, 8)
    given = form(X)
    message = said(ImageLayoutWarning, lambda: small().fit(given, y))
    code = re.search(r"If so, pass (.*?)\. If the", message).group(1)
    assert_array_equal(eval(code, {"np": np, "X": given}), X.transpose(0, 2, 3, 1))


def test_channels_first_are_said_in_a_pipeline_a_search_and_partial_fit():
    X, y = images_of(3, 8, 8)
    for call in (
        lambda: small().partial_fit(X, y, classes=[0, 1]),
        lambda: make_pipeline(CNNFeatures(small())).fit(X, y),
        lambda: GridSearchCV(small(), {"max_iter": [1]}, cv=[(np.arange(12), np.arange(12))], refit=False).fit(X, y),
    ):
        assert "X.transpose(0, 2, 3, 1)" in said(ImageLayoutWarning, call)


def test_channels_first_beside_an_explicit_input_shape_are_refused_with_the_advice():
    X, y = images_of(3, 8, 8)
    with pytest.raises(ValueError, match=r"input_shape=\(8, 8, 3\) does not fit X.*pass X\.transpose\(0, 2, 3, 1\)"):
        small(input_shape=(8, 8, 3)).fit(X, y)


# -- rows


@pytest.mark.parametrize(
    ("features", "advice"),
    [
        (224, "input_shape=(h, w), for example (14, 16) or (16, 14)"),
        (785, "785 = 28 * 28 + 1. If one column is the label, pass the other columns"),
        (3073, "3073 = 32 * 32 * 3 + 1. If one column is the label"),
        (59, "a feature selector, has dropped pixels of images, leave that step out"),
        (48, "input_shape=(4, 4, 3)"),
        (63, "(7, 9) or (9, 7)"),
        (49, "(7, 7) or (7, 7)"),
        (3072, "If they are RGB images flattened pixel by pixel, pass input_shape=(32, 32, 3). If the planes red"),
        (3072, "come one after the other, pass X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cls", [CNNClassifier, CNNRegressor])
def test_rows_that_are_no_square_images_warn_once(features, advice, cls):
    X, y = images_of(features)
    model = small(cls)
    message = said(ImageLayoutWarning, lambda: model.fit(X, y))
    assert f"X has {features} features in each row" in message
    assert f"1 x {features} with one channel" in message
    assert advice in message
    assert f"For signals, pass input_shape=(1, {features})." in message
    model.predict(X)
    model.partial_fit(X, y)
    assert small(cls, input_shape=(1, features)).fit(X, y).input_shape_ == (1, features, 1)


@pytest.mark.parametrize("features", [1, 2, 10, 30, 31, 64, 81, 784])
def test_tables_and_square_images_are_quiet(features):
    X, y = images_of(features)
    small().fit(X, y)
    small().fit(pd.DataFrame(X, columns=[f"pixel{i}" for i in range(features)]), y)


def test_rows_of_planes_are_the_images_that_the_advice_makes():
    """As the files of CIFAR and of OpenML have them."""
    X = RNG.integers(0, 256, (12, 10, 10, 3))
    y, planes = np.arange(12) % 3, X.transpose(0, 3, 1, 2).reshape(12, -1)
    message = said(ImageLayoutWarning, lambda: small().fit(planes, y))
    code = re.search(r"after the other, pass (.*?)\. For", message).group(1)
    by_advice = small().fit(eval(code, {"X": planes}), y)
    assert_array_equal(by_advice.predict_proba(X), small().fit(X, y).predict_proba(X))
    by_pixel = small(input_shape=(10, 10, 3)).fit(X.reshape(12, -1), y)
    assert_array_equal(by_pixel.predict_proba(X), by_advice.predict_proba(X))


def test_rows_behind_a_feature_selector_warn(split):
    X, _, y, _ = split
    rows = X.reshape(len(X), -1)
    model = make_pipeline(VarianceThreshold(0.1), small())
    message = said(ImageLayoutWarning, lambda: model.fit(rows, y))
    assert f"X has {model[0].get_support().sum()} features" in message


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_rows_of_rgba_images_warn(dtype):
    X, y = RNG.integers(0, 255, (12, 8, 8, 4)).astype(dtype), np.arange(12) % 2
    X[..., 3] = 255
    message = said(ImageLayoutWarning, lambda: small().fit(X.reshape(12, -1), y))
    assert "every fourth of them is 255" in message
    assert "used as grey images of 16 x 16" in message
    assert "input_shape=(8, 8, 4). For grey images, pass input_shape=(16, 16)." in message
    for shape in ((8, 8, 4), (16, 16)):
        small(input_shape=shape).fit(X.reshape(12, -1), y)


def test_square_rows_that_are_grey_are_quiet():
    X, y = RNG.integers(0, 255, (12, 16, 16)), np.arange(12) % 2
    X[:, :, 3::4] = 0  # a grid of black lines
    small().fit(X.reshape(12, -1), y)
    small().fit(np.full((12, 256), 255), y)
    small().fit(np.where(X > 100, 255, 0).reshape(12, -1), y)


# -- one-hot targets


@pytest.mark.parametrize(
    "form",
    [
        lambda y: np.eye(10)[y],
        lambda y: np.eye(10, dtype=int)[y],
        lambda y: np.eye(10)[y].tolist(),
        lambda y: pd.get_dummies(y),
        lambda y: pd.get_dummies(y, dtype=int),
    ],
    ids=["floats", "ints", "list", "dummies", "dummies of ints"],
)
def test_one_hot_targets_warn_and_the_advice_gives_the_classes(split, form):
    X, y = split[0], split[2]
    given = form(y)
    message = said(TargetFormatWarning, lambda: small().fit(X, given))
    assert "Each of the 600 rows of y has exactly one 1 in its 10 columns" in message
    code = re.search(r"For classes, pass (.*?)\.$", message).group(1)
    assert_array_equal(eval(code, {"np": np, "y": given}), y)
    assert "one-hot" in said(TargetFormatWarning, lambda: small().partial_fit(X, given))


def test_one_hot_targets_learn_less(split):
    A, B, a, b = split
    with pytest.warns(TargetFormatWarning):
        labels = learner(max_iter=3).fit(A, np.eye(10)[a])
    assert labels.score(B, np.eye(10)[b]) < 0.2
    assert learner(max_iter=3).fit(A, np.eye(10)[a].argmax(axis=1)).score(B, b) > 0.7


def test_labels_and_tiny_targets_are_quiet(split):
    X = split[0]
    labels = make_multilabel_classification(n_samples=600, n_classes=3, random_state=0)[1]
    small().fit(X, labels)
    small().fit(X[:5], np.eye(5)[[0, 1, 2, 3, 4]])  # five rows may have one label each
    mostly = np.eye(3)[np.arange(600) % 3]
    mostly[7] = 0
    small().fit(X, mostly)
    mostly[7] = 1
    small().partial_fit(X, mostly)
    small(CNNRegressor).fit(X, np.eye(3)[np.arange(600) % 3])


def test_a_one_hot_validation_set_and_probabilities_are_refused_with_the_advice(split):
    A, B, a, b = split
    with pytest.raises(ValueError, match=r"y_val.*one-hot: pass np\.asarray\(y_val\)\.argmax\(axis=1\)"):
        small().fit(A, a, X_val=B, y_val=np.eye(10)[b])
    soft = 0.9 * np.eye(10)[a] + 0.01
    with pytest.raises(ValueError, match=r"y contains probabilities.*np\.asarray\(y\)\.argmax\(axis=1\)"):
        small().fit(A, soft)


# -- the output layer

BODY = [Conv2D(8), ReLU(), Flatten()]


@pytest.mark.parametrize(
    ("cls", "classes", "end", "out"),
    [
        (CNNClassifier, 10, [Dense(10), Softmax()], "Dense(10), Softmax()"),
        (CNNClassifier, 10, [Dense(10), Sigmoid()], "Dense(10), Sigmoid()"),
        (CNNClassifier, 10, [Dense(10)], "Dense(10)"),
        (CNNClassifier, 10, [Dense(11), Softmax()], "Dense(11), Softmax()"),
        (CNNClassifier, 2, [Dense(1), Sigmoid()], "Dense(1), Sigmoid()"),
        (CNNClassifier, 2, [Dense(2), Softmax()], "Dense(2), Softmax()"),
        (CNNRegressor, 10, [Dense(1), HardSigmoid()], "Dense(1), HardSigmoid()"),
        (CNNRegressor, 10, [Dense(1)], "Dense(1)"),
    ],
)
def test_layers_that_end_with_an_output_layer_warn(split, cls, classes, end, out):
    X, y = split[0], split[2] % classes
    message = said(OutputLayerWarning, lambda: small(cls, layers=[*BODY, *end]).fit(X, y))
    assert f"layers ends with an output layer of its own: {out}" in message
    assert f"Remove {out}." in message


def test_an_all_convolutional_head_warns(split):
    layers = [Conv2D(8), ReLU(), Conv2D(10), GlobalAvgPool2D(), Softmax()]
    message = said(OutputLayerWarning, lambda: small(layers=layers).fit(split[0], split[2]))
    assert "Softmax(), with 10 outputs" in message


@pytest.mark.parametrize(
    "end",
    [
        [Dense(64), Sigmoid()],
        [Dense(10), ReLU()],
        [Dense(2)],
        [Dense(64), HardSigmoid()],
        [],
    ],
)
def test_hidden_layers_are_quiet(split, end):
    X, y = split[0], split[2]
    small(layers=[*BODY, *end]).fit(X, y)
    small(CNNRegressor, layers=[*BODY, *end]).fit(X, y)


def test_knobs_and_the_continuation_of_a_fit_are_quiet(split):
    X, y = split[0], split[2]
    small(hidden_layer_sizes=(10,), activation="sigmoid").fit(X, y)
    model = small(layers=[*BODY, Dense(10), Softmax()])
    with pytest.warns(OutputLayerWarning):
        model.fit(X, y)
    model.partial_fit(X, y)


def test_an_output_layer_of_ones_own_learns_less(split):
    A, B, a, b = split
    with pytest.warns(OutputLayerWarning):
        own = small(layers=[*BODY, Dense(10), Softmax()], max_iter=6).fit(A, a)
    assert own.score(B, b) < 0.7
    assert small(layers=BODY, max_iter=6).fit(A, a).score(B, b) > 0.85


# -- the scale of pixels


def test_predictions_on_another_scale_warn(split):
    """0..255 in training, 0..1 afterwards, in every place where images come in, and the way back."""
    A, B, a, b = split
    model = learner().fit(A * 16, a)
    scaled = B * 16 / 255
    assert model.score(B * 16, b) > 0.85
    with pytest.warns(ImageScaleWarning):
        assert model.score(scaled, b) < 0.3
    for call in (
        lambda: model.predict(scaled),
        lambda: model.predict_proba(scaled.reshape(len(B), -1)),
        lambda: model.predict(list(scaled)),
        lambda: CNNFeatures(FrozenEstimator(model)).fit(A).transform(scaled),
        lambda: input_gradient(model, scaled[:9]),
        lambda: clone(model).set_params(max_iter=1).fit(A * 16, a).partial_fit(scaled, b),
    ):
        message = said(ImageScaleWarning, call)
        assert "X is on another scale than the images of the fit" in message
        assert "You may need X * 255." in message
    message = said(ImageScaleWarning, lambda: small().fit(A * 16, a, X_val=scaled, y_val=b))
    assert "X_val is on another scale" in message
    assert "You may need X_val * 255." in message
    model = small(CNNRegressor).fit(A / 16, a)
    assert "You may need X / 255." in said(ImageScaleWarning, lambda: model.predict(B / 16 * 255))


def test_the_message_has_the_numbers_of_both(fitted, split):
    B = split[1]
    message = said(ImageScaleWarning, lambda: fitted.predict(B / 16))
    chosen = B[::50] / 16
    assert f"has mean {chosen.mean():.3g} and standard deviation {chosen.std():.3g}" in message
    mean, scale = fitted.input_mean_[0], fitted.input_scale_[0]
    assert f"had mean {mean:.3g} and standard deviation {scale:.3g}" in message


def test_a_served_model_warns_too(served, split):
    message = said(ImageScaleWarning, lambda: served.predict(split[1] / 255))
    assert "X is on another scale" in message
    served.predict(split[1])


def test_warm_start_and_early_stopping(split):
    A, _, a, _ = split
    model = small(warm_start=True, early_stopping=True).fit(A, a)
    assert "X is on another scale" in said(ImageScaleWarning, lambda: model.fit(A / 255, a))


SHIFTS = {
    "as they are": lambda X: X,
    "half as bright": lambda X: X / 2,
    "a quarter as bright": lambda X: X / 4,
    "a tenth as bright": lambda X: X / 10,
    "four times as bright": lambda X: X * 4,
    "brighter": lambda X: X + 16,
    "inverted": lambda X: 16 - X,
    "fog": lambda X: 8 + X / 20,
    "standardized": lambda X: (X - X.mean()) / X.std(),  # 1 / 8 of the size
    "black": lambda X: 0 * X,
    "one shade": lambda X: 0 * X + 0.01,
    "binary": lambda X: (X > 8) * 16,
    "8 bits": lambda X: X.astype(np.uint8),
    "dark ones": lambda X: X[np.argsort(X.mean(axis=(1, 2)))[:3]],
    "bright ones": lambda X: X[np.argsort(-X.mean(axis=(1, 2)))[:3]],
    "flat ones": lambda X: X[np.argsort(X.std(axis=(1, 2)))[:3]],
    "one of another scale": lambda X: X[:1] / 255,
    "two of another scale": lambda X: X[:2] * 255,
    "mostly black": lambda X: np.where(np.arange(len(X))[:, None, None] % 4, 0, X),
    "half an image": lambda X: np.where(np.arange(8) < 4, X, 0),
}


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
def test_brighter_and_darker_images_are_quiet(fitted, served, split, shift):
    X = shift(split[1])
    fitted.predict(X)
    served.predict(X)


def test_colour_images_with_an_odd_channel_are_quiet():
    """The statistics are compared in the median of the channels."""
    X = RNG.integers(0, 256, (40, 8, 8, 4)).astype(float)
    X[..., 3] = 255
    model = small().fit(X, np.arange(40) % 2)
    model.predict(X)
    model.predict(np.concatenate([X[..., :3], 0 * X[..., 3:]], axis=-1))
    mask = X.copy()
    mask[:, :, 0, 3] = 1e5
    model.predict(mask)
    assert "X * 255" in said(ImageScaleWarning, lambda: model.predict(X / 255))


def test_a_network_that_does_not_standardize_knows_no_scale(split):
    A, B, a, _ = split
    model = small(standardize=False).fit(A, a)
    model.predict(B / 255)
    model.predict(B * 255)


def test_thermal_images_that_are_shifted(split):
    """Kelvin as degrees Celsius are far outside; another day is not."""
    A, B, a, _ = split
    model = small().fit(290 + A / 4, a)
    model.predict(300 + B / 4)
    assert "X is on another scale" in said(ImageScaleWarning, lambda: model.predict(17 + B / 4))


# -- a hot pixel


def test_a_hot_pixel_warns_and_the_advice_helps(split):
    A, B, a, b = split
    hot = A.copy()
    hot[17, 2, 3] = 1e6
    model = learner()
    message = said(ImageScaleWarning, lambda: model.fit(hot, a))
    distance = (1e6 - hot.mean()) / hot.std()
    assert f"Row 17 of X contains a pixel that is {distance:.0f} standard deviations away" in message
    assert "1 of 600 images reach from 0 to 1e+06, and the pixels of the other images from 0 to 16" in message
    code = re.search(r"pass (np.clip.*?)\.$", message).group(1)
    with pytest.warns(ImageScaleWarning):
        assert model.score(B, b) < 0.4
    assert learner().fit(eval(code, {"np": np, "X": hot}), a).score(B, b) > 0.85


@pytest.mark.parametrize("channels", [1, 3])
def test_a_fill_value_in_one_channel_warns(channels):
    X = RNG.normal(100, 10, (300, 8, 8, channels))
    X[[3, 200], 2, 2, channels - 1] = -9999.0
    message = said(ImageScaleWarning, lambda: small(CNNRegressor).partial_fit(X, np.arange(300)))
    assert re.search(r"Row (3|200) of X.* of 2 of 300 images reach from -9999", message)


EXTREMES = {
    "digits": lambda: load_digits().images,
    "one bright image": lambda: np.concatenate([load_digits().images[:300], np.full((1, 8, 8), 255)]),
    "stars": lambda: np.where(RNG.uniform(size=(200, 40, 40)) < 1e-3, 1e4, RNG.normal(size=(200, 40, 40))),
    "a dot in each": lambda: np.eye(4096)[RNG.integers(0, 4096, 120)].reshape(-1, 64, 64),
    "rare dots on black": lambda: np.eye(1, 400 * 64 * 64, 70).reshape(-1, 64, 64),
    "heavy tails": lambda: RNG.standard_t(3, size=(300, 16, 16)),
    "log-normal": lambda: RNG.lognormal(sigma=2, size=(300, 16, 16)),
    "one image": lambda: np.eye(1, 4096).reshape(1, 64, 64),
    "two images": lambda: np.eye(2, 64)[:, :64].reshape(2, 8, 8),
    "black": lambda: np.zeros((50, 8, 8)),
}


@pytest.mark.parametrize("build", EXTREMES.values(), ids=EXTREMES)
def test_what_varies_much_is_quiet(build):
    X = build()
    small(layers=[GlobalAvgPool2D()]).fit(X, np.arange(len(X)) % 2)
