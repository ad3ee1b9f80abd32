"""The end of a training step: gradients summed over the shards, the penalty and the optimizer, a chunk at a time."""

import numpy as np
import pytest

from skcnn._engine.groups import CHUNK, Group
from skcnn._engine.update import Update
from skcnn._tape.tape import Batch, Tape
from skcnn.optimizers import SGD

SIZE = 2 * CHUNK + 1234


@pytest.mark.parametrize("decayed", [0, 1000, CHUNK, CHUNK + 500, SIZE])
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_every_weight_takes_the_step_of_its_gradient(shards, decayed):
    """Wherever it lies among the chunks, and whichever shard's tape updates it."""
    rng = np.random.default_rng(0)
    weights, gradients = rng.normal(size=SIZE), np.empty((shards, SIZE))
    velocity, rate, alpha = np.zeros((1, SIZE)), np.array(0.1), 0.3
    tapes = [Tape(np.float64, Batch(shards, shards), number, training=True, poison=True) for number in range(shards)]
    optimizer = SGD(momentum=0.5, nesterov=False)
    scalars = {1.0: {"step_size": rate}}
    Update(optimizer, alpha, decayed, weights, gradients, velocity, [Group(slice(0, SIZE))], scalars).record(tapes)
    w, v = weights.copy(), np.zeros(SIZE)
    for _ in range(2):
        gradients[...] = rng.normal(size=gradients.shape)
        v = 0.5 * v + gradients.sum(axis=0) + np.where(np.arange(SIZE) < decayed, alpha * w, 0)
        w = w - 0.1 * v
        for segment in range(len(tapes[0].segments)):
            for tape in tapes:
                tape.replay(segment)
        np.testing.assert_allclose(weights, w, rtol=1e-12, atol=1e-14)
