"""Base class of the estimators. It validates input, prepares the data, runs the training and keeps the result."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays.elementwise import Array
from .._engine.adapting import adapt
from .._engine.data import INIT, SPLIT, Data, stream
from .._engine.groups import parameter_factors
from .._engine.memory import check_memory
from .._engine.model import Model
from .._engine.network import Network
from .._engine.parallel import thread_count
from .._engine.progress import Fit, Monitor, Progress, Recipe, Unfinished
from .._engine.scaling import (
    Scaling,
    measure_scaling,
    measure_targets,
    needed_dtype,
    no_scaling,
    warn_of_scale,
)
from .._engine.training import Hooks, train
from ..architecture import build_layers
from ..augmentation import refuse_classes, resolve_augmentations
from ..description import is_count, refuse_class, resolve
from ..initializers import Initializer
from ..layers import BatchNorm
from ..losses import Loss, resolve_loss
from .fitted import FittedNetwork
from .given import full_shape, given_scaling, outputs_of, with_arrays
from .judging import Judge
from .mistakes import warn_of_own_output
from .nesting import PARAMETER_KINDS, NestedParameters
from .pretrained import check_freeze, hidden_layers, shared, sharing, source_of, take_over
from .validation import (
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
CALLBACKS = "_callback_fit_ctx", "_skl_callbacks_to_teardown"
PLAIN = (
    "learning_rate", "learning_rate_factors", "alpha", "clip_norm", "average", "batch_size", "max_iter", "shuffle",
    "tol", "n_iter_no_change", "early_stopping", "verbose", "freeze", "freeze_statistics", "test_time_augmentation",
)  # fmt: skip


class BaseCNN(FittedNetwork, CallbackSupportMixin, NestedParameters):
    """Base class of the estimators. Subclasses define the meaning of y."""

    _task: str  # "classification" or "regression", the task of its losses

    # -- methods that a subclass defines

    @abstractmethod
    def _encode(self, y: Array, name: str = "y") -> Array:
        """Return targets in the form of the loss: class numbers (n,), or (n, k) in float64."""

    @abstractmethod
    def _outputs(self, targets: Array) -> int:
        """Return the number of units of the output layer."""

    @abstractmethod
    def _score_raw(self, raw: Array, targets: Array, weights: Array) -> float:
        """Return the score of raw predictions, for validation."""

    @abstractmethod
    def _constant_score(self, targets: Array, weights: Array) -> tuple[float, float]:
        """Return the score of the best constant prediction, and its standard error."""

    def _weigher(self, weights: Array, y: Array) -> Callable[[Array, Array], Array]:
        """Return a function that multiplies sample weights by the class weights of the fit."""
        return lambda weights, y: weights

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
        """Fit, or with ``resume`` continue where the last call ended.

        ``given`` is the data and metadata that callbacks receive. Without it, the call is a `partial_fit` of one epoch.
        """
        partial = given is None
        recipe = self._recipe()
        watch = None if given is None else self._watch(given)
        found = None if watch is None else watch.unfinished()
        seed = self._progress.seed if resume else int(check_random_state(self.random_state).randint(2**31 - 1))
        if found is not None:
            seed = found[1].progress.seed
        data, validation = self._data(images, y, weights, validation, recipe.loss, seed)
        # All chunks of partial_fit are divided by the mean weight of the first, so that their weights stay comparable.
        scale = self._progress.weight_scale if partial and resume else float(data.weights.mean())
        data = replace(data, weights=data.weights / scale)
        targets = self._model.target_scaling if resume else None
        if recipe.loss.standardizes_targets and not resume:
            targets = measure_targets(data.targets, data.weights)
        data, validation = _standardized(data, targets), validation and _standardized(validation, targets)

        def checksums() -> tuple[int, ...]:
            return tuple(part.checksum for part in (data, validation) if part is not None)

        if found is not None:
            fit = _taken_up(*found, checksums())
        elif resume:
            fit = self._resumed(recipe)
        else:
            model = self._initial_model(data, weights[data.rows], seed, recipe, targets)
            fit = Fit(model, Progress.begin(model, recipe, seed))
        fit.model.loss, fit.model.target_scaling, fit.progress.weight_scale = recipe.loss, targets, scale
        parameter_factors(fit.model.network.weights.parameters, recipe.learning_rate_factors)  # raises for a wrong key
        if validation is not None and validation.images is not images:  # rows set aside from X have the same scale
            warn_of_scale(validation.images, fit.model.scaling, "X_val")

        ended = False

        def fitted_so_far() -> dict[str, Any]:
            shell = self._shell(fit, copied=True)
            if not ended:
                shell._unfinished = lambda: Unfinished(
                    fit.progress.copied(), replace(fit.monitor), fit.done, checksums()
                )
            return {key: value for key, value in vars(shell).items() if not key.startswith("_skl_callbacks")}

        if watch is not None:
            watch.begin(fitted_so_far)
        judge = Judge(self, recipe.loss)
        hooks = Hooks(
            judge.of_epoch(fit, data),
            ConvergenceWarning,
            self._remedies(fit.model),
            None if validation is None else judge.of_validation(fit, validation, recipe),
            None if watch is None else watch.epoch,
        )
        epochs = 1 if partial else self.max_iter
        ended = train(fit, data, recipe, hooks, epochs=epochs, first_epoch=fit.progress.epochs if partial else 0)
        if validation is not None:
            judge.warn_of_validation(fit, validation)
        self._keep(fit)
        self._goes_on = partial or self.warm_start
        if watch is not None:
            watch.end()
        return self

    def _data(
        self, images: Array, y: Array, weights: Array, validation: Data | None, loss: Loss, seed: int
    ) -> tuple[Data, Data | None]:
        """Return the training rows, without rows of weight 0, and the validation rows."""
        targets = self._encode(y)
        weigh = self._weigher(weights, y)
        row_weights = weigh(weights, y)
        rows = np.flatnonzero(row_weights)
        if not rows.size:
            raise ValueError("All rows have weight 0: sample_weight times class_weight leaves nothing to learn from.")
        loss.check_target(targets[rows])
        if validation is not None:
            validation = replace(validation, weights=weigh(validation.weights, validation.y))
            counted = validation.targets[validation.weights > 0]
            if not len(counted):
                raise ValueError("All rows of the validation set have weight 0: there is nothing to score.")
            # Checked together with the training targets, because a loss may require that not all targets are 0.
            loss.check_target(np.concatenate([targets[rows], counted]), "y_val")
        if validation is None and self.early_stopping:
            rows, aside = split(rows, self._strata(targets), self.validation_fraction, stream(seed, SPLIT))
            validation = Data(images, aside, targets[aside], row_weights[aside], y[aside])
        return Data(images, rows, targets[rows], row_weights[rows], y[rows]), validation

    def _shell(self, fit: Fit, *, copied: bool = False) -> Self:
        """Return the estimator as if the fit ended now, for scorers, or with copied weights for callbacks."""
        shell = object.__new__(type(self))
        shell.__dict__.update(vars(self))
        weights, state = fit.model.weights, fit.model.state
        arrays = (weights.copy(), state.copy()) if copied else (weights.view(), state.view())
        now = replace(fit.model, weights=arrays[0], state=arrays[1])
        shell._keep(replace(fit, model=now, progress=fit.progress.forgotten()))
        shell._goes_on = False
        return shell

    def _watch(self, given: dict[str, Any]) -> Watch | None:
        """Return the link to the callbacks, or None without callbacks."""
        context = self._init_callback_context(max_subtasks=self.max_iter)
        return Watch(self, context, given) if hasattr(self, "_skl_callbacks") else None

    def _validation_data(self, X: Any, y: Any, sample_weight: Any, input_shape: tuple[int, ...]) -> Data | None:
        """Return the validation set of the user, or None if there is none."""
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
        return Data(images, np.arange(len(images)), self._encode(y, name="y_val"), weights, y)

    def _recipe(self) -> Recipe:
        """Return the parameters of the training, with names resolved to objects."""
        described = {
            kind: resolve(PARAMETER_KINDS[kind], getattr(self, kind), kind) for kind in ("optimizer", "schedule")
        }
        described["loss"] = self._given_loss()
        plain = {name: getattr(self, name) for name in PLAIN}
        # Converted to Python's numbers, because a np.float32 would compute in single precision.
        plain |= {name: float(plain[name]) for name in ("learning_rate", "alpha", "average")}
        plain["clip_norm"] = None if self.clip_norm is None else float(self.clip_norm)
        if self.freeze_statistics is None:  # other layers may have batch norms without pretrained statistics
            plain["freeze_statistics"] = self.pretrained is not None and self.layers is None
        augmentations = resolve_augmentations(self.augmentation)
        return Recipe(**described, **plain, threads=thread_count(self.n_jobs), augmentation=augmentations)  # type: ignore[arg-type]

    def _given_loss(self) -> Loss:
        """Return the loss of the parameter `loss`, which a fit minimizes."""
        return resolve_loss(self.loss, self._task)

    def _loss(self) -> Loss:
        """Return the loss that the weights were learnt with, because the parameter may have changed since the fit."""
        return self._model.loss if self.__sklearn_is_fitted__() else self._given_loss()

    def _remedies(self, model: Model) -> str:
        """Return advice after a divergence."""
        remedies = ["a smaller learning_rate"]
        if self.clip_norm is None:
            remedies.append("clip_norm=1.0")
        if not self.standardize:
            remedies.append("standardize=True")
        if self._task == "regression" and model.target_scaling is None:
            remedies.append("targets of a smaller scale")
        if not any(isinstance(layer, BatchNorm) for layer in model.network.hidden):
            remedies.append("BatchNorm layers")
        return f"{', '.join(remedies[:-1])} or {remedies[-1]}" if len(remedies) > 1 else remedies[0]

    def _initial_model(self, data: Data, weights: Array, seed: int, recipe: Recipe, targets: Scaling | None) -> Model:
        """Return an untrained model for the data, with measured standardization and drawn or pretrained weights."""
        images = data.images
        network = self._network(images.shape[1:], self._outputs(data.targets))
        if self.layers is not None:
            warn_of_own_output(network, {network.outputs, len(getattr(self, "classes_", ()))})
        source = source_of(self, network, BaseCNN)
        if source is not None:
            scaling = source.scaling
        else:
            scaling = measure_scaling(images, data.rows, weights) if self.standardize else no_scaling(images.shape[3])
        needed = needed_dtype(images.dtype, scaling, network.multiply_adds) if source is None else source.weights.dtype
        dtype = np.dtype(needed if self.dtype == "auto" else self.dtype)
        check_memory(network, recipe, min(recipe.batch_size, len(data.rows)), dtype)
        rng = stream(seed, INIT)
        vector = network.initial(network.weights, rng, dtype)
        state = network.initial(network.state, rng, dtype)
        taken: list[str] = []
        if source is not None:
            taken = take_over(source, network, vector, state, self.freeze, recipe.freeze_statistics)
            warn_of_scale(images, scaling)
        network.weights.views(vector)["output.bias"][...] = recipe.loss.base_score(data.targets, data.weights)
        model = Model(network, scaling, vector, state, recipe.loss, targets)
        adapt(model, data, seed, taken)
        return model

    def _network(self, input_shape: tuple[int, ...], outputs: int) -> Network:
        """Return the network that a fit trains."""
        initializer = resolve(Initializer, self.output_initializer, "output_initializer")
        return Network(self._hidden_layers(input_shape), input_shape, outputs, initializer)

    def _hidden_layers(self, input_shape: tuple[int, ...]) -> list[Any]:
        if self.layers is not None:
            return list(self.layers)
        if self.pretrained is not None:
            return hidden_layers(self, BaseCNN)
        return build_layers(input_shape, **{knob: getattr(self, knob) for knob in KNOBS})

    def _resumed(self, recipe: Recipe) -> Fit:
        """Return a copy of the fitted model and its training state, to continue with."""
        if list(self._hidden_layers(self.input_shape_)) != self.layers_:
            raise ValueError(
                "The layers differ from the fitted layers, and training can continue with the same network only. Undo"
                " the change of layers, conv_filters and so on, or fit a clone of this estimator."
            )
        check_freeze(self.freeze, self._model.network)
        model = replace(self._model, weights=self._model.weights.copy(), state=self._model.state.copy())
        return Fit(model, self._progress.resumed(model, recipe), self._history())

    def _validate_params(self) -> None:
        for parameter in PARAMETER_KINDS:
            refuse_class(getattr(self, parameter), parameter)
        refuse_classes(self.augmentation)
        super()._validate_params()

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Restore the attributes of the estimator if the block raises."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            # Attributes of callbacks stay, because scikit-learn still has to tear the callbacks down.
            before |= {key: vars(self)[key] for key in CALLBACKS if key in vars(self)}
            self.__dict__.update(before)  # not replaced, because another thread may be predicting
            for name in self.__dict__.keys() - before.keys():
                del self.__dict__[name]
            raise

    def _refuse_early_stopping(self) -> None:
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True, because it has one chunk of the data.")

    # -- weights from elsewhere

    def _take_weights(self, arrays: dict[str, Array], input_shape: Any, mean: Any, scale: Any) -> Self:
        """Fit the estimator with the user's arrays, and with the arrays of a fitted network for missing names."""
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
            scaling, loss, targets = given_scaling(mean, scale, shape[2], None), self._given_loss(), None
        else:
            dtype, kept = before.weights.dtype, self.parameters_ | self.state_
            loss, targets = before.loss, before.target_scaling
            same = shape[2] == before.network.input_shape[2]
            scaling = given_scaling(mean, scale, shape[2], before.scaling if same else None)
        model = replace(with_arrays(network, arrays, kept, scaling, dtype, loss), target_scaling=targets)
        if before is None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            fit = Fit(model, Progress.begin(model, self._recipe(), seed).forgotten())
        else:
            best = self.best_validation_score_
            monitor = Monitor() if best is None else Monitor(best_score=best)
            fit = Fit(model, self._progress.forgotten(), self._history(), monitor)
        if before is None or shape != before.network.input_shape:
            self.n_features_in_ = math.prod(shape)
            self.__dict__.pop("feature_names_in_", None)
        self._keep(fit)
        self._goes_on = False
        return self

    # -- looking at a fitted model

    def summary(self, *, n_outputs: int = 1) -> Summary:
        """Return a table of the network's layers with their output shapes, parameters and multiply-adds.

        Before ``fit``, the table shows the network that ``fit`` would train on images of `input_shape`.

        Parameters
        ----------
        n_outputs : int, default=1
            Number of units of the output layer, used before ``fit`` only. It is the number of classes (1 for two
            classes), labels or targets.

        Returns
        -------
        Summary
            Table, which prints as text and is shown as HTML in notebooks.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted, and `input_shape` is None.
        ValueError
            If the estimator is not fitted, and a parameter of the network or `n_outputs` is not valid.
        """
        from .summary import summarize

        if self.__sklearn_is_fitted__():
            return summarize(self._model.network)
        if self.input_shape is None:
            name = type(self).__name__
            raise NotFittedError(
                f"This {name} is not fitted yet, and has no input_shape: call fit first, or set input_shape to the"
                f" shape of an image, for example {name}(input_shape=(28, 28, 1)).summary()."
            )
        if not is_count(n_outputs):
            raise ValueError(f"n_outputs must be an int of 1 or more, got {n_outputs!r}.")
        self._validate_params()
        return summarize(self._network(full_shape(self.input_shape), int(n_outputs)))

    def _sk_visual_block_(self) -> Any:
        """Return the block that the HTML representation shows, with the layers of a fitted network."""
        if not self.__sklearn_is_fitted__():
            return visual_block("single", self, names=type(self).__name__, name_details=str(self))
        from .diagram import network_block

        return network_block(self._model.network)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    def __sklearn_clone__(self) -> Any:
        return shared(self, super(BaseCNN, sharing(self)).__sklearn_clone__())


def _taken_up(fitted: BaseCNN, unfinished: Unfinished, checksums: tuple[int, ...]) -> Fit:
    """Return the state of a fit from a checkpoint, or raise a ValueError if the checkpoint belongs to other data."""
    if unfinished.checksums != checksums:
        raise ValueError(
            "The checkpoint belongs to a fit to other data: X, y, the weights or the validation set differ. Pass the"
            " same data to resume the fit, or remove the checkpoint to start from the beginning."
        )
    model = fitted._model
    model.weights.flags.writeable = model.state.flags.writeable = True
    return Fit(model, unfinished.progress, fitted._history(), unfinished.monitor, unfinished.done)


def _standardized(data: Data, scaling: Scaling | None) -> Data:
    """Return data with standardized targets, or the same data without a scaling."""
    return data if scaling is None else replace(data, targets=(data.targets - scaling.mean) / scaling.scale)


def check_fitted_network(estimator: Any, *kinds: type[BaseCNN]) -> None:
    """Raise an error unless this is a fitted estimator of one of the ``kinds``, or of any kind if there are none."""
    if not isinstance(estimator, kinds or BaseCNN):
        names = " or ".join(kind.__name__ for kind in kinds) or "CNNClassifier or CNNRegressor"
        raise TypeError(
            f"estimator must be a {names}, got {estimator!r}. For a pipeline, pass its last step, pipeline[-1], and"
            " images that the other steps have transformed."
        )
    check_is_fitted(estimator)
