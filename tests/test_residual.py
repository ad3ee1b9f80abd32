"""Layers that hold others: names, nested parameters, errors, and what they do in a model."""

import pickle
import threading

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skcnn._tape.tape
import skcnn.layers.pooling
from skcnn import CNNClassifier, profile
from skcnn._arrays.elementwise import copy
from skcnn._engine.network import Network
from skcnn._engine.scaling import no_scaling
from skcnn._tape.tape import Batch, Tape
from skcnn.description import description
from skcnn.layers import (
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Gate,
    GlobalAvgPool2D,
    MaxPool2D,
    ReLU,
    Residual,
    ShapeError,
    SiLU,
    Tanh,
)
from skcnn.losses import LogLoss

BLOCK = [Conv2D(16, strides=2, use_bias=False), BatchNorm(), ReLU(), Residual([Conv2D(16), Dropout(0.2)])]
LAYERS = [
    Conv2D(6),
    Residual(BLOCK),
    ReLU(),
    Concatenate([[Conv2D(4, kernel_size=1)], [MaxPool2D(3, strides=1, padding="same"), Conv2D(5)], []]),
    Residual([Conv2D(7)], shortcut=[AvgPool2D(1), Conv2D(7, kernel_size=1)]),
    Residual([Conv2D(3)], shortcut=Conv2D(3, kernel_size=5)),
    Gate([GlobalAvgPool2D(), Dense(5), Tanh()], around=[Conv2D(5)]),
    Flatten(),
]
NAMES = [
    *("conv1.kernel", "conv1.bias"),
    *("residual1.conv1.kernel", "residual1.batchnorm1.scale", "residual1.batchnorm1.offset"),
    *("residual1.residual1.conv1.kernel", "residual1.residual1.conv1.bias", "residual1.shortcut.kernel"),
    *("concatenate1.branch1.conv1.kernel", "concatenate1.branch1.conv1.bias"),
    *("concatenate1.branch2.conv1.kernel", "concatenate1.branch2.conv1.bias"),
    *("residual2.conv1.kernel", "residual2.conv1.bias"),
    *("residual2.shortcut.conv1.kernel", "residual2.shortcut.conv1.bias"),
    *("residual3.conv1.kernel", "residual3.conv1.bias", "residual3.shortcut.kernel", "residual3.shortcut.bias"),
    *("gate1.dense1.kernel", "gate1.dense1.bias", "gate1.around.conv1.kernel", "gate1.around.conv1.bias"),
    *("output.kernel", "output.bias"),
]


def model(**options):
    return CNNClassifier(layers=LAYERS, max_iter=2, random_state=0, **options)


@pytest.fixture(scope="module")
def fitted(digits):
    return model().fit(*digits)


def test_parameters_are_named_after_the_layers_inside(fitted):
    assert list(fitted.parameters_) == NAMES
    assert sorted(fitted.state_) == ["residual1.batchnorm1.running_mean", "residual1.batchnorm1.running_variance"]
    assert fitted.parameters_["residual1.shortcut.kernel"].shape == (1, 1, 6, 16)
    assert fitted.n_parameters_ == sum(value.size for value in fitted.parameters_.values())


def test_the_summary_counts_every_layer_once(fitted):
    rows = {row.name: row for row in fitted.summary().layers}
    assert sum(row.parameters for row in rows.values()) == fitted.n_parameters_
    assert sum(row.multiply_adds for row in rows.values()) == fitted._model.network.multiply_adds
    assert rows["residual1.residual1.conv1"].output_shape == (4, 4, 16)
    assert rows["residual1.residual1.conv1"].multiply_adds == 4 * 4 * 16 * 9 * 16
    assert rows["concatenate1"].output_shape == (4, 4, 25)
    names = list(rows)
    assert names.index("residual1.shortcut") < names.index("residual1") < names.index("relu1")


def test_the_profile_shows_the_steps_inside(fitted, digits):
    for found in (profile(fitted, *digits, repeats=1), profile(fitted, digits[0], repeats=1)):
        names = {step.name for step in found.steps}
        assert names >= {"residual1.conv1", "residual1.residual1.conv1", "residual1.shortcut", "residual1"}


def test_nested_fields_are_read_and_set():
    estimator = model()
    found = estimator.get_params()
    assert found["layers__residual1__conv1__filters"] == 16
    assert found["layers__residual1__residual1__dropout1__rate"] == 0.2
    assert found["layers__residual1__shortcut"] == "auto"
    assert found["layers__concatenate1__branch2__conv1__filters"] == 5
    assert found["layers__residual2__shortcut__conv1__kernel_size"] == 1
    assert found["layers__residual3__shortcut__kernel_size"] == 5
    estimator.set_params(
        layers__residual1__residual1__dropout1__rate=0.3,
        layers__concatenate1__branch2__conv1__filters=9,
        layers__residual2__shortcut__conv1__kernel_size=3,
        layers__residual3__shortcut__kernel_size=1,
        layers__residual1__conv1=Conv2D(16, strides=2),
        layers__gate1__around__conv1__filters=4,
        layers__gate1__dense1__units=4,
    )
    assert estimator.layers[6] == Gate([GlobalAvgPool2D(), Dense(4), Tanh()], around=[Conv2D(4)])
    assert estimator.layers[1] == Residual(
        [Conv2D(16, strides=2), *BLOCK[1:3], Residual([Conv2D(16), Dropout(0.3)])],
    )
    assert estimator.layers[3].branches[1][1] == Conv2D(9)
    assert estimator.layers[4].shortcut == [AvgPool2D(1), Conv2D(7, kernel_size=3)]
    assert estimator.layers[5].shortcut == Conv2D(3, kernel_size=1)
    assert LAYERS[1] == Residual(BLOCK), "descriptions never change"
    assert LAYERS[3].branches[1][1] == Conv2D(5)
    estimator.set_params(layers__residual3__shortcut="auto")
    assert estimator.layers[5] == Residual([Conv2D(3)])


@pytest.mark.parametrize("path", NAMES[:-2])
def test_every_name_of_a_parameter_is_a_nested_name(path):
    owner = path.rpartition(".")[0].replace(".", "__")
    if owner != "residual1__shortcut":  # the convolution that "auto" stands for is not a field of anything
        assert any(name.startswith(f"layers__{owner}__") for name in model().get_params())


def test_unknown_nested_names_list_what_there_is():
    with pytest.raises(ValueError, match=r"Residual has no layer 'conv9'. Its layers are: conv1, batchnorm1, relu1"):
        model().set_params(layers__residual1__conv9__filters=3)
    with pytest.raises(ValueError, match=r"Conv2D has no parameter 'rate'"):
        model().set_params(layers__residual1__residual1__conv1__rate=3)
    with pytest.raises(ValueError, match=r"Residual has no parameter 'filters'. Its parameters are: layers, shortcut"):
        model().set_params(layers__residual1__filters=3)


def test_search_over_a_layer_inside(digits):
    grid = {"layers__residual1__residual1__dropout1__rate": [0.0, 0.5], "layers__residual1__shortcut": ["auto"]}
    search = GridSearchCV(model(), grid, cv=2, error_score="raise").fit(*digits)
    assert len(search.cv_results_["params"]) == 2


def test_lists_stay_lists_and_are_values():
    one, other = Residual([Conv2D(3), ReLU()]), Residual((Conv2D(3), ReLU()))
    assert one.layers == [Conv2D(3), ReLU()]
    assert one == other
    assert hash(one) == hash(other)
    assert one != Residual([Conv2D(4), ReLU()])
    assert Concatenate([[Conv2D(3)], []]) == Concatenate(([Conv2D(3)], ()))
    assert repr(Concatenate([[Conv2D(3)], []])) == "Concatenate([[Conv2D(3)], []])"
    assert repr(Residual([ReLU()], shortcut=[])) == "Residual([ReLU()], shortcut=[])"


def test_a_list_that_is_changed_later_does_not_change_the_fitted_model(digits):
    X, y = digits
    inside = [Conv2D(3)]
    fitted = CNNClassifier(layers=[Residual(inside), Flatten()], max_iter=1, random_state=0).fit(X, y)
    expected = fitted.predict_proba(X)
    inside.append(Conv2D(5))
    assert fitted.layers_ == [Residual([Conv2D(3)]), Flatten()]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), expected)


@pytest.mark.parametrize(
    "layer", [Residual(3), Residual([], shortcut=3), Concatenate(3), Concatenate([3]), Gate(3), Gate([], 3)], ids=repr
)
def test_what_is_no_list_can_be_looked_at_and_set_right(layer):
    estimator = CNNClassifier(layers=[layer])
    field = next(iter(layer.get_params()))
    name = f"layers__{layer.stem}1__{field}"
    assert estimator.get_params()[name] == getattr(layer, field)
    assert clone(estimator).set_params(**{name: [[ReLU()]]}).layers[0].get_params()[field] == [[ReLU()]]
    assert type(layer).__name__ in repr(estimator)


def test_clones_pickles_and_files_of_the_fitted_model(fitted, digits):
    X, y = digits
    again = clone(fitted).fit(X, y)
    assert clone(fitted).layers == LAYERS
    loaded = pickle.loads(pickle.dumps(fitted))
    assert loaded.layers_ == LAYERS
    for other in (again, loaded):
        np.testing.assert_array_equal(other.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.usefixtures("small_shards")  # which meet inside of a branch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_for_every_number_of_threads(digits, dtype):
    X, y = digits
    one, two = (model(dtype=dtype, n_jobs=n, batch_size=60).fit(X, y) for n in (1, 2))
    for name, value in one.parameters_.items():
        np.testing.assert_array_equal(two.parameters_[name], value, err_msg=name)
    np.testing.assert_array_equal(one.state_["residual1.batchnorm1.running_mean"],
                                  two.state_["residual1.batchnorm1.running_mean"])  # fmt: skip
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_eight_threads_predict_what_one_does(fitted, digits):
    X, _ = digits
    sizes = [1, 120, 7, 64, 33, 2, 90, 5]
    expected = [fitted.predict_proba(X[:n]) for n in sizes]
    answers = {}

    def work(number):
        answers[number] = [fitted.predict_proba(X[: sizes[number]]) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    for number, answer in answers.items():
        for found in answer:
            np.testing.assert_array_equal(found, expected[number])


def gradient(layers, shape, dtype, rows=24):
    """The gradient of the loss at random weights, of a tape whose buffers are poisoned."""
    network = Network(layers, shape, 4)
    rng = np.random.default_rng(1)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights += rng.normal(0, 0.1, weights.shape)
    weights, state, found = weights.astype(dtype), state.astype(dtype), np.zeros(len(weights), dtype)
    tape = Tape(dtype, Batch(rows), training=True, poison=True)
    x = tape.input((rows, *shape))
    x[...] = rng.normal(size=x.shape)
    p, g, scaling = network.bind(weights, state), network.bind(found), no_scaling(shape[2])
    target, row_weights = np.arange(rows) % 4, np.ones(rows)
    network.record_training(tape, x, target, row_weights, p=p, g=g, scaling=scaling, loss=LogLoss(), total=np.zeros(1))
    tape.replay(0)
    return found


@pytest.mark.parametrize(
    ("activation", "tolerance"),
    [(SiLU(), 1e-5), (ReLU(), 1e-3)],  # rounding decides one of 100,000 ReLUs otherwise, and a SiLU not at all
    ids=repr,
)
def test_borders_inside_of_branches_harm_nothing(activation, tolerance):
    """In single precision convolutions of 16 channels ask for borders."""
    block = [Conv2D(16), activation, Conv2D(16), activation]
    layers = [
        *(Conv2D(16), activation, Residual(block), activation),
        Residual([Residual(block), activation, MaxPool2D(2)]),
        Concatenate([block, [], [MaxPool2D(3, strides=1, padding="same"), *block]]),
        *(activation, Conv2D(16), activation, Concatenate([[Conv2D(4), GlobalAvgPool2D()], [GlobalAvgPool2D()]])),
    ]
    single, double = (gradient(layers, (12, 12, 16), dtype) for dtype in (np.float32, np.float64))
    assert np.isfinite(single).all()
    assert np.linalg.norm(single - double) < tolerance * np.linalg.norm(double)


@pytest.mark.parametrize("layer", [Residual([Conv2D(3)]), Concatenate([[Conv2D(3)], []])], ids=repr)
def test_what_branches_give_is_written_into_the_border_that_comes_next(layer):
    network = Network([Conv2D(3), ReLU(), layer, ReLU(), Conv2D(4), Flatten()], (20, 20, 1), 2)
    tape = Tape(np.float64, Batch(32))
    weights = network.initial(network.weights, np.random.default_rng(0), np.float64)
    steps, p = network.prediction_steps(network.bind(weights))
    network.record_prediction(tape, tape.input((32, 20, 20, 1)), steps=steps, p=p, scaling=no_scaling(1))
    calls = zip(tape.segments[0], tape.owners[0], strict=True)
    copied = {owner for (f, (x, *_)), owner in calls if f is copy and x.ndim == 4 and x.shape[:2] == (20, 20)}
    assert not copied & {"conv2", "residual1.conv1", "concatenate1.branch1.conv1"}


def test_no_gradient_is_computed_that_nobody_needs(monkeypatch):
    """Parameters in one branch only, in front of which there are none: the other has nothing to do backwards."""

    def record_max_gradient(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(skcnn.layers.pooling, "record_max_gradient", record_max_gradient)
    assert gradient([Concatenate([[MaxPool2D()], [Conv2D(2, strides=2)]]), Flatten()], (4, 4, 2), np.float64).all()
    with pytest.raises(AssertionError):
        gradient([Conv2D(2), Concatenate([[MaxPool2D()], [ReLU(), MaxPool2D()]]), Flatten()], (4, 4, 2), np.float64)


@pytest.mark.parametrize(
    ("layer", "kind", "said"),
    [
        (Residual(Conv2D(3)), ValueError, r"layers must be a list of layers, got Conv2D\(3\)"),
        (Residual([Conv2D(0)]), ValueError, r"layers\[0\] = Residual.*its layers\[0\] = Conv2D\(0\): filters must be"),
        (Residual([Conv2D]), TypeError, r"layers\[0\]=Conv2D is a class. Pass an object"),
        (Residual([ReLU(), 3]), TypeError, r"layers\[1\] must be a layer, got 3"),
        (Residual([ReLU()], shortcut="none"), ValueError, r"shortcut must be 'auto', a layer or a list"),
        (Residual([ReLU()], shortcut=[2]), TypeError, r"shortcut\[0\] must be a layer, got 2"),
        (Residual([Conv2D(3, padding="valid")]), ShapeError, r"turn it into \(6, 6, 3\), which no strided.*'same'"),
        (Residual([Flatten()]), ShapeError, r"layers\[0\] = Residual.*\(8, 8, 1\): its layers turn it into \(64,\)"),
        (Residual([ReLU(), Dense(3)]), ShapeError, r"its layers\[1\] = Dense\(3\) cannot take .*needs a flat input"),
        (Residual([ReLU()], shortcut=Conv2D(2)), ShapeError, r"into \(8, 8, 1\), but its shortcut into \(8, 8, 2\)"),
        (Residual([ReLU()], shortcut=Dense(2)), ShapeError, r"its shortcut\[0\] = Dense\(2\) cannot take"),
        (Residual([Residual([Dense(3)])]), ShapeError, r"its layers\[0\] = Residual.*its layers\[0\] = Dense\(3\)"),
        (Concatenate([]), ValueError, r"branches must be a list of one or more lists"),
        (Concatenate(3), ValueError, r"branches must be a list of one or more lists of layers, got 3"),
        (Concatenate([Conv2D(3)]), ValueError, r"branches\[0\] must be a list of layers, got Conv2D\(3\)"),
        (Concatenate([[], [Conv2D(0)]]), ValueError, r"its branches\[1\]\[0\] = Conv2D\(0\): filters must be"),
        (Concatenate([[], [MaxPool2D()]]), ShapeError, r"\(8, 8, 1\), \(4, 4, 1\), which differ in more than"),
        (Gate([Conv2D(2)]), ShapeError, r"layers turn it into \(8, 8, 2\), which does not fit \(8, 8, 1\); .* \(1,\)"),
        (Gate([Dense(2)]), ShapeError, r"its layers\[0\] = Dense\(2\) cannot take"),
        (Gate([], around=[Conv2D(0)]), ValueError, r"its around\[0\] = Conv2D\(0\): filters must be"),
        (Concatenate([[], [Dense(2)]]), ShapeError, r"its branches\[1\]\[0\] = Dense\(2\) cannot take .*\(8, 8, 1\)"),
    ],
    ids=repr,
)
def test_errors_name_the_layer_inside(layer, kind, said, digits):
    with pytest.raises(kind, match=said):
        CNNClassifier(layers=[layer, Flatten()], max_iter=1).fit(*digits)


@pytest.mark.parametrize(
    ("size", "out", "stride"), [(8, 4, 2), (7, 4, 2), (7, 3, 3), (7, 2, 4), (9, 1, 9), (32, 8, 4), (5, 5, 1)]
)
def test_the_projection_takes_the_smallest_stride(size, out, stride):
    pool = AvgPool2D(1, strides=-(-size // out) if out > 1 else size, padding="same")
    assert pool.output_shape((size, 3, 2))[0] == out
    layer = Residual([AvgPool2D(1, strides=(stride, 1)), Conv2D(4)])
    (shortcut,) = [part for name, part, _ in layer.inside((size, 3, 2)) if name == "shortcut"]
    assert shortcut.output_shape((size, 3, 2)) == layer.output_shape((size, 3, 2)) == (out, 3, 4)
    assert shortcut.strides == (1 if stride == 1 else (stride, 1))


def test_what_is_nested_deeply_is_bound_in_good_time():
    asked = []

    @description
    class Asked(ReLU):
        def output_shape(self, shape):
            asked.append(shape)
            return shape

    def inferred(depth):
        layer = Asked()
        for _ in range(depth):
            layer = Residual([layer])
        asked.clear()
        Network([layer, Flatten()], (4, 4, 1), 2)
        return len(asked)

    assert inferred(12) < 3 * inferred(6)


def test_learns_what_the_plain_layers_cannot_pass_on(digits):
    """Through a branch that gives nothing at all, only the shortcut can carry the images."""
    X, y = digits
    dead = [Conv2D(8, kernel_initializer="zeros", use_bias=False), ReLU()]
    options = {"max_iter": 30, "random_state": 0, "learning_rate": 0.01}
    plain = CNNClassifier(layers=[Conv2D(8), ReLU(), *dead, Flatten()], **options).fit(X, y)
    residual = CNNClassifier(layers=[Conv2D(8), ReLU(), Residual(dead), Flatten()], **options).fit(X, y)
    assert plain.score(X, y) < 0.3
    assert residual.score(X, y) > 0.95
