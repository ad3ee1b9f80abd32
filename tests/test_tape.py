"""The tape: memory order, lifetimes, barriers."""

import math

import numpy as np
import pytest

from skcnn._arrays.elementwise import copy, in_memory_order, reshape
from skcnn._arrays.order import NARROW
from skcnn._tape.arena import ALIGNMENT, Arena
from skcnn._tape.tape import WAY, Batch, Tape, memory


@pytest.fixture
def tape():
    return Tape(np.float32, Batch(4))


@pytest.mark.parametrize("channels", [1, NARROW - 1, NARROW, 40])
def test_few_channels_lie_outermost_in_memory(tape, channels):
    with tape.step("a"):
        x = tape.output((3, 5, 4, channels))
    dense = x.transpose(3, 0, 1, 2) if channels < NARROW else x
    assert x.shape == (3, 5, 4, channels)
    assert dense.flags.c_contiguous
    assert x.dtype == np.float32


def test_buffers_are_aligned_to_cache_lines(tape):
    with tape.step("a"):
        for size in (1, 3, 100, 5000):
            assert tape.output((size, 7)).ctypes.data % ALIGNMENT == 0


def test_scratch_is_handed_out_again_when_its_step_has_ended(tape):
    with tape.step("a"):
        first, second = tape.scratch((10, 10)), tape.scratch((10, 10))
        assert memory(first) is not memory(second)
    with tape.step("b"):
        assert any(memory(tape.scratch((10, 10))) is memory(a) for a in (first, second))


def test_released_scratch_is_handed_out_again_within_its_step(tape):
    with tape.step("a"):
        first = tape.scratch((10, 10))
        tape.release(first)
        assert memory(tape.scratch((10, 10))) is memory(first)


def test_outputs_are_not_handed_out_again_before_they_are_handed_back(tape):
    with tape.step("a") as held:
        y = tape.output((10, 10))
    with tape.step("b"):
        assert memory(tape.scratch((10, 10))) is not memory(y)
    tape.end(held, but=np.zeros(1))
    with tape.step("c"):
        assert any(memory(tape.scratch((10, 10))) is memory(y) for _ in range(2))


def test_memory_that_is_still_to_be_read_is_not_handed_back(tape):
    with tape.step("a") as held:
        y = tape.output((10, 10))
    tape.end(held, but=y[2:])
    with tape.step("b"):
        assert memory(tape.scratch((10, 10))) is not memory(y)


def test_kept_arrays_are_scratch_when_predicting():
    for training in (True, False):
        tape = Tape(np.float32, Batch(1), training=training)
        with tape.step("a"):
            kept = tape.keep((10, 10))
        with tape.step("b"):
            assert (memory(tape.scratch((10, 10))) is memory(kept)) is not training


def test_tapes_over_one_arena_use_the_same_memory():
    arena = Arena()
    for rows in (50, 20, 50, 45):
        tape = Tape(np.float32, Batch(rows), arena=arena)
        with tape.step("a"):
            tape.output((rows, 100))
        size = arena.size
        assert size <= 50 * 100 * 4 + ALIGNMENT


def test_replay_makes_the_calls_in_order(tape):
    x, out = tape.input((3,)), np.zeros(3, np.float32)
    with tape.step("a"):
        tape(np.multiply, x, 2, out)
        tape(np.add, out, 1, out)
    x[:] = [1, 2, 3]
    tape.replay(0)
    np.testing.assert_array_equal(out, [3, 5, 7])
    assert tape.owners == [["a", "a"]]


def test_border_surrounds_a_copy():
    for channels in (2, NARROW):
        tape = Tape(np.float64, Batch(2), poison=True)
        x = tape.input((3, 2, 2, channels))
        x[...] = np.arange(x.size).reshape(x.shape) + 1
        with tape.step("a"):
            framed = tape.with_border(x, (1, 0), (2, 3), value=-7.0)
        tape.replay(0)
        expected = np.pad(x, ((1, 0), (2, 3), (0, 0), (0, 0)), constant_values=-7.0)
        np.testing.assert_array_equal(framed, expected)


def test_total_sums_over_the_shards_behind_a_barrier():
    batch = Batch(6, shards=3)
    tapes, sums, inputs = [], [], []
    for shard in range(3):
        tape = Tape(np.float32, batch, shard, poison=True)
        inputs.append(tape.input((2,)))
        with tape.step("a"):
            (total,) = tape.total(inputs[-1])
            sums.append(tape(copy, total, np.zeros(2)))
        tapes.append(tape)
    for x, values in zip(inputs, [[1e8, 1], [1, 2], [-1e8, 3]], strict=True):
        x[:] = values
    for segment in range(2):
        for tape in tapes:
            tape.replay(segment)
    for total in sums:
        np.testing.assert_array_equal(total, [1, 6])  # float32 would have lost the 1


def over_a_barrier(batch, shard, **memory):
    """A tape whose result is what its first buffer held before the barrier, times three, plus the total."""
    tape = Tape(np.float64, batch, shard, poison=True, **memory)
    x, y = tape.input((4,)), np.zeros(4)
    with tape.step("a"):
        before = tape(np.multiply, x, 3, tape.scratch((4,)))
        brief = tape(np.multiply, x, 1, tape.scratch((4,)))
        tape.release(brief)
        (total,) = tape.total(x)
        after = tape(copy, total, tape.scratch((4,)))
        tape(np.add, before, after, y)
    tape.finish()
    return tape, x, y, (before, brief, after)


def test_shards_of_a_thread_share_the_memory_of_the_buffers_that_cross_no_barrier():
    shards, arena = 3, Arena()
    batch = Batch(6, shards)
    measured = [over_a_barrier(batch, number, arena=arena)[0].crossing for number in range(shards)]
    assert measured == [[True, False, False, False]] * shards  # the third is the total itself
    batch = Batch(6, shards)
    found = [over_a_barrier(batch, i, arena=arena, own=(Arena(), measured[i])) for i in range(shards)]
    kept, *brief = zip(*(buffers for _, _, _, buffers in found), strict=True)
    assert len({id(memory(array)) for array in kept}) == shards
    assert all(len({id(memory(array)) for array in arrays}) == 1 for arrays in brief)
    inputs = np.random.default_rng(0).normal(size=(shards, 4))
    for (_, x, _, _), values in zip(found, inputs, strict=True):
        x[...] = values
    for segment in range(2):
        for tape, *_ in found:
            tape.replay(segment)
    for (_, _, y, _), values in zip(found, inputs, strict=True):
        np.testing.assert_allclose(y, 3 * values + inputs.sum(0))


def test_a_recording_whose_buffers_cross_other_barriers_than_measured_is_an_error():
    with pytest.raises(RuntimeError, match="a: this recording differs"):
        over_a_barrier(Batch(6, 3), 0, own=(Arena(), [False] * 4))


def test_the_first_tape_of_a_batch_derives_for_those_that_share_its_constants():
    kernel, constants = np.array([2.0, 3.0]), {}

    def record(batch, number):
        tape = Tape(np.float64, batch, number, training=True, constants=constants, poison=True)
        x, y = tape.input((2,)), np.zeros(2)
        with tape.step("a"):
            square = tape.derived("square", (2,), lambda call, out: call(np.multiply, kernel, kernel, out))
            tape(np.multiply, x, square, y)
        x[...] = 1 + number
        return tape, y

    batches = [[record(batch, number) for number in range(3)] for batch in (Batch(3, 3), Batch(3, 3))]
    for tapes in (*batches, batches[0]):
        for tape, y in tapes:
            tape.replay(0)
            np.testing.assert_array_equal(y, (1 + tape.shard) * kernel**2)
            assert sum(f is np.multiply for f, _ in tape.segments[0]) == (1 if tape.shard else 2)
        kernel += 1  # the update


def test_poison_is_what_an_unwritten_buffer_holds():
    tape = Tape(np.float32, Batch(1), poison=True)
    with tape.step("a"):
        buffers = tape.scratch((4,)), tape.scratch((4,), bool)
    tape.replay(0)
    assert np.isnan(buffers[0]).all()
    assert buffers[1].all()


@pytest.mark.parametrize("side", [4, 64])
def test_poison_fills_an_image_within_its_border(side):
    tape = Tape(np.float32, Batch(1), poison=True)
    tape.margin = (1, 2), (0, 1)
    with tape.step("a"):
        image = tape.output((side, side, 1, 32), framed=True)
        framed = tape.with_border(image, *tape.margin)
    tape.replay(0)
    assert np.isnan(image).all()
    assert np.isnan(framed).sum() == image.size
    assert np.nansum(np.abs(framed)) == 0


def test_reshape_refuses_to_copy():
    x = np.zeros((4, 6)).T
    with pytest.raises(ValueError, match="copy"):
        reshape(x, (24,))
    assert np.shares_memory(reshape(x.T, (24,)), x)


def test_in_memory_order_is_a_view_of_any_dense_array():
    x = np.arange(120).reshape(2, 3, 4, 5).transpose(2, 0, 3, 1)
    np.testing.assert_array_equal(in_memory_order(x), np.arange(120))
    assert np.shares_memory(in_memory_order(x), x)


@pytest.mark.parametrize("channels", [2, NARROW])
@pytest.mark.parametrize("size", [3, 70], ids=["with memory of its own", "from the arena"])
def test_output_may_have_the_border_that_the_next_step_wants(size, channels):
    tape = Tape(np.float64, Batch(2), poison=True)
    x = tape.input((size, size, 2, channels))
    x[...] = np.arange(x.size).reshape(x.shape) + 1
    borders = (1, 2), (0, 3)
    tape.margin = borders
    with tape.step("a"):
        y = tape(copy, x, tape.output(x.shape, framed=True))
    with tape.step("b"):
        framed = tape.with_border(y, *borders)
        other = tape.with_border(y, (1, 2), (1, 3))
    assert memory(framed) is memory(y)
    assert y.strides[0] != y.shape[1] * y.strides[1]
    tape.replay(0)
    np.testing.assert_array_equal(framed, np.pad(x, (*borders, (0, 0), (0, 0))))
    np.testing.assert_array_equal(other, np.pad(x, ((1, 2), (1, 3), (0, 0), (0, 0))))


@pytest.mark.parametrize("shape", [(3, 32, 32, 3), (3, 28, 28, 1), (1, 16, 16, 1), (5, 64), (5, 63), (4,)], ids=str)
def test_images_of_an_input_do_not_share_their_lines_of_the_cache(shape):
    array = Tape(np.float32, Batch(shape[0])).input(shape)
    assert array.shape == shape
    assert not array.any()
    assert array[0].flags.c_contiguous
    apart = shape[0] > 1 and len(shape) > 1 and 4 * math.prod(shape[1:]) % WAY == 0
    assert array.flags.c_contiguous != apart
    assert array.strides[0] % WAY or not apart
