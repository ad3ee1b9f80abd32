"""What `fit` and `partial_fit` learn, remember and say."""

import math
import pickle
import re
import threading
import warnings

import numpy as np
import pytest
from disturbances import InterruptedAt, JumpsAt
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted
from through import assert_same_model

from skcnn import CNNClassifier
from skcnn._engine.passes import LEAST, PAIR, SHARD, Work
from skcnn.description import description
from skcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from skcnn.losses import LogLoss
from skcnn.optimizers import SGD, Adam, RMSprop
from skcnn.schedules import Adaptive, Cosine, Schedule, Step, Warmup


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0} | params
    )


def copied(model):
    return {name: array.copy() for name, array in model.parameters_.items()}


@pytest.fixture(scope="module")
def split(digits):
    """80 digits to learn from and 40 to validate on."""
    X, y = digits
    return X[:80], y[:80], X[80:], y[80:]


# -- the same bits


VARIANTS = {
    "plain": {},
    "float32": {"dtype": "float32"},
    "dropout": {"dropout": 0.3},
    "batch norm": {"batch_norm": True},
    "sgd": {"optimizer": SGD(momentum=0.8), "learning_rate": 0.01},
    "plain sgd": {"optimizer": SGD(momentum=0, nesterov=False), "learning_rate": 0.01},
    "adam": {"optimizer": Adam(beta_1=0.5)},
    "amsgrad": {"optimizer": Adam(amsgrad=True)},
    "rmsprop": {"optimizer": RMSprop(centered=True, momentum=0.5)},
    "nadam": {"optimizer": "nadam"},
    "muon": {"optimizer": "muon", "learning_rate": 0.02},
    "average": {"average": 0.9},
    "clipped": {"clip_norm": 0.1},
    "adaptive": {"schedule": Adaptive(patience=0, tol=0.2)},
    "cosine": {"schedule": "cosine"},
    "steps": {"schedule": Step(step_size=2)},
    "in order": {"shuffle": False},
    "class weights": {"class_weight": {0: 2.0, 3: 0.5}},
    "everything": {
        "dropout": 0.3,
        "batch_norm": True,
        "schedule": Warmup(Cosine(minimum=0.1)),
        "optimizer": "adamw",
        "average": 0.5,
        "clip_norm": 0.5,
    },
}
variants = pytest.mark.parametrize("params", VARIANTS.values(), ids=VARIANTS)
CONSTANT = {
    name: params for name, params in VARIANTS.items() if params.get("schedule") in (None, Adaptive(patience=0, tol=0.2))
}


@variants
def test_a_fit_with_the_same_random_state_gives_the_same_bits(digits, params):
    X, y = digits
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    first = small(**params).fit(X, y)
    np.random.seed(2)  # noqa: NPY002
    assert_same_model(first, small(**params).fit(X, y))
    assert_same_model(first, first.fit(X, y))


def test_another_random_state_gives_another_model(digits):
    X, y = digits
    kernels = [small(random_state=seed).fit(X, y).parameters_["conv1.kernel"] for seed in (0, 1)]
    assert not np.array_equal(*kernels)


def test_a_random_state_object_goes_on_from_fit_to_fit(digits):
    X, y = digits
    fits = []
    for _ in range(2):
        rng = np.random.RandomState(3)
        fits.append([small(random_state=rng).fit(X, y) for _ in range(2)])
    assert_same_model(fits[0][0], fits[1][0])
    assert_same_model(fits[0][1], fits[1][1])
    assert not np.array_equal(fits[0][0].parameters_["conv1.kernel"], fits[0][1].parameters_["conv1.kernel"])


def test_fitting_with_a_seed_leaves_the_global_random_state_alone(digits):
    X, y = digits
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    small(dropout=0.5, early_stopping=True).fit(X, y % 2).predict(X)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.fixture(scope="module", params=[True, False], ids=["batch norm", "no barrier before the update"])
def many_shards(request):
    """A network and images of which a batch makes several shards."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (300, 28, 28), dtype=np.uint8), rng.integers(0, 3, 300)
    first = [Conv2D(12), *([BatchNorm()] if request.param else []), ReLU(), MaxPool2D(), Conv2D(16), ReLU()]
    layers = [*first, MaxPool2D(), Dropout(0.4), Flatten(), Dense(100), ReLU()]
    return CNNClassifier(layers=layers, batch_size=128, max_iter=2, random_state=0), X, y


@pytest.fixture(scope="module")
def one_thread(many_shards):
    model, X, y = many_shards
    return CNNClassifier(**model.get_params(deep=False)).set_params(n_jobs=1).fit(X, y)


@pytest.mark.parametrize("n_jobs", [2, 3, 4, None, -1])
def test_every_number_of_threads_gives_the_same_bits(many_shards, one_thread, n_jobs):
    model, X, y = many_shards
    fitted = CNNClassifier(**model.get_params(deep=False)).set_params(n_jobs=n_jobs).fit(X, y)
    assert_same_model(fitted, one_thread)
    assert_array_equal(fitted.predict_proba(X), one_thread.predict_proba(X))


def test_threads_were_really_at_work(many_shards, monkeypatch):
    """Or the test above would compare one thread with itself."""
    model, X, y = many_shards
    started = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread.name), start(thread))[1])
    CNNClassifier(**model.get_params(deep=False)).set_params(n_jobs=2, max_iter=1).fit(X, y)
    assert started


@pytest.mark.parametrize("processors", [1, 2, 3, 4, 6, 16, 64])
def test_shards_are_as_many_as_two_four_or_all_processors_can_share(processors):
    """Where the network is worth it."""
    counts = []
    for rows in range(1, 600):
        small, large = (
            Work(None, 6 * multiply_adds, 600, False, None, processors, (SHARD, PAIR, LEAST)).shards_of(rows)
            for multiply_adds in (2_400, 6_400_000)
        )
        assert small == 1
        assert large in (1, 2) or large % 4 == 0
        assert large == 1 or rows / large >= PAIR[0]
        assert rows / large < 2 * SHARD[0]
        counts.append(large)
    assert counts == sorted(counts)
    assert {1, 2, 4, 8} <= set(counts)
    assert counts[63] == {1: 2, 2: 2, 3: 4, 4: 4, 6: 4}.get(processors, 8)


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_epoch_has_an_order_of_its_own(shuffle):
    """Told from the weights: a logistic regression takes two steps per epoch, in one of two orders."""
    X, y = np.array([[0.3, -1.0], [0.8, 0.5]]), np.array([0, 1])
    sgd = SGD(momentum=0, nesterov=False)
    model = CNNClassifier(layers=[Flatten()], optimizer=sgd, learning_rate=0.5, alpha=0, batch_size=1, random_state=0)
    model.set_params(shuffle=shuffle, standardize=False, warm_start=True, max_iter=1)
    initial = clone(model).set_params(learning_rate=0).fit(X, y).parameters_
    w, b = initial["output.kernel"].ravel(), initial["output.bias"]
    orders = []
    for _ in range(10):
        now = model.fit(X, y).parameters_
        found = {order: _descended(w, b, X[list(order)], y[list(order)]) for order in ((0, 1), (1, 0))}
        fitting = [order for order, (kernel, _) in found.items() if np.allclose(kernel, now["output.kernel"].ravel())]
        assert len(fitting) == 1
        orders += fitting
        w, b = found[fitting[0]]
    assert set(orders) == ({(0, 1), (1, 0)} if shuffle else {(0, 1)})


def _descended(w, b, X, y):
    """Weights and bias after a step of 0.5 for each row."""
    for row, target in zip(X, y, strict=True):
        error = 1 / (1 + np.exp(-(row @ w + b))) - target
        w, b = w - 0.5 * error * row, b - 0.5 * error
    return w, b


def test_each_batch_drops_other_numbers(digits):
    fitted = small(dropout=0.5, shuffle=False, max_iter=1, warm_start=True).fit(*digits)
    fitted.set_params(learning_rate=0, max_iter=6).fit(*digits)
    assert len(set(fitted.loss_curve_[1:])) == 6
    same = small(learning_rate=0, shuffle=False, max_iter=6).fit(*digits)
    assert len(set(same.loss_curve_)) == 1


# -- going on


@variants
def test_three_partial_fits_are_a_fit_of_three_epochs(digits, params):
    X, y = digits
    whole = small(**params).fit(X, y)
    parts = small(**params)
    for _ in range(3):
        assert parts.partial_fit(X, y, classes=np.arange(10)) is parts
    assert_same_model(parts, whole)


@variants
def test_a_pickle_in_the_middle_of_partial_fit_goes_on_with_the_same_bits(digits, params):
    X, y = digits
    model = small(**params).partial_fit(X, y, classes=np.arange(10)).partial_fit(X, y)
    reloaded = pickle.loads(pickle.dumps(model))
    assert_same_model(reloaded.partial_fit(X, y), model.partial_fit(X, y))


@pytest.mark.parametrize("params", CONSTANT.values(), ids=CONSTANT)
def test_two_warm_starts_of_two_epochs_are_a_fit_of_four(digits, params):
    X, y = digits
    warm = small(warm_start=True, max_iter=2, **params)
    assert_same_model(warm.fit(X, y).fit(X, y), small(max_iter=4, **params).fit(X, y))


def test_a_pickle_between_warm_starts_goes_on_with_the_same_bits(digits):
    X, y = digits
    warm = small(warm_start=True).fit(X, y)
    assert_same_model(pickle.loads(pickle.dumps(warm)).fit(X, y), warm.fit(X, y))


def test_a_warm_start_begins_the_schedule_anew(digits):
    X, y = digits
    warm = small(warm_start=True, max_iter=2, schedule="cosine", learning_rate=0.1).fit(X, y).fit(X, y)
    assert_allclose(warm.history_["learning_rate"], [0.1, 0.05, 0.1, 0.05])


def test_fit_forgets_what_was_fitted(digits):
    X, y = digits
    used = small().fit(X[:50], y[:50]).partial_fit(X[:50], y[:50])
    assert_same_model(used.fit(X, y), small().fit(X, y))


def test_partial_fit_goes_on_after_fit_without_classes(digits):
    X, y = digits
    assert_same_model(small().fit(X, y).partial_fit(X, y), small(max_iter=4).fit(X, y))


def test_partial_fit_takes_chunks_with_some_of_the_classes(digits):
    X, y = digits
    model = small(max_iter=50)
    for _ in range(15):
        for digit in range(3):
            model.partial_fit(X[y == digit][:8], y[y == digit][:8], classes=[0, 1, 2])
    assert_array_equal(model.classes_, [0, 1, 2])
    assert model.predict_proba(X).shape == (120, 3)
    assert model.n_iter_ == 45


def test_partial_fit_takes_class_weights_of_classes_that_a_chunk_lacks(digits):
    X, y = digits
    by_class, by_row = small(class_weight={2: 3.0}, standardize=False), small(standardize=False)
    for chunk in (y < 3, y < 2, y > 1):
        by_class.partial_fit(X[chunk], y[chunk], classes=np.arange(10))
        by_row.partial_fit(X[chunk], y[chunk], np.arange(10), np.where(y[chunk] == 2, 3.0, 1.0))
    assert_same_model(by_class, by_row)


def test_weights_of_all_chunks_have_the_scale_of_the_first(digits):
    X, y = digits
    params = {"optimizer": SGD(momentum=0.0), "learning_rate": 0.01, "alpha": 0.0, "batch_norm": False}
    heavy, fast = (small(**params).partial_fit(X[:60], y[:60], classes=np.arange(10)) for _ in range(2))
    heavy.partial_fit(X[60:], y[60:], sample_weight=np.full(60, 3.0))
    fast.set_params(learning_rate=0.03).partial_fit(X[60:], y[60:])
    for name, array in heavy.parameters_.items():
        assert_allclose(array, fast.parameters_[name], rtol=1e-9, atol=1e-12, err_msg=name)


@description
class FailsAt(Schedule):
    """As a mistake in a user's own schedule."""

    epoch: float

    def factor(self, epoch, max_iter):
        if epoch >= self.epoch:
            raise RuntimeError("no factor")
        return 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_partial_fit_that_fails_in_the_middle_changes_nothing(digits, optimizer):
    X, y = digits
    params = {"optimizer": optimizer, "batch_norm": True, "batch_size": 16}
    model = small(schedule=FailsAt(1.5), **params).partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(RuntimeError, match="no factor"):
        model.partial_fit(X, y)
    model.set_params(schedule="constant").partial_fit(X, y)
    assert_same_model(model, small(max_iter=2, **params).fit(X, y))


# -- weights


def one_batch(**params):
    """A network whose steps see all rows, so that rows and weights can be compared."""
    return small(**{"batch_size": 1000, "shuffle": False, "learning_rate": 0.01, "max_iter": 10} | params)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_norm": False},
        {"batch_norm": False, "optimizer": "sgd"},
        {"alpha": 0.1},
        {"standardize": False},
        {"layers": [Conv2D(20), BatchNorm(), Flatten(), Dense(8), BatchNorm(scale=False), ReLU()]},
        {"layers": [Conv2D(4, use_bias=False), BatchNorm(offset=False), MaxPool2D(), ReLU(), Flatten()]},
    ],
)
@pytest.mark.parametrize("shards", [1, 3])
def test_a_weight_of_two_is_a_row_twice_and_a_weight_of_zero_is_no_row(digits, params, shards, monkeypatch):
    monkeypatch.setattr(Work, "shards_of", lambda work, rows: shards)
    X, y = digits[0], digits[1] % 3
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = one_batch(**params).fit(X, y, sample_weight=weights)
    repeated = one_batch(**params).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6)


@variants
def test_a_weight_of_zero_is_no_row_to_the_bit(digits, params):
    X, y = digits
    weights = (np.arange(len(X)) % 4 != 0).astype(float)
    weighted = small(**params).fit(X, y, sample_weight=weights)
    assert_same_model(weighted, small(**params).fit(X[weights > 0], y[weights > 0]))


def test_the_scale_of_the_weights_does_not_matter(digits):
    X, y = digits
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    fitted = small().fit(X, y, sample_weight=weights)
    assert_allclose(fitted.predict_proba(X), small().fit(X, y, 1e3 * weights).predict_proba(X), rtol=1e-9)


def test_classes_of_weight_zero_are_known(digits):
    X, y = digits
    fitted = small().fit(X, y, sample_weight=(y < 5).astype(float))
    assert_array_equal(fitted.classes_, np.arange(10))
    assert fitted.predict_proba(X).shape == (120, 10)


def test_class_weights_are_sample_weights(digits):
    X, y = digits
    by_class = small(class_weight={0: 2.0, 3: 0.5}, standardize=False).fit(X, y)
    by_row = small(standardize=False).fit(X, y, sample_weight=np.select([y == 0, y == 3], [2.0, 0.5], 1.0))
    assert_same_model(by_class, by_row)


def test_class_weights_leave_the_standardization_alone(digits):
    X, y = digits
    assert_allclose(small(class_weight={0: 50.0}, max_iter=1).fit(X, y).input_mean_, X.mean(), rtol=1e-12)


def test_class_weights_and_sample_weights_multiply(digits):
    X, y = digits
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    both = small(class_weight={0: 2.0}, standardize=False).fit(X, y, sample_weight=weights)
    product = small(standardize=False).fit(X, y, sample_weight=weights * np.where(y == 0, 2.0, 1.0))
    assert_same_model(both, product)


def test_balanced_class_weights_are_those_of_scikit_learn(digits):
    X, y = digits[0], np.minimum(digits[1], 2)
    balanced = small(class_weight="balanced").fit(X, y)
    weights = compute_class_weight("balanced", classes=np.arange(3), y=y)
    assert_same_model(balanced, small(class_weight=dict(enumerate(weights))).fit(X, y))


@pytest.mark.parametrize("labels", [False, True])
def test_balanced_class_weights_count_a_row_as_often_as_its_weight_says(digits, labels):
    X, y = digits[0], np.minimum(digits[1], 2)
    y = np.stack([y > 0, y > 1], axis=1).astype(int) if labels else y
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = one_batch(class_weight="balanced").fit(X, y, sample_weight=weights)
    repeated = one_batch(class_weight="balanced").fit(np.repeat(X, weights, axis=0), np.repeat(y, weights, axis=0))
    assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6)


def test_class_weights_of_labels_multiply(digits):
    X, y = digits[0], np.stack([digits[1] % 2, digits[1] > 5], axis=1).astype(int)
    by_label = small(class_weight=[{0: 1.0, 1: 2.0}, {0: 3.0, 1: 1.0}], standardize=False).fit(X, y)
    weights = np.where(y[:, 0] == 1, 2.0, 1.0) * np.where(y[:, 1] == 0, 3.0, 1.0)
    assert_same_model(by_label, small(standardize=False).fit(X, y, sample_weight=weights))


# -- targets


@pytest.mark.parametrize("names", [["no", "yes"], [False, True], [-1, 1], [3.0, 7.0]], ids=str)
def test_two_classes_have_one_output_and_any_names(digits, names):
    X, positive = digits[0], digits[1] > 4
    fitted = small(max_iter=30, hidden_layer_sizes=(32,), learning_rate=0.01).fit(
        X, np.array(names)[positive.astype(int)]
    )
    assert_array_equal(fitted.classes_, names)
    assert fitted.parameters_["output.kernel"].shape == (32, 1)
    odds, p = fitted.decision_function(X), fitted.predict_proba(X)
    assert odds.shape == (120,)
    assert p.shape == (120, 2)
    assert_allclose(odds, np.log(p[:, 1] / p[:, 0]), rtol=1e-6)
    assert_array_equal(fitted.predict(X), np.array(names)[(odds > 0).astype(int)])
    assert fitted.score(X, np.array(names)[positive.astype(int)]) > 0.95


@pytest.mark.parametrize("kind", [str, object, np.int8, float])
def test_classes_keep_their_dtype(digits, kind):
    X, y = digits[0], digits[1].astype(str).astype(kind)
    fitted = small(max_iter=1).fit(X, y)
    assert_array_equal(fitted.classes_, np.unique(y))
    assert fitted.predict(X).dtype == fitted.classes_.dtype == y.dtype


def test_classes_need_not_come_in_order_or_from_zero(digits):
    X, y = digits
    renamed = np.array([7, -3, 100, 5, 6, 55, 9, 0, 20, 1])[y]
    fitted, plain = small().fit(X, renamed), small().fit(X, np.unique(renamed, return_inverse=True)[1])
    assert_array_equal(fitted.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(fitted.predict(X), fitted.classes_[plain.predict(X)])


def test_the_more_probable_of_two_classes_is_predicted(digits):
    X, y = digits[0], digits[1] > 4
    undecided = small().fit(X, y)
    p = undecided.predict_proba(X)
    assert ((p > 0.4) & (p < 0.6)).any(), "some rows are meant to be undecided"
    assert_array_equal(undecided.predict(X), p[:, 1] > 0.5)


def test_more_classes_have_an_output_each_and_a_softmax(digits):
    X, y = digits
    fitted = small().fit(X, y)
    raw = fitted.decision_function(X)
    exponentials = np.exp(raw - raw.max(axis=1, keepdims=True))
    assert_allclose(fitted.predict_proba(X), exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-12)
    assert_array_equal(fitted.predict(X), raw.argmax(axis=1))
    assert_allclose(fitted.predict_log_proba(X), np.log(fitted.predict_proba(X)), rtol=1e-12)
    assert fitted.score(X, y) == accuracy_score(y, fitted.predict(X))


@pytest.mark.parametrize("name", [3, "only"])
def test_one_class_is_always_predicted(digits, name):
    X = digits[0]
    fitted = small().fit(X, np.full(len(X), name))
    assert_array_equal(fitted.predict(X), np.full(len(X), name))
    assert_array_equal(fitted.predict_proba(X), np.ones((len(X), 1)))


def test_labels_have_a_sigmoid_each(digits):
    X, y = digits[0], np.stack([digits[1] % 2, digits[1] > 4, digits[1] == 0], axis=1).astype(int)
    fitted = small(max_iter=40, hidden_layer_sizes=(32,), learning_rate=0.01).fit(X, y)
    assert_array_equal(fitted.classes_, [0, 1, 2])
    assert fitted.predict(X).dtype.kind == "i"
    assert fitted.score(X, y) > 0.9
    undecided = small().fit(X, y)
    raw = undecided.decision_function(X)
    assert_allclose(undecided.predict_proba(X), 1 / (1 + np.exp(-raw)), rtol=1e-12)
    assert_array_equal(undecided.predict(X), raw > 0)
    parts = small().partial_fit(X, y).partial_fit(X, y).partial_fit(X, y)
    assert_same_model(parts, small().fit(X, y))


def test_one_column_of_targets_warns_and_is_a_vector(digits):
    X, y = digits
    with pytest.warns(DataConversionWarning, match="column-vector"):
        fitted = small().fit(X, y[:, None])
    assert_same_model(fitted, small().fit(X, y))
    assert fitted.predict(X).shape == (120,)


# -- the loss, by hand


def penalty(model, alpha):
    return alpha / 2 * sum(np.sum(array**2) for name, array in model.parameters_.items() if name.endswith("kernel"))


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("batch_size", [16, 120, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_training_loss_is_the_mean_log_loss_and_the_penalty(digits, alpha, classes, batch_size, weighted):
    X, y = digits[0], digits[1] % classes
    weights = np.random.default_rng(0).uniform(0, 3, len(X)) if weighted else None
    fitted = small(alpha=alpha, batch_size=batch_size, learning_rate=0, max_iter=2).fit(X, y, sample_weight=weights)
    expected = log_loss(y, fitted.predict_proba(X), sample_weight=weights) + penalty(fitted, alpha)
    assert_allclose(fitted.loss_curve_, expected, rtol=1e-9)
    assert fitted.loss_ == fitted.loss_curve_[-1]


def test_the_training_loss_of_labels_is_the_mean_over_rows_of_the_sum_over_labels(digits):
    X, y = digits[0], np.stack([digits[1] % 2, digits[1] > 5], axis=1).astype(int)
    fitted = small(alpha=0, learning_rate=0).fit(X, y)
    p = fitted.predict_proba(X)
    assert_allclose(fitted.loss_, log_loss(y[:, 0], p[:, 0]) + log_loss(y[:, 1], p[:, 1]), rtol=1e-9)


def test_the_penalty_leaves_out_batch_norm(digits):
    X, y = digits
    heavy, light = (small(alpha=alpha, batch_norm=True, learning_rate=0).fit(X, y) for alpha in (0.5, 0))
    assert_allclose(heavy.loss_ - light.loss_, penalty(heavy, 0.5), rtol=1e-9)


def test_the_penalty_shrinks_kernels(digits):
    X, y = digits
    free, bound = (small(alpha=alpha, max_iter=20, learning_rate=0.01).fit(X, y) for alpha in (0, 0.5))
    assert penalty(bound, 1) < penalty(free, 1) / 2


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_learning_rate_of_zero_leaves_the_weights(digits, optimizer):
    X, y = digits
    model = small(learning_rate=0, optimizer=optimizer, batch_norm=True, warm_start=True).fit(X, y)
    before = copied(model)
    model.fit(X, y)
    for name, array in model.parameters_.items():
        assert_array_equal(array, before[name])


def test_one_step_of_gradient_descent_is_the_learning_rate_times_the_slope(digits):
    """Of a softmax regression on pixels, whose slopes are known: the mean of (p - y) x, and alpha w."""
    X, y = digits
    params = {"optimizer": SGD(momentum=0, nesterov=False), "batch_size": 1000, "max_iter": 1, "alpha": 0.1}
    before, after = (small(layers=[Flatten()], learning_rate=rate, **params).fit(X, y) for rate in (0, 0.5))
    step = {name: (array - after.parameters_[name]) / 0.5 for name, array in before.parameters_.items()}
    x = ((X - X.mean()) / X.std()).reshape(len(X), -1)
    error = before.predict_proba(X) - np.eye(10)[y]
    assert_allclose(step["output.bias"], error.mean(axis=0), rtol=1e-9, atol=1e-12)
    kernel = before.parameters_["output.kernel"]
    assert_allclose(step["output.kernel"], x.T @ error / len(x) + 0.1 * kernel, rtol=1e-9, atol=1e-12)


# -- what is measured


@pytest.mark.parametrize("validated", [False, True])
def test_history_has_an_entry_per_epoch(split, validated):
    X, y, X_val, y_val = split
    fitted = small(max_iter=4).fit(X, y, **({"X_val": X_val, "y_val": y_val} if validated else {}))
    assert list(fitted.history_) == ["loss", "score", "val_loss", "val_score", "learning_rate", "seconds"]
    assert all(len(values) == fitted.n_iter_ == 4 for values in fitted.history_.values())
    assert all(isinstance(value, float) for values in fitted.history_.values() for value in values)
    assert fitted.loss_curve_ == fitted.history_["loss"]
    assert fitted.loss_ == fitted.loss_curve_[-1]
    assert fitted.best_loss_ == min(fitted.loss_curve_)
    assert np.isnan(fitted.history_["val_loss"]).all() == (not validated)
    if validated:
        assert fitted.validation_scores_ == fitted.history_["val_score"]
        assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    else:
        assert fitted.validation_scores_ is None
        assert fitted.best_validation_score_ is None


def test_history_has_the_learning_rate_of_each_epoch(digits):
    fitted = small(learning_rate=0.01, schedule=Step(step_size=2, gamma=0.1), max_iter=5).fit(*digits)
    assert_allclose(fitted.history_["learning_rate"], [0.01, 0.01, 0.001, 0.001, 0.0001])


def test_validation_is_measured_on_the_validation_set(split):
    X, y, X_val, y_val = split
    weights = np.random.default_rng(0).uniform(0, 2, len(X_val))
    fitted = small(learning_rate=0).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weights)
    assert_allclose(fitted.history_["val_score"], fitted.score(X_val, y_val, sample_weight=weights), rtol=1e-12)
    expected = log_loss(y_val, fitted.predict_proba(X_val), sample_weight=weights, labels=np.arange(10))
    assert_allclose(fitted.history_["val_loss"], expected, rtol=1e-9)


@pytest.mark.parametrize("verbose", [1, True])
def test_verbose_prints_a_line_per_epoch(split, capsys, verbose):
    X, y, X_val, y_val = split
    fitted = small(verbose=verbose, max_iter=11).fit(X, y, X_val=X_val, y_val=y_val)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    for epoch, line in enumerate(lines):
        for said in (f"{epoch + 1}/11", f"{fitted.loss_curve_[epoch]:.4f}", f"{fitted.validation_scores_[epoch]:.4f}"):
            assert said in line
        assert len(line) < 100


def test_nothing_is_printed_unless_asked_for(split, capfd):
    X, y, X_val, y_val = split
    small().fit(X, y, X_val=X_val, y_val=y_val).score(X_val, y_val)
    assert capfd.readouterr() == ("", "")


def test_reaching_max_iter_warns_of_nothing(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert small(max_iter=1).fit(*digits).n_iter_ == 1


# -- the end of training


@pytest.mark.parametrize("n_iter_no_change", [1, 4])
def test_training_that_no_longer_improves_ends_as_that_of_mlp_classifier(digits, n_iter_no_change):
    X, y = digits
    ours = small(learning_rate=0, n_iter_no_change=n_iter_no_change, max_iter=100).fit(X, y)
    mlp = MLPClassifier((4,), learning_rate_init=1e-300, n_iter_no_change=n_iter_no_change, max_iter=100)
    assert ours.n_iter_ == mlp.fit(X.reshape(len(X), -1), y).n_iter_ < 100


@pytest.mark.parametrize("tol", [0.0, 0.02, 0.2])
def test_training_ends_when_the_loss_has_not_improved_by_tol(digits, tol):
    fitted = small(tol=tol, n_iter_no_change=3, max_iter=60, learning_rate=0.01).fit(*digits)
    best, unchanged, end = math.inf, 0, 60
    for epoch, loss in enumerate(fitted.loss_curve_, 1):  # as the documentation of MLPClassifier says it
        unchanged = unchanged + 1 if loss > best - tol else 0
        best = min(best, loss)
        if unchanged > 3:
            end = epoch
            break
    assert fitted.n_iter_ == end


def test_a_validation_set_alone_does_not_stop_early(split):
    X, y, X_val, y_val = split
    fitted = small(learning_rate=0, n_iter_no_change=1, max_iter=8).fit(X, y, X_val=X_val, y_val=y_val)
    assert fitted.n_iter_ == 8


def test_early_stopping_stops_when_the_validation_score_does_not_improve(split):
    X, y, X_val, y_val = split
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 50, "tol": 0.01}
    fitted = small(**params).fit(X, y, X_val=X_val, y_val=y_val)
    best, unchanged = -math.inf, 0
    for score in fitted.validation_scores_:
        assert unchanged <= 2
        unchanged = unchanged + 1 if score < best + 0.01 else 0
        best = max(best, score)
    assert unchanged == 3 or fitted.n_iter_ == 50


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_best_epoch_is_brought_back(split, batch_norm, early_stopping):
    X, y, X_val, y_val = split
    params = {"learning_rate": 0.01, "batch_size": 8, "batch_norm": batch_norm, "schedule": JumpsAt(5, 1e5)}
    params["hidden_layer_sizes"] = (32,)
    fitted = small(max_iter=8, early_stopping=early_stopping, **params)
    with pytest.warns(ConvergenceWarning, match="best validation score is kept"):
        fitted.fit(X, y, X_val=X_val, y_val=y_val)
    best = int(np.argmax(fitted.validation_scores_)) + 1
    assert best <= 5 < fitted.n_iter_, "the learning rate is meant to ruin the last epochs"
    again = small(max_iter=best, **params).fit(X, y)
    for name, array in fitted.parameters_.items():
        assert_array_equal(array, again.parameters_[name])
    assert_array_equal(fitted.predict_proba(X_val), again.predict_proba(X_val))
    assert fitted.score(X_val, y_val) == fitted.best_validation_score_


def test_of_several_best_epochs_that_of_the_lowest_loss_is_brought_back(split):
    X, y, X_val, y_val = split
    params = {"hidden_layer_sizes": (32,), "learning_rate": 0.01, "batch_size": 16}
    fitted = small(max_iter=10, **params).fit(X, y, X_val=X_val[:4], y_val=y_val[:4])
    scores, losses = fitted.validation_scores_, fitted.history_["val_loss"]
    best = [epoch for epoch in range(10) if scores[epoch] == fitted.best_validation_score_]
    assert len(best) > 1, "four rows are meant to make ties"
    lowest = min(best, key=lambda epoch: losses[epoch])
    assert lowest != best[0], "the first is not meant to be the best by chance"
    again = small(max_iter=lowest + 1, **params).fit(X, y)
    assert_array_equal(fitted.decision_function(X), again.decision_function(X))


def test_the_best_score_is_that_of_the_model_after_a_warm_start_too(split):
    X, y, X_val, y_val = split
    model = small(warm_start=True, max_iter=5, learning_rate=0.01, hidden_layer_sizes=(32,), batch_size=8)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    with pytest.warns(ConvergenceWarning, match="best validation score is kept"):
        model.set_params(learning_rate=1e3, max_iter=1).fit(X, y, X_val=X_val, y_val=y_val)
    assert model.validation_scores_[-1] < max(model.validation_scores_), "the second fit is meant to ruin the model"
    assert model.score(X_val, y_val) == model.best_validation_score_


@pytest.mark.parametrize("how", ["partial_fit", "fit"])
def test_a_model_that_was_trained_on_without_a_validation_set_has_no_best_score(split, how):
    X, y, X_val, y_val = split
    model = small(warm_start=True, max_iter=2).fit(X, y, X_val=X_val, y_val=y_val)
    getattr(model, how)(X, y)
    assert model.best_validation_score_ is None
    np.testing.assert_array_equal(np.isnan(model.validation_scores_), [False] * 2 + [True] * (model.n_iter_ - 2))
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.best_validation_score_ == model.score(X_val, y_val)


@description
class Watched(LogLoss):
    """Notes the targets of whatever is validated on."""

    seen: list | None = None

    def record(self, tape, raw, target):
        if not tape.training:
            self.seen.append(np.array(target).ravel() if target.shape[-1] == 1 else np.array(target))
        return super().record(tape, raw, target)


@pytest.mark.parametrize("classes", [2, 3])
def test_early_stopping_sets_rows_aside_by_class(digits, classes):
    X, y = digits[0], np.repeat(range(classes), [90, 30] if classes == 2 else [60, 45, 15])
    seen = []
    small(early_stopping=True, validation_fraction=1 / 3, loss=Watched(seen=seen), max_iter=1).fit(X, y)
    assert_array_equal(np.bincount(seen[0].astype(int)), np.bincount(y) // 3)


def test_early_stopping_sets_the_same_rows_aside_in_every_fit(digits):
    X, y = digits[0], digits[1] % 2
    assert_same_model(*[small(early_stopping=True).fit(X, y) for _ in range(2)])


@pytest.mark.parametrize("class_weight", [None, [{0: 1.0, 1: 3.0}] * 7])
def test_early_stopping_is_a_fit_of_some_rows_that_validates_on_the_others(digits, class_weight):
    """Row numbers are written as seven labels, so that the rows that were set aside can be told."""
    X, y = digits[0], np.arange(120)[:, None] >> np.arange(7) & 1
    weights = np.random.default_rng(0).uniform(0.5, 2, 120)
    seen = []
    params = {"class_weight": class_weight, "max_iter": 3}
    stopping = small(early_stopping=True, validation_fraction=0.25, loss=Watched(seen=seen), warm_start=True, **params)
    stopping.fit(X, y, sample_weight=weights)
    seen = [targets for targets in seen if len(targets) == 30]  # the others are trained on
    aside = np.sort((seen[0].astype(int) << np.arange(7)).sum(axis=1))
    assert len(aside) == 30
    rest = np.setdiff1d(np.arange(120), aside)
    validation = {"X_val": X[aside], "y_val": y[aside], "sample_weight_val": weights[aside]}
    by_hand = small(**params).fit(X[rest], y[rest], sample_weight=weights[rest], **validation)
    assert_same_model(stopping, by_hand)
    stopping.fit(X, y, sample_weight=weights)
    assert_array_equal(
        [targets for targets in stopping.loss.seen if len(targets) == 30][-1], seen[0]
    )  # a warm start has the same rows aside: none of them is learnt from


@pytest.mark.parametrize("classes", ["one row of a class", "more classes than rows to set aside"])
def test_early_stopping_that_cannot_stratify_warns_and_goes_on(digits, classes):
    X = digits[0]
    y = np.where(np.arange(120) == 7, 1, 0) if classes == "one row of a class" else np.arange(120) // 4
    with pytest.warns(UserWarning, match="not stratified"):
        first = small(early_stopping=True).fit(X, y)
    with pytest.warns(UserWarning, match="not stratified"):
        assert_same_model(first, small(early_stopping=True).fit(X, y))


def test_early_stopping_with_labels_sets_aside_without_a_warning(digits):
    X, y = digits[0], np.stack([digits[1] % 2, digits[1] > 4], axis=1).astype(int)
    assert len(small(early_stopping=True).fit(X, y).validation_scores_) == 3


# -- interruption and divergence


@description
class InterruptedValidation(LogLoss):
    """As Ctrl-C while the validation set of 40 rows is measured."""

    def record(self, tape, raw, target):
        if len(raw) == 40:
            raise KeyboardInterrupt
        return super().record(tape, raw, target)


def test_an_interrupted_fit_keeps_what_was_learnt(digits):
    X, y = digits
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(schedule=InterruptedAt(2.0), max_iter=50).fit(X, y)
    assert_same_model(model, small(max_iter=2).fit(X, y))
    assert_array_equal(model.predict_proba(X), small(max_iter=2).fit(X, y).predict_proba(X))


def test_a_fit_interrupted_while_an_epoch_is_noted_has_whole_entries(digits, monkeypatch):
    calls = iter(range(100))

    def clock():
        if next(calls) == 3:  # at the end of the second epoch, when all is noted but how long it took
            raise KeyboardInterrupt
        return 0.0

    monkeypatch.setattr("skcnn._engine.training.time.perf_counter", clock)
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(max_iter=5).fit(*digits)
    assert model.n_iter_ == 1
    assert {len(values) for values in model.history_.values()} == {1}


@pytest.mark.parametrize("moment", [0.0, 0.6, 1.5])
def test_a_fit_interrupted_within_an_epoch_can_be_used_and_trained_on(digits, moment):
    X, y = digits
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(schedule=InterruptedAt(moment), warm_start=True, batch_size=16).fit(X, y)
    assert model.n_iter_ == int(moment)
    assert all(len(values) == model.n_iter_ for values in model.history_.values())
    assert np.isfinite(model.predict_proba(X)).all()
    model.set_params(schedule="constant").fit(X, y)
    assert model.n_iter_ == int(moment) + 3


def test_an_interrupted_fit_leaves_no_thread_behind(many_shards):
    model, X, y = many_shards
    before = threading.enumerate()
    interrupted = CNNClassifier(**model.get_params(deep=False)).set_params(n_jobs=4, schedule=InterruptedAt(0.5))
    with pytest.warns(UserWarning, match="interrupted"):
        interrupted.fit(X, y)
    assert threading.enumerate() == before
    assert np.isfinite(interrupted.predict_proba(X[:5])).all()


def test_a_validation_that_is_interrupted_leaves_a_whole_history(split):
    X, y, X_val, y_val = split
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(loss=InterruptedValidation()).fit(X, y, X_val=X_val, y_val=y_val)
    assert {len(values) for values in model.history_.values()} == {model.n_iter_}


@pytest.mark.parametrize("params", [{"learning_rate": 1e200}, {"learning_rate": 1e30, "dtype": "float32"}])
def test_a_loss_that_diverges_in_the_first_epoch_is_an_error(digits, params):
    X, y = digits
    model = small(batch_size=16, optimizer="sgd", **params)
    rate = re.escape(f"{params['learning_rate']:g}")
    with pytest.raises(ValueError, match=f"epoch 1 .*learning_rate={rate} .*smaller learning_rate"):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_a_loss_that_diverges_in_the_first_epoch_leaves_a_fitted_model_as_it_was(digits):
    X, y = digits
    model = small(optimizer="sgd").fit(X, y)
    expected = model.predict_proba(X)
    with pytest.raises(ValueError, match="smaller learning_rate"):
        model.set_params(learning_rate=1e200).fit(X[:, :4], y)
    assert_array_equal(model.predict_proba(X), expected)
    assert model.n_features_in_ == 64


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_loss_that_diverges_later_warns_and_keeps_the_best_epoch(digits, batch_norm):
    X, y = digits
    params = {"optimizer": "sgd", "batch_size": 16, "batch_norm": batch_norm}
    with pytest.warns(ConvergenceWarning, match=r"epoch 3 .*learning_rate=0\.001\b.*best epoch is kept"):
        model = small(schedule=JumpsAt(2), max_iter=9, **params).fit(X, y)
    assert_same_model(model, small(max_iter=2, **params).fit(X, y))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("how", ["warm start", "partial_fit"])
def test_training_goes_on_from_the_best_epoch_with_a_smaller_learning_rate(digits, optimizer, how):
    X, y = digits
    model = small(schedule=JumpsAt(2), warm_start=True, optimizer=optimizer, batch_size=16)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    model.set_params(schedule="constant")
    model.fit(X, y) if how == "warm start" else model.partial_fit(X, y)
    assert model.n_iter_ == (5 if how == "warm start" else 3)
    assert model.loss_ < model.loss_curve_[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_optimizer_forgets_what_diverged(digits, optimizer):
    """As it does in a pickle of a model that was only fitted."""
    X, y = digits
    params = {"optimizer": optimizer, "batch_size": 16}
    model = small(schedule=JumpsAt(2), **params)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    reloaded = pickle.loads(pickle.dumps(small(max_iter=2, **params).fit(X, y)))
    assert_same_model(model.set_params(schedule="constant").partial_fit(X, y), reloaded.partial_fit(X, y))


def test_a_partial_fit_that_diverges_warns_and_keeps_the_model(digits):
    X, y = digits
    model = small(optimizer="sgd", batch_size=16).partial_fit(X, y, classes=np.arange(10))
    expected = model.predict_proba(X)
    with pytest.warns(ConvergenceWarning, match="epoch 2 "):
        model.set_params(learning_rate=1e200).partial_fit(X, y)
    assert_array_equal(model.predict_proba(X), expected)
    assert model.n_iter_ == 1


@pytest.mark.parametrize(
    ("params", "y", "features", "said"),
    [
        ({"schedule": InterruptedAt(1)}, np.arange(120) % 3, 64, "interrupted"),
        ({"schedule": JumpsAt(1), "batch_size": 16}, np.arange(120) % 3, 64, "best epoch"),
        ({"early_stopping": True}, np.arange(120) // 119, 64, "not stratified"),
        ({}, np.arange(120) % 3, 192, "RGB images flattened"),
    ],
)
def test_a_warning_names_the_line_that_called_fit(params, y, features, said):
    X = np.random.default_rng(0).normal(size=(120, features))
    with pytest.warns(UserWarning, match=said) as caught:
        small(**params).fit(X, y)
    assert [warning.filename for warning in caught] == [__file__]
