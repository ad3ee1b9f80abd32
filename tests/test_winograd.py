"""Winograd's convolution against the direct one, forward and backward."""

from itertools import product
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

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

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
def test_blocks_of_tile_rows_add_up(kernel, m, always):
    layer, rng, n = Conv2D(16, kernel, use_bias=False), np.random.default_rng(1), 100
    x, dy, p = rng.normal(size=(n, 17, 9, 16)), rng.normal(size=(n, 17, 9, 16)), draw_parameters(layer, (17, 9, 16))
    direct = run(layer.replaced(algorithm="direct"), x, p, dy)
    always(*m)
    tiling = convolution.choose_tiling(np.float64, layer.geometry((17, 9, 16)))
    assert sum(len(tiling.blocks(band, n, 16)) for band in tiling.rows) > len(tiling.rows), "several in a band"
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


@pytest.mark.parametrize(
    ("layer", "shape", "options", "expected"),
    [
        (Conv2D(32), (16, 16, 32), {}, Tiling(cut(16, 3, 8), cut(16, 3, 8))),
        (Conv2D(32), (14, 28, 32), {}, Tiling(cut(14, 3, 7), cut(28, 3, 7))),
        (Conv2D(32, 5), (16, 18, 32), {}, Tiling(cut(16, 5, 6, 4), cut(18, 5, 6))),
        (Conv2D(32, 7, strides=2), (112, 112, 3), {}, Tiling(cut(56, 4, 7), cut(56, 4, 7))),
        (Conv2D(32), (32, 32, 32), {"rows": 3, "backward": False}, Tiling(cut(32, 3, 8), cut(32, 3, 1))),
    ],
    ids=str,
)
def test_the_tiles_of_common_convolutions(layer, shape, options, expected):
    assert chosen(layer, shape, **options) == expected


def axis_cuts(size, k):
    """All ways to cut an axis, from the table of tiles: in tiles of m, or the rest of it in smaller ones."""
    for m in TILES[k]:
        yield cut(size, k, m)
        yield from (cut(size, k, m, rest) for rest in TILES[k] if rest < m < size and size % m)


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("k", [2, 3, 5, 7, (1, 5), (3, 1)], ids=str)
def test_no_other_way_takes_less_effort(k, groups, backward):
    """The choice is the direct convolution only where each tiling takes more effort than its multiplications."""
    rng, found = np.random.default_rng(9), []
    for _ in range(40):
        h, w, n = (int(size) for size in rng.integers(1, [20, 20, 9]))
        c, f = (16 * groups * int(size) for size in rng.integers(1, 8, size=2))
        layer = Conv2D(f, k, groups=groups)
        kh, kw = layer.geometry((h, w, c)).kernel
        tiling = chosen(layer, (h, w, c), n, backward=backward)
        ways = [Tiling(*axes) for axes in product(axis_cuts(h, kh), axis_cuts(w, kw))]
        ways += [] if backward else [Tiling(rows, cut(w, kw, 1)) for rows in axis_cuts(h, kh)]
        least = min(way.effort(n, c, f, groups, backward=backward) for way in ways)
        direct = n * h * w * kh * kw * c * f / groups
        if tiling is None:
            assert least >= direct
        else:
            assert tiling.effort(n, c, f, groups, backward=backward) == least
            assert [sum(tiles.size for tiles in axis) for axis in (tiling.rows, tiling.columns)] == [h, w]
        found.append(tiling is not None)
    assert {True, False} == set(found), "both are meant to occur"


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize(
    "layer", [Conv2D(32), Conv2D(48, 5), Conv2D(32, 7), Conv2D(32, dilation=2), Conv2D(64, 5, strides=2)], ids=repr
)
def test_what_is_chosen_for_some_images_is_chosen_for_more(layer, backward):
    """Preparing the kernels and making the calls cost once, however many images there are."""
    wins = [chosen(layer, (20, 17, 32), rows, backward=backward) is not None for rows in (1, 2, 4, 8, 16, 64, 256)]
    assert wins == sorted(wins)
    assert wins[-1]


def test_only_rows_are_cut_for_few_images():
    layers = Conv2D(32), Conv2D(32, 5), Conv2D(32, padding="valid"), Conv2D(32, groups=2)
    for layer in layers:
        few, many = (chosen(layer, (32, 32, 32), rows, backward=False) for rows in (3, 64))
        assert few.rows[0].m > 1 == few.columns[0].m
        assert min(many.rows[0].m, many.columns[0].m) > 1
        assert min(chosen(layer, (32, 32, 32), 64).columns[0].m, many.columns[0].m) > 1


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize(
    ("layer", "channels", "dtype"),
    [
        (Conv2D(64), 64, np.float64),
        (Conv2D(64), 15, np.float32),  # whose channels lie outermost in memory
        (Conv2D(15), 64, np.float32),
        (Conv2D(64, groups=8), 64, np.float32),
        (Conv2D(64, kernel_size=9), 64, np.float32),  # for which there are no tiles
        (Conv2D(64, kernel_size=1), 64, np.float32),
        (Conv2D(64, 7, dilation=2, strides=2), 64, np.float32),
        (Conv2D(64, 7, strides=2, groups=2), 64, np.float32),
    ],
    ids=repr,
)
def test_it_is_never_chosen_elsewhere(layer, channels, dtype, rows, backward):
    for side in (1, 4, 16, 32):
        assert chosen(layer, (side, side, channels), rows, dtype, backward=backward) is None


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
    constants = {"PRODUCT": 1, "TRANSFORM": 1, "SHORT": {False: 0}, "THIN": {False: 0}, "FAR": 0, "CALLS": 0}
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
    assert tiling.effort(2, 32, 32, backward=False) < tiling.effort(2, 32, 32)


def test_kernels_for_few_images_need_little_memory_where_they_leave_the_cache():
    """Reading them from memory takes longer than the multiplications that larger tiles save."""
    sizes = {64: 56, 128: 28, 256: 14, 512: 7}  # channels and pixels of the blocks of ResNet-18
    times = []
    for c, side in sizes.items():
        geometry = Conv2D(c).geometry((side, side, c))
        tiling = convolution.choose_tiling(np.dtype(np.float32), geometry, 1, c, c, 1, backward=False)
        times.append(0 if tiling is None else sum(t.r for t in tiling.rows) * sum(t.r for t in tiling.columns) / 9)
    assert times[0] > 1
    assert times[1] <= 6
    assert times[2] <= 2
    assert times[3] == 0


def test_tiles_of_two_sizes_meet():
    for size, k, m, rest in ((14, 3, 6, 2), (28, 3, 6, 4), (11, 5, 4, 2)):
        first, last = cut(size, k, m, rest)
        assert (first.start, first.stop, last.start) == (0, last.start, size - size % m)
        assert last.stop >= size > last.stop - rest
        assert last.end == last.stop + k - 1
