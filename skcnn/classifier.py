"""Classifier: encoding and decoding of classes and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin

from ._arrays.elementwise import Array
from ._engine.model import is_binary, predicted_classes, predicted_codes, probabilities
from ._estimators.base import BaseCNN
from ._estimators.given import as_classes, checked_classes, named_arrays, outputs_of, shown
from ._estimators.judging import accuracy
from ._estimators.mistakes import is_one_hot, warn_of_one_hot
from ._estimators.validation import (
    CLASSIFIER_PARAMETERS,
    available_if,
    check_class_targets,
    check_images_and_targets,
    check_partial_fit_first_call,
    check_weights,
    class_weigher,
    fit_context,
)
from .architecture.small import Knob
from .augmentation import Augmentation
from .initializers import Initializer
from .layers import Activation, Layer
from .losses import Loss
from .optimizers import Optimizer
from .schedules import Schedule


def _has_probabilities(estimator: CNNClassifier) -> bool:
    """Return whether `predict_proba` exists; raise an AttributeError that names the loss otherwise."""
    loss = estimator._loss()
    if not loss.has_probabilities:
        raise AttributeError(
            f"loss={loss!r} provides no probabilities. Use decision_function instead, wrap the classifier in"
            " sklearn.calibration.CalibratedClassifierCV, or fit with loss='log_loss'."
        )
    return True


def _label_numbers(y: Array, classes: Any) -> Array:
    """Return the classes of labels (n, k), which are 0 to k - 1; raise a ValueError for others."""
    numbers = np.arange(y.shape[1])
    if classes is not None and not np.array_equal(classes, numbers):
        raise ValueError(
            f"classes={classes!r} does not fit y, which has labels of shape {y.shape}: their classes are the numbers of"
            f" the columns, 0 to {len(numbers) - 1}, in order. Leave classes out."
        )
    return numbers


class CNNClassifier(ClassifierMixin, BaseCNN):
    """Convolutional neural network for classification.

    The network is trained by stochastic gradient descent. Use it like any scikit-learn classifier: in pipelines, in
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
    batch_norm : bool, default=True
        Whether the blocks apply batch normalization before the activation. An epoch then takes a quarter to a third
        longer, but fewer epochs are needed.
    dropout : float or sequence of float, default=0.0
        Dropout rate after each block and each dense layer, from 0 to less than 1. A sequence contains one rate per
        block, optionally followed by one per dense layer.
    output_initializer : str or Initializer, default="zeros"
        Initializer of the output layer's kernel: "zeros", "he", "glorot", "lecun", "orthogonal", "truncated_normal",
        "variance_scaling", "dirac", "constant", or an object of `skcnn.initializers`. It also applies when `layers` is
        given.
    loss : str or Loss, default="log_loss"
        Loss function to minimize: "log_loss", "focal", "hinge", "squared_hinge", or an object of `skcnn.losses`. The
        hinge losses provide no `predict_proba`. A fitted model predicts with the loss of its fit.
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
        Number of epochs. Unlike `MLPClassifier`, no warning is issued when it is reached.
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
    class_weight : dict, list of dict or "balanced", default=None
        Class weights. They are multiplied by `sample_weight`, if given, for training and validation rows.
    early_stopping : bool, default=False
        Whether to stop training when neither the validation score nor the validation loss has improved by `tol` for
        more than `n_iter_no_change` epochs. Without ``X_val``, `validation_fraction` of the rows are set aside,
        stratified by class.
    scoring : str, callable or None, default=None
        Validation score, used for early stopping, to select the best epoch, and for `validation_scores_`. None means
        the accuracy. "loss" means minus the loss. Other strings are names of scikit-learn's scorers, such as "roc_auc".
        A callable is called as ``scoring(estimator, X, y)``, with ``sample_weight`` if rows have weights.
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
    classes_ : ndarray (n_classes,)
        Class labels, or the numbers of the labels for a multi-label y.
    n_features_in_ : int
        Number of features: pixels times channels of an image.
    feature_names_in_ : ndarray (n_features,)
        Names of the columns, if X was a DataFrame with string column names.
    input_shape_ : (int, int, int)
        Height, width and channels of an image.
    input_mean_, input_scale_ : ndarray (channels,)
        Mean and standard deviation of each channel, used to standardize images.
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
    sklearn.neural_network.MLPClassifier : Neural network with dense layers only.

    Notes
    -----
    X is an array of images (n, h, w, c) or (n, h, w), channels last, or of rows (n, features), of any numeric dtype. It
    can also be a list, an object array or a table column of equally sized arrays, tensors or Pillow images. After
    fitting, you can pass images in any of these formats. Large arrays, including memory-mapped ones, are converted
    batch by batch. `skcnn.exceptions` lists the warnings about probable mistakes.

    Training minimizes the weighted mean of the per-sample loss plus the L2 penalty. A binary y has one output and a
    sigmoid. More classes have a softmax. A multi-label y has a sigmoid per label, and the loss is summed over labels.

    A pickle contains the weights once. After `partial_fit` or with `warm_start`, it also contains the state of the
    optimizer and the non-averaged weights behind `average`, so training can continue.

    With `average`, the weights of step s have the weight ``average ** (t - s)`` in the average of the first t steps,
    divided by the sum of these numbers. Initial weights are not included. The averaged weights are used for
    `parameters_`, validation and prediction. The running statistics of batch normalization are not averaged, and
    training losses use the non-averaged weights.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from skcnn import CNNClassifier
    >>> digits = load_digits()
    >>> X_train, X_test, y_train, y_test = train_test_split(digits.images, digits.target, random_state=0)
    >>> classifier = CNNClassifier(conv_filters=(16, 32), hidden_layer_sizes=(64,), max_iter=20, random_state=0)
    >>> classifier.fit(X_train, y_train).score(X_test, y_test) > 0.97
    True
    >>> classifier.predict_proba(X_test[:1]).shape
    (1, 10)
    """

    _parameter_constraints = CLASSIFIER_PARAMETERS
    _task = "classification"
    classes_: Array
    _labels: bool  # whether y is a matrix of labels

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
        batch_norm: bool = True,
        dropout: float | Sequence[float] = 0.0,
        output_initializer: str | Initializer = "zeros",
        loss: str | Loss = "log_loss",
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
        class_weight: Any = None,
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
        self.class_weight = class_weight
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
        """Fit the network to images and their classes or labels.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like (n,) or (n, n_labels)
            Classes, or for several labels a matrix of zeros and ones.
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
            images, targets = check_images_and_targets(self, X, y, reset=not resume)
            weights = check_weights(sample_weight, images)
            labels = check_class_targets(targets)
            classes = np.arange(targets.shape[1]) if labels else np.unique(targets)
            self._check_kind(labels, resume)
            if resume and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    "warm_start continues with the same classes only: they were"
                    f" {self.classes_.tolist()}, and y has {classes.tolist()}. For chunks that have some of the classes"
                    " each, use partial_fit(X, y, classes=...), with all classes in its first call."
                )
            if not resume:
                warn_of_one_hot(targets)
            self._labels, self.classes_ = labels, classes
            validation = self._validation_data(X_val, y_val, sample_weight_val, images.shape[1:])
            given = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
            return self._train(images, targets, weights, validation, resume=resume, given=given)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch, continuing from the last call.

        Three calls on the same data give the same bits as ``fit`` with ``max_iter=3``. Call it on one chunk after the
        other for data that does not fit in memory. Each call counts as an epoch for `n_iter_`, `history_` and the
        schedule, so set `max_iter` to the planned number of calls.

        The first call measures the standardization. Sample weights are divided by the mean weight in the first call.
        The first chunk should therefore be a random sample.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like (n,) or (n, n_labels)
            Classes or labels.
        classes : array-like (n_classes,), default=None
            All classes that may occur. Required in the first call, except for a multi-label y, whose classes are the
            numbers of its columns.
        sample_weight : array-like (n,), default=None
            Sample weights, 0 or more.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or an input is invalid, as in `fit`; if y contains a class that is not in ``classes``; or
            with `early_stopping` or balanced class weights.
        """
        self._refuse_early_stopping()
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"partial_fit does not support class_weight={self.class_weight!r}: it sees one chunk of the data only."
                " Compute the weights on all of y with sklearn.utils.class_weight.compute_class_weight and pass a dict."
            )
        with self._unchanged_on_error():
            resume = self.__sklearn_is_fitted__()
            images, y = check_images_and_targets(self, X, y, reset=not resume)
            weights = check_weights(sample_weight, images)
            labels = y.ndim == 2 and check_class_targets(y)
            self._check_kind(labels, resume)
            if labels and not (resume and classes is None):
                classes = _label_numbers(y, classes)
            check_partial_fit_first_call(self, classes)
            if not resume:
                warn_of_one_hot(y)
            self._labels = labels
            return self._train(images, y, weights, None, resume=resume)

    def set_weights(
        self,
        weights: Any,
        *,
        input_shape: Any = None,
        classes: Any = None,
        labels: bool | None = None,
        mean: Any = None,
        scale: Any = None,
    ) -> Self:
        """Set arrays of the network by their names, from any source.

        A fitted estimator keeps the arrays that are not given. An estimator that is not fitted needs all arrays,
        including the output layer. It is fitted afterwards: it predicts, and can be trained with `warm_start` or
        ``partial_fit``.

        Parameters
        ----------
        weights : dict of str -> array-like
            Arrays by the names of `parameters_` and `state_`, such as ``conv1.kernel`` (kh, kw, c, filters).
        input_shape : (int, int) or (int, int, int), default=None
            Shape (h, w) or (h, w, c) of the images. By default, the shape of the fitted estimator, or the parameter
            `input_shape`. A fitted network accepts another image size if its arrays do not depend on the size.
        classes : array-like (n_classes,), default=None
            Classes in the order of the outputs. By default, the classes of the fitted estimator, or 0, 1, 2 and so on.
            Classes and outputs are sorted together. Two classes have one output. If two outputs are given, their
            difference is used.
        labels : bool, default=None
            Whether each output is a label, so that several labels may apply. By default, as in the fit, or False.
        mean, scale : float or array-like (c,), default=None
            Standardization: the network gets (x - mean) / scale for the pixels x of an image. By default, the
            standardization of the fitted estimator. Both are required if the estimator is not fitted.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If weights is not a dict of names and numbers.
        ValueError
            If a name is unknown or missing, a shape is wrong, a number is not finite, or the number of classes does
            not match the outputs. The estimator is then unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from skcnn import CNNClassifier
        >>> from skcnn.layers import Flatten
        >>> weights = {"output.kernel": np.eye(4)[:, :3], "output.bias": np.zeros(3)}
        >>> classifier = CNNClassifier(layers=[Flatten()])
        >>> classifier.set_weights(weights, input_shape=(2, 2), classes=["a", "b", "c"], mean=0, scale=1)
        CNNClassifier(layers=[Flatten()])
        >>> classifier.predict([[[1, 5], [2, 3]]])
        array(['b'], dtype='<U1')
        """
        with self._unchanged_on_error():
            self._validate_params()
            arrays, fitted = named_arrays(weights), self.__sklearn_is_fitted__()
            kind = bool(self._labels if labels is None and fitted else labels)
            outputs = outputs_of(arrays)
            if kind and classes is not None:
                raise ValueError(
                    "classes has no meaning for labels, which are the numbers of the outputs: leave it out."
                )
            if fitted and (classes is not None or kind != self._labels):
                arrays = {f"output.{key}": self.parameters_[f"output.{key}"] for key in ("kernel", "bias")} | arrays
                outputs = outputs_of(arrays)
            if classes is not None:
                found = checked_classes(classes)
            elif fitted and kind == self._labels and outputs in (None, len(self.classes_), self._model.network.outputs):
                found = self.classes_
            else:
                found = np.arange(2 if outputs == 1 and not kind else outputs or 0)
            if outputs is not None:
                arrays, found = as_classes(arrays, found, kind)
            self._labels, self.classes_ = kind, found
            return self._take_weights(arrays, input_shape, mean, scale)

    def decision_function(self, X: Any) -> Array:
        """Compute raw predictions.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n,) or (n, n_classes)
            Log odds of the second class for two classes, otherwise one number per class or label.
        """
        raw = self._raw(X)
        return raw.ravel() if self._is_binary() else raw

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Compute the probabilities of the classes, or of each label.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n, n_classes)
            In float64, in the order of `classes_`.
        """
        return probabilities(self._loss(), self._raw(X), self.classes_, self._labels)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """Compute the logarithms of the probabilities.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n, n_classes)
            In float64; -inf for a probability of 0.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> Array:
        """Predict the most probable class, or the labels with a probability above one half.

        Losses without probabilities predict the class with the largest raw prediction, or the labels with a positive
        one.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n,) or (n, n_labels)
            Classes in the dtype of `classes_`, or zeros and ones for labels.
        """
        return predicted_classes(self._raw(X), self.classes_, self._labels)

    def _check_kind(self, labels: bool, resume: bool) -> None:
        """Raise a ValueError if y has changed from classes to labels, or back."""
        if resume and labels != self._labels:
            before, now = ("labels (n, k)" if kind else "classes (n,)" for kind in (self._labels, labels))
            raise ValueError(f"y must be of the same kind as in the first call: it was {before}, and is {now}.")

    def _is_binary(self) -> bool:
        return is_binary(self.classes_, self._labels)

    def _encode(self, y: Array, name: str = "y") -> Array:
        if self._labels:
            if y.ndim != 2 or y.shape[1] != len(self.classes_):
                raise ValueError(f"{name} must have {len(self.classes_)} labels per row, got shape {y.shape}.")
            found = np.unique(y)
            if not np.isin(found, (0, 1)).all():
                raise ValueError(
                    f"{name} must contain labels (n, k) of zeros and ones, got values {found[:5].tolist()}."
                )
            return y.astype(np.float64)
        if y.ndim != 1:
            hint = f" These are one-hot: pass np.asarray({name}).argmax(axis=1)." if is_one_hot(y) else ""
            raise ValueError(f"{name} must contain one class per row, got shape {y.shape}.{hint}")
        unseen = np.setdiff1d(y, self.classes_)
        if unseen.size:
            raise ValueError(
                f"{name} has unknown classes: [{shown(unseen)}]. The classes of the first call of fit or partial_fit"
                f" are [{shown(self.classes_)}]."
            )
        codes = np.searchsorted(self.classes_, y)
        return codes[:, None].astype(np.float64) if self._is_binary() else codes

    def _outputs(self, targets: Array) -> int:
        return targets.shape[1] if targets.ndim == 2 else len(self.classes_)

    def _strata(self, targets: Array) -> Array | None:
        return None if self._labels else targets

    def _score_raw(self, raw: Array, targets: Array, weights: Array) -> float:
        truth = targets[:, 0] if self._is_binary() else targets
        return accuracy(truth, predicted_codes(raw, self.classes_, self._labels), weights)

    def _constant_score(self, targets: Array, weights: Array) -> tuple[float, float]:
        _, numbers = np.unique(targets, axis=0, return_inverse=True)
        share = np.bincount(numbers.ravel(), weights).max() / weights.sum()
        return share, math.sqrt(share * (1 - share) / len(targets))

    def _weigher(self, weights: Array, y: Array) -> Callable[[Array, Array], Array]:
        return class_weigher(self.class_weight, y, weights, self.classes_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
