"""Pooling layers, which reduce windows or whole images to one number per channel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, any_so_far, copy, max_first, reshape, sum_first
from .._arrays.geometry import Windows, pair, windows
from .._tape.parameters import Arrays
from .._tape.pooling import parts, record_max, record_max_gradient, record_zeros, taps
from .._tape.tape import Tape
from ..description import description, is_size
from .base import Backward, Layer, Shape, ShapeError, image, unread


class _Pool2D(Layer):
    """Base of the pooling layers with windows."""

    pool_size: int | tuple[int, int]
    strides: int | tuple[int, int] | None
    padding: str | int | tuple[int, int]

    def check(self) -> None:
        size = "an int of 1 or more, or a pair of them"
        self._require("pool_size", is_size(self.pool_size), size)
        self._require("strides", self.strides is None or is_size(self.strides), f"None, {size}")
        if isinstance(self.padding, str):
            self._require("padding", self.padding in ("same", "valid"), "'same', 'valid', an int or a pair of ints")
        else:
            half = tuple(k // 2 for k in pair(self.pool_size))
            fits = is_size(self.padding, 0) and all(p <= k for p, k in zip(pair(self.padding), half, strict=True))
            self._require("padding", fits, f"0 or more and at most half of pool_size, {half}")

    def geometry(self, shape: Shape) -> Windows:
        """Return the windows over an image of ``shape``."""
        strides = self.pool_size if self.strides is None else self.strides
        return windows(shape, pair(self.pool_size), pair(strides), self.padding)

    def output_shape(self, shape: Shape) -> Shape:
        geometry = self.geometry(image(shape))
        if min(geometry.out) < 1:
            raise ShapeError(
                f"its window of {' x '.join(map(str, geometry.kernel))} is larger than its input, which has shrunk to"
                f" {shape[0]} x {shape[1]}; use fewer pooling layers, a smaller pool_size or padding='same'"
            )
        return (*geometry.out, shape[2])


@description
class MaxPool2D(_Pool2D):
    """Maximum of each window.  x (n, h, w, c) -> y (n, h', w', c).

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of the window, in pixels. One number stands for both.
    strides : int, (int, int) or None, default=None
        Distance between neighbouring windows along height and width, in pixels. If None, it is ``pool_size``, and
        windows do not overlap.
    padding : {"valid", "same"}, int or (int, int), default="valid"
        Border around each image, in the same format as in `Conv2D`. A border pixel is never the maximum. Numbers are
        at most half of ``pool_size``.

    Raises
    ------
    ShapeError
        If the window is larger than the padded input. Raised in ``fit``.

    Notes
    -----
    y[a, b] = max over i, j of x[s a + i, s b + j]. If several numbers tie, the gradient goes to the first, row by row.
    D. Scherer, A. Müller and S. Behnke, "Evaluation of pooling operations", ICANN 2010.

    Examples
    --------
    >>> from skcnn.layers import MaxPool2D
    >>> MaxPool2D().output_shape((28, 28, 8))
    (14, 14, 8)
    >>> MaxPool2D(3, strides=2).output_shape((28, 28, 8))
    (13, 13, 8)
    """

    pool_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str | int | tuple[int, int] = "valid"

    stem = "maxpool"

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        h, w, n, c = x.shape
        geometry = self.geometry((h, w, c))
        y = tape.output((*geometry.out, n, c), framed=True)
        raised = record_max(tape, x, geometry, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if not needs_dx:
                return None
            dx = tape.output(x.shape)
            record_max_gradient(tape, dy, raised, dx, geometry)
            return dx

        return y, unread(backward, x, y)


@description
class AvgPool2D(_Pool2D):
    """Mean of each window.  x (n, h, w, c) -> y (n, h', w', c).

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of the window, in pixels. One number stands for both.
    strides : int, (int, int) or None, default=None
        Distance between neighbouring windows along height and width, in pixels. If None, it is ``pool_size``, and
        windows do not overlap.
    padding : {"valid", "same"}, int or (int, int), default="valid"
        Border around each image, in the same format as in `Conv2D`. The mean excludes border pixels. Numbers are at
        most half of ``pool_size``.

    Raises
    ------
    ShapeError
        If the window is larger than the padded input. Raised in ``fit``.

    Notes
    -----
    y[a, b] = mean over i, j of x[s a + i, s b + j]. Y. LeCun et al., "Gradient-based learning applied to document
    recognition", *Proceedings of the IEEE* 86 (1998), 2278-2324, call it subsampling.

    Examples
    --------
    >>> from skcnn.layers import AvgPool2D
    >>> AvgPool2D(2).output_shape((28, 28, 8))
    (14, 14, 8)
    """

    pool_size: int | tuple[int, int] = 2
    strides: int | tuple[int, int] | None = None
    padding: str | int | tuple[int, int] = "valid"

    stem = "avgpool"

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        h, w, n, c = x.shape
        geometry = self.geometry((h, w, c))
        framed = tape.with_border(x, *geometry.borders)
        first, *others = taps(framed, geometry)
        y = tape.output((*geometry.out, n, c))
        tape(copy, first, y)
        for tap in others:
            tape(np.add, y, tap, y)
        share = _shares(geometry, tape.dtype)
        tape(np.multiply, y, share, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if not needs_dx:
                return None
            dx = tape.output(x.shape)
            overlap = record_zeros(tape, dx, geometry)
            tape(np.multiply, dy, share, dy)
            for part, readers in parts(dx, geometry):
                if overlap:
                    tape(np.add, part, dy[readers], part)
                else:
                    tape(copy, dy[readers], part)
            return dx

        return y, unread(backward, x, y)


def _shares(geometry: Windows, dtype: Any) -> Any:
    """Return one over the number of pixels in each window: a number, or (h', w', 1, 1) if there is a border."""
    if not geometry.has_border:
        return 1 / math.prod(geometry.kernel)
    counts = []
    for axis in (geometry.rows, geometry.columns):
        count = np.zeros(axis.out)
        for offset in range(axis.kernel):
            count[axis.inside(offset, 0, axis.out)[0]] += 1
        counts.append(count)
    return (1 / np.multiply.outer(*counts))[:, :, None, None].astype(dtype)


@description
class GlobalAvgPool2D(Layer):
    """Mean of each channel.  x (n, h, w, c) -> y (n, c).

    Raises
    ------
    ShapeError
        If the input is flat. Raised in ``fit``.

    Notes
    -----
    y[k] = mean over a, b of x[a, b, k]. M. Lin, Q. Chen and S. Yan, "Network in network", arXiv:1312.4400.

    Examples
    --------
    >>> from skcnn.layers import GlobalAvgPool2D
    >>> GlobalAvgPool2D().output_shape((7, 7, 64))
    (64,)
    """

    stem = "globalavgpool"

    def output_shape(self, shape: Shape) -> Shape:
        return image(shape)[2:]

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        h, w, n, c = x.shape
        y = tape.output((n, c))
        tape(sum_first, reshape(x, (h * w, n, c)), y)
        tape(np.multiply, y, 1 / (h * w), y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            return tape(np.multiply, dy, 1 / (h * w), tape.output(x.shape)) if needs_dx else None

        return y, unread(backward, x, y)


@description
class GlobalMaxPool2D(Layer):
    """Maximum of each channel.  x (n, h, w, c) -> y (n, c).

    Raises
    ------
    ShapeError
        If the input is flat. Raised in ``fit``.

    Notes
    -----
    y[k] = max over a, b of x[a, b, k]. If several numbers tie, the gradient goes to the first, row by row. M. Oquab et
    al., "Is object localization for free?", CVPR 2015.

    Examples
    --------
    >>> from skcnn.layers import GlobalMaxPool2D
    >>> GlobalMaxPool2D().output_shape((7, 7, 64))
    (64,)
    """

    stem = "globalmaxpool"

    def output_shape(self, shape: Shape) -> Shape:
        return image(shape)[2:]

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        h, w, n, c = x.shape
        pixels = reshape(x, (h * w, n, c))
        y = tape(max_first, pixels, tape.output((n, c)))

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if not needs_dx:
                return None
            largest, reached = (reshape(tape.scratch(x.shape, bool), pixels.shape) for _ in range(2))
            tape(np.equal, pixels, y, largest)
            tape(any_so_far, largest, reached)
            tape(copy, reached[0], largest[0])
            tape(np.greater, reached[1:], reached[:-1], largest[1:])  # the first pixel with the maximum
            dx = tape.output(x.shape)
            tape(np.multiply, largest, dy, reshape(dx, pixels.shape))
            return dx

        return y, backward
