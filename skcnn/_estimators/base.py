"""Base of the estimators: they validate, encode targets, choose the output, call the training and keep arrays."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays.elementwise import Array, ufunc_settings
from .._engine.data import INIT, SPLIT, Data, stream
from .._engine.memory import check_memory
from .._engine.model import Model, loss_of, predictor_of
from .._engine.network import Network
from .._engine.parallel import thread_count
from .._engine.predictor import Predictor
from .._engine.progress import History, Monitor, Progress, Recipe, Unfinished
from .._engine.scaling import measure_scaling, needed_dtype, no_scaling, warn_of_scale
from .._engine.training import train
from .._version import __version__
from ..architecture import build_layers
from ..augmentation import refuse_classes, resolve_augmentations
from ..description import is_count, refuse_class, resolve
from ..initializers import Initializer
from ..losses import Loss, mean_loss, resolve_loss
from ..versions import warn_of_other_version
from .given import full_shape, given_scaling, outputs_of, with_arrays
from .mistakes import warn_of_own_output
from .nesting import PARAMETER_KINDS, NestedParameters
from .readonly import ReadOnly
from .validation import (
    DocumentationLink,
    check_images,
    check_images_and_targets,
    check_weights,
    split,
    visual_block,
)
from .watching import Watch

if TYPE_CHECKING:
    from .summary import Summary

KNOBS = (
    "conv_filters", "kernel_size", "pool_size", "hidden_layer_sizes", "activation", "batch_norm", "dropout"
)  # fmt: skip
VERSION = "_skcnn_version"  # in what is pickled
CALLBACKS = "_callback_fit_ctx", "_skl_callbacks_to_teardown"
PLAIN = (
    "learning_rate", "alpha", "clip_norm", "average", "batch_size", "max_iter", "shuffle", "tol", "n_iter_no_change",
    "early_stopping", "verbose",
)  # fmt: skip


class BaseCNN(DocumentationLink, CallbackSupportMixin, NestedParameters):
    """Base of the estimators: everything except the meaning of y."""

    _task: str  # that of its losses

    # Written by fit, and by nothing else.
    _model: Model
    _progress: Progress
    _predictor: Predictor
    _goes_on: bool  # whether a pickle keeps what the optimizer remembers
    _unfinished: Callable[[], Unfinished]  # only in what callbacks are shown at the end of an epoch
    _earlier: tuple[BaseCNN, Unfinished]  # what a callback has found of this fit, until the fit goes on from there
    input_shape_: tuple[int, ...]
    history_: dict[str, list[float]]

    # -- what a subclass decides

    @abstractmethod
    def _encode(self, y: Array, name: str = "y") -> Array:
        """Targets as the loss wants them: class numbers (n,), or (n, k) in float64."""

    @abstractmethod
    def _outputs(self, targets: Array) -> int:
        """Units of the output layer."""

    @abstractmethod
    def _score_raw(self, raw: Array, targets: Array, weights: Array) -> float:
        """The score of raw predictions, for validation."""

    def _target_weights(self, weights: Array, y: Array) -> Array:
        """Sample weights, with those that follow from the targets."""
        return weights

    def _strata(self, targets: Array) -> Array | None:
        """Return the classes that stratify a validation split, or None."""
        return None

    # -- fitting

    def _train(
        self,
        images: Array,
        y: Array,
        weights: Array,
        validation: Data | None,
        *,
        resume: bool,
        given: dict[str, Any] | None = None,
    ) -> Self:
        """Fit, or go on where the last call ended; for one epoch, if nothing is given for callbacks to see."""
        partial = given is None
        recipe = self._recipe()
        watch = None if given is None else self._watch(given)
        earlier, unfinished = self.__dict__.pop("_earlier", (None, None))
        seed = self._progress.seed if resume else int(check_random_state(self.random_state).randint(2**31 - 1))
        if unfinished is not None:
            seed = unfinished.progress.seed
        # The chunks of partial_fit have one scale: a heavy one is not to weigh as much as a light one.
        scale = self._progress.weight_scale if partial and resume else None
        data, validation, scale = self._data(images, y, weights, validation, recipe.loss, seed, scale)

        def checksums() -> tuple[int, ...]:
            return tuple(part.checksum for part in (data, validation) if part is not None)

        monitor, done = Monitor(), 0
        if unfinished is not None:
            model, progress, history = _taken_up(earlier, unfinished, checksums())
            monitor, done = unfinished.monitor, unfinished.done
        elif resume:
            model, progress, history = self._resumed(recipe)
        else:
            model = self._initial_model(data, weights[data.rows], seed, recipe, validation is not None)
            progress, history = Progress.begin(model, recipe, seed), History()
        model.loss, progress.weight_scale = self.loss, scale
        if validation is not None and validation.images is not images:  # or they were set aside
            warn_of_scale(validation.images, model.scaling, "X_val")

        def validate() -> tuple[float, float]:
            assert validation is not None
            raw = predictor_of(model).raw(validation.images, recipe.threads, validation.rows)
            with ufunc_settings():  # a loss that is infinite, or a probability of 0, is no reason to warn
                score = self._score_raw(raw, validation.targets, validation.weights)
                return mean_loss(recipe.loss, raw, validation.targets, validation.weights), score

        ended = False
        before = len(history.loss) - done

        def fitted_so_far() -> dict[str, Any]:
            shell = self._fitted_so_far(model, progress, history, monitor.best_score)
            if not ended:
                epochs = len(history.loss) - before
                shell._unfinished = lambda: Unfinished(progress.copied(), replace(monitor), epochs, checksums())
            return {key: value for key, value in vars(shell).items() if not key.startswith("_skl_callbacks")}

        if watch is not None:
            watch.begin(fitted_so_far)
        ended = train(
            model,
            data,
            recipe,
            progress,
            history,
            monitor,
            epochs=1 if partial else self.max_iter,
            done=done,
            first_epoch=progress.epochs if partial else 0,
            validate=None if validation is None else validate,
            watch=None if watch is None else watch.epoch,
        )
        self._keep(model, progress, history, monitor.best_score)
        self._goes_on = partial or self.warm_start
        if watch is not None:
            watch.end()
        return self

    def _data(
        self,
        images: Array,
        y: Array,
        weights: Array,
        validation: Data | None,
        loss: Loss,
        seed: int,
        scale: float | None,
    ) -> tuple[Data, Data | None, float]:
        """Return the training rows, the validation rows, and the divisor of the weights: their mean, if not given.

        Rows without a weight are left out.
        """
        targets = self._encode(y)
        row_weights = self._target_weights(weights, y)
        rows = np.flatnonzero(row_weights)
        if not rows.size:
            raise ValueError("All rows have weight 0: sample_weight times class_weight leaves nothing to learn from.")
        loss.check_target(targets[rows])
        if validation is not None:  # with those from above: what a loss asks of all together, they fulfil
            counted = validation.targets[validation.weights > 0]
            loss.check_target(np.concatenate([targets[rows], counted]), "y_val")
        if validation is None and self.early_stopping:
            rows, aside = split(rows, self._strata(targets), self.validation_fraction, stream(seed, SPLIT))
            validation = Data(images, aside, targets[aside], weights[aside])
        if scale is None:
            scale = float(row_weights[rows].mean())
        return Data(images, rows, targets[rows], row_weights[rows] / scale), validation, scale

    def _fitted_so_far(self, model: Model, progress: Progress, history: History, best_score: float) -> Self:
        """Return the estimator as if the fit ended now, for callbacks."""
        shell = object.__new__(type(self))
        shell.__dict__.update(vars(self))
        now = replace(model, weights=model.weights.copy(), state=model.state.copy())
        shell._keep(now, progress.forgotten(), history, best_score)
        shell._goes_on = False
        return shell

    def _watch(self, given: dict[str, Any]) -> Watch | None:
        """Return the link to the callbacks, or None without callbacks."""
        context = self._init_callback_context(max_subtasks=self.max_iter)
        return Watch(self, context, given) if hasattr(self, "_skl_callbacks") else None

    def _validation_data(self, X: Any, y: Any, sample_weight: Any, input_shape: tuple[int, ...]) -> Data | None:
        """The validation set that was given, if one was."""
        if X is None and y is None:
            if sample_weight is not None:
                raise ValueError("sample_weight_val was given without X_val and y_val.")
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together.")
        try:
            images, y = check_images_and_targets(self, X, y, reset=False, input_shape=input_shape, name="X_val")
            weights = check_weights(sample_weight, images)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"In the validation set (X_val, y_val, sample_weight_val): {error}") from None
        return Data(images, np.arange(len(images)), self._encode(y, name="y_val"), weights)

    def _recipe(self) -> Recipe:
        """The parameters that training reads, resolved."""
        described = {
            kind: resolve(PARAMETER_KINDS[kind], getattr(self, kind), kind) for kind in ("optimizer", "schedule")
        }
        described["loss"] = self._given_loss()
        plain = {name: getattr(self, name) for name in PLAIN}
        # As Python's numbers: np.float32 would compute in its own precision.
        plain |= {name: float(plain[name]) for name in ("learning_rate", "alpha", "average")}
        plain["clip_norm"] = None if self.clip_norm is None else float(self.clip_norm)
        augmentations = resolve_augmentations(self.augmentation)
        return Recipe(**described, **plain, threads=thread_count(self.n_jobs), augmentation=augmentations)  # type: ignore[arg-type]

    def _given_loss(self) -> Loss:
        """The parameter: what a fit minimizes."""
        return resolve_loss(self.loss, self._task)

    def _loss(self) -> Loss:
        """Return the loss of the fit, for whose link the weights were learnt: the parameter may have changed since."""
        return loss_of(self._model, self.loss, self._task) if self.__sklearn_is_fitted__() else self._given_loss()

    def _initial_model(self, data: Data, weights: Array, seed: int, recipe: Recipe, validated: bool) -> Model:
        """An untrained model for the data: standardization measured, weights drawn."""
        images = data.images
        network = self._network(images.shape[1:], self._outputs(data.targets))
        if self.layers is not None:
            warn_of_own_output(network, {network.outputs, len(getattr(self, "classes_", ()))})
        scaling = measure_scaling(images, data.rows, weights) if self.standardize else no_scaling(images.shape[3])
        needed = needed_dtype(images.dtype, scaling, network.multiply_adds)
        dtype = np.dtype(needed if self.dtype == "auto" else self.dtype)
        check_memory(network, recipe, min(recipe.batch_size, len(data.rows)), dtype, validated)
        rng = stream(seed, INIT)
        vector = network.initial(network.weights, rng, dtype)
        network.weights.views(vector)["output.bias"][...] = self._given_loss().base_score(data.targets, data.weights)
        return Model(network, scaling, vector, network.initial(network.state, rng, dtype))

    def _network(self, input_shape: tuple[int, ...], outputs: int) -> Network:
        """The network that a fit would train."""
        initializer = resolve(Initializer, self.output_initializer, "output_initializer")
        return Network(self._hidden_layers(input_shape), input_shape, outputs, initializer)

    def _hidden_layers(self, input_shape: tuple[int, ...]) -> list[Any]:
        if self.layers is not None:
            return list(self.layers)
        return build_layers(input_shape, **{knob: getattr(self, knob) for knob in KNOBS})

    def _resumed(self, recipe: Recipe) -> tuple[Model, Progress, History]:
        """Copies of what was trained, to go on with; of the training's memory, what fits the optimizer."""
        if list(self._hidden_layers(self.input_shape_)) != self.layers_:
            raise ValueError(
                "The layers are not those that were fitted: training goes on with the same network only. Undo the"
                " change of layers, conv_filters and so on, or start anew with a clone of this estimator."
            )
        model = replace(self._model, weights=self._model.weights.copy(), state=self._model.state.copy())
        progress = self._progress.resumed(model, recipe)
        return model, progress, History(**{key: list(values) for key, values in self.history_.items()})

    def _keep(self, model: Model, progress: Progress, history: History, best_score: float) -> None:
        """Set the fitted attributes."""
        model.weights.flags.writeable = model.state.flags.writeable = False
        self._model, self._progress = model, progress
        self._predictor = predictor_of(model)
        self.input_shape_ = model.network.input_shape
        self.input_mean_, self.input_scale_ = model.scaling.mean, model.scaling.scale
        self.layers_ = list(model.network.hidden)
        self.n_iter_ = progress.epochs
        self.history_ = asdict(history)
        self.loss_curve_ = self.history_["loss"]
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.best_loss_ = min(self.loss_curve_, default=np.nan)
        validated = not np.isnan(history.val_score).all()
        self.validation_scores_ = self.history_["val_score"] if validated else None
        self.best_validation_score_ = best_score if np.isfinite(best_score) else None

    def _validate_params(self) -> None:
        for parameter in PARAMETER_KINDS:
            refuse_class(getattr(self, parameter), parameter)
        refuse_classes(self.augmentation)
        super()._validate_params()

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Where fitting fails, the estimator is what it was before."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            before |= {key: vars(self)[key] for key in CALLBACKS if key in vars(self)}  # they are still to be told
            self.__dict__.update(before)  # never empty: another thread may be predicting
            for name in self.__dict__.keys() - before.keys():
                del self.__dict__[name]
            raise

    def _refuse_early_stopping(self) -> None:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it sees one chunk of the data only.")

    # -- weights from elsewhere

    def _take_weights(self, arrays: dict[str, Array], input_shape: Any, mean: Any, scale: Any) -> Self:
        """A fitted estimator with arrays that were given, and those of the fitted network where there is one."""
        fitted = self.__sklearn_is_fitted__()
        if not fitted and input_shape is None and self.input_shape is None:
            raise ValueError("input_shape=(h, w, c) must be given for a network that is not fitted.")
        before = self._model if fitted else None
        if input_shape is None and before is not None:
            shape = before.network.input_shape
        else:
            shape = full_shape(self.input_shape if input_shape is None else input_shape)
        layers = self._hidden_layers(shape) if before is None else before.network.hidden
        outputs = outputs_of(arrays)
        if outputs is None:
            if before is None:
                raise ValueError("weights lacks 'output.kernel' and 'output.bias', the output layer.")
            outputs = before.network.outputs
        network = Network(layers, shape, outputs)
        if before is None:
            doubled = any(array.dtype == np.float64 for array in arrays.values())
            dtype = (np.float64 if doubled else np.float32) if self.dtype == "auto" else self.dtype
            kept: dict[str, Array] = {}
            scaling, loss = given_scaling(mean, scale, shape[2], None), self.loss
        else:
            dtype, kept, loss = before.weights.dtype, self.parameters_ | self.state_, before.loss
            same = shape[2] == before.network.input_shape[2]
            scaling = given_scaling(mean, scale, shape[2], before.scaling if same else None)
        model = with_arrays(network, arrays, kept, scaling, dtype, loss)
        if before is None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            progress, history, best = Progress.begin(model, self._recipe(), seed), History(), None
        else:
            history = History(**{key: list(values) for key, values in self.history_.items()})
            progress, best = self._progress, self.best_validation_score_
        if before is None or shape != before.network.input_shape:
            self.n_features_in_ = math.prod(shape)
            self.__dict__.pop("feature_names_in_", None)
        self._keep(model, progress.forgotten(), history, -np.inf if best is None else best)
        self._goes_on = False
        return self

    # -- looking at a fitted model

    def _raw(self, X: Any) -> Array:
        """Raw predictions (n, outputs) in float64."""
        check_is_fitted(self)
        images = check_images(self, X, reset=False)
        return self._predictor.raw(images, self.n_jobs).astype(np.float64)

    @property
    def parameters_(self) -> dict[str, Array]:
        """Name -> read-only array, in forward order: ``conv1.kernel`` (kh, kw, c, filters), ..., ``output.bias``."""
        check_is_fitted(self)
        return ReadOnly(self._model.network.weights.views(self._model.weights))

    @property
    def state_(self) -> dict[str, Array]:
        """Name -> read-only array of running statistics, as ``batchnorm1.running_mean``."""
        check_is_fitted(self)
        return ReadOnly(self._model.network.state.views(self._model.state))

    @property
    def n_parameters_(self) -> int:
        """Number of trained weights."""
        check_is_fitted(self)
        return self._model.weights.size

    def summary(self, *, n_outputs: int = 1) -> Summary:
        """The layers of the network: shapes, parameters and multiply-adds.

        Before ``fit`` it is the network that ``fit`` would train on images of `input_shape`.

        Parameters
        ----------
        n_outputs : int, default=1
            Units of the output layer before ``fit``: the number of classes (1 for two classes), labels or targets. A
            fitted estimator uses its own number.

        Returns
        -------
        Summary
            ``str`` is a table, and notebooks show one.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted, and `input_shape` is None.
        ValueError
            If the estimator is not fitted, and a parameter of the network or `n_outputs` has no meaning.
        """
        from .summary import summarize

        if self.__sklearn_is_fitted__():
            return summarize(self._model.network)
        if self.input_shape is None:
            name = type(self).__name__
            raise NotFittedError(
                f"This {name} is not fitted yet, and has no input_shape: call fit first, or set input_shape to the"
                f" shape of an image, as in {name}(input_shape=(28, 28, 1)).summary()."
            )
        if not is_count(n_outputs):
            raise ValueError(f"n_outputs must be an int of 1 or more, got {n_outputs!r}.")
        self._validate_params()
        return summarize(self._network(full_shape(self.input_shape), int(n_outputs)))

    def _sk_visual_block_(self) -> Any:
        """Return the block that scikit-learn draws in the HTML form: the layers of a fitted network."""
        if not self.__sklearn_is_fitted__():
            return visual_block("single", self, names=type(self).__name__, name_details=str(self))
        from .diagram import network_block

        return network_block(self._model.network)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_model")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_unfinished", None)
        if "_model" in state:
            del state["_predictor"]
            if not state["_goes_on"]:  # the optimizer's memory is twice the weights
                state["_progress"] = state["_progress"].forgotten()
        return state | {VERSION: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        warn_of_other_version(type(self).__name__, state.pop(VERSION, None), stacklevel=2)
        super().__setstate__(state)
        if "_model" in state:
            self._model.weights.flags.writeable = self._model.state.flags.writeable = False  # pickles forget it
            self._predictor = predictor_of(self._model)


def _taken_up(fitted: BaseCNN, unfinished: Unfinished, checksums: tuple[int, ...]) -> tuple[Model, Progress, History]:
    """Return the state of a fit from a checkpoint; a ValueError if the checkpoint belongs to other data."""
    if unfinished.checksums != checksums:
        raise ValueError(
            "The checkpoint is of a fit to other data: X, y, the weights or the validation set are not the"
            " same. Give the same to go on, or remove the checkpoint to start anew."
        )
    model = fitted._model
    model.weights.flags.writeable = model.state.flags.writeable = True
    return model, unfinished.progress, History(**fitted.history_)


def check_fitted_network(estimator: Any, *kinds: type[BaseCNN]) -> None:
    """Refuse what is none of the ``kinds`` of estimators, or of any; and what is not fitted."""
    if not isinstance(estimator, kinds or BaseCNN):
        names = " or ".join(kind.__name__ for kind in kinds) or "CNNClassifier or CNNRegressor"
        raise TypeError(
            f"estimator must be a {names}, got {estimator!r}. Of a pipeline, take the step: pipeline[-1], with the"
            " images as the steps before it hand them on."
        )
    check_is_fitted(estimator)
