"""A kernel that is computed from the training images, and the hook of layers for it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skcnn._engine.adapting as adapting
from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine.data import ADAPT, stream
from skcnn.description import description
from skcnn.features import activations
from skcnn.layers import (
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    MaxPool2D,
    Parameter,
    ReLU,
    Residual,
    WhiteningConv2D,
    by_channel,
)
from skcnn.testing import check_gradients

NAME = "whiteningconv1.kernel"
LAYERS = [WhiteningConv2D(2, padding="valid"), ReLU(), GlobalAvgPool2D()]
RNG = np.random.default_rng(0)
# Neighbouring pixels are correlated, as in photos, so that the eigenvalues differ clearly.
SMOOTH = RNG.normal(size=(60, 10, 9, 3)).cumsum(axis=1).cumsum(axis=2)
X = np.clip(SMOOTH * 6 + 128, 0, 255).astype(np.uint8)
Y = np.arange(60) % 3


def network(layers=LAYERS, **params):
    return CNNClassifier(layers=layers, **{"max_iter": 1, "batch_size": 20, "random_state": 0} | params)


def standardized(images):
    return (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))


def patches_of(images, size, dilation=(1, 1)):
    """All windows, one after the other: (number, kh * kw * c)."""
    (kh, kw), (dh, dw) = size, dilation
    n, h, w, _ = images.shape
    found = [
        images[image, row : row + dh * kh : dh, column : column + dw * kw : dw].ravel()
        for image in range(n)
        for row in range(h - dh * (kh - 1))
        for column in range(w - dw * (kw - 1))
    ]
    return np.array(found)


def expected_kernel(images, size, epsilon=5e-4, dilation=(1, 1)):
    """The formula by the singular value decomposition of the patches, with signs as in the docstring."""
    patches = patches_of(images, size, dilation)
    _, singular, vectors = np.linalg.svd(patches, full_matrices=False)
    rows = [v * np.sign(v[np.abs(v).argmax()]) / np.sqrt(s**2 / len(patches) + epsilon)
            for v, s in zip(vectors, singular, strict=True)]  # fmt: skip
    kernel = np.array([*rows, *(-row for row in rows)])
    return kernel.reshape(-1, *size, images.shape[3]).transpose(1, 2, 3, 0)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (WhiteningConv2D(2, padding="valid"), (2, 2)),
        (WhiteningConv2D((1, 3), strides=2, epsilon=0.1), (1, 3)),
        (WhiteningConv2D((3, 2), dilation=(2, 1), use_bias=False), (3, 2)),
    ],
    ids=repr,
)
def test_kernel_is_that_of_the_formula(layer, size):
    fitted = network([layer, *LAYERS[1:]], dtype="float64").fit(X, Y)
    dilation = (2, 1) if layer.dilation == (2, 1) else (1, 1)
    expected = expected_kernel(standardized(X), size, layer.epsilon, dilation)
    np.testing.assert_allclose(fitted.state_[NAME], expected, rtol=1e-6, atol=1e-8)


def test_kernel_is_that_of_pytorch():
    """The steps of the published code: unfold, eigh, both signs."""
    torch = pytest.importorskip("torch")
    images = torch.tensor(standardized(X)).permute(0, 3, 1, 2)
    patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 4, 5, 1).reshape(-1, 12)
    squares, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    theirs = (vectors / torch.sqrt(squares + 5e-4)).numpy()[:, ::-1]
    kernel = network(dtype="float64").fit(X, Y).state_[NAME].reshape(12, 24)
    np.testing.assert_allclose(np.abs(kernel[:, :12]), np.abs(theirs), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(kernel[:, 12:], -kernel[:, :12])


def test_outputs_are_white():
    layers = [WhiteningConv2D(2, padding="valid", epsilon=1e-12, use_bias=False), *LAYERS[1:]]
    fitted = network(layers, dtype="float64").fit(X, Y)
    y = activations(fitted, X, "whiteningconv1").reshape(-1, 24)[:, :12]
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(12), atol=1e-8)


def test_the_bias_is_trained_and_the_kernel_is_not():
    fitted = network(max_iter=3, learning_rate=0.1).fit(X, Y)
    start = network(max_iter=1, learning_rate=0.0).fit(X, Y)
    np.testing.assert_array_equal(fitted.state_[NAME], start.state_[NAME])
    assert not start.parameters_["whiteningconv1.bias"].any()
    assert fitted.parameters_["whiteningconv1.bias"].any()
    assert NAME not in fitted.parameters_


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">f4", np.float32, np.float64])
def test_images_of_any_dtype_give_the_same_kernel(dtype):
    fitted = network(dtype="float64").fit(X.astype(dtype), Y)
    np.testing.assert_allclose(fitted.state_[NAME], network(dtype="float64").fit(X, Y).state_[NAME], rtol=1e-9)


def test_boolean_images_and_rows_of_pixels():
    images = X[..., 0] > 128
    flat = network(dtype="float64", input_shape=(10, 9)).fit(images.reshape(60, -1), Y)
    expected = expected_kernel(standardized(images[..., None].astype(float)), (2, 2))
    np.testing.assert_allclose(flat.state_[NAME], expected, rtol=1e-6, atol=1e-8)


def test_without_standardization_the_images_themselves_are_whitened():
    fitted = network(standardize=False, dtype="float64").fit(X / 255, Y)
    np.testing.assert_allclose(fitted.state_[NAME], expected_kernel(X / 255, (2, 2)), rtol=1e-6, atol=1e-8)


def test_a_sample_of_many_images_is_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(adapting, "IMAGES", 20)
    kernels = []
    for seed in (0, 1):
        fitted = network(random_state=seed, dtype="float64").fit(X, Y)
        rows = stream(fitted._progress.seed, ADAPT).permutation(60)[:20]
        kernels.append(fitted.state_[NAME])
        np.testing.assert_allclose(kernels[-1], expected_kernel(standardized(X)[rows], (2, 2)), rtol=1e-6, atol=1e-8)
    assert not np.allclose(*kernels)


def test_chunks_add_up(monkeypatch):
    whole = network(dtype="float64").fit(X, Y).state_[NAME]
    monkeypatch.setattr(adapting, "CHUNK", 3 * X[0].size + 1)
    np.testing.assert_allclose(network(dtype="float64").fit(X, Y).state_[NAME], whole, rtol=1e-9, atol=1e-12)


def test_only_training_images_count():
    weights = (np.arange(60) < 40).astype(float)
    spoiled = np.where(weights[:, None, None, None] > 0, X, RNG.integers(0, 256, X.shape)).astype(np.uint8)
    for images in (X, spoiled):
        kernel = network(dtype="float64").fit(images, Y, sample_weight=weights).state_[NAME]
        np.testing.assert_allclose(kernel, expected_kernel(standardized(X[:40]), (2, 2)), rtol=1e-6, atol=1e-8)
    stopped = network(early_stopping=True, validation_fraction=0.5).fit(X, Y)
    assert not np.allclose(stopped.state_[NAME], network().fit(X, Y).state_[NAME], rtol=1e-3)


@pytest.mark.parametrize("estimator", [CNNClassifier, CNNRegressor])
def test_later_calls_keep_the_kernel_and_a_new_fit_does_not(estimator):
    model = estimator(layers=LAYERS, max_iter=1, random_state=0)
    others = 255 - X[::-1, ::-1] // 3
    first = estimator(layers=LAYERS, max_iter=1, random_state=0).fit(X, Y).state_[NAME]
    more = {"classes": [0, 1, 2]} if estimator is CNNClassifier else {}
    np.testing.assert_array_equal(model.partial_fit(X, Y, **more).state_[NAME], first)
    np.testing.assert_array_equal(model.partial_fit(others, Y).state_[NAME], first)
    np.testing.assert_array_equal(model.set_params(warm_start=True).fit(others, Y).state_[NAME], first)
    again = model.set_params(warm_start=False).fit(others, Y).state_[NAME]
    np.testing.assert_array_equal(again, clone(model).fit(others, Y).state_[NAME])
    assert not np.allclose(again, first)


def test_fits_are_the_same_bits_for_every_number_of_threads():
    layers = [Conv2D(32), ReLU(), WhiteningConv2D(), ReLU(), GlobalAvgPool2D()]
    one, four = (network(layers, n_jobs=n, max_iter=2).fit(X, Y) for n in (1, 4))
    np.testing.assert_array_equal(one._model.state, four._model.state)
    np.testing.assert_array_equal(one._model.weights, four._model.weights)


# -- pretrained networks


def test_a_pretrained_kernel_is_kept():
    source = network(max_iter=2).fit(X, Y)
    others = np.roll(X, 3, axis=2)[:, ::-1]
    for params in ({}, {"freeze": "whiteningconv1"}, {"freeze": "relu1"}):
        tuned = CNNClassifier(pretrained=source, max_iter=2, random_state=1, **params).fit(others, Y)
        np.testing.assert_array_equal(tuned.state_[NAME], source.state_[NAME])


def test_a_new_layer_after_a_pretrained_one_reads_its_outputs():
    source = network([Conv2D(4), ReLU(), GlobalAvgPool2D()], dtype="float64").fit(X, Y)
    layers = [Conv2D(4), ReLU(), WhiteningConv2D(2), GlobalAvgPool2D()]
    tuned = network(layers, pretrained=source, learning_rate=0.0).fit(X, Y)
    expected = expected_kernel(activations(source, X, "relu1"), (2, 2))
    np.testing.assert_allclose(tuned.state_[NAME], expected, rtol=1e-5, atol=1e-7)


def test_freezing_without_a_pretrained_kernel_is_refused():
    source = network([Conv2D(4), ReLU(), GlobalAvgPool2D()]).fit(X, Y)
    layers = [WhiteningConv2D(2), Conv2D(4), ReLU(), GlobalAvgPool2D()]
    with pytest.raises(ValueError, match=r"freezes 'whiteningconv1\.bias'"):
        network(layers, pretrained=source, freeze="whiteningconv1").fit(X, Y)


# -- other places in a network


@pytest.mark.parametrize(
    ("layers", "before", "name"),
    [
        ([Conv2D(3), ReLU(), WhiteningConv2D(2), GlobalAvgPool2D()], "relu1", NAME),
        (
            [Conv2D(3), Concatenate([[Conv2D(2)], [MaxPool2D(3, strides=1, padding=1), WhiteningConv2D(2)]]), ReLU(),
             GlobalAvgPool2D()],
            "concatenate1.branch2.maxpool1", f"concatenate1.branch2.{NAME}",
        ),
        (
            [Residual([Residual([Conv2D(3), ReLU(), WhiteningConv2D(2), ReLU(), Conv2D(3)]), ReLU()]), Flatten()],
            "residual1.residual1.relu1", f"residual1.residual1.{NAME}",
        ),
    ],
    ids=["in the middle", "in a branch", "in a nested block"],
)  # fmt: skip
def test_patches_are_those_of_the_layers_input(layers, before, name):
    fitted = network(layers, learning_rate=0.0, dtype="float64").fit(X, Y)
    expected = expected_kernel(activations(fitted, X, before), (2, 2))
    np.testing.assert_allclose(fitted.state_[name], expected, rtol=1e-5, atol=1e-7)


def test_two_of_them_are_computed_in_order():
    layers = [WhiteningConv2D(2, padding="valid"), ReLU(), WhiteningConv2D(1), GlobalAvgPool2D()]
    fitted = network(layers, learning_rate=0.0, dtype="float64").fit(X, Y)
    expected = expected_kernel(activations(fitted, X, "relu1"), (1, 1))
    np.testing.assert_allclose(fitted.state_["whiteningconv2.kernel"], expected, rtol=1e-5, atol=1e-7)


def test_batch_norm_after_it_is_folded():
    layers = [WhiteningConv2D(2), BatchNorm(scale=False), ReLU(), GlobalAvgPool2D()]
    fitted = network(layers, max_iter=3, dtype="float64").fit(X, Y)
    assert "BatchNorm" not in {type(layer).__name__ for _, layer in fitted._predictor.steps}
    # "relu1" is computed by the folded steps, "whiteningconv1" by the layer alone
    y, s = activations(fitted, X, "whiteningconv1"), fitted.state_
    y = (y - s["batchnorm1.running_mean"]) / np.sqrt(s["batchnorm1.running_variance"] + 1e-5)
    expected = np.maximum(y + fitted.parameters_["batchnorm1.offset"], 0)
    np.testing.assert_allclose(activations(fitted, X, "relu1"), expected, rtol=1e-9, atol=1e-9)


def test_gradients_of_networks():
    check_gradients([WhiteningConv2D(2), ReLU(), Flatten()], (4, 4, 2))
    check_gradients([Conv2D(2), WhiteningConv2D(2, use_bias=False), ReLU(), Flatten(), Dense(3)], (4, 4, 2))
    check_gradients([Residual([Conv2D(2), WhiteningConv2D(2), Conv2D(2)]), Flatten()], (4, 4, 2))


def test_searches_over_its_fields():
    search = GridSearchCV(network(), {"layers__whiteningconv1__kernel_size": [1, 2]}, cv=2).fit(X, Y)
    size = search.best_params_["layers__whiteningconv1__kernel_size"]
    assert search.best_estimator_.state_[NAME].shape == (size, size, 3, 6 * size**2)


# -- errors


def test_windows_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match=r"WhiteningConv2D\(10\).*larger than the image.*smaller kernel_size"):
        network([WhiteningConv2D(10), Flatten()]).fit(X, Y)


def test_numbers_beyond_the_precision_are_refused():
    large = X.astype(np.float64)
    large[3, 2, 1, 0] = 1e60
    with pytest.raises(ValueError, match="too large for float32"):
        network(standardize=False, dtype="float32").fit(large, Y)


def test_set_weights_needs_the_kernel():
    weights = {"whiteningconv1.bias": np.zeros(24), "output.kernel": np.zeros((24, 3)), "output.bias": np.zeros(3)}
    with pytest.raises(ValueError, match=r"weights lacks 'whiteningconv1\.kernel'"):
        network().set_weights(weights, input_shape=(10, 9, 3), mean=0, scale=1)


# -- the hook


@description
class Centring(Layer):
    """Subtract the mean of each channel over the training images.  x (n, ..., c) -> y (n, ..., c)."""

    stem = "centring"

    def parameters(self, shape):
        return {"mean": Parameter(shape[-1:], trainable=False)}

    def adapt(self, shape, batches):
        return {"mean": np.concatenate([x.reshape(-1, shape[-1]) for x in batches]).mean(axis=0)}

    def record(self, tape, x, p, g):
        y = tape(np.subtract, x, by_channel(tape, p.mean, x), tape.output(x.shape))
        return y, lambda dy, needs_dx=True: dy


def test_layers_of_users_compute_state_too():
    layers = [Conv2D(3), Centring(), ReLU(), Flatten(), Dense(7), Centring(), ReLU()]
    fitted = network(layers, learning_rate=0.0, dtype="float64").fit(X, Y)
    for name, axes in (("centring1", (0, 1, 2)), ("centring2", 0)):
        np.testing.assert_allclose(activations(fitted, X, name).mean(axes), 0, atol=1e-9)
        assert fitted.state_[f"{name}.mean"].any()
