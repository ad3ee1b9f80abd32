"""Recorded passes: lists of NumPy calls on arrays that the tape owns, replayed for every batch.

A network of fixed shape makes the same calls for all batches of the same size. They are recorded once, as a list of
(function, arguments). Arrays are allocated and views are created while recording. A replay runs the list. The tape owns
all intermediate results of a batch. Each thread has a separate tape, no memory is allocated per batch, and no
intermediate result is pickled.

Axes are always (h, w, n, c), with the batch next to the channels. A shift, a window or a border is then a slice of the
leading axes, with one long contiguous run inside. The tape chooses the memory order. Arrays with fewer than 16 channels
are stored as (c, h, w, n), and returned transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.geometry import Borders
from .._arrays.order import NARROW, SMALL
from .arena import ALIGNMENT, Arena

WAY = 1024  # rows of input whose size is a multiple of this many bytes share the same cache lines

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Batch:
    """State shared by the tapes of all shards of a batch: the number of rows, and the vectors to sum.

    ``zeros(shape, dtype)`` returns memory that all shards see, also if other processes compute them.
    """

    def __init__(self, rows: int, shards: int = 1, zeros: Callable[[tuple[int, ...], Any], Array] = np.zeros) -> None:
        self.rows = rows
        self.shards = shards
        self.sums: list[Array] = []  # one array (shards, size) for each sum of the pass
        self.zeros = zeros


class Tape:
    """List of recorded calls, with the arrays that they use.

    Parameters
    ----------
    dtype : dtype
        Default dtype of the buffers.
    batch : Batch
        Batch of which this tape computes one shard.
    shard : int, default=0
        Index of the shard.
    training : bool, default=False
        Whether layers run in training mode, with batch statistics and dropout.
    freeze_statistics : bool, default=False
        Whether batch normalization uses its running statistics in training, too, and does not update them.
    backward : bool, default=None
        Whether a backward pass follows. If false, buffers for the backward pass are not kept. If None, it is
        ``training``. In prediction, the backward pass computes the gradient with respect to the images, with constant
        parameters.
    rng : Generator, default=None
        Source of random numbers for this shard, for example for dropout.
    arena : Arena, default=None
        Memory of the buffers. Tapes that are never replayed at the same time can share it. By default it is separate.
    own : (Arena, sequence of bool), default=None
        Memory of this tape alone, and ``crossing`` of an earlier recording of the same calls. Buffers that cross a
        barrier are in this memory. So all tapes of a batch that one thread replays can share ``arena``, although they
        have barriers. By default all buffers are in ``arena``.
    constants : dict, default=None
        Arrays that depend on parameters only, shared by the tapes of a predictor, or by the tapes that one thread
        replays in the order of their recording. By default they are not shared.
    poison : bool, default=False
        Whether to fill each new buffer with NaN, to detect steps that read uninitialized memory.
    """

    def __init__(
        self,
        dtype: Any,
        batch: Batch,
        shard: int = 0,
        *,
        training: bool = False,
        freeze_statistics: bool = False,
        backward: bool | None = None,
        rng: np.random.Generator | None = None,
        arena: Arena | None = None,
        own: tuple[Arena, Sequence[bool]] | None = None,
        constants: dict[Any, Any] | None = None,
        poison: bool = False,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.batch = batch
        self.shard = shard
        self.training = training
        self.freeze_statistics = freeze_statistics
        self.backward = training if backward is None else backward
        self.rng = rng
        self.owner = ""
        self.row_weights: Array | None = None  # input (n,), if the sample weights differ
        self.margin: Borders | None = None  # border that the next step needs around its input
        self.segments: list[list[Call]] = [[]]
        self.owners: list[list[str]] = [[]]
        self.crossing: list[bool] = []  # for each buffer, whether it is in use before and after a barrier
        self._arena = Arena() if arena is None else arena
        self._own = own
        for used in (self._arena, *(own or ())[:1]):
            used.give_all()
        self._used: dict[int, _Buffer] = {}  # by the identity of the block
        self._constants = {} if constants is None else constants
        self._poison = poison
        self._scratch: list[Array] = []
        self._held: list[Array] = []
        self._framed: list[tuple[Array, Array, Borders]] = []  # (image, image with its border, size of the border)
        self._sums = 0

    def __call__(self, f: Callable[..., Any], *arguments: Any, **keywords: Any) -> Array:
        """Record a call of ``f``; return the destination, which is the last argument.

        Raises
        ------
        TypeError
            If the last argument is not an array, or there are keyword arguments.
        ValueError
            If the destination is read-only, such as the input of a layer.
        """
        out = arguments[-1] if arguments else None
        if keywords or not isinstance(out, np.ndarray):
            given = ", ".join(keywords) + "=" if keywords else repr(out)
            raise TypeError(
                f"{self.owner}: the last argument of tape(f, *inputs, out) must be the destination array, got {given}."
                f" If {_name(f)} returns a new array, wrap it in a function that copies the result into ``out``."
            )
        if not out.flags.writeable:
            raise ValueError(
                f"{self.owner}: {_name(f)} would write to the layer's input, which other steps read. Write to"
                " tape.output(x.shape) instead."
            )
        self.segments[-1].append((f, arguments))
        self.owners[-1].append(self.owner)
        return out

    def __str__(self) -> str:
        """Return one line per call, with its owner, function, inputs and destination."""
        lines = []
        for calls, owners in zip(self.segments, self.owners, strict=True):
            for owner, (f, arguments) in zip(owners, calls, strict=True):
                *read, written = map(_shown, arguments)
                lines.append(f"{owner:12} {_name(f):12} {', '.join(read)} -> {written}")
            lines.append("-- all shards meet --")
        return "\n".join(lines[:-1])

    def replay(self, segment: int) -> None:
        """Run the calls of one segment, the part between two barriers."""
        for f, arguments in self.segments[segment]:
            f(*arguments)

    def products(self) -> set[tuple[int, int, int]]:
        """Return the sizes (m, k, n) of all matrix products of (m, k) and (k, n) on the tape."""
        found = (arguments for calls in self.segments for f, arguments in calls if f is np.matmul)
        return {(*a.shape[-2:], b.shape[-1]) for a, b, _ in found}

    # -- buffers

    def input(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """Return an array in C order that the caller fills before each replay. Steps may overwrite it.

        Long rows of certain lengths have gaps between them. Without a gap, rows that are read in parallel would compete
        for the same few cache lines.
        """
        kind, length = np.dtype(self.dtype if dtype is None else dtype), math.prod(shape[1:])
        gap = 0 if length * kind.itemsize % WAY else ALIGNMENT // kind.itemsize
        return reshape(np.zeros((shape[0], length + gap), kind)[:, :length], tuple(shape))

    def scratch(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """Return a buffer for use within the step.

        A buffer with four axes is an image, (h, w, n, c). With few channels it is not in C order.
        """
        array = self._take(shape, dtype)
        self._scratch.append(array)
        return array

    def output(self, shape: Sequence[int], dtype: Any = None, *, framed: bool = False) -> Array:
        """Return a buffer for the output of the step.

        With ``framed``, it may be a view into an array with the border that the next step needs. Its rows of pixels
        then have gaps. ufuncs support such views, `reshape` does not.
        """
        if framed and self.margin is not None:
            return self._frame(shape, self.margin, 0.0, self._held)
        array = self._take(shape, dtype)
        self._held.append(array)
        return array

    def keep(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """Return a buffer that the backward pass can read. It equals `scratch` if no backward pass follows."""
        return self.output(shape, dtype) if self.backward else self.scratch(shape, dtype)

    def release(self, array: Array) -> None:
        """Free a scratch buffer before its step ends. Other arrays are ignored."""
        if any(array.base is other.base for other in self._scratch):
            self._scratch = [other for other in self._scratch if other.base is not array.base]
            self._give(array)

    def with_border(
        self, x: Array, rows: tuple[int, int], columns: tuple[int, int], value: float = 0.0, *, keep: bool = False
    ) -> Array:
        """Return x (h, w, n, c) with a border of ``value``, rows = (top, bottom) and columns = (left, right).

        A copy is recorded unless the step that computed ``x`` has allocated the border, or the border is empty.
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
        """Return a buffer (h, w, n, c) inside a border of ``value``.

        The border is filled in every replay, because other buffers use the same memory. If filling would take too long,
        the buffer gets separate memory.
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
        """Return a constant array. The first tape of a predictor creates it, and the others share it."""
        key = self.owner, key
        if key not in self._constants:
            self._constants[key] = make()
        return self._constants[key]

    def derived(self, key: Any, shape: Sequence[int], record: Callable[[Callable[..., Any], Array], None]) -> Array:
        """Return an array that depends on parameters only, computed by the calls of ``record(call, out)``.

        In training, the calls are recorded, because parameters change. If tapes share their constants, only the first
        tape of a batch records them, and the others read its array. In prediction, they run once. Steps must not write
        to the array.
        """
        if self.training:
            place = self.owner, key
            out, batch = self._constants.get(place, (None, None))
            if batch is not self.batch or out.shape != tuple(shape):
                if out is None or out.shape != tuple(shape):  # not in the arena, because other tapes read it
                    out = self._array(Arena(), shape, self.dtype)
                self._constants[place] = out, self.batch
                record(self, out)
            return out

        def make() -> Array:
            out = np.empty(shape, self.dtype)
            record(_at_once, out)
            return out

        found = self.constant(key, make)
        assert found.shape == tuple(shape), f"{key} has a different shape on another tape"
        return found

    def computes(self, array: Array) -> bool:
        """Return whether an array is a buffer, which has no numbers before the tape is replayed."""
        return self._arena.holds(array)

    def zeros(self, x: Array) -> Array:
        """Return zeros that broadcast against ``x`` in long runs. ufuncs are faster with arrays than with scalars."""
        if x.size <= SMALL:
            return np.zeros_like(x)
        if x.ndim < 4:
            return np.zeros((1, x.shape[-1]), self.dtype)
        _, w, n, c = x.shape
        return np.zeros((w, n, 1) if c < NARROW else (n, c), self.dtype)

    # -- shards

    def total(self, *vectors: Array) -> list[Array]:
        """Record a barrier and the sums of vectors over all shards, in float64 and in shard order."""
        sums = []
        for vector in vectors:
            if self._sums == len(self.batch.sums):
                # Not from the arena, because the other shards read it at any time.
                self.batch.sums.append(self.batch.zeros((self.batch.shards, *vector.shape), np.float64))
            parts = self.batch.sums[self._sums]
            self._sums += 1
            self(copy, vector, parts[self.shard])
            sums.append(parts)
        self.barrier()
        return [self(_sum_in_order, parts, self.scratch(parts.shape[1:], np.float64)) for parts in sums]

    def barrier(self) -> None:
        """Begin a new segment. It is replayed after all shards have replayed the previous segment."""
        if self.batch.shards > 1:
            if self._own is not None and any(buffer.arena is self._arena for buffer in self._used.values()):
                raise RuntimeError(f"{self.owner}: this recording differs from the one whose buffers were measured.")
            self.segments.append([])
            self.owners.append([])

    # -- steps

    @contextmanager
    def step(self, owner: str) -> Iterator[list[Array]]:
        """Record a step that belongs to ``owner``; provide the list of its kept buffers, and free its scratch buffers.

        Steps can be nested. After an inner step, recording continues for the outer step.
        """
        outer = self.owner, self._scratch, self._held
        self.owner, self._scratch, self._held = owner, [], []
        yield self._held
        for array in self._scratch:
            self._give(array)
        self.owner, self._scratch, self._held = outer

    def end(self, held: Sequence[Array], but: Array) -> None:
        """Free the kept buffers of a step, except the memory of ``but``, which will still be read."""
        for array in held:
            if memory(array) is not memory(but):
                self._give(array)

    def finish(self) -> None:
        """Free all buffers, when all calls that read them are recorded."""
        for buffer in list(self._used.values()):
            self._give(buffer.array)

    def _take(self, shape: Sequence[int], dtype: Any) -> Array:
        apart = self._own is not None and self._own[1][len(self.crossing)]
        arena = self._own[0] if self._own is not None and apart else self._arena
        array = self._array(arena, shape, self.dtype if dtype is None else np.dtype(dtype))
        self._used[id(memory(array))] = _Buffer(array, len(self.crossing), len(self.segments), arena)
        self.crossing.append(False)
        return array

    def _give(self, array: Array) -> None:
        """Free a buffer. Other arrays are ignored."""
        buffer = self._used.pop(id(array.base), None)
        if buffer is not None:
            self.crossing[buffer.number] = len(self.segments) > buffer.segment
            buffer.arena.give(array)

    def _array(self, arena: Arena, shape: Sequence[int], kind: Any) -> Array:
        """Return an aligned array in the memory of an arena."""
        size = math.prod(shape) * kind.itemsize
        block = arena.take(size)
        shift = -block.ctypes.data % ALIGNMENT
        flat = block[shift : shift + size].view(kind)
        array = self._in_order(flat, shape)
        if self._poison:
            self(fill, np.nan if kind.kind == "f" else True, array)
        return array

    @staticmethod
    def _in_order(flat: Array, shape: Sequence[int]) -> Array:
        """Return a vector as an array, in the memory order for its shape."""
        if len(shape) == 4 and shape[-1] < NARROW:
            h, w, n, c = shape
            return reshape(flat, (c, h, w, n)).transpose(1, 2, 3, 0)
        return reshape(flat, tuple(shape))


@dataclass(frozen=True)
class _Buffer:
    """A buffer in use: its number in the order of the tape, the segments there were before it, and its memory."""

    array: Array
    number: int
    segment: int
    arena: Arena


def _at_once(f: Callable[..., Any], *arguments: Any) -> Any:
    """Run a call immediately instead of recording it."""
    f(*arguments)
    return arguments[-1]


def _name(f: Callable[..., Any]) -> str:
    """Return the name of a function."""
    return getattr(f, "__name__", type(f).__name__)


def _shown(argument: object) -> str:
    """Return an argument of a call as text: the shape of an array, a number, or the type of any other object."""
    if isinstance(argument, np.ndarray):
        return "x".join(map(str, argument.shape)) or "()"
    return f"{argument:g}" if isinstance(argument, (int, float, np.number)) else type(argument).__name__


def _is_same(a: Array, b: Array) -> bool:
    """Return whether two views have the same memory and strides."""
    return a is b or (a.ctypes.data, a.shape, a.strides) == (b.ctypes.data, b.shape, b.strides)


def read_only(array: Array) -> Array:
    """Return a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def memory(array: Array) -> Array:
    """Return the array that owns the memory of ``array``."""
    return array if array.base is None else array.base


def _sum_in_order(parts: Array, out: Array) -> None:
    """Compute ``out <- parts[0] + parts[1] + ...``."""
    np.copyto(out, parts[0])
    for part in parts[1:]:
        np.add(out, part, out)
