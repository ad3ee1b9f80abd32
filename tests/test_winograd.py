"""Winograd's convolution against the direct one, forward and backward."""

from types import SimpleNamespace

import numpy as np
import pytest

from skcnn._engine.network import Network
from skcnn._engine.predictor import Predictor
from skcnn._engine.scaling import no_scaling
from skcnn._tape import convolution, phases, winograd
from skcnn._tape.tape import Batch, Tape
from skcnn._tape.winograd import TILES, Tiling, cut, transforms
from skcnn.layers import Conv2D, GlobalAvgPool2D
from skcnn.testing import draw_parameters, run

SHAPES = [
    (4, 4, 16, 16), (8, 8, 16, 20), (6, 6, 17, 16), (7, 9, 16, 16), (5, 13, 18, 17), (1, 8, 16, 16), (2, 2, 16, 16),
    (3, 3, 40, 16), (16, 12, 16, 33), (14, 14, 24, 16),
]  # fmt: skip


@pytest.fixture
def always(monkeypatch):
    """Winograd wherever it is possible, in double precision too, where rounding cannot hide a mistake."""

    def choose(*m):
        def tiling(dtype, geometry, *sizes, **options):
            inside = geometry if geometry.is_plain else phases.plain(geometry)
            axes = zip(inside.out, inside.kernel, m, strict=True)
            return Tiling(*(cut_as_wanted(*axis) for axis in axes))

        monkeypatch.setattr(convolution, "choose_tiling", tiling)

    return choose


def cut_as_wanted(size, k, m):
    """In tiles of m; of a pair, in as many of the first as fit and the rest in tiles of the second."""
    m, rest = m if isinstance(m, tuple) else (m, None)
    return cut(size, k, m, rest if size > m and size % m else None)


WINDOWS = [
    ((3, 3), (2, 2)), ((3, 3), (4, 4)), ((3, 3), (6, 6)), ((3, 3), (4, 6)), ((3, 3), (7, 8)), ((5, 5), (2, 4)),
    ((5, 5), (6, 4)), ((7, 7), (2, 2)), ((7, 7), (4, 4)), ((1, 5), (1, 6)), ((5, 3), (4, 2)), ((7, 1), (2, 1)),
    ((4, 4), (5, 7)), ((2, 4), (7, 2)),
    ((3, 3), ((6, 2), (6, 4))), ((3, 3), ((8, 4), (4, 2))), ((5, 3), ((4, 2), (4, 2))), ((1, 5), (1, (4, 2))),
    ((3, 3), (4, 1)), ((3, 3), ((8, 2), 1)), ((5, 3), (2, 1)), ((4, 5), (1, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("kernel", "m"), WINDOWS, ids=str)
@pytest.mark.parametrize("padding", ["same", "valid", 2, (0, 1)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_the_direct_convolution(shape, padding, kernel, m, always):
    compare(shape, kernel, m, always, padding=padding)


def compare(shape, kernel, m, always, **options):
    """Winograd's convolution with the direct one: results and gradients."""
    h, w, c, f = shape
    layer = Conv2D(f, kernel, use_bias=False, **options)
    if min(layer.geometry((h, w, c)).out) < 1:
        with pytest.raises(ValueError, match="more than"):
            layer.output_shape((h, w, c))
        return
    rng = np.random.default_rng(0)
    p = draw_parameters(layer, (h, w, c))
    for n in (1, 5):
        x, dy = rng.normal(size=(n, h, w, c)), rng.normal(size=(n, *layer.output_shape((h, w, c))))
        direct = run(layer.replaced(algorithm="direct"), x, p, dy)
        always(*m)
        for training in (True, False):
            fast = run(layer, x, p, dy) if training else (run(layer, x, p),)
            for mine, expected in zip(fast, direct, strict=False):
                if isinstance(mine, dict):
                    mine, expected = mine["kernel"], expected["kernel"]
                np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("options", [{"dilation": 2}, {"dilation": (3, 1)}, {"dilation": (1, 2)}], ids=str)
@pytest.mark.parametrize("padding", ["same", "valid", 5, (0, 1)], ids=str)
@pytest.mark.parametrize("shape", [(9, 8, 16, 16), (7, 12, 17, 18), (16, 15, 16, 20)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (5, 3)], ids=str)
def test_dilated_windows(shape, padding, kernel, options, always):
    compare(shape, kernel, (2, 4), always, padding=padding, **options)


@pytest.mark.parametrize(
    ("kernel", "strides"), [((3, 3), 2), ((5, 4), 2), ((7, 7), (2, 3)), ((5, 3), (1, 2)), ((3, 2), (4, 2))], ids=str
)
@pytest.mark.parametrize("padding", ["same", "valid", 3, (0, 1)], ids=str)
@pytest.mark.parametrize("shape", [(9, 8, 16, 16), (7, 12, 3, 18), (16, 15, 1, 20), (11, 10, 5, 16)], ids=str)
def test_strided_windows(shape, padding, kernel, strides, always):
    compare(shape, kernel, (2, 4), always, padding=padding, strides=strides)


def test_predictions_of_every_size_share_kernels():
    """The number of rows decides between tiles, and each prepares a kernel."""
    layers, shape = [Conv2D(64, 5, strides=2), GlobalAvgPool2D()], (14, 14, 48)
    network = Network(layers, shape, outputs=2)
    rng = np.random.default_rng(8)
    weights, state = (rng.normal(size=layout.size).astype(np.float32) for layout in (network.weights, network.state))
    x = rng.normal(size=(40, *shape)).astype(np.float32)
    shared = Predictor(network, weights, state, no_scaling(48))
    for n in range(1, 41):
        fresh = Predictor(network, weights, state, no_scaling(48))
        np.testing.assert_array_equal(shared.raw(x[:n]), fresh.raw(x[:n]))
    assert len({key for _, key in shared._constants if key[0] == "winograd"}) > 1


@pytest.mark.parametrize("size", [3, 5])
def test_phases_in_single_precision(size):
    layer, rng = Conv2D(64, size, strides=2, use_bias=False), np.random.default_rng(7)
    x, dy = rng.normal(size=(16, 17, 16, 64)), rng.normal(size=(16, 9, 8, 64))
    p = draw_parameters(layer, (17, 16, 64))
    exact = run(layer, x, p, dy)
    (y, dx, g), alone = run(layer, x, p, dy, dtype=np.float32), run(layer, x, p, dtype=np.float32)
    found = (y, exact[0]), (alone, exact[0]), (dx, exact[1]), (g["kernel"], exact[2]["kernel"])
    for mine, expected in found:
        assert np.abs(mine - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("groups", [2, 3, 6])
@pytest.mark.parametrize("shape", [(9, 8, 24, 18), (7, 12, 18, 36)], ids=str)
def test_groups(shape, groups, always):
    for m in ((4, 2), (4, 1), (1, 4)):
        compare(shape, (3, 3), m, always, groups=groups)
        compare(shape, (3, 3), m, always, groups=groups, dilation=2)


@pytest.mark.parametrize(("kernel", "m"), WINDOWS, ids=str)
def test_blocks_of_tile_rows_add_up(kernel, m, always, monkeypatch):
    monkeypatch.setattr("skcnn._tape.winograd.TILE_BLOCK", 1)  # a block for each row of tiles
    layer, rng = Conv2D(16, kernel, use_bias=False), np.random.default_rng(1)
    x, dy, p = rng.normal(size=(3, 17, 9, 16)), rng.normal(size=(3, 17, 9, 16)), draw_parameters(layer, (17, 9, 16))
    direct = run(layer.replaced(algorithm="direct"), x, p, dy)
    always(*m)
    y, dx, g = run(layer, x, p, dy)
    for mine, expected in ((y, direct[0]), (dx, direct[1]), (g["kernel"], direct[2]["kernel"])):
        np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-10)


def test_shards_equal_the_whole_batch(always):
    always(4, 4)
    layer, rng = Conv2D(18, use_bias=False), np.random.default_rng(2)
    x, dy, p = rng.normal(size=(7, 8, 6, 16)), rng.normal(size=(7, 8, 6, 18)), draw_parameters(layer, (8, 6, 16))
    whole, parts = (run(layer, x, p, dy, shards=shards) for shards in (1, 3))
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(parts[2]["kernel"], whole[2]["kernel"], rtol=1e-11, atol=1e-11)


def test_random_shapes_in_single_precision():
    """As chosen in real use: odd sizes, one row, many rows; the error grows with the points of the tiles."""
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(40):
        h, w, n = (int(size) for size in rng.integers(1, [20, 20, 12]))
        c, f = (int(size) for size in rng.integers(10, 40, size=2))
        layer = Conv2D(f, int(rng.choice([3, 3, 4, 5, 7])), int(rng.choice([1, 1, 2])), use_bias=False)
        x, dy = (rng.normal(size=(n, *shape)) for shape in ((h, w, c), layer.output_shape((h, w, c))))
        x, dy = x.astype(np.float32), dy.astype(np.float32)
        p = draw_parameters(layer, (h, w, c))
        fast = run(layer, x, p, dy, dtype=np.float32)
        exact = run(layer, x.astype(float), p, dy.astype(float))
        tiling = chosen(layer, (h, w, c), n)
        pixels = 1 if tiling is None else max(tiles.r for tiles in (*tiling.rows, *tiling.columns))
        seen.add(pixels)
        bound = 2e-6 if pixels == 1 else 2e-5 if pixels <= 8 else 1e-4
        for mine, expected in zip((*fast[:2], fast[2]["kernel"]), (*exact[:2], exact[2]["kernel"]), strict=True):
            assert np.abs(mine - expected).max() < bound * np.abs(expected).max()
        alone, bands = run(layer, x[:1], p, dtype=np.float32), chosen(layer, (h, w, c), 1, backward=False)
        seen.add("bands" if bands else "direct")
        assert np.abs(alone - exact[0][:1]).max() < 2e-5 * np.abs(exact[0][:1]).max()
    assert {1, 8, 10, "bands", "direct"} <= seen


@pytest.mark.parametrize(("k", "m"), [(k, m) for k, sizes in TILES.items() for m in sizes])
def test_transforms_are_an_exact_algorithm_in_one_dimension(k, m):
    at, g, bt = transforms(m, k)
    rng = np.random.default_rng(4)
    d, weights = rng.normal(size=m + k - 1), rng.normal(size=k)
    np.testing.assert_allclose(at @ ((g @ weights) * (bt @ d)), np.correlate(d, weights), rtol=1e-12)


def chosen(layer, shape, rows=64, dtype=np.float32, **options):
    sizes = rows, shape[2], layer.filters, layer.groups
    return convolution.choose_tiling(dtype, layer.geometry(shape), *sizes, **options)


def test_it_is_chosen_where_it_wins():
    assert chosen(Conv2D(32), (16, 16, 32)) == Tiling(cut(16, 3, 8), cut(16, 3, 8))
    assert chosen(Conv2D(32), (2, 2, 32)) == Tiling(cut(2, 3, 2), cut(2, 3, 2))
    assert chosen(Conv2D(32), (48, 24, 32)) == Tiling(cut(48, 3, 8), cut(24, 3, 8))
    assert chosen(Conv2D(32), (14, 28, 32)) == Tiling(cut(14, 3, 7), cut(28, 3, 7))
    assert chosen(Conv2D(32), (20, 26, 32), rows=4) == Tiling(cut(20, 3, 7), cut(26, 3, 7))
    assert chosen(Conv2D(256), (4, 4, 256)) == Tiling(cut(4, 3, 4), cut(4, 3, 4))
    assert chosen(Conv2D(32, 5), (16, 18, 32)) == Tiling(cut(16, 5, 6, 4), cut(18, 5, 6))
    assert chosen(Conv2D(32, 7), (16, 16, 32)) == Tiling(cut(16, 7, 4), cut(16, 7, 4))
    assert chosen(Conv2D(32, dilation=2), (16, 16, 32)) == Tiling(cut(8, 3, 8), cut(8, 3, 8))
    assert chosen(Conv2D(32, groups=2), (16, 16, 32)) == Tiling(cut(16, 3, 8), cut(16, 3, 8))
    assert chosen(Conv2D(32, 5, strides=2), (32, 32, 32)) == Tiling(cut(16, 3, 8), cut(16, 3, 8))
    assert chosen(Conv2D(32, 7, strides=2), (112, 112, 3)) == Tiling(cut(56, 4, 7), cut(56, 4, 7))
    assert chosen(Conv2D(32, 4, strides=2), (16, 16, 32)) == Tiling(cut(8, 2, 8), cut(8, 2, 8))
    assert chosen(Conv2D(32, 3, strides=(1, 2)), (16, 16, 32)) == Tiling(cut(16, 3, 8), cut(8, 2, 8))
    assert chosen(Conv2D(32, (1, 5)), (1, 64, 32)) == Tiling(cut(1, 1, 1), cut(64, 5, 6, 4))
    assert chosen(Conv2D(32, (1, 3)), (1, 64, 32)) == Tiling(cut(1, 1, 1), cut(64, 3, 8))
    assert chosen(Conv2D(32, (3, 1)), (16, 16, 32)) == Tiling(cut(16, 3, 8), cut(16, 1, 1))
    assert chosen(Conv2D(32, 2), (16, 16, 32)) == Tiling(cut(16, 2, 8), cut(16, 2, 8))
    for size, *m in ((14, 7), (7, 7), (6, 6), (28, 7), (24, 8), (32, 8), (64, 8), (224, 8)):
        assert chosen(Conv2D(32), (size, size, 32), rows=32) == Tiling(cut(size, 3, *m), cut(size, 3, *m))


def test_only_rows_are_cut_for_few_images():
    few = {"rows": 3, "backward": False}
    assert chosen(Conv2D(32), (32, 32, 32), **few) == Tiling(cut(32, 3, 8), cut(32, 3, 1))
    assert chosen(Conv2D(64), (8, 8, 40), **few) == Tiling(cut(8, 3, 8), cut(8, 3, 1))
    assert chosen(Conv2D(32, 5), (18, 14, 32), **few) == Tiling(cut(18, 5, 6), cut(14, 5, 1))
    assert chosen(Conv2D(32, padding="valid"), (13, 12, 32), **few) == Tiling(cut(11, 3, 7, 4), cut(10, 3, 1))
    assert chosen(Conv2D(32, groups=2), (32, 32, 32), **few) == Tiling(cut(32, 3, 8), cut(32, 3, 1))
    for options in ({"rows": 8, "backward": False}, {"rows": 3}):  # more images, or a gradient
        assert chosen(Conv2D(32), (32, 32, 32), **options) == Tiling(cut(32, 3, 8), cut(32, 3, 8))
    for layer, shape in (
        (Conv2D(32), (4, 4, 32)),
        (Conv2D(32), (32, 32, 8)),
        (Conv2D(32, strides=2), (32, 32, 32)),
        (Conv2D(32, (1, 5)), (32, 32, 32)),
        (Conv2D(32, 1), (32, 32, 32)),
    ):
        assert chosen(layer, shape, **few) is None
    assert chosen(Conv2D(32), (32, 32, 32), dtype=np.float64, **few) is None


@pytest.mark.parametrize(
    ("layer", "shape", "options"),
    [
        (Conv2D(32), (16, 16, 32), {"dtype": np.float64}),
        (Conv2D(32), (4, 4, 32), {"rows": 1}),
        (Conv2D(32), (4, 4, 32), {"rows": 3, "backward": False}),
        (Conv2D(32), (16, 16, 3), {}),
        (Conv2D(8), (16, 16, 32), {}),
        (Conv2D(32), (1, 1, 32), {}),
        (Conv2D(32, kernel_size=9), (16, 16, 32), {}),
        (Conv2D(32, kernel_size=1), (16, 16, 32), {}),
        (Conv2D(32, kernel_size=(1, 3)), (16, 16, 32), {"rows": 1}),
        (Conv2D(32, strides=2), (16, 16, 32), {}),
        (Conv2D(32, 7, dilation=2, strides=2), (32, 32, 32), {}),
        (Conv2D(32, 7, strides=2), (32, 32, 1), {}),
        (Conv2D(32, 7, strides=2, groups=2), (32, 32, 32), {}),
        (Conv2D(32, 5, strides=3), (32, 32, 32), {}),
        (Conv2D(32, groups=4), (16, 16, 32), {}),
    ],
    ids=repr,
)
def test_it_is_not_chosen_elsewhere(layer, shape, options):
    assert chosen(layer, shape, **options) is None


def test_direct_keeps_it_out_of_single_precision():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(16, 16, 16, 16)).astype(np.float32)
    p = {"kernel": rng.normal(size=(3, 3, 16, 16)) / 12}
    exact = run(Conv2D(16, use_bias=False), x.astype(float), p)
    errors = {}
    for algorithm in ("direct", "auto"):
        y = run(Conv2D(16, use_bias=False, algorithm=algorithm), x, p, dtype=np.float32)
        errors[algorithm] = np.abs(y - exact).max() / np.abs(exact).max()
    assert errors["direct"] < 1e-6
    assert errors["direct"] < errors["auto"] < 1e-4


@pytest.mark.parametrize(
    ("tiling", "groups"),
    [
        (Tiling(cut(16, 3, 4), cut(16, 3, 4)), 1),
        (Tiling(cut(14, 3, 6, 2), cut(9, 3, 4)), 2),
        (Tiling(cut(14, 3, 7), cut(9, 1, 1)), 1),
        (Tiling(cut(14, 1, 1), cut(9, 5, 6, 4)), 1),
    ],
    ids=str,
)
def test_effort_counts_what_is_recorded(tiling, groups, monkeypatch):
    """The multiplications of the products, and the numbers that transforms write."""
    monkeypatch.setattr(convolution, "choose_tiling", lambda *sizes, **options: tiling)
    (rows, *_), (columns, *_) = tiling.rows, tiling.columns
    h, w, n, c, f = sum(t.size for t in tiling.rows), sum(t.size for t in tiling.columns), 3, 32, 64
    layer = Conv2D(f, (rows.k, columns.k), groups=groups, use_bias=False)
    tape = Tape(np.float32, Batch(n))
    with tape.step("conv"):
        p = SimpleNamespace(kernel=np.zeros((rows.k, columns.k, c // groups, f), np.float32))
        layer.record(tape, tape.output((h, w, n, c)), p, None)
    calls = [arguments for call, arguments in tape.segments[0] if call is np.matmul]
    products = [out.size * a.shape[-1] for a, _, out in calls if a.ndim > 2]
    transformed = [out.size for a, _, out in calls if a.ndim == 2]
    constants = {"PRODUCT": 1, "TRANSFORM": 1, "SHORT": {False: 0}, "THIN": {False: 0}, "CALLS": 0}
    for name, value in constants.items():
        monkeypatch.setattr(winograd, name, value)
    assert tiling.effort(n, c, f, groups, backward=False) == sum(products) + sum(transformed)


def test_few_images_and_few_channels_are_not_worth_it():
    """Kernels are prepared, transforms made and calls made for nothing: each is more than the direct convolution."""
    tiling = Tiling(cut(8, 3, 8), cut(8, 3, 8))
    for sizes in ((1, 64, 64), (64, 1, 1), (1, 16, 16)):
        n, c, f = sizes
        assert tiling.effort(n, c, f) > 8 * 8 * 9 * n * c * f
    assert tiling.effort(64, 64, 64) < 8 * 8 * 9 * 64**3
    assert tiling.effort(2, 64, 64, backward=False) < tiling.effort(2, 64, 64)


def test_tiles_of_two_sizes_meet():
    for size, k, m, rest in ((14, 3, 6, 2), (28, 3, 6, 4), (11, 5, 4, 2)):
        first, last = cut(size, k, m, rest)
        assert (first.start, first.stop, last.start) == (0, last.start, size - size % m)
        assert last.stop >= size > last.stop - rest
        assert last.end == last.stop + k - 1
