"""What an image may come as, and what becomes of it."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, Flatten, ReLU


def small(**params):
    return CNNClassifier(
        **{"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | params
    )


@pytest.fixture(scope="module")
def colours():
    """24 images (n, 6, 5, 3) of whole numbers from 0 to 255, in three classes."""
    return np.random.default_rng(0).integers(0, 256, (24, 6, 5, 3)), np.arange(24) % 3


# -- the same images in other forms

FORMS = {
    "(n, h, w, c)": lambda X: X[..., None],
    "(n, h, w)": lambda X: X,
    "rows": lambda X: X.reshape(len(X), -1),
    "nested list of images": lambda X: X.tolist(),
    "nested list of rows": lambda X: X.reshape(len(X), -1).tolist(),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "read-only": lambda X: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
    "Fortran order": np.asfortranarray,
    "every other of a longer array": lambda X: np.repeat(X, 2, axis=0)[::2],
    "a window of larger images": lambda X: np.pad(X, ((0, 0), (1, 2), (3, 1)))[:, 1:-2, 3:-1],
    "upside down twice": lambda X: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "transposed (n, c, h, w)": lambda X: np.ascontiguousarray(X[:, None]).transpose(0, 2, 3, 1),
    "big-endian": lambda X: X.astype(">f8"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_same_images_in_another_form_give_the_same_bits(digits, form):
    X, y = digits
    expected = small().fit(X, y).predict_proba(X)
    refitted = small().fit(form(X), y)
    assert refitted.input_shape_ == (8, 8, 1)
    assert refitted.n_features_in_ == 64
    assert_array_equal(refitted.predict_proba(X), expected)
    assert_array_equal(small().fit(X, y).predict_proba(form(X)), expected)


COLOUR_FORMS = {
    "rows": lambda X: X.reshape(len(X), -1),
    "nested list": lambda X: X.astype(float).tolist(),
    "Fortran order": np.asfortranarray,
    "transposed (n, c, h, w)": lambda X: np.ascontiguousarray(X.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "channels reversed twice": lambda X: np.ascontiguousarray(X[..., ::-1])[..., ::-1],
    "transposed rows": lambda X: np.ascontiguousarray(X.reshape(len(X), -1).T).T,
}


@pytest.mark.parametrize("form", COLOUR_FORMS.values(), ids=COLOUR_FORMS)
def test_the_same_colour_images_in_another_form_give_the_same_bits(colours, form):
    X, y = colours[0].astype(float), colours[1]
    fitted = small(input_shape=(6, 5, 3)).fit(X, y)
    refitted = small(input_shape=(6, 5, 3)).fit(form(X), y)
    assert refitted.input_shape_ == (6, 5, 3)
    assert_array_equal(refitted.predict_proba(X), fitted.predict_proba(X))
    assert_array_equal(fitted.predict_proba(form(X)), fitted.predict_proba(X))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("fitted_on", [np.uint8, np.float64])
def test_whole_numbers_are_the_same_in_every_dtype(digits, fitted_on, dtype):
    X, y = digits
    fitted = small().fit(X.astype(fitted_on), y)
    assert_array_equal(fitted.predict_proba(X.astype(dtype)), fitted.predict_proba(X))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float16, np.float32])
def test_fitting_in_every_dtype_gives_the_same_bits_if_it_computes_in_the_same(digits, dtype):
    X, y = digits
    expected = small(dtype="float64").fit(X, y).predict_proba(X)
    assert_array_equal(small(dtype="float64").fit(X.astype(dtype), y).predict_proba(X), expected)


def test_bools_are_zeros_and_ones(digits):
    X, y = digits[0] > 7, digits[1]
    fitted = small(dtype="float64").fit(X, y)
    expected = small(dtype="float64").fit(X.astype(float), y)
    assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X.astype(float)))


def test_memory_mapped_images_are_the_same_bits(digits, tmp_path):
    X, y = digits
    np.save(tmp_path / "images.npy", X.astype(np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = small().fit(X.astype(np.uint8), y)
    assert_array_equal(small().fit(mapped, y).predict_proba(mapped), expected.predict_proba(X))


def test_data_frames_are_rows_with_names(digits):
    X, y = digits
    frame = pd.DataFrame(X.reshape(len(X), -1), columns=[f"pixel{i}" for i in range(64)])
    fitted = small().fit(frame, pd.Series(y, name="digit"))
    assert_array_equal(fitted.feature_names_in_, frame.columns)
    assert_array_equal(fitted.predict_proba(frame), small().fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[frame.columns[::-1]])


def test_a_mixed_data_frame_is_rows(digits):
    X, y = digits
    frame = pd.DataFrame(X.reshape(len(X), -1)).astype(dict.fromkeys(range(30), "uint8"))
    assert_array_equal(small().fit(frame, y).predict_proba(frame), small().fit(X, y).predict_proba(X))


def test_input_is_left_as_it_was(digits):
    X = digits[0].copy()
    before = X.copy()
    small().fit(X, digits[1]).predict_proba(X)
    assert_array_equal(X, before)


# -- the shape of rows


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (1, (1, 1, 1)),
        (12, (1, 12, 1)),  # too few to be an image
        (31, (1, 31, 1)),
        (64, (8, 8, 1)),
        (81, (9, 9, 1)),
        (784, (28, 28, 1)),
    ],
)
def test_rows_without_input_shape_are_square_images_or_signals(features, expected):
    X = np.random.default_rng(0).normal(size=(6, features))
    assert small().fit(X, np.arange(6) % 2).input_shape_ == expected


@pytest.mark.parametrize("side", [8, 10, 32])
def test_rows_that_look_like_colour_images_warn_and_are_signals(side):
    X, y = np.random.default_rng(0).normal(size=(6, 3 * side * side)), np.arange(6) % 2
    with pytest.warns(UserWarning, match=rf"3 \* {side} \* {side}.*input_shape=\({side}, {side}, 3\)"):
        fitted = small().fit(X, y)
    assert fitted.input_shape_ == (1, 3 * side * side, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert small(input_shape=(side, side, 3)).fit(X, y).input_shape_ == (side, side, 3)
        fitted.predict(X)  # it warns where the shape is decided, and only there


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((8, 8), (8, 8, 1)),
        ((4, 16), (4, 16, 1)),
        ([2, 8, 4], (2, 8, 4)),
        ((1, 64), (1, 64, 1)),
        ((1, 1, 64), (1, 1, 64)),
    ],
)
def test_input_shape_says_what_a_row_is(digits, wanted, expected):
    rows, y = digits[0].reshape(len(digits[0]), -1), digits[1]
    by_rows = small(input_shape=wanted).fit(rows, y)
    by_images = small().fit(rows.reshape(-1, *expected), y)
    assert by_rows.input_shape_ == expected
    assert_array_equal(by_rows.predict_proba(rows), by_images.predict_proba(rows))


def test_a_row_is_read_height_then_width_then_channels(colours):
    X, y = colours
    layers = [Conv2D(1, kernel_size=1, use_bias=False), Flatten()]
    fitted = small(layers=layers, standardize=False, max_iter=1, dtype="float64").fit(X, y)
    kernels = fitted.parameters_
    pixels = X.reshape(len(X), 30, 3) @ kernels["conv1.kernel"].reshape(3)  # (n, h * w)
    expected = pixels @ kernels["output.kernel"] + kernels["output.bias"]
    assert_allclose(fitted.decision_function(X.reshape(len(X), -1)), expected, rtol=1e-9)


# -- dtypes


@pytest.mark.parametrize(
    ("given", "dtype", "computed"),
    [
        (np.float64, "auto", np.float64),
        (np.float32, "auto", np.float32),
        (np.float16, "auto", np.float32),
        (np.uint8, "auto", np.float32),
        (np.int64, "auto", np.float32),
        (bool, "auto", np.float32),
        (np.float64, "float32", np.float32),
        (np.uint8, "float64", np.float64),
        (np.float32, "float64", np.float64),
    ],
)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_dtype_decides_what_is_computed_in(digits, given, dtype, computed, batch_norm):
    X, y = digits[0].astype(given), digits[1]
    fitted = small(dtype=dtype, batch_norm=batch_norm, max_iter=1).fit(X, y)
    assert {array.dtype for array in [*fitted.parameters_.values(), *fitted.state_.values()]} == {np.dtype(computed)}
    assert fitted.predict_proba(X).dtype == fitted.predict_log_proba(X).dtype == np.float64
    assert fitted.decision_function(X).dtype == np.float64


def test_float32_probabilities_sum_to_one_in_float64(digits):
    X, y = digits
    assert_allclose(small(dtype="float32").fit(X, y).predict_proba(X).sum(axis=1), 1, rtol=1e-14)


# -- standardization


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_standardization_is_the_mean_and_the_deviation_of_each_channel(colours, dtype):
    X, y = colours
    fitted = small().fit(X.astype(dtype), y)
    assert_allclose(fitted.input_mean_, X.mean(axis=(0, 1, 2)), rtol=1e-12)
    assert_allclose(fitted.input_scale_, X.std(axis=(0, 1, 2)), rtol=1e-12)


def test_standardization_of_many_images_is_that_of_numpy():
    """More pixels than are measured at a time, far from zero."""
    X = np.random.default_rng(0).normal(1e4, [1, 5], (3000, 20, 20, 2))
    fitted = small(layers=[Flatten()], max_iter=1, batch_size=1000).fit(X, np.arange(3000) % 2)
    assert_allclose(fitted.input_mean_, X.mean(axis=(0, 1, 2)), rtol=1e-12)
    assert_allclose(fitted.input_scale_, X.std(axis=(0, 1, 2)), rtol=1e-9)


def test_standardization_counts_a_row_as_often_as_its_weight_says(colours):
    X, y = colours
    weights = np.random.default_rng(1).integers(0, 4, len(X))
    fitted = small().fit(X, y, sample_weight=weights)
    repeated = np.repeat(X, weights, axis=0)
    assert_allclose(fitted.input_mean_, repeated.mean(axis=(0, 1, 2)), rtol=1e-12)
    assert_allclose(fitted.input_scale_, repeated.std(axis=(0, 1, 2)), rtol=1e-12)


def test_standardization_is_that_of_images_standardized_by_hand(colours):
    X, y = colours
    by_hand = (X - X.mean(axis=(0, 1, 2))) / X.std(axis=(0, 1, 2))
    fitted = small(dtype="float64").fit(X, y)
    expected = small(standardize=False).fit(by_hand, y)
    assert_array_equal(expected.input_mean_, 0)
    assert_array_equal(expected.input_scale_, 1)
    assert_allclose(fitted.predict_proba(X), expected.predict_proba(by_hand), rtol=1e-9)


@pytest.mark.parametrize("value", [0, 7, 0.1, 1e9 + 1 / 3])
def test_a_channel_that_does_not_vary_keeps_its_scale(value):
    X = np.random.default_rng(0).normal(size=(10, 8, 8, 2))
    X[..., 1] = value
    fitted = small().fit(X, np.arange(10) % 2)
    assert_allclose(fitted.input_mean_[1], value, rtol=1e-12)
    assert fitted.input_scale_[1] == 1
    assert np.isfinite(fitted.predict_proba(X)).all()


def test_raw_eight_bit_images_are_learnt(digits):
    X, y = (digits[0] * 15).astype(np.uint8), digits[1]
    fitted = small(hidden_layer_sizes=(32,), max_iter=30, learning_rate=5e-3, batch_size=16).fit(X, y)
    assert fitted.score(X, y) > 0.95


# -- images that are not those that were fitted


def test_images_of_another_shape_but_as_many_pixels_are_refused(digits):
    X, y = digits
    fitted = small().fit(X, y)
    with pytest.raises(ValueError, match=r"\(4, 16, 1\).*\(8, 8, 1\)"):
        fitted.predict(X.reshape(-1, 4, 16))


def test_an_activation_only_network_takes_one_pixel_images():
    X, y = np.array([[[-1.0]], [[1.0]]] * 10), np.array([0, 1] * 10)
    fitted = small(layers=[ReLU(), Flatten()], learning_rate=0.1, max_iter=50, alpha=0).fit(X, y)
    assert_array_equal(fitted.predict(X), y)


@pytest.mark.parametrize("shape", [(8, 8), (6, 5, 3), (1, 30, 2)])
def test_a_single_image_is_told_how_to_be_a_batch(shape):
    X = np.random.default_rng(0).normal(size=(12, *shape))
    model = CNNClassifier((2,), max_iter=1).fit(X, np.arange(12) % 2)
    for one, advice in ((X[0], r"X\[np.newaxis\]"), (X[0].tolist(), r"\[X\]"), (X[0].reshape(*shape[:2], -1), "X")):
        with pytest.raises(ValueError, match=rf"is expecting.*one image. For a batch of one image, pass {advice}"):
            model.predict(one)
    for other in (X[:, 0], [[1.0, 2.0], [3.0]], np.full((2, X[0].size), np.nan)):
        with pytest.raises(ValueError, match=r"(?s)^(?!.*This is one image)"):
            model.predict(other)
    np.testing.assert_array_equal(model.predict(X[0][np.newaxis]), model.predict(X)[:1])


def test_a_row_of_signals_with_an_error_is_no_single_image():
    X = np.random.default_rng(0).normal(size=(12, 1, 30))
    model = CNNClassifier((2,), max_iter=1).fit(X, np.arange(12) % 2)
    assert model.predict(X[0]).shape == (1,)
    with pytest.raises(ValueError, match=r"(?s)NaN(?!.*This is one image)"):
        model.predict(np.full((1, 30), np.nan))
