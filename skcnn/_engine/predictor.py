"""Predictions: a network with batch norm folded and constant parameters, replayed on chunks of images."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from threading import get_ident
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, settings_context
from .._arrays.geometry import evenly
from .._tape.arena import Arena
from .._tape.products import may_take_threads
from .._tape.tape import Batch, Tape
from ..layers import Layer
from .inputs import check_range
from .network import Network
from .parallel import EVEN, IDLE_SECONDS, idle, one_blas_thread, sweeper, thread_count
from .scaling import Scaling

ROWS = 64  # longest chunk: long enough for efficient matrix products, short enough for the cache
LEAST_ROWS = 4, 24_000_000  # shortest of several chunks, in rows or in multiply-adds: with less, one thread is as fast
TINY_NETWORK = 125_000  # multiply-adds per image of networks in which calls cost more time than the arithmetic
TINY_ROWS = 256  # longest chunk for such networks
LEAST_WORK = 8_000_000  # multiply-adds that take about as long as starting a thread
MINUTE = 1 << 15  # multiply-adds per image below which predictions are computed in double precision
LARGEST = 1 << 22  # largest array of a chunk, in bytes
TAPES = 8  # number of tapes in a kit, each for one number of rows; the least recently used one is dropped
# Largest memory of a kit, as a multiple of the memory of its largest tape alone. Blocks for few rows are too small for
# more rows, so tapes for many numbers of rows would take more and more memory.
MOST = 4


class Predictor:
    """Raw predictions, or outputs of a layer, of a network with given weights. It can be called from several threads.

    Each predicting thread takes a kit of tapes and their memory from a pool and puts it back afterwards. So threads
    share no buffers, and the next prediction finds its tape recorded. Kits that are unused for some seconds are
    released, except the last one.
    """

    def __init__(
        self,
        network: Network,
        weights: Array,
        state: Array,
        scaling: Scaling,
        *,
        layer: str = "output",
        pool: Layer | None = None,
        after: str | None = None,
        poison: bool = False,
    ) -> None:
        self.network = network
        # BLAS sums the products of a row in an order that depends on the number of rows in the call. Double precision
        # keeps these rounding errors out of the printed digits, and in small networks it costs no time.
        self.dtype = np.dtype(np.float64) if network.multiply_adds < MINUTE else weights.dtype
        weights, state = weights.astype(self.dtype, copy=False), state.astype(self.dtype, copy=False)
        self.steps, self.parameters = network.prediction_steps(network.bind(weights, state), layer, pool, after)
        self.scaling = scaling
        self._inside = after is not None  # whether the input is the output of a layer instead of images
        self._entry = network.input_shape if after is None else network.reached[after]  # shape of an input
        shape = network.reached[layer]
        self.shape = shape if pool is None else pool.output_shape(shape)  # shape of the output for one image
        self.rows = _chunk_rows(network, self.dtype.itemsize)
        self._poison = poison
        self._pool: list[_Kit] = []
        self._constants: dict[Any, Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out tapes and derived constants, which the next prediction records again."""
        return vars(self) | {"_pool": [], "_constants": {}}

    def raw(
        self, images: Array, n_jobs: int | None = None, rows: Array | None = None, out: Array | None = None
    ) -> Array:
        """Return the predictions (n, outputs) or outputs of a layer (n, h, w, c) for images (n, h, w, c) of any dtype.

        With ``rows``, only the images of these numbers are predicted. With ``out``, the result is written there.
        """
        n = len(images) if rows is None else len(rows)
        out = np.empty((n, *self.shape), self.dtype) if out is None else out
        self._run([images], n_jobs, rows, out)
        return out

    def record(self, rows: int, arena: Arena | None = None) -> tuple[Tape, list[Array], Array]:
        """Return a tape for a number of rows, its inputs, with images (rows, h, w, c) first, and its output."""
        tape = self._tape(rows, arena)
        x = tape.input((rows, *self._entry))
        scaling = None if self._inside else self.scaling
        return (
            tape,
            [x],
            self.network.record_prediction(tape, x, steps=self.steps, p=self.parameters, scaling=scaling),
        )

    def _tape(self, rows: int, arena: Arena | None, *, backward: bool = False) -> Tape:
        """Return an empty tape for predictions, with or without a backward pass after them."""
        return Tape(
            self.dtype,
            Batch(rows),
            backward=backward,
            arena=arena,
            constants=self._constants,
            poison=self._poison,
        )

    def _run(self, inputs: list[Array], n_jobs: int | None, rows: Array | None, out: Array) -> None:
        """Write the predictions for the rows of the inputs to ``out``. The first input is the images."""
        chunks = self._chunks(len(out))
        if len(chunks) == 1:  # on this thread, with BLAS limited only if the tape needs it
            kit = self._kit()
            given = inputs if rows is None else [array[rows] for array in inputs]
            kit.context.run(kit.predict_alone, given, out)
            self._put_back(kit)
            return
        # The number of threads is read before BLAS is limited, because the limit would be the answer.
        threads = max(1, min(thread_count(n_jobs), len(chunks), len(out) * self.network.multiply_adds // LEAST_WORK))
        with one_blas_thread, idle.team(threads) as team:
            shares = [chunks[thread::threads] for thread in range(threads)]
            team.run([partial(self._predict, inputs, rows, out, share) for share in shares])

    def _chunks(self, n: int) -> list[slice]:
        """Return the rows in chunks of about equal length, which depend on the number of rows and never on the threads.

        A few rows are one chunk. More than two chunks are a multiple of four, so that two or four threads can share
        them. Lengths are multiples of an eighth of the longest chunk, so that few tapes serve all numbers of rows.
        """
        work = max(1, self.network.multiply_adds)
        rows, enough = LEAST_ROWS
        least = max(-(-LEAST_WORK // work), min(rows, -(-enough // work)))
        unit = max(1, self.rows // 8)
        longest = self.rows - self.rows % unit
        count = max(-(-n // longest), 1 if n < 2 * least else 2)
        if count <= 2:
            return evenly(n, count)
        units = evenly(-(-n // unit), count + -count % EVEN)
        return [slice(part.start * unit, min(part.stop * unit, n)) for part in units]

    def _predict(self, inputs: list[Array], rows: Array | None, out: Array, chunks: list[slice]) -> None:
        kit = self._kit()
        for chunk in chunks:
            given = [array[chunk if rows is None else rows[chunk]] for array in inputs]
            kit.context.run(kit.predict, given, out[chunk])
        self._put_back(kit)

    def _kit(self) -> _Kit:
        """Take a kit from the pool, or make one. An interrupted prediction does not put its kit back.

        The kit that this thread used last is preferred, because the cache of its processor may still contain the kit's
        arrays. Writing to arrays in the cache of another processor takes several times as long.
        """
        thread = get_ident()
        for kit in sorted(self._pool, key=lambda kit: kit.thread != thread):
            try:
                self._pool.remove(kit)  # atomic, like append, so the pool needs no lock
            except ValueError:  # another thread has taken it
                continue
            break
        else:
            kit = _Kit(self)
        kit.thread = thread
        return kit

    def _put_back(self, kit: _Kit) -> None:
        kit.used = time.monotonic()
        self._pool.append(kit)
        if len(self._pool) > 1:
            sweeper.watch(self)

    def sweep(self) -> bool:
        """Release the kits that are unused for some seconds, except one, and return whether several are left."""
        unused = time.monotonic() - IDLE_SECONDS
        for kit in sorted(self._pool, key=lambda kit: kit.used)[:-1]:
            if kit.used <= unused:
                with suppress(ValueError):  # a thread has just taken it
                    self._pool.remove(kit)
        return len(self._pool) > 1


class Differentiator(Predictor):
    """Gradients of raw predictions with respect to the images, per unit of their pixels.

    The forward pass is a prediction, with running statistics and without dropout.
    """

    def gradient(self, images: Array, dy: Array, n_jobs: int | None = None) -> Array:
        """Return the gradient (n, h, w, c) of sum(dy * raw predictions) for images (n, h, w, c) and dy (n, outputs)."""
        out = np.empty(images.shape, self.dtype)
        self._run([images, dy], n_jobs, None, out)
        return out

    def record(self, rows: int, arena: Arena | None = None) -> tuple[Tape, list[Array], Array]:
        tape = self._tape(rows, arena, backward=True)
        x, dy = tape.input((rows, *self.network.input_shape)), tape.input((rows, *self.shape))
        gradient = tape.input(x.shape)  # not from the arena, because it is read after the replay
        self.network.record_input_gradient(
            tape, x, dy, steps=self.steps, p=self.parameters, scaling=self.scaling, gradient=gradient
        )
        return tape, [x, dy], gradient


class _Kit:
    """Tapes of one predicting thread for several numbers of rows, which share their memory."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._arena = Arena()
        self.context = settings_context()
        self.thread = 0  # identifier of the thread that used it last
        self.used = 0.0  # time of the last use, in seconds of the monotonic clock
        self._tapes: dict[int, _Recorded] = {}
        self._largest = 0  # memory of the largest tape that was recorded alone, in bytes

    def predict(self, inputs: list[Array], out: Array) -> None:
        """Write the prediction for the inputs of the tape to ``out``, inside the limit of BLAS."""
        self._recorded(len(out)).replay(inputs, out)

    def predict_alone(self, inputs: list[Array], out: Array) -> None:
        """Predict like `predict`, outside the limit of BLAS."""
        recorded = self._recorded(len(out))
        with recorded.held:
            recorded.replay(inputs, out)

    def _recorded(self, rows: int) -> _Recorded:
        found = self._tapes.pop(rows, None)
        if found is None:
            while len(self._tapes) >= TAPES:
                del self._tapes[next(iter(self._tapes))]
            found = self._record(rows)
            # Tapes together may need far more memory than the largest one alone. Then all are dropped.
            if self._tapes and self._size(found) > MOST * self._largest:
                self._tapes, self._arena = {}, Arena()
                found = self._record(rows)
            if not self._tapes:
                self._largest = max(self._largest, self._size(found))
        self._tapes[rows] = found  # the most recently used tape is the last
        return found

    def _record(self, rows: int) -> _Recorded:
        return _Recorded(*self._predictor.record(rows, self._arena))

    def _size(self, latest: _Recorded) -> int:
        """Return the bytes of the memory that all tapes share, and of their inputs."""
        return self._arena.size + sum(recorded.size for recorded in (latest, *self._tapes.values()))


class _Recorded:
    """A tape, its inputs and its output."""

    def __init__(self, tape: Tape, inputs: list[Array], raw: Array) -> None:
        self.tape = tape
        self._inputs, self._raw = inputs, raw
        self.size = sum(array.nbytes for array in inputs)
        # BLAS is limited only if it would start threads, because setting the limit takes longer than all products of a
        # small network.
        hold = any(may_take_threads(*product) for product in tape.products())
        self.held: AbstractContextManager[None] = one_blas_thread if hold else nullcontext()

    def replay(self, inputs: list[Array], out: Array) -> None:
        """Copy the inputs to the tape, replay it, and copy the result to ``out``."""
        for array, given in zip(self._inputs, inputs, strict=True):
            np.copyto(array, given, casting="unsafe")
            if given.dtype.kind == "f" and given.itemsize > array.itemsize and not np.isfinite(array).all():
                check_range(given, array.dtype)
        self.tape.replay(0)
        np.copyto(out, self._raw)


def _chunk_rows(network: Network, itemsize: int) -> int:
    """Return the length of the longest chunk, in rows."""
    shapes = [network.input_shape, *(layer.output_shape(shape) for _, layer, shape in network.parts)]
    largest = max(math.prod(shape) for shape in shapes) * itemsize
    wanted = TINY_ROWS if network.multiply_adds < TINY_NETWORK else ROWS
    return max(1, min(wanted, LARGEST // largest))
