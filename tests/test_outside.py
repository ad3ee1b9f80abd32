"""Classes that were written outside of the package work where those of the package do."""

import pickle
import threading

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skcnn import CNNClassifier
from skcnn._tape.parameters import Parameter
from skcnn._tape.tape import Batch, Tape
from skcnn.augmentation import Augmentation, Mixing, Mixture
from skcnn.description import description, is_real
from skcnn.initializers import Initializer
from skcnn.layers import Activation, Conv2D, Flatten, Layer, MaxPool2D
from skcnn.losses import Loss
from skcnn.optimizers import Optimizer
from skcnn.schedules import Schedule
from skcnn.testing import check_gradients, directional


def sum_over_images(x, out):
    """x (..., c) -> out (c,)."""
    np.sum(x, axis=tuple(range(x.ndim - 1)), out=out)


@description
class Bent(Layer):
    """y = x + a sin(x), with a learnt amount for each channel."""

    initial: float = 0.5

    stem = "bent"

    def parameters(self, shape):
        return {"amount": Parameter(shape[-1:], float(self.initial))}

    def record(self, tape, x, p, g):
        sine = tape(np.sin, x, tape.keep(x.shape))
        y = tape(np.multiply, sine, p.amount, tape.output(x.shape))
        tape(np.add, y, x, y)

        def backward(dy, needs_dx=True):
            slope = tape.scratch(x.shape)
            tape(np.multiply, sine, dy, slope)
            tape(sum_over_images, slope, g.amount)
            if needs_dx:
                tape(np.cos, x, slope)
                tape(np.multiply, slope, p.amount, slope)
                tape(np.add, slope, 1, slope)
                return tape(np.multiply, dy, slope, dy)

        return y, backward


@description
class Curve(Activation):
    """y = x / sqrt(1 + x^2)."""

    name = stem = "your_curve"  # behind all others in the lists of names that error messages are tested for

    def record(self, tape, x, p, g):
        root = tape(np.hypot, x, 1, tape.keep(x.shape))
        y = tape(np.divide, x, root, tape.output(x.shape))

        def backward(dy, needs_dx=True):
            for _ in range(3):
                tape(np.divide, dy, root, dy)
            return dy

        return y, backward


def distance(raw, target, power, values, gradient):
    """Sum over k of |p - t|^power, and its derivative."""
    z = raw.astype(np.float64)
    exclusive = target.ndim == 1
    p, t = (softmax(z, axis=1), np.eye(z.shape[1])[target]) if exclusive else (expit(z), target)
    away = np.abs(p - t)
    slope = power * away ** (power - 1) * np.sign(p - t)
    if exclusive:
        gradient[...] = p * (slope - np.sum(p * slope, axis=1, keepdims=True))
    else:
        gradient[...] = slope * p * (1 - p)
    np.sum(away**power, axis=1, out=values)


@description
class Distance(Loss):
    """How far the probabilities are from the truth."""

    power: float = 2.0

    has_probabilities = True

    def record(self, tape, raw, target):
        values, gradient = tape.scratch((len(raw),), np.float64), tape.scratch(raw.shape, np.float64)
        tape(distance, raw, target, self.power, values, gradient)
        return values, gradient

    def probabilities(self, raw, exclusive):
        return softmax(raw, axis=1) if exclusive else expit(raw)


@description
class Heavy(Optimizer):
    """Gradient descent with a heavy ball."""

    friction: float = 0.1

    slots = ("velocity",)

    def check(self):
        self._require("friction", is_real(self.friction, 0, 1), "a number from 0 to 1")

    def record(self, tape, w, g, slots, scalars):
        v = slots["velocity"]
        tape(np.multiply, v, 1 - self.friction, v)
        tape(np.multiply, g, scalars["step_size"], g)
        tape(np.subtract, v, g, v)
        tape(np.add, w, v, w)


@description
class Halving(Schedule):
    """Half of the rate after some epochs."""

    after: float = 2.0

    def factor(self, epoch, max_iter):
        return 1.0 if epoch < self.after else 0.5


@description
class Spread(Initializer):
    """Evenly spread numbers, shuffled."""

    def sample(self, rng, shape, fan_in, fan_out):
        return rng.permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape) * np.sqrt(3 / fan_in)


@description
class Roll(Augmentation):
    """Turn each image around as on a cylinder."""

    most: int = 1

    def augment(self, images, rng):
        steps = rng.integers(-self.most, self.most + 1, len(images))
        return np.stack([np.roll(image, step, axis=1) for image, step in zip(images, steps, strict=True)])


@description
class LeftAndRight(Mixing):
    """The left half of an image, the right half of another."""

    def mix(self, images, rng):
        partner, out, half = rng.permutation(len(images)), images.copy(), images.shape[2] // 2
        out[:, :, half:] = images[partner][:, :, half:]
        return out, Mixture(partner, np.full(len(images), half / images.shape[2]))


LAYERS = [Conv2D(8, kernel_initializer=Spread()), Bent(), MaxPool2D(), Curve(), Flatten()]


def outside(**params):
    given = {
        "layers": LAYERS, "loss": Distance(), "optimizer": Heavy(), "schedule": Halving(4), "learning_rate": 0.1,
        "augmentation": [Roll(), LeftAndRight()], "batch_size": 40, "max_iter": 2, "random_state": 0,
    }  # fmt: skip
    return CNNClassifier(**given | params)


# -- what they are


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 4, 18), (7,)])
@pytest.mark.parametrize("layer", [Bent(), Bent(0.1), Curve()], ids=repr)
def test_gradients_of_layers(layer, shape):
    check_gradients(layer, shape)


@pytest.mark.parametrize("target", [np.array([0, 2, 1]), np.array([[0, 1.0, 1], [1, 0, 0], [1, 1, 0]])], ids=["y", "Y"])
def test_gradients_of_the_loss(target):
    rng = np.random.default_rng(0)

    def record(raw):
        tape = Tape(np.float64, Batch(len(raw)), poison=True)
        with tape.step("loss"):
            recorded = Distance(2.5).record(tape, raw, target)
        tape.replay(0)
        return recorded

    raw, direction = rng.normal(size=(2, 3, 3))
    slope = directional(lambda z: record(z)[0].sum(), [raw], [direction])
    assert np.sum(record(raw)[1] * direction) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize(
    "it", [*LAYERS, Distance(3.0), Heavy(0.2), Halving(), Spread(), Roll(2), LeftAndRight()], ids=repr
)
def test_descriptions_are_values(it):
    again = eval(repr(it), globals())
    assert again == it
    assert hash(again) == hash(it)
    assert pickle.loads(pickle.dumps(it)) == it
    assert clone(it, safe=False) is it


# -- at work


@pytest.mark.slow
def test_they_learn(digits):
    X, y = digits
    params = {"augmentation": Roll(), "max_iter": 40}
    assert outside(**params).fit(X, y).score(X, y) > 0.9
    assert outside(**params, activation="your_curve", layers=None).fit(X, y).layers_[2] == Curve()


@pytest.mark.parametrize("kind", ["two classes", "labels", "classes"])
def test_every_kind_of_target(digits, kind):
    X, y = digits
    y = {"two classes": y % 2, "labels": np.stack([y % 2, y > 4], axis=1).astype(int), "classes": y}[kind]
    model = outside(max_iter=10).fit(X, y)
    assert model.loss_ < model.loss_curve_[0]
    assert model.predict(X).shape == y.shape


def test_a_clone_is_fitted_to_the_same_bits(digits):
    model = outside().fit(*digits)
    again = clone(model)
    assert again.get_params()["layers"] == LAYERS
    assert_array_equal(again.fit(*digits).predict_proba(digits[0]), model.predict_proba(digits[0]))


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_search_over_their_fields(digits, n_jobs):
    X, y = digits[0], digits[1] % 3
    grid = {
        "layers__bent1__initial": [0.0, 0.5],
        "optimizer__friction": [0.1, 0.5],
        "loss": ["log_loss", Distance(), Distance(3.0)],
        "augmentation__roll1__most": [2],
    }
    search = GridSearchCV(outside(), grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == 12
    assert len(set(scores)) > 1
    best = outside().set_params(**search.best_params_).fit(X, y)
    assert best.augmentation == [Roll(2), LeftAndRight()]
    assert_array_equal(search.predict_proba(X), best.predict_proba(X))


@pytest.mark.parametrize("how", ["pickle", "joblib", "memory map"])
def test_a_saved_model_predicts_the_same_and_goes_on(digits, how, tmp_path):
    X, y = digits
    model = outside().partial_fit(X, y, classes=np.arange(10))
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r" if how == "memory map" else None)
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert_array_equal(loaded.partial_fit(X, y).predict_proba(X), outside().fit(X, y).predict_proba(X))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("n_jobs", [2, 3])
def test_every_number_of_threads_gives_the_same_bits(digits, n_jobs):
    one, several = (outside(n_jobs=jobs).fit(*digits) for jobs in (1, n_jobs))
    assert_array_equal(several._model.weights, one._model.weights)
    assert_array_equal(several.predict_proba(digits[0]), one.predict_proba(digits[0]))


def test_eight_threads_at_once_fit_and_predict_what_one_does(digits):
    X, y = digits
    fitted = outside().fit(X, y)
    expected = fitted.predict_proba(X)
    answers = {}

    def work(number):
        own = clone(fitted).fit(X, y) if number % 2 else fitted
        answers[number] = [own.predict_proba(X) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    for answer in answers.values():
        for found in answer:
            assert_array_equal(found, expected)


def test_a_field_without_a_meaning_is_refused(digits):
    with pytest.raises(ValueError, match=r"Heavy\(2\): friction must be a number from 0 to 1, got 2"):
        outside(optimizer=Heavy(2)).fit(*digits)
