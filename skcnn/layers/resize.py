"""Layers that enlarge images, by a border of zeros or by interpolation."""

from __future__ import annotations

import numpy as np

from .._arrays.elementwise import Array, copy, fill, reshape
from .._arrays.geometry import Borders, pair
from .._tape.interpolation import record_resized, weights
from .._tape.parameters import Arrays
from .._tape.tape import Tape
from ..description import description, is_size
from .base import Backward, Layer, Shape, image, unread


@description
class ZeroPad2D(Layer):
    """Border of zeros around each image.  x (n, h, w, c) -> y (n, top + h + bottom, left + w + right, c).

    Convolutions and pooling layers have a ``padding`` parameter. Use this layer if the sides need different padding.

    Parameters
    ----------
    padding : int, (int, int) or ((int, int), (int, int)), default=1
        Number of zeros, in pixels: one number for all sides, (height, width) for both sides of each axis, or
        ((top, bottom), (left, right)).

    Raises
    ------
    ShapeError
        If the input is flat. Raised in ``fit``.

    Notes
    -----
    y[top + a, left + b] = x[a, b]. All other numbers are 0. V. Dumoulin and F. Visin, "A guide to convolution
    arithmetic for deep learning", arXiv:1603.07285, section 2.2.

    Examples
    --------
    >>> from skcnn.layers import ZeroPad2D
    >>> ZeroPad2D(2).output_shape((28, 28, 1))
    (32, 32, 1)
    >>> ZeroPad2D(((0, 1), (2, 0))).output_shape((28, 28, 1))
    (29, 30, 1)
    """

    padding: int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] = 1

    stem = "zeropad"

    def check(self) -> None:
        value = self.padding
        nested = isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_pair(side) for side in value)
        expected = "an int of 0 or more, a pair (height, width), or ((top, bottom), (left, right))"
        self._require("padding", nested or is_size(value, 0), expected)

    @property
    def borders(self) -> Borders:
        """Border ((top, bottom), (left, right)), in pixels."""
        rows, columns = pair(self.padding)
        return pair(rows), pair(columns)

    def output_shape(self, shape: Shape) -> Shape:
        h, w, c = image(shape)
        rows, columns = self.borders
        return h + sum(rows), w + sum(columns), c

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        (top, bottom), (left, right) = self.borders
        h, w, n, c = x.shape
        rows, columns = slice(top, top + h), slice(left, left + w)
        y = tape.output((top + h + bottom, left + w + right, n, c), framed=True)
        for edge in (y[:top], y[top + h :], y[rows, :left], y[rows, left + w :]):
            if edge.size:
                tape(fill, 0, edge)
        tape(copy, x, y[rows, columns])

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            return tape(copy, dy[rows, columns], tape.output(x.shape)) if needs_dx else None

        return y, unread(backward, x, y)


def _is_pair(value: object) -> bool:
    return isinstance(value, (tuple, list)) and is_size(value, 0)


@description
class UpSample2D(Layer):
    """Enlargement of images by integer factors.  x (n, h, w, c) -> y (n, h * size[0], w * size[1], c).

    Parameters
    ----------
    size : int or (int, int), default=2
        Factors of height and width. One number stands for both.
    interpolation : {"nearest", "bilinear"}, default="nearest"
        Interpolation method. "nearest" repeats each pixel. "bilinear" interpolates between the centres of the pixels,
        and repeats the outermost pixels towards the edge.

    Raises
    ------
    ShapeError
        If the input is flat. Raised in ``fit``.

    Notes
    -----
    For a factor s, "nearest" is y[a] = x[floor(a / s)] along each axis. "bilinear" is y[a] = (1 - t) x[i] + t x[i + 1]
    along each axis. There i + t = (a + 1/2) / s - 1/2 is the position of the centre of pixel a among the centres of x,
    clipped to the image. It is computed as a product with a matrix (h s, h), then with a matrix (w s, w).

    Use this layer and a convolution instead of a transposed convolution, which produces checkerboard artifacts:
    A. Odena, V. Dumoulin and C. Olah, "Deconvolution and checkerboard artifacts", *Distill* 2016,
    doi:10.23915/distill.00003.

    Examples
    --------
    >>> from skcnn.layers import UpSample2D
    >>> UpSample2D().output_shape((7, 7, 16))
    (14, 14, 16)
    >>> UpSample2D((1, 4), interpolation="bilinear").output_shape((1, 50, 3))
    (1, 200, 3)
    """

    size: int | tuple[int, int] = 2
    interpolation: str = "nearest"

    stem = "upsample"

    def check(self) -> None:
        self._require("size", is_size(self.size), "an int of 1 or more, or a pair of them")
        self._require("interpolation", self.interpolation in ("nearest", "bilinear"), "'nearest' or 'bilinear'")

    def output_shape(self, shape: Shape) -> Shape:
        h, w, c = image(shape)
        rows, columns = pair(self.size)
        return h * rows, w * columns, c

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        return self._record_nearest(tape, x) if self.interpolation == "nearest" else self._record_bilinear(tape, x)

    def _record_nearest(self, tape: Tape, x: Array) -> tuple[Array, Backward | None]:
        h, w, n, c = x.shape
        rows, columns = pair(self.size)
        y = tape.output((h * rows, w * columns, n, c), framed=True)
        tape(copy, x[:, None, :, None], reshape(y, (h, rows, w, columns, n, c)))

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if not needs_dx:
                return None
            first, *others = (dy[i::rows, j::columns] for i in range(rows) for j in range(columns))
            dx = tape(copy, first, tape.output(x.shape))
            for copies in others:
                tape(np.add, dx, copies, dx)
            return dx

        return y, unread(backward, x, y)

    def _record_bilinear(self, tape: Tape, x: Array) -> tuple[Array, Backward | None]:
        rows, columns = (weights(k, s, x.dtype) for k, s in zip(x.shape, pair(self.size), strict=False))
        y = tape.output((len(rows), len(columns), *x.shape[2:]))
        record_resized(tape, x, rows, columns, y)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            if not needs_dx:
                return None
            dx = tape.output(x.shape)
            record_resized(tape, dy, rows.T, columns.T, dx)
            return dx

        return y, unread(backward, x, y)
