"""Outputs of a hidden layer as features for other estimators."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from ._arrays.elementwise import Array
from ._engine.model import check_layer, predictor_of
from ._engine.predictor import Predictor
from ._estimators.base import BaseCNN, check_fitted_network
from ._estimators.validation import DocumentationLink, check_images, visual_block
from .classifier import CNNClassifier
from .layers import Dense, GlobalAvgPool2D, GlobalMaxPool2D, Layer
from .layers.residual import reachable
from .layers.sequence import check_layers, layer_names, lowered_steps
from .regressor import CNNRegressor

POOLING = {"avg": GlobalAvgPool2D(), "max": GlobalMaxPool2D(), None: None}
LARGE = 1 << 60  # pixels along an axis: so many that no block leaves its pooling out


class CNNFeatures(DocumentationLink, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Transformer from images to the outputs of a layer of a convolutional network.

    Parameters
    ----------
    estimator : CNNClassifier or CNNRegressor
        Network, which is cloned and fitted in ``fit``. To use a fitted network as it is, wrap it in
        `sklearn.frozen.FrozenEstimator`.
    layer : str, default=None
        Name of the layer, as in ``summary()``, such as "conv1", "maxpool2" or "dense1". A layer inside another one has
        a name with a dot, such as "residual1.conv2". If None, the last hidden layer is used.
    pool : {"avg", "max"}, default=None
        Mean or maximum over the height and width of the layer's output, so that each channel is one feature. Flat
        outputs are not pooled. If None, each pixel of each channel is one feature.

    Attributes
    ----------
    estimator_ : CNNClassifier or CNNRegressor
        The fitted network.
    layer_ : str
        Name of the layer.
    layer_shape_ : tuple of int
        Shape of the layer's output for one image, after pooling. ``transform`` flattens it.
    n_features_in_ : int
        Number of pixels times number of channels of an image.
    feature_names_in_ : ndarray (n_features,)
        Column names, if the network was fitted to a DataFrame.

    Examples
    --------
    An SVM on deep features:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from skcnn import CNNClassifier, CNNFeatures
    >>> digits = load_digits()
    >>> network = CNNClassifier((16, 32), max_iter=10, random_state=0)
    >>> model = make_pipeline(CNNFeatures(network, layer="dense1"), SVC())
    >>> model.fit(digits.images[:1000], digits.target[:1000]).score(digits.images[1000:], digits.target[1000:]) > 0.92
    True
    >>> model[0].get_feature_names_out()[:2]
    array(['cnnfeatures0', 'cnnfeatures1'], dtype=object)
    """

    estimator_: BaseCNN

    def __init__(self, estimator: Any, layer: str | None = None, *, pool: Literal["avg", "max"] | None = None) -> None:
        self.estimator = estimator
        self.layer = layer
        self.pool = pool

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit a clone of the network.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like, default=None
            Targets, not required for a frozen network.
        **fit_params : dict
            Keyword arguments of the network's ``fit``.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If `estimator` is neither a CNNClassifier nor a CNNRegressor.
        ValueError
            If the network has no layer of that name, or if `pool` is not one of its values. Names are checked before
            the network is fitted, unless they depend on the images.
        """
        if not (self.pool is None or (isinstance(self.pool, str) and self.pool in POOLING)):
            raise ValueError(f"pool must be 'avg', 'max' or None, got {self.pool!r}.")
        frozen = isinstance(self.estimator, FrozenEstimator)
        if not isinstance(self.estimator.estimator if frozen else self.estimator, BaseCNN):
            raise TypeError(
                "estimator must be a CNNClassifier or CNNRegressor, or a fitted one inside FrozenEstimator, got"
                f" {self.estimator!r}."
            )
        if not frozen and self.layer is not None:
            _check_layer_to_be(self.estimator, self.layer)
        fitted = clone(self.estimator).fit(X, y, **fit_params)
        network = fitted.estimator if frozen else fitted
        check_is_fitted(network)
        layer = network._model.network.names[-2] if self.layer is None else self.layer
        check_layer(layer, network._model.network.reached)
        self.estimator_, self.layer_, self._pool = network, layer, self.pool
        self._predictor = self._predictor_to_layer()
        self.layer_shape_ = self._predictor.shape
        self.n_features_in_ = network.n_features_in_
        self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        if hasattr(network, "feature_names_in_"):
            self.feature_names_in_ = network.feature_names_in_
        return self

    def transform(self, X: Any) -> Array:
        """Return the layer's output for each image, pooled, and flattened in the order h, w, c.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n, n_features)
        """
        check_is_fitted(self)
        found = _run(self.estimator_, self._predictor, X)
        return found.reshape(len(found), -1)

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.layer_shape_)

    def _predictor_to_layer(self) -> Predictor:
        return predictor_of(self.estimator_._model, self.layer_, pool=self._pooling)

    @property
    def _pooling(self) -> Layer | None:
        """Return the layer that pools the output of the network's layer, or None if that output is flat."""
        pool = POOLING[getattr(self, "_pool", None)]  # a pickle may be older than the parameter `pool`
        return None if len(self.estimator_._model.network.reached[self.layer_]) == 1 else pool

    def _sk_visual_block_(self) -> Any:
        """Return the block that the HTML representation shows: the network, with its layers after fitting."""
        network = getattr(self, "estimator_", self.estimator)
        names = [f"estimator: {type(network).__name__}"]
        return visual_block("parallel", [network], names=names, name_details=[str(network)])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = not isinstance(self.estimator, FrozenEstimator)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_predictor", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.__sklearn_is_fitted__():
            self._predictor = self._predictor_to_layer()


def _check_layer_to_be(network: BaseCNN, layer: object) -> None:
    """Raise a ValueError, before the fit, for a layer that the network cannot have, whatever the images."""
    if type(network) not in (CNNClassifier, CNNRegressor):  # a subclass may choose its layers in ``fit``
        return
    network._validate_params()
    hidden = network._hidden_layers((LARGE, LARGE, 1))
    check_layers(hidden)
    steps = lowered_steps([*layer_names(hidden), "output"], [*hidden, Dense(1)])
    check_layer(layer, dict.fromkeys(reachable(steps)))


def activations(estimator: BaseCNN, X: Any, layer: str) -> Array:
    """Return a layer's output for images, as in a prediction without test-time augmentation.

    Parameters
    ----------
    estimator : CNNClassifier or CNNRegressor
        Fitted estimator.
    X : array-like (n, h, w, c), (n, h, w) or (n, features)
        Images.
    layer : str
        Name of the layer, as in ``summary()``. A layer inside another one has a name with a dot, such as
        "residual1.conv2".

    Returns
    -------
    ndarray (n, h, w, c) or (n, features)
        Output of the layer for each image.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the network has no layer of that name.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skcnn import CNNClassifier
    >>> from skcnn.features import activations
    >>> digits = load_digits()
    >>> classifier = CNNClassifier(max_iter=1).fit(digits.images, digits.target)
    >>> activations(classifier, digits.images[:3], "conv1").shape
    (3, 8, 8, 32)
    """
    check_fitted_network(estimator)
    return _run(estimator, predictor_of(estimator._model, layer), X)


def _run(estimator: BaseCNN, predictor: Predictor, X: Any) -> Array:
    """Return the predictor's output in the precision of the weights, because small networks predict in a higher one."""
    images = check_images(estimator, X, reset=False)
    return predictor.raw(images, estimator.n_jobs).astype(estimator._model.weights.dtype, copy=False)
