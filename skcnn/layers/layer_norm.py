"""Layer and group normalization, which normalize each image independently of the rest of its batch."""

from __future__ import annotations

import math

import numpy as np

from .._arrays.elementwise import Array, copy, reshape, sum_over
from .._tape.channels import by_channel, record_channel_products
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import description, is_count, is_real
from .base import Backward, Layer, Shape, ShapeError, unread


class OwnNorm(Layer):
    """Base of layer and group normalization, which differ only in the axes of the mean."""

    epsilon: float

    def check(self) -> None:
        self._require("epsilon", is_real(self.epsilon, 0, open_low=True), "a number above 0")

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {"scale": Parameter(shape[-1:], 1.0), "offset": Parameter(shape[-1:])}

    def statistic_shape(self, shape: Shape) -> Shape:
        """Return the shape of the mean of ``x`` of ``shape``, in the engine's axis order. It broadcasts against x."""
        raise NotImplementedError

    def record_mean(self, tape: Tape, x: Array, out: Array) -> Array:
        """Record the mean of ``x`` into ``out``, which has the `statistic_shape`; return the recorded array."""
        raise NotImplementedError

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        shape = self.statistic_shape(x.shape)
        normalized, inverse = tape.keep(x.shape), tape.keep(shape)
        y = tape.output(x.shape, framed=True)
        mean = self.record_mean(tape, x, tape.scratch(shape))
        tape(np.subtract, x, mean, normalized)
        # Computed from the centred numbers, because mean(x * x) - mean ** 2 cancels where the mean is large.
        squares = tape(np.multiply, normalized, normalized, tape.scratch(x.shape))
        self.record_mean(tape, squares, inverse)
        tape(np.add, inverse, self.epsilon, inverse)
        tape(np.sqrt, inverse, inverse)
        tape(np.divide, 1, inverse, inverse)
        tape(np.multiply, normalized, inverse, normalized)
        tape(np.multiply, normalized, by_channel(tape, p.scale, x), y)
        tape(np.add, y, by_channel(tape, p.offset, x), y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            record_channel_products(tape, normalized, dy, g.scale, g.offset)
            if not needs_dx:
                return None
            tape(np.multiply, dy, by_channel(tape, p.scale, dy), dy)
            product = tape(np.multiply, dy, normalized, tape.scratch(dy.shape))
            through_mean, through_variance = (self.record_mean(tape, v, tape.scratch(shape)) for v in (dy, product))
            tape(np.multiply, normalized, through_variance, product)
            tape(np.subtract, dy, product, dy)
            tape(np.subtract, dy, through_mean, dy)
            return tape(np.multiply, dy, inverse, dy)

        return y, unread(backward, x, y)


@description
class LayerNorm(OwnNorm):
    """Layer normalization.  x (n, ..., c) -> y (n, ..., c).

    The channels of each pixel are normalized to mean 0 and variance 1, then scaled and shifted. For a flat input, the
    features of each row are normalized. Training and prediction use the same computation.

    Parameters
    ----------
    epsilon : float, default=1e-5
        Number added to the variance to avoid division by zero, above 0.

    Raises
    ------
    ShapeError
        If there is only one channel. Raised in ``fit``.

    Notes
    -----
    y = scale * (x - mean) / sqrt(variance + epsilon) + offset, with the mean and the biased variance over the last axis
    and ``scale`` and ``offset`` (c,) per channel. Keras uses the same axes. In PyTorch, it is ``LayerNorm(c)`` on
    channels-last arrays. In the backward pass, with m = (x - mean) / sqrt(variance + epsilon) and dm = scale * dy,

        dx = (dm - mean(dm) - m mean(dm m)) / sqrt(variance + epsilon).

    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450. ``GroupNorm(1)`` normalizes all
    pixels and channels of an image together.

    Examples
    --------
    >>> from skcnn.layers import LayerNorm
    >>> LayerNorm().parameters((14, 14, 32))["scale"].shape
    (32,)
    """

    epsilon: float = 1e-5

    stem = "layernorm"

    def output_shape(self, shape: Shape) -> Shape:
        if shape[-1] == 1:
            raise ShapeError("normalizing a single channel would give only zeros; use GroupNorm(1) or BatchNorm()")
        return shape

    def statistic_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], 1)

    def record_mean(self, tape: Tape, x: Array, out: Array) -> Array:
        tape(sum_over, x, -1, out)
        return tape(np.multiply, out, 1 / x.shape[-1], out)


@description
class GroupNorm(OwnNorm):
    """Group normalization.  x (n, ..., c) -> y (n, ..., c).

    Groups of channels of each image are normalized to mean 0 and variance 1, then scaled and shifted. Training and
    prediction use the same computation, for any batch size.

    Parameters
    ----------
    groups : int, default=32
        Number of groups of neighbouring channels. 1 normalizes each image as a whole. One group per channel is
        called instance normalization.
    epsilon : float, default=1e-5
        Number added to the variance to avoid division by zero, above 0.

    Raises
    ------
    ShapeError
        If ``groups`` does not divide the number of channels, or a group has only one number. Raised in ``fit``.

    Notes
    -----
    y = scale * (x - mean) / sqrt(variance + epsilon) + offset, with the mean and the biased variance over the
    pixels and channels of a group, and ``scale`` and ``offset`` (c,) per channel. Y. Wu and K. He, "Group
    normalization", arXiv:1803.08494, section 3. The gradient has the same formula as in `LayerNorm`.

    Examples
    --------
    >>> from skcnn.layers import GroupNorm
    >>> GroupNorm(8).output_shape((14, 14, 32))
    (14, 14, 32)
    """

    groups: int = 32
    epsilon: float = 1e-5

    stem = "groupnorm"

    def check(self) -> None:
        self._require("groups", is_count(self.groups), "an int of 1 or more")
        super().check()

    def output_shape(self, shape: Shape) -> Shape:
        c = shape[-1]
        if c % self.groups:
            fitting = max(k for k in range(1, self.groups) if c % k == 0 and (k < c or c == 1))
            raise ShapeError(f"groups={self.groups} must divide its {c} channels; groups={fitting} does")
        if math.prod(shape) == self.groups:
            raise ShapeError("normalizing groups of a single number would give only zeros; use fewer groups")
        return shape

    def statistic_shape(self, shape: Shape) -> Shape:
        return shape if len(shape) == 2 else (1, 1, *shape[2:])

    def record_mean(self, tape: Tape, x: Array, out: Array) -> Array:
        by_image = x
        if x.ndim == 4:  # columns first, then rows: shorter sums have smaller rounding errors
            h, _, n, c = x.shape
            by_row = tape(sum_over, x, 1, tape.scratch((h, 1, n, c)))
            by_image = tape(sum_over, by_row, 0, tape.scratch((1, 1, n, c)))
        grouped = (*out.shape[:-1], self.groups, out.shape[-1] // self.groups)
        mean = reshape(tape.scratch((*out.shape[:-1], self.groups)), (*grouped[:-1], 1))
        tape(sum_over, reshape(by_image, grouped), -1, mean)
        tape(np.multiply, mean, self.groups / (x.size // out[..., 0].size), mean)
        # One number per channel instead of per group, because it broadcasts in longer contiguous runs.
        tape(copy, mean, reshape(out, grouped))
        return out
