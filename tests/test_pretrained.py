"""Fine-tuning: what a fit takes over, what stays frozen, and what copies and files hold."""

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skcnn
import skcnn.runtime
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn._engine import frozen as frozen_layers
from skcnn._engine.memory import training_memory
from skcnn.augmentation import RandomShift
from skcnn.callbacks import Checkpoint
from skcnn.exceptions import ImageScaleWarning
from skcnn.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    ReLU,
    Residual,
    Scale,
)

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

BLOCK = [Conv2D(6, use_bias=False), BatchNorm(), ReLU(), Conv2D(6), BatchNorm()]
LAYERS = [Conv2D(6), BatchNorm(), ReLU(), Dropout(0.3), Residual(BLOCK), ReLU(), MaxPool2D(), DepthwiseConv2D(),
          BatchNorm(), ReLU(), GlobalAvgPool2D(), Dropout(0.2)]  # fmt: skip
RNG = np.random.default_rng(0)
X = RNG.normal(5, 3, (40, 8, 8, 2)).astype(np.float32)
Y, NEW = RNG.integers(0, 3, 40), np.array(["ant", "bee", "cat", "dog"])[RNG.permutation(40) % 4]


@pytest.fixture(scope="module")
def source():
    return CNNClassifier(layers=LAYERS, max_iter=2, batch_size=8, learning_rate=0.01, random_state=0).fit(X, Y)


def tuned(source, cls=CNNClassifier, **params):
    defaults = {"max_iter": 3, "batch_size": 8, "learning_rate": 0.01, "random_state": 0}
    return cls(pretrained=FrozenEstimator(source), **defaults | params)


def arrays(estimator):
    return estimator.parameters_ | estimator.state_


def frozen_names(estimator, freeze):
    names = estimator._model.network.names
    frozen = names[: names.index(freeze) + 1]
    return [name for name in arrays(estimator) if name.split(".")[0] in frozen]


def assert_same_fit(one, two):
    for name, array in arrays(one).items():
        assert_array_equal(array, arrays(two)[name], err_msg=name)
    assert one.history_["loss"] == two.history_["loss"]


# -- what is taken over


@pytest.mark.parametrize("cls", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize("bare", [True, False])
def test_all_but_the_output_is_taken_over(source, cls, bare):
    y = NEW if cls is CNNClassifier else RNG.normal(size=40)
    given = source if bare else FrozenEstimator(source)
    estimator = cls(pretrained=given, learning_rate=0.0, max_iter=1, standardize=False).fit(X * 2, y)
    assert estimator.layers_ == LAYERS
    assert_array_equal(estimator.input_mean_, source.input_mean_)
    assert_array_equal(estimator.input_scale_, source.input_scale_)
    for name, array in source.parameters_.items():
        if not name.startswith("output."):
            assert_array_equal(estimator.parameters_[name], array)
    assert estimator.parameters_["output.kernel"].shape == (6, 4 if cls is CNNClassifier else 1)
    assert not estimator.parameters_["output.kernel"].any()
    assert estimator._model.weights.dtype == source._model.weights.dtype == np.float32


def test_the_pretrained_network_is_left_alone(source):
    before = {name: array.copy() for name, array in arrays(source).items()}
    tuned(source).fit(X, NEW)
    for name, array in before.items():
        assert_array_equal(arrays(source)[name], array)


def test_images_of_another_size(source):
    large = RNG.normal(5, 3, (12, 11, 9, 2))
    estimator = tuned(source, freeze="residual1").fit(large, NEW[:12])
    assert estimator.input_shape_ == (11, 9, 2)
    assert estimator.predict(large).shape == (12,)


def test_precision_that_is_asked_for(source):
    estimator = tuned(source, dtype="float64", freeze="relu3").fit(X, NEW)
    assert estimator._model.weights.dtype == np.float64
    for name in frozen_names(estimator, "relu3"):
        assert_array_equal(arrays(estimator)[name], arrays(source)[name])


def test_layers_of_ones_own_take_over_what_has_the_name(source):
    layers = [*LAYERS[:6], GlobalAvgPool2D(), Dense(5), ReLU()]
    estimator = tuned(source, layers=layers, freeze="relu2", max_iter=1).fit(X, NEW)
    assert estimator.layers_ == layers
    for name in frozen_names(estimator, "relu2"):
        assert_array_equal(arrays(estimator)[name], arrays(source)[name])
    assert estimator.parameters_["dense1.kernel"].shape == (6, 5)
    assert CNNClassifier(layers=layers, pretrained=source, input_shape=(8, 8, 2)).summary().layers[-3].name == "dense1"


def test_summary_and_features_of_a_network_that_is_not_fitted_yet(source):
    planned = tuned(source, input_shape=(16, 16, 2)).summary(n_outputs=4)
    assert [layer.name for layer in planned.layers] == [layer.name for layer in source.summary().layers]
    with pytest.raises(ValueError, match="'conv9' is not in the network"):
        CNNFeatures(tuned(source), "conv9").fit(X, NEW)


# -- what stays frozen


@pytest.mark.parametrize(
    "params",
    [{"alpha": 0.1}, {"optimizer": "adamw"}, {"optimizer": "lion", "average": 0.9}, {"clip_norm": 0.01},
     {"augmentation": "random_flip", "alpha": 0.1}, {"early_stopping": True, "optimizer": "sgd"},
     {"class_weight": "balanced"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("freeze", ["conv1", "dropout1", "residual1", "relu3", "globalavgpool1", "dropout2"])
def test_frozen_arrays_keep_every_bit(source, freeze, params):
    estimator = tuned(source, freeze=freeze, freeze_statistics=False, **params).fit(X, NEW)
    kept = frozen_names(estimator, freeze)
    for name, array in arrays(estimator).items():
        if name in kept:
            assert_array_equal(array, arrays(source)[name], err_msg=name)
        elif not name.startswith("output."):
            assert not np.array_equal(array, arrays(source)[name]), name


def test_the_backward_pass_stops_there(source):
    from skcnn._engine.passes import Passes

    seen = []
    original = Passes._record

    def record(passes, rows):
        found = original(passes, rows)
        seen.extend(owner.split(".")[0] for tape in found.tapes for owners in tape.owners for owner in owners)
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Passes, "_record", record)
        tuned(source, freeze="residual1").fit(X, NEW)
    assert set(seen) == {"input", "maxpool1", "depthwiseconv1", "batchnorm2", "relu3", "globalavgpool1",
                         "relu2", "dropout2", "output", "loss", "optimizer"} - {"relu3"}  # fmt: skip


@pytest.mark.parametrize("freeze", ["residual1", "globalavgpool1"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_batch_by_batch_or_at_once(source, freeze, n_jobs, monkeypatch):
    params = {"freeze": freeze, "dtype": "float64", "early_stopping": True, "n_jobs": n_jobs}
    at_once = tuned(source, **params).fit(X, NEW)
    monkeypatch.setattr(frozen_layers, "IN_MEMORY", 0)
    assert_same_fit(tuned(source, **params).fit(X, NEW), at_once)
    monkeypatch.setattr(frozen_layers, "IN_A_FILE", 0)
    by_batch = tuned(source, **params).fit(X, NEW)
    monkeypatch.undo()
    for other in (by_batch, tuned(source, augmentation=RandomShift(0.0), **params).fit(X, NEW)):
        for name, array in arrays(at_once).items():
            assert_allclose(arrays(other)[name], array, rtol=1e-9, atol=1e-11, err_msg=name)
        assert_allclose(other.history_["val_loss"], at_once.history_["val_loss"], rtol=1e-9)


def test_frozen_layers_compute_once_per_fit(source, monkeypatch):
    calls = []
    original = frozen_layers.Frozen.entered
    monkeypatch.setattr(
        frozen_layers.Frozen, "entered", lambda self, data: calls.append(len(data.rows)) or original(self, data)
    )
    monkeypatch.setattr(frozen_layers.Frozen, "outputs", None)
    tuned(source, freeze="residual1").fit(X[:30], NEW[:30], X_val=X[30:], y_val=NEW[30:])
    assert calls == [30, 10]


def test_a_file_needs_room_on_the_disk(monkeypatch):
    monkeypatch.setattr(frozen_layers, "IN_MEMORY", 8)
    float32 = np.dtype("float32")
    assert isinstance(frozen_layers._room((2,), float32), np.ndarray)
    mapped = frozen_layers._room((3, 2), float32)
    mapped[...] = 1
    assert mapped.sum() == 6
    monkeypatch.setattr(frozen_layers, "IN_MEMORY", 1000)
    assert isinstance(frozen_layers._room((3, 2), float32).base, type(None))
    monkeypatch.setattr(frozen_layers, "machine_memory", lambda: 80)
    assert frozen_layers._room((3, 2), float32).base is not None
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 47})())
    assert frozen_layers._room((3, 2), float32) is None


def test_scores_of_a_validation_set_are_those_of_the_network(source):
    estimator = tuned(source, freeze="residual1", max_iter=4).fit(X[:30], NEW[:30], X_val=X[30:], y_val=NEW[30:])
    assert estimator.best_validation_score_ == estimator.score(X[30:], NEW[30:])


def test_the_same_bits_for_any_number_of_threads(source):
    large = np.repeat(X, 4, axis=0)
    one, two = (
        tuned(source, freeze="conv1", batch_size=160, n_jobs=n, augmentation="random_flip").fit(
            large, np.repeat(NEW, 4)
        )
        for n in (1, 2)
    )
    assert_same_fit(one, two)


@pytest.mark.parametrize("augmentation", [None, "random_flip"])
def test_a_profile_has_the_layers_that_are_trained(source, augmentation):
    estimator = tuned(source, freeze="residual1", max_iter=1, augmentation=augmentation).fit(X, NEW)
    names = [step.name for step in skcnn.profile(estimator, X, NEW, repeats=1).steps]
    assert names[:2] == ["input", "maxpool1"]
    assert "conv1" in [step.name for step in skcnn.profile(estimator, X, repeats=1).steps]


def test_memory_that_a_training_takes(source):
    network, recipes = source._model.network, [tuned(source, freeze=freeze)._recipe() for freeze in (None, "relu3")]
    everything, less = (training_memory(network, recipe, 64, np.float32) for recipe in recipes)
    assert less[0] < everything[0]
    assert less[1] < everything[1] / 10


# -- training in pieces


@pytest.mark.parametrize("params", [{}, {"average": 0.9, "augmentation": "random_flip"}], ids=str)
def test_partial_fit_three_times_is_a_fit_of_three_epochs(source, params):
    whole = tuned(source, freeze="relu2", **params).fit(X, NEW)
    parts = tuned(source, freeze="relu2", **params)
    for _ in range(3):
        parts.partial_fit(X, NEW, classes=np.unique(NEW))
    assert_same_fit(whole, parts)


def test_the_head_first_and_then_the_rest(source):
    estimator = tuned(source, freeze="globalavgpool1", warm_start=True).fit(X, NEW)
    head = {name: array.copy() for name, array in arrays(estimator).items()}
    estimator.set_params(freeze="relu2", learning_rate=0.001).fit(X, NEW)
    assert estimator.n_iter_ == 6
    for name in frozen_names(estimator, "relu2"):
        assert_array_equal(arrays(estimator)[name], arrays(source)[name])
    name = "depthwiseconv1.kernel"
    assert not np.array_equal(arrays(estimator)[name], head[name])


def test_a_fit_that_is_broken_off(source, tmp_path):
    params = {"freeze": "residual1", "early_stopping": True}
    whole = tuned(source, **params).fit(X, NEW)

    class Stop:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context, **kwargs):
            if context.task_name == "epoch":
                raise RuntimeError("broken off")

    checkpoint = Checkpoint(tmp_path / "fit.skcnn")
    with pytest.raises(RuntimeError, match="broken off"):
        tuned(source, **params).set_callbacks(checkpoint, Stop()).fit(X, NEW)
    with pytest.raises(ValueError, match="another unfinished fit, with pretrained='left out'"):
        CNNClassifier(
            **params | {"max_iter": 3, "batch_size": 8, "learning_rate": 0.01, "random_state": 0}
        ).set_callbacks(checkpoint).fit(X, NEW)
    assert_same_fit(tuned(source, **params).set_callbacks(checkpoint).fit(X, NEW), whole)


# -- statistics of batch normalization


@pytest.mark.parametrize("freeze", [None, "relu1"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_frozen_statistics_keep_every_bit(source, freeze, n_jobs):
    estimator = tuned(source, freeze=freeze, freeze_statistics=True, n_jobs=n_jobs).fit(X, NEW)
    for name, array in estimator.state_.items():
        assert_array_equal(array, source.state_[name], err_msg=name)
    for name, array in estimator.parameters_.items():
        if name.partition(".")[0] not in ("conv1", "batchnorm1", "output"):
            assert not np.array_equal(array, source.parameters_[name]), name
    estimator.set_params(freeze_statistics=False, warm_start=True).fit(X, NEW)
    assert not np.array_equal(estimator.state_["batchnorm2.running_mean"], source.state_["batchnorm2.running_mean"])


def test_statistics_are_frozen_by_default_unless_the_layers_are_new(source):
    params = {"max_iter": 1, "freeze": "relu1"}
    assert_same_fit(tuned(source, **params).fit(X, NEW), tuned(source, freeze_statistics=True, **params).fit(X, NEW))
    own = tuned(source, layers=LAYERS, **params).fit(X, NEW)
    assert_same_fit(own, tuned(source, freeze_statistics=False, **params).fit(X, NEW))
    mean = "batchnorm2.running_mean"
    assert not np.array_equal(own.state_[mean], source.state_[mean])


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("pool", [[], [MaxPool2D()]], ids=["", "pool"])
def test_frozen_statistics_are_a_fixed_factor_and_offset(pool, n_jobs):
    """One step equals a step of the network with Scale layers, whose numbers are functions of the batch norm's."""

    def layers(norm):
        return [Conv2D(6), norm, *pool, ReLU(), Conv2D(5), norm, GlobalAvgPool2D()]

    images, y = np.repeat(X, 4, axis=0).astype(float), np.repeat(NEW, 4)
    source = CNNClassifier(layers=layers(BatchNorm()), standardize=False, max_iter=3, random_state=0).fit(images, y)
    before = {name: array for name, array in source.parameters_.items() if "batchnorm" not in name}
    deviation = {i: np.sqrt(source.state_[f"batchnorm{i}.running_variance"] + BatchNorm().epsilon) for i in (1, 2)}
    mean = {i: source.state_[f"batchnorm{i}.running_mean"] for i in (1, 2)}
    for i in (1, 2):
        before[f"scale{i}.scale"] = source.parameters_[f"batchnorm{i}.scale"] / deviation[i]
        before[f"scale{i}.bias"] = source.parameters_[f"batchnorm{i}.offset"] - before[f"scale{i}.scale"] * mean[i]
    scaled = CNNClassifier(layers=layers(Scale()), dtype="float64")
    scaled.set_weights(before, input_shape=(8, 8, 2), classes=source.classes_, mean=0, scale=1)

    params = {"dtype": "float64", "optimizer": "sgd", "alpha": 0, "max_iter": 1, "batch_size": 160, "n_jobs": n_jobs,
              "output_initializer": "he"}  # fmt: skip
    one = tuned(source, freeze_statistics=True, **params).fit(images, y).parameters_
    two = tuned(scaled, **params).fit(images, y).parameters_
    step = {name: two[name] - before[name] for name in before}
    for i in (1, 2):
        step[f"batchnorm{i}.offset"] = step[f"scale{i}.bias"]
        step[f"batchnorm{i}.scale"] = (step[f"scale{i}.scale"] - mean[i] * step[f"scale{i}.bias"]) / deviation[i]
    for name, array in one.items():
        if not name.startswith("output."):
            assert_allclose(array - source.parameters_[name], step[name], rtol=1e-6, atol=1e-12, err_msg=name)
    assert_allclose(one["output.kernel"], two["output.kernel"], rtol=1e-9)


def test_there_are_no_statistics_to_freeze(source):
    with pytest.raises(ValueError, match="freeze_statistics=True would keep the initial statistics"):
        CNNClassifier(freeze_statistics=True).fit(X, NEW)
    layers = [*LAYERS[:-2], BatchNorm(), GlobalAvgPool2D()]
    with pytest.raises(ValueError, match=r"would keep the initial numbers of 'batchnorm3\.running_mean'"):
        tuned(source, layers=layers, freeze_statistics=True).fit(X, NEW)
    tuned(source, layers=layers, max_iter=1).fit(X, NEW)


# -- clones, searches, pickles and files


@pytest.mark.parametrize("bare", [True, False])
def test_clones_share_the_pretrained_network(source, bare):
    given = source if bare else FrozenEstimator(source)
    with config_context(enable_metadata_routing=True):
        estimator = CNNClassifier(pretrained=given, freeze="conv1", max_iter=1).set_fit_request(sample_weight=True)
    copied = clone(clone(estimator))
    assert clone(copied).fit(X, NEW).n_iter_ == 1
    assert copied.pretrained is given
    assert copied.get_params(deep=False) == estimator.get_params(deep=False)
    assert copied.get_metadata_routing().fit.requests == estimator.get_metadata_routing().fit.requests
    assert clone(make_pipeline(estimator))[0].pretrained is given


def test_freeze_in_a_search(source):
    search = GridSearchCV(tuned(source, max_iter=1), {"freeze": [None, "conv1", "dropout2"]}, cv=2).fit(X, NEW)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    both = {"freeze": ["conv1"], "pretrained": [FrozenEstimator(source), FrozenEstimator(clone(source).fit(X, Y))]}
    assert GridSearchCV(tuned(source, max_iter=1), both, cv=2).fit(X, NEW).best_estimator_.freeze == "conv1"


def through_pickle(estimator, path):
    return pickle.loads(pickle.dumps(estimator))


def through_file(estimator, path):
    skcnn.save(estimator, path)
    return skcnn.load(path)


@pytest.mark.parametrize("through", [through_pickle, through_file])
def test_a_fitted_copy_holds_its_own_network_only(source, through, tmp_path):
    estimator = tuned(source, freeze="residual1", warm_start=True).fit(X, NEW)
    copied = through(estimator, tmp_path / "model.skcnn")
    assert_array_equal(copied.predict_proba(X), estimator.predict_proba(X))
    assert copied.pretrained == "left out"
    assert estimator.pretrained.estimator is source
    assert_same_fit(copied.fit(X, NEW), estimator.fit(X, NEW))
    with pytest.raises(
        ValueError, match=r"pretrained='left out': a pickle or a file .* Set pretrained to that network"
    ):
        clone(copied).fit(X, NEW)
    with pytest.raises(ValueError, match="pretrained='left out'"):
        copied.set_params(warm_start=False).fit(X, NEW)
    assert copied.set_params(pretrained=source, max_iter=1).fit(X, NEW).n_iter_ == 1
    # What is not fitted holds it, for another process to begin with.
    assert_same_fit(pickle.loads(pickle.dumps(tuned(source))).fit(X, NEW), tuned(source).fit(X, NEW))


def test_the_size_of_a_pickle_and_a_file(tmp_path):
    layers = [Conv2D(100), ReLU(), Conv2D(100), GlobalAvgPool2D()]
    large = CNNClassifier(layers=layers, max_iter=1).fit(X, Y)
    estimator = tuned(large, freeze="conv2", max_iter=1).fit(X, NEW)
    size = estimator._model.weights.nbytes
    assert size > 350_000
    assert len(pickle.dumps(estimator)) < 1.1 * size
    skcnn.save(estimator, tmp_path / "a.skcnn")
    assert (tmp_path / "a.skcnn").stat().st_size < 1.1 * size
    served = skcnn.runtime.load(tmp_path / "a.skcnn")
    assert_array_equal(served.predict_proba(X), estimator.predict_proba(X))


def test_save_says_what_it_does_not_hold(source, tmp_path):
    with pytest.raises(TypeError, match="pretrained is a FrozenEstimator, which save cannot write"):
        skcnn.save(tuned(source), tmp_path / "a.skcnn")


# -- mistakes

FLAT = [Conv2D(4), ReLU(), Flatten(), Dense(5)]


def test_what_cannot_be_fine_tuned():
    for given in (LogisticRegression(), FrozenEstimator(LogisticRegression())):
        with pytest.raises(TypeError, match=r"pretrained must be a fitted CNNClassifier or CNNRegressor, .* got"):
            CNNClassifier(pretrained=given).fit(X, NEW)
    for given in (CNNClassifier(), FrozenEstimator(CNNClassifier())):
        with pytest.raises(NotFittedError, match=r"pretrained=.* is not fitted"):
            CNNClassifier(pretrained=given).fit(X, NEW)
    with pytest.raises(ValueError, match="The 'pretrained' parameter of CNNClassifier must be"):
        CNNClassifier(pretrained=3).fit(X, NEW)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("conv2", "a hidden layer that is not inside another layer. Did you mean 'conv1'? The names are: conv1, ba"),
        ("residual1.conv1", "Did you mean 'residual1'? The names"),
        ("output", "The names are: conv1, batchnorm1, relu1, dropout1, residual1"),
        ("", "The names are: conv1"),
    ],
)
def test_names_that_are_no_last_frozen_layer(source, freeze, message):
    for estimator in (
        tuned(source, freeze=freeze),
        tuned(source, warm_start=True).fit(X, NEW).set_params(freeze=freeze),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            estimator.fit(X, NEW)


def test_freezing_random_numbers(source):
    with pytest.raises(ValueError, match="freeze='conv1' would keep random numbers: there is no pretrained network"):
        CNNClassifier(freeze="conv1").fit(X, NEW)
    with pytest.raises(ValueError, match=r"freeze='dense1' freezes 'dense1.kernel', which the pretrained network does"):
        tuned(source, layers=[*LAYERS, Dense(4), ReLU()], freeze="dense1").fit(X, NEW)


def test_what_does_not_fit(source):
    with pytest.raises(ValueError, match=r"Its images have 2 channels, and the images in X have 3\.$"):
        tuned(source).fit(np.zeros((4, 8, 8, 3)), NEW[:4])
    colour = CNNClassifier(layers=FLAT, max_iter=1).fit(RNG.normal(size=(9, 8, 8, 3)), Y[:9])
    with pytest.raises(
        ValueError, match=r"have 3 channels, and the images in X have 1. np.repeat\(X, 3, axis=-1\) converts"
    ):
        tuned(colour).fit(RNG.normal(size=(9, 8, 8, 1)), NEW[:9])
    with pytest.raises(
        ValueError, match=r"'dense1.kernel' of shape \(256, 5\), .* needs \(324, 5\). .* GlobalAvgPool2D"
    ):
        tuned(colour).fit(RNG.normal(size=(9, 9, 9, 3)), NEW[:9])
    with pytest.raises(
        ValueError, match=r"'conv1.kernel' of shape .* needs \(3, 3, 2, 7\). Use a layer of the same size"
    ):
        tuned(source, layers=[Conv2D(7), GlobalAvgPool2D()]).fit(X, NEW)
    with pytest.raises(ValueError, match=r"no name of an array in common. The pretrained network has: conv1.kernel"):
        tuned(source, layers=[Flatten(), Dense(3)]).fit(X, NEW)


def test_images_on_another_scale(source):
    with pytest.warns(ImageScaleWarning, match="X is on another scale"):
        tuned(source, max_iter=1).fit(X * 255, NEW)
