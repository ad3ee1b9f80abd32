"""A recorded pass: a list of NumPy calls over arrays that the tape owns, replayed for every batch.

A network of a fixed shape makes the same calls for every batch of the same size. So they are made once, as a list of
(function, arguments) over arrays that are allocated and views that are taken while recording; a replay runs the list.
Who owns what a batch leaves behind? The tape, and so whoever holds it: a thread has its own, nothing is allocated per
batch, nothing of it is pickled.

Axes are always (h, w, n, c): space outside, the batch beside the channels, so that a shift, a window or a border is a
slice of the leading axes with one long contiguous run inside. Behind the axes the tape chooses the order in memory:
arrays with fewer than 16 channels are stored as (c, h, w, n) and handed out transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.geometry import Borders
from .._arrays.order import NARROW, SMALL
from .arena import ALIGNMENT, Arena

WAY = 1024  # bytes of a row of input, of which a multiple leads to the same lines of the cache again

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Batch:
    """State that the tapes of the shards of one batch share: its rows, and the vectors that they sum."""

    def __init__(self, rows: int, shards: int = 1) -> None:
        self.rows = rows
        self.shards = shards
        self.sums: list[list[Array]] = []  # a list for each sum of the pass, with one vector of each shard


class Tape:
    """A list of calls, and the arrays that they work on.

    Parameters
    ----------
    dtype : dtype
        Of the buffers, where nothing else is asked for.
    batch : Batch
        The batch of which this tape computes one shard.
    shard : int
        Which one.
    training : bool
        Whether layers do what they do in training: take the statistics of the batch, drop at random.
    backward : bool, optional
        Whether a backward pass follows, as it does in training; else what it would read need not be kept. When
        predicting, it leads to the gradient of a prediction with respect to the images, for parameters that stay.
    rng : Generator, optional
        Of this shard, for dropout.
    arena : Arena, optional
        Where buffers come from: tapes that are never replayed at the same time may share one.
    constants : dict, optional
        What follows from the parameters alone, shared by the tapes of a predictor.
    poison : bool
        Fill every buffer with NaN at the moment it is handed out: finds steps that read what they have not written.
    """

    def __init__(
        self,
        dtype: Any,
        batch: Batch,
        shard: int = 0,
        *,
        training: bool = False,
        backward: bool | None = None,
        rng: np.random.Generator | None = None,
        arena: Arena | None = None,
        constants: dict[Any, Array] | None = None,
        poison: bool = False,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.batch = batch
        self.shard = shard
        self.training = training
        self.backward = training if backward is None else backward
        self.rng = rng
        self.owner = ""
        self.margin: Borders | None = None  # what the next step wants around its input
        self.segments: list[list[Call]] = [[]]
        self.owners: list[list[str]] = [[]]
        self._arena = Arena() if arena is None else arena
        self._arena.give_all()
        self._constants = {} if constants is None else constants
        self._poison = poison
        self._scratch: list[Array] = []
        self._held: list[Array] = []
        self._framed: list[tuple[Array, Array, Borders]] = []  # (image, image with its border, what border that is)
        self._sums = 0

    def __call__(self, f: Callable[..., Any], *arguments: Any, **keywords: Any) -> Array:
        """Record a call. The destination is the last argument, and is returned."""
        out = arguments[-1] if arguments else None
        if keywords or not isinstance(out, np.ndarray):
            given = ", ".join(keywords) + "=" if keywords else repr(out)
            raise TypeError(
                f"{self.owner}: tape(f, *inputs, out) takes the array that f writes to as its last argument, got"
                f" {given}. If {_name(f)} returns a new array, wrap it in a function that copies into ``out``."
            )
        if not out.flags.writeable:
            raise ValueError(
                f"{self.owner}: {_name(f)} would write to the layer's input, which others read as well. Write to"
                " tape.output(x.shape) instead."
            )
        self.segments[-1].append((f, arguments))
        self.owners[-1].append(self.owner)
        return out

    def __str__(self) -> str:
        """One call a line: its owner, the function, what it reads and what it writes to."""
        lines = []
        for calls, owners in zip(self.segments, self.owners, strict=True):
            for owner, (f, arguments) in zip(owners, calls, strict=True):
                *read, written = map(_shown, arguments)
                lines.append(f"{owner:12} {_name(f):12} {', '.join(read)} -> {written}")
            lines.append("-- all shards meet --")
        return "\n".join(lines[:-1])

    def replay(self, segment: int) -> None:
        """Make the calls of one segment: the stretch between two barriers."""
        for f, arguments in self.segments[segment]:
            f(*arguments)

    def products(self) -> set[tuple[int, int, int]]:
        """The products of matrices (m, k) and (k, n) on the tape, as (m, k, n)."""
        found = (arguments for calls in self.segments for f, arguments in calls if f is np.matmul)
        return {(*a.shape[-2:], b.shape[-1]) for a, b, _ in found}

    # -- buffers

    def input(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """An array in C order that the caller fills before each replay: a step may overwrite what it reads there.

        Between long rows of certain lengths there is a gap: read side by side, as images are when their pixels are
        gathered, all of them would need the same few lines of the cache.
        """
        kind, length = np.dtype(self.dtype if dtype is None else dtype), math.prod(shape[1:])
        gap = 0 if length * kind.itemsize % WAY else ALIGNMENT // kind.itemsize
        return reshape(np.zeros((shape[0], length + gap), kind)[:, :length], tuple(shape))

    def scratch(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """A buffer until the step ends. One of four axes is an image, and with few channels not in C order."""
        array = self._take(shape, dtype)
        self._scratch.append(array)
        return array

    def output(self, shape: Sequence[int], dtype: Any = None, *, framed: bool = False) -> Array:
        """A buffer for what the step returns.

        ``framed``: it may be a view, with the border around it that the next step wants. Then there are gaps between
        its rows of pixels, which ufuncs do not mind and `reshape` does.
        """
        if framed and self.margin is not None:
            return self._frame(shape, self.margin, 0.0, self._held)
        array = self._take(shape, dtype)
        self._held.append(array)
        return array

    def keep(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """A buffer for what backward will read; scratch where none follows."""
        return self.output(shape, dtype) if self.backward else self.scratch(shape, dtype)

    def release(self, array: Array) -> None:
        """Hand a scratch buffer back before its step ends; anything else stays as it is."""
        if any(array.base is other.base for other in self._scratch):
            self._scratch = [other for other in self._scratch if other.base is not array.base]
            self._arena.give(array)

    def with_border(
        self, x: Array, rows: tuple[int, int], columns: tuple[int, int], value: float = 0.0, *, keep: bool = False
    ) -> Array:
        """x (h, w, n, c) with a border of ``value``: rows = (top, bottom), columns = (left, right).

        A copy, unless the step that made ``x`` has put the border there, or there is none.
        """
        if not any((*rows, *columns)):
            return x
        for image, framed, borders in self._framed:
            if _is_same(image, x) and borders == (rows, columns) and value == 0:
                return framed
        inner = self._frame(x.shape, (rows, columns), value, self._held if keep else self._scratch)
        self(copy, x, inner)
        return self._framed.pop()[1]

    def _frame(self, shape: Sequence[int], borders: Borders, value: float, owned: list[Array]) -> Array:
        """A buffer (h, w, n, c) within a border of ``value``.

        The border is filled at every replay, for others use the same memory; where that would take longer than
        everything else, the buffer has memory of its own.
        """
        (top, bottom), (left, right) = borders
        h, w, n, c = shape
        size = top + h + bottom, left + w + right, n, c
        inner = slice(top, top + h), slice(left, left + w)
        if math.prod(size) <= SMALL:
            framed = self._in_order(np.full(math.prod(size), value, self.dtype), size)
        else:
            framed = self._take(size, None)
            owned.append(framed)
            for edge in (framed[:top], framed[top + h :], framed[inner[0], :left], framed[inner[0], left + w :]):
                if edge.size:
                    self(fill, value, edge)
        image = framed[inner]
        if self._poison:
            self(fill, np.nan, image)
        self._framed.append((image, framed, borders))
        return image

    def constant(self, key: Any, make: Callable[[], Array]) -> Array:
        """Return an array that does not change: the first tape of a predictor makes it, the others share it."""
        key = self.owner, key
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]

    def derived(self, key: Any, shape: Sequence[int], record: Callable[[Callable[..., Any], Array], None]) -> Array:
        """Return an array that follows from the parameters alone, as the calls of ``record(call, out)`` compute it.

        Training changes the parameters, so there the calls are recorded; for predictions they are made once.
        """
        if self.training:
            out = self.keep(shape)
            record(self, out)
            return out

        def make() -> Array:
            out = np.empty(shape, self.dtype)
            record(_at_once, out)
            return out

        found = self.constant(key, make)
        assert found.shape == tuple(shape), f"{key} is something else on another tape"
        return found

    def zeros(self, x: Array) -> Array:
        """Zeros that broadcast against ``x`` in one long run: ufuncs are fast on two arrays, slow on a scalar."""
        if x.size <= SMALL:
            return np.zeros_like(x)
        if x.ndim < 4:
            return np.zeros((1, x.shape[-1]), self.dtype)
        _, w, n, c = x.shape
        return np.zeros((w, n, 1) if c < NARROW else (n, c), self.dtype)

    # -- shards

    def total(self, *vectors: Array) -> list[Array]:
        """The sums of vectors over the shards of the batch, in float64 and in shard order, behind a barrier."""
        sums = []
        for vector in vectors:
            if self._sums == len(self.batch.sums):
                self.batch.sums.append([])
            parts = self.batch.sums[self._sums]
            self._sums += 1
            # Not from the arena: the other shards read it at their own pace.
            parts.append(self(copy, vector, np.empty(vector.shape)))
            sums.append((parts, self.scratch(vector.shape, np.float64)))
        self.barrier()
        for parts, out in sums:
            self(_sum_in_order, parts, out)
        return [out for _, out in sums]

    def barrier(self) -> None:
        """Begin a segment, which is replayed when all shards have replayed the one before."""
        if self.batch.shards > 1:
            self.segments.append([])
            self.owners.append([])

    # -- steps

    @contextmanager
    def step(self, owner: str) -> Iterator[list[Array]]:
        """Record on behalf of ``owner``; gives the list of what the step holds on to, and ends its scratch.

        A step may hold others: what is recorded after them is on behalf of the outer one again.
        """
        outer = self.owner, self._scratch, self._held
        self.owner, self._scratch, self._held = owner, [], []
        yield self._held
        for array in self._scratch:
            self._arena.give(array)
        self.owner, self._scratch, self._held = outer

    def end(self, held: Sequence[Array], but: Array) -> None:
        """Hand back what a step held, but not the memory of ``but``, which is still to be read."""
        for array in held:
            if memory(array) is not memory(but):
                self._arena.give(array)

    def _take(self, shape: Sequence[int], dtype: Any) -> Array:
        kind = self.dtype if dtype is None else np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        block = self._arena.take(size)
        shift = -block.ctypes.data % ALIGNMENT
        flat = block[shift : shift + size].view(kind)
        array = self._in_order(flat, shape)
        if self._poison:
            self(fill, np.nan if kind.kind == "f" else True, array)
        return array

    @staticmethod
    def _in_order(flat: Array, shape: Sequence[int]) -> Array:
        """A vector as an array, in the order in memory that suits its shape."""
        if len(shape) == 4 and shape[-1] < NARROW:
            h, w, n, c = shape
            return reshape(flat, (c, h, w, n)).transpose(1, 2, 3, 0)
        return reshape(flat, tuple(shape))


def _at_once(f: Callable[..., Any], *arguments: Any) -> Any:
    """Make a call that is not worth recording."""
    f(*arguments)
    return arguments[-1]


def _name(f: Callable[..., Any]) -> str:
    """The name of a function."""
    return getattr(f, "__name__", type(f).__name__)


def _shown(argument: object) -> str:
    """An argument of a recorded call: the shape of an array, a number, or the kind of anything else."""
    if isinstance(argument, np.ndarray):
        return "x".join(map(str, argument.shape)) or "()"
    return f"{argument:g}" if isinstance(argument, (int, float, np.number)) else type(argument).__name__


def _is_same(a: Array, b: Array) -> bool:
    """Whether two views are of the same numbers in the same order."""
    return a is b or (a.ctypes.data, a.shape, a.strides) == (b.ctypes.data, b.shape, b.strides)


def read_only(array: Array) -> Array:
    """Return a view that nobody can write to."""
    view = array.view()
    view.flags.writeable = False
    return view


def memory(array: Array) -> Array:
    """The array that owns the memory of ``array``."""
    return array if array.base is None else array.base


def _sum_in_order(parts: list[Array], out: Array) -> None:
    """out <- parts[0] + parts[1] + ..."""
    np.copyto(out, parts[0])
    for part in parts[1:]:
        np.add(out, part, out)
