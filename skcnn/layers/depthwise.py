"""Convolutions that process each channel separately, and mix channels afterwards or not at all."""

from __future__ import annotations

from .._arrays.elementwise import Array
from .._arrays.geometry import Borders, pair
from .._tape.convolution import choose
from .._tape.parameters import Arrays, Parameter
from .._tape.tape import Tape
from ..description import Description, description, is_count
from .base import Backward, Layer, Shape
from .bias import Bias
from .conv import Conv2D, Convolution


@description
class DepthwiseConv2D(Convolution):
    """Separate convolution of each channel.  x (n, h, w, c) -> y (n, h', w', c * depth_multiplier).

    Parameters
    ----------
    kernel_size : int or (int, int), default=3
        Height and width of the window, in pixels. One number stands for both.
    strides : int or (int, int), default=1
        Distance between neighbouring windows along height and width, in pixels.
    padding : {"same", "valid"}, int or (int, int), default="same"
        Zeros around each image, in the same format as in `Conv2D`.
    dilation : int or (int, int), default=1
        Distance between neighbouring elements of the window, in pixels. The default leaves no gaps.
    depth_multiplier : int, default=1
        Number of filters, and therefore of output channels, for each input channel.
    use_bias : bool, default=True
        Whether to add a learnable number to each output channel.
    kernel_initializer : str or initializer, default="he"
        Initializer of the kernel. The default suits a ReLU after the layer.

    Raises
    ------
    ShapeError
        If the window is larger than the padded input. Raised in ``fit``.

    Notes
    -----
    With stride s, dilation d, padding p and m filters per channel,

        y[a, b, k] = bias[k] + sum over i, j of x[s a + d i - p, s b + d j - p, c] * kernel[i, j, 0, k],  k = c m + q,

    for q = 0, ..., m - 1. It equals a `Conv2D` with as many groups as channels. Compared with a full convolution of the
    same output shape, it needs c times fewer multiplications, but does not mix channels: A. G. Howard et al.,
    "MobileNets", arXiv:1704.04861, section 3.1. The parameters are ``kernel`` (kh, kw, 1, c m) and ``bias`` (c m,).

    Examples
    --------
    >>> from skcnn.layers import DepthwiseConv2D
    >>> DepthwiseConv2D(strides=2).output_shape((28, 28, 16))
    (14, 14, 16)
    >>> DepthwiseConv2D(5, depth_multiplier=2).parameters((28, 28, 16))["kernel"].shape
    (5, 5, 1, 32)
    """

    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: str | int | tuple[int, int] = "same"
    dilation: int | tuple[int, int] = 1
    depth_multiplier: int = 1
    use_bias: bool = True
    kernel_initializer: str | Description = "he"

    stem = "depthwiseconv"

    def check(self) -> None:
        super().check()
        self._require("depth_multiplier", is_count(self.depth_multiplier), "an int of 1 or more")

    def output_shape(self, shape: Shape) -> Shape:
        return (*self.size(shape), shape[2] * self.depth_multiplier)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        kh, kw = pair(self.kernel_size)
        filters = shape[2] * self.depth_multiplier
        fan_in, fan_out = kh * kw, kh * kw * self.depth_multiplier
        kernel = Parameter((kh, kw, 1, filters), self.kernel_initializer, fan_in, fan_out, decay=True)
        return {"kernel": kernel} | (Bias().parameters((filters,)) if self.use_bias else {})

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        c = shape[2]
        return choose(tape, self.geometry(shape), rows, c, c * self.depth_multiplier, c, True).borders

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        return self._record(tape, x, p, g, groups=x.shape[3], direct=True)


@description
class SeparableConv2D(Convolution):
    """Depthwise convolution followed by a 1 x 1 convolution.  x (n, h, w, c) -> y (n, h', w', filters).

    Parameters
    ----------
    filters : int
        Number of output channels.
    kernel_size : int or (int, int), default=3
        Height and width of the depthwise window, in pixels. One number stands for both.
    strides : int or (int, int), default=1
        Distance between neighbouring depthwise windows along height and width, in pixels.
    padding : {"same", "valid"}, int or (int, int), default="same"
        Zeros around each image, in the same format as in `Conv2D`.
    dilation : int or (int, int), default=1
        Distance between neighbouring elements of the depthwise window, in pixels. The default leaves no gaps.
    depth_multiplier : int, default=1
        Number of depthwise filters for each input channel.
    use_bias : bool, default=True
        Whether to add a learnable number to each output channel, after the 1 x 1 convolution.
    depthwise_initializer : str or initializer, default="lecun"
        Initializer of the depthwise kernel. The default keeps the variance, because no activation follows that kernel.
    pointwise_initializer : str or initializer, default="he"
        Initializer of the pointwise kernel. The default suits a ReLU after the layer.

    Raises
    ------
    ShapeError
        If the window is larger than the padded input. Raised in ``fit``.

    Notes
    -----
    Let t be the output of a `DepthwiseConv2D` without bias. Then

        y[a, b, k] = bias[k] + sum over c of t[a, b, c] * pointwise_kernel[0, 0, c, k].

    This is a convolution whose kernel is the product of a kernel over space and a kernel over channels: F. Chollet,
    "Xception", arXiv:1610.02357. The parameters are ``depthwise_kernel`` (kh, kw, 1, c m), ``pointwise_kernel``
    (1, 1, c m, filters) and ``bias`` (filters,), with m = ``depth_multiplier``.

    Examples
    --------
    >>> from skcnn.layers import Conv2D, SeparableConv2D
    >>> SeparableConv2D(64).output_shape((28, 28, 32))
    (28, 28, 64)
    >>> [layer.multiply_adds((28, 28, 32)) for layer in (SeparableConv2D(64), Conv2D(64))]
    [1831424, 14450688]
    """

    filters: int
    kernel_size: int | tuple[int, int] = 3
    strides: int | tuple[int, int] = 1
    padding: str | int | tuple[int, int] = "same"
    dilation: int | tuple[int, int] = 1
    depth_multiplier: int = 1
    use_bias: bool = True
    depthwise_initializer: str | Description = "lecun"
    pointwise_initializer: str | Description = "he"

    stem = "separableconv"

    def check(self) -> None:
        self._require("filters", is_count(self.filters), "an int of 1 or more")
        super().check()
        self._require("depth_multiplier", is_count(self.depth_multiplier), "an int of 1 or more")

    def output_shape(self, shape: Shape) -> Shape:
        return (*self.size(shape), self.filters)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for part in self.lowered():
            found |= part.parameters(shape)
            shape = part.output_shape(shape)
        return found

    def multiply_adds(self, shape: Shape) -> int:
        depthwise, pointwise, *_ = self.lowered()
        return depthwise.multiply_adds(shape) + pointwise.multiply_adds(depthwise.output_shape(shape))

    def lowered(self) -> tuple[Layer, ...]:
        windows = self.kernel_size, self.strides, self.padding, self.dilation, self.depth_multiplier
        depthwise = DepthwiseConv2D(*windows, use_bias=False, kernel_initializer=self.depthwise_initializer)
        pointwise = Conv2D(self.filters, 1, use_bias=False, kernel_initializer=self.pointwise_initializer)
        parts = _Part(depthwise, "depthwise_kernel"), _Part(pointwise, "pointwise_kernel")
        return (*parts, Bias()) if self.use_bias else parts


@description
class _Part(Layer):
    """Convolution without bias that uses one of its owner's kernels.  x (n, h, w, c) -> layer(x)."""

    layer: Convolution
    kernel: str

    stem = "part"

    def scalable(self) -> str | None:
        return self.kernel

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        return {self.kernel: self.layer.parameters(shape)["kernel"]}

    def multiply_adds(self, shape: Shape) -> int:
        return self.layer.multiply_adds(shape)

    def margin(self, tape: Tape, shape: Shape, rows: int) -> Borders | None:
        return self.layer.margin(tape, shape, rows)

    def record(self, tape: Tape, x: Array, p: Arrays, g: Arrays) -> tuple[Array, Backward | None]:
        own, gradient = (Arrays(kernel=vars(arrays).get(self.kernel)) for arrays in (p, g))
        return self.layer.record(tape, x, own, gradient)
