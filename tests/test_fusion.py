"""The rewrite table: which steps are left, and that they compute the same."""

import numpy as np
import pytest
from networks import NETWORKS

import skcnn._engine.network
from skcnn._engine import fusion
from skcnn._engine.fusion import fold, fuse
from skcnn._engine.network import Network
from skcnn._engine.predictor import Predictor
from skcnn._engine.scaling import no_scaling
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import (
    BatchNorm,
    Clip,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalMaxPool2D,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    ReLU6,
    Rescaling,
    Residual,
    SeparableConv2D,
    WhiteningConv2D,
)
from skcnn.losses import LogLoss


def residual_block(filters, strides=1):
    """Two convolutions with batch norm, a shortcut and a ReLU."""
    first = [Conv2D(filters, strides=strides, use_bias=False), BatchNorm(), ReLU()]
    return [Residual([*first, Conv2D(filters, use_bias=False), BatchNorm()]), ReLU()]


CONV = ["Conv2D", "MaxPool2D", "Rectified(Bias)"]
NORM = ["Conv2D", "Rectified(BatchNorm)", "Conv2D", "Rectified(PooledBatchNorm)"]
FOLDED_NORM = ["Conv2D", "Rectified(Bias)", *CONV]
HEAD = ["Flatten", "Dense", "Rectified(Bias)", "Dense", "Bias"]
DROPPED = ["Flatten", "Dense", "Rectified(Bias)", "Dropout", "Dense", "Bias"]
PLAIN = [*CONV, *CONV, *HEAD]
FUSED = {"N1": PLAIN, "N2": PLAIN, "N3": [*NORM, *NORM, *DROPPED], "N4": PLAIN}
FOLDED = {**FUSED, "N3": [*FOLDED_NORM, *FOLDED_NORM, *DROPPED]}


def names(steps):
    found = [(type(layer).__name__, getattr(layer, "layer", None)) for _, layer in steps]
    return [f"{name}({type(inner).__name__})" if inner is not None else name for name, inner in found]


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_of_the_reference_networks(name):
    network = Network(NETWORKS[name].layers, NETWORKS[name].input_shape, 10)
    assert names(fuse(network.lowered)) == FUSED[name]
    rng = np.random.default_rng(0)
    weights, state = (network.initial(layout, rng, np.float32) for layout in (network.weights, network.state))
    steps, _ = fold(network.lowered, network.bind(weights, state))
    assert names(fuse(steps)) == FOLDED[name]


def gradients(network, steps, monkeypatch):
    """The gradient, the loss and the running statistics of one step of training, computed by the given steps."""
    monkeypatch.setattr(skcnn._engine.network, "fuse", lambda lowered: steps)
    rng = np.random.default_rng(1)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights += rng.normal(0, 0.8, weights.shape)  # so that some scales of batch norms are negative
    gradient, total = np.zeros_like(weights), np.zeros(1)
    tape = Tape(np.float64, Batch(6), training=True, rng=np.random.default_rng(2), poison=True)
    x, y, w = tape.input((6, *network.input_shape)), np.arange(6) % 3, np.ones(6)
    x[...] = rng.normal(size=x.shape)
    p, g = network.bind(weights, state), network.bind(gradient)
    scaling = no_scaling(network.input_shape[2])
    network.record_training(tape, x, y, w, p=p, g=g, scaling=scaling, loss=LogLoss(), total=total)
    tape.replay(0)
    return gradient, total, state


@pytest.mark.parametrize(
    "layers",
    [
        [Conv2D(4), ReLU(), MaxPool2D(), Flatten()],
        [Conv2D(17), ReLU(), MaxPool2D(3, strides=2), Conv2D(3), ReLU(), GlobalMaxPool2D()],
        [Conv2D(4), BatchNorm(), ReLU(), MaxPool2D(padding="same"), Flatten(), Dense(5), ReLU()],
        [Conv2D(6), BatchNorm(), MaxPool2D(3, strides=2), Conv2D(20), BatchNorm(), ReLU(), MaxPool2D(), Flatten()],
        [BatchNorm(), MaxPool2D(strides=1), ReLU(), Conv2D(18), BatchNorm(), ReLU(), GlobalMaxPool2D()],
        [
            BatchNorm(scale=False, offset=False),
            Conv2D(6, use_bias=False),
            BatchNorm(scale=False),
            MaxPool2D(3, strides=2),
            Conv2D(18),
            BatchNorm(offset=False),
            ReLU(),
            MaxPool2D(),
            Conv2D(4),
            BatchNorm(scale=False, offset=False),
            ReLU(),
            Flatten(),
        ],
        [Conv2D(4, padding="valid"), LeakyReLU(), MaxPool2D(), Flatten(), Dense(5), BatchNorm(), ReLU()],
        [SeparableConv2D(4), BatchNorm(), ReLU(), DepthwiseConv2D(depth_multiplier=2), ReLU(), MaxPool2D(), Flatten()],
        [Conv2D(4), GroupNorm(2), ReLU(), Conv2D(18, padding=1), LayerNorm(), ReLU(), MaxPool2D(), Flatten()],
        [Conv2D(4), MaxPool2D(), ReLU(), Dropout(0.3), MaxPool2D(), ReLU(), Flatten()],
        [Conv2D(5), *residual_block(5), MaxPool2D(), *residual_block(17, strides=2), Flatten(), Dense(5), ReLU()],
        [Residual([*residual_block(4), Dropout(0.3), Conv2D(3), ReLU(), MaxPool2D()]), ReLU(), GlobalMaxPool2D()],
        [Residual([Conv2D(4), BatchNorm(), ReLU(), MaxPool2D()]), Conv2D(17), BatchNorm(), ReLU(), Flatten()],
        [
            Conv2D(4),
            ReLU6(),
            Conv2D(17, use_bias=False),
            BatchNorm(),
            ReLU6(),
            DepthwiseConv2D(),
            Clip(-0.5, None),
            MaxPool2D(),
            Residual([Conv2D(17), GroupNorm(17), Clip(-0.3, 0.4)]),
            ReLU6(),
            Flatten(),
            Dense(5),
            ReLU6(),
        ],
        [
            Residual([Conv2D(4), BatchNorm(scale=False, offset=False), ReLU(), Rescaling(0.5), WhiteningConv2D(2)]),
            ReLU(),
            Concatenate([[Conv2D(3), BatchNorm(scale=False), MaxPool2D()], [MaxPool2D(), BatchNorm(offset=False)]]),
            ReLU(),
            WhiteningConv2D(2),
            BatchNorm(scale=False),
            ReLU(),
            Flatten(),
            Rescaling(1 / 9),
        ],
        [Concatenate([[Conv2D(3), ReLU(), MaxPool2D()], [MaxPool2D(), BatchNorm()]]), ReLU(), Conv2D(4), Flatten()],
    ],
    ids=repr,
)
def test_fused_training_equals_the_plain_one(layers, monkeypatch):
    network = Network(layers, (8, 7, 2), 3)
    fused = fuse(network.lowered)
    assert fused != network.lowered
    for mine, plain in zip(*(gradients(network, s, monkeypatch) for s in (fused, network.lowered)), strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("norm", [BatchNorm(), BatchNorm(scale=False), BatchNorm(offset=False)], ids=repr)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("front", [Conv2D(5), Dense(5), DepthwiseConv2D(depth_multiplier=2), SeparableConv2D(5)])
def test_folding_changes_kernel_and_bias_only_of_the_layer_in_front(front, use_bias, norm):
    flat = isinstance(front, Dense)
    layers = [*([Flatten()] if flat else []), front.replaced(use_bias=use_bias), norm]
    network = Network([*layers, *([] if flat else [Flatten()])], (4, 4, 2), 3)
    rng = np.random.default_rng(3)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights += rng.uniform(-0.5, 0.5, weights.shape)
    state += rng.uniform(0.1, 0.5, state.shape)
    p = network.bind(weights, state)
    steps, folded = fold(network.lowered, p)
    name = network.names[1 if flat else 0]
    key = "pointwise_kernel" if isinstance(front, SeparableConv2D) else "kernel"
    own = {"scale": 1.0, "offset": 0.0} | vars(p["batchnorm1"])
    scale = own["scale"] / np.sqrt(own["running_variance"] + 1e-5)
    np.testing.assert_allclose(vars(folded[name])[key], vars(p[name])[key] * scale)
    for other in set(front.parameters((4, 4, 2))) - {key, "bias"}:
        assert vars(folded[name])[other] is vars(p[name])[other]
    bias = getattr(p[name], "bias", 0) - own["running_mean"]
    np.testing.assert_allclose(folded[name].bias, bias * scale + own["offset"])
    assert folded["output"] is p["output"]
    assert "BatchNorm" not in names(steps)


@pytest.mark.parametrize("front", [Conv2D(5), Conv2D(5, use_bias=False), Dense(5)], ids=str)
def test_a_large_kernel_is_not_copied_to_fold_batch_norm_into_it(front, monkeypatch):
    flat = isinstance(front, Dense)
    layers = [Flatten(), front, BatchNorm(), ReLU()] if flat else [front, BatchNorm(), MaxPool2D(), ReLU(), Flatten()]
    network = Network(layers, (4, 4, 2), 3)
    rng = np.random.default_rng(3)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights += rng.uniform(-0.5, 0.5, weights.shape)
    state += rng.uniform(0.1, 0.5, state.shape)
    X = rng.normal(size=(6, 4, 4, 2))
    folded = Predictor(network, weights, state, no_scaling(2))
    monkeypatch.setattr(fusion, "LARGE", 1)
    plain = Predictor(network, weights, state, no_scaling(2))
    name = network.names[1 if flat else 0]
    assert np.shares_memory(plain.parameters[name].kernel, weights)
    assert not np.shares_memory(folded.parameters[name].kernel, weights)
    np.testing.assert_allclose(plain.raw(X), folded.raw(X), rtol=1e-12)


def test_batch_norm_that_follows_no_product_stays():
    network = Network([BatchNorm(), Conv2D(3), ReLU(), BatchNorm(), Flatten()], (4, 4, 2), 3)
    rng = np.random.default_rng(0)
    bound = network.bind(*(network.initial(layout, rng, np.float64) for layout in (network.weights, network.state)))
    assert names(fold(network.lowered, bound)[0]) == names(network.lowered)


def test_steps_inside_of_branches():
    network = Network([*residual_block(16), GlobalMaxPool2D()], (8, 8, 3), 10)
    rng = np.random.default_rng(0)
    bound = network.bind(*(network.initial(layout, rng, np.float64) for layout in (network.weights, network.state)))
    fused, folded = fuse(network.lowered), fuse(fold(network.lowered, bound)[0])
    for steps, inside in (
        (fused, ["Conv2D", "Rectified(BatchNorm)", "Conv2D", "BatchNorm"]),
        (folded, ["Conv2D", "Rectified(Bias)", "Conv2D", "Bias"]),
    ):
        assert names(steps) == ["Branches", "GlobalMaxPool2D", "ReLU", "Dense", "Bias"]
        branches = next(layer for _, layer in steps if hasattr(layer, "branches"))
        assert [names(branch) for branch in branches.branches] == [inside, ["Projection"]]


def test_a_sum_and_its_relu_become_one_step():
    network = Network([*residual_block(16), Conv2D(4), Flatten()], (8, 8, 3), 10)
    assert names(fuse(network.lowered))[0] == "Rectified(Branches)"


@pytest.mark.parametrize("activation", [ReLU(), ReLU6(), Clip(-0.5, 0.5), Clip(None, 1.0)], ids=repr)
@pytest.mark.parametrize("front", [Conv2D(18, use_bias=True), BatchNorm(), Residual([Conv2D(2)])], ids=repr)
def test_an_activation_that_has_been_joined_gives_the_same_bits(front, activation, monkeypatch):
    network = Network([front, activation, Conv2D(4), Flatten()], (8, 7, 2), 3)
    fused = fuse(network.lowered)
    assert sum(name.startswith("Rectified") for name in names(fused)) == 1
    for mine, plain in zip(*(gradients(network, s, monkeypatch) for s in (fused, network.lowered)), strict=True):
        np.testing.assert_array_equal(mine, plain)


def test_folding_inside_of_branches_changes_kernels_there():
    network = Network([*residual_block(4), Flatten()], (4, 4, 2), 3)
    rng = np.random.default_rng(3)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights += rng.uniform(-0.5, 0.5, weights.shape)
    state += rng.uniform(0.1, 0.5, state.shape)
    p = network.bind(weights, state)
    before, folded = vars(p["residual1"]), vars(fold(network.lowered, p)[1]["residual1"])
    scale = before["batchnorm1.scale"] / np.sqrt(before["batchnorm1.running_variance"] + 1e-5)
    np.testing.assert_allclose(folded["conv1.kernel"], before["conv1.kernel"] * scale)
    bias = before["batchnorm1.offset"] - before["batchnorm1.running_mean"] * scale
    np.testing.assert_allclose(folded["conv1.bias"], bias)
    assert folded["shortcut.kernel"] is before["shortcut.kernel"]
    assert not any(name.startswith("batchnorm") for name in folded)
