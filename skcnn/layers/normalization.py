"""Batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays.elementwise import Array, copy, maximum, sum_first
from .._tape.channels import by_channel, record_channel_moments, record_channel_products
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import description, is_real
from .base import Backward, Layer, Shape, unread


@description
class BatchNorm(Layer):
    """Batch normalization.  x (n, ..., c) -> y (n, ..., c).

    Each channel is normalized to mean 0 and variance 1 over the batch, then scaled and shifted. In prediction, mean and
    variance are running averages over the training batches.

    Parameters
    ----------
    momentum : float, default=0.9
        Weight of the previous running average, 0 or more and less than 1. After each batch,
        running = momentum * running + (1 - momentum) * batch.
    epsilon : float, default=1e-5
        Number added to the variance to avoid division by zero, above 0.
    scale : bool, default=True
        Whether to multiply each channel by a learnable factor. If False, the factor is 1. Before a ReLU, the next
        convolution or dense layer can learn the factor instead.
    offset : bool, default=True
        Whether to add a learnable number to each channel. If False, the number is 0.

    Notes
    -----
    y = scale * (x - mean) / sqrt(variance + epsilon) + offset, per channel. Both the batch variance and the running
    variance are biased. Let m = (x - mean) / sqrt(variance + epsilon), and N the number of values per channel. In the
    backward pass, with sums over the batch, doffset = sum(dy), dscale = sum(dy m), and

        dx = scale / sqrt(variance + epsilon) * (dy - doffset / N - m dscale / N).

    With sample weights, mean and variance are weighted: a row of weight 2 is the same as two rows. Then 1 / N is the
    weight of a row, divided by the sum of the weights of all values of a channel.

    S. Ioffe and C. Szegedy, "Batch normalization", arXiv:1502.03167. The parameters are ``scale`` and ``offset`` (c,),
    the statistics ``running_mean`` and ``running_variance`` (c,). A convolution or dense layer right before this layer
    needs no bias. ``BatchNorm(scale=False, offset=False)`` has only the statistics.

    Examples
    --------
    >>> from skcnn.layers import BatchNorm
    >>> sorted(BatchNorm().parameters((28, 28, 8)))
    ['offset', 'running_mean', 'running_variance', 'scale']
    >>> sorted(BatchNorm(scale=False).parameters((28, 28, 8)))
    ['offset', 'running_mean', 'running_variance']
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale: bool = True
    offset: bool = True

    stem = "batchnorm"

    def check(self) -> None:
        self._require("momentum", is_real(self.momentum, 0, 1, open_high=True), "a number of 0 or more and less than 1")
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), "a number above 0")
        for field in ("scale", "offset"):
            self._require(field, isinstance(getattr(self, field), (bool, np.bool)), "True or False")

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        c = shape[-1:]
        learned = {"scale": Parameter(c, 1.0), "offset": Parameter(c)}
        return {name: parameter for name, parameter in learned.items() if getattr(self, name)} | {
            "running_mean": Parameter(c, trainable=False),
            "running_variance": Parameter(c, 1.0, trainable=False),
        }

    def predicting(self, p: Any) -> tuple[Array, Array]:
        """Return (factor, shift), each (c,) in float64: predictions are factor * x + shift."""
        scale, offset = learned(p)
        factor = scale / np.sqrt(p.running_variance.astype(np.float64) + self.epsilon)
        return factor, offset - factor * p.running_mean

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        if not tape.training:
            factor, shift = (by_channel(tape, vector, x) for vector in self.predicting(p))
            y = tape(np.multiply, x, factor, tape.output(x.shape, framed=True))
            tape(np.add, y, shift, y)
            return y, unread(lambda dy, needs_dx=True: tape(np.multiply, dy, factor, dy), x, y)

        moments = Moments(self, tape, x, p)
        y = tape.output(x.shape, framed=True)
        moments.record_normalization(x, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            found = moments.record_gradients(dy, x, g)
            if not needs_dx:
                return None
            tape(np.multiply, dy, by_channel(tape, moments.factor, dy), dy)
            if found is None:
                return dy
            slope, constant = found
            pull = tape(np.multiply, x, moments.by_row(slope, dy), tape.scratch(dy.shape))
            tape(np.add, dy, pull, dy)
            return tape(np.add, dy, moments.by_row(constant, dy), dy)

        return y, unread(backward, y)


def learned(p: Any) -> tuple[Any, Any]:
    """Return the scale and the offset of a batch norm. They are the numbers 1 and 0 if the layer does not have them."""
    return getattr(p, "scale", 1.0), getattr(p, "offset", 0.0)


class Moments:
    """Recorded mean and variance of a batch, with the normalization and the gradients that follow from them."""

    def __init__(self, norm: BatchNorm, tape: Tape, x: Array, p: Any) -> None:
        self._norm, self._tape = norm, tape
        scale, self._offset = learned(p)
        self._size = x.shape[-1:]
        rows = len(x) if x.ndim == 2 else x.shape[2]
        self._pixels = x.size // rows // x.shape[-1]
        self._weights: Array | None = None  # of the rows, (n, 1), if their weights differ
        self._share: float | Array = 1 / (tape.batch.rows * self._pixels)  # of a number of weight 1 in the batch
        self._minus_share: float | Array = -self._share
        self._mean, variance = tape.keep(self._size, np.float64), tape.scratch(self._size, np.float64)
        if tape.freeze_statistics:
            tape(copy, p.running_mean, self._mean)
            tape(copy, p.running_variance, variance)
        else:
            self._record_moments(x, p, variance)
        self._inverse, self.factor = tape.keep(self._size, np.float64), tape.keep(self._size)
        tape(np.add, variance, norm.epsilon, variance)
        tape(np.sqrt, variance, variance)
        tape(np.divide, 1, variance, self._inverse)
        tape(np.multiply, self._inverse, scale, self.factor)

    def _record_moments(self, x: Array, p: Any, variance: Array) -> None:
        """Record the mean and the ``variance`` of the batch, and the update of the running statistics."""
        tape, norm = self._tape, self._norm
        parts = [self._mean, variance]
        if tape.row_weights is not None:
            weights = tape.row_weights[:, None]
            self._weights = tape(copy, weights, tape.keep(weights.shape))
            parts.append(tape(sum_first, self._weights, tape.scratch((1,), np.float64)))
        record_channel_moments(tape, x, self._mean, variance, self._weights)
        totals = tape.total(*parts)
        if self._weights is not None:
            self._share = tape(np.divide, 1 / self._pixels, totals[-1], tape.scratch((1,), np.float64))
            self._minus_share = tape(np.negative, self._share, tape.keep((1,), np.float64))
        for vector, total in zip((self._mean, variance), totals[:2], strict=True):
            tape(np.multiply, total, self._share, vector)
        square = tape(np.multiply, self._mean, self._mean, tape.scratch(self._size, np.float64))
        tape(np.subtract, variance, square, variance)
        tape(maximum, variance, np.zeros(self._size), variance)
        if tape.shard == 0:
            for batch, running in ((self._mean, p.running_mean), (variance, p.running_variance)):
                part = tape.scratch(self._size)
                tape(np.multiply, batch, 1 - norm.momentum, part)
                tape(np.multiply, running, norm.momentum, running)
                tape(np.add, running, part, running)

    def record_normalization(self, x: Array, y: Array) -> None:
        """Record ``y <- scale * (x - mean) / deviation + offset``, computed as factor * x + shift."""
        tape = self._tape
        shift = tape(np.multiply, self._mean, self.factor, tape.scratch(self._size, np.float64))
        tape(np.subtract, self._offset, shift, shift)
        tape(np.multiply, x, by_channel(tape, self.factor, x), y)
        tape(np.add, y, by_channel(tape, shift, y), y)

    def record_gradients(self, dy: Array, x: Array, g: Any) -> tuple[Array, Array] | None:
        """Record the gradients of scale and offset, if they exist; return (slope, constant) of the moments' part of dx.

        That part of dx is slope * x + constant, times the weights of the rows. It is None if the statistics are frozen.
        ``x`` are the numbers to which ``dy`` belongs: all numbers, or only the maxima of a pooling layer.
        """
        tape = self._tape
        slope, constant = (tape.scratch(self._size, np.float64) for _ in range(2))
        record_channel_products(tape, x, dy, slope, constant)
        shift = tape(np.multiply, constant, self._mean, tape.scratch(self._size, np.float64))
        tape(np.subtract, slope, shift, slope)  # the sum of dy * (x - mean)
        if self._norm.scale:
            tape(np.multiply, slope, self._inverse, g.scale)
        if self._norm.offset:
            tape(copy, constant, g.offset)
        if tape.freeze_statistics:
            return None
        slope, constant = tape.total(slope, constant)
        for vector in (slope, constant):
            tape(np.multiply, vector, self.factor, vector)
            tape(np.multiply, vector, self._minus_share, vector)
        for _ in range(2):
            tape(np.multiply, slope, self._inverse, slope)
        product = tape(np.multiply, slope, self._mean, tape.scratch(self._size, np.float64))
        tape(np.subtract, constant, product, constant)
        return slope, constant

    def by_row(self, vector: Array, x: Array) -> Array:
        """Return a vector (c,) as `by_channel` does, times the weight of each row."""
        if self._weights is None:
            return by_channel(self._tape, vector, x)
        return self._tape(np.multiply, self._weights, vector, self._tape.scratch((len(self._weights), *self._size)))
