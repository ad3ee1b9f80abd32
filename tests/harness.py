"""Running single layers on tapes, from and to arrays in the user's order."""

from types import SimpleNamespace

import numpy as np

from skcnn.description import resolve
from skcnn.functional.elementwise import copy
from skcnn.initializers import Initializer
from skcnn.tape import Arena, Batch, Tape

INSIDE, OUTSIDE = (1, 2, 0, 3), (2, 0, 1, 3)  # (n, h, w, c) -> (h, w, n, c), and back


def draw_parameters(layer, shape, seed=0):
    """Name -> array: kernels as their initializer draws them, everything else at random around its initial value."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, parameter in layer.parameters(shape).items():
        if isinstance(parameter.initial, float):
            found[name] = parameter.initial + rng.uniform(-0.4, 0.4, parameter.shape)
        else:
            initializer = resolve(Initializer, parameter.initial, name)
            found[name] = initializer.sample(rng, parameter.shape, parameter.fan_in, parameter.fan_out)
    return found


class LayerRun:
    """A layer, or a list of layers, recorded for a number of rows in several shards, ready to be replayed."""

    def __init__(self, layers, x_shape, p, *, training=True, shards=1, dtype=np.float64, arenas=None, seed=0):
        self.training = training
        self.p = {name: np.array(value, dtype) for name, value in p.items()}
        rows = np.array_split(np.arange(x_shape[0]), shards)
        batch = Batch(x_shape[0], shards)
        self.shards = []
        for number, own in enumerate(rows):
            arena = Arena() if arenas is None else arenas[number]
            rng = np.random.default_rng([seed, number])
            tape = Tape(dtype, batch, number, training=training, rng=rng, arena=arena, poison=True)
            self.shards.append(self._record(tape, layers, (len(own), *x_shape[1:]), own))

    def _record(self, tape, layers, shape, rows):
        shard = SimpleNamespace(tape=tape, rows=rows, x=tape.input(shape))
        shard.g = {name: np.full(value.shape, np.nan, value.dtype) for name, value in self.p.items()}
        with tape.step("x"):
            y = self._move(tape, shard.x, INSIDE)
        steps = []
        for layer in layers:
            with tape.step("layer"):
                g = SimpleNamespace(**shard.g) if self.training else None
                y, backward = layer.record(tape, y, SimpleNamespace(**self.p), g)
            steps.append(backward)
        shard.y = self._give(tape, y)
        if self.training:
            shard.dy = tape.input(shard.y.shape)
            with tape.step("dy"):
                dy = self._move(tape, shard.dy, INSIDE)
            for backward in reversed(steps):
                with tape.step("backward"):
                    dy = backward(dy)
            shard.dx = self._give(tape, dy)
        return shard

    @staticmethod
    def _move(tape, array, order):
        source = array.transpose(order) if array.ndim == 4 else array
        return tape(copy, source, tape.output(source.shape))

    @staticmethod
    def _give(tape, array):
        source = array.transpose(OUTSIDE) if array.ndim == 4 else array
        return tape(copy, source, tape.input(source.shape))

    def __call__(self, x, dy=None):
        """y; and with ``dy`` also dx and the gradients of the parameters."""
        for shard in self.shards:
            shard.x[...] = x[shard.rows]
            if dy is not None:
                shard.dy[...] = dy[shard.rows]
        for segment in range(len(self.shards[0].tape.segments)):
            for shard in self.shards:
                shard.tape.replay(segment)
        y = np.concatenate([shard.y for shard in self.shards])
        if dy is None:
            return y
        dx = np.concatenate([shard.dx for shard in self.shards])
        return y, dx, {name: sum(shard.g[name] for shard in self.shards) for name in self.p}


def run(layer, x, p, dy=None, **options):
    """Record a layer for ``x`` and run it once."""
    training = options.pop("training", dy is not None)
    return LayerRun(list(layer.lowered()), x.shape, p, training=training, **options)(x, dy)
