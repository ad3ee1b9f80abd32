"""The summary of a network, fitted or not."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skcnn import CNNClassifier, CNNRegressor
from skcnn._estimators.summary import LayerSummary, Summary
from skcnn.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU


@pytest.fixture(scope="module")
def model():
    """A network on (12, 10, 2) with three classes, to be counted by hand."""
    layers = [
        Conv2D(8, kernel_size=(3, 5), padding="valid"),
        BatchNorm(),
        ReLU(),
        MaxPool2D(),
        Conv2D(6, strides=2, groups=2, use_bias=False),
        Dropout(0.1),
        Flatten(),
        Dense(300),
    ]
    X = np.random.default_rng(0).normal(size=(9, 12, 10, 2))
    return CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(X, np.arange(9) % 3)


# Name, shape of the output, parameters, multiply-adds.
BY_HAND = [
    ("input", "12 x 10 x 2", 0, 0),
    ("conv1", "10 x 6 x 8", 3 * 5 * 2 * 8 + 8, 10 * 6 * 8 * (3 * 5 * 2)),
    ("batchnorm1", "10 x 6 x 8", 8 + 8, 0),
    ("relu1", "10 x 6 x 8", 0, 0),
    ("maxpool1", "5 x 3 x 8", 0, 0),
    ("conv2", "3 x 2 x 6", 3 * 3 * 4 * 6, 3 * 2 * 6 * (3 * 3 * 4)),
    ("dropout1", "3 x 2 x 6", 0, 0),
    ("flatten1", "36", 0, 0),
    ("dense1", "300", 36 * 300 + 300, 36 * 300),
    ("output", "3", 300 * 3 + 3, 300 * 3),
]
PARAMETERS, MULTIPLY_ADDS = (sum(row[i] for row in BY_HAND) for i in (2, 3))


def cells(line):
    """Cells of a line of the table: they are two blanks apart."""
    return re.split(r" {2,}", line.strip())


def test_the_table_is_what_is_counted_by_hand(model):
    head, _, *rows, _, total = str(model.summary()).splitlines()
    assert cells(head) == ["name", "layer", "output shape", "parameters", "multiply-adds"]
    assert len(rows) == len(BY_HAND)
    for line, (name, shape, parameters, multiply_adds) in zip(rows, BY_HAND, strict=True):
        assert cells(line)[0] == name
        assert cells(line)[-3:] == [shape, f"{parameters:,}", f"{multiply_adds:,}"]
    assert cells(total) == ["total", f"{PARAMETERS:,}", f"{MULTIPLY_ADDS:,}"]


def test_the_table_shows_the_layers_as_they_are_written(model):
    rows = str(model.summary()).splitlines()[3:-3]
    assert [cells(row)[1] for row in rows] == [repr(layer) for layer in model.layers_]


def test_the_totals_are_those_of_the_model(model):
    assert model.n_parameters_ == PARAMETERS == sum(array.size for array in model.parameters_.values())
    layers = model.summary().layers
    assert sum(layer.parameters for layer in layers) == model.n_parameters_
    assert sum(layer.multiply_adds for layer in layers) == MULTIPLY_ADDS


def test_parameters_of_a_layer_are_those_that_bear_its_name(model):
    for layer in model.summary().layers:
        mine = [array.size for key, array in model.parameters_.items() if key.startswith(f"{layer.name}.")]
        assert layer.parameters == sum(mine)


class Table(HTMLParser):
    """The cells of an HTML table, row by row; every tag must be closed in its turn."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_the_html_form_is_the_same_table(model):
    summary = model.summary()
    head, *rows, total = Table(summary._repr_html_()).rows
    assert head == ["name", "layer", "output shape", "parameters", "multiply-adds"]
    assert [(row[0], *row[2:]) for row in rows] == [(n, s, f"{p:,}", f"{m:,}") for n, s, p, m in BY_HAND]
    assert [row[1] for row in rows[1:-1]] == [repr(layer) for layer in model.layers_]
    assert total == ["total", "", "", f"{PARAMETERS:,}", f"{MULTIPLY_ADDS:,}"]


def test_the_html_form_escapes_what_a_layer_says():
    said = "Mine('<b> & </b>')"
    html = Summary((LayerSummary("mine1", said, (1,), 0, 0),))._repr_html_()
    assert "<b>" not in html
    assert Table(html).rows[1][1] == said


def test_a_summary_prints_nothing_by_itself(model, capfd):
    summary = model.summary()
    assert capfd.readouterr() == ("", "")
    assert repr(summary) == str(summary)


@pytest.mark.parametrize("classes", [2, 10])
def test_the_summary_of_a_network_from_knobs(digits, classes):
    model = CNNClassifier(conv_filters=(4,), hidden_layer_sizes=(8,), max_iter=1).fit(digits[0], digits[1] % classes)
    outputs = 1 if classes == 2 else 10
    counted = 8 * 8 * 9 * 4 + 4 * 4 * 4 * 8 + 8 * outputs
    assert sum(layer.multiply_adds for layer in model.summary().layers) == counted
    assert f"{model.n_parameters_:,}" in str(model.summary()).splitlines()[-1]


# -- before fit


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
@pytest.mark.parametrize(
    "params", [{}, {"layers": [Conv2D(3), Flatten(), Dense(4)]}, {"conv_filters": 4, "batch_norm": True}]
)
def test_a_network_is_shown_before_it_is_fitted(estimator, params):
    X = np.random.default_rng(0).normal(size=(9, 12, 10, 2))
    model = estimator(input_shape=(12, 10, 2), max_iter=1, **params)
    before = {k: str(model.summary(n_outputs=k)) for k in (1, 2, 3)}
    assert not hasattr(model, "n_iter_")
    y = {1: np.arange(9) % 2, 3: np.arange(9) % 3 if estimator is CNNClassifier else np.ones((9, 3))}
    for k, target in y.items():
        assert str(model.fit(X, target).summary()) == before[k]
    assert str(model.summary(n_outputs=2)) == before[3]  # it uses its own number
    assert str(estimator(input_shape=[12, 10], **params).summary()).count("12 x 10 x 1") == 1


def test_a_network_that_cannot_be_shown_says_what_is_missing():
    with pytest.raises(
        NotFittedError, match=r"CNNRegressor is not fitted yet, and has no input_shape: call fit first, or"
    ):
        CNNRegressor().summary()
    with pytest.raises(ValueError, match=r"input_shape must be \(h, w\) or \(h, w, c\).*got \(28, 'a'\)"):
        CNNClassifier(input_shape=(28, "a")).summary()
    with pytest.raises(ValueError, match="n_outputs must be an int of 1 or more, got 0"):
        CNNClassifier(input_shape=(28, 28)).summary(n_outputs=0)
    with pytest.raises(ValueError, match=r"layers\[0\] = Dense\(4\) cannot take input"):
        CNNClassifier(input_shape=(28, 28), layers=[Dense(4)]).summary()
    with pytest.raises(ValueError, match="'kernel_size' parameter"):
        CNNClassifier(input_shape=(28, 28), kernel_size=0).summary()
