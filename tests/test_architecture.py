"""From knobs to layers."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import skcnn.layers
from skcnn import CNNClassifier
from skcnn._engine.network import Network
from skcnn.architecture import build_layers
from skcnn.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Tanh,
)

IMAGES = [(h, w, 1) for h in range(1, 10) for w in range(1, 10)]
SIGNALS = [(1, p, 1) for p in (16, 30, 63, 100)] + [(100, 1, 2), (2, 50, 3)]


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | params
    )


# -- they fit every input


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"conv_filters": (2, 3, 4, 5, 6)},
        {"kernel_size": 5, "pool_size": 3},
        {"kernel_size": [(1, 7), (7, 1)], "pool_size": [(3, 1), (1, 3)]},
        {"kernel_size": 2, "batch_norm": True, "dropout": 0.1},
    ],
    ids=str,
)
def test_the_knobs_fit_every_shape(knobs):
    for shape in IMAGES + SIGNALS:
        network = Network(build_layers(shape, **knobs), shape, 3)
        assert all(size >= 1 for shape in network.shapes for size in shape)
        assert network.shapes[-1] == (3,)


@pytest.mark.parametrize("shape", IMAGES + SIGNALS, ids=str)
def test_the_knobs_learn_and_predict_on_every_shape(shape):
    X = np.random.default_rng(0).normal(size=(7, *shape))
    fitted = small(conv_filters=(2, 3), max_iter=1, batch_size=4).fit(X, [0, 1, 2, 0, 1, 2, 0])
    p = fitted.predict_proba(X)
    assert p.shape == (7, 3)
    assert np.isfinite(p).all()
    assert fitted.layers_ == build_layers(shape, conv_filters=(2, 3), hidden_layer_sizes=(8,))


def pooled_by_hand(shape, blocks, window):
    """Height and width after so many blocks: each axis is pooled for as long as it is as long as the window."""
    h, w = shape[:2]
    for _ in range(blocks):
        h, w = (h // window if h >= window else h), (w // window if w >= window else w)
    return h, w


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_axes_are_pooled_for_as_long_as_they_are_long_enough(window, blocks):
    for shape in IMAGES + SIGNALS:
        layers = build_layers(shape, conv_filters=(1,) * blocks, pool_size=window, hidden_layer_sizes=())
        h, w = pooled_by_hand(shape, blocks, window)
        assert Network(layers, shape, 2).shapes[-2] == (h * w,)


@pytest.mark.parametrize(
    ("shape", "kernel"), [((1, 30, 1), (1, 5)), ((30, 1, 1), (5, 1)), ((1, 1, 1), 1), ((2, 2, 1), 5), ((8, 8, 3), 5)]
)
def test_a_kernel_is_cut_to_one_on_an_axis_of_length_one(shape, kernel):
    layers = build_layers(shape, conv_filters=(3,), kernel_size=5, batch_norm=False)
    assert layers[0] == Conv2D(3, kernel_size=kernel)


# -- what the knobs say


def test_the_default_network():
    expected = [
        *(Conv2D(32, use_bias=False), BatchNorm(), ReLU(), MaxPool2D()),
        *(Conv2D(64, use_bias=False), BatchNorm(), ReLU(), MaxPool2D()),
        *(Flatten(), Dense(128), ReLU()),
    ]
    assert build_layers((28, 28, 1)) == expected
    model = CNNClassifier(max_iter=1).fit(np.random.default_rng(0).normal(size=(4, 28, 28)), [0, 1, 2, 3])
    assert model.layers_ == expected


def test_knobs_take_a_value_per_block():
    layers = build_layers(
        (20, 20, 1),
        conv_filters=(2, 3, 4),
        kernel_size=[5, (3, 1), 1],
        pool_size=(1, 2, (3, 1)),
        hidden_layer_sizes=(6, 7),
        dropout=(0.1, 0.2, 0.0, 0.4, 0.5),
        activation="tanh",
        batch_norm=False,
    )
    glorot = {"kernel_initializer": "glorot"}
    assert layers == [
        *(Conv2D(2, kernel_size=5, **glorot), Tanh(), Dropout(0.1)),
        *(Conv2D(3, kernel_size=(3, 1), **glorot), Tanh(), MaxPool2D(), Dropout(0.2)),
        *(Conv2D(4, kernel_size=1, **glorot), Tanh(), MaxPool2D((3, 1))),
        *(Flatten(), Dense(6, **glorot), Tanh(), Dropout(0.4), Dense(7, **glorot), Tanh(), Dropout(0.5)),
    ]


def test_one_value_is_for_every_block():
    one = build_layers((16, 16, 1), conv_filters=(2, 3), kernel_size=5, pool_size=4, dropout=0.3)
    each = build_layers((16, 16, 1), conv_filters=[2, 3], kernel_size=(5, 5), pool_size=[4, 4], dropout=[0.3] * 3)
    assert one == each
    assert sum(isinstance(layer, Dropout) for layer in one) == 3


def test_dropout_per_block_leaves_the_dense_layers_alone():
    layers = build_layers((8, 8, 1), conv_filters=(2, 3), dropout=(0.1, 0.2), hidden_layer_sizes=(4,))
    assert [layer.rate for layer in layers if isinstance(layer, Dropout)] == [0.1, 0.2]
    assert layers[-1] == ReLU()


def test_an_int_is_one_block_or_layer():
    ints = build_layers((8, 8, 1), conv_filters=5, hidden_layer_sizes=6)
    assert ints == build_layers((8, 8, 1), conv_filters=(5,), hidden_layer_sizes=(6,))


def test_no_blocks_and_no_hidden_layers():
    assert build_layers((8, 8, 1), conv_filters=(), hidden_layer_sizes=()) == [Flatten()]
    assert build_layers((8, 8, 1), conv_filters=(), hidden_layer_sizes=(3,)) == [Flatten(), Dense(3), ReLU()]


def test_batch_norm_comes_before_the_activation_and_takes_the_place_of_the_bias():
    layers = build_layers((8, 8, 1), conv_filters=(3,), hidden_layer_sizes=(4,), batch_norm=True)
    conv = Conv2D(3, use_bias=False)
    assert layers == [conv, BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(4), ReLU()]


@pytest.mark.parametrize(
    ("activation", "layer", "initializer"),
    [
        ("relu", ReLU(), "he"),
        ("leaky_relu", LeakyReLU(), "he"),
        ("tanh", Tanh(), "glorot"),
        ("sigmoid", Sigmoid(), "glorot"),
        (LeakyReLU(0.3), LeakyReLU(0.3), "he"),
    ],
)
def test_an_activation_is_a_name_or_an_object_and_chooses_the_initializer(activation, layer, initializer):
    layers = build_layers((8, 8, 1), conv_filters=(3,), activation=activation, batch_norm=False)
    assert layers[1] == layers[-1] == layer
    assert layers[0].kernel_initializer == initializer


# -- layers in full


def test_layers_override_the_knobs(digits):
    layers = [Conv2D(3, strides=2), Tanh(), Flatten(), Dense(5)]
    model = small(layers=layers, conv_filters=(99,), dropout=0.9, activation="sigmoid").fit(*digits)
    assert model.layers_ == layers
    assert model.layers_ is not layers


def test_layers_that_were_built_by_knobs_mean_the_same_in_full(digits):
    knobs = {
        "conv_filters": (3, 4),
        "kernel_size": [(2, 3), 1],
        "batch_norm": True,
        "dropout": 0.2,
        "activation": "tanh",
    }
    built = small(**knobs).fit(*digits)
    pasted = eval(repr(built.layers_), vars(skcnn.layers))
    assert pasted == built.layers_
    assert_array_equal(small(layers=pasted).fit(*digits).predict_proba(digits[0]), built.predict_proba(digits[0]))


def test_a_tuple_of_layers_is_as_good_as_a_list(digits):
    layers = [Conv2D(3), ReLU(), Flatten()]
    by_list, by_tuple = small(layers=layers).fit(*digits), small(layers=tuple(layers)).fit(*digits)
    assert_array_equal(by_tuple.predict_proba(digits[0]), by_list.predict_proba(digits[0]))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ([Flatten()], ["output.kernel", "output.bias"]),
        (
            [Conv2D(2), BatchNorm(), Conv2D(3, use_bias=False), BatchNorm(), Flatten(), Dense(4), Dense(5)],
            [
                *("conv1.kernel", "conv1.bias", "batchnorm1.scale", "batchnorm1.offset"),
                *("conv2.kernel", "batchnorm2.scale", "batchnorm2.offset"),
                *("dense1.kernel", "dense1.bias", "dense2.kernel", "dense2.bias", "output.kernel", "output.bias"),
            ],
        ),
    ],
)
def test_parameters_are_named_in_forward_order(digits, layers, names):
    assert list(small(layers=layers).fit(*digits).parameters_) == names


def test_parameters_have_the_shapes_that_are_promised(digits):
    X = np.random.default_rng(0).normal(size=(12, 9, 7, 3))
    layers = [Conv2D(4, kernel_size=(3, 5)), Conv2D(6, groups=2), BatchNorm(), MaxPool2D(), Flatten(), Dense(5)]
    model = small(layers=layers).fit(X, np.arange(12) % 4)
    assert {name: array.shape for name, array in model.parameters_.items()} == {
        "conv1.kernel": (3, 5, 3, 4),
        "conv1.bias": (4,),
        "conv2.kernel": (3, 3, 2, 6),
        "conv2.bias": (6,),
        "batchnorm1.scale": (6,),
        "batchnorm1.offset": (6,),
        "dense1.kernel": (4 * 3 * 6, 5),
        "dense1.bias": (5,),
        "output.kernel": (5, 4),
        "output.bias": (4,),
    }
    assert {name: array.shape for name, array in model.state_.items()} == {
        "batchnorm1.running_mean": (6,),
        "batchnorm1.running_variance": (6,),
    }
    assert model.n_parameters_ == sum(array.size for array in model.parameters_.values())
