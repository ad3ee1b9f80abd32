"""The estimator where estimators are used: pipelines, searches, ensembles, and by its parameters' names."""

import itertools
import sys
import threading

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import skcnn.layers
from skcnn import CNNClassifier
from skcnn.augmentation import RandomFlip
from skcnn.initializers import He
from skcnn.layers import (
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    SeparableConv2D,
    Tanh,
)
from skcnn.losses import LogLoss
from skcnn.optimizers import SGD, Adam
from skcnn.schedules import Cosine, Step, Warmup

pytestmark = pytest.mark.slow


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | params
    )


def learning(**params):
    """A network that learns the few digits."""
    return small(**{"hidden_layer_sizes": (32,), "max_iter": 15, "learning_rate": 0.01, "batch_size": 16} | params)


@pytest.fixture(scope="module")
def rows(digits):
    images, y = digits
    return images.reshape(len(images), -1), y


LENET = [Conv2D(4), ReLU(), MaxPool2D(), Flatten(), Dense(16), ReLU()]
GLOBAL = (Conv2D(6), BatchNorm(), Tanh(), GlobalAvgPool2D())

# -- pipelines


def test_a_pipeline_is_its_steps_by_hand(rows):
    X, y = rows
    pipeline = make_pipeline(StandardScaler(), small()).fit(X, y)
    by_hand = StandardScaler().fit(X)
    fitted = small().fit(by_hand.transform(X), y)
    assert_array_equal(pipeline.predict_proba(X), fitted.predict_proba(by_hand.transform(X)))
    assert pipeline[:-1].get_feature_names_out().shape == (64,)
    assert pipeline.n_features_in_ == 64


def test_a_validation_set_is_transformed_by_the_steps_before(rows):
    X, y, X_val, y_val = rows[0][:80], rows[1][:80], rows[0][80:], rows[1][80:]
    with config_context(enable_metadata_routing=True):
        last = small().set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("cnn", last)], transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    scaler = StandardScaler().fit(X)
    by_hand = small().fit(scaler.transform(X), y, X_val=scaler.transform(X_val), y_val=y_val)
    assert_array_equal(pipeline["cnn"].history_["val_loss"], by_hand.history_["val_loss"])
    assert not np.isnan(by_hand.history_["val_loss"]).any()


def test_weights_are_routed_through_a_pipeline(rows):
    X, y = rows
    weights = np.random.default_rng(0).uniform(0, 2, len(X))
    with config_context(enable_metadata_routing=True):
        last = small().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), last)
        pipeline.fit(X, y, sample_weight=weights)
    by_hand = small().fit(StandardScaler().fit_transform(X), y, sample_weight=weights)
    assert_array_equal(pipeline[-1].predict_proba(X), by_hand.predict_proba(X))


@pytest.fixture
def hasty_threads():
    """Threads that take turns a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_a_fit_that_fails_does_not_disturb_predictions_in_other_threads(digits):
    X, y = digits
    model, done, errors = small().fit(X, y), threading.Event(), []
    expected = model.predict_proba(X[:2])

    def predicting():
        try:
            while not done.is_set():
                assert_array_equal(model.predict_proba(X[:2]), expected)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=predicting) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            model.fit(X, y[:-1])
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []


# -- searches


@pytest.mark.parametrize(
    "grid",
    [
        {"conv_filters": [(4,), (4, 8)], "dropout": [0.0, 0.2]},
        {"learning_rate": np.array([1e-3, 1e-2]), "batch_size": np.array([16, 32]), "kernel_size": [3, [(1, 3)]]},
        {"layers": [LENET, GLOBAL, None]},
        {"optimizer": ["adam", "sgd", SGD(momentum=0.5), Adam(beta_1=0.8)]},
        {"schedule": [Step(), Step(gamma=0.5)], "schedule__step_size": [1]},
        {"activation": ["relu", "tanh", LeakyReLU(0.2)], "batch_norm": [False, True]},
        {"optimizer__beta_1": [0.8, 0.9], "class_weight": [None, "balanced"]},
        {"optimizer": [SGD()], "optimizer__momentum": [0.5, 0.9], "optimizer__nesterov": [False]},
        {"layers": [LENET], "layers__conv1__filters": [2, 4], "layers__dense1": [Dense(8), Dense(12)]},
    ],
    ids=str,
)
def test_a_grid_search_finds_what_a_fit_of_each_point_gives(digits, grid):
    X, y = digits[0], digits[1] % 3
    search = GridSearchCV(small(), grid, cv=StratifiedKFold(2), scoring="neg_log_loss", error_score="raise").fit(X, y)
    train, test = next(StratifiedKFold(2).split(X, y))
    for point, score in zip(search.cv_results_["params"], search.cv_results_["split0_test_score"], strict=True):
        p = small().set_params(**point).fit(X[train], y[train]).predict_proba(X[test])
        assert_allclose(score, np.log(p[np.arange(len(test)), y[test]]).mean(), rtol=1e-9)
    assert len(set(search.cv_results_["split0_test_score"])) > 1, "the points are meant to differ"
    assert_array_equal(search.predict_proba(X), small().set_params(**search.best_params_).fit(X, y).predict_proba(X))


def test_a_search_in_two_processes_finds_the_same(digits):
    X, y = digits[0], digits[1] % 3
    grid = {"layers": [LENET, GLOBAL], "optimizer": ["adam", SGD(momentum=0.5)], "layers__conv1__filters": [2, 4]}
    serial, parallel = (GridSearchCV(small(), grid, cv=2, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    assert_array_equal(parallel.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"])
    assert parallel.best_params_ == serial.best_params_
    assert_array_equal(parallel.predict_proba(X), serial.predict_proba(X))


def test_a_search_through_a_pipeline_reaches_nested_names(rows):
    X, y = rows
    search = GridSearchCV(
        make_pipeline(StandardScaler(), small()),
        {"cnnclassifier__optimizer__beta_1": [0.5, 0.9], "cnnclassifier__hidden_layer_sizes": [(4,), (8, 8)]},
        cv=2,
    ).fit(X, y)
    assert search.best_estimator_[-1].get_params()["optimizer"] in (Adam(beta_1=0.5), Adam(beta_1=0.9))


def test_a_halving_search_gives_the_better_ones_more_epochs(digits):
    X, y = digits
    search = HalvingGridSearchCV(
        learning(), {"learning_rate": [0.0, 0.003, 0.01, 0.03]}, resource="max_iter", min_resources=3,
        max_resources=12, factor=2, cv=2, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert search.n_resources_ == [3, 6, 12]
    assert search.best_params_["max_iter"] == 12
    assert search.best_estimator_.n_iter_ == 12
    assert search.best_params_["learning_rate"] > 0


def test_a_halving_search_draws_candidates(digits):
    X, y = digits
    search = HalvingRandomSearchCV(
        learning(), {"learning_rate": loguniform(1e-4, 3e-2)}, n_candidates="exhaust", resource="max_iter",
        min_resources=3, max_resources=12, factor=2, cv=2, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert (search.n_candidates_, search.n_resources_) == ([4, 2, 1], [3, 6, 12])
    best = learning().set_params(**search.best_params_).fit(X, y)
    assert_array_equal(search.predict_proba(X), best.predict_proba(X))
    assert best.n_iter_ == 12


def test_cross_validation_is_fits_of_the_folds(digits):
    X, y = digits
    scores = cross_val_score(small(), X, y, cv=StratifiedKFold(3))
    by_hand = [small().fit(X[a], y[a]).score(X[b], y[b]) for a, b in StratifiedKFold(3).split(X, y)]
    assert_array_equal(scores, by_hand)


def test_cross_validation_takes_weights(digits):
    X, y = digits
    weights = np.random.default_rng(0).uniform(0, 2, len(X))
    found = cross_validate(small(), X, y, cv=2, params={"sample_weight": weights}, return_estimator=True)
    train = next(StratifiedKFold(2).split(X, y))[0]
    by_hand = small().fit(X[train], y[train], sample_weight=weights[train])
    assert_array_equal(found["estimator"][0].predict_proba(X), by_hand.predict_proba(X))


# -- ensembles and other meta-estimators


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(rows, method):
    X, y = rows[0], rows[1] % 2
    calibrated = CalibratedClassifierCV(learning(), method=method, cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_voting_is_the_mean_of_the_probabilities(rows):
    X, y = rows
    members = {"cnn": small(), "other": small(random_state=1), "linear": LogisticRegression(max_iter=2000)}
    voting = VotingClassifier(list(members.items()), voting="soft").fit(X, y)
    by_hand = np.mean([member.fit(X, y).predict_proba(X) for member in members.values()], axis=0)
    assert_allclose(voting.predict_proba(X), by_hand, rtol=1e-12)


def test_stacking_learns_from_cross_validated_probabilities(rows):
    X, y = rows[0], rows[1] % 3
    final = LogisticRegression()
    stacking = StackingClassifier([("cnn", small())], final_estimator=final, cv=2).fit(X, y)
    by_hand = clone(final).fit(cross_val_predict(small(), X, y, cv=2, method="predict_proba"), y)
    assert_allclose(stacking.predict_proba(X), by_hand.predict_proba(small().fit(X, y).predict_proba(X)), rtol=1e-6)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_bagging(rows, n_jobs):
    X, y = rows
    bagging = BaggingClassifier(learning(), n_estimators=3, random_state=0, n_jobs=n_jobs).fit(X, y)
    assert bagging.score(X, y) > 0.8
    assert len({member.parameters_["output.bias"].tobytes() for member in bagging.estimators_}) == 3


@pytest.mark.parametrize(
    "wrap",
    [
        lambda n_jobs: VotingClassifier([("a", small()), ("b", small(random_state=1))], voting="soft", n_jobs=n_jobs),
        lambda n_jobs: CalibratedClassifierCV(small(), cv=2, n_jobs=n_jobs),
        lambda n_jobs: StackingClassifier([("a", small())], final_estimator=small(max_iter=1), cv=2, n_jobs=n_jobs),
        lambda n_jobs: MultiOutputClassifier(small(), n_jobs=n_jobs),
        lambda n_jobs: OneVsOneClassifier(small(), n_jobs=n_jobs),
    ],
    ids=["voting", "calibrated", "stacking", "multi-output", "one-versus-one"],
)
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_two_workers_give_what_one_gives(rows, wrap, backend):
    X, y = rows[0], rows[1] % 3
    if isinstance(wrap(1), MultiOutputClassifier):
        y = np.stack([y, (rows[1] + 1) // 4], axis=1)
    with joblib.parallel_config(backend):
        found = wrap(2).fit(X, y)
    assert_array_equal(found.predict(X), wrap(1).fit(X, y).predict(X))
    method = "predict_proba" if hasattr(found, "predict_proba") else "decision_function"
    assert_array_equal(getattr(found, method)(X), getattr(wrap(1).fit(X, y), method)(X))


@pytest.mark.parametrize(
    "meta",
    [
        VotingClassifier([("a", small())]),
        CalibratedClassifierCV(small(), cv=2),
        OneVsRestClassifier(small()),
        StackingClassifier([("a", small())], final_estimator=small(max_iter=1), cv=2),
        GridSearchCV(small(), {"alpha": [0.0, 0.1]}, cv=2),
    ],
    ids=lambda meta: type(meta).__name__,
)
def test_images_go_through_as_their_rows_do(digits, rows, meta):
    y = digits[1] % 3
    from_images = clone(meta).fit(digits[0], y).predict(digits[0])
    assert_array_equal(from_images, clone(meta).fit(rows[0], y).predict(rows[0]))


def test_cross_validation_on_two_workers(digits):
    assert_array_equal(cross_val_score(small(), *digits, cv=3, n_jobs=2), cross_val_score(small(), *digits, cv=3))


def test_one_versus_rest_is_a_binary_fit_per_class(rows):
    X, y = rows[0], rows[1] % 3
    fitted = OneVsRestClassifier(small(), n_jobs=2).fit(X, y)
    raw = [small().fit(X, (y == k).astype(int)).decision_function(X) for k in range(3)]
    assert_allclose(fitted.decision_function(X), np.transpose(raw), rtol=1e-9)


def test_multi_output(rows):
    X, y = rows[0], np.stack([rows[1], rows[1] % 2], axis=1)
    fitted = MultiOutputClassifier(small()).fit(X, y)
    assert_array_equal(fitted.predict(X)[:, 0], small().fit(X, y[:, 0]).predict(X))


# -- parameters

PARAMS = [
    {},
    {"layers": LENET, "optimizer": SGD(momentum=0.8)},
    {"layers": GLOBAL, "schedule": Cosine(minimum=0.1), "loss": LogLoss(), "activation": LeakyReLU(0.3)},
    {"conv_filters": [3, 4], "kernel_size": [(1, 3), 5], "input_shape": (8, 8), "class_weight": {0: 2.0}},
]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_a_clone_has_the_same_parameters_and_no_more(digits, params):
    model = small(**params)
    copy = clone(model)
    assert copy.get_params(deep=False) == model.get_params(deep=False)
    assert repr(copy) == repr(model)
    fitted = model.fit(*digits)
    assert not hasattr(clone(fitted), "classes_")
    assert_array_equal(clone(fitted).fit(*digits).predict_proba(digits[0]), fitted.predict_proba(digits[0]))


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_every_parameter_can_be_set_to_what_it_is(params):
    model = small(**params)
    before = model.get_params()
    assert model.set_params(**before) is model
    assert model.get_params() == before
    for name, value in before.items():
        assert model.set_params(**{name: value}).get_params() == before


def test_parameters_are_stored_as_they_were_given():
    given = {"layers": LENET, "optimizer": "sgd", "conv_filters": np.array([3]), "dtype": "float16", "max_iter": -1}
    model = CNNClassifier(**given)
    assert all(getattr(model, name) is value for name, value in given.items())


def test_parameters_of_objects_have_names():
    names = small(layers=LENET, optimizer=SGD(momentum=0.8), schedule=Step(), activation=LeakyReLU()).get_params()
    assert names["optimizer__momentum"] == 0.8
    assert names["optimizer__nesterov"] is True
    assert names["schedule__step_size"] == 10
    assert names["activation__negative_slope"] == 0.01
    assert names["layers__conv1__filters"] == 4
    assert names["layers__dense1__units"] == 16
    assert not any("__" in name for name in small(layers=LENET, optimizer=SGD()).get_params(deep=False))


def test_names_of_layers_are_those_of_parameters_(digits):
    layers = [Conv2D(2), Conv2D(3), BatchNorm(), Flatten(), Dense(4), Dense(5), ReLU()]
    model = small(layers=layers).fit(*digits)
    named = {name.partition(".")[0] for name in model.parameters_} - {"output"}
    assert named == {"conv1", "conv2", "batchnorm1", "dense1", "dense2"}
    assert named <= {name.split("__")[1] for name in model.get_params() if name.startswith("layers__")}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("optimizer__momentum", 0.5, {"optimizer": SGD(momentum=0.5)}),
        ("layers__conv1__filters", 7, {"layers": [Conv2D(7), *LENET[1:]]}),
        (
            "layers__dense1__kernel_initializer",
            "glorot",
            {"layers": [*LENET[:4], Dense(16, kernel_initializer="glorot"), ReLU()]},
        ),
        ("layers__conv1", Conv2D(5, kernel_size=1), {"layers": [Conv2D(5, kernel_size=1), *LENET[1:]]}),
        ("layers__relu2", Tanh(), {"layers": [*LENET[:5], Tanh()]}),
        ("schedule__minimum", 0.5, {"schedule": Cosine(minimum=0.5)}),
        ("alpha", 0.5, {"alpha": 0.5}),
    ],
)
def test_setting_a_name_replaces_what_it_names_and_changes_nothing_that_is_shared(name, value, expected):
    optimizer, layers, schedule = SGD(momentum=0.9), list(LENET), Cosine()
    model, other = (small(optimizer=optimizer, layers=layers, schedule=schedule) for _ in range(2))
    before = other.get_params()
    assert model.set_params(**{name: value}) is model
    assert {key: getattr(model, key) for key in expected} == expected
    assert other.get_params() == before
    assert (optimizer, layers, schedule) == (SGD(momentum=0.9), LENET, Cosine())


def test_a_nested_name_works_on_a_name(digits):
    assert small(optimizer="adam").set_params(optimizer__beta_1=0.8).optimizer == Adam(beta_1=0.8)
    assert small(schedule="step").set_params(schedule__gamma=0.5).schedule == Step(gamma=0.5)
    by_name, by_object = small(optimizer="sgd", schedule="cosine"), small(optimizer=SGD(), schedule=Cosine())
    assert_array_equal(by_name.fit(*digits).predict_proba(digits[0]), by_object.fit(*digits).predict_proba(digits[0]))


def test_an_object_and_its_field_are_set_together_in_any_order():
    for params in ({"optimizer": "sgd", "optimizer__momentum": 0.5}, {"optimizer__momentum": 0.5, "optimizer": "sgd"}):
        assert small().set_params(**params).optimizer == SGD(momentum=0.5)
    for params in (
        {"layers__conv1": Conv2D(3, kernel_size=5), "layers__conv1__filters": 9},
        {"layers__conv1__filters": 9, "layers__conv1": Conv2D(3, kernel_size=5)},
    ):
        assert small(layers=LENET).set_params(**params).layers[0] == Conv2D(9, kernel_size=5)


@pytest.mark.parametrize(
    ("layers", "params", "expected"),
    [
        (
            [Conv2D(1), Conv2D(2), Conv2D(3), Flatten()],
            {"layers__conv1": SeparableConv2D(4), "layers__conv2__filters": 99},
            [SeparableConv2D(4), Conv2D(99), Conv2D(3), Flatten()],
        ),
        (
            (Residual([Conv2D(1), Conv2D(2), ReLU(), Conv2D(3)]), Flatten()),
            {"layers__residual1__conv1": SeparableConv2D(1), "layers__residual1__conv2__filters": 7},
            (Residual([SeparableConv2D(1), Conv2D(7), ReLU(), Conv2D(3)]), Flatten()),
        ),
        (
            [Residual([Conv2D(1)]), Residual([Conv2D(2)], shortcut=Conv2D(2))],
            {
                "layers__residual1": Conv2D(1),
                "layers__residual2__conv1": ReLU(),
                "layers__residual2__shortcut__filters": 3,
            },
            [Conv2D(1), Residual([ReLU()], shortcut=Conv2D(3))],
        ),
        (
            [Concatenate([[Conv2D(1), Conv2D(2)], [Conv2D(3)]]), Flatten()],
            {
                "layers__concatenate1__branch1__conv1": ReLU(),
                "layers__concatenate1__branch1__conv2__filters": 5,
                "layers__concatenate1__branch2__conv1__filters": 6,
            },
            [Concatenate([[ReLU(), Conv2D(5)], [Conv2D(6)]]), Flatten()],
        ),
        (
            [Residual([Conv2D(1)]), Flatten()],
            {"layers__residual1__layers": [ReLU(), Conv2D(4)], "layers__residual1__conv1__filters": 5},
            [Residual([ReLU(), Conv2D(5)]), Flatten()],
        ),
    ],
)
def test_names_of_layers_are_those_from_before_the_call(layers, params, expected):
    for order in itertools.permutations(params):
        model = small(layers=layers).set_params(**{name: params[name] for name in order})
        assert model.layers == expected, order


def test_names_of_augmentations_are_those_from_before_the_call():
    params = {"augmentation__random_flip1": "cutout", "augmentation__random_flip2__vertical": True}
    for order in itertools.permutations(params):
        model = small(augmentation=["random_flip", "random_flip"]).set_params(**{name: params[name] for name in order})
        assert model.augmentation == ["cutout", RandomFlip(vertical=True)]


def test_a_field_without_a_meaning_can_be_set_to_one_that_has():
    assert small(optimizer=SGD(momentum=3)).set_params(optimizer__momentum=0.5).optimizer == SGD(momentum=0.5)
    assert small(layers=[Conv2D(0)]).set_params(layers__conv1__filters=2).layers == [Conv2D(2)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"schedule": Warmup("cosine"), "schedule__schedule__minimum": 0.1}, Warmup(Cosine(minimum=0.1))),
        ({"layers": [Conv2D(3)], "layers__conv1__kernel_initializer__distribution": "uniform"},
         [Conv2D(3, kernel_initializer=He(distribution="uniform"))]),
    ],
    ids=["schedule", "initializer"],
)  # fmt: skip
def test_a_nested_name_works_on_a_name_inside_of_an_object(params, expected):
    assert getattr(small().set_params(**params), next(iter(params))) == expected


def test_a_subclass_may_have_parameters_of_its_own(digits):
    X, y = digits[0], digits[1] % 3
    model = Wide(2, scaler=StandardScaler(), random_state=0)
    assert model.get_params() == {
        "width": 2, "scaler": model.scaler, "scaler__copy": True, "scaler__with_mean": True, "scaler__with_std": True,
        "optimizer": "adam", "random_state": 0,
    }  # fmt: skip
    assert clone(model).set_params(width=3, optimizer__beta_1=0.8).get_params(deep=False)["optimizer"] == Adam(0.8)
    assert not clone(model).set_params(scaler__with_mean=False).scaler.with_mean
    with pytest.raises(ValueError, match="Invalid parameter 'layers' for estimator Wide"):
        model.set_params(layers__conv1__filters=3)
    search = GridSearchCV(model, {"width": [2, 3], "optimizer__beta_1": [0.8]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.parameters_["conv1.kernel"].shape[-1] == search.best_params_["width"]
    assert BaggingClassifier(model, n_estimators=2, random_state=0).fit(X.reshape(len(X), -1), y).estimators_
    assert "Wide" in model._repr_html_()
    assert "Wide" in model.fit(X, y)._repr_html_()


class Wide(CNNClassifier):
    """A subclass with fewer parameters, and some of its own."""

    def __init__(self, width=4, scaler=None, optimizer="adam", random_state=None):
        super().__init__(hidden_layer_sizes=(4,), max_iter=1, optimizer=optimizer, random_state=random_state)
        self.width = width
        self.scaler = scaler

    def fit(self, X, y, sample_weight=None):
        self.conv_filters = (self.width,)
        return super().fit(X, y, sample_weight)


def test_a_pipeline_of_parameters_reaches_layers():
    pipeline = make_pipeline(StandardScaler(), small(layers=LENET))
    pipeline.set_params(cnnclassifier__layers__conv1__filters=11)
    assert pipeline.get_params()["cnnclassifier__layers__conv1__filters"] == 11
    assert LENET[0] == Conv2D(4)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("conv_filters", np.array([3, 4])),
        ("conv_filters", np.int64(3)),
        ("hidden_layer_sizes", np.array([5])),
        ("hidden_layer_sizes", ()),
        ("kernel_size", np.int32(2)),
        ("dropout", np.float32(0.25)),
        ("dropout", [np.float32(0.25), 0]),
        ("learning_rate", np.float32(0.25)),
        ("alpha", 0),
        ("batch_size", np.int64(7)),
        ("batch_norm", np.True_),
        ("max_iter", np.int64(1)),
        ("verbose", False),
    ],
)
def test_knobs_take_numbers_of_numpy(digits, knob, value):
    model = small(**{knob: value}).fit(*digits)
    plain = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    assert_array_equal(model.predict_proba(digits[0]), small(**{knob: plain}).fit(*digits).predict_proba(digits[0]))
    assert "np." not in repr(model.layers_)


def test_the_layers_that_were_built_can_be_pasted_back(digits):
    model = small(conv_filters=(3, 4), batch_norm=True, dropout=0.1, activation="tanh").fit(*digits)
    pasted = eval(repr(model.layers_), vars(skcnn.layers))
    assert pasted == model.layers_
    again = small(layers=pasted).fit(*digits)
    assert_array_equal(again.predict_proba(digits[0]), model.predict_proba(digits[0]))


@pytest.mark.parametrize("fitted", [False, True])
def test_notebooks_show_the_estimator(digits, fitted):
    model = small(layers=LENET, optimizer=SGD(momentum=0.5))
    html = (model.fit(*digits) if fitted else model)._repr_html_()
    assert "CNNClassifier" in html
    assert "SGD(0.5)" in html
