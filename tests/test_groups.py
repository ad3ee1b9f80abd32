"""Grouped convolutions: what they equal, and which groups are computed as one."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from skcnn._arrays.order import NARROW
from skcnn._tape.groups import LINE, WIDEST, joined_group_count
from skcnn._tape.tape import Batch, Tape
from skcnn.layers import Conv2D
from skcnn.testing import draw_parameters, run

F4, F8 = np.float32, np.float64


@pytest.mark.parametrize("dtype", [F4, F8])
@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize(
    ("shape", "filters", "groups", "options"),
    [
        ((8, 9, 32), 32, 4, {}),  # two are one
        ((7, 5, 32), 64, 16, {}),
        ((9, 8, 24), 24, 3, {"kernel_size": 5}),  # all are one
        ((6, 6, 28), 14, 14, {"kernel_size": (2, 3)}),  # fewer filters than channels
        ((5, 4, 16), 48, 8, {"kernel_size": 1}),
        ((9, 9, 32), 32, 8, {"strides": 2}),
        ((9, 11, 32), 32, 8, {"dilation": 2, "padding": "valid"}),
        ((6, 6, 104), 104, 13, {}),  # none
        ((8, 8, 12), 12, 4, {}),  # few channels in all
        ((8, 6, 32), 32, 4, {"algorithm": "direct"}),
    ],
    ids=str,
)
def test_each_group_of_filters_reads_its_group_of_channels(shape, filters, groups, options, n, dtype):
    layer, rng = Conv2D(filters, groups=groups, use_bias=False, **options), np.random.default_rng(0)
    alone = Conv2D(filters // groups, use_bias=False, **options)
    p = draw_parameters(layer, shape)
    x, dy = rng.normal(size=(n, *shape)), rng.normal(size=(n, *layer.output_shape(shape)))
    parts = [np.split(array, groups, axis=3) for array in (x, p["kernel"], dy)]
    answers = [run(alone, x, {"kernel": kernel}, dy) for x, kernel, dy in zip(*parts, strict=True)]
    expected = [np.concatenate([y if part < 2 else y["kernel"] for y in answer], axis=3)
                for part, answer in enumerate(zip(*answers, strict=True))]  # fmt: skip

    y, dx, g = run(layer, x, p, dy, dtype=dtype)
    for mine, separate in zip(
        (y, dx, g["kernel"], run(layer, x, p, dtype=dtype)), (*expected, expected[0]), strict=True
    ):
        atol = np.abs(separate).max() * (1e-4 if dtype == F4 else 1e-13)
        np.testing.assert_allclose(mine, separate, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [F4, F8])
def test_neighbouring_groups_are_joined_until_they_fill_a_cache_line_and_no_further(dtype):
    full, joined = LINE // np.dtype(dtype).itemsize, 0
    for groups, depth, filters in product(range(1, 33), (1, 2, 4, 6, 8, 16), (1, 2, 3, 8, 16)):
        c, f = groups * depth, groups * filters
        fewer = joined_group_count(groups, c, f, dtype)
        if depth == 1 or c < NARROW or min(depth, filters) >= full:  # depthwise, outermost in memory, wide enough
            assert fewer == groups
        elif fewer < groups:
            assert groups % fewer == 0
            assert fewer == 1 or min(c, f) // fewer >= full
            assert max(c, f) // fewer <= WIDEST * full
            smaller = [more for more in range(fewer + 1, groups + 1) if groups % more == 0]
            assert all(min(c, f) // more < full for more in smaller), "fewer would have done"
            joined += 1
    assert joined > 100


def test_groups_that_cannot_be_joined_to_what_is_worth_its_zeros_stay():
    assert joined_group_count(8, 64, 64, F4) < 8
    assert joined_group_count(13, 104, 104, F4) == 13  # one group would be mostly zeros


def test_a_prediction_joins_them_once():
    """The zeros are part of what follows from the parameters, which its tapes share."""
    layer, constants, kernel = Conv2D(32, groups=8, use_bias=False), {}, np.ones((3, 3, 4, 32), F4)
    sizes = []
    for _ in range(2):
        tape = Tape(F4, Batch(64), constants=constants)
        with tape.step("conv"):
            layer.record(tape, tape.output((8, 8, 64, 32)), SimpleNamespace(kernel=kernel), None)
        sizes.append(len(constants))
        read = [argument for _, arguments in tape.segments[0] for argument in arguments]
        assert not any(isinstance(argument, np.ndarray) and np.shares_memory(argument, kernel) for argument in read)
    assert sizes[0] == sizes[1] > 0


def test_training_joins_what_the_last_step_has_left():
    layer, x = Conv2D(32, groups=8, use_bias=False), np.random.default_rng(1).normal(size=(8, 8, 4, 32))
    p = SimpleNamespace(kernel=np.ones((3, 3, 4, 32)))
    tape = Tape(F8, Batch(4), training=True)
    with tape.step("conv"):
        images = tape.input(x.shape)
        y, _ = layer.record(tape, images, p, None)
    answers = []
    for factor in (1, 3):
        images[...], p.kernel[...] = x, factor
        tape.replay(0)
        answers.append(y.copy())
    np.testing.assert_allclose(answers[1], 3 * answers[0], rtol=1e-12)
