"""Threads: they take the place of those of BLAS, and never multiply them.

The shards of a batch, and the chunks of a prediction, are computed side by side by a team of threads, while BLAS is
held to one thread in each. What is computed follows from the data alone, never from the number of threads, so that
every number of them gives the same bits.
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

from threadpoolctl import ThreadpoolController

from .._arrays.elementwise import ufunc_settings

IDLE_SECONDS = 5.0
EVEN = 4  # more than two shards or chunks are a multiple of it, so that two threads, and four, have as much to do


@cache
def _blas() -> list[Any]:
    """The BLAS libraries of this process; finding them takes milliseconds, so once.

    Where NumPy's wheel has one of its own, it is the only one that computes here: SciPy's is let alone.
    """
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    own = [library for library in found if {"numpy.libs", "numpy"} & set(Path(library.filepath).parts)]
    return own or found


def _set_blas_threads(numbers: Iterable[int]) -> None:
    """Set the number of threads of each BLAS library."""
    for library, number in zip(_blas(), numbers, strict=True):
        library.set_num_threads(number)
        # Since 3.8, threadpoolctl lets only the thread that first set a limit change it, for as long as it lives.
        # Whoever enters first and leaves last here may be two threads, so nobody is to be left in control.
        getattr(library, "clear_controlling_thread", _nothing)()


def _nothing() -> None:
    pass


class _OneBlasThread:
    """Holds BLAS to one thread for as long as anyone is inside.

    The number of BLAS threads belongs to the process, so that this has to know of all who want it held: with one
    limit each, the first to leave would release the others, and the last would restore the limit of another.
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
                    # What an interrupted exit has not restored is still there.
                    self._before = self._before or [library.num_threads for library in _blas()]
                    _set_blas_threads([1] * len(self._before))
                self._inside += 1
                entered = True
        except BaseException:  # an interruption: what raises here is not left by `__exit__`
            if entered:
                self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside = max(0, self._inside - 1)  # a child that was forked inside has not entered
            if not self._inside:
                self._restore()

    def after_fork(self) -> None:
        """In a forked child nobody is inside: the threads that were do not exist there."""
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
    """How many threads ``n_jobs`` means: None is as many as BLAS may use at the moment, -1 all processors.

    Raises
    ------
    ValueError
        For 0.
    """
    if n_jobs is None:
        return min((library.num_threads for library in _blas()), default=1)
    if n_jobs == 0:
        raise ValueError("n_jobs=0 has no meaning: expected a number of threads, -1 for all processors, or None.")
    if "joblib" not in sys.modules:  # nobody can have chosen a backend: what serves a model does without
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return n_jobs if n_jobs > 0 else max(1, allowed + 1 + n_jobs)
    from joblib import cpu_count
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    if getattr(backend, "uses_threads", False):  # it knows how deeply it is nested
        return int(backend.effective_n_jobs(n_jobs))
    # The others count processes, or all that a cluster has, and warn where they may start none. Threads may be started.
    return n_jobs if n_jobs > 0 else max(1, cpu_count() + 1 + n_jobs)


class Team:
    """Threads that wait for jobs from the moment they are entered until they are left.

    The thread that calls `run` is one of them. The others do not hold on to the team: where nobody has it any more, as
    after an interruption or when a thread could not be started, they end.

    Parameters
    ----------
    size : int
        How many, with the caller.
    wait : float, optional
        Seconds without a job after which ``give_up`` is asked whether the team may end. By default it waits forever.
    give_up : callable, optional
        Gets the team.
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
        """Do all jobs; the same job number always falls to the same thread, whose cache may still hold its arrays."""
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
            errors = [self._outbox.get() for _ in range(busy)]
        for error in errors:
            if error is not None:
                raise error

    def rest(self) -> None:
        """Ask whether the team may end, after a long wait."""
        if self._give_up(self):
            _dismiss(self._inboxes)


def _dismiss(inboxes: Iterable[SimpleQueue[Any]]) -> None:
    """Let the threads behind some inboxes end."""
    for inbox in inboxes:
        inbox.put(None)


def _work(
    inbox: SimpleQueue[Any], outbox: SimpleQueue[BaseException | None], wait: float | None, team: weakref.ref[Team]
) -> None:
    """The life of a thread: jobs, until None comes. While it waits it holds on to nothing."""
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
    """Do some jobs, up to the first that raises an error, and give that."""
    try:
        for job in jobs:
            job()
    except BaseException as error:
        return error
    return None


class _Idle:
    """Teams that wait for the next prediction: to start a thread takes longer than to predict a few images with it.

    A team that has nothing to do for some seconds ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._teams: list[Team] = []

    @contextmanager
    def team(self, size: int) -> Iterator[Team]:
        """A team that nobody else uses meanwhile."""
        with self._lock:
            found = next((team for team in self._teams if team.size == size), None)
            if found is not None:
                self._teams.remove(found)
        team = found or Team(size, IDLE_SECONDS, self._give_up).__enter__()
        try:
            yield team
        except BaseException:
            team.__exit__(None, None, None)  # an interruption may have left jobs behind
            raise
        with self._lock:
            self._teams.append(team)

    def after_fork(self) -> None:
        """The threads of the parent do not exist in a forked child."""
        self._lock, self._teams = threading.Lock(), []

    def _give_up(self, team: Team) -> bool:
        with self._lock:
            if team in self._teams:
                self._teams.remove(team)
                return True
            return False


class _Sweeper:
    """One thread that gives up what predictions have left behind and nobody uses; it ends when nothing is left."""

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
                except RuntimeError:  # as when the interpreter ends: a prediction needs no such thread
                    self._thread = None

    def after_fork(self) -> None:
        """The thread of the parent does not exist in a forked child."""
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
