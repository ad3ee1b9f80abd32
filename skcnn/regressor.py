"""The regressor: the meaning of y where it is a number, or several."""

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

    It takes images, learns by stochastic gradient descent, and behaves as every scikit-learn regressor does.

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
    loss : str or Loss, default="squared_error"
        What is minimized: "squared_error", "absolute_error", "huber", "quantile", "poisson", or an object of
        `skcnn.losses`. A fitted model predicts with the loss of its fit.
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
    early_stopping : bool, default=False
        Whether training stops when neither the validation score nor the validation loss has improved by `tol` for
        `n_iter_no_change` epochs.
        Without ``X_val``, `validation_fraction` of the rows are set aside.
    scoring : str, callable or None, default=None
        Score of the validation set, used for early stopping, for the best epoch and for `validation_scores_`. None
        means the coefficient of determination, R ** 2. "loss" means minus the loss. Other strings are names of
        scikit-learn's scorers, such as "neg_median_absolute_error"; a callable is called as
        ``scoring(estimator, X, y)``, with ``sample_weight`` if rows have weights.
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
    n_features_in_ : int
        Pixels times channels of an image.
    feature_names_in_ : ndarray (n_features,)
        Names of the columns, if X was a DataFrame with names that are strings.
    input_shape_ : (int, int, int)
        Height, width and channels of an image.
    input_mean_, input_scale_ : ndarray (channels,)
        What images are standardized with.
    target_mean_, target_scale_ : ndarray (n_outputs,)
        Mean and standard deviation of the targets. A prediction is ``raw * target_scale_ + target_mean_``. They are
        zeros and ones where the loss does not standardize targets, and after `set_weights` without a fit.
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
        The coefficient of determination, R ** 2, on the validation set after each epoch, if there is one.
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
    sklearn.neural_network.MLPRegressor : Dense layers only.

    Notes
    -----
    X is an array of images (n, h, w, c) or (n, h, w), channels last, or of rows (n, features); of any numeric dtype.
    Images of one size may also come one by one, as arrays, tensors or images of Pillow in a list, an object array or
    a column of a table. Fitted on one form, the estimator takes every other form of the same images. Large arrays,
    memory-mapped ones too, are converted batch by batch. `skcnn.exceptions` lists the warnings about probable
    mistakes.

    The training loss is the weighted mean over the rows of the pointwise loss, averaged over the outputs, plus the
    penalty. Targets are standardized: the network learns (y - mean) / standard deviation of each output, so that
    predictions do not depend on the unit of y. Losses in `history_`, the ``delta`` of `Huber` and `parameters_` are in
    units of standardized targets. Losses with a link, such as "poisson", learn y as it is.

    A pickle holds the weights once. What the optimizer remembers is in it only while training is going on, that is
    after `partial_fit` and with `warm_start`; so are the weights behind an `average`.

    With `average`, the mean of the first t steps weighs the weights of step s by ``average ** (t - s)``, divided by the
    sum of these numbers: initial weights are not in it. It is what `parameters_` holds, what is validated and what
    predicts; the running statistics of batch normalization are those of the training, and training losses are measured
    on the weights themselves.

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
        input_shape: tuple[int, ...] | None = None,
        activation: str | Activation = "relu",
        batch_norm: bool = False,
        dropout: float | Sequence[float] = 0.0,
        output_initializer: str | Initializer = "zeros",
        loss: str | Loss = "squared_error",
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
            images, targets, weights = self._checked(
                X, y, sample_weight, resume, "warm_start goes on with the same outputs"
            )
            validation = self._validation_data(X_val, y_val, sample_weight_val, images.shape[1:])
            given = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
            return self._train(images, targets, weights, validation, resume=resume, given=given)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
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
        y : array-like (n,) or (n, n_outputs)
            Targets.
        sample_weight : array-like (n,), default=None
            Weights of the rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, and with `early_stopping`.
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

        A fitted estimator keeps the arrays that are not given. An estimator that is not fitted needs all of them, the
        output layer included, and is fitted then: it predicts, and can be trained further with `warm_start` or
        ``partial_fit``. One output predicts a vector, several predict a matrix.

        Parameters
        ----------
        weights : dict of str -> array-like
            Arrays by the names of `parameters_` and `state_`, such as ``conv1.kernel`` (kh, kw, c, filters).
        input_shape : (int, int) or (int, int, int), default=None
            (h, w) or (h, w, c) of the images. By default, the shape of the fitted estimator, or its parameter
            `input_shape`. A fitted network takes another size of images if its arrays do not depend on it.
        mean, scale : float or array-like (c,), default=None
            The network gets (x - mean) / scale for the numbers x of an image. By default, the standardization of the
            fitted estimator. They must be given if it is not fitted: preprocessing is never guessed.
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
            If a name is unknown or missing, a shape is another one, or a number is not finite. The estimator then is
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
        """Predicted targets.

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
