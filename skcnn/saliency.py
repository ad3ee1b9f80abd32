"""Saliency: gradients of predictions with respect to the images."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ._arrays.elementwise import Array
from ._engine.model import predicted_codes
from ._engine.predictor import Differentiator
from ._estimators.base import BaseCNN, check_fitted_network
from ._estimators.validation import check_images
from .classifier import CNNClassifier
from .description import is_count, is_real
from .regressor import CNNRegressor

NOISY_IMAGES = 256  # images per chunk when noise is added


def input_gradient(
    estimator: BaseCNN,
    X: Any,
    target: Any = None,
    *,
    n_samples: int = 1,
    noise: float = 0.1,
    random_state: Any = None,
) -> Array:
    """Compute the gradient of a raw prediction with respect to each pixel of the images.

    Parameters
    ----------
    estimator : CNNClassifier or CNNRegressor
        Fitted estimator.
    X : array-like (n, h, w, c), (n, h, w) or (n, features)
        Images.
    target : object or array-like (n,), default=None
        Class or label whose raw prediction, as in ``decision_function``, is differentiated. Pass one for all images,
        or one for each image. With two classes, the gradient for the first is the negative gradient for the second.
        For a regressor with several outputs, pass the index of an output. If None, it is the class or label with the
        largest raw prediction of each image, or the only output of a regressor. Test-time augmentation is not used.
    n_samples : int, default=1
        Number of noisy copies of each image. With 2 or more, the mean gradient of the copies is returned (SmoothGrad).
        With the default, no noise is added.
    noise : float, default=0.1
        Standard deviation of the noise, 0 or more, relative to the range from the lowest to the highest pixel of the
        image. It is used only if `n_samples` is 2 or more.
    random_state : int, RandomState or None, default=None
        Source of the noise. Pass an int for reproducible results.

    Returns
    -------
    ndarray (n, h, w, c)
        Gradients per unit of the pixels in X, in the precision of the weights.

    Raises
    ------
    TypeError
        If `estimator` is not an estimator of this package.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If X has the wrong shape or contains invalid numbers, or if the target is unknown.

    Notes
    -----
    The result is d f(x) / d x[a, b, k], with f as in prediction: batch normalization uses running statistics, and
    dropout is off. f is the raw prediction, before a sigmoid, a softmax or the exponential of a loss, because their
    slopes depend on the confidence of the network rather than on the relevant pixels. For a regressor, f is in the unit
    of y.

    K. Simonyan, A. Vedaldi and A. Zisserman, "Deep inside convolutional networks: visualising image classification
    models and saliency maps", arXiv:1312.6034, section 3. For the mean over noisy images see D. Smilkov et al.,
    "SmoothGrad: removing noise by adding noise", arXiv:1706.03825.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier
    >>> from skcnn.saliency import input_gradient
    >>> digits = load_digits()
    >>> classifier = CNNClassifier((8,), max_iter=2, random_state=0).fit(digits.images, digits.target)
    >>> input_gradient(classifier, digits.images[:3]).shape
    (3, 8, 8, 1)
    >>> why_not_seven = input_gradient(classifier, digits.images[:3], target=7)
    """
    check_fitted_network(estimator)
    if not is_count(n_samples):
        raise ValueError(f"n_samples must be an int of 1 or more, got {n_samples!r}.")
    if not is_real(noise, 0):
        raise ValueError(f"noise must be a number of 0 or more, got {noise!r}.")
    images = check_images(estimator, X, reset=False)
    model = estimator._model
    slopes = _slopes(estimator, len(images), default_target(estimator, images) if target is None else target)
    differentiator = Differentiator(model.network, model.weights, model.state, model.scaling)
    if n_samples == 1:
        found = differentiator.gradient(images, slopes, estimator.n_jobs)
    else:
        rng = check_random_state(random_state)
        found = np.zeros(images.shape, differentiator.dtype)
        for block in (slice(start, start + NOISY_IMAGES) for start in range(0, len(images), NOISY_IMAGES)):
            part = images[block].astype(differentiator.dtype)
            spread = noise * np.ptp(part, axis=(1, 2, 3), keepdims=True)
            for _ in range(n_samples):
                noisy = part + spread * rng.normal(size=part.shape).astype(part.dtype)
                found[block] += differentiator.gradient(noisy, slopes[block], estimator.n_jobs)
        found /= n_samples
    return found.astype(model.weights.dtype, copy=False)


def default_target(estimator: BaseCNN, images: Array) -> Array:
    """Return the default targets (n,): the predicted classes, the likeliest labels, or the index of the only output."""
    if isinstance(estimator, CNNClassifier):
        raw = estimator._predictor.raw(images, estimator.n_jobs)
        # An image may have any number of predicted labels, even none. The likeliest label always exists.
        return estimator.classes_[
            raw.argmax(axis=1) if estimator._labels else predicted_codes(raw, estimator.classes_, False)
        ]
    outputs = estimator._model.network.outputs
    if outputs > 1:
        raise ValueError(f"target must be the index of an output, 0 to {outputs - 1}: the regressor has {outputs}.")
    return np.zeros(len(images), int)


def _slopes(estimator: BaseCNN, n: int, target: Any) -> Array:
    """Return the weights (n, outputs) of the raw predictions in the differentiated sum."""
    outputs = estimator._model.network.outputs
    if isinstance(estimator, CNNRegressor):
        return np.diag(estimator.target_scale_)[_numbers(target, np.arange(outputs), n, "outputs")]
    chosen = _numbers(target, estimator.classes_, n, "classes")
    return np.where(chosen, 1.0, -1.0)[:, None] if estimator._is_binary() else np.eye(outputs)[chosen]


def _numbers(target: Any, known: Array, n: int, what: str) -> Array:
    """Return the positions (n,) of the targets among ``known``. One target stands for all images."""
    given = np.asarray(target)
    if given.shape not in ((), (n,)):
        raise ValueError(f"target must be one of the {what}, or one for each of the {n} images, got {target!r}.")
    matches = np.broadcast_to(given, n)[:, None] == known
    if not np.all(np.any(matches, axis=1)):
        raise ValueError(f"target={target!r} is not one of the {what} {known.tolist()}.")
    return matches.argmax(axis=1)
