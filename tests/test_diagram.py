"""The layers in the HTML form of an estimator, and the link to its documentation."""

import re
from html import unescape

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr

import skcnn._estimators.diagram
import skcnn._estimators.validation
from skcnn import CNNClassifier, CNNFeatures, CNNRegressor
from skcnn.description import description
from skcnn.layers import Concatenate, Conv2D, Dense, Flatten, GlobalAvgPool2D, Layer, MaxPool2D, ReLU, Residual

LAYERS = [Conv2D(4), ReLU(), MaxPool2D(), Residual([Conv2D(4), ReLU()]), Residual([Conv2D(6)]), ReLU()]
LAYERS += [Concatenate([[Conv2D(2)], [], [Residual([Conv2D(6)])]]), Flatten(), Dense(5)]


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    return CNNClassifier(layers=LAYERS, max_iter=1, random_state=0).fit(rng.normal(size=(20, 6, 6)), np.arange(20) % 3)


def boxes(html):
    """(title, caption) of each box, from above."""
    pattern = r'<div><div>([^<]*)</div>(?:<div class="caption">([^<]*)</div>)?</div>'
    return [tuple(map(unescape, found)) for found in re.findall(pattern, html)]


def details(html):
    return [unescape(found) for found in re.findall(r"<pre>([^<]*)</pre>", html)]


CHAIN = [
    ("input", "6 x 6 x 1"),
    ("Conv2D(4)", "conv1, 6 x 6 x 4, 40 parameters"),
    ("ReLU()", "relu1, 6 x 6 x 4"),
    ("MaxPool2D()", "maxpool1, 3 x 3 x 4"),
    ("Residual (residual1, 3 x 3 x 4)", ""),
    ("Conv2D(4)", "residual1.conv1, 3 x 3 x 4, 148 parameters"),
    ("ReLU()", "residual1.relu1, 3 x 3 x 4"),
    ("identity", ""),
    ("Residual (residual2, 3 x 3 x 6)", ""),
    ("Conv2D(6)", "residual2.conv1, 3 x 3 x 6, 222 parameters"),
    ("Conv2D(6, kernel_size=1, use_bias=False)", "residual2.shortcut, 3 x 3 x 6, 24 parameters"),
    ("ReLU()", "relu2, 3 x 3 x 6"),
    ("Concatenate (concatenate1, 3 x 3 x 14)", ""),
    ("Conv2D(2)", "concatenate1.branch1.conv1, 3 x 3 x 2, 110 parameters"),
    ("identity", ""),
    ("Residual (concatenate1.branch3.residual1, 3 x 3 x 6)", ""),
    ("Conv2D(6)", "concatenate1.branch3.residual1.conv1, 3 x 3 x 6, 330 parameters"),
    ("identity", ""),
    ("Flatten()", "flatten1, 126"),
    ("Dense(5)", "dense1, 5, 635 parameters"),
    ("Dense(3)", "output, 3, 18 parameters"),
]


def test_layers_are_drawn_in_order_with_their_shapes_and_parameters(fitted):
    html = fitted._repr_html_()
    title, *chain = boxes(html)
    assert title[0] == "CNNClassifier"
    assert chain == CHAIN
    assert "multiply-adds  1,296" in next(found for found in details(html) if "conv1" in found)
    assert html.count('class="sk-parallel"') == 4


def test_they_are_drawn_inside_of_pipelines_and_of_features_too(fitted):
    X, y = np.zeros((20, 6, 6)), np.arange(20) % 3
    pipeline = make_pipeline(FunctionTransformer(), clone(fitted)).fit(X, y)
    features = CNNFeatures(FrozenEstimator(fitted)).fit(X)
    for html in (estimator_html_repr(pipeline), features._repr_html_()):
        drawn = boxes(html)
        start = drawn.index(CHAIN[0])
        assert drawn[start : start + len(CHAIN)] == CHAIN
        assert "CNNClassifier" in drawn[start - 1][0]


def test_what_is_not_fitted_is_a_plain_box(fitted):
    assert [title for title, _ in boxes(clone(fitted)._repr_html_())] == ["CNNClassifier"]
    assert [title for title, _ in boxes(CNNRegressor()._repr_html_())] == ["CNNRegressor"]
    unfitted = boxes(CNNFeatures(clone(fitted))._repr_html_())
    assert [title for title, _ in unfitted][:2] == ["CNNFeatures", "estimator: CNNClassifier"]
    assert ("input", "6 x 6 x 1") not in unfitted


def test_without_scikit_learns_blocks_it_is_a_plain_box(fitted, monkeypatch):
    def moved(*args, **names):
        raise ImportError("it has moved")

    monkeypatch.setattr(skcnn._estimators.diagram, "visual_block", moved)
    assert [title for title, _ in boxes(fitted._repr_html_())] == ["CNNClassifier"]


def test_a_deep_network_is_drawn_without_what_its_layers_hold():
    layers = [Residual([Conv2D(2), ReLU()]) for _ in range(20)]
    X = np.random.default_rng(0).normal(size=(6, 4, 4))
    model = CNNClassifier(layers=[*layers, GlobalAvgPool2D()], max_iter=1).fit(X, np.arange(6) % 2)
    _, *chain = boxes(model._repr_html_())
    assert len(chain) == 1 + 20 + 2
    assert chain[2] == ("Residual", "residual2, 4 x 4 x 2")


@description
class Hostile(Layer):
    """A layer that shows HTML."""

    said: str = "<b>&</b>"

    def record(self, tape, x, p, g):
        return x, lambda dy, needs_dx=True: dy


def test_what_a_layer_says_is_escaped():
    X = np.random.default_rng(0).normal(size=(6, 4, 4))
    model = CNNClassifier(layers=[Hostile(), Flatten()], max_iter=1).fit(X, np.arange(6) % 2)
    html = model._repr_html_()
    assert "<b>&" not in html
    assert boxes(html)[2][0] == repr(Hostile())


@pytest.mark.parametrize("estimator", [CNNClassifier(), CNNRegressor(), CNNFeatures(CNNClassifier())], ids=type)
def test_the_link_to_the_documentation_is_written_in_one_place(estimator, monkeypatch):
    def links(found):
        return re.findall(r'class="sk-estimator-doc-link[^"]*"[^>]*href="([^"]*)"', found._repr_html_())

    monkeypatch.setattr(skcnn._estimators.validation, "DOCUMENTATION", "")
    assert links(estimator) == []
    monkeypatch.setattr(skcnn._estimators.validation, "DOCUMENTATION", "https://address.invalid/{estimator_name}.html")
    assert f"https://address.invalid/{type(estimator).__name__}.html" in links(estimator)
    outside = type("Outside", (type(estimator),), {"__init__": type(estimator).__init__})
    assert not any("Outside" in link for link in links(outside(**estimator.get_params(deep=False))))
