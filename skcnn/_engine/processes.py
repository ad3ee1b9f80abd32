"""Training on several processes.

Threads of one process take turns at Python's lock, so more than a few of them make a step slower. Here, each process
records the tapes of its own shards over memory that all see: the weights, the state, the gradients of each shard, the
slots of the optimizer and the sums over shards. It draws the same batches from the same seed, so the processes exchange
nothing but arrays, and meet only where threads would. The process of the estimator is one of them.

The workers are processes of loky. They need no main guard in a script, receive classes of the user's script by value,
and wait for the next fit, which starts in a fraction of a second.
"""

from __future__ import annotations

import gc
import math
import mmap
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from .._arrays.elementwise import Array, ufunc_settings
from .._tape.arena import ALIGNMENT
from .data import Data
from .memory import has_disk_room
from .parallel import one_blas_thread
from .passes import Passes, Work
from .progress import Fit, Recipe, Snapshot

# Floating-point operations of a fit that are worth processes, if they have to be started, and if they wait already.
# They take 5 to 15 seconds on two processors, and a tenth of it. Starting the workers takes 0.4 and 0.01 seconds.
WORTH = 5e11, 5e10
IDLE_SECONDS = 300  # time after which waiting workers end
STARTING_SECONDS = 120.0  # longest time for the start of the workers
LEAVING_SECONDS = 10.0  # longest time that workers have to leave a fit that was broken off
SPINS = 200  # times that a member looks for the others before it lets other programs run, about 50 microseconds
PATIENCE = 2e-3, 20e-3  # seconds of waiting after which a member begins to sleep, and to look whether all are alive
SPARE = 1 << 26  # bytes of shared memory for the sums over shards and for gaps; the system provides what is used
LINE = 8  # numbers in a cache line, in which only one member writes
yield_processor = getattr(os, "sched_yield", partial(time.sleep, 0))  # not on all systems


class WorkersLostError(Exception):
    """A worker could not start, has ended or has no memory. The training can go on with threads."""


class _StoppedError(Exception):
    """Another member has left the training."""


class _File:
    """File without a name, which other processes can open as long as this process has it open.

    So it is gone when this process ends, however it ends. Where the system has no such files, the file has a name until
    `unlink`.
    """

    def __init__(self, size: int, *, in_memory: bool) -> None:
        self._name = None
        if not Path("/proc/self/fd").is_dir():
            self.descriptor, self._name = tempfile.mkstemp(prefix="skcnn-")
        elif in_memory and hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("skcnn")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        self.path = self._name or f"/proc/{os.getpid()}/fd/{self.descriptor}"
        try:
            os.truncate(self.descriptor, size)
        except BaseException:
            self.close()
            raise

    def unlink(self) -> None:
        """Remove the name of the file, when all processes have opened it."""
        if self._name is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._name)

    def close(self) -> None:
        """Remove the file, except from the memory of processes that still use it."""
        os.close(self.descriptor)
        self.unlink()


def _mapped(path: str, *, writable: bool) -> mmap.mmap:
    """Return the bytes of a file."""
    with open(path, "r+b" if writable else "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)


@dataclass(frozen=True)
class _Located:
    """Array in a file."""

    path: str
    offset: int  # bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    first: bytes  # its first image, which tells whether the file is still the same

    @classmethod
    def of(cls, array: Array) -> _Located | None:
        """Return the place of a memory-mapped array, or of a view into one, or None for any other array."""
        root: Any = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        path = getattr(root, "filename", None)
        # With the mode "c", changes of the array are not in the file.
        if path is None or not isinstance(root.base, mmap.mmap) or root.mode == "c":
            return None
        offset = root.offset + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        return cls(str(path), offset, array.shape, array.strides, array.dtype, array[:1].tobytes())

    def open(self) -> Array:
        """Return the array."""
        buffer = _mapped(self.path, writable=False)
        array: Array = np.ndarray(self.shape, self.dtype, buffer, self.offset, self.strides)
        if array[:1].tobytes() != self.first:
            raise OSError(f"{self.path} is no longer the file that was opened")
        return array


class _Memory:
    """Memory of several processes, from which each takes the same arrays in the same order."""

    def __init__(self, path: str) -> None:
        self._bytes = _mapped(path, writable=True)
        self._taken = 0

    def take(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array, which is zero at first."""
        start, size = self._taken, math.prod(shape)
        self._taken += -(-size * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
        if self._taken > len(self._bytes):
            raise WorkersLostError("the shared memory is too small for the sums over the shards")
        return np.frombuffer(self._bytes, dtype, size, start).reshape(shape) if size else np.zeros(shape, dtype)


class Member:
    """One of the processes of a training, as `Passes` sees it. It implements the same methods as a team of threads."""

    def __init__(self, path: str, rank: int, size: int, check: Callable[[], None]) -> None:
        self._memory, self.rank, self.size, self._check = _Memory(path), rank, size, check
        self._slots = self.zeros((size, LINE), np.int64).ravel().data  # the number of meetings of each member
        # Whether a member has stopped, and the number of the epoch that has begun, plus 1.
        self._flags = self.zeros((2 * LINE,), np.int64).data
        self._others = [LINE * other for other in range(size) if other != rank]
        self._meetings = self._begun = 0
        self._fence = threading.Lock()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def own(self, shards: int) -> range:
        return range(self.rank, shards, self.size)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._memory.take(shape, dtype)

    def shared(self, array: Array) -> Array:
        place = self.zeros(array.shape, array.dtype)
        if self.leads:
            place[...] = array
        return place

    def begin(self, epoch: int) -> None:
        if self.leads:
            self._publish(self._flags, LINE, epoch + 1)

    def next_epoch(self) -> int:
        """Wait until the next epoch begins, and return its number."""
        self._wait(lambda: self._flags[LINE] > self._begun)
        self._begun = self._flags[LINE]
        return int(self._begun - 1)

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        for job in jobs:
            job()
        self.meet()

    def meet(self) -> None:
        """Wait until all members have come as far as this one."""
        slots, others = self._slots, self._others
        self._meetings = meetings = self._meetings + 1
        self._publish(slots, LINE * self.rank, meetings)
        self._wait(lambda: all(slots[other] >= meetings for other in others))

    @property
    def stopped(self) -> bool:
        """Whether a member has left the training."""
        return bool(self._flags[0])

    def stop(self) -> None:
        """Let all members leave the training."""
        self._flags[0] = 1

    def _publish(self, flags: Any, index: int, value: int) -> None:
        """Write a number that tells the others that all arrays are written."""
        # Processors other than x86 may show two writes to others in reverse order, unless there is a lock between them.
        with self._fence:
            pass
        flags[index] = value

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait for other members, and raise an error if one has stopped or died.

        After a while, other programs may use this processor meanwhile.
        """
        for _ in range(SPINS):
            if is_ready():
                break
        else:
            began = checked = time.monotonic()
            sleeping, checking = PATIENCE
            while not is_ready():
                if self.stopped:
                    self._check()
                    raise _StoppedError
                now = time.monotonic()
                if now - checked > checking:
                    checked = now
                    self._check()
                if now - began < sleeping:
                    yield_processor()
                else:
                    time.sleep(min(1e-3, (now - began) / 20))
        with self._fence:
            pass


class _Workers:
    """Processes of loky that wait for the next training. One training uses them at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._pool: Any = None
        self._size = 0

    def are_waiting(self, count: int) -> bool:
        """Return whether as many workers have been started."""
        return self._pool is not None and self._size >= count

    def submit(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run calls (function, arguments...) at the same time, and return a future for each."""
        from joblib.externals.loky.process_executor import ProcessPoolExecutor, ShutdownExecutorError

        if not self.are_waiting(len(calls)):
            self.end()
        try:
            if self._pool is not None:
                return [self._pool.submit(*call) for call in calls]
        except (RuntimeError, ShutdownExecutorError):  # a worker was killed while it waited
            self.end()
        self._pool, self._size = ProcessPoolExecutor(len(calls), timeout=IDLE_SECONDS), len(calls)
        return [self._pool.submit(*call) for call in calls]

    def end(self) -> None:
        """End all workers, also those that are at work."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
        self._pool, self._size = None, 0

    def after_fork(self) -> None:
        """Forget the workers in a forked child, whose children they are not."""
        self.lock, self._pool, self._size = threading.Lock(), None, 0


workers = _Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=workers.after_fork)


class Processes:
    """Context manager of the workers of one training, with the member that is this process.

    Raises
    ------
    WorkersLostError
        If the workers cannot be started.
    """

    def __init__(self, fit: Fit, work: Work, recipe: Recipe, size: int) -> None:
        self._fit, self._work, self._recipe, self._size = fit, work, recipe, size
        self._files: list[_File] = []
        self._futures: list[Any] = []
        self._deadline: float | None = None

    def __enter__(self) -> Self:
        if not workers.lock.acquire(blocking=False):
            raise WorkersLostError("another training uses the workers")
        try:
            self._start()
        except Exception as error:
            self._leave()
            raise WorkersLostError(_told(error)) from error
        except BaseException:
            self._leave()
            raise
        return self

    def _start(self) -> None:
        fit, work = self._fit, self._work
        model, progress, data, shards = fit.model, fit.progress, work.data, work.shards
        arrays = [*Snapshot.copied_arrays(model, progress), progress.slots]
        rows = len(data.rows)
        size = sum(array.nbytes for array in arrays) + shards * (model.weights.nbytes + 8 * rows)
        size += rows * model.network.outputs * model.weights.itemsize + SPARE
        shared = self._file(size, in_memory=True)
        place = _Located.of(data.images)
        if place is None:
            data, place = self._copied(data)
        self.work = replace(work, data=data)
        self.member = Member(shared.path, 0, self._size, self._check)
        forms = Fit(replace(model), replace(progress))
        forms.place(lambda array: _Form(array.shape, array.dtype))  # type: ignore[arg-type, return-value]
        sent = replace(work, data=replace(data, images=place, y=None))  # type: ignore[arg-type]
        given = shared.path, self._size, os.getpid(), forms, sent, self._recipe
        self._deadline = time.monotonic() + STARTING_SECONDS
        self._futures = workers.submit([(_train, rank, *given) for rank in range(1, self._size)])

    def ready(self) -> None:
        """Wait until all workers have recorded their tapes."""
        try:
            self.member.meet()
        except Exception as error:
            raise WorkersLostError(_told(error)) from error
        self._deadline = None
        for file in self._files:
            file.unlink()

    def _check(self) -> None:
        """Raise the error of a worker that has left the training, or a WorkersLostError if it has ended."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        if self.member.stopped:
            self._wait_for_all()
        for future in self._futures:
            if future.done() and (error := future.exception()) is not None:
                if isinstance(error, BrokenProcessPool):
                    raise WorkersLostError("a worker was killed, perhaps because the memory was used up") from error
                if isinstance(error, MemoryError):
                    raise WorkersLostError("a worker has no memory left") from error
                raise error
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise WorkersLostError(f"the workers have not started within {STARTING_SECONDS:.0f} seconds")

    def _wait_for_all(self) -> None:
        """Wait until the workers have left the training, but not for long."""
        until = time.monotonic() + LEAVING_SECONDS
        while not all(future.done() for future in self._futures) and time.monotonic() < until:
            time.sleep(1e-3)

    def _copied(self, data: Data) -> tuple[Data, _Located]:
        """Return data whose images are in a file, with gaps for unused rows, and their place there.

        The pages of a file can leave the memory, unlike a second array.
        """
        images, rows = data.images, data.rows
        size = math.prod(images.shape) * images.itemsize
        if not has_disk_room(size):  # a full disk would end this process
            raise WorkersLostError(f"{tempfile.gettempdir()} has no room for a copy of the images, {size / 1e9:.1f} GB")
        file = self._file(size, in_memory=False)
        copied: Array = np.ndarray(images.shape, images.dtype, _mapped(file.path, writable=True))
        step = max(1, (1 << 24) // images[:1].nbytes)
        for start in range(0, len(rows), step):
            copied[rows[start : start + step]] = images[rows[start : start + step]]
        place = _Located(file.path, 0, images.shape, copied.strides, images.dtype, copied[:1].tobytes())
        return replace(data, images=copied), place

    def _file(self, size: int, *, in_memory: bool) -> _File:
        file = _File(max(1, size), in_memory=in_memory)
        self._files.append(file)
        return file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """Let the workers leave the training, and end those that do not."""
        try:
            if self._futures:
                self.member.stop()
                self._wait_for_all()
        finally:  # also if waiting is interrupted
            if not all(future.done() and future.exception() is None for future in self._futures):
                workers.end()
            for file in self._files:
                file.close()
            workers.lock.release()


@dataclass(frozen=True)
class _Form:
    """Shape and dtype of an array that lies in shared memory."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _train(rank: int, path: str, size: int, parent: int, fit: Fit, work: Work, recipe: Recipe) -> None:
    """Train as a worker, until the parent stops or ends."""

    def check() -> None:
        if os.getppid() != parent:
            os._exit(1)

    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all processes
    member = Member(path, rank, size, check)
    try:
        with one_blas_thread, ufunc_settings():
            place: Any = work.data.images
            work = replace(work, data=replace(work.data, images=place.open()))
            passes, progress = Passes(fit, work, recipe, member), fit.progress
            member.meet()
            while True:
                progress.epochs = member.next_epoch()
                passes.epoch(progress.epochs, _silent)
    except _StoppedError:
        pass
    except BaseException:
        member.stop()
        raise
    finally:
        passes = work = fit = member = None  # type: ignore[assignment]
        gc.collect()  # the arrays are not kept while this worker waits for the next training
        signal.signal(signal.SIGINT, handler)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, WorkersLostError) else f"{type(error).__name__}: {error}"


def _silent(rows: int, loss: float) -> None:
    pass


def processes_worth(work: Work, recipe: Recipe, epochs: int) -> int:
    """Return the number of processes for ``epochs`` epochs, or 1 if threads are as good or processes are not possible.

    A worker of a pool starts no workers, nor does a thread other than the main one.
    """
    size = min(recipe.threads, work.shards)
    worth = work.operations * len(work.data.rows) * epochs
    if size == 1 or worth < WORTH[1] or work.frozen is not None or os.name != "posix":
        return 1
    if threading.current_thread() is not threading.main_thread():
        return 1
    if multiprocessing.current_process().name != "MainProcess":
        return 1
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    if getattr(backend, "uses_threads", False) or backend.nesting_level:
        return 1
    return size if worth >= WORTH[workers.are_waiting(size - 1)] else 1
