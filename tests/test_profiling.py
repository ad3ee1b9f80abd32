"""`profile`: what is refused, rather than measured as something else."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skcnn import CNNClassifier, profile


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
