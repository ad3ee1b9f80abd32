"""A network as prediction wants it: batch norm folded, parameters that stay as they are, images in chunks."""

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

ROWS = 64  # of a chunk: enough for the matrix products, few enough for the cache
LEAST_ROWS = 4, 24_000_000  # of a chunk, or multiply-adds: with less, one thread is as quick
TINY_ROWS = 256  # for networks so small that the calls cost more than the arithmetic
TINY_NETWORK = 125_000  # multiply-adds per image
LEAST_WORK = 8_000_000  # multiply-adds that are worth a thread: about as long as it takes to start one
MINUTE = 1 << 15  # multiply-adds per image of networks that are predicted in double precision
LARGEST = 1 << 22  # bytes of the largest array of a chunk
TAPES = 8  # that a kit remembers: the chunk, and the sizes of what was asked for last
MOST = 4  # times the memory of its largest tape that a kit may hold: blocks of one size are too small for the next


class Predictor:
    """Raw predictions of a network with given weights, or what one of its layers gives, from any number of threads.

    Each thread that predicts takes a kit (tapes and their memory) from a pool and puts it back: nothing is shared
    while it works, and the next prediction finds its tape recorded. Kits that are not used for some seconds are given
    up, except the last one.
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
        # BLAS adds up a row's products in an order that depends on the rows beside it. Where it costs nothing, double
        # precision keeps that out of every digit that anybody looks at.
        self.dtype = np.dtype(np.float64) if network.multiply_adds < MINUTE else weights.dtype
        weights, state = weights.astype(self.dtype, copy=False), state.astype(self.dtype, copy=False)
        self.steps, self.parameters = network.prediction_steps(network.bind(weights, state), layer, pool, after)
        self.scaling = scaling
        self._inside = after is not None  # of the network begins what it computes
        self._entry = network.input_shape if after is None else network.reached[after]  # the shape of what it takes
        shape = network.reached[layer]
        self.shape = shape if pool is None else pool.output_shape(shape)  # of what is predicted for one image
        self.rows = _chunk_rows(network, self.dtype.itemsize)
        self._poison = poison
        self._pool: list[_Kit] = []
        self._constants: dict[Any, Array] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what a prediction leaves behind for the next one."""
        return vars(self) | {"_pool": [], "_constants": {}}

    def raw(
        self, images: Array, n_jobs: int | None = None, rows: Array | None = None, out: Array | None = None
    ) -> Array:
        """Images (n, h, w, c) of any dtype, or those of ``rows`` -> raw predictions (n, outputs), or (n, h, w, c)."""
        n = len(images) if rows is None else len(rows)
        out = np.empty((n, *self.shape), self.dtype) if out is None else out
        self._run([images], n_jobs, rows, out)
        return out

    def record(self, rows: int, arena: Arena | None = None) -> tuple[Tape, list[Array], Array]:
        """A tape for a number of rows, its inputs, (rows, h, w, c) first, and what it gives (rows, ...)."""
        tape = self._tape(rows, arena)
        x = tape.input((rows, *self._entry))
        scaling = None if self._inside else self.scaling
        return (
            tape,
            [x],
            self.network.record_prediction(tape, x, steps=self.steps, p=self.parameters, scaling=scaling),
        )

    def _tape(self, rows: int, arena: Arena | None, *, backward: bool = False) -> Tape:
        """A tape for predictions, with a backward pass behind them or without."""
        return Tape(
            self.dtype,
            Batch(rows),
            backward=backward,
            arena=arena,
            constants=self._constants,
            poison=self._poison,
        )

    def _run(self, inputs: list[Array], n_jobs: int | None, rows: Array | None, out: Array) -> None:
        """Fill ``out`` from what stands in the rows of the inputs, images first."""
        chunks = self._chunks(len(out))
        if len(chunks) == 1:  # it knows itself whether BLAS must be held; for several it is done once
            kit = self._kit()
            given = inputs if rows is None else [array[rows] for array in inputs]
            kit.context.run(kit.predict_alone, given, out)
            self._put_back(kit)
            return
        # Read before BLAS is held: inside, it would always answer one.
        threads = max(1, min(thread_count(n_jobs), len(chunks), len(out) * self.network.multiply_adds // LEAST_WORK))
        with one_blas_thread, idle.team(threads) as team:
            shares = [chunks[thread::threads] for thread in range(threads)]
            team.run([partial(self._predict, inputs, rows, out, share) for share in shares])

    def _chunks(self, n: int) -> list[slice]:
        """The rows in equal chunks: one for few rows, else as many as two and four threads can share.

        Many chunks are of few lengths, an eighth of the longest apart, so that their tapes will do for other rows too.
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
        """A kit that nobody else uses, until it is put back into the pool; after an interruption it is not.

        The one that this thread had last, if it is there: the cache of its processor may still hold its arrays, and it
        takes several times as long to write to what is in the cache of another.
        """
        thread = get_ident()
        for kit in sorted(self._pool, key=lambda kit: kit.thread != thread):
            try:
                self._pool.remove(kit)  # atomic, as append is: the pool needs no lock
            except ValueError:  # another thread was quicker
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
        """Give up the kits that nobody has used for some seconds, except the last one; whether there are others."""
        unused = time.monotonic() - IDLE_SECONDS
        for kit in sorted(self._pool, key=lambda kit: kit.used)[:-1]:
            if kit.used <= unused:
                with suppress(ValueError):  # a thread has just taken it
                    self._pool.remove(kit)
        return len(self._pool) > 1


class Differentiator(Predictor):
    """Gradients of raw predictions with respect to the images, in the units of their pixels.

    The pass is that of prediction, running statistics and no dropout, with a backward pass behind it.
    """

    def gradient(self, images: Array, dy: Array, n_jobs: int | None = None) -> Array:
        """Images (n, h, w, c) -> the gradient of sum(dy * raw predictions), alike, with ``dy`` (n, outputs)."""
        out = np.empty(images.shape, self.dtype)
        self._run([images, dy], n_jobs, None, out)
        return out

    def record(self, rows: int, arena: Arena | None = None) -> tuple[Tape, list[Array], Array]:
        tape = self._tape(rows, arena, backward=True)
        x, dy = tape.input((rows, *self.network.input_shape)), tape.input((rows, *self.shape))
        gradient = tape.input(x.shape)  # not from the arena: it is read after the replay
        self.network.record_input_gradient(
            tape, x, dy, steps=self.steps, p=self.parameters, scaling=self.scaling, gradient=gradient
        )
        return tape, [x, dy], gradient


class _Kit:
    """Tools of one thread that predicts: tapes for several numbers of rows, over the same memory."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._arena = Arena()
        self.context = settings_context()
        self.thread = 0  # that had it last
        self.used = 0.0  # seconds on the monotonic clock
        self._tapes: dict[int, _Recorded] = {}
        self._largest = 0  # bytes of the largest tape

    def predict(self, inputs: list[Array], out: Array) -> None:
        """Images (n, h, w, c), and what else the tape takes in -> what it gives, where BLAS is held."""
        self._recorded(len(out)).replay(inputs, out)

    def predict_alone(self, inputs: list[Array], out: Array) -> None:
        """As `predict`, where nobody holds BLAS yet."""
        recorded = self._recorded(len(out))
        with recorded.held:
            recorded.replay(inputs, out)

    def _recorded(self, rows: int) -> _Recorded:
        found = self._tapes.pop(rows, None)
        if found is None:
            while len(self._tapes) >= TAPES:
                del self._tapes[next(iter(self._tapes))]
            found = self._record(rows)
            if self._tapes and self._size(found) > MOST * self._largest:
                self._tapes, self._arena = {}, Arena()
                found = self._record(rows)
            if not self._tapes:
                self._largest = max(self._largest, self._size(found))
        self._tapes[rows] = found  # what was asked for last comes last
        return found

    def _record(self, rows: int) -> _Recorded:
        return _Recorded(*self._predictor.record(rows, self._arena))

    def _size(self, latest: _Recorded) -> int:
        """Bytes of the memory that all tapes share, and of their inputs."""
        return self._arena.size + sum(recorded.size for recorded in (latest, *self._tapes.values()))


class _Recorded:
    """A tape, its inputs, and what it gives."""

    def __init__(self, tape: Tape, inputs: list[Array], raw: Array) -> None:
        self.tape = tape
        self._inputs, self._raw = inputs, raw
        self.size = sum(array.nbytes for array in inputs)
        # To hold BLAS takes longer than all products of a small network.
        hold = any(may_take_threads(*product) for product in tape.products())
        self.held: AbstractContextManager[None] = one_blas_thread if hold else nullcontext()

    def replay(self, inputs: list[Array], out: Array) -> None:
        """Copy the inputs in, and the result out."""
        for array, given in zip(self._inputs, inputs, strict=True):
            np.copyto(array, given, casting="unsafe")
            if given.dtype.kind == "f" and given.itemsize > array.itemsize and not np.isfinite(array).all():
                check_range(given, array.dtype)
        self.tape.replay(0)
        np.copyto(out, self._raw)


def _chunk_rows(network: Network, itemsize: int) -> int:
    """Rows of a chunk."""
    shapes = [network.input_shape, *(layer.output_shape(shape) for _, layer, shape in network.parts)]
    largest = max(math.prod(shape) for shape in shapes) * itemsize
    wanted = TINY_ROWS if network.multiply_adds < TINY_NETWORK else ROWS
    return max(1, min(wanted, LARGEST // largest))
