"""The end of a training step, for any chunks of the weights."""

import numpy as np
import pytest

import skcnn._engine.update
from skcnn import CNNClassifier
from skcnn.layers import BatchNorm, Dense, Dropout, Flatten, ReLU


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(150, 9, 9)), rng.integers(0, 3, 150)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("rows", [20, 64], ids=["one shard", "many shards"])
def test_a_gradient_is_the_same_wherever_it_is_computed(data, rows, alpha, monkeypatch):
    monkeypatch.setattr("skcnn._engine.passes.SHARD", (20, 1))
    monkeypatch.setattr("skcnn._engine.passes.LEAST", (20, 1))
    hidden = [Dense(40), BatchNorm(), Dense(30), ReLU(), Dropout(0.3), Dense(20, use_bias=False), ReLU()]
    model = CNNClassifier(
        layers=[Flatten(), *hidden], batch_size=rows, max_iter=3, alpha=alpha, dtype="float64", random_state=0
    )
    plain = model.fit(*data).parameters_
    monkeypatch.setattr(skcnn._engine.update, "CHUNK", 70)
    for name, value in model.fit(*data).parameters_.items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-9, atol=1e-12, err_msg=name)
