"""Layers between wide convolutions, which in single precision want borders around what the layers in front write."""

import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn.layers import (
    BatchNorm,
    Conv2D,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    SeparableConv2D,
    SpatialDropout2D,
    UpSample2D,
    ZeroPad2D,
)
from skcnn.optimizers import SGD

NETWORKS = {
    "normalized": [Conv2D(20), GroupNorm(4), LeakyReLU(), Conv2D(24), LayerNorm(), ReLU(), Conv2D(20), Flatten()],
    "larger": [Conv2D(20), ZeroPad2D(((0, 1), (2, 0))), Conv2D(24), UpSample2D((1, 2)), Conv2D(20), MaxPool2D(),
               ZeroPad2D(), Conv2D(20), GroupNorm(5), ReLU(), UpSample2D(), Conv2D(16), GlobalAvgPool2D()],
    "depthwise": [Conv2D(20), ReLU(), DepthwiseConv2D(5), Conv2D(20), SeparableConv2D(20), BatchNorm(), ReLU(),
                  SeparableConv2D(24, strides=2), Conv2D(20), SpatialDropout2D(0.0),
                  UpSample2D(2, interpolation="bilinear"), Conv2D(18), MaxPool2D(), Flatten()],
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_training_in_single_precision_follows_double(name):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 9, 10, 3)), np.arange(40) % 4
    options = {"optimizer": SGD(0.0, False), "learning_rate": 0.005, "max_iter": 3, "random_state": 0}
    single, double = (
        CNNClassifier(layers=NETWORKS[name], dtype=dtype, **options).fit(X, y) for dtype in ("float32", "float64")
    )
    assert double.loss_curve_[2] < double.loss_curve_[0]
    for key, value in double.parameters_.items():
        np.testing.assert_allclose(single.parameters_[key], value, atol=2e-5, err_msg=key)
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=1e-5)
