"""Regressor: encoding and decoding of numeric targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ._arrays.elementwise import Array
from ._engine.model import predicted_targets
from ._engine.scaling import Scaling
from ._estimators.base import BaseCNN
from ._estimators.given import given_scaling, named_arrays, outputs_of
from ._estimators.judging import r2
from ._estimators.validation import (
    REGRESSOR_PARAMETERS,
    check_images_and_targets,
    check_regression_targets,
    check_weights,
    fit_context,
)
from .architecture.small import Knob
from .augmentation import Augmentation
from .initializers import Initializer
from .layers import Activation, Layer
from .losses import Loss
from .optimizers import Optimizer
from .schedules import Schedule


class CNNRegressor(RegressorMixin, BaseCNN):
    """Convolutional neural network for regression.

    The network is trained by stochastic gradient descent. Use it like any scikit-learn regressor: in pipelines, in
    searches and in saved models.

    Parameters
    ----------
    conv_filters : int or sequence of int, default=(32, 64)
        Number of filters of each block ``Conv2D -> [BatchNorm] -> activation -> [MaxPool2D]``.
    kernel_size : int or sequence, default=3
        Size of the convolution windows: an int, or one int or pair (height, width) per block.
    pool_size : int or sequence, default=2
        Pooling window size, in the same format as `kernel_size`. Use 1 to disable pooling. An axis that is shorter than
        the window is not pooled.
    hidden_layer_sizes : int or sequence of int, default=(128,)
        Number of units of each dense layer after the blocks.
    layers : list of Layer, default=None
        Hidden layers. They replace the blocks and dense layers, so `conv_filters` to `hidden_layer_sizes`,
        `activation`, `batch_norm` and `dropout` have no effect. The estimator adds the output layer, so the list must
        not contain it.
    pretrained : CNNClassifier, CNNRegressor or FrozenEstimator of one, default=None
        Fitted network to fine-tune. ``fit`` copies its layers, its standardization (which replaces `standardize`) and
        its weights, except the output layer. If `layers` is given, weights are copied by name. Clones share the
        network. After loading from a pickle or a file, the parameter is "left out", because the file contains only the
        fine-tuned network.
    freeze : str, default=None
        Name of the last frozen layer, as in ``summary()``. Frozen layers keep the weights and the batch normalization
        statistics of the pretrained network, and apply no dropout. By default, all layers are trained.
    freeze_statistics : bool, default=None
        Whether batch normalization in the trained layers normalizes with the running statistics of the pretrained
        network, and keeps them. If False, it uses the statistics of each batch, and updates the running ones. By
        default, it is True if `pretrained` is given without `layers`, and False otherwise.
    input_shape : (int, int) or (int, int, int), default=None
        Shape (h, w) or (h, w, c) of the images, required when X is 2-D and the shape cannot be inferred. By default, 64
        or more features that are a square number are a square grey image. Other rows are signals (1, features), with an
        `ImageLayoutWarning` from 32 features on. An explicit shape disables the warnings about the layout of X.
    activation : str or Activation, default="relu"
        Activation function after each convolution and each dense layer: "relu", "relu6", "leaky_relu", "prelu", "elu",
        "selu", "gelu", "silu" (or "swish"), "hard_swish", "mish", "softplus", "tanh", "sigmoid", "hard_sigmoid", "clip"
        (or "hard_tanh"), "softmax", or a layer of `skcnn.layers`.
    batch_norm : bool, default=False
        Whether the blocks apply batch normalization before the activation. During training, the outputs for an image
        then depend on the other images of its batch.
    dropout : float or sequence of float, default=0.0
        Dropout rate after each block and each dense layer, from 0 to less than 1. A sequence contains one rate per
        block, optionally followed by one per dense layer.
    output_initializer : str or Initializer, default="zeros"
        Initializer of the output layer's kernel: "zeros", "he", "glorot", "lecun", "orthogonal", "truncated_normal",
        "variance_scaling", "dirac", "constant", or an object of `skcnn.initializers`. It also applies when `layers` is
        given.
    loss : str or Loss, default="squared_error"
        Loss function to minimize: "squared_error", "absolute_error", "huber", "quantile", "poisson", or an object of
        `skcnn.losses`. A fitted model predicts with the loss of its fit.
    optimizer : str or Optimizer, default="adam"
        Optimizer: "adam", "adamw", "nadam", "sgd", "rmsprop", "adagrad", "adadelta", "lion", "muon", or an object of
        `skcnn.optimizers`.
    learning_rate : float, default=1e-3
        Learning rate, 0 or more.
    learning_rate_factors : dict of str -> float, default=None
        Factors of the learning rate, 0 or more, for a part of the weights. A key is the name of a layer, such as
        "conv1", a kind of parameter, such as "bias", a name in `parameters_`, such as "conv1.kernel", or one of these
        with wildcards, such as "conv*.kernel". If several keys match a parameter, their factors are multiplied. Weights
        with the factor 0 are not trained, and `alpha` does not penalize them. By default, all factors are 1.
    schedule : str or Schedule, default="constant"
        Schedule of the learning rate: "constant", "step", "exponential", "polynomial", "inverse_scaling", "cosine",
        "cosine_restarts", "one_cycle", "warmup", "adaptive", or an object of `skcnn.schedules`.
    alpha : float, default=1e-4
        Strength of the L2 penalty: ``alpha / 2`` times the sum of squares of all kernels. Biases are not penalized.
    clip_norm : float, default=None
        Maximum norm of the gradient of all weights, without the penalty of `alpha`. Longer gradients are scaled down.
        By default, gradients are not clipped.
    average : False or float, default=False
        Decay of an exponential moving average of the weights, between 0 and 1 (for example 0.99). The averaged weights
        are used for prediction. Training continues with the non-averaged weights. By default, weights are not averaged.
    batch_size : int, default=64
        Number of images per training step. If there are fewer images, one step uses all of them.
    max_iter : int, default=30
        Number of epochs. Unlike `MLPRegressor`, no warning is issued when it is reached.
    shuffle : bool, default=True
        Whether to shuffle the data before each epoch.
    augmentation : str, Augmentation or list of them, default=None
        Random changes of the training images, drawn for each epoch: "random_flip", "random_crop", "random_shift",
        "random_rotation", "random_zoom", "random_affine", "gaussian_noise", "color_jitter", "cutout", "mixup",
        "cutmix", an object of `skcnn.augmentation`, or a list of these, applied in order. Validation and prediction use
        the original images.
    test_time_augmentation : {"flip", "flip_shift"}, default=None
        Views of each image over which raw predictions are averaged, in predictions and validation scores. "flip"
        averages over the image and its mirror image. "flip_shift" also includes both images shifted by one pixel, down
        and right and up and left, each with half the weight of the original. They take 2 and 6 times as long. It can be
        changed after ``fit``. By default, only the image itself is used.
    standardize : bool, default=True
        Whether to subtract the mean and divide by the standard deviation of each channel. Both are computed from the
        training images. Raw 8-bit pixels then need no scaling.
    early_stopping : bool, default=False
        Whether to stop training when neither the validation score nor the validation loss has improved by `tol` for
        more than `n_iter_no_change` epochs. Without ``X_val``, `validation_fraction` of the rows are set aside.
    scoring : str, callable or None, default=None
        Validation score, used for early stopping, to select the best epoch, and for `validation_scores_`. None means
        the coefficient of determination, R ** 2. "loss" means minus the loss. Other strings are names of scikit-learn's
        scorers, such as "neg_median_absolute_error". A callable is called as ``scoring(estimator, X, y)``, with
        ``sample_weight`` if rows have weights.
    validation_fraction : float, default=0.1
        Fraction of the rows to set aside for early stopping, between 0 and 1.
    n_iter_no_change : int, default=10
        Number of epochs without improvement to tolerate. Without a validation set, the training loss is monitored.
    tol : float, default=1e-4
        Minimum change that counts as an improvement, 0 or more.
    warm_start : bool, default=False
        Whether ``fit`` continues from the previous fit, for `max_iter` more epochs.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the validation split, the order of the rows, dropout and augmentation. With an int,
        repeated fits on the same data give the same bits.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Floating-point type used for computation. "auto" means float32, except for float64 images in networks with less
        than 160,000 multiply-adds per image, and for images that float32 would round by more than a thousandth of their
        standard deviation if they are standardized. Networks with less than 32,768 multiply-adds per image always
        predict in float64.
    n_jobs : int, default=None
        Number of threads for a fit or a prediction, or of processes for a long fit. They replace the threads of BLAS.
        None means the current number of BLAS threads, and -1 means all processors. On one machine, the results have the
        same bits for every number.
    verbose : int, default=0
        Verbosity. 1 prints a line per epoch. 2 also prints a line every ten seconds within an epoch.

    Attributes
    ----------
    n_features_in_ : int
        Number of features: pixels times channels of an image.
    feature_names_in_ : ndarray (n_features,)
        Names of the columns, if X was a DataFrame with string column names.
    input_shape_ : (int, int, int)
        Height, width and channels of an image.
    input_mean_, input_scale_ : ndarray (channels,)
        Mean and standard deviation of each channel, used to standardize images.
    target_mean_, target_scale_ : ndarray (n_outputs,)
        Mean and standard deviation of the targets. A prediction is ``raw * target_scale_ + target_mean_``. They are
        zeros and ones if the loss does not standardize targets, and after `set_weights` without a fit.
    layers_ : list of Layer
        Hidden layers, in the format of the parameter `layers`.
    parameters_ : dict of str -> ndarray
        Weights in forward order: ``conv1.kernel`` (kh, kw, c, filters), ``conv1.bias`` (filters,), ``dense1.kernel``
        (in, out), ..., ``output.bias``. The dict and its arrays are read-only.
    state_ : dict of str -> ndarray
        Running statistics of batch normalization. The dict and its arrays are read-only.
    n_parameters_ : int
        Number of weights.
    n_iter_ : int
        Number of epochs of training.
    loss_, best_loss_ : float
        Training loss of the last epoch, and the lowest training loss.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_scores_ : list of float or None
        Validation score of each epoch. None without a validation set.
    best_validation_score_ : float or None
        Best validation score in the last call of ``fit``. The weights from the best-scoring epoch are kept. Ties are
        broken by the lowest validation loss. None if the last call of ``fit`` or ``partial_fit`` had no validation set.
    history_ : dict of str -> list of float
        One entry per epoch: ``loss``, ``score``, ``val_loss``, ``val_score``, ``learning_rate``, ``seconds``. ``loss``
        and ``score`` are measured on the training batches while the weights change, with dropout and augmentation.
        ``loss`` includes the penalty of `alpha`. ``val_loss`` and ``val_score`` are measured after the epoch, without
        the penalty. Unknown numbers are NaN: ``val_loss`` and ``val_score`` without a validation set, ``score`` with
        augmentations that mix classes and with a callable `scoring`.

    See Also
    --------
    sklearn.neural_network.MLPRegressor : Neural network with dense layers only.

    Notes
    -----
    X is an array of images (n, h, w, c) or (n, h, w), channels last, or of rows (n, features), of any numeric dtype. It
    can also be a list, an object array or a table column of equally sized arrays, tensors or Pillow images. After
    fitting, you can pass images in any of these formats. Large arrays, including memory-mapped ones, are converted
    batch by batch. `skcnn.exceptions` lists the warnings about probable mistakes.

    Training minimizes the weighted mean of the per-sample loss, averaged over the outputs, plus the L2 penalty. Targets
    are standardized: the network learns (y - mean) / standard deviation of each output, so predictions do not depend on
    the unit of y. Losses in `history_`, the ``delta`` of `Huber` and `parameters_` are in units of standardized
    targets. Losses with a link, such as "poisson", use the original targets.

    A pickle contains the weights once. After `partial_fit` or with `warm_start`, it also contains the state of the
    optimizer and the non-averaged weights behind `average`, so training can continue.

    With `average`, the weights of step s have the weight ``average ** (t - s)`` in the average of the first t steps,
    divided by the sum of these numbers. Initial weights are not included. The averaged weights are used for
    `parameters_`, validation and prediction. The running statistics of batch normalization are not averaged, and
    training losses use the non-averaged weights.

    Examples
    --------
    How much of each digit is ink, from its picture:

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from skcnn import CNNRegressor
    >>> images = load_digits().images
    >>> ink = images.mean(axis=(1, 2)) - 5
    >>> X_train, X_test, y_train, y_test = train_test_split(images, ink, random_state=0)
    >>> regressor = CNNRegressor(conv_filters=(16,), hidden_layer_sizes=(32,), max_iter=10, random_state=0)
    >>> regressor.fit(X_train, y_train).score(X_test, y_test) > 0.95
    True
    >>> regressor.predict(X_test[:1]).shape
    (1,)
    """

    _task = "regression"
    _parameter_constraints = REGRESSOR_PARAMETERS
    _columns: int | None  # of y; None where it was a vector

    def __init__(
        self,
        conv_filters: int | Sequence[int] = (32, 64),
        kernel_size: Knob = 3,
        pool_size: Knob = 2,
        hidden_layer_sizes: int | Sequence[int] = (128,),
        *,
        layers: Sequence[Layer] | None = None,
        pretrained: Any = None,
        freeze: str | None = None,
        freeze_statistics: bool | None = None,
        input_shape: tuple[int, ...] | None = None,
        activation: str | Activation = "relu",
        batch_norm: bool = False,
        dropout: float | Sequence[float] = 0.0,
        output_initializer: str | Initializer = "zeros",
        loss: str | Loss = "squared_error",
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 1e-3,
        learning_rate_factors: dict[str, float] | None = None,
        schedule: str | Schedule = "constant",
        alpha: float = 1e-4,
        clip_norm: float | None = None,
        average: float | bool = False,
        batch_size: int = 64,
        max_iter: int = 30,
        shuffle: bool = True,
        augmentation: str | Augmentation | Sequence[str | Augmentation] | None = None,
        test_time_augmentation: Literal["flip", "flip_shift"] | None = None,
        standardize: bool = True,
        early_stopping: bool = False,
        scoring: str | Callable[..., float] | None = None,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        dtype: Literal["auto", "float32", "float64"] = "auto",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.conv_filters = conv_filters
        self.kernel_size = kernel_size
        self.pool_size = pool_size
        self.hidden_layer_sizes = hidden_layer_sizes
        self.layers = layers
        self.pretrained = pretrained
        self.freeze = freeze
        self.freeze_statistics = freeze_statistics
        self.input_shape = input_shape
        self.activation = activation
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.output_initializer = output_initializer
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_factors = learning_rate_factors
        self.schedule = schedule
        self.alpha = alpha
        self.clip_norm = clip_norm
        self.average = average
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.augmentation = augmentation
        self.test_time_augmentation = test_time_augmentation
        self.standardize = standardize
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the network to images and their targets.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like (n,) or (n, n_outputs)
            Targets.
        sample_weight : array-like (n,), default=None
            Sample weights, 0 or more. A weight of 2 is equivalent to repeating the row.
        X_val, y_val : array-like, default=None
            Validation set. Its loss and score are measured after each epoch, and the weights from the best-scoring
            epoch are kept, even without `early_stopping`. Because it selects the epoch, its score is optimistic: use
            other images for testing.
        sample_weight_val : array-like, default=None
            Sample weights of the validation set.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the images, the targets or the weights are invalid, or the loss does not stay finite in the
            first epoch. The estimator is then unchanged.

        Warns
        -----
        ConvergenceWarning
            If training diverges after the first epoch. The best epoch is restored.
        """
        with self._unchanged_on_error():
            resume = self.warm_start and self.__sklearn_is_fitted__()
            images, targets, weights = self._checked(
                X, y, sample_weight, resume, "warm_start continues with the same outputs"
            )
            validation = self._validation_data(X_val, y_val, sample_weight_val, images.shape[1:])
            given = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
            return self._train(images, targets, weights, validation, resume=resume, given=given)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, continuing from the last call.

        Three calls on the same data give the same bits as ``fit`` with ``max_iter=3``. Call it on one chunk after the
        other for data that does not fit in memory. Each call counts as an epoch for `n_iter_`, `history_` and the
        schedule, so set `max_iter` to the planned number of calls.

        The first call measures the standardization of images and targets. Sample weights are divided by the mean weight
        in the first call. The first chunk should therefore be a random sample.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like (n,) or (n, n_outputs)
            Targets.
        sample_weight : array-like (n,), default=None
            Sample weights, 0 or more.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or an input is invalid, as in `fit`, or with `early_stopping`.
        """
        self._refuse_early_stopping()
        with self._unchanged_on_error():
            resume = self.__sklearn_is_fitted__()
            images, y, weights = self._checked(X, y, sample_weight, resume, "y must be of the same form as before")
            return self._train(images, y, weights, None, resume=resume)

    def set_weights(
        self,
        weights: Any,
        *,
        input_shape: Any = None,
        mean: Any = None,
        scale: Any = None,
        target_mean: Any = None,
        target_scale: Any = None,
    ) -> Self:
        """Set arrays of the network by their names, from any source.

        A fitted estimator keeps the arrays that are not given. An estimator that is not fitted needs all arrays,
        including the output layer. It is fitted afterwards: it predicts, and can be trained with `warm_start` or
        ``partial_fit``. One output predicts a vector, several predict a matrix.

        Parameters
        ----------
        weights : dict of str -> array-like
            Arrays by the names of `parameters_` and `state_`, such as ``conv1.kernel`` (kh, kw, c, filters).
        input_shape : (int, int) or (int, int, int), default=None
            Shape (h, w) or (h, w, c) of the images. By default, the shape of the fitted estimator, or the parameter
            `input_shape`. A fitted network accepts another image size if its arrays do not depend on the size.
        mean, scale : float or array-like (c,), default=None
            Standardization: the network gets (x - mean) / scale for the pixels x of an image. By default, the
            standardization of the fitted estimator. Both are required if the estimator is not fitted.
        target_mean, target_scale : float or array-like (n_outputs,), default=None
            A prediction is ``raw * target_scale + target_mean`` for the outputs of the network. By default, as in the
            fitted estimator, or 0 and 1.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If weights is not a dict of names and numbers.
        ValueError
            If a name is unknown or missing, a shape is wrong, or a number is not finite. The estimator is then
            unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from skcnn import CNNRegressor
        >>> from skcnn.layers import GlobalAvgPool2D
        >>> weights = {"output.kernel": [[2.0]], "output.bias": [1.0]}
        >>> regressor = CNNRegressor(layers=[GlobalAvgPool2D()])
        >>> regressor.set_weights(weights, input_shape=(8, 8), mean=0, scale=1).predict(np.full((1, 8, 8), 3.0))
        array([7.])
        """
        with self._unchanged_on_error():
            self._validate_params()
            arrays = named_arrays(weights)
            outputs = outputs_of(arrays)
            if outputs is not None and not (self.__sklearn_is_fitted__() and outputs == self._model.network.outputs):
                self._columns = None if outputs == 1 else outputs
            self._take_weights(arrays, input_shape, mean, scale)
            if target_mean is not None or target_scale is not None:
                outputs = self._model.network.outputs
                before = Scaling(self.target_mean_, self.target_scale_)
                given = given_scaling(target_mean, target_scale, outputs, before, "target_", "outputs")
                self._model.target_scaling = given
            return self

    def predict(self, X: Any) -> Array:
        """Predict the targets.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n,) or (n, n_outputs)
            In float64.
        """
        raw = self._raw(X)
        return predicted_targets(self._model, raw, self._columns)

    @property
    def target_mean_(self) -> Array:
        """Mean of the targets (n_outputs,), with which the network's outputs are scaled back."""
        check_is_fitted(self)
        scaling = self._model.target_scaling
        return np.zeros(self._model.network.outputs) if scaling is None else scaling.mean

    @property
    def target_scale_(self) -> Array:
        """Standard deviation of the targets (n_outputs,), with which the network's outputs are scaled back."""
        check_is_fitted(self)
        scaling = self._model.target_scaling
        return np.ones(self._model.network.outputs) if scaling is None else scaling.scale

    def _checked(self, X: Any, y: Any, sample_weight: Any, resume: bool, refusal: str) -> tuple[Array, Array, Array]:
        images, y = check_images_and_targets(self, X, y, reset=not resume)
        columns = None if y.ndim == 1 else y.shape[1]
        if resume and columns != self._columns:
            before, now = ("a vector" if k is None else f"{k} columns" for k in (self._columns, columns))
            raise ValueError(f"{refusal} only: y was {before}, and is {now}.")
        self._columns = columns
        return images, y, check_weights(sample_weight, images)

    def _encode(self, y: Array, name: str = "y") -> Array:
        targets = check_regression_targets(y, name)
        if targets.shape[1] != (self._columns or 1):
            raise ValueError(f"{name} must have {self._columns or 1} outputs per row, got shape {y.shape}.")
        return targets

    def _outputs(self, targets: Array) -> int:
        return targets.shape[1]

    def _score_raw(self, raw: Array, targets: Array, weights: Array) -> float:
        if len(raw) < 2:
            raise ValueError("A validation set of a regressor needs 2 rows or more: its score is R ** 2.")
        return r2(targets, self._given_loss().predict(raw), weights)

    def _constant_score(self, targets: Array, weights: Array) -> tuple[float, float]:
        return 0.0, 1 / math.sqrt(len(targets))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
