"""Convolution."""

from __future__ import annotations

import math

import numpy as np

from .._arrays.elementwise import Array
from .._arrays.geometry import Borders, Pair, Windows, pair, windows
from .._tape.convolution import choose, record_convolution
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import Description, description, is_count, is_size
from .base import Backward, Layer, Shape, ShapeError, image, unread
from .bias import Bias


class Convolution(Layer):
    """Base of the convolutions, which have windows, a kernel, and a bias that is a separate step."""

    kernel_size: int | tuple[int, int]
    strides: int | tuple[int, int]
    padding: str | int | tuple[int, int]
    dilation: int | tuple[int, int]
    use_bias: bool

    def check(self) -> None:
        for field in ("kernel_size", "strides", "dilation"):
            self._require(field, is_size(getattr(self, field)), "an int of 1 or more, or a pair of them")
        padded = self.padding in ("same", "valid") if isinstance(self.padding, str) else is_size(self.padding, 0)
        self._require("padding", padded, "'same', 'valid', an int of 0 or more, or a pair of them")
        self._require("use_bias", isinstance(self.use_bias, (bool, np.bool)), "True or False")

    def geometry(self, shape: Shape) -> Windows:
        """Return the windows over an image of ``shape``."""
        return windows(shape, pair(self.kernel_size), pair(self.strides), self.padding, pair(self.dilation))

    def size(self, shape: Shape) -> Pair:
        """Return height and width of the output; raise `ShapeError` if no window fits."""
        geometry = self.geometry(image(shape))
        if min(geometry.out) < 1:
            spans, sizes = (
                " x ".join(str(getattr(axis, name)) for axis in (geometry.rows, geometry.columns))
                for name in ("span", "bordered")
            )
            raise ShapeError(
                f"its kernel spans {spans} pixels, more than the {sizes} of its padded input;"
                " use a smaller kernel, padding='same', or fewer pooling layers before it"
            )
        return geometry.out

    def multiply_adds(self, shape: Shape) -> int:
        return math.prod(self.size(shape)) * self.parameters(shape)["kernel"].size

    def lowered(self) -> tuple[Layer, ...]:
        return (self.replaced(use_bias=False), Bias()) if self.use_bias else (self,)

    def scalable(self) -> str | None:
        return "kernel"

    def _record(
        self, tape: Tape, x: Array, p: Arrays, g: Arrays, groups: int, direct: bool = False
    ) -> tuple[Array, Backward | None]:
        h, w, _, c = x.shape
        y, through, reads_x = record_convolution(tape, x, p.kernel, self.geometry((h, w, c)), groups, direct)

        def backward(dy: Array, needs_dx: bool = True) -> Array | None:
            return through(dy, g.kernel, needs_dx)

        return y, unread(backward, y) if reads_x else unread(backward, x, y)


@description
class Conv2D(Convolution):
    """Two-dimensional convolution.  x (n, h, w, c) -> y (n, h', w', filters).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or (int, int), default=3
        Height and width of the window, in pixels. One number stands for both.
    strides : int or (int, int), default=1
        Distance between neighbouring windows along height and width, in pixels.
    padding : {"same", "valid"}, int or (int, int), default="same"
        Zeros around each image. "same" pads so that h' = ceil(h / stride) and w' = ceil(w / stride). If the number of
        zeros is odd, the extra zero is at the bottom or right. "valid" adds no zeros. A number is the number of zeros
        on each side. A pair sets height and width separately.
    dilation : int or (int, int), default=1
        Distance between neighbouring elements of the window, in pixels. The default leaves no gaps.
    groups : int, default=1
        Number of groups into which channels and filters are divided. Each group of filters reads only its own group of
        channels. With the default, each filter reads all channels.
    use_bias : bool, default=True
        Whether to add a learnable number to each output channel.
    kernel_initializer : str or initializer, default="he"
        Initializer of the kernel. The default suits a ReLU after the layer.
    algorithm : {"auto", "direct"}, default="auto"
        Algorithm of the convolution. "auto" uses Winograd's algorithm for windows of up to 7 x 7 where it is faster, in
        single precision only. Its rounding errors affect the fifth digit, relative to the largest output. They can
        change the sign of outputs close to 0, and therefore the result of a following ReLU. "direct" never uses it,
        and has rounding errors up to a hundred times smaller.

    Raises
    ------
    ShapeError
        If the window is larger than the padded input, or ``groups`` does not divide both the number of channels and
        the number of filters. Raised in ``fit``.

    Notes
    -----
    With stride s, dilation d and padding p,

        y[a, b, k] = bias[k] + sum over i, j, c of x[s a + d i - p, s b + d j - p, c] * kernel[i, j, c, k],

    which is a cross-correlation, as in every deep-learning library: I. Goodfellow, Y. Bengio and A. Courville,
    *Deep Learning*, MIT Press 2016, equation 9.6. The parameters are ``kernel`` (kh, kw, c / groups, filters) and
    ``bias`` (filters,). For figures of strides, padding and dilation see V. Dumoulin and F. Visin, "A guide to
    convolution arithmetic for deep learning", arXiv:1603.07285.

    Examples
    --------
    >>> from skcnn.layers import Conv2D
    >>> Conv2D(32, kernel_size=5).output_shape((28, 28, 1))
    (28, 28, 32)
    >>> Conv2D(32, kernel_size=5, strides=2, padding="valid").output_shape((28, 28, 1))
    (12, 12, 32)
    """

    filters: int
    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: str | int | tuple[int, int] = "same"
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    use_bias: bool = True
    kernel_initializer: str | Description = "he"
    algorithm: str = "auto"

    stem = "conv"

    def check(self) -> None:
        self._require("filters", is_count(self.filters), "an int of 1 or more")
        super().check()
        self._require("algorithm", self.algorithm in ("auto", "direct"), "'auto' or 'direct'")
        self._require("groups", is_count(self.groups), "an int of 1 or more")

    def output_shape(self, shape: Shape) -> Shape:
        size = self.size(shape)
        if shape[2] % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"groups={self.groups} must divide both its {shape[2]} channels and {self.filters} filters"
            )
        return (*size, self.filters)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        kh, kw = pair(self.kernel_size)
        kernel = (kh, kw, shape[2] // self.groups, self.filters)
        fan_in, fan_out = kh * kw * kernel[2], kh * kw * self.filters // self.groups
        found = {"kernel": Parameter(kernel, self.kernel_initializer, fan_in, fan_out, decay=True)}
        return found | Bias().parameters((self.filters,)) if self.use_bias else found

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        return choose(tape, self.geometry(shape), rows, shape[2], self.filters, self.groups, self._direct).borders

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        return self._record(tape, x, p, g, self.groups, self._direct)

    @property
    def _direct(self) -> bool:
        return self.algorithm == "direct"
