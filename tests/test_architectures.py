"""The networks that have a name: their parameters as published, and that they learn."""

import numpy as np
import pytest

import skcnn.layers
from skcnn import CNNClassifier
from skcnn._engine.network import Network
from skcnn.architecture import all_convolutional, lenet5, photos, resnet, vgg
from skcnn.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    MaxPool2D,
    ReLU,
    Residual,
    Tanh,
)

# Of option A in the paper on residual networks, with three channels and ten classes.
RESIDUAL = {20: (269_722, "0.27"), 32: (464_154, "0.46"), 44: (658_586, "0.66"), 56: (853_018, "0.85"),
            110: (1_727_962, "1.73")}  # fmt: skip
VGG = {11: 132_863_336, 13: 133_047_848, 16: 138_357_544, 19: 143_667_240}
SMALL = {
    "lenet5": (lenet5(), (32, 32, 1)),
    "lenet5, 28 x 28": (lenet5(padding=2), (28, 28, 1)),
    "vgg": (vgg(11, width=4, hidden_layer_sizes=(16,)), (32, 32, 3)),
    "vgg, batch norm": (vgg(13, width=4, hidden_layer_sizes=(), batch_norm=True), (32, 32, 1)),
    "resnet": (resnet(8, width=4), (16, 12, 3)),
    "all_convolutional": (all_convolutional(4), (16, 16, 3)),
    "photos": (photos(16, width=4), (16, 16, 3)),
    "photos, twice": (photos((9, 20), width=4, convolutions=2), (9, 20, 1)),
    "photos, one pixel": (photos(1, width=4), (1, 1, 1)),
}


def count(layers, shape, classes, names=""):
    """Trained parameters of the layers whose names begin so."""
    network = Network(layers, shape, classes)
    return sum(p.size for name, p in network.weights.parameters.items() if name.startswith(names))


def test_lenet5_has_its_parameters_layer_by_layer():
    network = Network(lenet5(), (32, 32, 1), 10)
    sizes = {}
    for name, parameter in network.weights.parameters.items():
        owner = name.split(".")[0]
        sizes[owner] = sizes.get(owner, 0) + parameter.size
    assert list(sizes.values()) == [156, 2_416, 48_120, 10_164, 850]
    assert network.weights.size == 61_706 == count(lenet5(padding=2), (28, 28, 1), 10)
    assert network.shapes[1::3][:2] == [(28, 28, 6), (10, 10, 16)]


@pytest.mark.parametrize("depth", VGG)
def test_vgg_has_as_many_parameters_as_published(depth):
    assert count(vgg(depth), (224, 224, 3), 1000) == VGG[depth]


def test_the_convolutions_of_vgg_16():
    assert count(vgg(16), (224, 224, 3), 1000, "conv") == 14_714_688
    assert count(vgg(16, hidden_layer_sizes=512), (32, 32, 3), 10, "conv") == 14_714_688
    assert sum(isinstance(layer, (Conv2D, Dense)) for layer in vgg(16)) == 16 - 1


@pytest.mark.parametrize("depth", RESIDUAL)
def test_resnet_has_the_published_parameters_and_two_projections(depth):
    layers = resnet(depth)
    projections = 16 * 32 + 32 * 64
    exact, published = RESIDUAL[depth]
    assert count(layers, (32, 32, 3), 10) - projections == exact
    assert f"{exact / 1e6:.2f}" == published
    parts = Network(layers, (32, 32, 3), 10).parts
    own = [name for name, layer, _ in parts if isinstance(layer, (Conv2D, Dense)) and "shortcut" not in name]
    assert len(own) == depth
    assert sum("shortcut" in name for name, _, _ in parts) == 2


def test_stages_of_resnet():
    layers = resnet(14, width=6)
    shapes = [layer_shape for _, layer, layer_shape in Network(layers, (32, 20, 3), 5).parts if layer == ReLU()]
    assert [shape for shape in shapes if shape[2] == 6][-1] == (32, 20, 6)
    assert [shape for shape in shapes if shape[2] == 12][-1] == (16, 10, 12)
    assert [shape for shape in shapes if shape[2] == 24][-1] == (8, 5, 24)
    assert sum(isinstance(layer, Residual) for layer in layers) == 6
    assert layers[-1] == GlobalAvgPool2D()


def test_all_convolutional_has_as_many_parameters_as_published():
    sizes = [2_688, 83_040, 83_040, 166_080, 331_968, 331_968, 331_968, 37_056, 1_930]
    assert count(all_convolutional(), (32, 32, 3), 10) == sum(sizes) == 1_369_738
    network = Network(all_convolutional(dropout=False), (32, 32, 3), 10)
    assert network.shapes[network.names.index("globalavgpool1")] == (6, 6, 192)  # as in the paper's table 1
    assert not any(isinstance(layer, (MaxPool2D, AvgPool2D, Dense)) for layer in all_convolutional())


def test_the_mean_and_the_last_convolution_commute():
    """Why the last 1 x 1 convolution of the paper can be the estimator's output layer."""
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(3, 6, 6, 12)), rng.normal(size=(12, 10)), rng.normal(size=10)
    np.testing.assert_allclose((x @ kernel + bias).mean((1, 2)), x.mean((1, 2)) @ kernel + bias)


@pytest.mark.parametrize("name", SMALL)
def test_named_networks_train_and_predict(name):
    layers, shape = SMALL[name]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, *shape)), np.arange(8) % 2
    model = CNNClassifier(layers=layers, max_iter=2, random_state=0).fit(X, y)
    assert model.layers_ == layers
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert eval(repr(layers), vars(skcnn.layers)) == layers


@pytest.mark.slow
def test_resnet_learns(digits):
    X, y = digits
    model = CNNClassifier(layers=resnet(8, width=8), max_iter=12, learning_rate=0.01, random_state=0).fit(X, y)
    assert model.loss_curve_[-1] < 0.1
    assert model.score(X, y) > 0.97


@pytest.mark.parametrize("height", [1, 3, 4, 7, 8, 15, 16, 28, 32, 63, 64, 128])
@pytest.mark.parametrize("width", [0, 5, 200])
def test_photos_are_halved_until_their_shorter_side_has_4_to_7_pixels(height, width):
    layers = photos((height, height + width), width=2)
    last = Network(layers, (height, height + width, 3), 2).shapes[-3]  # of the last block, in front of its maximum
    assert min(last[:2]) == height if height < 8 else 4 <= min(last[:2]) <= 7
    assert layers == photos((height + width, height), width=2)
    assert layers[-4:] == [Conv2D(layers[-4].filters, use_bias=False), BatchNorm(), ReLU(), GlobalMaxPool2D()]


def test_photos_have_the_filters_and_the_parameters_that_are_documented():
    filters = [layer.filters for layer in photos(128) if isinstance(layer, Conv2D)]
    assert filters == [32, 64, 128, 128, 128, 128]
    assert [sum(isinstance(layer, Conv2D) for layer in photos(size)) for size in (28, 32, 64)] == [3, 4, 5]
    twice = photos(32, width=8, convolutions=2)
    assert [layer.filters for layer in twice if isinstance(layer, Conv2D)] == [8, 8, 16, 16, 32, 32, 32, 32]
    kernels = 9 * (3 * 32 + 32 * 64 + 64 * 128 + 2 * 128 * 128)
    scales_and_offsets = 2 * (32 + 64 + 3 * 128)
    assert count(photos(64), (64, 64, 3), 2) == kernels + scales_and_offsets + 128 * 2 + 2 == 389_154
    assert count(photos(32), (32, 32, 3), 10) == 242_474


def test_photos_find_an_object_wherever_it_is():
    rng = np.random.default_rng(0)
    y, corners = np.arange(60) % 2, rng.integers(0, 13, size=(60, 2))
    X = np.zeros((60, 16, 16))
    for image, label, (row, column) in zip(X, y, corners, strict=True):  # a horizontal or a vertical line
        image[(row + 1, slice(column, column + 4)) if label else (slice(row, row + 4), column + 1)] = 1
    model = CNNClassifier(layers=photos(16, width=8), max_iter=20, batch_size=10, learning_rate=3e-3, random_state=0)
    assert model.fit(X[:40], y[:40]).score(X[40:], y[40:]) == 1


def test_options():
    assert lenet5(activation="relu")[:2] == [Conv2D(6, kernel_size=5, padding="valid"), ReLU()]
    assert lenet5()[1] == Tanh()
    assert lenet5()[0].kernel_initializer == "glorot"
    assert [layer for layer in vgg(11, dropout=0.2) if isinstance(layer, Dropout)] == [Dropout(0.2)] * 2
    assert vgg(11, hidden_layer_sizes=())[-1] == Flatten()
    assert vgg(11, batch_norm=True)[:3] == [Conv2D(64, use_bias=False), BatchNorm(), ReLU()]
    assert [layer.rate for layer in all_convolutional() if isinstance(layer, Dropout)] == [0.2, 0.5, 0.5]
    assert not any(isinstance(layer, Dropout) for layer in all_convolutional(dropout=False))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: resnet(18), r"depth must be 6 n \+ 2 .* 20, .*, got 18"),
        (lambda: resnet(2), r"depth must be 6 n \+ 2 .*got 2"),
        (lambda: resnet(20.0), r"got 20\.0"),
        (lambda: resnet(width=0), r"width must be an int of 1 or more, got 0"),
        (lambda: vgg(12), r"depth must be one of 11, 13, 16, 19, got 12"),
        (lambda: vgg(width="64"), r"width must be an int of 1 or more, got '64'"),
        (lambda: vgg(dropout=1.0), r"dropout must be a number of 0 or more and less than 1, got 1\.0"),
        (lambda: vgg(hidden_layer_sizes=(0,)), r"hidden_layer_sizes must contain ints of 1 or more"),
        (lambda: lenet5(padding=-1), r"padding must be an int of 0 or more, got -1"),
        (lambda: lenet5(activation="rleu"), r"Did you mean 'relu'"),
        (lambda: photos(0), r"size must be an int of 1 or more, or a pair .*, got 0"),
        (lambda: photos((64, 64, 3)), r"size must be .*, got \(64, 64, 3\)"),
        (lambda: photos(64.0), r"size must be .*, got 64\.0"),
        (lambda: photos(width=0), r"width must be an int of 1 or more, got 0"),
        (lambda: photos(convolutions=0), r"convolutions must be an int of 1 or more, got 0"),
        (lambda: all_convolutional(2.5), r"width must be an int of 1 or more, got 2\.5"),
    ],
)
def test_bad_values_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_images_that_are_too_small_are_told_so():
    with pytest.raises(ValueError, match=r"layers\[20\] = MaxPool2D\(\) .*shrunk to 1 x 1"):
        CNNClassifier(layers=vgg(11, width=2), max_iter=1).fit(np.zeros((4, 16, 16, 1)), [0, 1, 0, 1])
