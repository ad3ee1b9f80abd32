"""Predictions of a saved model without scikit-learn, for servers that start faster and use less memory.

`load` reads files written by `skcnn.save`. The loaded model can only predict, with results that are bitwise identical
to the estimator's. It has no parameters and cannot be trained. The module imports only NumPy and threadpoolctl. SciPy
is imported for networks that need its special functions: for two classes or labels, and for `Sigmoid`, `SiLU`, `GELU`
and `Mish`.
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
from ._engine.views import averaged_raw, views_of
from .description import Description
from .initializers import Initializer
from .layers import Layer
from .losses import Loss
from .versions import warn_of_other_version

SERVED_KINDS = Initializer, Layer, Loss
SHARED = "_model", "loss", "n_jobs", "test_time_augmentation", "input_shape_", "n_features_in_"
READ = {
    "CNNClassifier": (*SHARED, "classes_", "_labels"),
    "CNNRegressor": (*SHARED, "_columns"),
}


def load(path: File, *, classes: Iterable[type[Description]] = ()) -> ServedModel:
    """Load a fitted estimator from a file written by `skcnn.save`, for predictions only.

    Parameters
    ----------
    path : str, path-like or binary file object
        Path of the file. A file object is read from its current position to its end.
    classes : iterable of classes, default=()
        Your own layers and losses that the file may contain.

    Returns
    -------
    ServedModel
        Model for predictions, which are bitwise identical to the estimator's.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    TypeError
        If an entry of `classes` is not a class, or if `path` is neither a path nor a file object in binary mode.
    ValueError
        If the file was not written by `skcnn.save`, is damaged, has a newer format, names an unknown class, or contains
        an estimator that is not fitted.

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
            raise Refused(f"its n_jobs is {str(n_jobs)[:60]!r}, which is not a number of threads.")
        check_model(content.name, state)
        views_of(state["test_time_augmentation"], state["input_shape_"])  # raises an error for an unknown name
        reader = content.more("reader")
        model = ServedModel(content.name, state, reader and check_reader(reader, state["input_shape_"]))
    warn_of_other_version(content.name, content.version, stacklevel=2)
    return model


class ServedModel:
    """Fitted network that predicts, safe to use from several threads.

    Create it with `load`.

    Attributes
    ----------
    name : str
        Class of the saved estimator, "CNNClassifier" or "CNNRegressor".
    input_shape_ : (int, int, int)
        Height, width and channels of the images.
    classes_ : ndarray (n_classes,), or None
        Classes, or indices of the labels. None for a regressor.
    reader : Reading or None
        Reader of image files, if a pipeline with an `ImageReader` was saved. ``reader.read(source)`` returns one image
        (h, w, c) from a path, bytes, an open file, a PIL image or an array of any size. Use
        ``reader.read(source, max_pixels=n)`` to reject larger images before they are decoded. Both raise a ValueError
        with a reason if the image cannot be read.
    """

    def __init__(self, name: str, state: dict[str, Any], reader: Reading | None = None) -> None:
        self.name = name
        self.reader = reader
        self.input_shape_: tuple[int, ...] = state["input_shape_"]
        self.classes_: Array | None = state.get("classes_")
        self._n_jobs: int | None = state["n_jobs"]
        self._test_time_augmentation: str | None = state["test_time_augmentation"]
        self._labels: bool = state.get("_labels", False)
        self._columns: int | None = state.get("_columns")
        self._model: Model = state["_model"]
        self._predictor = predictor_of(self._model)

    def __repr__(self) -> str:
        outputs = "" if self.classes_ is None else f", {len(self.classes_)} {'labels' if self._labels else 'classes'}"
        files = "" if self.reader is None else ", from files"
        return f"<{self.name} for images of {self.input_shape_}{outputs}{files}>"

    def decision_function(self, X: Any) -> Array:
        """Compute raw predictions, like `CNNClassifier.decision_function`.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or list of paths, bytes or open files
            Images. Files require a model that was saved with an `ImageReader`.

        Returns
        -------
        ndarray (n,) or (n, n_classes)
            Raw predictions in float64, (n,) for two classes.

        Raises
        ------
        AttributeError
            If the model is a regressor.
        TypeError, ValueError
            If X has the wrong type or shape, or contains NaN or infinity.
        """
        classes = self._known_classes("decision_function")
        raw = self._raw(X)
        return raw.ravel() if is_binary(classes, self._labels) else raw

    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities of classes or labels.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or list of paths, bytes or open files
            Images. Files require a model that was saved with an `ImageReader`.

        Returns
        -------
        ndarray (n, n_classes)
            Probabilities in float64, in the order of `classes_`.

        Raises
        ------
        AttributeError
            If the model is a regressor, or the loss provides no probabilities.
        TypeError, ValueError
            If X has the wrong type or shape, or contains NaN or infinity.
        """
        classes = self._known_classes("predict_proba")
        if not self._model.loss.has_probabilities:
            raise AttributeError(f"loss={self._model.loss!r} provides no probabilities. Use decision_function instead.")
        return probabilities(self._model.loss, self._raw(X), classes, self._labels)

    def predict(self, X: Any) -> Array:
        """Predict classes, labels or a regressor's targets.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features), or list of paths, bytes or open files
            Images. Files require a model that was saved with an `ImageReader`.

        Returns
        -------
        ndarray (n,), (n, n_labels) or (n, n_outputs)
            Predictions, as from the estimator's ``predict``.

        Raises
        ------
        TypeError, ValueError
            If X has the wrong type or shape, or contains NaN or infinity.
        """
        raw = self._raw(X)
        if self.classes_ is None:
            return predicted_targets(self._model, raw, self._columns)
        return predicted_classes(raw, self.classes_, self._labels)

    def _known_classes(self, method: str) -> Array:
        if self.classes_ is None:
            raise AttributeError(f"A {self.name} has no {method}. Use predict instead.")
        return self.classes_

    def _raw(self, X: Any) -> Array:
        """Return raw predictions (n, outputs) in float64."""
        raw = averaged_raw(self._predictor, self._images(X), self._test_time_augmentation, self._n_jobs)
        return raw.astype(np.float64, copy=False)

    def _images(self, X: Any) -> Array:
        """Convert X to images (n, h, w, c). It accepts the same input as the estimator, except sparse matrices."""
        if self.reader is not None and _are_files(X):
            X = [self.reader.read(source) for source in sources_of(X)]
        array = np.asarray(stacked(X))
        if array.dtype.kind not in "buif":
            raise TypeError(f"X must contain numbers, got {array.dtype}.")
        accepted = forms(self.input_shape_)
        if not array.ndim or len(array) < 1 or array.shape[1:] not in accepted:
            wanted = " or ".join(f"(n, {', '.join(map(str, form))})" for form in accepted)
            hint = cure(X, array.shape, self.input_shape_, "X")
            raise ValueError(f"X has shape {array.shape}. Expected images of shape {wanted}, at least one.{hint}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("X contains NaN or infinity. Expected finite numbers only.")
        images = array.reshape(len(array), *self.input_shape_)
        warn_of_scale(images, self._model.scaling)
        return images


def _are_files(X: Any) -> bool:
    """Return whether X contains image files to decode. A single image raises an error later."""
    if is_source(X):
        return True
    if hasattr(X, "to_numpy"):  # a column of a table
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        return X.dtype.kind in "OUT"
    return isinstance(X, (list, tuple)) and any(map(is_source, X))
