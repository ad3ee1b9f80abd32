"""Displays: what is drawn, read off the axes."""

import numpy as np
import pytest

from skcnn import CNNClassifier, CNNRegressor
from skcnn.features import activations
from skcnn.layers import Conv2D, Flatten, GlobalAvgPool2D, ReLU, Residual

plt = pytest.importorskip("matplotlib.pyplot")
display = pytest.importorskip("skcnn.display")


@pytest.fixture(autouse=True)
def headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 6, 6)), rng.integers(0, 3, 60)


@pytest.fixture(scope="module")
def fitted(data):
    X, y = data
    layers = [Conv2D(4), ReLU(), Conv2D(5), ReLU(), GlobalAvgPool2D()]
    return CNNClassifier(layers=layers, max_iter=3, random_state=0).fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])


def test_history(fitted, data):
    drawn = display.HistoryDisplay.from_estimator(fitted)
    loss, val_loss = drawn.ax_.get_lines()
    np.testing.assert_array_equal(loss.get_ydata(), fitted.history_["loss"])
    np.testing.assert_array_equal(val_loss.get_ydata(), fitted.history_["val_loss"])
    np.testing.assert_array_equal(drawn.score_ax_.get_lines()[0].get_ydata(), fitted.history_["val_score"])
    assert drawn.ax_.get_legend().get_texts()[2].get_text() == "validation accuracy"
    _, own = plt.subplots()
    X, y = data
    plain = CNNRegressor((2,), hidden_layer_sizes=(), max_iter=2).fit(X, y)
    drawn = display.HistoryDisplay.from_estimator(plain, ax=own)
    assert drawn.ax_ is own
    assert drawn.score_ax_ is None


def test_filters(fitted):
    drawn = display.FilterDisplay.from_estimator(fitted)
    kernel = fitted.parameters_["conv1.kernel"]
    assert len(drawn.axes_) == 4
    np.testing.assert_array_equal(drawn.axes_[2].get_images()[0].get_array(), kernel[:, :, 0, 2])
    assert "mean over channels" in display.FilterDisplay.from_estimator(fitted, "conv2").figure_.get_suptitle()
    with pytest.raises(ValueError, match="layer='relu1' is no convolution of the network: conv1, conv2"):
        display.FilterDisplay.from_estimator(fitted, "relu1")
    assert len(display.FilterDisplay(np.ones((3, 3, 3, 9)), is_colour=True).plot(max_filters=6).axes_) == 6


def test_filters_inside_of_a_residual_layer(data):
    layers = [Residual([Conv2D(3)]), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(*data)
    drawn = display.FilterDisplay.from_estimator(model, "residual1.conv1")
    kernel = model.parameters_["residual1.conv1.kernel"]
    np.testing.assert_array_equal(drawn.kernel, kernel)


def test_activations(fitted, data):
    image = data[0][7]
    drawn = display.ActivationDisplay.from_estimator(fitted, image, "relu2")
    maps = activations(fitted, image[None], "relu2")[0]
    assert len(drawn.axes_) == 6
    np.testing.assert_array_equal(drawn.axes_[0].get_images()[0].get_array(), image)
    np.testing.assert_array_equal(drawn.axes_[3].get_images()[0].get_array(), maps[..., 2])
    with pytest.raises(ValueError, match="flat output, 5 numbers"):
        display.ActivationDisplay.from_estimator(fitted, image, "globalavgpool1")


def test_misclassified_images_come_with_the_most_certain_errors_first(fitted, data):
    X, y = data
    wrong = fitted.predict(X) != y
    drawn = display.MisclassifiedDisplay.from_estimator(fitted, X, y, max_images=5)
    p = fitted.predict_proba(X).max(axis=1)
    assert list(drawn.probability) == sorted(p[wrong], reverse=True)
    first = np.flatnonzero(wrong)[p[wrong].argmax()]
    np.testing.assert_array_equal(drawn.axes_[0].get_images()[0].get_array(), X[first])
    assert drawn.axes_[0].get_title().startswith(f"{y[first]} taken for {fitted.predict(X)[first]}\n")
    assert f"{wrong.sum()} of 60 images misclassified, the 5 most certain" == drawn.figure_.get_suptitle()
    with pytest.raises(ValueError, match="All 60 images are classified correctly"):
        display.MisclassifiedDisplay.from_estimator(fitted, X, fitted.predict(X))


@pytest.mark.parametrize("classes", [2, 3])
def test_mean_of_the_evidence_is_the_raw_prediction(data, classes):
    X, y = data
    layers = [Conv2D(4), ReLU(), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, max_iter=2, random_state=0).fit(X, y % classes)
    raw, bias = model.decision_function(X[:1]).ravel(), model.parameters_["output.bias"]
    if classes == 2:
        raw, bias = np.array([-raw[0], raw[0]]), np.array([-bias[0], bias[0]])
    for label in range(classes):
        drawn = display.ClassActivationDisplay.from_estimator(model, X[0], label=label)
        assert drawn.evidence.mean() + bias[label] == pytest.approx(raw[label])
        assert drawn.ax_.get_title() == f"Where {label} is"


def test_class_activation_maps_need_a_mean_at_the_end(fitted, data):
    X, y = data
    with pytest.raises(ValueError, match=r"label=9 is not one of the classes \[0, 1, 2\]"):
        display.ClassActivationDisplay.from_estimator(fitted, X[0], label=9)
    flat = CNNClassifier(layers=[Conv2D(2), Flatten()], max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match=r"needs GlobalAvgPool2D\(\) as the last hidden layer"):
        display.ClassActivationDisplay.from_estimator(flat, X[0])
