"""Depthwise and separable convolutions: what they equal, how they are drawn."""

import re
from itertools import product

import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn._arrays.geometry import Axis
from skcnn.layers import Conv2D, DepthwiseConv2D, Flatten, SeparableConv2D
from skcnn.testing import draw_parameters, run

SHAPE = (9, 8, 5)
X = np.random.default_rng(0).normal(size=(6, *SHAPE))


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_is_a_convolution_with_a_group_per_channel(multiplier):
    layer = DepthwiseConv2D((3, 2), depth_multiplier=multiplier, strides=(1, 2))
    grouped = Conv2D(5 * multiplier, kernel_size=(3, 2), strides=(1, 2), groups=5)
    assert layer.parameters(SHAPE) == grouped.parameters(SHAPE)
    assert layer.multiply_adds(SHAPE) == grouped.multiply_adds(SHAPE)
    p = draw_parameters(layer, SHAPE)
    np.testing.assert_array_equal(run(layer, X, p), run(grouped, X, p))


def test_separable_is_a_convolution_whose_kernel_is_a_product():
    layer = SeparableConv2D(7, kernel_size=3, depth_multiplier=2, dilation=2)
    p = draw_parameters(layer, SHAPE)
    depthwise = p["depthwise_kernel"].reshape(3, 3, 5, 2)
    pointwise = p["pointwise_kernel"].reshape(5, 2, 7)
    whole = {"kernel": np.einsum("ijcm,cmk->ijck", depthwise, pointwise), "bias": p["bias"]}
    np.testing.assert_allclose(run(layer, X, p), run(Conv2D(7, dilation=2), X, whole), rtol=1e-11, atol=1e-12)


def test_separable_multiplies_as_often_as_its_two_parts():
    between = DepthwiseConv2D(3, strides=2, depth_multiplier=2)
    parts = between.multiply_adds(SHAPE) + Conv2D(7, kernel_size=1).multiply_adds(between.output_shape(SHAPE))
    assert SeparableConv2D(7, strides=2, depth_multiplier=2).multiply_adds(SHAPE) == parts
    assert parts == 5 * 4 * (9 * 10 + 10 * 7)


def test_what_flows_through_a_separable_convolution_keeps_its_size():
    layers = [Conv2D(200, padding="valid"), SeparableConv2D(200, padding="valid")]
    x = np.random.default_rng(1).normal(size=(4, 5, 5, 64))
    variances = [run(layer, x, draw_parameters(layer, (5, 5, 64)) | {"bias": np.zeros(200)}).var() for layer in layers]
    np.testing.assert_allclose(variances, 2, rtol=0.15)  # He's initializer: 2, of which a ReLU leaves 1


@pytest.mark.parametrize("field", ["depthwise_initializer", "pointwise_initializer"])
def test_an_unknown_initializer_is_named_by_its_field(digits, field):
    layers = [SeparableConv2D(4, **{field: "hee"}), Flatten()]
    with pytest.raises(ValueError, match=re.escape(f"separableconv1's {field}='hee'")):
        CNNClassifier(layers=layers).fit(*digits)


@pytest.mark.parametrize(
    "axis",
    [
        Axis(*numbers)
        for numbers in product((1, 4, 9), (1, 2, 5), (1, 2, 3, 4), (1, 2, 3), (0, 1, 6), (0, 2))
        if Axis(*numbers).out > 0
    ],
    ids=str,
)
def test_what_reads_an_element_hands_a_gradient_back_to_it(axis):
    reads = {
        (place, offset, window)
        for window, offset in product(range(axis.out), range(axis.kernel))
        if 0 <= (place := window * axis.stride + offset * axis.dilation - axis.before) < axis.size
    }
    hands_back = []
    for part in axis.upstream():
        offsets = range(axis.kernel)[part.offsets]
        assert len(offsets) == part.axis.kernel
        for number, element in enumerate(range(axis.size)[part.elements]):
            for place, offset in enumerate(offsets):
                window = number + place * part.axis.dilation - part.axis.before
                if 0 <= window < axis.out:
                    hands_back.append((element, offset, window))
    assert len(hands_back) == len(set(hands_back))
    assert set(hands_back) == reads


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "n", "options"),
    [
        ((9, 8, 5), 2, {}),  # channels outermost
        ((9, 8, 5), 1, {}),  # too few numbers for runs: by columns
        ((9, 8, 20), 1, {}),  # runs of all pixels of a row
        ((5, 12, 64), 2, {}),  # runs of some of them
        ((9, 8, 40), 16, {}),  # of one
        ((20, 20, 16), 40, {}),  # more pixels than are added up in single precision
        ((9, 8, 20), 3, {"strides": 3, "kernel_size": 2}),  # pixels that no window reads
        ((9, 8, 20), 3, {"strides": 2, "dilation": 3, "padding": 4}),
        ((9, 8, 20), 3, {"strides": 4, "dilation": 2, "padding": (0, 3)}),
        ((9, 8, 7), 3, {"depth_multiplier": 3, "strides": (2, 1)}),  # outermost before, innermost after
    ],
)
def test_sums_of_shifted_products_equal_those_of_all_channels_with_zeros(shape, n, options, dtype):
    layer = DepthwiseConv2D(use_bias=False, **options)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, *shape))
    p = draw_parameters(layer, shape)
    dy = rng.normal(size=(n, *layer.output_shape(shape)))
    y, dx, g = run(layer, x, p, dy, dtype=dtype)
    kernel = p["kernel"]
    filters = np.arange(kernel.shape[3])
    own = np.s_[:, :, filters // layer.depth_multiplier, filters]  # the weights of each filter's channel
    whole = np.zeros((*kernel.shape[:2], shape[2], len(filters)))
    whole[own] = kernel[:, :, 0]
    options = {name: value for name, value in options.items() if name != "depth_multiplier"}
    plain = Conv2D(len(filters), use_bias=False, algorithm="direct", **options)
    expected_y, expected_dx, expected_g = run(plain, x, {"kernel": whole}, dy)
    for found, expected in ((y, expected_y), (dx, expected_dx), (g["kernel"][:, :, 0], expected_g["kernel"][own])):
        largest = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=largest * (3e-6 if dtype == np.float32 else 1e-14))
