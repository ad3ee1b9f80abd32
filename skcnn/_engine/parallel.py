"""Threads that replace the threads of BLAS.

The shards of a batch and the chunks of a prediction are computed in parallel by a team of threads. BLAS is limited to
one thread meanwhile, because each thread of the team would otherwise start a team of its own. The shards and chunks
depend on the data alone and never on the number of threads, so any number of threads gives the same bits.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
from threadpoolctl import ThreadpoolController

from .._arrays.elementwise import Array, ufunc_settings

IDLE_SECONDS = 5.0  # time after which unused threads and memory of predictions are released
EVEN = 4  # more than two shards or chunks are a multiple of it, so that two or four threads have equal shares


@cache
def _blas() -> list[Any]:
    """Return the BLAS libraries that NumPy may use. The result is cached, because the search takes milliseconds.

    If NumPy's wheel contains a BLAS, the engine uses no other, and the BLAS of SciPy is left as it is.
    """
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in found if {"numpy.libs", "numpy"} & set(Path(library.filepath).parts)]
    return own or found


def _set_blas_threads(numbers: Iterable[int]) -> None:
    """Set the number of threads of each BLAS library."""
    for library, number in zip(_blas(), numbers, strict=True):
        library.set_num_threads(number)
        # Since 3.8, threadpoolctl lets only the thread that first set a limit change it, as long as that thread lives.
        # Here, one thread may set the limit and another one may restore it, so the control is released at once.
        getattr(library, "clear_controlling_thread", _nothing)()


def _nothing() -> None:
    pass


class _OneBlasThread:
    """Context manager that limits BLAS to one thread while any thread is inside.

    The limit belongs to the process, so one object counts all threads inside. With a limit for each thread, the first
    one to leave would lift the limit of the others, and the last one would restore a limit that was never the user's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        entered = False
        try:
            with self._lock:
                if not self._inside:
                    # If an interrupted exit has not restored the numbers, `_before` still contains them.
                    self._before = self._before or [library.num_threads for library in _blas()]
                    _set_blas_threads([1] * len(self._before))
                self._inside += 1
                entered = True
        except BaseException:  # an interruption: Python does not call `__exit__` if `__enter__` raises
            if entered:
                self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside = max(0, self._inside - 1)  # in a child that was forked inside, it is 0 already
            if not self._inside:
                self._restore()

    def after_fork(self) -> None:
        """Reset the count in a forked child, where the threads that were inside do not exist."""
        self._lock, self._inside = threading.Lock(), 0
        self._restore()

    def _restore(self) -> None:
        if self._before:
            _set_blas_threads(self._before)
            self._before = []


one_blas_thread = _OneBlasThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_blas_thread.after_fork)


def thread_count(n_jobs: int | None) -> int:
    """Return the number of threads for ``n_jobs``: None is the current limit of BLAS, and -1 is all processors.

    Raises
    ------
    ValueError
        If ``n_jobs`` is 0.
    """
    if n_jobs is None:
        return min((library.num_threads for library in _blas()), default=1)
    if n_jobs == 0:
        raise ValueError("n_jobs=0 has no meaning: expected a number of threads, -1 for all processors, or None.")
    if "joblib" in sys.modules:  # otherwise no backend is active
        from joblib.parallel import get_active_backend

        backend, _ = get_active_backend()
        if getattr(backend, "uses_threads", False):  # the number depends on the nesting, which the backend tracks
            return int(backend.effective_n_jobs(n_jobs))
    # Other backends count processes, or all workers of a cluster, and warn where they cannot start processes. Threads
    # can be started there.
    return n_jobs if n_jobs > 0 else max(1, processors() + 1 + n_jobs)


def processors() -> int:
    """Return the number of processors that this process may use."""
    if "joblib" not in sys.modules:  # a server that only predicts does not import joblib
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    from joblib import cpu_count

    return int(cpu_count())


class Team:
    """Threads that wait for jobs while the team is entered as a context manager.

    The thread that calls `run` is a member of the team. The other threads have no reference to the team, so that they
    end when the team is garbage, for example after an interruption or when a thread could not be started.

    Parameters
    ----------
    size : int
        Number of threads, including the caller.
    wait : float, optional
        Time without a job, in seconds, after which ``give_up`` is called. If None, the team waits forever.
    give_up : callable, optional
        Function of the team that returns whether the team ends.
    """

    def __init__(
        self, size: int, wait: float | None = None, give_up: Callable[[Team], bool] = lambda team: False
    ) -> None:
        self.size = size
        self._wait, self._give_up = wait, give_up
        self._inboxes: list[SimpleQueue[Any]] = []
        self._outbox: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        weakref.finalize(self, _dismiss, self._inboxes).atexit = False

    @property
    def leads(self) -> bool:
        """Whether this process computes the learning rates."""
        return True

    def own(self, shards: int) -> range:
        """Return the numbers of the shards that this process computes."""
        return range(shards)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of zeros in memory that all members see."""
        return np.zeros(shape, dtype)

    def shared(self, array: Array) -> Array:
        """Return the array in memory that all members see."""
        return array

    def begin(self, epoch: int) -> None:
        """Let the members in other processes, of which there are none, begin an epoch."""

    def __enter__(self) -> Self:
        for number in range(1, self.size):
            inbox: SimpleQueue[Any] = SimpleQueue()
            arguments = inbox, self._outbox, self._wait, weakref.ref(self)
            thread = threading.Thread(target=_work, args=arguments, name=f"skcnn-{number}", daemon=True)
            self._inboxes.append(inbox)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _dismiss(self._inboxes)
        for thread in self._threads:
            thread.join()

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run all jobs, and raise the first error of one.

        The job of a given number always runs on the same thread, whose cache may still contain its arrays.
        """
        busy = 0
        try:
            for number, inbox in enumerate(self._inboxes, 1):
                share = jobs[number :: self.size]
                if share:
                    inbox.put(share)
                    busy += 1
            for job in jobs[:: self.size]:
                job()
        finally:
            # The other threads are waited for after an error too, because their jobs write to shared arrays.
            errors = [self._outbox.get() for _ in range(busy)]
        for error in errors:
            if error is not None:
                raise error

    def rest(self) -> None:
        """End the team after a long wait, if ``give_up`` agrees."""
        if self._give_up(self):
            _dismiss(self._inboxes)


def _dismiss(inboxes: Iterable[SimpleQueue[Any]]) -> None:
    """Let the threads behind some inboxes end."""
    for inbox in inboxes:
        inbox.put(None)


def _work(
    inbox: SimpleQueue[Any], outbox: SimpleQueue[BaseException | None], wait: float | None, team: weakref.ref[Team]
) -> None:
    """Run the jobs from an inbox until it yields None. Waiting threads keep no reference to jobs or to the team."""
    with ufunc_settings():
        while True:
            try:
                jobs = inbox.get(timeout=wait)
            except Empty:
                waiting = team()
                if waiting is not None:
                    waiting.rest()
                del waiting
                continue
            if jobs is None:
                return
            failure = _failure(jobs)
            del jobs
            outbox.put(failure)
            del failure


def _failure(jobs: Iterable[Callable[[], None]]) -> BaseException | None:
    """Run jobs up to the first that raises an error, and return the error, or None."""
    try:
        for job in jobs:
            job()
    except BaseException as error:
        return error
    return None


class _Idle:
    """Teams that wait for the next prediction, because starting a thread takes longer than predicting a few images.

    A team ends after some seconds without a job.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._teams: list[Team] = []

    @contextmanager
    def team(self, size: int) -> Iterator[Team]:
        """Lend a team of a given size, which no other thread uses meanwhile."""
        with self._lock:
            found = next((team for team in self._teams if team.size == size), None)
            if found is not None:
                self._teams.remove(found)
        team = found or Team(size, IDLE_SECONDS, self._give_up).__enter__()
        try:
            yield team
        except BaseException:
            team.__exit__(None, None, None)  # not kept, because an interruption may have left jobs in its queues
            raise
        with self._lock:
            self._teams.append(team)

    def after_fork(self) -> None:
        """Forget the teams in a forked child, where the threads of the parent do not exist."""
        self._lock, self._teams = threading.Lock(), []

    def _give_up(self, team: Team) -> bool:
        with self._lock:
            if team in self._teams:
                self._teams.remove(team)
                return True
            return False


class _Sweeper:
    """Thread that releases the unused tapes and memory of predictions, and ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def watch(self, owner: Any) -> None:
        """Call ``owner.sweep()`` every few seconds, until it returns false."""
        with self._lock:
            self._watched.add(owner)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="skcnn-sweeper", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # for example when the interpreter ends; a prediction works without the thread
                    self._thread = None

    def after_fork(self) -> None:
        """Start again in a forked child, where the thread of the parent does not exist."""
        self.__init__()  # type: ignore[misc]

    def _work(self) -> None:
        while True:
            time.sleep(IDLE_SECONDS)
            with self._lock:
                self._watched = weakref.WeakSet([owner for owner in self._watched if owner.sweep()])
                if not self._watched:
                    self._thread = None
                    return


idle, sweeper = _Idle(), _Sweeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=idle.after_fork)
    os.register_at_fork(after_in_child=sweeper.after_fork)
