"""Predictions of a saved model without scikit-learn: what serves it starts sooner and takes less memory.

`load` reads the files of `skcnn.save`. What it gives predicts the same as the estimator, bit for bit, and does nothing
else: it has no parameters to set and cannot be trained. NumPy and threadpoolctl are all that it imports, and SciPy for
networks that need its special functions: for two classes or labels, and for sigmoids, SiLU, GELU and Mish.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from ._arrays.elementwise import Array
from ._decoding import Reading, is_source, sources_of
from ._engine.files import (
    File,
    Refused,
    check_classes,
    check_model,
    check_reader,
    read_bytes,
    read_file,
    refusals,
)
from ._engine.inputs import cure, forms, stacked
from ._engine.model import Model, is_binary, predicted_classes, predicted_targets, predictor_of, probabilities
from ._engine.scaling import warn_of_scale
from .description import Description
from .initializers import Initializer
from .layers import Layer
from .losses import Loss
from .versions import warn_of_other_version

SERVED_KINDS = Initializer, Layer, Loss
READ = {
    "CNNClassifier": ("_model", "loss", "n_jobs", "input_shape_", "n_features_in_", "classes_", "_labels"),
    "CNNRegressor": ("_model", "loss", "n_jobs", "input_shape_", "n_features_in_", "_columns"),
}


def load(path: File, *, classes: Iterable[type[Description]] = ()) -> ServedModel:
    """Read a fitted estimator that `skcnn.save` has written, for predictions alone.

    Parameters
    ----------
    path : str, path-like or binary file object
        The file. A file object is read from its current position to its end.
    classes : iterable of classes, default=()
        Layers and losses of your own that the file may name.

    Returns
    -------
    ServedModel
        It predicts the same as the estimator, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    TypeError
        If `classes` holds anything but classes, or if `path` is neither a path nor a file object in binary mode.
    ValueError
        If it is not a file that `skcnn.save` has written, is damaged, is of a newer format, names a class that is not
        known, or holds an estimator that is not fitted.

    Examples
    --------
    >>> import os, tempfile
    >>> import skcnn, skcnn.runtime
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> classifier = skcnn.CNNClassifier(max_iter=1).fit(digits.images, digits.target)
    >>> path = os.path.join(tempfile.mkdtemp(), "digits.skcnn")
    >>> skcnn.save(classifier, path)
    >>> model = skcnn.runtime.load(path)
    >>> bool((model.predict_proba(digits.images) == classifier.predict_proba(digits.images)).all())
    True
    """
    own = check_classes(classes)
    data = read_bytes(path)
    with refusals(path):
        content = read_file(data, SERVED_KINDS, own)
        wanted = READ[content.name]
        if not set(wanted) <= set(content):
            raise Refused("it is not fitted.")
        state = {key: content[key] for key in wanted}
        n_jobs = state["n_jobs"]
        if n_jobs is not None and (not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool) or n_jobs == 0):
            raise Refused(f"its n_jobs is {str(n_jobs)[:60]!r}, which is no number of threads.")
        check_model(content.name, state)
        reader = content.more("reader")
        model = ServedModel(content.name, state, reader and check_reader(reader, state["input_shape_"]))
    warn_of_other_version(content.name, content.version, stacklevel=2)
    return model


class ServedModel:
    """A fitted network that predicts, from any number of threads.

    Made by `load`.

    Attributes
    ----------
    name : str
        "CNNClassifier" or "CNNRegressor": what was saved.
    input_shape_ : (int, int, int)
        Height, width and channels of the images.
    classes_ : ndarray (n_classes,), or None
        The classes or numbers of the labels; None for a regressor.
    reader : Reading or None
        How image files are read, if a pipeline with an `ImageReader` was saved. ``reader.read(source)`` gives one image
        (h, w, c) from a path, bytes, an open file, a PIL image or an array of another size, and
        ``reader.read(source, max_pixels=n)`` refuses larger images before they are decoded. Both raise a ValueError
        with the reason for an image that cannot be read.
    """

    def __init__(self, name: str, state: dict[str, Any], reader: Reading | None = None) -> None:
        self.name = name
        self.reader = reader
        self.input_shape_: tuple[int, ...] = state["input_shape_"]
        self.classes_: Array | None = state.get("classes_")
        self._n_jobs: int | None = state["n_jobs"]
        self._labels: bool = state.get("_labels", False)
        self._columns: int | None = state.get("_columns")
        self._model: Model = state["_model"]
        self._predictor = predictor_of(self._model)

    def __repr__(self) -> str:
        outputs = "" if self.classes_ is None else f", {len(self.classes_)} {'labels' if self._labels else 'classes'}"
        files = "" if self.reader is None else ", from files"
        return f"<{self.name} for images of {self.input_shape_}{outputs}{files}>"

    def decision_function(self, X: Any) -> Array:
        """Raw predictions, as `CNNClassifier.decision_function`.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or list of paths, bytes or open files
            Images. Files need a model that was saved with its `ImageReader`.

        Returns
        -------
        ndarray (n,) or (n, n_classes)

        Raises
        ------
        AttributeError
            For a regressor.
        TypeError, ValueError
            For what are no images of its shape, or no finite numbers.
        """
        classes = self._known_classes("decision_function")
        raw = self._raw(X)
        return raw.ravel() if is_binary(classes, self._labels) else raw

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, or of each label.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or list of paths, bytes or open files
            Images. Files need a model that was saved with its `ImageReader`.

        Returns
        -------
        ndarray (n, n_classes)
            In float64, in the order of `classes_`.

        Raises
        ------
        AttributeError
            For a regressor, and where the loss gives no probabilities.
        TypeError, ValueError
            For what are no images of its shape, or no finite numbers.
        """
        classes = self._known_classes("predict_proba")
        if not self._model.loss.has_probabilities:
            raise AttributeError(f"loss={self._model.loss!r} gives no probabilities: use decision_function.")
        return probabilities(self._model.loss, self._raw(X), classes, self._labels)

    def predict(self, X: Any) -> Array:
        """Classes or labels, or a regressor's targets.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or list of paths, bytes or open files
            Images. Files need a model that was saved with its `ImageReader`.

        Returns
        -------
        ndarray (n,), (n, n_labels) or (n, n_outputs)

        Raises
        ------
        TypeError, ValueError
            For what are no images of its shape, or no finite numbers.
        """
        raw = self._raw(X)
        if self.classes_ is None:
            return predicted_targets(self._model, raw, self._columns)
        return predicted_classes(raw, self.classes_, self._labels)

    def _known_classes(self, method: str) -> Array:
        if self.classes_ is None:
            raise AttributeError(f"A {self.name} has no {method}: use predict.")
        return self.classes_

    def _raw(self, X: Any) -> Array:
        """Raw predictions (n, outputs) in float64."""
        return self._predictor.raw(self._images(X), self._n_jobs).astype(np.float64)

    def _images(self, X: Any) -> Array:
        """Images (n, h, w, c): the forms that the estimator takes, except sparse matrices."""
        if self.reader is not None and _are_files(X):
            X = [self.reader.read(source) for source in sources_of(X)]
        array = np.asarray(stacked(X))
        if array.dtype.kind not in "buif":
            raise TypeError(f"X must hold numbers, got {array.dtype}.")
        accepted = forms(self.input_shape_)
        if not array.ndim or len(array) < 1 or array.shape[1:] not in accepted:
            wanted = " or ".join(f"(n, {', '.join(map(str, form))})" for form in accepted)
            hint = cure(X, array.shape, self.input_shape_, "X")
            raise ValueError(f"X has shape {array.shape}. Expected images of shape {wanted}, at least one.{hint}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("X holds NaN or infinity. Expected finite numbers only.")
        images = array.reshape(len(array), *self.input_shape_)
        warn_of_scale(images, self._model.scaling)
        return images


def _are_files(X: Any) -> bool:
    """Whether these are images that are to be decoded; a single one is refused later."""
    if is_source(X):
        return True
    if hasattr(X, "to_numpy"):  # a column of a table
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        return X.dtype.kind in "OUT"
    return isinstance(X, (list, tuple)) and any(map(is_source, X))
