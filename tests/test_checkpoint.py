"""A fit that is broken off and taken up again gives the same bits as one that never was."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import skcnn
from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine.data import Data
from skcnn._engine.passes import Passes
from skcnn.augmentation import MixUp, RandomFlip
from skcnn.callbacks import Checkpoint
from skcnn.layers import BatchNorm, Conv2D, Dropout, Flatten, ReLU, WhiteningConv2D
from skcnn.optimizers import SGD, Muon
from skcnn.persistence import read

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

ROOT = Path(__file__).parents[1]
SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 7, "batch_size": 16}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(70, 6, 6)).astype(np.float32), rng.integers(0, 3, 70)


class Failing:
    """Raises at the end of an epoch, as a process dies: whatever is left is on disk."""

    def __init__(self, epoch, error=RuntimeError):
        self.epoch, self.error = epoch, error

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch" and fitted_estimator.n_iter_ == self.epoch:
            raise self.error("broken off")


def broken_off(model, path, X, y, epoch=4, every=1, **given):
    """What is left of a fit that dies at the end of an epoch."""
    model = clone(model).set_callbacks(Checkpoint(path, every=every), Failing(epoch))
    with pytest.raises(RuntimeError, match="broken off"):
        model.fit(X, y, **given)


def assert_same(model, expected, X):
    np.testing.assert_array_equal(model._model.weights, expected._model.weights)
    np.testing.assert_array_equal(model._model.state, expected._model.state)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    for key, values in expected.history_.items():
        if key != "seconds":
            np.testing.assert_array_equal(model.history_[key], values)
    assert model.n_iter_ == expected.n_iter_
    assert model.best_validation_score_ == expected.best_validation_score_


SETTINGS = {
    "plain": {},
    "momentum": {"optimizer": SGD(momentum=0.9), "schedule": "cosine"},
    "schedule that watches": {"schedule": "adaptive", "n_iter_no_change": 30},
    "early stopping": {"early_stopping": True, "max_iter": 40, "n_iter_no_change": 3, "validation_fraction": 0.3},
    "stops by the loss": {"tol": 0.05, "max_iter": 60, "n_iter_no_change": 2},
    "averaged": {"average": 0.9, "early_stopping": True},
    "random": {
        "layers": [WhiteningConv2D(2), Conv2D(4), BatchNorm(), ReLU(), Dropout(0.3), Flatten()],
        "augmentation": [RandomFlip(vertical=True, alternate=True), MixUp()],
    },
    "float64, clipped": {"dtype": "float64", "clip_norm": 0.5, "alpha": 0.1},
    "muon": {"optimizer": Muon(optimizer="sgd"), "learning_rate_factors": {"bias": 2.0, "conv1": 0.0}},
    "weighted": {"class_weight": "balanced", "standardize": False},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("every", [1, 3])
def test_what_is_taken_up_again_ends_as_what_never_was_broken_off(name, every, data, tmp_path):
    X, y = data
    model = CNNClassifier(**SMALL | SETTINGS[name])
    expected = clone(model).fit(X, y)
    path = tmp_path / "model.skcnn"
    broken_off(model, path, X, y, every=every)
    left, unfinished, _ = read(path)
    assert left.n_iter_ == unfinished.done == (4 if every == 1 else 3)
    again = clone(model).set_callbacks(Checkpoint(path, every=every)).fit(X, y)
    assert_same(again, expected, X)
    assert_same(skcnn.load(path), expected, X)


def test_a_fit_may_be_broken_off_many_times(data, tmp_path):
    X, y = data
    model = CNNRegressor(**SMALL, early_stopping=True)
    for epoch in range(1, 7):
        broken_off(model, tmp_path / "model", X, y, epoch)
    again = clone(model).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, y)
    assert_same(again, clone(model).fit(X, y), X)


def test_the_random_numbers_are_those_of_the_first_fit(data, tmp_path):
    X, y = data
    for random_state in (None, np.random.RandomState(0)):
        model = CNNClassifier(**SMALL | {"random_state": random_state}, early_stopping=True)
        path = tmp_path / f"{random_state is None}"
        broken_off(model, path, X, y, 2)
        first = read(path)[0]
        again = clone(model).set_callbacks(Checkpoint(path)).fit(X, y)
        assert again._progress.seed == first._progress.seed
        assert again.history_["loss"][:2] == first.history_["loss"]
        expected = clone(model).set_params(random_state=Drawn(again._progress.seed)).fit(X, y)
        assert_same(again, expected, X)


class Drawn(np.random.RandomState):
    """Gives the seed that another fit has drawn."""

    def __init__(self, seed):
        super().__init__(0)
        self.seed_ = seed

    def randint(self, *args, **kwargs):
        return self.seed_


def test_a_validation_set_and_weights_that_are_given(data, tmp_path):
    X, y = data
    model = CNNClassifier(**SMALL)
    given = {"X_val": X[:20], "y_val": y[:20], "sample_weight": np.linspace(1, 2, 50)}
    expected = clone(model).fit(X[20:], y[20:], **given)
    broken_off(model, tmp_path / "model", X[20:], y[20:], **given)
    again = clone(model).set_callbacks(Checkpoint(tmp_path / "model"))
    for other in ({"X_val": X[:20] + 1}, {"y_val": y[20:40]}, {"sample_weight": np.linspace(2, 1, 50)}):
        with pytest.raises(ValueError, match="fit to other data"):
            again.fit(X[20:], y[20:], **given | other)
    assert_same(again.fit(X[20:], y[20:], **given), expected, X)


def test_a_fit_that_has_ended_begins_anew(data, tmp_path):
    X, y = data
    model = CNNClassifier(**SMALL).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, y)
    assert len(model.history_["loss"]) == 7
    assert len(model.fit(X, y).history_["loss"]) == 7
    other = CNNClassifier(**SMALL | {"max_iter": 2}).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, 2 - y)
    assert skcnn.load(tmp_path / "model").n_iter_ == other.n_iter_ == 2


def test_a_warm_start_is_taken_up_where_it_was(data, tmp_path):
    X, y = data
    first = CNNClassifier(**SMALL, warm_start=True, schedule="cosine").fit(X, y)
    expected = skcnn_copy(first, tmp_path).fit(X, y)
    dying = skcnn_copy(first, tmp_path).set_callbacks(Checkpoint(tmp_path / "model"), Failing(10))
    with pytest.raises(RuntimeError, match="broken off"):
        dying.fit(X, y)
    again = clone(first).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, y)
    assert_same(again, expected, X)
    assert again.n_iter_ == 14


def skcnn_copy(model, directory):
    skcnn.save(model, directory / "copy")
    return skcnn.load(directory / "copy")


def test_an_interrupted_fit_has_not_ended(data, tmp_path):
    X, y = data
    model = CNNClassifier(**SMALL)
    dying = clone(model).set_callbacks(Checkpoint(tmp_path / "model"), Failing(3, KeyboardInterrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        dying.fit(X, y)
    again = clone(model).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, y)
    assert_same(again, clone(model).fit(X, y), X)


def test_in_a_pipeline(data, tmp_path):
    X, y = data
    X = X.reshape(len(X), -1)
    model = CNNClassifier(**SMALL, input_shape=(6, 6))
    expected = make_pipeline(StandardScaler(), clone(model)).fit(X, y)
    dying = clone(model).set_callbacks(Checkpoint(tmp_path / "model"), Failing(3))
    with pytest.raises(RuntimeError, match="broken off"):
        make_pipeline(StandardScaler(), dying).fit(X, y)
    again = make_pipeline(StandardScaler(), clone(model).set_callbacks(Checkpoint(tmp_path / "model"))).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), expected.predict_proba(X))


def test_what_cannot_go_on_is_an_error_and_leaves_the_file_alone(data, tmp_path):
    X, y = data
    path = tmp_path / "model"
    broken_off(CNNClassifier(**SMALL), path, X, y)
    before = path.read_bytes()
    other = {"learning_rate": 0.1, "max_iter": 70, "random_state": 1, "optimizer": SGD()}
    for name, value in other.items():
        model = CNNClassifier(**SMALL | {name: value}).set_callbacks(Checkpoint(path))
        with pytest.raises(ValueError, match=f"another unfinished fit, with {name}="):
            model.fit(X, y)
        assert not hasattr(model, "classes_")
        assert "_earlier" not in vars(model)
    model = CNNClassifier(**SMALL).set_callbacks(Checkpoint(path))
    with pytest.raises(ValueError, match="fit to other data"):
        model.fit(X + 1, y)
    with pytest.raises(ValueError, match="another unfinished fit, with a CNNClassifier"):
        CNNRegressor(**SMALL).set_callbacks(Checkpoint(path)).fit(X, y)
    assert path.read_bytes() == before
    assert len(model.set_params(n_jobs=1, verbose=0).fit(X, y).history_["loss"]) == 7


def test_any_other_image_is_other_data(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 4, 4)).astype(np.float32), rng.integers(0, 3, 300)
    path = tmp_path / "model"
    given = {"X_val": X[200:], "y_val": y[200:]}
    broken_off(CNNClassifier(**SMALL | {"max_iter": 2}), path, X[:200], y[:200], 1, **given)
    model = CNNClassifier(**SMALL | {"max_iter": 2}).set_callbacks(Checkpoint(path))
    for row in (0, 1, 101, 199, 201, 299):
        other = X.copy()
        other[row, 3, 3] += 1
        with pytest.raises(ValueError, match="fit to other data"):
            model.fit(other[:200], y[:200], **given | {"X_val": other[200:]})
    assert model.fit(X[:200], y[:200], **given).n_iter_ == 2


def test_other_classes_are_other_data(data, tmp_path):
    X, y = data
    names = np.array(["a", "b", "c"])
    path = tmp_path / "model"
    broken_off(CNNClassifier(**SMALL), path, X, names[y])
    before = path.read_bytes()
    model = CNNClassifier(**SMALL).set_callbacks(Checkpoint(path))
    for other in (np.array(["a", "b", "d"]), np.arange(3), np.array(["a", "b", "c"], dtype=object)):
        with pytest.raises(
            ValueError, match=r"fit to other data: its classes are \['a', 'b', 'c'\], and the classes of y are"
        ):
            model.fit(X, other[y])
        assert not hasattr(model, "classes_")
    assert path.read_bytes() == before
    wide = names.astype("<U9")  # the same words
    assert_same(model.fit(X, wide[y]), CNNClassifier(**SMALL).fit(X, names[y]), X)


def test_the_data_is_read_once_for_its_checksum_and_only_where_that_is_kept(data, monkeypatch, tmp_path):
    X, y = data
    taken, checksum = [], Data.checksum.func
    counted = cached_property(lambda data: taken.append(data) or checksum(data))
    counted.__set_name__(Data, "checksum")
    monkeypatch.setattr(Data, "checksum", counted)
    CNNClassifier(**SMALL).fit(X, y)
    assert not taken
    CNNClassifier(**SMALL, early_stopping=True).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, y)
    assert len(taken) == 2  # of what is learnt from, and of what it is validated on


def test_a_fit_that_has_diverged_does_not_go_on_from_its_checkpoint(data, tmp_path, monkeypatch):
    X, y = data
    epoch, died = Passes.epoch, []

    def diverging(self, number, report):
        tally = epoch(self, number, report)
        return tally if number < 2 else replace(tally, loss=np.nan)

    class Dying(Failing):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "epoch" and context.task_id == 2:
                died.append(fitted_estimator.n_iter_)
                raise RuntimeError("broken off")

    monkeypatch.setattr(Passes, "epoch", diverging)
    path, model = tmp_path / "model", CNNClassifier(**SMALL)
    with pytest.warns(ConvergenceWarning):
        expected = clone(model).fit(X, y)
    with pytest.warns(ConvergenceWarning), pytest.raises(RuntimeError, match="broken off"):
        clone(model).set_callbacks(Checkpoint(path), Dying(2)).fit(X, y)
    assert died == [2]
    monkeypatch.undo()
    assert_same(clone(model).set_callbacks(Checkpoint(path)).fit(X, y), expected, X)


def test_bad_use(data, tmp_path):
    X, y = data
    for every in (0, 1.5, True, "2"):
        with pytest.raises(ValueError, match=r"must be an integer of at least 1"):
            CNNClassifier(**SMALL).set_callbacks(Checkpoint(tmp_path / "model", every=every)).fit(X, y)
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        CNNClassifier(**SMALL).set_callbacks(Checkpoint(tmp_path / "none" / "model")).fit(X, y)
    (tmp_path / "text").write_text("not a model")
    with pytest.raises(ValueError, match="not a file that"):
        CNNClassifier(**SMALL).set_callbacks(Checkpoint(tmp_path / "text")).fit(X, y)
    assert (tmp_path / "text").read_text() == "not a model"
    with pytest.raises(TypeError, match="not of LogisticRegression"):
        Checkpoint(tmp_path / "model").setup(LogisticRegression(), None)
    assert eval(repr(Checkpoint("a", every=2))).every == 2


def test_a_place_that_cannot_be_written_is_an_error_before_the_training(data, tmp_path):
    X, y = data
    for path in (None, 3, b"model"):
        with pytest.raises(TypeError, match="must be the name of a file"):
            CNNClassifier(**SMALL).set_callbacks(Checkpoint(path)).fit(X, y)
        assert repr(path) in repr(Checkpoint(path))
    with pytest.raises(IsADirectoryError, match="is a directory: give the name of a file in it"):
        CNNClassifier(**SMALL).set_callbacks(Checkpoint(tmp_path)).fit(X, y)
    if Path("/proc/self").exists():  # nobody, root included, can make a file there
        with pytest.raises(OSError, match="nothing can be written to '/proc'"):
            CNNClassifier(**SMALL).set_callbacks(Checkpoint("/proc/model", every=100)).fit(X, y)


class Derived(CNNClassifier):
    pass


def test_what_cannot_be_saved_is_an_error_before_the_training(data, tmp_path):
    X, y = data
    with pytest.raises(TypeError, match="not of Derived"):
        Derived(**SMALL).set_callbacks(Checkpoint(tmp_path / "model", every=100)).fit(X, y)
    weights = {k: Fraction(1) for k in range(3)}
    with pytest.raises(TypeError, match="class_weight is a Fraction, which save cannot write"):
        CNNClassifier(**SMALL, class_weight=weights).set_callbacks(Checkpoint(tmp_path / "model")).fit(X, y)
    assert not (tmp_path / "model").exists()


def test_classes_that_are_none():
    for classes in (ReLU, "ReLU", ["ReLU"], [ReLU()], [int], 3):
        with pytest.raises(TypeError, match=r"classes must be a list of classes .* got "):
            Checkpoint("model", classes=classes)


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("inside", [False, True])
def test_a_search_is_refused(n_jobs, inside, data, tmp_path):
    X, y = data
    model = CNNClassifier(**SMALL, input_shape=(6, 6)).set_callbacks(Checkpoint(tmp_path / "model"))
    model = make_pipeline(StandardScaler(), model) if inside else model
    grid = {f"{'cnnclassifier__' * inside}alpha": [0.0, 0.1]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=n_jobs, error_score="raise")
    with pytest.raises(ValueError, match="is for one fit, but GridSearchCV runs many"):
        search.fit(X.reshape(len(X), -1), y)


def test_in_a_pipeline_that_routes_a_validation_set(data, tmp_path):
    X, y = data
    X = X.reshape(len(X), -1)

    def pipeline(*callbacks):
        model = CNNClassifier(**SMALL, input_shape=(6, 6), early_stopping=True).set_callbacks(*callbacks)
        model = model.set_fit_request(X_val=True, y_val=True)
        return Pipeline([("scale", StandardScaler()), ("cnn", model)], transform_input=["X_val"])

    checkpoint, given = Checkpoint(tmp_path / "model"), {"X_val": X[50:], "y_val": y[50:]}
    with config_context(enable_metadata_routing=True):
        expected = pipeline().fit(X[:50], y[:50], **given)
        with pytest.raises(RuntimeError, match="broken off"):
            pipeline(checkpoint, Failing(3)).fit(X[:50], y[:50], **given)
        again = pipeline(checkpoint).fit(X[:50], y[:50], **given)
    assert_same(again[-1], expected[-1], StandardScaler().fit_transform(X))


def test_damaged_checkpoints_are_refused(data, tmp_path):
    X, y = data
    path = tmp_path / "model"
    broken_off(CNNClassifier(**SMALL, early_stopping=True, average=0.5), path, X, y)
    whole = path.read_bytes()
    assert b'"done": 4' in whole
    damages = [
        (b'"done": 4', b'"done":""'),
        (b'"record": "Unfinished"', b'"record": "Monitor"   '),
        (b'"record": "Snapshot"', b'"record": "Scaling" '),
        (b'"best_score"', b'"best_scare"'),
        (b'"unchanged": 0', b'"unchanged":""'),
        (b'"lowest_loss"', b'"lowest_lass"'),
        (b'"steps": 1', b'"steps":-1'),
    ]
    for old, new in damages:
        assert len(old) == len(new)
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match=r"cannot be loaded|fit together"):
            read(path)


SCRIPT = """
import sys
import numpy as np
from skcnn import CNNClassifier
from skcnn.callbacks import Checkpoint
rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 12, 12)).astype(np.float32), rng.integers(0, 3, 400)
model = CNNClassifier((16,), max_iter=60, random_state=0).set_callbacks(Checkpoint(sys.argv[1]))
print("fitting", flush=True)
print(model.fit(X, y).predict_proba(X).tobytes().hex())
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_whole_file(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    path = tmp_path / "model"

    def start():
        command = [sys.executable, "-c", SCRIPT, str(path)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    done = []
    for _ in range(2):
        with start() as process:
            process.stdout.readline()
            before = path.stat().st_mtime_ns if path.exists() else None
            while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        done.append(skcnn.load(path).n_iter_)
    assert 1 <= done[0] < done[1] < 60  # the second went on from what the first had left
    with start() as process:
        process.stdout.readline()
        printed = process.stdout.read()
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 12, 12)).astype(np.float32), rng.integers(0, 3, 400)
    expected = CNNClassifier((16,), max_iter=60, random_state=0).fit(X, y)
    assert printed.strip() == expected.predict_proba(X).tobytes().hex()
