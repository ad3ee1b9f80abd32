"""Callbacks for `set_callbacks`, in addition to the `ProgressBar` and `ScoringMonitor` of scikit-learn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ._engine.files import check_classes, remove_abandoned
from ._engine.progress import Unfinished
from ._estimators.base import BaseCNN
from ._estimators.given import shown
from ._estimators.pretrained import saved_parameters
from .description import Description
from .persistence import ESTIMATORS, check_writable, read, same_value, write

MAY_DIFFER = "n_jobs", "verbose"  # these parameters do not change the result

__all__ = ["Checkpoint"]


class Checkpoint:
    """Callback that saves a fit to a file as it runs, so that an interrupted fit can be resumed.

    The file is written every ``every`` epochs and at the end of the fit. If it contains an unfinished fit when ``fit``
    is called, the fit resumes from it, and its result is the same to the last bit as without the interruption. If it
    contains a finished fit, ``fit`` starts from the beginning.

    Parameters
    ----------
    path : str or path-like
        Path of the file. `skcnn.load` returns the model with the weights that it had when the file was written.
    every : int, default=1
        Number of epochs between two writes.
    classes : iterable of classes, default=()
        Your own layers, losses and other descriptions in the estimator's parameters, as for `skcnn.load`.

    Notes
    -----
    A fit can be resumed only with the same data and the same parameters, except ``n_jobs`` and ``verbose``. Otherwise
    ``fit`` raises an error before the training begins, and the file stays as it is. Data are compared by a checksum,
    for which all images are read once in each fit. Memory-mapped images are read in blocks.

    If ``random_state`` is None or a generator, the resumed fit uses the random numbers of the interrupted fit.

    The file is replaced atomically, so a process that is killed at any moment leaves the last complete file. It may
    also leave an incomplete file, ``.skcnn-*.part``, which the next fit with a checkpoint in the same directory
    removes. A fit that is interrupted by Ctrl-C is unfinished, and the file contains the last epoch that was due.

    A file belongs to one fit, so a checkpoint inside a search raises an error. Fit the best estimator with the
    checkpoint after the search.

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
            If the estimator is neither a CNNClassifier nor a CNNRegressor, if `skcnn.save` cannot write one of its
            parameters, or if ``path`` is not a path.
        ValueError
            If ``every`` is not a positive integer, or if the fit is part of a search.
        OSError
            If the directory of the file does not exist or is not writable.
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
        try:  # now, because an error after the first epochs would lose them
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            what = f"Checkpoint: nothing can be written to {os.fspath(path.parent)!r}: {error.strerror}"
            raise OSError(error.errno, what) from None
        remove_abandoned(path.parent)

    def unfinished_fit(self, estimator: BaseCNN) -> tuple[BaseCNN, Unfinished] | None:
        """Return the estimator and the state of the unfinished fit in the file, or None if there is none.

        Raises
        ------
        ValueError
            If the file cannot be read, or belongs to another unfinished fit.
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
        """Raise a ValueError in a search, because its fits would overwrite or resume each other's file."""
        task = context.parent
        while task is not None:
            if not task.sequential_subtasks:
                raise ValueError(
                    f"{self!r} is for one fit, but {task.estimator_name} runs many fits. Search without the"
                    " checkpoint, then fit the best estimator with it."
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
            f"{os.fspath(self.path)!r} is the checkpoint of another unfinished fit, with {what}. Set the same"
            " parameters to resume it, remove the file to start from the beginning, or choose another path."
        )

    def _check_classes(self, estimator: BaseCNN, earlier: BaseCNN) -> None:
        # The checksum of the data contains encoded classes only, so the classes themselves are compared here. Strings
        # may have a narrower dtype after loading, so only the kinds of the dtypes are compared.
        now, then = (getattr(each, "classes_", np.empty(0)) for each in (estimator, earlier))
        if (now.dtype.kind, now.tolist()) != (then.dtype.kind, then.tolist()):
            raise ValueError(
                f"{os.fspath(self.path)!r} is the checkpoint of a fit to other data: its classes are [{shown(then)}],"
                f" and the classes of y are [{shown(now)}]. Pass the same data to resume it, remove the file to start"
                " from the beginning, or choose another path."
            )


def _is_seed(value: Any) -> bool:
    return isinstance(value, int | np.integer)
