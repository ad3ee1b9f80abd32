"""The battery that every row of the table of layers gets."""

import pickle
import threading
import tracemalloc
from itertools import product

import numpy as np
import pytest
from cases import LAYERS
from sklearn.base import clone

import skcnn.layers
from skcnn._engine.network import Network
from skcnn._engine.parallel import one_blas_thread
from skcnn._engine.predictor import Predictor
from skcnn._engine.scaling import no_scaling
from skcnn._tape.arena import Arena
from skcnn.layers import AvgPool2D, BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU
from skcnn.layers.bias import Bias
from skcnn.testing import LayerRun, check_gradients, directional, draw_parameters, inner, run

cases = pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)


def trained(case):
    """Names of the parameters that have gradients."""
    return [name for name, parameter in case.layer.parameters(case.shape).items() if parameter.trainable]


def images(case, rows=5, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, *case.shape))


def network_with(case, before=(), after=()):
    """A network with the case's layer: behind layers that make its input flat where it must be, and flat at the end."""
    shape = case.shape
    if len(case.shape) == 1:
        shape, before = (3, 4, 2), [*before, Flatten(), Dense(case.shape[0])]
    layers = [*before, case.layer, *after]
    flat = len(case.layer.output_shape(case.shape)) == 1
    return Network([*layers, *([] if flat else [Flatten()])], shape, outputs=3)


def predictor(network, *, plain=False, dtype=np.float32, layer="output"):
    """A predictor with random weights; ``plain``: without fusion and folding."""
    rng = np.random.default_rng(2)
    weights, state = (network.initial(layout, rng, np.float64) for layout in (network.weights, network.state))
    weights, state = weights + rng.uniform(-0.2, 0.2, weights.shape), state + rng.uniform(0, 0.5, state.shape)
    bound = weights.astype(dtype), state.astype(dtype), no_scaling(network.input_shape[2])
    found = Predictor(network, *bound, layer=layer, poison=True)
    if plain:
        found.steps, found.parameters = network.lowered, network.bind(*bound[:2])
    return found


@cases
def test_inferred_shape_is_the_real_one(case):
    x = images(case)
    y = run(case.layer, x, draw_parameters(case.layer, case.shape))
    assert y.shape[1:] == case.layer.output_shape(case.shape)


@cases
def test_prediction_equals_the_naive_loops(case):
    x, p = images(case), draw_parameters(case.layer, case.shape)
    np.testing.assert_allclose(run(case.layer, x, p), case.oracle(case.layer, x, p), rtol=1e-12, atol=1e-13)


@cases
def test_forward_of_training_equals_the_naive_loops(case):
    if case.training_oracle == "random":
        pytest.skip("random while training: see test_dropout")
    x, p = images(case), draw_parameters(case.layer, case.shape)
    oracle = case.training_oracle or case.oracle
    y, _, _ = run(case.layer, x, p, dy=np.ones((5, *case.layer.output_shape(case.shape))))
    np.testing.assert_allclose(y, oracle(case.layer, x, p), rtol=1e-12, atol=1e-13)


@cases
def test_gradients_equal_central_differences(case):
    rng = np.random.default_rng(3)
    x, p = images(case), draw_parameters(case.layer, case.shape)
    dy = rng.normal(size=(5, *case.layer.output_shape(case.shape)))
    _, dx, g = run(case.layer, x, p, dy)
    names = trained(case)
    arrays, gradients = [x, *(p[name] for name in names)], [dx, *(g[name] for name in names)]

    def weighted_output(x, *values):
        return float(np.sum(dy * run(case.layer, x, p | dict(zip(names, values, strict=True)), dy)[0]))

    for direction in range(3):
        directions = [rng.normal(size=array.shape) for array in arrays]
        expected = directional(weighted_output, arrays, directions, step=1e-6)
        scale = max(abs(expected), np.sqrt(sum(float(np.sum(a**2)) for a in gradients)))
        assert abs(inner(gradients, directions) - expected) < 1e-7 * scale, f"direction {direction}"


@pytest.mark.parametrize("kind", [MaxPool2D, AvgPool2D])
def test_gradients_of_every_small_window_of_pooling(kind):
    """Pixels that are in no window, in one and in several, at the beginning, in between and at the end."""
    for h, k, stride, padding in product(range(1, 8), range(1, 5), range(1, 5), range(2)):
        if padding < k <= h + 2 * padding:
            check_gradients(kind((k, 1), strides=(stride, 1), padding=(padding, 0)), (h, 1, 1), rows=1)


@cases
def test_batch_equals_its_rows_one_by_one(case):
    x, p = images(case), draw_parameters(case.layer, case.shape)
    rows = [run(case.layer, x[i : i + 1], p) for i in range(len(x))]
    np.testing.assert_allclose(run(case.layer, x, p), np.concatenate(rows), rtol=1e-12, atol=1e-13)


@cases
def test_tapes_over_one_arena_take_turns(case):
    p = draw_parameters(case.layer, case.shape)
    arena = [Arena()]
    layers = list(case.layer.lowered())
    tapes = {n: LayerRun(layers, (n, *case.shape), p, arenas=arena) for n in (5, 3)}
    for turn, n in enumerate((5, 3, 5)):
        x = images(case, n, seed=turn)
        dy = np.random.default_rng(turn).normal(size=(n, *case.layer.output_shape(case.shape)))
        fresh = LayerRun(layers, (n, *case.shape), p)
        for shared_shard, shard in zip(tapes[n].shards, fresh.shards, strict=True):
            shared_shard.tape.rng.bit_generator.state = shard.tape.rng.bit_generator.state
        for mine, expected in zip(tapes[n](x, dy)[:2], fresh(x, dy)[:2], strict=True):
            np.testing.assert_array_equal(mine, expected)


@cases
def test_shards_equal_the_whole_batch(case):
    if case.training_oracle == "random":
        pytest.skip("each shard has a random stream of its own")
    x, p = images(case, 7), draw_parameters(case.layer, case.shape)
    dy = np.random.default_rng(4).normal(size=(7, *case.layer.output_shape(case.shape)))
    whole, parts = (run(case.layer, x, p, dy, shards=shards) for shards in (1, 3))
    for a, b in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)
    for name in trained(case):
        np.testing.assert_allclose(parts[2][name], whole[2][name], rtol=1e-11, atol=1e-12)


@cases
def test_single_precision_equals_double(case):
    if case.training_oracle == "random":
        pytest.skip("random while training")
    x, p = images(case).astype(np.float32), draw_parameters(case.layer, case.shape)
    p = {name: value.astype(np.float32) for name, value in p.items()}
    dy = np.random.default_rng(4).normal(size=(5, *case.layer.output_shape(case.shape))).astype(np.float32)
    single, double = (run(case.layer, x, p, dy, dtype=dtype) for dtype in (np.float32, np.float64))
    assert single[0].dtype == np.float32
    for a, b in zip(single[:2], double[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@cases
def test_eight_threads_predict_what_one_does(case):
    network = network_with(case)
    found = predictor(network)
    rng = np.random.default_rng(7)
    batches = [rng.normal(size=(rows, *network.input_shape)) for rows in (1, 5, 9, 3, 70, 2, 5, 64)]
    expected = [found.raw(x, 1) for x in batches]
    answers = {}

    def work(number):
        answers[number] = [found.raw(batches[number], 1) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answer in answers.items():
        for raw in answer:
            np.testing.assert_array_equal(raw, expected[number])
    assert len(answers) == 8


def surrounded(case):
    """A network in which the case's layer meets what fusion and folding look for."""
    before = [Conv2D(case.shape[2]), BatchNorm()] if len(case.shape) == 3 else [Conv2D(2), BatchNorm()]
    out = case.layer.output_shape(case.shape)
    if len(out) == 1:
        return network_with(case, before, [BatchNorm(), ReLU()])
    return network_with(case, before, [BatchNorm(), ReLU(), *([MaxPool2D()] if min(out[:2]) > 1 else [])])


@cases
def test_fused_and_folded_prediction_equals_the_plain_one(case):
    network = surrounded(case)
    x = np.random.default_rng(5).normal(size=(4, *network.input_shape))
    fused = predictor(network, dtype=np.float64)
    plain = predictor(network, plain=True, dtype=np.float64)
    assert ("batchnorm1", BatchNorm()) not in fused.steps
    assert len(fused.steps) < len(plain.steps)
    np.testing.assert_allclose(fused.raw(x), plain.raw(x), rtol=1e-9, atol=1e-11)


@cases
def test_description_is_a_value(case):
    layer = case.layer
    again = eval(repr(layer), vars(skcnn.layers) | {"Bias": Bias})
    assert again == layer
    assert hash(again) == hash(layer)
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert clone(layer, safe=False) is layer
    assert layer != type(layer)(**(layer.get_params() | _another(layer))) or not layer.get_params()


def _another(layer):
    """One field with another value."""
    for name, value in layer.get_params().items():
        return {name: not value if isinstance(value, bool) else (7 if value != 7 else 8)}
    return {}


@cases
def test_replays_allocate_nothing(case):
    x = images(case)
    dy = np.zeros((5, *case.layer.output_shape(case.shape)))
    recorded = LayerRun(list(case.layer.lowered()), x.shape, draw_parameters(case.layer, case.shape))

    def replay():
        for shard in recorded.shards:
            for segment in range(len(shard.tape.segments)):
                shard.tape.replay(segment)

    with one_blas_thread:
        recorded(x, dy)
        tracemalloc.start()
        try:
            replay()
            memory = [tracemalloc.get_traced_memory()[0]]
            for _ in range(3):  # another thread may allocate meanwhile, but hardly every time
                for _ in range(20):
                    replay()
                memory.append(tracemalloc.get_traced_memory()[0])
            assert np.diff(memory).min() < 2_000
        finally:
            tracemalloc.stop()
