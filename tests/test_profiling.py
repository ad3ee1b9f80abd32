"""`profile`: what is refused, rather than measured as something else."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skcnn import CNNClassifier, profile
from skcnn.layers import Conv2D, DepthwiseConv2D, Flatten


def test_bad_use():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 6, 6)), rng.integers(0, 3, 40)
    model = CNNClassifier((2,), max_iter=1)
    with pytest.raises(NotFittedError):
        profile(model, X, y)
    model.fit(X, y)
    for other in (make_pipeline(model), CNNClassifier, 3):
        with pytest.raises(TypeError, match="must be a CNNClassifier or CNNRegressor, got "):
            profile(other, X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        profile(model, X, y[:3])
    for repeats in (0, 1.5, None):
        with pytest.raises(ValueError, match=f"repeats must be an int of 1 or more, got {repeats}"):
            profile(model, X, y, repeats=repeats)


def test_operations_of_convolutions_are_counted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 9, 9, 3)).astype(np.float32), rng.integers(0, 2, 20)
    layers = [Conv2D(20, 1, use_bias=False), DepthwiseConv2D(use_bias=False), Conv2D(8, use_bias=False), Flatten()]
    model = CNNClassifier(layers=layers, max_iter=1, standardize=False).fit(X, y)
    multiply_adds = {"conv1": 81 * 3 * 20, "depthwiseconv1": 81 * 9 * 20, "conv2": 81 * 9 * 20 * 8}
    found = {step.name: step.flops for step in profile(model, X, repeats=1).steps}
    for name, number in multiply_adds.items():
        assert found[name] == pytest.approx(2 * 20 * number, rel=0.01)
    learned = {step.name: step.flops for step in profile(model, X, y, repeats=1).steps}
    for name, number in multiply_adds.items():
        passes = 2 if name == "conv1" else 3  # nobody wants the gradient of the images
        assert learned[name] == pytest.approx(2 * 20 * passes * number, rel=0.1)
