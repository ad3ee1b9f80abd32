"""The classifier: the meaning of y where it is a class, or several labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin

from ._arrays.elementwise import Array
from ._engine.model import is_binary, predicted_classes, predicted_codes, probabilities
from ._estimators.base import BaseCNN
from ._estimators.given import as_classes, checked_classes, named_arrays, outputs_of
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
    """Whether there is a `predict_proba`; an AttributeError that names the loss, if there is not."""
    loss = estimator._loss()
    if not loss.has_probabilities:
        raise AttributeError(
            f"loss={loss!r} gives no probabilities: use decision_function, wrap the classifier in"
            " sklearn.calibration.CalibratedClassifierCV, or fit with loss='log_loss'."
        )
    return True


def _label_numbers(y: Array, classes: Any) -> Array:
    """The classes of labels (n, k): 0 to k - 1, whatever the labels mean; a ValueError for others."""
    numbers = np.arange(y.shape[1])
    if classes is not None and not np.array_equal(classes, numbers):
        raise ValueError(
            f"classes={classes!r} does not fit y, which is of labels {y.shape}: their classes are the numbers of the"
            f" columns, 0 to {len(numbers) - 1}, in order. Leave classes out."
        )
    return numbers


class CNNClassifier(ClassifierMixin, BaseCNN):
    """Convolutional neural network for classification.

    It takes images, learns by stochastic gradient descent, and behaves as every scikit-learn classifier does.

    Parameters
    ----------
    conv_filters : int or sequence of int, default=(32, 64)
        One block ``Conv2D -> [BatchNorm] -> activation -> [MaxPool2D]`` per entry, with that many filters.
    kernel_size : int or sequence, default=3
        Size of the convolutions' windows: one int, or for each block an int or a pair (height, width).
    pool_size : int or sequence, default=2
        Size of the pooling windows, given alike; 1 does not pool. Blocks pool only along axes that are long enough.
    hidden_layer_sizes : int or sequence of int, default=(128,)
        Units of the dense layers after the blocks.
    layers : list of Layer, default=None
        The hidden layers in full, in place of the knobs `conv_filters` to `hidden_layer_sizes`, `activation`,
        `batch_norm` and `dropout`. The output layer is the estimator's and never in the list.
    pretrained : CNNClassifier, CNNRegressor or FrozenEstimator of one, default=None
        A fitted network to begin with: a fit takes over its layers, its standardization (instead of `standardize`) and
        its weights, except the output layer. With `layers`, weights are taken over by their names. Clones share it. A
        fitted estimator from a pickle or a file has "left out" here: it holds its own network only.
    freeze : str, default=None
        Name of the last frozen layer, as in ``summary()``: layers up to it stay as they are in the pretrained network,
        statistics of batch normalization included, and drop nothing. None trains all layers.
    input_shape : (int, int) or (int, int, int), default=None
        Shape (h, w) or (h, w, c) of the images, required where the rows of a 2-D X are no square images. By default, a
        square number of at least 64 features is a square image with one channel, and everything else is a signal,
        1 x features with one channel, with an `ImageLayoutWarning` from 32 features on. An explicit shape is never
        questioned, also where X has images.
    activation : str or Activation, default="relu"
        "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu" (or "swish"), "hard_swish", "mish",
        "softplus", "tanh", "sigmoid", "hard_sigmoid", "clip" (or "hard_tanh"), "softmax", or an object of
        `skcnn.layers`.
    batch_norm : bool, default=False
        Whether the blocks normalize before the activation.
    dropout : float or sequence of float, default=0.0
        Rate after each block and each dense layer: one for all, or one for each block, which may be followed by one
        for each dense layer.
    output_initializer : str or Initializer, default="zeros"
        How the kernel of the output layer is drawn: "zeros", "he", "glorot", "lecun", "orthogonal", "truncated_normal",
        "constant", or an object of `skcnn.initializers`. It is the estimator's choice also where `layers` is given.
    loss : str or Loss, default="log_loss"
        What is minimized: "log_loss", "focal", "hinge", "squared_hinge", or an object of `skcnn.losses`. With the hinge
        losses there is no `predict_proba`. A fitted model predicts with the loss of its fit.
    optimizer : str or Optimizer, default="adam"
        "adam", "adamw", "nadam", "sgd", "rmsprop", "adagrad", "adadelta", "lion", or an object of `skcnn.optimizers`.
    learning_rate : float, default=1e-3
        Size of the steps, 0 or more.
    schedule : str or Schedule, default="constant"
        What the learning rate is multiplied by as training goes on: "constant", "step", "exponential", "polynomial",
        "inverse_scaling", "cosine", "cosine_restarts", "one_cycle", "warmup", "adaptive", or an object of
        `skcnn.schedules`.
    alpha : float, default=1e-4
        Strength of the L2 penalty, ``alpha / 2`` times the sum of the squares of all kernels.
    clip_norm : float, default=None
        The largest norm of a step's gradient: one that is longer, over all weights and without the penalty of `alpha`,
        is scaled down to it.
    average : False or float, default=False
        A decay above 0 and less than 1, as 0.99: the model is then the running mean of the weights after each step,
        with the weights of the last ``1 / (1 - average)`` steps or so in it, while training goes on with the weights
        themselves.
    batch_size : int, default=64
        Rows per step; all, if there are fewer.
    max_iter : int, default=30
        Passes over the data. Reaching it is the normal end.
    shuffle : bool, default=True
        Whether each pass has an order of its own.
    augmentation : str, Augmentation or list of them, default=None
        How images are changed at random while training, each time that they are used: "random_flip", "random_crop",
        "random_shift", "random_rotation", "random_zoom", "random_affine", "gaussian_noise", "color_jitter", "cutout",
        "mixup", "cutmix", an object of `skcnn.augmentation`, or a list of these to apply in order. Validation and
        prediction use images as they are.
    standardize : bool, default=True
        Whether the mean and the standard deviation of each channel are learnt from the training images and applied
        to all images, so that raw 8-bit pixels just work.
    class_weight : dict, list of dict or "balanced", default=None
        Weights of the classes, by which the sample weights are multiplied.
    early_stopping : bool, default=False
        Whether training stops when neither the validation score nor the validation loss has improved by `tol` for
        `n_iter_no_change` epochs.
        Without ``X_val``, `validation_fraction` of the rows are set aside, stratified by class.
    scoring : str, callable or None, default=None
        Score of the validation set, used for early stopping, for the best epoch and for `validation_scores_`. None
        means the accuracy. "loss" means minus the loss. Other strings are names of scikit-learn's scorers, such as
        "roc_auc"; a callable is called as ``scoring(estimator, X, y)``, with ``sample_weight`` if rows have weights.
    validation_fraction : float, default=0.1
        Share of the rows to set aside.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops. Without a validation set it is the training loss that has
        to improve.
    tol : float, default=1e-4
        What counts as an improvement.
    warm_start : bool, default=False
        Whether ``fit`` goes on where the last one ended, for `max_iter` more epochs.
    random_state : int, RandomState instance or None, default=None
        Decides the initial weights, the validation split, the order of the rows, dropout and augmentation. With an
        int, every fit on the same data gives the same bits.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Floating-point type used for computation. "auto" means float32 except in two cases: for float64 images in
        networks of less than 160,000 multiply-adds per image, and for images that float32 would round by more than a
        thousandth of their standard deviation, where they are standardized. Networks of less than 32,768 multiply-adds
        per image predict in float64 in any case.
    n_jobs : int, default=None
        Threads for one fit or predict, in place of those of BLAS. None means as many as BLAS may use at the moment,
        -1 all processors. The results are the same bits for every number.
    verbose : int, default=0
        Whether each epoch prints a line.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
        The class labels; the numbers of the labels for a multi-label y.
    n_features_in_ : int
        Pixels times channels of an image.
    feature_names_in_ : ndarray (n_features,)
        Names of the columns, if X was a DataFrame with names that are strings.
    input_shape_ : (int, int, int)
        Height, width and channels of an image.
    input_mean_, input_scale_ : ndarray (channels,)
        What images are standardized with.
    layers_ : list of Layer
        The hidden layers that were built, ready to paste into `layers`.
    parameters_ : dict of str -> ndarray
        The weights in forward order: ``conv1.kernel`` (kh, kw, c, filters), ``conv1.bias`` (filters,),
        ``dense1.kernel`` (in, out), ..., ``output.bias``. The dict and its arrays are read-only.
    state_ : dict of str -> ndarray
        The running statistics of batch normalization, read-only.
    n_parameters_ : int
        Number of weights.
    n_iter_ : int
        Epochs done.
    loss_, best_loss_ : float
        Training loss of the last epoch, and the lowest.
    loss_curve_ : list of float
        Training loss of each epoch.
    validation_scores_ : list of float or None
        Accuracy on the validation set after each epoch, if there is one.
    best_validation_score_ : float or None
        The best of them, in the last call of ``fit``. The model is that of the epoch that reached it; of several, that
        of the lowest loss. None where the last call, of `partial_fit` too, had no validation set.
    history_ : dict of str -> list of float
        One entry per epoch: ``loss``, ``score``, ``val_loss``, ``val_score``, ``learning_rate``, ``seconds``. ``loss``
        and ``score`` are measured on the training batches, while the weights change and with dropout and augmentation;
        ``loss`` includes the penalty of `alpha`. ``val_loss`` and ``val_score`` are measured after the epoch, without
        the penalty. NaN where a number is not known: without a validation set, and ``score`` with augmentations that
        mix classes and with a callable `scoring`.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Dense layers only.

    Notes
    -----
    X is an array of images (n, h, w, c) or (n, h, w), channels last, or of rows (n, features); of any numeric dtype.
    Images of one size may also come one by one, as arrays, tensors or images of Pillow in a list, an object array or
    a column of a table. Fitted on one form, the estimator takes every other form of the same images. Large arrays,
    memory-mapped ones too, are converted batch by batch. `skcnn.exceptions` lists the warnings about probable
    mistakes.

    The training loss is the weighted mean over the rows of the pointwise loss, plus the penalty. A binary y has one
    output and a sigmoid, more classes a softmax, and a multi-label y a sigmoid per label, over which the loss sums.

    A pickle holds the weights once. What the optimizer remembers is in it only while training is going on, that is
    after `partial_fit` and with `warm_start`; so are the weights behind an `average`.

    With `average`, the mean of the first t steps weighs the weights of step s by ``average ** (t - s)``, divided by the
    sum of these numbers: initial weights are not in it. It is what `parameters_` holds, what is validated and what
    predicts; the running statistics of batch normalization are those of the training, and training losses are measured
    on the weights themselves.

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
        input_shape: tuple[int, ...] | None = None,
        activation: str | Activation = "relu",
        batch_norm: bool = False,
        dropout: float | Sequence[float] = 0.0,
        output_initializer: str | Initializer = "zeros",
        loss: str | Loss = "log_loss",
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 1e-3,
        schedule: str | Schedule = "constant",
        alpha: float = 1e-4,
        clip_norm: float | None = None,
        average: float | bool = False,
        batch_size: int = 64,
        max_iter: int = 30,
        shuffle: bool = True,
        augmentation: str | Augmentation | Sequence[str | Augmentation] | None = None,
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
        self.input_shape = input_shape
        self.activation = activation
        self.batch_norm = batch_norm
        self.dropout = dropout
        self.output_initializer = output_initializer
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.alpha = alpha
        self.clip_norm = clip_norm
        self.average = average
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.augmentation = augmentation
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
            Weights of the rows, 0 or more. A weight of 2 is the row twice.
        X_val, y_val : array-like, default=None
            A validation set. Its loss and score are measured after each epoch, and the weights of the best-scoring
            epoch are kept. It ends the training only with `early_stopping`. Because it selects the epoch, its score is
            optimistic: test on other images.
        sample_weight_val : array-like, default=None
            Weights of its rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the images, the targets or the weights cannot be used, or the loss does not stay finite
            in the first epoch. The estimator then is what it was before.
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
                    "warm_start goes on with the same classes only: they were"
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
        """Go once over the data, continuing from the last call with optimizer and random state.

        Three calls on the same data are ``fit`` with ``max_iter=3``, to the bit. Calls on one chunk after the other
        learn from data that does not fit in memory. A call counts as an epoch then, for `n_iter_`, `history_` and the
        schedule: let `max_iter` be the number of calls that are planned, and count a schedule's own epochs in calls.

        The first call learns the standardization, and the scale of the weights: what counts is how many times the
        mean weight of the first call a row weighs. Let the first chunk be a fair sample.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.
        y : array-like (n,) or (n, n_labels)
            Classes or labels.
        classes : array-like (n_classes,), default=None
            All classes that will ever come. Needed in the first call, unless y is multi-label: its classes are the
            numbers of its columns.
        sample_weight : array-like (n,), default=None
            Weights of the rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, and for a class that is not in ``classes``, or with `early_stopping` or balanced class weights.
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

        A fitted estimator keeps the arrays that are not given. An estimator that is not fitted needs all of them, the
        output layer included, and is fitted then: it predicts, and can be trained further with `warm_start` or
        ``partial_fit``.

        Parameters
        ----------
        weights : dict of str -> array-like
            Arrays by the names of `parameters_` and `state_`, such as ``conv1.kernel`` (kh, kw, c, filters).
        input_shape : (int, int) or (int, int, int), default=None
            (h, w) or (h, w, c) of the images. By default, the shape of the fitted estimator, or its parameter
            `input_shape`. A fitted network takes another size of images if its arrays do not depend on it.
        classes : array-like (n_classes,), default=None
            Classes in the order of the outputs. By default, the classes of the fitted estimator, or 0, 1, 2 and so on.
            They are sorted, with their outputs. Two classes have one output, which is the difference of two if two
            are given.
        labels : bool, default=None
            Whether each output is a label of its own, so that several may apply. By default, as in the fit, or False.
        mean, scale : float or array-like (c,), default=None
            The network gets (x - mean) / scale for the numbers x of an image. By default, the standardization of the
            fitted estimator. They must be given if it is not fitted: preprocessing is never guessed.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If weights is not a dict of names and numbers.
        ValueError
            If a name is unknown or missing, a shape is another one, a number is not finite, or classes do not fit the
            outputs. The estimator then is unchanged.

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
        """Raw predictions.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n,) or (n, n_classes)
            The logarithm of the odds of the second class if there are two; else a number for each class or label.
        """
        raw = self._raw(X)
        return raw.ravel() if self._is_binary() else raw

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, or of each label.

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
        """Logarithms of the probabilities.

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
        """The most probable class, or the labels that are more probable than not.

        Where the loss gives no probabilities: the class of the largest raw prediction, or the labels whose is positive.

        Parameters
        ----------
        X : array-like (n, h, w, c), (n, h, w) or (n, features)
            Images.

        Returns
        -------
        ndarray (n,) or (n, n_labels)
            Of the dtype of `classes_`; for labels, zeros and ones.
        """
        return predicted_classes(self._raw(X), self.classes_, self._labels)

    def _check_kind(self, labels: bool, resume: bool) -> None:
        """Refuse to go on from classes to labels, or back."""
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
                raise ValueError(f"{name} must hold labels (n, k) of zeros and ones, got values {found[:5].tolist()}.")
            return y.astype(np.float64)
        if y.ndim != 1:
            hint = f" These are one-hot: give np.asarray({name}).argmax(axis=1)." if is_one_hot(y) else ""
            raise ValueError(f"{name} must hold one class per row, got shape {y.shape}.{hint}")
        unseen = np.setdiff1d(y, self.classes_)
        if unseen.size:
            raise ValueError(
                f"{name} has classes that the estimator does not know: {unseen.tolist()}. It knows"
                f" {self.classes_.tolist()}, which the first call of fit or partial_fit has named."
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
