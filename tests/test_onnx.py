"""Exported to ONNX, an estimator predicts in onnxruntime what it predicts itself."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cases
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC

import skcnn.layers
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn._tape.channels import by_channel, record_channel_products
from skcnn._tape.parameters import Parameter
from skcnn.architecture import lenet5, resnet
from skcnn.description import description
from skcnn.layers import (
    Activation,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Rescaling,
    Residual,
    SeparableConv2D,
    Tanh,
    WhiteningConv2D,
)
from skcnn.losses import LogLoss, Loss
from skcnn.onnx import CONVERTERS, Graph, Tensor, register, to_onnx

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

OPSETS = (17, 22 if tuple(map(int, onnxruntime.__version__.split(".")[:2])) > (1, 20) else 21)  # oldest and newest
RNG = np.random.default_rng(0)
N = 30
IMAGES = RNG.normal(3, 2, (N, 8, 8))
CLASSES = np.arange(N) % 3
LABELS = np.stack([np.arange(N) % 2, np.arange(N) > 20], axis=1).astype(int)


def small(cls=CNNClassifier, **params):
    defaults = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "learning_rate": 0.01}
    return cls(**defaults | {"random_state": 0} | params)


def rows(X):
    return X.reshape(len(X), -1).astype(np.float32)


def run(model, X, feed=None):
    """Name -> output, of a model that the checker finds right and that is read as from a file."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed or {"X": rows(X)}), strict=True))


def assert_same(estimator, X, model=None):
    """Labels equal, and probabilities, targets or features within 1e-5."""
    found = run(to_onnx(estimator) if model is None else model, X)
    if "label" in found:
        expected = estimator.predict(X)
        assert_array_equal(found["label"], expected)
        assert found["label"].shape == expected.shape
        if hasattr(estimator, "predict_proba"):
            assert_allclose(found["probabilities"], estimator.predict_proba(X), rtol=0, atol=1e-5)
    else:
        expected = estimator.predict(X) if hasattr(estimator, "predict") else estimator.transform(X)
        assert found["variable"].shape == (len(X), *(expected.shape[1:] or (1,)))
        assert_allclose(found["variable"].reshape(expected.shape), expected, rtol=1e-5, atol=1e-5)
    return found


# -- the tables of cases


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.id)
def test_every_layer(case):
    flat = len(case.shape) == 1
    shape = (1, 1, *case.shape) if flat else case.shape
    layers = [*[Flatten()] * flat, case.layer, *[Flatten()] * (len(case.layer.output_shape(case.shape)) == 3)]
    X, y = RNG.normal(1, 2, (12, *shape)), np.arange(12) % 3
    estimator = CNNClassifier(layers=layers, max_iter=2, learning_rate=0.05, random_state=0).fit(X, y)
    for opset in OPSETS:
        assert_same(estimator, X, to_onnx(estimator, opset=opset))
    network = estimator._model.network
    features = CNNFeatures(FrozenEstimator(estimator), network.names[int(flat)]).fit(X)
    assert_same(features, X)


def test_every_layer_has_a_converter():
    of_package = {type(case.layer) for case in cases.LAYERS}
    of_package |= {cls for cls in vars(skcnn.layers).values() if isinstance(cls, type) and issubclass(cls, Layer)}
    assert of_package - {Layer, Activation} == set(CONVERTERS)


TARGETS = {"classes": np.arange(N) % 4, "two": CLASSES > 0, "labels": LABELS}
OF_CLASSES = [
    pytest.param(case.loss, y, id=f"{case.loss!r} of {kind}")
    for case in cases.LOSSES
    for kind, y in TARGETS.items()
    if (case.classes if kind == "classes" else case.labels)  # two classes are one label
]


@pytest.mark.parametrize(("loss", "y"), OF_CLASSES)
def test_every_loss_of_classes(loss, y):
    estimator = small(loss=loss).fit(IMAGES, y)
    found = assert_same(estimator, IMAGES)
    if not loss.has_probabilities:
        raw = estimator.decision_function(IMAGES)
        expected = np.stack([-raw, raw], axis=1) if raw.ndim == 1 else raw
        assert_allclose(found["scores"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", [case.loss for case in cases.LOSSES if case.numbers], ids=repr)
@pytest.mark.parametrize("outputs", [None, 3])
def test_every_loss_of_targets(loss, outputs):
    y = np.abs(RNG.normal(5, 2, N if outputs is None else (N, outputs)))
    assert_same(small(CNNRegressor, loss=loss).fit(IMAGES, y), IMAGES)


# -- inputs and outputs


@pytest.mark.parametrize(
    "classes",
    [np.array([-4, 7, 300]), np.array(["ant", "bée", "cat"]), np.array(["a", "b", "c"], object), np.array([0.0, 2, 5])],
    ids=lambda classes: classes.dtype.name,
)
def test_labels_are_the_classes(classes):
    found = assert_same(small().fit(IMAGES, classes[CLASSES]), IMAGES)
    assert found["label"].dtype == (np.int64 if classes.dtype.kind in "if" else object)


def test_bools_and_a_single_class():
    found = assert_same(small().fit(IMAGES, CLASSES > 0), IMAGES)
    assert found["label"].dtype == np.int64
    assert_same(small(layers=[Flatten()]).fit(IMAGES, np.zeros(N, int)), IMAGES)


def test_classes_that_onnx_does_not_have():
    estimator = small().fit(IMAGES, CLASSES)
    estimator.classes_ = np.array([(1, 2), None, "b"], object)
    with pytest.raises(TypeError, match=r"whole numbers or strings.*LabelEncoder"):
        to_onnx(estimator)


@pytest.mark.parametrize(
    "shape",
    [(8, 8), (5, 7, 3), (6, 4, 17), (1, 20, 2), (1, 1, 9), (9, 1, 2)],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize(
    "params", [{}, {"standardize": False, "learning_rate": 1e-4}, {"dtype": "float64"}, {"batch_norm": True}], ids=repr
)
def test_images_of_any_shape(shape, params):
    X = RNG.normal(100, 20, (N, *shape))
    assert_same(small(**params).fit(X, CLASSES), X)


@pytest.mark.parametrize("layers", [lenet5(padding=2), resnet(8, width=4)], ids=["lenet5", "resnet"])
def test_whole_architectures(layers):
    X = RNG.normal(size=(N, 24, 24, 3)).astype(np.float32)
    assert_same(small(layers=layers).fit(X, CLASSES), X)


def test_a_network_in_single_precision():
    X = RNG.integers(0, 256, (N, 16, 16), dtype=np.uint8)
    estimator = small(conv_filters=(16, 32), kernel_size=5).fit(X, CLASSES)
    assert estimator._predictor.dtype == np.float32
    assert_same(estimator, X)


def test_one_file_takes_any_number_of_rows(tmp_path):
    estimator = small().fit(IMAGES, CLASSES)
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(estimator), path)
    session = onnxruntime.InferenceSession(path)
    for n in (0, 1, 5, 64):
        X = np.resize(IMAGES, (n, 8, 8))
        label, probabilities = session.run(["label", "probabilities"], {"X": rows(X) if n else np.empty((0, 64), "f4")})
        assert label.shape == (n,)
        assert probabilities.shape == (n, 3)
        if n:
            assert_allclose(probabilities, estimator.predict_proba(X), rtol=0, atol=1e-5)


def test_types_and_shapes_are_declared():
    model = to_onnx(small().fit(IMAGES, CLASSES))
    assert model.ir_version == 10
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    declared = {v.name: v.type.tensor_type for v in [*model.graph.input, *model.graph.output]}
    shapes = {name: [d.dim_param or d.dim_value for d in v.shape.dim] for name, v in declared.items()}
    assert shapes == {"X": ["N", 64], "label": ["N"], "probabilities": ["N", 3]}


def test_pixels_of_eight_bits():
    X = RNG.integers(0, 256, (N, 8, 8), dtype=np.uint8)
    estimator = small().fit(X, CLASSES)
    kind = skl2onnx.common.data_types.UInt8TensorType([None, 64])
    found = run(to_onnx(estimator, initial_types=[("pixels", kind)]), X, {"pixels": X.reshape(N, -1)})
    assert_array_equal(found["label"], estimator.predict(X))
    assert_allclose(found["probabilities"], estimator.predict_proba(X), rtol=0, atol=1e-5)


def test_names_are_those_of_the_layers():
    layers = [Residual([Conv2D(4), BatchNorm(), Tanh()]), Flatten(), Dense(6), ReLU()]
    estimator = small(layers=layers).fit(IMAGES, CLASSES)
    graph = to_onnx(estimator).graph
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
    parameters = estimator.parameters_ | estimator.state_
    assert set(parameters) <= set(constants)
    assert_array_equal(constants["dense1.kernel"], parameters["dense1.kernel"].astype(np.float32))
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    owners = {name.split("/")[0] for name in names}
    inside = {"residual1", *(f"residual1.{n}" for n in ("conv1", "batchnorm1", "tanh1", "shortcut"))}
    assert owners == {"input", *inside, "flatten1", "dense1", "relu1", "output", "label", "probabilities"}


@pytest.mark.parametrize("layer", ["conv1", "maxpool1", "flatten1", "dense1", "output"])
def test_features_of_a_layer(layer):
    X = RNG.normal(size=(N, 6, 6, 2))
    for pool in (None, "avg", "max"):
        assert_same(CNNFeatures(small(), layer, pool=pool).fit(X, CLASSES), X)


NESTED = {
    "as wide": [Conv2D(4), Residual([Conv2D(4), ReLU(), Conv2D(4)]), ReLU(), Flatten()],
    "wider": [Residual([Conv2D(4, strides=2), BatchNorm(), Tanh(), SeparableConv2D(6)]), Flatten()],
    "fixed parts": [
        Residual(
            [WhiteningConv2D(2), BatchNorm(scale=False), ReLU(), Rescaling(0.5), Conv2D(3), BatchNorm(offset=False)]
        ),
        Concatenate([[Conv2D(3), BatchNorm(scale=False, offset=False)], [WhiteningConv2D(1, use_bias=False)]]),
        Flatten(),
        Rescaling(1 / 9),
    ],
    "own shortcut": [Residual([Conv2D(4), Tanh()], shortcut=[Conv2D(4, kernel_size=1), BatchNorm()]), Flatten()],
    "branches": [Concatenate([[Conv2D(3), ReLU()], [MaxPool2D(padding="same", strides=1), Conv2D(5)], []]), Flatten()],
    "both": [Concatenate([[Residual([Conv2D(3), Tanh()]), ReLU()], [Conv2D(2)]]), Flatten(), Residual([Dense(6)])],
    "dense": [Flatten(), Dense(7), Residual([Dense(7), ReLU(), Dropout(0.5)]), Residual([ReLU(), Dense(5)]), ReLU()],
}


@pytest.mark.parametrize("name", NESTED)
def test_features_of_layers_inside_of_others(name):
    X = RNG.normal(size=(N, 6, 6, 2))
    estimator = small(layers=NESTED[name]).fit(X, CLASSES)
    names = list(estimator._model.network.reached)
    assert sum("." in layer for layer in names) >= 3
    for layer in names:
        assert_same(CNNFeatures(FrozenEstimator(estimator), layer).fit(X), X)


# -- with scikit-learn around


def logistic():
    return LogisticRegression(max_iter=2000)


def idle(*steps):
    """A pipeline whose first step does nothing."""
    return make_pipeline("passthrough", *steps)


ROWS = rows(IMAGES)
HALVES = [("a", StandardScaler(), slice(32)), ("b", "passthrough", slice(32, 64))]
TARGETS = RNG.normal(size=N)
TWO = (CLASSES > 0).astype(int)
AROUND = {
    "scaled": (make_pipeline(StandardScaler(), small()), CLASSES),
    "strings": (make_pipeline(StandardScaler(), small()), np.array(["a", "b", "c"])[CLASSES]),
    "two classes": (make_pipeline(MinMaxScaler(), small()), CLASSES > 0),
    "labels": (make_pipeline(StandardScaler(), small()), LABELS),
    "no probabilities": (make_pipeline(StandardScaler(), small(loss="hinge")), TWO),
    "pipeline in a pipeline": (make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), small())), CLASSES),
    "left out": (make_pipeline("passthrough", StandardScaler(), "passthrough", small()), CLASSES),
    "left out first in a pipeline": (make_pipeline(idle(MinMaxScaler()), StandardScaler(), idle(small())), CLASSES),
    "nothing left": (make_pipeline(StandardScaler(), make_pipeline(idle(), None), small()), CLASSES),
    "left out of columns": (
        make_pipeline(
            ColumnTransformer([("a", idle(StandardScaler()), slice(32)), ("b", idle(), slice(32, 64))]), small()
        ),
        CLASSES,
    ),
    "left out of a union": (make_pipeline(make_union(idle(StandardScaler()), PCA(3)), logistic()), CLASSES),
    "left out of a search": (
        make_pipeline(StandardScaler(), GridSearchCV(idle(small()), {"cnnclassifier__alpha": [0, 1]}, cv=2)),
        CLASSES,
    ),
    "left out of a calibration": (
        make_pipeline(StandardScaler(), CalibratedClassifierCV(idle(small(loss="hinge")), cv=2)),
        CLASSES,
    ),
    "left out of a bag": (BaggingClassifier(idle(small()), 2, random_state=0), CLASSES),
    "regressor": (make_pipeline(StandardScaler(), small(CNNRegressor)), TARGETS),
    "targets": (make_pipeline(StandardScaler(), small(CNNRegressor)), np.stack([TARGETS, -TARGETS], axis=1)),
    "features": (make_pipeline(CNNFeatures(small(), "maxpool1"), StandardScaler(), logistic()), CLASSES),
    "union": (make_pipeline(make_union(CNNFeatures(small()), PCA(3)), StandardScaler(), logistic()), CLASSES),
    "columns": (make_pipeline(ColumnTransformer(HALVES), small()), CLASSES),
    "frozen": (make_pipeline(StandardScaler(), FrozenEstimator(small().fit(ROWS, CLASSES))), CLASSES),
    "search": (GridSearchCV(make_pipeline(StandardScaler(), small()), {"cnnclassifier__alpha": [0, 1]}, cv=2), CLASSES),
    "search inside": (make_pipeline(StandardScaler(), GridSearchCV(small(), {"alpha": [0, 1]}, cv=2)), CLASSES),
    "calibrated": (CalibratedClassifierCV(small(), cv=2), CLASSES),
    "calibrated margins": (CalibratedClassifierCV(small(loss="hinge"), cv=2), CLASSES),
    "calibrated margin": (CalibratedClassifierCV(small(loss="squared_hinge"), cv=2), TWO),
    "calibrated afterwards": (CalibratedClassifierCV(FrozenEstimator(small().fit(ROWS, CLASSES))), CLASSES),
    "soft votes": (
        VotingClassifier([("a", small()), ("b", logistic())], voting="soft", flatten_transform=False),
        CLASSES,
    ),
    "hard votes": (
        VotingClassifier([("a", small()), ("b", small(loss="hinge"))], flatten_transform=False),
        TWO,
    ),
    "mean": (VotingRegressor([("a", small(CNNRegressor)), ("b", Ridge())]), TARGETS),
    "stack": (StackingClassifier([("a", small()), ("b", small(activation="tanh"))], logistic(), cv=2), CLASSES),
    "bag": (BaggingClassifier(small(), 2, random_state=0), CLASSES),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AROUND)
def test_around_the_network(name):
    estimator, y = AROUND[name]
    assert_same(estimator.fit(ROWS, y), ROWS)


def test_what_is_exported_stays_as_it_is():
    inner = idle(small())
    estimator = make_pipeline(StandardScaler(), inner).fit(ROWS, CLASSES)
    to_onnx(estimator)
    assert estimator[-1] is inner
    assert [name for name, _ in inner.steps] == ["passthrough", "cnnclassifier"]


def test_the_newest_operators_and_a_class_of_ones_own():
    class Mine(CNNClassifier):
        pass

    estimator = make_pipeline(StandardScaler(), small(Mine)).fit(ROWS, CLASSES)
    assert_same(estimator, ROWS, to_onnx(estimator, opset=OPSETS[1]))
    assert_same(estimator[-1], ROWS)


# skl2onnx looks at all attributes of an SVC, also at those that will go away.
@pytest.mark.filterwarnings("ignore:Attribute `prob[AB]_` was deprecated:FutureWarning")
def test_a_support_vector_machine_on_features():
    estimator = make_pipeline(CNNFeatures(small()), SVC()).fit(ROWS, CLASSES)
    assert_same(estimator, ROWS)


def test_skl2onnx_itself_knows_the_estimators_once_they_are_registered():
    register()
    register()
    estimator = make_pipeline(StandardScaler(), small()).fit(ROWS, CLASSES)
    assert_same(estimator, ROWS, skl2onnx.to_onnx(estimator, ROWS[:1], target_opset=17))
    with pytest.raises(ValueError, match="target_opset=17 or more, got 15"):
        skl2onnx.to_onnx(estimator, ROWS[:1], target_opset=15)


# -- layers and losses of one's own


@description
class Softsign(Activation):
    """y = x / (1 + |x|)."""

    stem = "softsign"

    def record(self, tape, x, p, g):
        size = tape(np.absolute, x, tape.keep(x.shape))
        tape(np.add, size, 1, size)
        y = tape(np.divide, x, size, tape.output(x.shape))

        def backward(dy, needs_dx=True):
            tape(np.divide, dy, size, dy)
            return tape(np.divide, dy, size, dy)

        return y, backward


@description
class ChannelScale(Layer):
    """A learnt factor for each channel."""

    stem = "channelscale"

    def parameters(self, shape):
        return {"scale": Parameter(shape[-1:], 1.0)}

    def record(self, tape, x, p, g):
        y = tape(np.multiply, x, by_channel(tape, p.scale, x), tape.output(x.shape))

        def backward(dy, needs_dx=True):
            record_channel_products(tape, x, dy, g.scale)
            return tape(np.multiply, dy, by_channel(tape, p.scale, dy), dy)

        return y, backward


@description
class Doubted(LogLoss):
    """The link is inherited."""


@description
class Halved(LogLoss):
    """A link of its own."""

    def probabilities(self, raw, exclusive):
        return super().probabilities(raw / 2, exclusive)


def softsign(graph, layer, x, p):
    return graph("Softsign", x)


def channel_scale(graph, layer, x, p):
    return graph("Mul", x, graph.by_channel(p.scale, x, "scale"))


def halved(graph, loss, raw, exclusive):
    half = graph("Mul", raw, 0.5)
    return graph("Softmax", half, attributes={"axis": 1}) if exclusive else graph("Sigmoid", half)


@pytest.mark.parametrize("layers", [[Softsign(), Flatten()], [Residual([Conv2D(3), Softsign()]), Flatten()]], ids=repr)
def test_a_layer_of_ones_own(layers):
    estimator = small(layers=layers).fit(ROWS, CLASSES)
    with pytest.raises(TypeError, match=r"softsign1 = Softsign\(\) has no converter.*converters={Softsign: function}"):
        to_onnx(estimator)
    assert_same(estimator, ROWS, to_onnx(estimator, converters={Softsign: softsign}))
    around = make_pipeline(StandardScaler(), small(layers=layers)).fit(ROWS, CLASSES)
    assert_same(around, ROWS, to_onnx(around, converters={Softsign: softsign}))
    with pytest.raises(TypeError, match="has no converter"):  # it was for one call
        to_onnx(around)


def test_a_layer_of_ones_own_with_parameters():
    layers = [Conv2D(4), ChannelScale(), Flatten(), Dense(5), ChannelScale()]
    estimator = small(layers=layers, learning_rate=0.1, max_iter=4).fit(ROWS, CLASSES)
    model = to_onnx(estimator, converters={ChannelScale: channel_scale})
    assert_same(estimator, ROWS, model)
    assert {"channelscale1.scale", "channelscale2.scale"} <= {constant.name for constant in model.graph.initializer}


def test_a_subclass_may_compute_something_else():
    @description
    class Other(ReLU):
        pass

    estimator = small(layers=[Other(), Flatten()]).fit(ROWS, CLASSES)
    with pytest.raises(TypeError, match="no converter"):
        to_onnx(estimator)
    assert_same(estimator, ROWS, to_onnx(estimator, converters={Other: CONVERTERS[ReLU]}))


@pytest.mark.parametrize("y", [CLASSES, TWO, LABELS], ids=["classes", "two", "labels"])
def test_a_loss_of_ones_own(y):
    assert_same(small(loss=Doubted()).fit(ROWS, y), ROWS)
    estimator = small(loss=Halved()).fit(ROWS, y)
    with pytest.raises(TypeError, match=r"Halved\(\) has no converter.*graph, loss, raw, exclusive"):
        to_onnx(estimator)
    assert_same(estimator, ROWS, to_onnx(estimator, converters={Halved: halved}))


# -- what is refused


def test_what_is_not_fitted():
    for estimator in (small(), CNNFeatures(small()), make_pipeline(StandardScaler(), small())):
        with pytest.raises(NotFittedError):
            to_onnx(estimator)


def test_arguments_are_checked():
    estimator = small().fit(ROWS, CLASSES)
    for opset in (16, 23, "17"):
        with pytest.raises(ValueError, match="opset must be a number from 17 to 22"):
            to_onnx(estimator, opset=opset)
    for converters in ({"Softsign": softsign}, {Softsign: "Softsign"}, {small: softsign}):
        with pytest.raises(TypeError, match="converters must map classes of layers or losses"):
            to_onnx(estimator, converters=converters)


def test_converters_that_give_no_name():
    for converters in ([Softsign], "Softsign", 3):
        with pytest.raises(TypeError, match="converters must be a dict of classes and functions, got "):
            to_onnx(small().fit(ROWS, CLASSES), converters=converters)
    estimator = small(layers=[Softsign(), Flatten()]).fit(ROWS, CLASSES)
    with pytest.raises(TypeError, match=r"converter of softsign1 = Softsign\(\) must return the name.*got None"):
        to_onnx(estimator, converters={Softsign: lambda graph, layer, x, p: None})
    estimator = small(loss=Halved()).fit(ROWS, CLASSES)
    with pytest.raises(TypeError, match=r"converter of Halved\(\) must return the name.*got None"):
        to_onnx(estimator, converters={Halved: lambda graph, loss, raw, exclusive: None})


def test_a_pipeline_that_does_not_know_its_features():
    class Plain(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X

    estimator = make_pipeline(Plain(), small()).fit(ROWS, CLASSES)
    with pytest.raises(ValueError, match=r"Pipeline has an unknown number of features\. Pass initial_types"):
        to_onnx(estimator)


@pytest.mark.parametrize("widths", [[32, 32], [63]])
def test_inputs_that_do_not_fit_are_named(widths):
    kind = skl2onnx.common.data_types.FloatTensorType
    inputs = [(f"X{i}", kind([None, width])) for i, width in enumerate(widths)]
    for estimator in (small().fit(ROWS, CLASSES), CNNFeatures(small()).fit(ROWS, CLASSES)):
        with pytest.raises(
            ValueError, match=rf"one input of 64 features, but the inputs have {re.escape(str(widths))}"
        ):
            to_onnx(estimator, initial_types=inputs)


def test_isotonic_calibration_is_refused():
    estimator = CalibratedClassifierCV(small(), method="isotonic", cv=2).fit(ROWS, CLASSES)
    with pytest.raises(ValueError, match="method='sigmoid'"):
        to_onnx(make_pipeline(estimator))


@pytest.mark.parametrize(
    "inner", [make_pipeline(StandardScaler(), small()), GridSearchCV(small(), {"alpha": [0, 1]}, cv=2)]
)
def test_calibration_around_a_pipeline_or_a_search_is_refused(inner):
    estimator = CalibratedClassifierCV(inner, cv=2).fit(ROWS, CLASSES)
    with pytest.raises(ValueError, match=f"calibrates the probabilities of a {type(inner).__name__}"):
        to_onnx(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [FixedThresholdClassifier, TunedThresholdClassifierCV])
def test_a_threshold_is_refused(cls):
    estimator = cls(small()).fit(ROWS, TWO)
    for around in (estimator, FrozenEstimator(estimator), make_pipeline(StandardScaler(), cls(small())).fit(ROWS, TWO)):
        with pytest.raises(ValueError, match=f"ignores the threshold of a {cls.__name__}.*Export its estimator_"):
            to_onnx(around)
    assert_same(estimator.estimator_, ROWS)


def test_a_frozen_estimator_of_another_package_is_named():
    estimator = make_pipeline(FrozenEstimator(StandardScaler().fit(ROWS)), small()).fit(ROWS, CLASSES)
    with pytest.raises(TypeError, match=r"FrozenEstimator\(estimator=StandardScaler\(\)\)"):
        to_onnx(estimator)


@pytest.mark.parametrize("package", ["onnx", "skl2onnx"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    estimator = make_pipeline(StandardScaler(), small()).fit(ROWS, CLASSES)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"requires {package}\..*pip install 'skcnn\[onnx\]'"):
        to_onnx(estimator)
    if package == "skl2onnx":  # which an estimator alone does not need
        assert len(to_onnx(estimator[-1]).graph.node)


@pytest.mark.slow
def test_the_packages_are_imported_when_they_are_needed():
    code = "import sys, skcnn.onnx; print({'onnx', 'skl2onnx'} & set(sys.modules), end='')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "set()"


def test_losses_that_have_a_link_have_a_converter_for_it():
    from skcnn.onnx.layers import LINKS

    for loss in (case.loss for case in cases.LOSSES):
        method = type(loss).predict if loss.task == "regression" else type(loss).probabilities
        assert method in LINKS or not loss.has_probabilities
    assert Loss.probabilities not in LINKS


# -- the page of the documentation

PAGE = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
LAYERS_OF_PAGE = PAGE[PAGE.index("\n## Exported layers") :]
TABLE = dict(re.findall(r"^\| `(\w+)` \| ([\w ,;]+) \|$", LAYERS_OF_PAGE, flags=re.MULTILINE))


def test_the_page_names_every_layer():
    assert set(TABLE) == {cls.__name__ for cls in CONVERTERS} - {"Bias"}


@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.id)
def test_the_page_names_the_operators(case):
    if type(case.layer).__name__ not in TABLE:
        return  # Bias, which no user writes
    graph = Graph(17, CONVERTERS)
    parameters = {name: np.ones(p.shape) for name, p in case.layer.parameters(case.shape).items()}
    graph.layer("layer1", case.layer, Tensor("X", case.shape), SimpleNamespace(**parameters))
    found = [node.op_type for node in graph.nodes if node.name.startswith("layer1/")]
    forms = [re.findall(r"[A-Z]\w+", form) for form in TABLE[type(case.layer).__name__].split(";")]
    assert found in forms
