"""Displays: what is drawn, read off the axes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcnn import CNNClassifier, CNNRegressor
from skcnn.features import activations
from skcnn.images import ImageReader
from skcnn.layers import Conv2D, Flatten, GlobalAvgPool2D, ReLU, Residual, WhiteningConv2D
from skcnn.saliency import input_gradient

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

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
    score, val_score = drawn.score_ax_.get_lines()
    np.testing.assert_array_equal(score.get_ydata(), fitted.history_["score"])
    np.testing.assert_array_equal(val_score.get_ydata(), fitted.history_["val_score"])
    assert [(line.get_color(), line.get_linestyle()) for line in (loss, val_loss, score, val_score)] == [
        ("tab:blue", "-"), ("tab:orange", "-"), ("tab:blue", "--"), ("tab:orange", "--"),
    ]  # fmt: skip
    texts = [text.get_text() for text in drawn.figure_.legends[0].get_texts()]
    assert texts == ["training loss", "validation loss", "training accuracy", "validation accuracy"]
    _, own = plt.subplots()
    X, y = data
    plain = CNNRegressor((2,), hidden_layer_sizes=(), max_iter=2).fit(X, y)
    drawn = display.HistoryDisplay.from_estimator(plain, ax=own)
    assert drawn.ax_ is own
    assert drawn.score_ax_.get_ylabel() == "$R^2$"
    mixed = CNNRegressor((2,), hidden_layer_sizes=(), max_iter=2, augmentation="mixup").fit(X, y)
    assert display.HistoryDisplay.from_estimator(mixed).score_ax_ is None
    chosen = CNNClassifier((2,), max_iter=1, scoring="balanced_accuracy").fit(X, y)
    assert display.HistoryDisplay.from_estimator(chosen).score_ax_.get_ylabel() == "balanced_accuracy"


def test_filters(fitted):
    drawn = display.FilterDisplay.from_estimator(fitted)
    kernel = fitted.parameters_["conv1.kernel"]
    assert len(drawn.axes_) == 4
    np.testing.assert_array_equal(drawn.axes_[2].get_images()[0].get_array(), kernel[:, :, 0, 2])
    assert "mean over channels" in display.FilterDisplay.from_estimator(fitted, "conv2").figure_.get_suptitle()
    with pytest.raises(ValueError, match=r"layer='relu1' is not a convolution .* Its convolutions: conv1, conv2"):
        display.FilterDisplay.from_estimator(fitted, "relu1")
    assert len(display.FilterDisplay(np.ones((3, 3, 3, 9)), is_colour=True).plot(max_filters=6).axes_) == 6


def test_filters_inside_of_a_residual_layer(data):
    layers = [Residual([Conv2D(3)]), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(*data)
    drawn = display.FilterDisplay.from_estimator(model, "residual1.conv1")
    kernel = model.parameters_["residual1.conv1.kernel"]
    np.testing.assert_array_equal(drawn.kernel, kernel)


def test_filters_of_a_whitening_convolution(data):
    model = CNNClassifier(layers=[WhiteningConv2D(2), ReLU(), GlobalAvgPool2D()], max_iter=1, random_state=0).fit(*data)
    drawn = display.FilterDisplay.from_estimator(model)
    np.testing.assert_array_equal(drawn.kernel, model.state_["whiteningconv1.kernel"])
    assert len(drawn.axes_) == 8


def test_activations(fitted, data):
    image = data[0][7]
    drawn = display.ActivationDisplay.from_estimator(fitted, image, "relu2")
    maps = activations(fitted, image[None], "relu2")[0]
    assert len(drawn.axes_) == 6
    np.testing.assert_array_equal(drawn.axes_[0].get_images()[0].get_array(), image)
    np.testing.assert_array_equal(drawn.axes_[3].get_images()[0].get_array(), maps[..., 2])
    with pytest.raises(ValueError, match="flat output of 5 numbers"):
        display.ActivationDisplay.from_estimator(fitted, image, "globalavgpool1")


def test_misclassified_images_come_with_the_most_certain_errors_first(fitted, data):
    X, y = data
    wrong = fitted.predict(X) != y
    drawn = display.MisclassifiedDisplay.from_estimator(fitted, X, y, max_images=5)
    p = fitted.predict_proba(X).max(axis=1)
    assert list(drawn.probability) == sorted(p[wrong], reverse=True)
    first = np.flatnonzero(wrong)[p[wrong].argmax()]
    np.testing.assert_array_equal(drawn.axes_[0].get_images()[0].get_array(), X[first])
    assert drawn.axes_[0].get_title().startswith(f"{y[first]} predicted as {fitted.predict(X)[first]}\n")
    assert f"{wrong.sum()} of 60 images misclassified, the 5 most confident" == drawn.figure_.get_suptitle()
    with pytest.raises(ValueError, match="All 60 images are classified correctly"):
        display.MisclassifiedDisplay.from_estimator(fitted, X, fitted.predict(X))


def test_misclassified_images_come_with_the_names_of_their_files(fitted, data, tmp_path):
    X, y = data
    names = [f"folder/{i:03d}.png" for i in range(len(X))]
    drawn = display.MisclassifiedDisplay.from_estimator(fitted, X, y, filenames=names, max_images=3)
    p, wrong = fitted.predict_proba(X).max(axis=1), np.flatnonzero(fitted.predict(X) != y)
    expected = [names[i] for i in wrong[np.argsort(-p[wrong], kind="stable")]]
    assert drawn.filenames.tolist() == expected
    assert [axes.get_title().split("\n")[-1] for axes in drawn.axes_] == [name[7:] for name in expected[:3]]
    scaled = make_pipeline(StandardScaler(), clone(fitted).set_params(input_shape=(6, 6))).fit(X.reshape(60, -1), y)
    assert display.MisclassifiedDisplay.from_estimator(scaled, X.reshape(60, -1), 9 - y).filenames is None


def test_misclassified_files(tmp_path):
    image = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for number, path in enumerate(paths):
        image.new("RGB", (9, 7 + number), (40 * number % 256, 0, 0)).save(path)
    y = np.array(["a", "b"] * 4)
    model = make_pipeline(ImageReader(8), CNNClassifier((2,), max_iter=1, random_state=0)).fit(paths, y)
    drawn = display.MisclassifiedDisplay.from_estimator(model, paths, np.where(model.predict(paths) == "a", "b", "a"))
    assert sorted(drawn.filenames) == [str(path) for path in paths]
    assert drawn.images.shape == (8, 8, 8, 3)


def test_images_are_chosen_from_all_classes():
    X = np.arange(100)[:, None, None] + np.zeros((4, 5))
    y = np.array(["a"] * 90 + ["b"] * 2 + ["c"] * 8)
    drawn = display.ImagesDisplay.from_images(X, y, max_images=8, random_state=0)
    assert [axes.get_title() for axes in drawn.axes_] == ["a"] * 3 + ["b"] * 2 + ["c"] * 3
    shown = drawn.images[:, 0, 0, 0].astype(int)
    assert len(set(shown)) == 8
    assert (y[shown] == [axes.get_title() for axes in drawn.axes_]).all()
    assert drawn.figure_.get_suptitle() == "8 of 100 images"
    again = display.ImagesDisplay.from_images(X, y, max_images=8, random_state=0)
    np.testing.assert_array_equal(again.images, drawn.images)
    names = [f"photos/{i}.png" for i in range(100)]
    alone = display.ImagesDisplay.from_images(X, filenames=names, max_images=2, random_state=1)
    assert [axes.get_title() for axes in alone.axes_] == [f"{int(i)}.png" for i in alone.images[:, 0, 0, 0]]
    assert len(display.ImagesDisplay.from_images(X, np.stack([y == "a", y == "b"], 1)).axes_) == 24
    assert display.ImagesDisplay.from_images(X[:3]).figure_.get_suptitle() == "3 images"


def test_grids_of_what_are_no_images():
    for wrong in (np.zeros((3, 4)), np.zeros((0, 4, 4))):
        with pytest.raises(ValueError, match=r"X has shape .* Expected images"):
            display.ImagesDisplay.from_images(wrong)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        display.ImagesDisplay.from_images(np.zeros((3, 4, 4)), [0, 1])
    with pytest.raises(ValueError, match="max_images must be an int of 1 or more, got 0"):
        display.ImagesDisplay.from_images(np.zeros((3, 4, 4)), max_images=0)


def test_images_are_shown_as_they_are():
    def drawn(images):
        return [axes.get_images()[0] for axes in display.ImagesDisplay(images).plot().axes_]

    dark, bright = drawn(np.array([[[0, 100]], [[100, 200]]], np.uint8)[..., None])
    assert dark.get_cmap().name == "gray"
    assert dark.get_clim() == bright.get_clim() == (0, 200)  # the first image is darker than the second
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    np.testing.assert_array_equal(drawn(colours)[1].get_array(), colours[1, ..., :3])
    np.testing.assert_allclose(drawn(colours[..., :3] / 10.0)[0].get_array() * 255, colours[0, ..., :3], atol=8)


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
    with pytest.raises(ValueError, match=r"requires GlobalAvgPool2D\(\) as the last hidden layer"):
        display.ClassActivationDisplay.from_estimator(flat, X[0])


def test_saliency_is_the_largest_gradient_among_the_channels(data):
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8), np.array(["ash", "elm", "oak"])[rng.integers(0, 3, 30)]
    model = CNNClassifier((3,), max_iter=3, random_state=0).fit(X, y)
    drawn = display.SaliencyDisplay.from_estimator(model, X[:5], columns=3)
    expected = np.abs(input_gradient(model, X[:5])).max(axis=3)
    np.testing.assert_array_equal(drawn.saliency, expected)
    assert len(drawn.axes_) == 10
    for k, label in enumerate(model.predict(X[:5])):
        upper, lower = drawn.axes_[2 * k : 2 * k + 2]
        assert upper.get_title() == label
        np.testing.assert_array_equal(upper.get_images()[0].get_array(), X[k])
        np.testing.assert_array_equal(lower.get_images()[0].get_array(), expected[k])
        assert upper.get_position().y0 > lower.get_position().y1
        assert upper.get_position().x0 == pytest.approx(lower.get_position().x0)
    drawn = display.SaliencyDisplay.from_estimator(model, X[:2], target="oak", n_samples=2, random_state=0)
    expected = input_gradient(model, X[:2], "oak", n_samples=2, random_state=0)
    np.testing.assert_array_equal(drawn.saliency, np.abs(expected).max(axis=3))
    assert drawn.axes_[0].get_title() == drawn.axes_[2].get_title() == "oak"
    regressor = CNNRegressor((2,), max_iter=1, random_state=0).fit(*data)
    drawn = display.SaliencyDisplay.from_estimator(regressor, data[0][:1])
    assert drawn.ax_.get_title() == ""


def overlaps(texts):
    """Whether what is written in a figure runs into what stands beside it, or out of the figure."""
    figure = texts[0].get_figure()
    figure.draw_without_rendering()
    whole = figure.bbox
    found = [text.get_window_extent() for text in texts]
    outside = any(box.x0 < whole.x0 - 1 or box.x1 > whole.x1 + 1 or box.y1 > whole.y1 + 1 for box in found)
    return outside or any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])


@pytest.mark.slow
def test_long_names_of_classes_do_not_run_into_each_other():
    rng = np.random.default_rng(0)
    names = np.array(["black-throated blue warbler", "a class with a name that goes on and on", "tit"])
    X, y = rng.normal(size=(60, 6, 6)), names[rng.integers(0, 3, 60)]
    layers = [Conv2D(2), ReLU(), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(X, y)
    drawn = display.MisclassifiedDisplay.from_estimator(model, X, y)
    assert len(drawn.axes_) == 24
    assert not overlaps([axes.title for axes in drawn.axes_] + [drawn.figure_._suptitle])
    alone = display.MisclassifiedDisplay.from_estimator(model, X[:1], names[names != model.predict(X[:1])][:1])
    assert not overlaps([alone.ax_.title, alone.figure_._suptitle])
    drawn = display.SaliencyDisplay.from_estimator(model, X[:9], target=names[np.arange(9) % 3])
    assert not overlaps([axes.title for axes in drawn.axes_ if axes.get_title()] + [drawn.figure_._suptitle])
    drawn = display.ClassActivationDisplay.from_estimator(model, X[0], label=names[1])
    assert not overlaps([drawn.ax_.title])


def test_a_single_epoch_is_a_point(data):
    model = CNNRegressor((2,), max_iter=1, random_state=0).fit(*data)
    line = display.HistoryDisplay.from_estimator(model).ax_.get_lines()[0]
    assert line.get_marker() == "o"
    drawn = display.HistoryDisplay.from_estimator(model)
    drawn.figure_.draw_without_rendering()
    low, high = drawn.ax_.get_xlim()
    assert [tick for tick in drawn.ax_.get_xticks() if low <= tick <= high] == [1]


def test_titles_say_how_many_of_them_are_shown(fitted, data):
    drawn = display.ActivationDisplay.from_estimator(fitted, data[0][0], "relu2").plot(max_channels=3)
    assert drawn.figure_.get_suptitle() == "Image and activations of relu2, 3 of 5"
    drawn = display.FilterDisplay.from_estimator(fitted, "conv2").plot(max_filters=2)
    assert drawn.figure_.get_suptitle() == "Filters of conv2, mean over channels, 2 of 5"


def test_maps_of_a_layer_inside_of_another(data):
    layers = [Residual([Conv2D(3), ReLU()]), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, max_iter=1, random_state=0).fit(*data)
    drawn = display.ActivationDisplay.from_estimator(model, data[0][2], "residual1.relu1")
    np.testing.assert_array_equal(drawn.maps, activations(model, data[0][2:3], "residual1.relu1")[0])
    assert drawn.maps.min() == 0


@pytest.mark.parametrize("kind", ["History", "Filter", "Activation", "Misclassified", "ClassActivation", "Saliency"])
def test_what_is_no_fitted_network_is_refused(data, kind):
    X, y = data
    arguments = {"Activation": (X[0], "conv1"), "Misclassified": (X, y), "ClassActivation": (X[0],), "Saliency": (X,)}
    draw = getattr(display, f"{kind}Display").from_estimator
    wrong = [make_pipeline(CNNClassifier())] + [CNNRegressor()] * (kind in ("Misclassified", "ClassActivation"))
    for estimator in wrong:
        with pytest.raises(TypeError, match=r"must be a CNNClassifier.*, got .*pass its last step, pipeline\[-1\]"):
            draw(estimator, *arguments.get(kind, ()))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        draw(CNNClassifier(), *arguments.get(kind, ()))


def test_signals_are_drawn_with_a_height():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 1, 30)), rng.integers(0, 2, 40)
    model = CNNClassifier((2,), max_iter=1, random_state=0).fit(X, y)
    drawn = display.SaliencyDisplay.from_estimator(model, X[:3])
    maps = display.ActivationDisplay.from_estimator(model, X[0], "relu1")
    for axes in drawn.axes_ + maps.axes_:
        assert axes.get_position().height * axes.get_figure().get_figheight() > 0.5


def test_the_legend_lies_beside_the_lines(fitted):
    drawn = display.HistoryDisplay.from_estimator(fitted)
    drawn.ax_.set_title("a title of one's own")
    drawn.figure_.draw_without_rendering()
    assert drawn.figure_.legends[0].get_window_extent().y0 >= drawn.ax_.title.get_window_extent().y1
    _, own = plt.subplots()
    assert len(display.HistoryDisplay.from_estimator(fitted, ax=own).ax_.get_legend().get_texts()) == 4


def test_counts_that_are_none(fitted, data):
    X, y = data
    drawn = [
        (display.FilterDisplay.from_estimator(fitted), ["max_filters", "columns"]),
        (display.ActivationDisplay.from_estimator(fitted, X[0], "conv1"), ["max_channels", "columns"]),
        (display.MisclassifiedDisplay.from_estimator(fitted, X, y), ["max_images", "columns"]),
        (display.SaliencyDisplay.from_estimator(fitted, X[:2]), ["columns"]),
    ]
    for shown, names in drawn:
        for name in names:
            for value in (0, 1.5, "a"):
                with pytest.raises(ValueError, match=f"{name} must be an int of 1 or more, got {value!r}"):
                    shown.plot(**{name: value})


def test_images_that_are_not_one_or_have_no_class(fitted, data):
    X, y = data
    for image in (X[:1], X[:2], X[0, :3], X[0, 0, 0], None):
        with pytest.raises(
            ValueError, match=r"image has shape .* Expected one image, \(6, 6, 1\) or \(6, 6\) or \(36,\)"
        ):
            display.ActivationDisplay.from_estimator(fitted, image, "conv1")
        with pytest.raises(ValueError, match=r"for example X\[0\]"):
            display.ClassActivationDisplay.from_estimator(fitted, image)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        display.MisclassifiedDisplay.from_estimator(fitted, X, y[:3])
    with pytest.raises(ValueError, match=r"label=\[1, 2\] is not one of the classes"):
        display.ClassActivationDisplay.from_estimator(fitted, X[0], label=[1, 2])


def test_class_activation_of_the_likeliest_label(data):
    X, y = data
    layers = [Conv2D(4), ReLU(), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, max_iter=2, random_state=0).fit(X, np.stack([y > 0, y > 1], 1).astype(int))
    for image, raw in zip(X[:8], model.decision_function(X[:8]), strict=True):
        drawn = display.ClassActivationDisplay.from_estimator(model, image)
        expected = display.ClassActivationDisplay.from_estimator(model, image, label=raw.argmax())
        np.testing.assert_array_equal(drawn.evidence, expected.evidence)


def test_rows_of_a_table_keep_their_names(data):
    X, y = data
    table = pd.DataFrame(X.reshape(60, -1)).add_prefix("pixel")
    layers = [Conv2D(4), ReLU(), GlobalAvgPool2D()]
    model = CNNClassifier(layers=layers, input_shape=(6, 6), max_iter=1, random_state=0).fit(table, y)
    drawn = display.SaliencyDisplay.from_estimator(model, table[:2])  # a warning of lost names would be an error
    np.testing.assert_array_equal(drawn.images[..., 0], X[:2])
    for shown in (
        display.ActivationDisplay.from_estimator(model, table.iloc[0], "conv1"),
        display.ClassActivationDisplay.from_estimator(model, table.iloc[0]),
    ):
        np.testing.assert_array_equal(shown.image[..., 0], X[0])
