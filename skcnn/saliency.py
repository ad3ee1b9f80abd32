"""Saliency: the gradient of a prediction with respect to the image."""

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

NOISY_IMAGES = 256  # images that are copied at a time, where noise is added to them


def input_gradient(
    estimator: BaseCNN,
    X: Any,
    target: Any = None,
    *,
    n_samples: int = 1,
    noise: float = 0.1,
    random_state: Any = None,
) -> Array:
    """Gradient of a raw prediction with respect to each pixel of the images.

    Parameters
    ----------
    estimator : CNNClassifier or CNNRegressor
        Fitted.
    X : array-like (n, h, w, c), (n, h, w) or (n, features)
        Images.
    target : object or array-like (n,), default=None
        What is differentiated: the raw prediction, as ``decision_function`` gives it, of this class or label, one for
        all images or one for each. With two classes, that of the first is the negative of the second's. For a
        regressor with several outputs it is the number of one. None is the class, or label, of the largest raw
        prediction of each image, and a regressor's only output.
    n_samples : int, default=1
        With 2 or more, the mean over so many copies of each image with noise: SmoothGrad.
    noise : float, default=0.1
        The noise's standard deviation, as a share of the image's range from its lowest to its highest pixel. It is
        read for `n_samples` of 2 or more.
    random_state : int, RandomState or None, default=None
        Draws the noise.

    Returns
    -------
    ndarray (n, h, w, c)
        In the precision of the weights, and per unit of the pixels as they are in X.

    Raises
    ------
    TypeError
        If it is no estimator of this package.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If X does not fit it, or it does not know the target.

    Notes
    -----
    d f(x) / d x[a, b, k], with f as in prediction: batch normalization by its running statistics, no dropout. It is
    that of the raw prediction, before a sigmoid, a softmax or a loss's exponential, whose slope says how certain
    the network is rather than where it looks. For a regressor it is in the unit of y. K. Simonyan, A. Vedaldi and
    A. Zisserman, "Deep inside convolutional networks: visualising image classification models and saliency maps",
    arXiv:1312.6034, section 3. The mean over noisy images: D. Smilkov et al., "SmoothGrad: removing noise by adding
    noise", arXiv:1706.03825.

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
    """Return the default targets (n,) to differentiate: predicted classes or labels, or the only output's number."""
    if isinstance(estimator, CNNClassifier):
        raw = estimator._predictor.raw(images, estimator.n_jobs)
        # Labels are decided one by one, and there may be none: of them it is the likeliest.
        return estimator.classes_[
            raw.argmax(axis=1) if estimator._labels else predicted_codes(raw, estimator.classes_, False)
        ]
    outputs = estimator._model.network.outputs
    if outputs > 1:
        raise ValueError(f"target must be the number of an output, 0 to {outputs - 1}: the regressor has {outputs}.")
    return np.zeros(len(images), int)


def _slopes(estimator: BaseCNN, n: int, target: Any) -> Array:
    """Return the weights (n, outputs) of the raw predictions in the sum that is differentiated."""
    outputs = estimator._model.network.outputs
    if isinstance(estimator, CNNRegressor):
        return np.diag(estimator.target_scale_)[_numbers(target, np.arange(outputs), n, "outputs")]
    chosen = _numbers(target, estimator.classes_, n, "classes")
    return np.where(chosen, 1.0, -1.0)[:, None] if estimator._is_binary() else np.eye(outputs)[chosen]


def _numbers(target: Any, known: Array, n: int, what: str) -> Array:
    """Where each target (n,), or one for all, stands among those that are known."""
    given = np.asarray(target)
    if given.shape not in ((), (n,)):
        raise ValueError(f"target must be one of the {what}, or one for each of the {n} images, got {target!r}.")
    matches = np.broadcast_to(given, n)[:, None] == known
    if not np.all(np.any(matches, axis=1)):
        raise ValueError(f"target={target!r} is not one of the {what} {known.tolist()}.")
    return matches.argmax(axis=1)
