"""What is wrong is said: what was given, what was expected, and what to do. And nothing is lost by it."""

import math
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skcnn import CNNClassifier
from skcnn.augmentation import RandomShift
from skcnn.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Rescaling,
    Residual,
    SeparableConv2D,
    SpatialDropout2D,
    UpSample2D,
    WhiteningConv2D,
    ZeroPad2D,
)
from skcnn.losses import LogLoss
from skcnn.optimizers import SGD, Adam
from skcnn.schedules import Cosine, Step, Warmup


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | params
    )


def saying(*parts):
    """A pattern for messages that hold all of ``parts``, in any order."""
    return re.compile("".join(f"(?=.*{re.escape(part)})" for part in parts), re.DOTALL)


def assert_not_fitted(model):
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert not [name for name in vars(model) if name.endswith("_") or name.startswith("_")]


LABELS = np.stack([np.arange(120) % 2, np.arange(120) > 50], axis=1).astype(int)

# -- layers

SHAPES = [
    ([MaxPool2D()] * 4, ["layers[3] = MaxPool2D()", "(1, 1, 1)", "2 x 2", "shrunk", "fewer pooling layers"]),
    ([AvgPool2D(9)], ["layers[0] = AvgPool2D(9)", "(8, 8, 1)", "9 x 9", "smaller pool_size"]),
    ([Conv2D(4), Conv2D(4, 11, padding="valid")], ["layers[1] = Conv2D(4, kernel_size=11", "(8, 8, 4)", "11 x 11"]),
    ([Conv2D(4, (3, 5), dilation=(1, 3), padding="valid")], ["layers[0]", "3 x 13", "8 x 8", "padding='same'"]),
    ([Conv2D(4, 5, padding="valid")] * 2, ["layers[1]", "(4, 4, 4)", "5 x 5"]),
    ([Conv2D(4), Dense(3)], ["layers[1] = Dense(3)", "(8, 8, 4)", "needs a flat input", "Flatten()"]),
    ([Flatten(), Conv2D(3)], ["layers[1] = Conv2D(3)", "(64,)", "needs images", "before"]),
    ([GlobalAvgPool2D(), Flatten()], ["layers[1] = Flatten()", "(1,)", "needs images"]),
    ([Conv2D(4, groups=3)], ["layers[0] = Conv2D(4, groups=3)", "groups=3 must divide", "1 channels", "4 filters"]),
    ([DepthwiseConv2D(9, padding="valid")], ["layers[0] = DepthwiseConv2D(9", "(8, 8, 1)", "spans 9 x 9", "8 x 8"]),
    ([SeparableConv2D(4, 9, padding=0)], ["layers[0] = SeparableConv2D(4", "(8, 8, 1)", "spans 9 x 9", "8 x 8"]),
    ([Flatten(), SeparableConv2D(4)], ["layers[1] = SeparableConv2D(4)", "(64,)", "needs images"]),
    ([Flatten(), ZeroPad2D()], ["layers[1] = ZeroPad2D()", "(64,)", "needs images", "before Flatten()"]),
    ([Flatten(), UpSample2D()], ["layers[1] = UpSample2D()", "(64,)", "needs images", "before Flatten()"]),
    ([Flatten(), SpatialDropout2D()], ["layers[1] = SpatialDropout2D()", "(64,)", "needs images"]),
    ([Conv2D(20), GroupNorm()], ["layers[1] = GroupNorm()", "(8, 8, 20)", "groups=32 must divide its 20", "groups=10"]),
    ([Conv2D(12), GroupNorm(9)], ["layers[1] = GroupNorm(9)", "groups=9 must divide its 12 channels", "groups=6 does"]),
    ([Flatten(), GroupNorm(64)], ["layers[1] = GroupNorm(64)", "(64,)", "single number", "fewer groups"]),
    ([LayerNorm()], ["layers[0] = LayerNorm()", "(8, 8, 1)", "single channel", "GroupNorm(1)"]),
    ([Conv2D(4), ReLU()], ["end with a flat output", "(8, 8, 4)", "Flatten()", "GlobalAvgPool2D()"]),
    ([], ["end with a flat output", "(8, 8, 1)", "Flatten()"]),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "said"), SHAPES, ids=[str(layers) for layers, _ in SHAPES])
def test_layers_that_do_not_fit_their_input(digits, layers, said):
    ends = [] if "end with a flat output" in said or isinstance(layers[-1], (Dense, Flatten)) else [Flatten()]
    with pytest.raises(ValueError, match=saying(*said)):
        small(layers=[*layers, *ends]).fit(*digits)


FIELDS = [
    (Conv2D(0), ["filters", "int of 1 or more", "got 0"]),
    (Conv2D(2.5), ["filters", "int of 1 or more", "got 2.5"]),
    (Conv2D(4, kernel_size=0), ["kernel_size", "1 or more", "a pair", "got 0"]),
    (Conv2D(4, kernel_size=(1, 2, 3)), ["kernel_size", "a pair", "got (1, 2, 3)"]),
    (Conv2D(4, strides=(0, 1)), ["strides", "1 or more", "got (0, 1)"]),
    (Conv2D(4, dilation=0), ["dilation", "1 or more", "got 0"]),
    (Conv2D(4, padding="full"), ["padding", "'same', 'valid'", "got 'full'"]),
    (Conv2D(4, padding=-1), ["padding", "0 or more", "got -1"]),
    (Conv2D(4, groups=0), ["groups", "1 or more", "got 0"]),
    (Conv2D(4, use_bias="yes"), ["use_bias", "True or False", "got 'yes'"]),
    (Conv2D(4, kernel_initializer="hee"), ["kernel_initializer='hee'", "mean 'he'", "'glorot', 'he', 'lecun'"]),
    (Conv2D(4, kernel_initializer=ReLU()), ["kernel_initializer", "Initializer", "got ReLU()"]),
    (Dense(0), ["units", "int of 1 or more", "got 0"]),
    (Dense(3, use_bias=None), ["use_bias", "True or False", "got None"]),
    (Dropout(1.5), ["rate", "0 or more and less than 1", "got 1.5"]),
    (Dropout(1.0), ["rate", "less than 1", "got 1.0"]),
    (Dropout(float("nan")), ["rate", "0 or more", "got nan"]),
    (MaxPool2D(0), ["pool_size", "1 or more", "got 0"]),
    (MaxPool2D(3, padding=2), ["padding", "at most half of pool_size", "(1, 1)", "got 2"]),
    (MaxPool2D(padding="full"), ["padding", "'same', 'valid'", "got 'full'"]),
    (AvgPool2D(strides=0), ["strides", "None", "1 or more", "got 0"]),
    (BatchNorm(momentum=1.5), ["momentum", "less than 1", "got 1.5"]),
    (BatchNorm(scale=1), ["scale", "True or False", "got 1"]),
    (BatchNorm(offset=None), ["offset", "True or False", "got None"]),
    (Rescaling(math.inf), ["factor", "finite number", "got inf"]),
    (WhiteningConv2D(epsilon=0), ["epsilon", "above 0", "got 0"]),
    (BatchNorm(epsilon=0), ["epsilon", "above 0", "got 0"]),
    (DepthwiseConv2D(0), ["kernel_size", "1 or more", "got 0"]),
    (DepthwiseConv2D(depth_multiplier=0), ["depth_multiplier", "int of 1 or more", "got 0"]),
    (SeparableConv2D(0), ["filters", "int of 1 or more", "got 0"]),
    (SeparableConv2D(4, depth_multiplier=1.5), ["depth_multiplier", "int of 1 or more", "got 1.5"]),
    (SeparableConv2D(4, padding="full"), ["padding", "'same', 'valid'", "got 'full'"]),
    (SpatialDropout2D(1), ["rate", "less than 1", "got 1"]),
    (ZeroPad2D(-1), ["padding", "0 or more", "((top, bottom), (left, right))", "got -1"]),
    (ZeroPad2D("same"), ["padding", "0 or more", "got 'same'"]),
    (ZeroPad2D(((1, 2), 3)), ["padding", "((top, bottom), (left, right))", "got ((1, 2), 3)"]),
    (ZeroPad2D(((1, 2), (3, -4))), ["padding", "0 or more", "got ((1, 2), (3, -4))"]),
    (UpSample2D(0), ["size", "1 or more", "got 0"]),
    (UpSample2D(1.5), ["size", "int of 1 or more", "got 1.5"]),
    (UpSample2D(interpolation="cubic"), ["interpolation", "'nearest' or 'bilinear'", "got 'cubic'"]),
    (LayerNorm(0), ["epsilon", "above 0", "got 0"]),
    (GroupNorm(0), ["groups", "int of 1 or more", "got 0"]),
    (GroupNorm(1, epsilon=-1), ["epsilon", "above 0", "got -1"]),
    (LeakyReLU(-1), ["negative_slope", "from 0 to 1", "got -1"]),
]


@pytest.mark.parametrize(("layer", "said"), FIELDS, ids=[repr(layer) for layer, _ in FIELDS])
def test_fields_of_layers_without_a_meaning(digits, layer, said):
    layers = [Flatten(), layer] if isinstance(layer, Dense) else [layer, Flatten()]
    place = "conv1" if "kernel_initializer" in said[0] else f"layers[{layers.index(layer)}] = {layer!r}"
    with pytest.raises((ValueError, TypeError), match=saying(place, *said)):
        small(layers=layers).fit(*digits)


@pytest.mark.parametrize("knobs", [{}, {"layers": [Flatten()]}])
@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("optimizer", SGD(momentum=1.5), ["SGD(1.5)", "momentum", "less than 1"]),
        ("optimizer", SGD(nesterov=3), ["nesterov", "True or False", "got 3"]),
        ("optimizer", Adam(beta_2=1), ["Adam(beta_2=1)", "beta_2", "less than 1", "got 1"]),
        ("optimizer", Adam(epsilon=0), ["epsilon", "above 0", "got 0"]),
        ("schedule", Step(step_size=0), ["Step(0)", "step_size", "1 or more"]),
        ("schedule", Step(gamma=2), ["gamma", "from 0 to 1", "got 2"]),
        ("schedule", Cosine(minimum=-1), ["minimum", "from 0 to 1", "got -1"]),
    ],
)
def test_fields_of_other_objects_without_a_meaning(digits, knobs, parameter, value, said):
    with pytest.raises(ValueError, match=saying(*said)):
        small(**knobs, **{parameter: value}).fit(*digits)


# -- names and classes


@pytest.mark.parametrize(
    ("parameter", "name", "said"),
    [
        ("optimizer", "adamm", ["optimizer='adamm'", "Did you mean 'adam'?", "'adam', 'adamw'", "pass an object"]),
        ("optimizer", "SGD", ["optimizer='SGD'", "Did you mean 'sgd'?"]),
        ("optimizer", "momentum", ["optimizer='momentum'", "'rmsprop', 'sgd'"]),
        ("schedule", "cosin", ["schedule='cosin'", "Did you mean 'cosine'?"]),
        ("loss", "logloss", ["loss='logloss'", "Did you mean 'log_loss'?"]),
        ("activation", "rlu", ["activation='rlu'", "Did you mean 'relu'?", "'prelu', ", "'selu', "]),
    ],
)
def test_unknown_names(digits, parameter, name, said):
    with pytest.raises(ValueError, match=saying(*said)):
        small(**{parameter: name}).fit(*digits)


@pytest.mark.parametrize(
    ("parameter", "kind"), [("optimizer", Adam), ("schedule", Cosine), ("loss", LogLoss), ("activation", ReLU)]
)
def test_a_class_in_place_of_an_object(digits, parameter, kind):
    said = saying(f"{parameter}={kind.__name__} is a class", f"{kind.__name__}(...)")
    with pytest.raises(TypeError, match=said):
        small(**{parameter: kind}).fit(*digits)
    with pytest.raises(TypeError, match=said):
        small(**{parameter: kind}).partial_fit(*digits, classes=np.arange(10))


def test_a_class_or_something_else_in_place_of_a_layer(digits):
    with pytest.raises(TypeError, match=saying("layers[1]=ReLU is a class", "ReLU(...)")):
        small(layers=[Conv2D(3), ReLU, Flatten()]).fit(*digits)
    with pytest.raises(TypeError, match=saying("layers[0] must be a layer", "got 'conv'")):
        small(layers=["conv", Flatten()]).fit(*digits)


SETTING = [
    ({"optimiser": "adam"}, ["'optimiser'", "Valid parameters", "'optimizer'"]),
    ({"foo__bar": 1}, ["'foo'", "Valid parameters"]),
    ({"optimizer__momentum": 0.5}, ["Adam has no parameter 'momentum'", "beta_1, beta_2, epsilon"]),
    ({"schedule__gamma": 0.5}, ["Constant has no parameter 'gamma'", "none"]),
    ({"max_iter__x": 1}, ["'max_iter__x'", "max_iter has no parameters"]),
    ({"layers__conv1__filters": 3}, ["'layers__conv1__filters'", "layers is None", "conv_filters"]),
    ({"layers": [Conv2D(3)], "layers__conv2__filters": 3}, ["no layer 'conv2'", "conv1"]),
    ({"layers": [Conv2D(3)], "layers__conv1__filter": 3}, ["Conv2D has no parameter 'filter'", "filters, kernel_size"]),
    ({"layers": [Conv2D(3)], "layers__conv1__kernel_initializer__gain": 3}, ["He has no parameter 'gain'"]),
    ({"layers": [Conv2D(3)], "layers__conv1__padding__left": 3}, ["Conv2D", "'padding__left'", "padding is 'same'"]),
    ({"schedule": Warmup("cosin"), "schedule__schedule__minimum": 0.1}, ["schedule='cosin'", "Did you mean 'cosine'?"]),
    (
        {"layers": [Residual([Conv2D(3)])], "layers__residual1__conv1__filters": 3, "layers__residual1__size": 3},
        ["Residual has no parameter 'size'", "layers, shortcut"],
    ),
]


@pytest.mark.parametrize(("params", "said"), SETTING, ids=[str(params) for params, _ in SETTING])
def test_parameters_that_cannot_be_set(params, said):
    with pytest.raises(ValueError, match=saying(*said)):
        small().set_params(**params)


# -- knobs

KNOBS = [
    ({"conv_filters": 0}, ["conv_filters", "[1, inf)", "Got 0"]),
    ({"conv_filters": (4, 0)}, ["conv_filters", "1 or more", "(4, 0)"]),
    ({"conv_filters": (4, 2.5)}, ["conv_filters", "ints", "(4, 2.5)"]),
    ({"conv_filters": np.array(3)}, ["conv_filters", "1 or more", "got array(3)"]),
    ({"hidden_layer_sizes": np.array(3)}, ["hidden_layer_sizes", "1 or more", "got array(3)"]),
    ({"hidden_layer_sizes": (0,)}, ["hidden_layer_sizes", "1 or more", "(0,)"]),
    ({"kernel_size": 0}, ["kernel_size", "[1, inf)", "Got 0"]),
    ({"kernel_size": [0]}, ["kernel_size=[0]", "1 or more"]),
    ({"kernel_size": (3, 5)}, ["kernel_size=(3, 5)", "2 entries", "1 blocks", "conv_filters", "[(3, 5)]"]),
    ({"kernel_size": [(3, 3, 3)]}, ["kernel_size=[(3, 3, 3)]", "a pair"]),
    ({"pool_size": (2, 2)}, ["pool_size=(2, 2)", "2 entries", "1 blocks", "[(2, 2)]"]),
    ({"pool_size": ["a"]}, ["pool_size=['a']", "1 or more"]),
    ({"dropout": 1.0}, ["dropout", "[0.0, 1.0)", "Got 1.0"]),
    ({"dropout": (0.1, 1.5)}, ["dropout=(0.1, 1.5)", "1.5 is not", "less than 1"]),
    ({"dropout": (0.1, 0.2, 0.3)}, ["dropout=(0.1, 0.2, 0.3)", "3 entries", "1 or 2"]),
    ({"layers": ReLU()}, ["layers", "'list'", "Got ReLU()"]),
    ({"optimizer": ReLU()}, ["optimizer", "Optimizer", "Got ReLU()"]),
    ({"activation": Dense(3)}, ["activation", "Activation", "Got Dense(3)"]),
    ({"learning_rate": -1.0}, ["learning_rate", "[0.0, inf)", "Got -1.0"]),
    ({"learning_rate": float("nan")}, ["learning_rate", "Got nan"]),
    ({"learning_rate_factors": 0.1}, ["learning_rate_factors", "'dict'", "None", "Got 0.1"]),
    ({"learning_rate_factors": {"conv9": 0.1}}, ["'conv9'", "matches no parameter", "Did you mean 'conv1'?"]),
    ({"learning_rate_factors": {"bias": -1}}, ["{'bias': -1}", "a number of 0 or more, got -1"]),
    ({"alpha": float("inf")}, ["alpha", "Got inf"]),
    ({"clip_norm": 0}, ["clip_norm", "(0.0, inf)", "None", "Got 0"]),
    ({"clip_norm": float("nan")}, ["clip_norm", "Got nan"]),
    ({"average": 1.0}, ["average", "(0.0, 1.0)", "False", "Got 1.0"]),
    ({"average": True}, ["average", "(0.0, 1.0)", "False", "Got True"]),
    ({"average": None}, ["average", "Got None"]),
    ({"batch_size": 0}, ["batch_size", "[1, inf)", "Got 0"]),
    ({"max_iter": 0}, ["max_iter", "[1, inf)", "Got 0"]),
    ({"tol": -1}, ["tol", "[0.0, inf)", "Got -1"]),
    ({"augmentation": "flip"}, ["augmentation='flip'", "not a known name", "'random_flip'"]),
    ({"augmentation": 3}, ["augmentation", "Got 3"]),
    ({"augmentation": ["random_flip", "mix_up"]}, ["augmentation[1]='mix_up'", "Did you mean 'mixup'?"]),
    ({"augmentation": ["mixup", "cutmix"]}, ["MixUp()", "CutMix()", "once", "Remove one"]),
    ({"augmentation": RandomShift(2.0)}, ["RandomShift(2.0)", "shift", "from 0 to 1"]),
    ({"dtype": "float16"}, ["dtype", "'float32'", "'float64'", "Got 'float16'"]),
    ({"n_jobs": 0}, ["n_jobs"]),
    ({"validation_fraction": 1.0}, ["validation_fraction", "(0.0, 1.0)", "Got 1.0"]),
    ({"early_stopping": True, "validation_fraction": 0.999}, ["validation_fraction=0.999", "120 rows"]),
    ({"class_weight": "balance"}, ["class_weight", "'balanced'", "Got 'balance'"]),
    ({"class_weight": [{0: 1.0}]}, ["class_weight=[{0: 1.0}] does", "(120,)", "or a dict."]),
    ({"class_weight": {0: -1.0}}, ["class_weight={0: -1.0}", "not negative", "got -1.0 for 0"]),
    ({"class_weight": {0: float("nan")}}, ["class_weight={0: nan}", "finite", "got nan for 0"]),
    ({"class_weight": {0: None}}, ["class_weight={0: None}", "finite", "got None for 0"]),
    ({"class_weight": {0: "heavy"}}, ["class_weight", "got 'heavy' for 0"]),
    ({"class_weight": dict.fromkeys(range(10), 0)}, ["weight 0", "class_weight"]),
]


@pytest.mark.parametrize(("params", "said"), KNOBS, ids=[str(params) for params, _ in KNOBS])
def test_knobs_without_a_meaning(digits, params, said):
    model = small(**params)
    with pytest.raises(ValueError, match=saying(*said)):
        model.fit(*digits)
    assert_not_fitted(model)


@pytest.mark.parametrize("form", ["images", "rows"])
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((4, 4), ["input_shape=(4, 4)", "does not fit X"]),
        ((8, 8, 3), ["input_shape=(8, 8, 3)", "does not fit X"]),
        ((8,), ["(h, w) or (h, w, c)", "got (8,)"]),
        ((8, -8), ["1 or more", "got (8, -8)"]),
        (8, ["input_shape", "Got 8"]),
    ],
)
def test_an_input_shape_that_does_not_fit(digits, form, shape, said):
    X = digits[0] if form == "images" else digits[0].reshape(120, 64)
    also = (
        []
        if "does not fit X" not in said
        else ["(8, 8, 1)"]
        if form == "images"
        else ["64 features", f"{np.prod(shape)}"]
    )
    with pytest.raises(ValueError, match=saying(*said, *also)):
        small(input_shape=shape).fit(X, digits[1])


# -- images


@pytest.fixture(scope="module")
def fitted(digits):
    return small().fit(*digits)


def with_bad_pixel(X, value, dtype):
    X = X.astype(dtype)
    X[3, 2, 1] = value
    return X


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_pixels_that_are_not_finite(fitted, digits, value, said, dtype):
    X, y = with_bad_pixel(digits[0], value, dtype), digits[1]
    for call in (
        lambda: small().fit(X, y),
        lambda: small().partial_fit(X, y, classes=np.arange(10)),
        lambda: fitted.predict(X),
        lambda: fitted.predict_proba(X[..., None]),
        lambda: fitted.score(X.reshape(120, 64), y),
    ):
        with pytest.raises(ValueError, match=saying("Input X contains", said)):
            call()


@pytest.mark.parametrize(
    ("transform", "error", "said"),
    [
        (lambda X: X[:, :7], ValueError, ["(7, 8, 1)", "Resize", "expecting images of shape (8, 8, 1)"]),
        (lambda X: X.reshape(120, 64)[:, :63], ValueError, ["X has 63 features", "expecting 64 features"]),
        (lambda X: X.reshape(120, 4, 16), ValueError, ["(4, 16, 1)", "expecting images of shape (8, 8, 1)"]),
        (lambda X: X.reshape(120, 4, 4, 4), ValueError, ["(4, 4, 4)", "expecting images of shape (8, 8, 1)"]),
        (lambda X: X[0].ravel(), ValueError, ["Expected 2D array, got 1D array", "(64,)", "Reshape"]),
        (lambda X: X[:0], ValueError, ["0 sample(s)", "minimum of 1"]),
        (lambda X: X[..., None, None], ValueError, ["5 dimensions", "(n, h, w, c) or (n, h, w)", "(n, features)"]),
        (lambda X: X.astype(complex), ValueError, ["Complex data not supported"]),
        (lambda X: X.astype(str), ValueError, ["strings", "numeric"]),
        (lambda X: np.zeros((120, 8, 8), "M8[s]"), (TypeError, ValueError), ["datetime64"]),
        (lambda X: csr_matrix(X.reshape(120, 64)), TypeError, ["Sparse data", "dense data is required", "toarray"]),
        (lambda X: csr_array(X.reshape(120, 64)), TypeError, ["Sparse data", "dense data is required", "toarray"]),
        (lambda X: [x[: 4 + i % 2] for i, x in enumerate(X)], ValueError, ["different sizes", "read_images"]),
    ],
    ids=["rows of pixels", "features", "shape", "channels", "1-D", "empty", "5-D", "complex", "strings", "dates",
         "sparse matrix", "sparse array", "ragged"],
)  # fmt: skip
def test_images_that_are_none(fitted, digits, transform, error, said):
    X, y = transform(digits[0]), digits[1]
    with pytest.raises(error, match=saying(*said)):
        fitted.predict(X)
    if "expecting" not in said[-1]:
        with pytest.raises(error, match=saying(*said)):
            small().fit(X, y)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_prediction_before_fit(digits, method):
    with pytest.raises(NotFittedError, match=saying("CNNClassifier", "not fitted yet", "'fit'")):
        getattr(small(), method)(digits[0])


def test_looking_before_fit():
    for look in (lambda m: m.summary(), lambda m: m.parameters_, lambda m: m.state_, lambda m: m.n_parameters_):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            look(small())
    assert not hasattr(small(), "parameters_")


# -- targets


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: np.where(y == 3, np.nan, y), ["Input y contains NaN"]),
        (lambda y: np.where(y == 3, np.inf, y), ["Input y contains infinity"]),
        (lambda y: y + 0.5, ["continuous", "classes"]),
        (
            lambda y: np.stack([y, y], axis=1),
            ["multiclass-multioutput", "(n, k) of zeros and ones", "MultiOutputClassifier"],
        ),
        (lambda y: 2 * LABELS - 1, ["labels", "zeros and ones", "-1"]),
        (lambda y: LABELS + 1, ["labels", "zeros and ones", "2"]),
        (lambda y: y[:-1], ["inconsistent numbers of samples", "[120, 119]"]),
        (lambda y: None, ["requires y to be passed"]),
        (lambda y: np.ones((120, 2, 2), int), ["dim 3"]),
    ],
    ids=[
        "NaN",
        "infinity",
        "continuous",
        "two columns",
        "labels of -1 and 1",
        "labels of 1 and 2",
        "short",
        "None",
        "3-D",
    ],
)
def test_targets_that_are_none(digits, change, said):
    model = small()
    with pytest.raises(ValueError, match=saying(*said)):
        model.fit(digits[0], change(digits[1]))
    assert_not_fitted(model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: np.where(np.arange(120) == 3, -1, w), ["Negative", "sample_weight"]),
        (lambda w: np.where(np.arange(120) == 3, np.nan, w), ["sample_weight contains NaN"]),
        (lambda w: np.where(np.arange(120) == 3, np.inf, w), ["sample_weight contains infinity"]),
        (lambda w: 0 * w, ["weights", "at least one non-zero"]),
        (lambda w: np.nan, ["sample_weight", "finite", "nan"]),
        (lambda w: w[:-1], ["sample_weight", "(119,)", "(120,)"]),
        (lambda w: np.stack([w, w], axis=1), ["sample_weight must have shape (n,)", "(120, 2)"]),
    ],
    ids=["negative", "NaN", "infinite", "all zero", "NaN for all", "short", "2-D"],
)
def test_weights_that_are_none(digits, change, said):
    X, y = digits
    weights = change(np.ones(120))
    for call in (
        lambda: small().fit(X, y, sample_weight=weights),
        lambda: small().partial_fit(X, y, classes=np.arange(10), sample_weight=weights),
        lambda: small().fit(X, y, X_val=X, y_val=y, sample_weight_val=weights),
    ):
        with pytest.raises(ValueError, match=saying(*said)):
            call()


def test_weights_that_leave_nothing_together_with_those_of_the_classes(digits):
    X, y = digits
    by_class = {digit: float(digit >= 5) for digit in range(10)}
    with pytest.raises(ValueError, match=saying("weight 0", "sample_weight", "class_weight")):
        small(class_weight=by_class).fit(X, y, sample_weight=(y < 5).astype(float))


@pytest.mark.parametrize(
    "by_class",
    [{0: 1.0}, {0: 1.0, 1: 2.0}, {"a": 1.0, "b": 2.0}, [{0: 1.0}], [{0: 1.0}] * 3, [{}, "heavy"], [{}, None]],
)
def test_class_weights_that_do_not_fit_the_labels(digits, by_class):
    with pytest.raises(ValueError, match=saying(f"class_weight={by_class!r}", "(120, 2)", "list of 2 dicts")):
        small(class_weight=by_class).fit(digits[0], LABELS)


def test_class_weights_that_are_none_for_a_label(digits):
    with pytest.raises(ValueError, match=saying("class_weight=[{}, {1: -2}]", "got -2 for 1")):
        small(class_weight=[{}, {1: -2}]).fit(digits[0], LABELS)


# -- validation sets


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda X, y: {"X_val": X}, ["X_val and y_val must be given together"]),
        (lambda X, y: {"y_val": y}, ["X_val and y_val must be given together"]),
        (lambda X, y: {"sample_weight_val": np.ones(120)}, ["sample_weight_val", "without X_val"]),
        (lambda X, y: {"X_val": X, "y_val": y + 5}, ["y_val has unknown classes", "[10, 11, 12, 13, 14]"]),
        (lambda X, y: {"X_val": X, "y_val": LABELS}, ["y_val", "one class per row", "(120, 2)"]),
        (lambda X, y: {"X_val": X.reshape(120, 4, 16), "y_val": y}, ["X_val", "(4, 16, 1)", "(8, 8, 1)"]),
        (lambda X, y: {"X_val": X[:, :4], "y_val": y}, ["X_val has images of shape (4, 8, 1)", "(8, 8, 1)"]),
        (lambda X, y: {"X_val": X.reshape(120, 64)[:, 1:], "y_val": y}, ["X_val", "63 features", "64 features"]),
        (lambda X, y: {"X_val": with_bad_pixel(X, np.nan, float), "y_val": y}, ["X_val", "NaN"]),
        (lambda X, y: {"X_val": X, "y_val": np.where(y == 3, np.nan, y)}, ["y_val", "NaN"]),
        (lambda X, y: {"X_val": X[:5], "y_val": y}, ["inconsistent numbers of samples", "[5, 120]"]),
    ],
    ids=[
        "no y_val",
        "no X_val",
        "weights only",
        "other classes",
        "labels",
        "shape",
        "height",
        "features",
        "NaN",
        "NaN in y",
        "short",
    ],
)
def test_validation_sets_that_are_none(digits, given, said):
    model = small()
    with pytest.raises(ValueError, match=saying(*said)):
        model.fit(*digits, **given(*digits))
    assert_not_fitted(model)


@pytest.mark.parametrize("y_val", [np.ones(120, int), np.ones((120, 3), int), np.arange(240).reshape(120, 2)])
def test_validation_labels_that_are_none(digits, y_val):
    with pytest.raises(ValueError, match="y_val"):
        small().fit(digits[0], LABELS, X_val=digits[0], y_val=y_val)


# -- going on


def test_unseen_classes_in_partial_fit(digits):
    X, y = digits
    model = small().partial_fit(X, y % 5, classes=np.arange(5))
    for other, unseen in ((y, [5, 6, 7, 8, 9]), (np.full(120, -1), [-1]), (np.full(120, "cat"), ["cat"])):
        before = model.predict_proba(X)
        with pytest.raises(ValueError, match=saying("y has unknown classes", f"{unseen}", "[0, 1, 2, 3, 4]", "first")):
            model.partial_fit(X, other)
        assert_array_equal(model.predict_proba(X), before)
        assert model.n_iter_ == 1
    assert model.partial_fit(X, y % 5).n_iter_ == 2


def test_unseen_classes_in_the_first_partial_fit(digits):
    model = small()
    with pytest.raises(ValueError, match=saying("[5, 6, 7, 8, 9]", "[0, 1, 2, 3, 4]")):
        model.partial_fit(*digits, classes=np.arange(5))
    assert_not_fitted(model)


@pytest.mark.parametrize(
    ("params", "classes", "said"),
    [
        ({}, None, ["classes must be passed on the first call"]),
        ({"early_stopping": True}, np.arange(10), ["partial_fit", "early_stopping=True", "one chunk"]),
        ({"class_weight": "balanced"}, np.arange(10), ["partial_fit", "'balanced'", "compute_class_weight", "dict"]),
    ],
)
def test_what_partial_fit_cannot_do(digits, params, classes, said):
    model = small(**params)
    with pytest.raises(ValueError, match=saying(*said)):
        model.partial_fit(*digits, classes=classes)
    assert_not_fitted(model)


def test_classes_that_change_from_one_partial_fit_to_the_next(digits):
    X, y = digits
    model = small().partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(ValueError, match=saying("classes", "not the same", "was")):
        model.partial_fit(X, y, classes=np.arange(11))
    with pytest.raises(ValueError, match=saying("same kind", "first call")):
        small().partial_fit(X, LABELS).partial_fit(X, y)
    assert model.partial_fit(X, y, classes=np.arange(10)).n_iter_ == 2


@pytest.mark.parametrize("classes", [["b", "a"], [1, 0], [0, 1, 2], [[0, 1]], "ab"])
def test_classes_of_labels_are_the_numbers_of_their_columns(digits, classes):
    model = small()
    with pytest.raises(ValueError, match=saying(f"classes={classes!r}", "(120, 2)", "columns, 0 to 1")):
        model.partial_fit(digits[0], LABELS, classes=classes)
    assert_not_fitted(model)
    model.partial_fit(digits[0], LABELS, classes=[0, 1])
    with pytest.raises(ValueError, match=saying(f"classes={classes!r}", "columns, 0 to 1")):
        model.partial_fit(digits[0], LABELS, classes=classes)
    with pytest.raises(ValueError, match=saying("y must have 2 labels per row", "(120, 3)")):
        model.partial_fit(digits[0], LABELS[:, [0, 1, 1]])
    assert model.partial_fit(digits[0], LABELS).n_iter_ == 2


def test_a_warm_start_with_y_of_another_kind(digits):
    X, y = digits
    for before, now, said in (
        (y, LABELS, "it was classes (n,), and is labels (n, k)"),
        (LABELS, y, "it was labels (n, k), and is classes (n,)"),
    ):
        model = small(warm_start=True).fit(X, before)
        with pytest.raises(ValueError, match=saying("same kind", said)):
            model.fit(X, now)
        assert model.fit(X, before).n_iter_ == 4


def test_a_warm_start_with_other_classes(digits):
    X, y = digits
    model = small(warm_start=True).fit(X, y)
    for other in (y % 5, y + 1):
        with pytest.raises(ValueError, match=saying("warm_start", "same classes", f"{list(range(10))}")):
            model.fit(X, other)
    assert model.fit(X, y).n_iter_ == 4


@pytest.mark.parametrize("change", [{"conv_filters": (5,)}, {"batch_norm": False}, {"layers": [Flatten()]}])
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_going_on_with_other_layers(digits, change, how):
    model = small(warm_start=True).fit(*digits)
    before = model.predict_proba(digits[0])
    with pytest.raises(ValueError, match=saying("layers differ from the fitted layers", "same network", "clone")):
        getattr(model.set_params(**change), how)(*digits)
    assert_array_equal(model.predict_proba(digits[0]), before)


# -- nothing is lost

FAILURES = {
    "knob": lambda m, X, y: m.set_params(batch_size=0).fit(X[:, :4], y),
    "name": lambda m, X, y: m.set_params(optimizer="adamm").fit(X[:, :4], y),
    "layers": lambda m, X, y: m.set_params(layers=[Conv2D(3)]).fit(X[:, :4], y),
    "input_shape": lambda m, X, y: m.set_params(input_shape=(3, 3)).fit(X[:, :4], y),
    "NaN": lambda m, X, y: m.fit(X[:, :4] * np.nan, y),
    "NaN in y": lambda m, X, y: m.fit(X[:, :4], y * np.nan),
    "weights": lambda m, X, y: m.fit(X[:, :4], y % 3, sample_weight=-np.ones(len(y))),
    "class weights": lambda m, X, y: m.set_params(class_weight={99: 1}).fit(X[:, :4], y % 3),
    "validation": lambda m, X, y: m.fit(X[:, :4], y % 3, X_val=X, y_val=y),
    "labels": lambda m, X, y: m.fit(X[:, :4], np.stack([y, y], axis=1)),
    "divergence": lambda m, X, y: m.set_params(learning_rate=1e200, optimizer="sgd").fit(X[:, :4], y % 3),
    "partial fit": lambda m, X, y: m.partial_fit(X, y + 1),
    "partial fit with other images": lambda m, X, y: m.partial_fit(X[:, :4], y),
    "partial fit with labels": lambda m, X, y: m.partial_fit(X, LABELS),
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_a_fit_that_fails_leaves_a_fitted_model_as_it_was(digits, fail):
    X, y = digits
    model = small().fit(X, y)
    before = {name: value for name, value in vars(model).items() if name not in model.get_params()}
    answers = model.predict_proba(X)
    with pytest.raises(ValueError):  # noqa: PT011 - which one is said above
        fail(model, X, y)
    after = {name: value for name, value in vars(model).items() if name not in model.get_params()}
    assert before.keys() == after.keys()
    assert all(after[name] is value for name, value in before.items())
    assert_array_equal(model.predict_proba(X), answers)
    assert model.n_features_in_ == 64


@pytest.mark.parametrize("fail", [FAILURES[name] for name in FAILURES if "partial" not in name])
def test_a_first_fit_that_fails_leaves_nothing_behind(digits, fail):
    model = small()
    with pytest.raises(ValueError):  # noqa: PT011
        fail(model, *digits)
    assert_not_fitted(model)


# -- what the texts above do not cover


def test_images_whose_squares_are_infinite(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"X contains 1\.6e\+201, whose square is infinite"):
        small().fit(X * 1e200, y)


def test_a_validation_set_as_a_third_argument(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(n,\).*X_val=X_val, y_val=y_val"):
        small().fit(X, y, X)


def test_one_image_with_channels_first(digits):
    model = small(max_iter=1).fit(np.random.default_rng(0).normal(size=(20, 6, 6, 3)), np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"one image with channels first, pass X\.transpose\(1, 2, 0\)\[np\.newaxis\]"):
        model.predict(np.zeros((3, 6, 6)))


def test_long_texts_and_many_classes_are_cut(digits):
    X, y = digits
    with pytest.raises(TypeError, match="text or paths") as caught:
        small().fit(["0 1 2 " * 3000, "0 1 2 " * 3000], [0, 1])
    assert len(str(caught.value)) < 400
    with pytest.raises(ValueError, match="unknown classes") as caught:
        small().fit(X, y, X_val=np.zeros((500, 8, 8)), y_val=np.arange(500))
    assert len(str(caught.value)) < 300
