"""The convolution by columns: its blocks, its memory, and products that keep nobody waiting."""

from types import SimpleNamespace

import numpy as np
import pytest

from skcnn._tape.im2col import COLUMN_BLOCK
from skcnn._tape.products import RELEASED
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import Conv2D
from skcnn.testing import draw_parameters, run


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (Conv2D(24, 1, padding=1), 20),
        (Conv2D(24, (1, 2), strides=(1, 2)), 20),
        (Conv2D(17, 2, padding=1), 20),
        (Conv2D(17, 2, padding=1), 5),
    ],
    ids=str,
)
def test_a_batch_of_several_blocks_equals_parts_of_one_each(layer, channels):
    rng, shape = np.random.default_rng(0), (12, 12, channels)
    numbers = np.prod(layer.output_shape(shape)[:2]) * np.prod(layer.kernel_size) * channels  # in columns of an image
    part = COLUMN_BLOCK // numbers
    n = 2 * part + 1
    x, dy = (rng.normal(size=(n, *shape)) for shape in (shape, layer.output_shape(shape)))
    p = draw_parameters(layer, shape)
    y, dx, g = run(layer, x, p, dy)
    ys, dxs, gs = zip(*(run(layer, x[i : i + part], p, dy[i : i + part]) for i in range(0, n, part)), strict=True)
    np.testing.assert_allclose(y, np.concatenate(ys), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, np.concatenate(dxs), rtol=1e-12, atol=1e-12)
    for name, gradient in g.items():
        np.testing.assert_allclose(gradient, sum(each[name] for each in gs), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(run(layer, x, p), y, rtol=1e-12, atol=1e-12)  # as when predicting


def test_a_small_gradient_is_summed_over_several_products():
    """As one product it would keep all other threads waiting."""
    rng = np.random.default_rng(1)
    layer = Conv2D(5, use_bias=False)
    x, dy, p = rng.normal(size=(6, 20, 22, 2)), rng.normal(size=(6, 20, 22, 5)), draw_parameters(layer, (20, 22, 2))
    _, _, g = run(layer, x, p, dy)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = [[np.einsum("nhwc,nhwf->cf", padded[:, i : i + 20, j : j + 22], dy) for j in range(3)] for i in range(3)]
    np.testing.assert_allclose(g["kernel"], expected, rtol=1e-10)

    tape = Tape(np.float64, Batch(6), training=True)
    with tape.step("conv"):
        p, g = (SimpleNamespace(kernel=np.zeros((3, 3, 2, 5))) for _ in range(2))
        y, backward = layer.record(tape, tape.output((20, 22, 6, 2)), p, g)
        backward(tape.output(y.shape), needs_dx=False)
    sizes = [arguments[2].size for f, arguments in tape.segments[0] if f is np.matmul]
    assert g.kernel.size < RELEASED <= min(sizes)


@pytest.mark.parametrize(("channels", "groups"), [(34, 17), (57, 19), (104, 13)])  # which are not joined
def test_products_of_groups_of_few_channels_are_written_in_runs(channels, groups):
    """BLAS writes rows whose numbers lie side by side; into others NumPy multiplies by itself, and slowly."""
    layer = Conv2D(channels, groups=groups, use_bias=False)
    shape = 3, 3, channels // groups, channels
    tape = Tape(np.float64, Batch(4), training=True)
    with tape.step("conv"):
        p, g = (SimpleNamespace(kernel=np.zeros(shape)) for _ in range(2))
        y, backward = layer.record(tape, tape.output((6, 6, 4, channels)), p, g)
        forward = len(tape.segments[0])
        backward(tape.output(y.shape), needs_dx=True)
    outputs = [arguments[2] for f, arguments in tape.segments[0][forward:] if f is np.matmul]
    assert len(outputs) > 1
    assert all(out.strides[-1] == out.itemsize for out in outputs)
