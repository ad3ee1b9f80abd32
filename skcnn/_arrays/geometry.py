"""Geometry of sliding windows: sizes, padding, and the pixels that each offset of a window reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product

Pair = tuple[int, int]
Borders = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def pair(value: object) -> Pair:
    """Return (height, width) from one number for both axes, or from a pair."""
    if isinstance(value, (tuple, list)):
        height, width = value
        return height, width
    return value, value  # type: ignore[return-value]


def evenly(size: int, count: int) -> list[slice]:
    """Divide ``size`` elements into ``count`` blocks of nearly equal length, or fewer if there are fewer elements.

    No block is longer than the first, so that all can use the memory of the first.
    """
    count = min(size, count)
    bounds = [-(-size * i // count) for i in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


@dataclass(frozen=True)
class Axis:
    """Window that slides along one axis of ``size`` elements, with padding ``before`` and ``after`` it."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def span(self) -> int:
        """Number of elements from the first to the last that a window reads."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """Number of windows. It is 0 or less if the window is larger than its padded input."""
        return (self.size + self.before + self.after - self.span) // self.stride + 1

    @property
    def bordered(self) -> int:
        """Number of elements with padding."""
        return self.size + self.before + self.after

    def padded(self, offset: int) -> slice:
        """Return the elements of the padded input that all windows read at ``offset``."""
        start = offset * self.dilation
        return slice(start, start + (self.out - 1) * self.stride + 1, self.stride)

    def inside(self, offset: int, first: int, last: int) -> tuple[slice, slice]:
        """Return the windows in first..last whose ``offset`` is inside the image, and the elements that they read."""
        shift = offset * self.dilation - self.before
        low = max(first, -(shift // self.stride))  # the ceiling of -shift / stride
        high = min(last, (self.size - 1 - shift) // self.stride + 1)
        if high <= low:
            return slice(0, 0), slice(0, 0)
        return slice(low, high), slice(low * self.stride + shift, (high - 1) * self.stride + shift + 1, self.stride)

    def upstream(self) -> Iterator[Upstream]:
        """Yield, for each phase a from 0 to stride - 1, the windows that return gradients to the elements of the phase.

        Element a + k * stride is read by window o at offset i if a + k * stride + before = o * stride + i * dilation.
        """
        common = math.gcd(self.stride, self.dilation)
        step, dilation = (
            self.stride // common,
            self.dilation // common,
        )  # distances between these offsets, and between these windows
        for a in range(min(self.stride, self.size)):
            elements = slice(a, None, self.stride)
            offsets = [i for i in range(self.kernel) if (a + self.before - i * self.dilation) % self.stride == 0]
            if not offsets:
                yield Upstream(elements, slice(0, 0), Axis(self.out, 0, 1, 1, 0, 0))
                continue
            first = (a + self.before - offsets[-1] * self.dilation) // self.stride  # window for k = 0
            last = first + (len(offsets) - 1) * dilation + len(range(self.size)[elements]) - 1
            reverse = slice(offsets[-1], offsets[0] - 1 if offsets[0] else None, -step)
            axis = Axis(self.out, len(offsets), 1, dilation, -first, last - self.out + 1)
            yield Upstream(elements, reverse, axis)


@dataclass(frozen=True)
class Upstream:
    """Elements of an image, the offsets at which windows read them in descending order, and the axis of those windows.

    ``axis`` slides along the gradient of the output, and may use only a part of it.
    """

    elements: slice
    offsets: slice
    axis: Axis


@dataclass(frozen=True)
class Windows:
    """Windows of a convolution or a pooling layer, along both axes."""

    rows: Axis
    columns: Axis

    @property
    def out(self) -> Pair:
        """Height and width of the output."""
        return self.rows.out, self.columns.out

    @property
    def kernel(self) -> Pair:
        """Height and width of a window."""
        return self.rows.kernel, self.columns.kernel

    @property
    def borders(self) -> Borders:
        """Padding ((top, bottom), (left, right))."""
        return (self.rows.before, self.rows.after), (self.columns.before, self.columns.after)

    @property
    def has_border(self) -> bool:
        """Whether any window reads outside the image."""
        return self.borders != ((0, 0), (0, 0))

    @property
    def is_strided(self) -> bool:
        """Whether a stride exceeds 1."""
        return (self.rows.stride, self.columns.stride) != (1, 1)

    @property
    def is_dilated(self) -> bool:
        """Whether a dilation exceeds 1."""
        return (self.rows.dilation, self.columns.dilation) != (1, 1)

    @property
    def is_plain(self) -> bool:
        """Whether strides and dilations are 1."""
        return not (self.is_strided or self.is_dilated)

    def offsets(self) -> Iterator[Pair]:
        """Yield the offsets in a window, row by row: (0, 0), (0, 1), ..."""
        return product(range(self.rows.kernel), range(self.columns.kernel))


def windows(shape: tuple[int, ...], kernel: Pair, strides: Pair, padding: object, dilation: Pair = (1, 1)) -> Windows:
    """Return the windows of a layer over an image of ``shape`` (h, w, ...).

    The padding "same" gives an output of ``ceil(size / stride)`` elements. As in Keras, an extra zero is at the bottom
    or right. "valid" adds no padding. Numbers are the padding on both sides of (height, width).
    """
    axes = []
    for axis in range(2):
        size, k, s, d = shape[axis], kernel[axis], strides[axis], dilation[axis]
        if padding == "same":
            both = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            before, after = both // 2, both - both // 2
        elif padding == "valid":
            before = after = 0
        else:
            before = after = pair(padding)[axis]
        axes.append(Axis(size, k, s, d, before, after))
    return Windows(*axes)
