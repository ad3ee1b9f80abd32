"""Depthwise and separable convolutions: what they equal, how they are drawn."""

import re

import numpy as np
import pytest
from harness import draw_parameters, run

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, DepthwiseConv2D, Flatten, SeparableConv2D

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
