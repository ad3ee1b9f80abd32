"""Imported from ONNX, a network computes what the graph computes, or is refused with the node."""

import io
import os
import pickle
import re
import sys
import warnings
from pathlib import Path

import cases
import numpy as np
import pytest
from nodes import image_cases
from numpy.testing import assert_allclose, assert_array_equal
from photographs import randomized, torchvision
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from test_onnx import OF_CLASSES

import skcnn
import skcnn.runtime
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn.architecture import lenet5, resnet
from skcnn.layers import (
    GELU,
    AvgPool2D,
    Clip,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gate,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    HardSigmoid,
    HardSwish,
    MaxPool2D,
    Mish,
    ReLU,
    ReLU6,
    Residual,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    UpSample2D,
    ZeroPad2D,
)
from skcnn.onnx import from_onnx, to_onnx
from skcnn.onnx.imported import HANDLERS

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper, FLOAT = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
RNG = np.random.default_rng(0)
PLAIN = {"mean": 0, "scale": 1}


def again(estimator, **options):
    return from_onnx(to_onnx(estimator).SerializeToString(), **PLAIN | options)


def small(cls=CNNClassifier, **params):
    defaults = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "learning_rate": 0.01}
    return cls(**defaults | {"random_state": 0} | params)


X = RNG.normal(3, 2, (30, 8, 8, 3)).astype(np.float32)
Y = np.arange(30) % 3

# -- from_onnx(to_onnx(x)) = x


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.id)
def test_every_layer_comes_back(case):
    flat = len(case.shape) == 1
    shape = (1, 1, *case.shape) if flat else case.shape
    layers = [*[Flatten()] * flat, case.layer, *[Flatten()] * (len(case.layer.output_shape(case.shape)) == 3)]
    images, y = RNG.normal(1, 2, (12, *shape)), np.arange(12) % 3
    one = CNNClassifier(layers=layers, max_iter=2, learning_rate=0.05, random_state=0).fit(images, y)
    two = again(one)
    assert two.input_shape_ == one.input_shape_
    assert_allclose(two.predict_proba(images), one.predict_proba(images), rtol=0, atol=1e-5)
    three = again(two)
    assert three.layers_ == two.layers_
    assert_allclose(three.predict_proba(images), one.predict_proba(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("loss", "y"), OF_CLASSES)
def test_every_loss_of_classes_comes_back(loss, y):
    one = small(loss=loss).fit(X, y)
    two = again(one)
    assert_array_equal(two.predict(X), one.predict(X))
    assert_array_equal(two.classes_, one.classes_)
    assert_allclose(two.decision_function(X), one.decision_function(X), rtol=1e-5, atol=1e-5)
    assert hasattr(two, "predict_proba") == loss.has_probabilities
    if loss.has_probabilities:
        assert_allclose(two.predict_proba(X), one.predict_proba(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize("loss", [case.loss for case in cases.LOSSES if case.numbers], ids=repr)
@pytest.mark.parametrize("outputs", [None, 3])
def test_every_loss_of_targets_comes_back(loss, outputs):
    y = np.abs(RNG.normal(5, 2, 30 if outputs is None else (30, outputs)))
    one = small(CNNRegressor, loss=loss).fit(X, y)
    two = again(one)
    assert isinstance(two, CNNRegressor)
    assert two.predict(X).shape == y.shape
    assert_allclose(two.predict(X), one.predict(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "classes", [np.array([-4, 7, 300]), np.array(["ant", "bée", "cat"]), np.array([0.0, 2, 5])], ids=str
)
def test_classes_come_back(classes):
    one = small().fit(X, classes[Y])
    assert_array_equal(again(one).predict(X), one.predict(X))
    assert_array_equal(again(one, classes=["x", "z", "y"]).classes_, ["x", "y", "z"])


@pytest.mark.parametrize("layers", [lenet5(padding=2), resnet(8, width=4)], ids=["lenet5", "resnet"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_whole_architectures_come_back(layers, dtype):
    images = RNG.integers(0, 256, (30, 24, 24, 3)).astype(dtype)
    one = small(layers=layers).fit(images, Y)
    two = again(one)
    assert_allclose(two.predict_proba(images), one.predict_proba(images), rtol=0, atol=1e-5)
    assert_allclose(two.input_mean_, one.input_mean_, rtol=1e-6)
    assert_allclose(two.input_scale_, one.input_scale_, rtol=1e-6)


def test_an_imported_network_does_what_a_fitted_one_does(tmp_path):
    one = again(small().fit(X, np.array(["a", "b", "c"])[Y]))
    expected = one.predict_proba(X)
    skcnn.save(one, tmp_path / "model.skcnn")
    for copied in (pickle.loads(pickle.dumps(one)), skcnn.load(tmp_path / "model.skcnn"),
                   skcnn.runtime.load(tmp_path / "model.skcnn")):  # fmt: skip
        assert_array_equal(copied.predict_proba(X), expected)
    assert len(pickle.dumps(one)) < 1.1 * one._model.weights.nbytes + 6000
    assert "Conv2D(4, padding=1, use_bias=False)" in str(one.summary())
    assert CNNFeatures(FrozenEstimator(one), "dense1").fit(X).transform(X).shape == (30, 8)
    assert skcnn.display.activations(one, X[:1], "conv1").size
    assert clone(one).fit(X, Y).n_iter_ == 30
    one.set_params(warm_start=True, max_iter=2).fit(X, np.array(["a", "b", "c"])[Y])
    assert one.n_iter_ == 2


# -- graphs by hand


def nodes_of(rows):
    """Nodes of (operator, inputs, output[, attributes]); two spaces are an input that is left out."""
    return [
        helper.make_node(operator, names.split(" "), [output], f"the {output}", **(more[0] if more else {}))
        for operator, names, output, *more in rows
    ]


def built(rows, constants=None, opset=17, inputs=("N", 3, 8, 8), outputs=("Y",), kind=FLOAT, domains=(), rank=2):
    """The bytes of a graph from X to flat outputs."""
    values = [helper.make_tensor_value_info("X", kind, inputs)]
    floats = kind if kind == onnx.TensorProto.DOUBLE else FLOAT
    results = [helper.make_tensor_value_info(name, floats, ["N", *"abcd"[: rank - 1]]) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes_of(rows), "graph", values, results, tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def computed(content, images, input_shape=None, **options):
    """What an imported regressor makes of images (n, c, h, w), and its layers."""
    estimator = from_onnx(content, **PLAIN, task="regression", input_shape=input_shape, **options)
    return estimator.predict(images.transpose(0, 2, 3, 1)), estimator.layers_


IMAGES = RNG.normal(size=(2, 3, 8, 8)).astype(np.float32)


def run(content, images=IMAGES):
    """The same by onnxruntime."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": images})[0]


def flat(*nodes):
    """Nodes, and Flatten behind the last."""
    return [*nodes, ("Flatten", nodes[-1][2], "Y")]


def check(content, images=IMAGES, **options):
    """Import a graph and compare it with onnxruntime; its layers."""
    found, layers = computed(content, images, **options)
    expected = run(content, images)
    assert_allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    return layers


W = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
B4 = RNG.normal(size=4).astype(np.float32)
C3 = RNG.uniform(0.5, 2, 3).astype(np.float32)
ONE = np.float32(1)


ERF = [("Div", "X r", "a"), ("Erf", "a", "b"), ("Add", "b one", "c"), ("Mul", "X c", "d"), ("Mul", "d half", "e")]
# name -> (nodes, constants, opset, the layers that are expected or None)
GRAPHS = {
    "asymmetric padding": (
        flat(("Conv", "X W B", "a", {"pads": [0, 1, 2, 3]})),
        {"W": W, "B": B4},
        17,
        [ZeroPad2D(((0, 2), (1, 3))), Conv2D(4, padding="valid"), Flatten()],
    ),
    "same lower": (flat(("Conv", "X W", "a", {"auto_pad": "SAME_LOWER", "strides": [2, 2]})), {"W": W}, 17, None),
    "same upper": (
        flat(("Conv", "X W", "a", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})),
        {"W": W},
        17,
        [Conv2D(4, strides=2, use_bias=False), Flatten()],
    ),
    "dilated, padded more in height": (
        flat(("Conv", "X W", "a", {"pads": [2, 1, 2, 1], "dilations": [2, 1], "strides": [1, 2]})),
        {"W": W},
        17,
        [Conv2D(4, strides=(1, 2), padding=(2, 1), dilation=(2, 1), use_bias=False), Flatten()],
    ),
    "groups": (
        flat(("Conv", "X W", "a", {"group": 3})),
        {"W": RNG.normal(size=(6, 1, 3, 3)).astype(np.float32)},
        17,
        [DepthwiseConv2D(padding="valid", depth_multiplier=2, use_bias=False), Flatten()],
    ),
    "bias as a node": (
        flat(("Conv", "X W", "a"), ("Add", "a B", "b")),
        {"W": W, "B": B4.reshape(4, 1, 1)},
        17,
        [Conv2D(4, padding="valid"), Flatten()],
    ),
    "factors and offsets": (
        flat(("Relu", "X", "r"), ("Mul", "r C", "a"), ("Sub", "a C", "b"), ("Div", "b C", "c"), ("Sub", "two c", "d")),
        {"C": C3.reshape(1, 3, 1, 1), "two": np.float32(2)},
        17,
        [ReLU(), Scale(), Flatten()],
    ),
    "normalization at the beginning": (
        flat(("Sub", "X C", "a"), ("Div", "a C", "b"), ("Conv", "b W", "c", {"pads": [1, 1, 1, 1]})),
        {"C": C3.reshape(3, 1, 1), "W": W},
        17,
        [Conv2D(4, padding=1, use_bias=False), Flatten()],
    ),
    "rounded up, max": (
        flat(("MaxPool", "X", "a", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})),
        {},
        17,
        [MaxPool2D(3, strides=2, padding="same"), Flatten()],
    ),
    "rounded up, mean": (
        flat(("AveragePool", "X", "a", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})),
        {},
        19,
        [AvgPool2D(3, strides=2, padding="same"), Flatten()],
    ),
    "padded in one direction behind a ReLU": (
        flat(("Relu", "X", "r"), ("MaxPool", "r", "a", {"kernel_shape": [3, 3], "pads": [0, 2, 1, 0]})),
        {},
        17,
        [ReLU(), ZeroPad2D(((0, 1), (2, 0))), MaxPool2D(3, strides=1), Flatten()],
    ),
    "border that counts": (
        flat(("AveragePool", "X", "a", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})),
        {},
        17,
        [ZeroPad2D(((1, 1), (1, 1))), AvgPool2D(3, strides=1), Flatten()],
    ),
    "border that does not count": (
        flat(("AveragePool", "X", "a", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})),
        {},
        17,
        [AvgPool2D(3, strides=1, padding=1), Flatten()],
    ),
    "pooling of the whole": (flat(("AveragePool", "X", "a", {"kernel_shape": [8, 8]})), {}, 17, [GlobalAvgPool2D()]),
    "mean over pixels, old": (
        [
            ("ReduceMean", "X", "a", {"axes": [2, 3], "keepdims": 0}),
            ("Gemm", "a W B", "Y", {"transB": 1, "alpha": 0.5}),
        ],
        {"W": RNG.normal(size=(4, 3)).astype(np.float32), "B": B4},
        13,
        [GlobalAvgPool2D()],
    ),
    "mean over pixels, new": (
        [("ReduceMean", "X axes", "a"), ("Flatten", "a", "Y")],
        {"axes": np.array([-1, 2])},
        18,
        [GlobalAvgPool2D()],
    ),
    "convolution behind the pooling": (
        [("GlobalAveragePool", "X", "a"), ("Conv", "a W B", "b", {"pads": [1, 1, 1, 1]}), ("Flatten", "b", "Y")],
        {"W": W, "B": B4},
        17,
        [GlobalAvgPool2D()],
    ),
    "a pooling of the whole beside a convolution": (
        [
            ("MaxPool", "X", "a", {"kernel_shape": [8, 8], "strides": [2, 2]}),
            ("Conv", "X V", "b", {"strides": [8, 8]}),
            ("Concat", "b a", "c", {"axis": 1}),
            ("Conv", "c U", "d"),
            ("Flatten", "d", "Y"),
        ],
        {"V": W[:, :, :1, :1], "U": RNG.normal(size=(5, 7, 1, 1)).astype(np.float32)},
        17,
        [
            Concatenate(
                [
                    [Conv2D(4, kernel_size=1, strides=8, padding="valid", use_bias=False), Flatten()],
                    [GlobalMaxPool2D()],
                ]
            )
        ],
    ),
    "a pooling of the whole, and a convolution that is added": (
        [
            ("MaxPool", "X", "a", {"kernel_shape": [8, 8]}),
            ("Conv", "X V", "b", {"strides": [8, 8]}),
            ("Add", "a b", "c"),
            ("Flatten", "c", "Y"),
        ],
        {"V": W[:3, :, :1, :1]},
        17,
        None,
    ),
    "border that counts around one pixel": (
        [
            ("GlobalAveragePool", "X", "a"),
            ("AveragePool", "a", "b", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}),
            ("Flatten", "b", "Y"),
        ],
        {},
        17,
        [GlobalAvgPool2D(), Scale(use_bias=False)],
    ),
    "squeeze and excitation": (
        flat(
            ("GlobalAveragePool", "X", "a"),
            ("Conv", "a V", "b"),
            ("Relu", "b", "c"),
            ("Conv", "c U", "d"),
            ("HardSigmoid", "d", "e", {"alpha": 1 / 6}),
            ("Mul", "e X", "f"),
        ),
        {"V": W[:, :, :1, :1], "U": W[:3].transpose(0, 1, 2, 3)[:, :1, :1, :1].repeat(4, 1)},
        17,
        [
            Gate([GlobalAvgPool2D(), Dense(4, use_bias=False), ReLU(), Dense(3, use_bias=False), HardSigmoid()]),
            Flatten(),
        ],
    ),
    "residual": (
        flat(("Conv", "X V", "a"), ("Relu", "a", "b"), ("Add", "X b", "c"), ("Relu", "c", "d")),
        {"V": W[:3, :, :1, :1]},
        17,
        [Residual([Conv2D(3, kernel_size=1, padding="valid", use_bias=False), ReLU()]), ReLU(), Flatten()],
    ),
    "sum of three": (
        flat(("Sigmoid", "X", "a"), ("Relu", "X", "b"), ("Sum", "a X b", "c")),
        {},
        17,
        [Residual([Residual([Sigmoid()])], shortcut=ReLU()), Flatten()],
    ),
    "dense block": (
        flat(
            ("Relu", "X", "a"),
            ("Conv", "a W", "b", {"pads": [1, 1, 1, 1]}),
            ("Concat", "a b", "c", {"axis": 1}),
            ("Conv", "c V", "d"),
            ("Concat", "a b d", "e", {"axis": 1}),
        ),
        {"W": W, "V": RNG.normal(size=(2, 7, 1, 1)).astype(np.float32)},
        17,
        [
            ReLU(),
            Concatenate([[], [Conv2D(4, padding=1, use_bias=False)]]),
            Concatenate([[], [Conv2D(2, kernel_size=1, padding="valid", use_bias=False)]]),
            Flatten(),
        ],
    ),
    "branches that share their beginning": (
        flat(
            ("Conv", "X W", "a", {"pads": [1, 1, 1, 1]}),
            ("Sigmoid", "a", "b"),
            ("Tanh", "a", "c"),
            ("Relu", "X", "d"),
            ("Concat", "d b c", "e", {"axis": 1}),
        ),
        {"W": W},
        17,
        None,
    ),
    "gelu by erf": (
        flat(*ERF), {"r": np.float32(2**0.5), "one": ONE, "half": np.float32(0.5)}, 17, [GELU(), Flatten()]
    ),
    "gelu by an operator": (flat(("Gelu", "X", "a", {"approximate": "tanh"})), {}, 20, [GELU(True), Flatten()]),
    "silu": (flat(("Sigmoid", "X", "a"), ("Mul", "a X", "b")), {}, 17, [SiLU(), Flatten()]),
    "mish": (flat(("Softplus", "X", "a"), ("Tanh", "a", "b"), ("Mul", "X b", "c")), {}, 17, [Mish(), Flatten()]),
    "hard swish, written out": (
        flat(("Add", "X three", "a"), ("Clip", "a zero six", "b"), ("Mul", "X b", "c"), ("Div", "c six", "d")),
        {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)},
        17,
        [HardSwish(), Flatten()],
    ),
    "softplus, written out": (
        flat(("Exp", "X", "a"), ("Add", "a one", "b"), ("Log", "b", "c")), {"one": ONE}, 17, [Softplus(), Flatten()]
    ),
    "relu6 of old": (flat(("Clip", "X", "a", {"min": 0.0, "max": 6.0})), {}, 7, [ReLU6(), Flatten()]),
    "bounds": (flat(("Max", "X c", "a"), ("Min", "a one", "b")), {"c": -ONE, "one": ONE}, 17, None),
    "hard sigmoid of its own": (
        flat(("HardSigmoid", "X", "a", {"alpha": 0.3, "beta": 0.4})), {}, 17, [Clip(0.0, 1.0), Flatten()]
    ),
    "celu": (flat(("Relu", "X", "r"), ("Celu", "X", "a", {"alpha": 2.0}), ("Add", "r a", "b")), {}, 17, None),
    "nearest pixels, old": (
        flat(("Upsample", "X s", "a", {"mode": "nearest"})), {"s": np.array([1, 1, 2, 3], np.float32)}, 9,
        [UpSample2D((2, 3)), Flatten()],
    ),
    "nearest pixels": (
        flat(("Resize", "X  s", "a")), {"s": np.array([1, 1, 2, 2], np.float32)}, 17, [UpSample2D(), Flatten()]
    ),
    "interpolated to a size": (
        flat(("Resize", "X   t", "a", {"mode": "linear"})), {"t": np.array([2, 3, 16, 24])}, 17,
        [UpSample2D((2, 3), interpolation="bilinear"), Flatten()],
    ),
    "padding of old": (
        flat(("Pad", "X", "a", {"pads": [0, 0, 1, 0, 0, 0, 0, 2]})), {}, 10, [ZeroPad2D(((1, 0), (0, 2))), Flatten()]
    ),
    "channels last inside": (
        flat(
            ("Transpose", "X", "t", {"perm": [0, 2, 3, 1]}),
            ("LayerNormalization", "t C C", "a"),
            ("MatMul", "a M", "b"),
            ("Add", "b B", "c"),
            ("Transpose", "c", "d", {"perm": [0, 3, 1, 2]}),
        ),
        {"C": C3, "M": RNG.normal(size=(3, 4)).astype(np.float32), "B": B4},
        17,
        None,
    ),
    "flattened by a shape": (
        [
            ("Shape", "X", "s"),
            ("Gather", "s zero", "n"),
            ("Unsqueeze", "n axes", "u"),
            ("Concat", "u minus", "t", {"axis": 0}),
            ("Reshape", "X t", "f"),
            ("Gemm", "f V", "Y"),
        ],
        {
            "zero": np.array(0),
            "axes": np.array([0]),
            "minus": np.array([-1]),
            "V": RNG.normal(size=(192, 5)).astype(np.float32),
        },
        17,
        [Flatten()],
    ),
    "features with factors before the dense layer": (
        [("Flatten", "X", "f"), ("Mul", "f v", "g"), ("Relu", "g", "h"), ("MatMul", "h V", "i"), ("Add", "i b", "Y")],
        {
            "v": RNG.uniform(1, 2, 192).astype(np.float32),
            "V": RNG.normal(size=(192, 5)).astype(np.float32),
            "b": np.arange(5, dtype=np.float32),
        },
        17,
        None,
    ),
    "flat branches side by side": (
        [
            ("Flatten", "X", "f"),
            ("GlobalMaxPool", "X", "p"),
            ("Squeeze", "p axes", "q"),
            ("Concat", "f q", "Y", {"axis": 1}),
        ],
        {"axes": np.array([2, 3])},
        17,
        [Concatenate([[Flatten()], [skcnn.layers.GlobalMaxPool2D()]])],
    ),
    "instance and group normalization": (
        flat(("InstanceNormalization", "X C C", "a"), ("GroupNormalization", "a C C", "b", {"num_groups": 3})),
        {"C": C3},
        21,
        None,
    ),
    "nothing": (
        flat(("Identity", "X", "a"), ("Dropout", "a", "b"), ("Pow", "b one", "c"), ("Neg", "c", "d")),
        {"one": ONE},
        17,
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_equal_onnxruntime(name):
    rows, constants, opset, expected = GRAPHS[name]
    layers = check(built(rows, constants, opset), input_shape=(8, 8, 3))
    if expected is not None:
        assert layers == expected


def test_images_with_channels_last():
    rows = [
        ("Transpose", "X", "a", {"perm": [0, 3, 1, 2]}),
        ("Conv", "a W", "b"),
        ("Transpose", "b", "c", {"perm": [0, 2, 3, 1]}),
        ("Flatten", "c", "d"),
        ("MatMul", "d V", "Y"),
    ]
    constants = {"W": W, "V": RNG.normal(size=(144, 2)).astype(np.float32)}
    images = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
    content = built(rows, constants, inputs=("N", 8, 8, 3))
    estimator = from_onnx(content, **PLAIN, task="regression")
    assert estimator.input_shape_ == (8, 8, 3)
    assert_allclose(estimator.predict(images), run(content, images), rtol=1e-5, atol=1e-5)
    # Where dimensions are open, the graph tells, and the size is given.
    pooled = [rows[0], ("Relu", "a", "b"), ("GlobalAveragePool", "b", "c"), ("Flatten", "c", "Y")]
    open_ = built(pooled, inputs=("N", "h", "w", 3))
    with pytest.raises(ValueError, match=r"only as \(None, None, 3\) \(h, w, c\)\. Pass input_shape"):
        from_onnx(open_, **PLAIN)
    assert from_onnx(open_, **PLAIN, input_shape=(8, 9, 3)).input_shape_ == (8, 9, 3)
    with pytest.raises(ValueError, match=r"input_shape=\(8, 9, 4\) does not fit its images"):
        from_onnx(open_, **PLAIN, input_shape=(8, 9, 4))


def test_a_layout_that_nothing_tells_is_asked_for():
    dense = [("Flatten", "X", "a"), ("MatMul", "a V", "Y")]
    constants = {"V": RNG.normal(size=(8 * 8 * 3, 2)).astype(np.float32)}
    content = built(dense, constants)
    with pytest.raises(ValueError, match=r"its images may be NCHW or NHWC. Pass input_shape"):
        from_onnx(content, **PLAIN)
    assert check(content, input_shape=(8, 8, 3)) == [Flatten()]
    last = built(dense, constants, inputs=("N", 8, 8, 3))
    images = RNG.normal(size=(2, 8, 8, 3)).astype(np.float32)
    found = from_onnx(last, **PLAIN, input_shape=(8, 8, 3), task="regression").predict(images)
    assert_allclose(found, run(last, images), rtol=1e-5, atol=1e-5)
    cube = built(dense, {"V": np.ones((512, 2), np.float32)}, inputs=("N", 8, 8, 8))
    with pytest.raises(ValueError, match="its images may be"):
        from_onnx(cube, **PLAIN, input_shape=(8, 8, 8))


def test_rows_of_features():
    content = built(
        [("MatMul", "X V", "a"), ("Relu", "a", "Y")], {"V": np.eye(6, 4, dtype=np.float32)}, inputs=("N", 6)
    )
    estimator = from_onnx(content, **PLAIN, task="regression")
    rows = RNG.normal(size=(3, 6))
    assert_allclose(estimator.predict(rows), np.maximum(rows[:, :4], 0), rtol=1e-6)
    assert from_onnx(content, **PLAIN, input_shape=(2, 3)).input_shape_ == (2, 3, 1)
    with pytest.raises(ValueError, match=r"input_shape=\(2, 4, 1\) does not fit its input of 6 features"):
        from_onnx(content, **PLAIN, input_shape=(2, 4))


HEAD = [("GlobalAveragePool", "X", "a"), ("Flatten", "a", "b"), ("Gemm", "b V", "c")]


@pytest.mark.parametrize(
    ("end", "units"), [("Softmax", 4), ("Softmax", 2), ("LogSoftmax", 3), ("Sigmoid", 1), ("Sigmoid", 3), (None, 3)]
)
def test_what_the_end_means(end, units):
    V = RNG.normal(size=(3, units)).astype(np.float32)
    rows = [*HEAD, (end, "c", "Y")] if end else [*HEAD[:2], ("Gemm", "b V", "Y")]
    content = built(rows, {"V": V})
    estimator = from_onnx(content, **PLAIN)
    expected, images = run(content), IMAGES.transpose(0, 2, 3, 1)
    if end is None:
        # Sums of numbers of size 1, in single precision: a sum near 0 has no more digits.
        assert_allclose(estimator.decision_function(images), expected, rtol=1e-5, atol=1e-6)
        return
    found = estimator.predict_proba(images)
    expected = np.exp(expected) if end == "LogSoftmax" else expected
    if units == 1:
        assert estimator.classes_.tolist() == [0, 1]
        expected = np.hstack([1 - expected, expected])
    assert_allclose(found, expected, rtol=0, atol=1e-6)
    several = end == "Sigmoid" and units > 1
    assert estimator.predict(images).shape == ((2, units) if several else (2,))
    # For a regressor it is a layer like all others.
    regressor = from_onnx(content, **PLAIN, task="regression") if end != "LogSoftmax" else None
    if regressor is not None:
        assert_allclose(regressor.predict(images).reshape(run(content).shape), run(content), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [("Reshape", "c s", "Y"), ("Squeeze", "c one", "Y")], ids=["reshaped", "squeezed"])
def test_a_single_output_as_a_vector(last):
    constants = {"V": np.ones((3, 1), np.float32), "s": np.array([-1]), "one": np.array([1])}
    content = built([*HEAD, last], constants, rank=1)
    found = from_onnx(content, **PLAIN, task="regression").predict(IMAGES.transpose(0, 2, 3, 1))
    assert_allclose(found, run(content), rtol=1e-5)


def test_mean_and_scale_are_of_pixels():
    content = built(flat(("Conv", "X W", "a", {"pads": [1, 1, 1, 1]})), {"W": W})
    mean, scale = [1.0, 2.0, 3.0], [0.5, 2.0, 4.0]
    estimator = from_onnx(content, mean=mean, scale=scale, task="regression")
    pixels = IMAGES.transpose(0, 2, 3, 1) * scale + mean
    assert_allclose(estimator.predict(pixels), run(content), rtol=1e-4, atol=1e-4)
    inside = built(flat(("Div", "X s", "x"), ("Sub", "x m", "y"), ("Conv", "y W", "a", {"pads": [1, 1, 1, 1]})),
                   {"W": W, "s": np.float32(255), "m": C3.reshape(3, 1, 1)})  # fmt: skip
    estimator = from_onnx(inside, mean=mean, scale=scale, task="regression")
    assert estimator.layers_[0] == Conv2D(4, padding=1, use_bias=False)
    assert_allclose(estimator.input_scale_, np.multiply(scale, 255))
    assert_allclose(estimator.predict(pixels), run(inside), rtol=1e-4, atol=1e-4)
    with pytest.raises(TypeError, match="mean"):
        from_onnx(content, scale=1)
    with pytest.raises(ValueError, match="mean must be a finite number, or one for each of 3 channels"):
        from_onnx(content, mean=[1, 2], scale=1)


def test_pixels_of_eight_bits_and_double_precision():
    rows = flat(("Cast", "X", "x", {"to": 1}), ("Conv", "x W", "a"))
    content = built(rows, {"W": W}, kind=onnx.TensorProto.UINT8)
    pixels = RNG.integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    estimator = from_onnx(content, **PLAIN, task="regression")
    assert_allclose(estimator.predict(pixels.transpose(0, 2, 3, 1)), run(content, pixels), rtol=1e-5, atol=1e-3)
    rows = [("Flatten", "X", "a"), ("MatMul", "a V", "Y")]
    double = built(rows, {"V": RNG.normal(size=(192, 5))}, kind=onnx.TensorProto.DOUBLE)
    estimator = from_onnx(double, **PLAIN, input_shape=(8, 8, 3), task="regression")
    assert estimator._model.weights.dtype == np.float64
    images = IMAGES.astype(float)
    assert_allclose(estimator.predict(images.transpose(0, 2, 3, 1)), run(double, images), rtol=1e-12, atol=1e-12)


def test_an_output_is_chosen_by_its_name():
    rows = [*HEAD, ("Relu", "c", "Y"), ("Tanh", "c", "Z")]
    content = built(rows, {"V": np.eye(3, dtype=np.float32)}, outputs=("Y", "Z"))
    with pytest.raises(ValueError, match=r"several outputs: Y, Z. Pass the name of one as output="):
        from_onnx(content, **PLAIN)
    for name, f in (("Z", np.tanh), ("c", lambda x: x)):
        found = from_onnx(content, **PLAIN, output=name, task="regression").predict(IMAGES.transpose(0, 2, 3, 1))
        assert_allclose(found, f(IMAGES.mean((2, 3))), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"has no output 'W'. Its outputs are: Y, Z"):
        from_onnx(content, **PLAIN, output="W")


CONV = ("Conv", "X W", "a", {"pads": [1, 1, 1, 1]})
V = np.ones((1, 4, 1, 1), np.float32)
REFUSED = {
    "attention": ([CONV, ("MatMul", "a a", "b"), ("Flatten", "b", "Y")], {"W": W}, "MatMul 'the b' of (N, 4, 8, 8)"),
    "shuffle": (flat(CONV, ("Reshape", "a s", "b")), {"W": W, "s": np.array([0, 2, 2, 8, 8])},
                "node 1, Reshape 'the b' of (N, 4, 8, 8), a constant (5,): no layer reshapes it to (N, 2, 2, 8, 8)"),
    "images mixed": ([CONV, ("Reshape", "a s", "Y")], {"W": W, "s": np.array([-1, 16])}, "it would mix images"),
    "no image": ([("Reshape", "X s", "Y")], {"s": np.array([1, -1])}, "its first axis must be the axis of images"),
    "a number for each pixel": (flat(CONV, ("Add", "a P", "b")), {"W": W, "P": np.ones((8, 8), np.float32)},
                                "its constant must be a single number, or one number per channel"),
    "ends as an image": ([("Conv", "X W", "Y")], {"W": W}, "its output is an image (N, 4, 6, 6)"),
    "border that may win": (flat(("MaxPool", "X", "a", {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0]})), {},
                            "its padding [(0, 1), (1, 0)] cannot be written as a padding of MaxPool2D"),
    "dilated pooling": (flat(("MaxPool", "X", "a", {"kernel_shape": [2, 2], "dilations": [2, 2]})), {}, "no dilation"),
    "window of the border": (flat(("AveragePool", "X", "a", {"kernel_shape": [2, 2], "pads": [2, 2, 2, 2]})), {},
                             "a window is entirely in the border"),
    "ones around": (flat(("Pad", "X p v", "a")), {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": ONE},
                    "only borders of zeros around images"),
    "cropped": (flat(("Pad", "X p", "a")), {"p": np.array([0, 0, -1, 0, 0, 0, 0, 0])}, "it removes pixels"),
    "resized by half": (flat(("Resize", "X  s", "a")), {"s": np.array([1, 1, 0.5, 0.5], np.float32)},
                        "must be enlarged by integer factors"),
    "resized in another way": (flat(("Resize", "X  s", "a", {"coordinate_transformation_mode": "align_corners",
                               "mode": "linear"})), {"s": np.array([1, 1, 2, 2], np.float32)}, "is not supported"),
    "an unknown function": (flat(("Sin", "X", "a")), {}, "node 0, Sin 'the a' of (N, 3, 8, 8): there is no layer"),
    "half an activation": (flat(("Erf", "X", "a")), {}, "it is not part of a known activation"),
    "nearly an activation": (
        flat(("Mul", "X s", "t"), ("Sigmoid", "t", "a"), ("Pow", "a two", "b"), ("Mul", "b X", "c")),
        {"s": np.float32(1.1), "two": np.float32(2)}, "node 2, Pow",
    ),
    "statistics of the batch": (flat(("BatchNormalization", "X C C C C", "a", {"training_mode": 1})), {"C": C3},
                                "with fixed statistics"),
    "statistics of the batch, old": (
        [("BatchNormalization", "X C C C C", "a"), ("Flatten", "a", "Y")], {"C": C3}, "with fixed statistics",
    ),
    "random": (flat(("Dropout", "X r t", "a")), {"r": np.float32(0.5), "t": np.array(True)}, "it is random dropout"),
    "softmax of everything": (flat(("Softmax", "X", "a")), {}, "normalize over the channels of each pixel"),
    "rounded": (flat(("Cast", "X", "a", {"to": 6})), {}, "it rounds to integers"),
    "crossing branches": (
        flat(CONV, ("Relu", "a", "b"), ("Conv", "b U", "c"), ("Conv", "a U", "d"), ("Add", "c d", "e"),
             ("Conv", "X U2", "f"), ("Mul", "c f", "g"), ("Add", "e g", "h")),
        {"W": W, "U": np.ones((4, 4, 1, 1), np.float32), "U2": np.ones((4, 3, 1, 1), np.float32)},
        "do not join in a nested way",
    ),
    "weights of another size": (flat(("Conv", "X V", "a")), {"V": V}, "its kernel does not fit 3 channels in 1 groups"),
    "no kernel": (flat(("Conv", "X X", "a")), {}, "must be constants"),
    "over the images": (flat(("ReduceMean", "X", "a", {"axes": [0]})), {}, "it must reduce over height and width"),
    "a shape that is computed": (
        [("Shape", "X", "s"), ("Gather", "s z", "n"), ("Mul", "n two", "m"), ("Concat", "m r", "t", {"axis": 0}),
         ("Reshape", "X t", "Y")],
        {"z": np.array([0]), "two": np.array([2]), "r": np.array([-1])}, "it computes with the number of images",
    ),
    "too large": ([("ConstantOfShape", "s", "c"), ("Add", "X c", "b"), ("Flatten", "b", "Y")],
                  {"s": np.array([1 << 20, 1 << 20])}, "its result is too large"),
    "a border that is too large": (
        [("Pad", "X p", "a"), ("GlobalAveragePool", "a", "b"), ("Flatten", "b", "Y")],
        {"p": np.array([0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0])},
        "too large",
    ),
    "an output that is too large": (
        flat(("Pad", "X p", "a")),
        {"p": np.array([0, 0, 99, 99, 0, 0, 99, 99])},
        "it ends with 127308 numbers that no dense layer computes",
    ),
    "divided by zero": (flat(("Div", "X z", "a")), {"z": np.float32(0)}, "it divides by zero"),
    "of the wrong rank": (flat(("GlobalAveragePool", "X", "a"), ("Flatten", "a", "b"), ("GlobalMaxPool", "b", "c")), {},
                          "GlobalMaxPool"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_computed_is_refused_with_its_node(name):
    rows, constants, said = REFUSED[name]
    content = built(rows, constants, rank=4 if name == "ends as an image" else 2)
    if name == "statistics of the batch, old":
        parsed = onnx.load_model_from_string(content)
        parsed.opset_import[0].version = 9
        parsed.graph.node[0].output.extend(["mean", "variance", "saved_mean", "saved_variance"])
        content = parsed.SerializeToString()
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        from_onnx(content, **PLAIN, input_shape=(8, 8, 3))
    assert str(caught.value).startswith("The model cannot be imported: ")


def test_graphs_of_another_kind_are_refused():
    rows = [*HEAD[:2], ("Gemm", "b V", "Y")]
    constants = {"V": np.eye(3, dtype=np.float32)}
    with pytest.raises(ValueError, match="version 6 of the operators, but versions before 7 have a different meaning"):
        from_onnx(built(rows, constants, opset=6), **PLAIN)
    with pytest.raises(ValueError, match=r"input has 3 axes, but must have four"):
        from_onnx(built([("Flatten", "X", "Y")], inputs=("N", 3, 8)), **PLAIN)
    parsed = onnx.load_model_from_string(built(rows, constants))
    parsed.graph.input.append(helper.make_tensor_value_info("Z", FLOAT, [1]))
    with pytest.raises(ValueError, match="must have one input, the images, but has 2: 'X', 'Z'"):
        from_onnx(parsed.SerializeToString(), **PLAIN)
    parsed = onnx.load_model_from_string(built(rows, constants))
    parsed.graph.input.append(helper.make_tensor_value_info("V", FLOAT, [3, 3]))  # as files of old have it
    assert from_onnx(parsed.SerializeToString(), **PLAIN).n_features_in_ == 192
    parsed = onnx.load_model_from_string(built(rows, constants, kind=onnx.TensorProto.STRING))
    with pytest.raises(ValueError, match="cannot be imported"):
        from_onnx(parsed.SerializeToString(), **PLAIN)
    with pytest.raises(ValueError, match="task must be 'classification', 'regression' or None, got 'ranking'"):
        from_onnx(b"", **PLAIN, task="ranking")
    with pytest.raises(ValueError, match="a regressor has no classes"):
        from_onnx(built(rows, constants), **PLAIN, task="regression", classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="there are 2 classes"):
        from_onnx(built(rows, constants), **PLAIN, classes=["a", "b"])


def test_graphs_that_grow_are_refused_in_good_time():
    doubled = [("Concat", f"v{i} v{i}", f"v{i + 1}", {"axis": 1}) for i in range(1, 80)]
    rows = [("Relu", "X", "v1"), *doubled, ("MaxPool", "v80", "p", {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0]})]
    with pytest.raises(ValueError, match="too large"):
        from_onnx(built([*rows, ("Flatten", "p", "Y")]), **PLAIN)
    nested = [("Sigmoid", "X", "v0"), *(("Sigmoid", f"v{i}", f"v{i + 1}") for i in range(400))]
    nested += [("Add", "v400 v399", "s400")]
    nested += [("Add", f"s{i + 1} v{i - 1}", f"s{i}") for i in range(399, 0, -1)]
    with pytest.raises(ValueError, match=r"cannot be imported|is damaged"):
        from_onnx(built([*nested, ("Flatten", "s1", "Y")]), **PLAIN)


def test_functions_and_constants_as_nodes():
    rows = [("Constant", "", "V", {"value": numpy_helper.from_array(np.eye(3, dtype=np.float32))}), *HEAD[:2],
            ("Gemm", "b V", "Y")]  # fmt: skip
    parsed = onnx.load_model_from_string(built(rows, domains=["own"]))
    parsed.graph.node[0].ClearField("input")
    parsed.graph.node[1].op_type, parsed.graph.node[1].domain = "Pooled", "own"
    body = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("GlobalAveragePool", ["y"], ["z"])]
    parsed.functions.append(helper.make_function("own", "Pooled", ["x"], ["z"], body, [helper.make_opsetid("", 17)]))
    estimator = from_onnx(parsed.SerializeToString(), **PLAIN)
    assert estimator.layers_ == [ReLU(), GlobalAvgPool2D()]


# -- files


@pytest.fixture(scope="module")
def content():
    return to_onnx(small(layers=[Conv2D(3), ReLU(), MaxPool2D(), Flatten(), Dense(4)]).fit(X, Y)).SerializeToString()


def test_files_that_are_cut_off(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert from_onnx(path, **PLAIN).predict(X).shape == (30,)
    assert from_onnx(str(path), **PLAIN).predict(X).shape == (30,)
    for size in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"model\.onnx' (cannot be imported|is damaged)"):
            from_onnx(path, **PLAIN)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx", **PLAIN)


def test_files_that_are_changed(content):
    rng = np.random.default_rng(0)
    for _ in range(400):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                estimator = from_onnx(bytes(changed), **PLAIN)
        except ValueError:
            continue
        assert isinstance(estimator, (CNNClassifier, CNNRegressor))


def saved_apart(tmp_path, location="weights.bin", **options):
    """A file whose weights are in another one."""
    parsed = onnx.load_model_from_string(built(flat(("Conv", "X W", "a")), {"W": W}))
    (tensor,) = parsed.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": location, "offset": 16, "length": W.nbytes} | options).items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    path = tmp_path / "model.onnx"
    path.write_bytes(parsed.SerializeToString())
    return path


def test_weights_in_a_file_of_their_own(tmp_path):
    path = saved_apart(tmp_path)
    (tmp_path / "weights.bin").write_bytes(bytes(16) + W.tobytes())
    expected = computed(built(flat(("Conv", "X W", "a")), {"W": W}), IMAGES)[0]
    estimator = from_onnx(path, **PLAIN, task="regression")
    assert_array_equal(estimator.predict(IMAGES.transpose(0, 2, 3, 1)), expected)
    without_length = from_onnx(saved_apart(tmp_path, length=None), **PLAIN, task="regression")
    assert_array_equal(without_length.predict(IMAGES.transpose(0, 2, 3, 1)), expected)
    with pytest.raises(ValueError, match=r"weights 'W' are in the file 'weights.bin'. Pass the path instead of bytes"):
        from_onnx(path.read_bytes(), **PLAIN)


@pytest.mark.parametrize("length", [10**12, -1])
def test_weights_beyond_the_end_of_their_file(tmp_path, length):
    (tmp_path / "weights.bin").write_bytes(bytes(16) + W.tobytes())
    with pytest.raises(ValueError, match=r"beyond the end of the file 'weights\.bin'"):
        from_onnx(saved_apart(tmp_path, length=length), **PLAIN)


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    folder = tmp_path / "inside"
    (folder / "deeper").mkdir(parents=True)
    for place in (tmp_path, folder / "deeper"):
        (place / "weights.bin").write_bytes(bytes(16) + W.tobytes())
    outside = [
        "../weights.bin", str(tmp_path / "weights.bin"), "deeper/weights.bin", "deeper\\weights.bin", "..", ".", "",
        "./weights.bin", "C:weights.bin",
    ]  # fmt: skip
    for location in outside:
        with pytest.raises(ValueError, match="only files in its folder are read"):
            from_onnx(saved_apart(folder, location), **PLAIN)
    with pytest.raises(ValueError, match="which is not a file in its folder"):
        from_onnx(saved_apart(folder, "deeper"), **PLAIN)
    os.symlink(tmp_path / "weights.bin", folder / "link.bin")
    with pytest.raises(ValueError, match="which is not a file in its folder"):
        from_onnx(saved_apart(folder, "link.bin"), **PLAIN)


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"requires onnx\..*pip install 'skcnn\[onnx\]'"):
        from_onnx(b"", **PLAIN)


def test_the_page_names_every_operator():
    page = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    table = page[page.index("| operators | layers |") : page.index("Exporters may write an activation")]
    cells = [row.split(" | ")[0] for row in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(HANDLERS)


# -- the cases of the onnx package, and PyTorch's networks

# With onnx 1.23. A name may be added, and none may go.
RIGHT = """
    averagepool_2d_ceil averagepool_2d_ceil_last_window_starts_on_pad averagepool_2d_default
    averagepool_2d_pads_count_include_pad averagepool_2d_precomputed_pads
    averagepool_2d_precomputed_pads_count_include_pad averagepool_2d_precomputed_same_upper
    averagepool_2d_precomputed_strides averagepool_2d_same_upper averagepool_2d_strides basic_conv_with_padding
    basic_conv_without_padding batchnorm_epsilon batchnorm_example celu conv_with_autopad_same
    conv_with_strides_and_asymmetric_padding conv_with_strides_no_padding conv_with_strides_padding flatten_axis1
    flatten_default_axis flatten_negative_axis3 globalaveragepool globalaveragepool_precomputed globalmaxpool
    globalmaxpool_precomputed group_normalization_epsilon group_normalization_example identity instancenorm_epsilon
    instancenorm_example maxpool_2d_ceil maxpool_2d_ceil_output_size_reduce_by_one maxpool_2d_default
    maxpool_2d_precomputed_pads maxpool_2d_precomputed_same_upper maxpool_2d_precomputed_strides maxpool_2d_same_upper
    maxpool_2d_strides maxpool_with_argmax_2d_precomputed_pads maxpool_with_argmax_2d_precomputed_strides
    resize_upsample_scales_linear resize_upsample_scales_nearest resize_upsample_scales_nearest_axes_2_3
    resize_upsample_scales_nearest_axes_3_2 upsample_nearest
"""
# Their expected output has four digits.
ROUNDED = {"averagepool_2d_ceil_last_window_starts_on_pad"}


def test_cases_of_single_nodes_are_right_or_refused():
    right, names, said = set(), set(), []
    for full, content, images, expected in image_cases():
        name = full.removeprefix("test_")
        names.add(name)
        _, c, h, w = images.shape
        try:
            found, _ = computed(content, images, input_shape=(h, w, c))
        except ValueError as error:
            said.append(str(error))
            continue
        tolerance = 1e-4 if name in ROUNDED else 1e-5
        assert_allclose(found.reshape(expected.shape), expected, rtol=tolerance, atol=tolerance, err_msg=name)
        right.add(name)
    assert all(re.match(r"The model cannot be imported: (node \d+, |its |it |the checker)", text) for text in said)
    assert right >= set(RIGHT.split()) & names
    assert len(right) >= 40


def slim(network):
    """VGG with fewer units behind the convolutions, where it has a hundred million weights."""
    from torch import nn

    network.classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5))
    return network


FAMILIES = {
    "alexnet": (lambda m: m.alexnet(num_classes=9), 224),
    "convnext": (lambda m: m.convnext_tiny(), 64),
    "densenet": (lambda m: m.densenet121(), 64),
    "efficientnet": (lambda m: m.efficientnet_b0(), 64),
    "efficientnet_v2": (lambda m: m.efficientnet_v2_s(), 64),
    "googlenet": (lambda m: m.googlenet(init_weights=False), 64),
    "inception": (lambda m: m.inception_v3(init_weights=False), 80),
    "mnasnet": (lambda m: m.mnasnet0_5(), 64),
    "mobilenet_v2": (lambda m: m.mobilenet_v2(), 64),
    "mobilenet_v3": (lambda m: m.mobilenet_v3_small(), 64),
    "regnet_x": (lambda m: m.regnet_x_400mf(), 64),
    "regnet_y": (lambda m: m.regnet_y_400mf(), 64),
    "resnet": (lambda m: m.resnet18(), 64),
    "resnet50": (lambda m: m.resnet50(), 64),
    "resnext": (lambda m: m.resnext50_32x4d(), 64),
    "squeezenet": (lambda m: m.squeezenet1_1(), 65),
    "squeezenet1_0": (lambda m: m.squeezenet1_0(), 66),
    "vgg": (lambda m: slim(m.vgg11()), 224),
    "vgg_bn": (lambda m: slim(m.vgg11_bn()), 224),
    "wide_resnet": (lambda m: m.wide_resnet50_2(), 64),
    "shufflenet": (lambda m: m.shufflenet_v2_x0_5(), 64),
    "vit": (lambda m: m.vit_b_32(image_size=64), 64),
    "swin": (lambda m: m.swin_t(), 64),
    "maxvit": (lambda m: m.maxvit_t(input_size=(224, 224)), 224),
}
UNKNOWN = {"shufflenet", "vit", "swin", "maxvit"}  # shuffled channels, and attention
# The others take minutes: SKCNN_ALL_NETWORKS=1 tests them all.
QUICK = {"squeezenet", "mobilenet_v3", "shufflenet"}
ALL = os.environ.get("SKCNN_ALL_NETWORKS") == "1"


@pytest.mark.parametrize("name", FAMILIES if ALL else sorted(QUICK))
@pytest.mark.parametrize("dynamo", [False, True], ids=["traced", "exported"])
@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporters
def test_networks_of_torchvision(name, dynamo):
    models = torchvision().models
    import torch

    if dynamo:
        pytest.importorskip("onnxscript")
    make, size = FAMILIES[name]
    torch.manual_seed(0)
    network = randomized(make(models))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        expected = network(images).numpy()
    file = io.BytesIO()
    if dynamo:
        program = torch.onnx.export(network, (images,), dynamo=True, verbose=False)
        content = program.model_proto.SerializeToString()
    else:
        torch.onnx.export(network, (images,), file, dynamo=False)
        content = file.getvalue()
    if name in UNKNOWN:
        with pytest.raises(ValueError, match=r"cannot be imported: node \d+, "):
            from_onnx(content, **PLAIN)
        return
    estimator = from_onnx(content, **PLAIN)
    found = estimator.decision_function(images.numpy().transpose(0, 2, 3, 1))
    assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
