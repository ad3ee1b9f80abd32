"""The pages from which one learns: the network in plain NumPy equals the package, and its figures their numbers."""

import importlib
import re
from pathlib import Path

import cnn_in_numpy as plain
import learning
import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, Flatten, MaxPool2D, ReLU
from skcnn.optimizers import SGD
from skcnn.testing import run

DOCS = Path(__file__).parents[1] / "docs"
NAMES = {
    "W1": "conv1.kernel",
    "b1": "conv1.bias",
    "W2": "conv2.kernel",
    "b2": "conv2.bias",
    "W": "output.kernel",
    "b": "output.bias",
}


def weights(rng):
    """Initial weights, with random numbers in place of zeros."""
    return {name: w + rng.normal(0, 0.1, size=w.shape) for name, w in plain.initial_weights(rng).items()}


@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 2, 0), (1, 3, 0), (5, 2, 2)])
@pytest.mark.parametrize("way", ["loops", "product"])
def test_convolutions_equal_the_package(way, size, stride, padding):
    rng = np.random.default_rng(0)
    x, W, b = rng.normal(size=(2, 8, 7, 3)), rng.normal(size=(size, size, 3, 4)), rng.normal(size=4)
    forward, backward = {
        "loops": (plain.convolve_loops, plain.convolve_loops_backward),
        "product": (plain.convolve, plain.convolve_backward),
    }[way]
    y = forward(x, W, b, stride, padding)
    dy = rng.normal(size=y.shape)
    layer = Conv2D(4, size, strides=stride, padding=padding)
    found, dx, g = run(layer, x, {"kernel": W, "bias": b}, dy)
    np.testing.assert_allclose(y, found, atol=1e-12)
    for ours, theirs in zip(backward(x, W, dy, stride, padding), (dx, g["kernel"], g["bias"]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_pooling_equals_the_package_also_where_numbers_are_equal():
    rng = np.random.default_rng(0)
    x, dy = rng.integers(3, size=(2, 6, 8, 3)).astype(float), rng.normal(size=(2, 3, 4, 3))
    found, dx, _ = run(MaxPool2D(), x, {}, dy)
    y, winners = plain.pool(x)
    np.testing.assert_array_equal(y, found)
    np.testing.assert_array_equal(plain.pool_backward(winners, dy), dx)


def test_network_and_its_gradient_equal_the_package(digits):
    images, y = digits
    rng = np.random.default_rng(0)
    x, p = (images[..., None] - 4.9) / 6.0, weights(rng)
    layers = [Conv2D(8), ReLU(), MaxPool2D(), Conv2D(16), ReLU(), MaxPool2D(), Flatten()]
    classifier = CNNClassifier(
        layers=layers,
        optimizer=SGD(momentum=0.0, nesterov=False),
        learning_rate=1.0,  # so that a step is the gradient
        alpha=0.0,
        batch_size=len(x),
        max_iter=1,
        standardize=False,
        dtype="float64",
        random_state=0,
    )
    classifier.fit(x, y).set_weights({NAMES[name]: value for name, value in p.items()})
    scores, kept = plain.forward(p, x)
    np.testing.assert_allclose(classifier.decision_function(x), scores, atol=1e-12)
    loss, ds = plain.log_loss(scores, y)
    gradient = plain.backward(p, kept, ds)
    classifier.partial_fit(x, y)
    assert classifier.loss_ == pytest.approx(loss)
    assert gradient.keys() == NAMES.keys()
    for name, theirs in NAMES.items():
        step = p[name] - classifier.parameters_[theirs]
        assert np.abs(step).max() > 1e-3
        np.testing.assert_allclose(gradient[name], step, atol=1e-12)


def test_training_in_plain_numpy_learns(digits):
    images, y = digits
    rng = np.random.default_rng(0)
    x, p = (images[..., None] - 4.9) / 6.0, plain.initial_weights(rng)
    losses = plain.train(p, x, y, rng, epochs=12)
    assert losses[-1] < 0.2 < 1.5 < losses[0]
    assert np.mean(plain.forward(p, x)[0].argmax(axis=1) == y) > 0.95


def test_network_in_plain_numpy_is_short():
    code = re.sub(r'""".*?"""', "", Path(plain.__file__).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 120


def test_page_shows_all_of_the_file():
    shown = set(re.findall(r":pyobject: (\w+)", (DOCS / "learn" / "cnn_in_numpy.md").read_text(encoding="utf-8")))
    source = Path(plain.__file__).read_text(encoding="utf-8")
    assert shown == set(re.findall(r"^def (\w+)", source, flags=re.MULTILINE)) - {"main"}


@pytest.fixture
def figures(monkeypatch):
    """A script that draws figures, by its name."""
    monkeypatch.syspath_prepend(str(DOCS))
    return lambda name: importlib.import_module(f"figures_{name}")


def numbers(drawing):
    """The numbers in the squares of a drawing: a row for each matrix, in the order of the drawing."""
    parts = re.split(r'<text class="name"[^>]*>([^<]*)</text>', drawing)
    shown = [re.findall(r'<text x="[^"]*" y="[^"]*">([\d\N{MINUS SIGN}.]+)</text>', part) for part in parts[::2]]
    return {
        name: [float(n.replace("\N{MINUS SIGN}", "-")) for n in found]
        for name, found in zip(parts[1::2], shown, strict=False)
    }


def test_steps_by_hand_end_with_what_the_package_computes(figures):
    steps = figures("steps")
    image, kernel, upstream = steps.IMAGE, steps.KERNEL, steps.UPSTREAM
    layer = Conv2D(1, strides=steps.STRIDE, padding=steps.PADDING)
    p = {"kernel": kernel[:, :, None, None], "bias": np.array([steps.BIAS])}
    y, dx, g = run(layer, image[None, :, :, None], p, upstream[None, :, :, None])
    drawn = [numbers(drawing) for _, drawing in steps.steps()]
    assert len(drawn) == 8
    assert drawn[3]["output y"] == y.ravel().tolist()
    assert [len(step["output y"]) for step in drawn[:4]] == [1, 2, 3, 4]
    assert drawn[7]["dW so far"] == g["kernel"].ravel().tolist()
    padded = np.reshape(drawn[7]["dx so far"], (6, 6))
    np.testing.assert_array_equal(padded[1:-1, 1:-1], dx[0, :, :, 0])
    assert drawn[0]["image x, padded"] == np.pad(image, 1).ravel().tolist()


def test_stepper_is_as_it_would_be_drawn_and_needs_no_script_and_no_network(figures):
    steps = figures("steps")
    text = steps.PAGE.read_text(encoding="utf-8")
    assert text == steps.stepper()
    assert "<script" not in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}
    buttons, labels = re.findall(r'id="(\w+)"', text), re.findall(r'for="(\w+)"', text)
    assert len(set(buttons)) == len(buttons) == 8
    assert set(labels) == set(buttons)
    assert text.count("aria-label=") == 16  # of buttons and drawings
    for step, name in steps.PICTURES.items():
        assert (DOCS / "images" / name).read_text(encoding="utf-8") == steps.picture(step)


def test_figures_are_drawn_shown_and_described(figures):
    drawn = {f"learn_{name}.svg" for name in figures("learn").FIGURES} | set(figures("steps").PICTURES.values())
    files = {path.name: path.stat().st_size for path in (DOCS / "images").glob("learn_*")}
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "learn").glob("*.md"))
    shown = re.findall(r"!\[([^\]]{40,})\]\(\.\./images/(learn_\w+\.svg)\)", text)
    assert drawn == set(files) == {name for _, name in shown}
    assert max(files.values()) < 120_000


@pytest.mark.slow
def test_curves_hold_the_loss_of_each_epoch_and_seed(figures, tmp_path, capsys, monkeypatch):
    learn = figures("learn")
    quick = {"max_iter": 2, "layers": [Conv2D(2), ReLU(), MaxPool2D(4), Flatten()]}
    monkeypatch.setattr(learn, "SICK", {"labels": ("Labels", {"a": learn.Fit(quick), "b": learn.Fit(quick)})})
    learn.draw_curves("labels", tmp_path / "learn_labels.svg")
    assert (tmp_path / "learn_labels.svg").stat().st_size > 5000
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in lines] == ["a", "b"]
    assert lines[0].split(" | ")[2:] == lines[1].split(" | ")[2:]


@pytest.mark.slow
@pytest.mark.parametrize("group", learning.GROUPS)
def test_networks_of_the_rules_are_compared(group):
    names = list(learning.GROUPS[group].networks)
    found = {name: [learning.run(group, name, 0, epochs=1, data="synthetic")] for name in names[-2:]}
    head, _, *rows = learning.table(group, found).splitlines()
    assert head.startswith(f"| {group} |")
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == names[-2:]
    assert all(0 <= float(row.split(" | ")[1].split()[0]) <= 1 for row in rows)


@pytest.mark.slow
def test_plain_network_is_timed_beside_the_package():
    head, _, *rows = learning.speed(images=64, by_loops=32, repeats=1).splitlines()
    assert head == "| | seconds |"
    assert [row.split(" | ")[0] for row in rows] == [
        "| loops",
        "| matrix products",
        "| skcnn, float64",
        "| skcnn, float32",
    ]
