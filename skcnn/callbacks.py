"""Callbacks for `set_callbacks` that scikit-learn does not have: `ProgressBar` and `ScoringMonitor` come with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays.elementwise import Array
from ._engine.files import check_classes, remove_abandoned
from ._engine.progress import Unfinished
from ._estimators.base import BaseCNN
from ._estimators.pretrained import saved_parameters
from .description import Description
from .persistence import ESTIMATORS, check_writable, read, same_value, write

MAY_DIFFER = "n_jobs", "verbose"  # they change nothing of the result

__all__ = ["Checkpoint"]


class Checkpoint:
    """Keep a fit on disk while it goes on, so that it can be broken off and taken up again.

    After every so many epochs, and at the end of the fit, the file is replaced by a new one, which first is written
    whole: a process that is killed at any moment leaves the last whole file. It may also leave a part of the next one,
    ``.skcnn-*.part``. The next fit with a checkpoint in the same directory removes it. ``fit`` with a checkpoint whose
    file is of a fit that has not ended goes on from there, to the same bits as if it had never been broken off. Where
    the file is of a fit that has ended, ``fit`` starts anew.

    Parameters
    ----------
    path : str or path-like
        The file. `skcnn.load` reads it: a model that is fitted as far.
    every : int, default=1
        Number of epochs from one file to the next.
    classes : iterable of classes, default=()
        Layers, losses and so on of your own in the estimator's parameters, as for `skcnn.load`.

    Notes
    -----
    To go on needs the same parameters, but for ``n_jobs`` and ``verbose``, and the same data; anything else is an
    error before the training begins, and leaves the file alone. The file has a checksum of the data, for which all
    images are read once in a fit, a block at a time where they are memory-mapped. A fit that is interrupted by Ctrl-C
    has not ended: the file keeps the last epoch that was due. Where ``random_state`` is None or a generator, the fit
    that goes on takes the random numbers of the one that was broken off. A file belongs to one fit: in a search, the
    checkpoint is an error. Give it to the best estimator and fit that.

    Examples
    --------
    >>> import os, tempfile
    >>> import skcnn
    >>> from sklearn.datasets import load_digits
    >>> from skcnn.callbacks import Checkpoint
    >>> images, y = load_digits(return_X_y=True)
    >>> path = os.path.join(tempfile.mkdtemp(), "digits.skcnn")
    >>> checkpoint = Checkpoint(path, every=2)
    >>> classifier = skcnn.CNNClassifier((8,), max_iter=3).set_callbacks(checkpoint).fit(images, y)
    >>> skcnn.load(path).n_iter_
    3
    """

    def __init__(
        self, path: str | os.PathLike[str], every: int = 1, *, classes: Iterable[type[Description]] = ()
    ) -> None:
        self.path = path
        self.every = every
        self.classes = check_classes(classes)

    def __repr__(self) -> str:
        classes = f", classes={list(self.classes)}" if self.classes else ""
        path = os.fspath(self.path) if isinstance(self.path, os.PathLike) else self.path
        return f"{type(self).__name__}({path!r}, every={self.every}{classes})"

    def setup(self, estimator: BaseCNN, context: Any) -> None:
        """Check that the file can be written.

        Raises
        ------
        TypeError
            For an estimator that is not of this package or has a parameter that `skcnn.save` cannot write, and if
            ``path`` is none.
        ValueError
            If ``every`` is no positive integer, or in a search.
        OSError
            If there is no directory for the file, or nothing can be written there.
        """
        if type(estimator) not in ESTIMATORS.values():
            raise TypeError(
                f"Checkpoint is a callback of CNNClassifier and CNNRegressor, not of {type(estimator).__name__}."
            )
        if not isinstance(self.every, Integral) or isinstance(self.every, bool) or self.every < 1:
            raise ValueError(f"Checkpoint: every={self.every!r} must be an integer of at least 1, a number of epochs.")
        self._refuse_search(context)
        check_writable(estimator)
        if not isinstance(self.path, (str, os.PathLike)):
            raise TypeError(f"Checkpoint: path={self.path!r} must be the name of a file, a str or path-like.")
        path = Path(self.path)
        if path.is_dir():
            raise IsADirectoryError(f"Checkpoint: {os.fspath(path)!r} is a directory: give the name of a file in it.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"Checkpoint: there is no directory {os.fspath(path.parent)!r} for {path.name!r}.")
        try:  # rather now than after the first epochs
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            what = f"Checkpoint: nothing can be written to {os.fspath(path.parent)!r}: {error.strerror}"
            raise OSError(error.errno, what) from None
        remove_abandoned(path.parent)

    def unfinished_fit(self, estimator: BaseCNN) -> tuple[BaseCNN, Unfinished] | None:
        """Return what the file holds of a fit that has not ended: an estimator and its state, or None without one.

        Raises
        ------
        ValueError
            If the file cannot be read, or belongs to another fit that has not ended.
        """
        if not Path(self.path).exists():
            return None
        earlier, unfinished, _ = read(self.path, self.classes)
        if unfinished is None:
            return None
        self._check_same(estimator, earlier)
        self._check_classes(estimator, earlier)
        return earlier, unfinished

    def teardown(self, estimator: BaseCNN, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_begin(self, estimator: BaseCNN, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator: BaseCNN, context: Any, *, fitted_estimator: Any = None) -> None:
        """Write the file, if it is due."""
        if context.task_name == "epoch":
            if fitted_estimator.n_iter_ % self.every == 0:
                write(fitted_estimator, self.path, fitted_estimator._unfinished())
        elif not hasattr(fitted_estimator, "_unfinished"):  # it was not interrupted
            write(estimator, self.path)

    def _refuse_search(self, context: Any) -> None:
        """The fits of a search would take each other's files for their own."""
        task = context.parent
        while task is not None:
            if not task.sequential_subtasks:
                raise ValueError(
                    f"{self!r} is for one fit, but {task.estimator_name} makes many. Search without it, then"
                    " fit the best estimator with it."
                )
            task = task.parent

    def _check_same(self, estimator: BaseCNN, earlier: BaseCNN) -> None:
        now, then = saved_parameters(estimator.get_params(deep=False)), earlier.get_params(deep=False)
        if type(estimator) is not type(earlier):
            what = f"a {type(earlier).__name__}"
        else:
            drawn = () if _is_seed(now["random_state"]) and _is_seed(then["random_state"]) else ("random_state",)
            names = [name for name in now if name not in (*MAY_DIFFER, *drawn)]
            other = [name for name in names if not same_value(now[name], then[name])]
            if not other:
                return
            what = ", ".join(f"{name}={then[name]!r}" for name in other)
        raise ValueError(
            f"{os.fspath(self.path)!r} is the checkpoint of another fit that has not ended, with {what}. Give it the"
            " same parameters to go on, remove the file to start anew, or choose another path."
        )

    def _check_classes(self, estimator: BaseCNN, earlier: BaseCNN) -> None:
        # The checksum of the data knows classes by their numbers only. Words may have lost room to spare in the file.
        now, then = (getattr(each, "classes_", np.empty(0)) for each in (estimator, earlier))
        if (now.dtype.kind, now.tolist()) != (then.dtype.kind, then.tolist()):
            raise ValueError(
                f"{os.fspath(self.path)!r} is the checkpoint of a fit to other data, with classes {_some(then)}, where"
                f" y has {_some(now)}. Give the same to go on, remove the file to start anew, or choose another path."
            )


def _some(classes: Array) -> str:
    """The first few."""
    return repr(classes[:5].tolist()) + " and more" * (len(classes) > 5)


def _is_seed(value: Any) -> bool:
    return isinstance(value, int | np.integer)
