"""Warnings for probable mistakes in the input of a fit. They describe what was found, and how to change the code."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._engine.inputs import as_code, cure, stacked
from .._engine.network import Network
from ..exceptions import ImageLayoutWarning, OutputLayerWarning, TargetFormatWarning, warn_user
from ..layers import Dense, GlobalAvgPool2D, GlobalMaxPool2D, HardSigmoid, Sigmoid, Softmax
from .given import full_shape

SQUARE = 64  # rows with at least this many features are square images, if the number is a square
TABLE = 32  # rows with fewer features are probably not images, so there is no warning
SIDE = 8  # smallest height and width of an image with channels first
LONG = 4  # largest ratio of the sides of an image; longer ones are probably signals with many channels
FIRST = 1, 3, 4  # numbers of channels that may come first: grey, RGB, RGBA
SMOOTH = 0.3  # smallest correlation of neighbouring columns of an image
SAMPLE = 64  # largest sample that is checked: number of images, and of pixels along an axis
POOLED = Dense, GlobalAvgPool2D, GlobalMaxPool2D  # a softmax directly after them is an output layer
ENDS = Dense, HardSigmoid, Sigmoid, Softmax  # layers that end an output layer
ROWS = 10  # smallest number of rows that are reported as one-hot, because fewer may be one-hot by chance


def choose_input_shape(X: Any, rows: Array, shape: tuple[int, ...] | None, wanted: Any) -> tuple[int, int, int]:
    """Return the shape (h, w, c) of the images to fit, and warn if it is a guess that may be wrong.

    ``rows`` are the flattened images of X. ``shape`` is their shape if X has images, and None if X has rows. ``wanted``
    is the estimator's ``input_shape``, which is used without a warning.
    """
    features = rows.shape[1]
    if wanted is not None:
        return _explicit(X, features, shape, wanted)
    if shape is not None:
        _warn_of_channels_first(X, rows.reshape(len(rows), *shape))
        return shape  # type: ignore[return-value]
    side = math.isqrt(features)
    if side * side == features and features >= SQUARE:
        _warn_of_alpha(rows, side)
        return side, side, 1
    if features >= TABLE:
        warn_user(
            f"X has {features} features in each row, which is not a square image. Rows are used as signals,"
            f" 1 x {features} with one channel.{_what_rows_may_be(X, features)} For signals, pass"
            f" input_shape=(1, {features}).",
            ImageLayoutWarning,
        )
    return 1, features, 1


def _explicit(X: Any, features: int, shape: tuple[int, ...] | None, wanted: Any) -> tuple[int, int, int]:
    """Return the shape (h, w, c) of an ``input_shape``, or raise a ValueError if the images have another shape."""
    full = full_shape(wanted)
    if shape is not None and shape != full:
        hint = cure(X, np.shape(stacked(X)), full, "X")
        raise ValueError(f"input_shape={wanted!r} does not fit X, whose images have shape {shape}.{hint}")
    if math.prod(full) != features:
        raise ValueError(
            f"input_shape={wanted!r} does not fit X: {' * '.join(map(str, full))} = {math.prod(full)}, but each row"
            f" of X has {features} features."
        )
    return full


def _what_rows_may_be(X: Any, features: int) -> str:
    """Return a sentence on images with this number of features, and the code for them."""
    third, less = math.isqrt(features // 3), features - 1
    if 3 * third * third == features:
        planes = f"{as_code(X, 'X')}.reshape(-1, 3, {third}, {third}).transpose(0, 2, 3, 1)"
        return (
            f" {features} = 3 * {third} * {third}. If they are RGB images flattened pixel by pixel, pass"
            f" input_shape=({third}, {third}, 3). If the planes red, green and blue come one after the other, pass"
            f" {planes}."
        )
    for channels in (1, 3):
        side = math.isqrt(less // channels)
        if channels * side * side == less and less >= SQUARE:
            sizes = f"{side} * {side}" + f" * {channels}" * (channels > 1)
            return f" {features} = {sizes} + 1. If one column is the label, pass the other columns, with input_shape."
    height = max(h for h in range(1, math.isqrt(features) + 1) if features % h == 0)
    width = features // height
    if width <= LONG * height:
        return f" If they are images, pass input_shape=(h, w), for example ({height}, {width}) or ({width}, {height})."
    return " If an earlier step, such as a feature selector, has dropped pixels of images, leave that step out."


def _warn_of_alpha(rows: Array, side: int) -> None:
    """Warn if square rows look like RGBA images, where every fourth number is the same and the largest."""
    half, odd = divmod(side, 2)
    sample = rows[:: -(-len(rows) // SAMPLE)]
    alpha = sample[:, 3::4]
    if odd or alpha[0, 0] <= 0 or (alpha != alpha[0, 0]).any() or sample.max() > alpha[0, 0]:
        return
    if (sample == alpha[0, 0]).all():
        return
    warn_user(
        f"X has {side * side} features in each row, and every fourth of them is {alpha[0, 0]:g}. These look like RGBA"
        f" images, but are used as grey images of {side} x {side} pixels. For RGBA images, pass input_shape=({half},"
        f" {half}, 4). For grey images, pass input_shape=({side}, {side}).",
        ImageLayoutWarning,
    )


def _warn_of_channels_first(X: Any, images: Array) -> None:
    """Warn if images (n, h, w, c) look like (n, c, h, w).

    Signals and feature maps of one, three or four rows have such shapes too. There the other sides differ more, or
    neighbouring channels are less correlated than neighbouring columns of an image.
    """
    c, h, w = images.shape[1:]
    if c not in FIRST or min(h, w) < SIDE or max(h, w) > LONG * min(h, w):
        return
    if h != w and _likeness(images) < SMOOTH:
        return
    channels = "1 channel" if w == 1 else f"{w} channels"
    warn_user(
        f"X has images of shape {(c, h, w)}, used as (h, w, c): {c} high, {h} wide, with {channels}. They look like"
        f" images with channels first. If so, pass {as_code(X, 'X')}.transpose(0, 2, 3, 1). If the channels are last,"
        f" pass input_shape={(c, h, w)}.",
        ImageLayoutWarning,
    )


def _likeness(images: Array) -> float:
    """Return the correlation of numbers with their neighbours along the last axis, in a sample of images."""
    values = images[:: -(-len(images) // SAMPLE), :, :SAMPLE, :SAMPLE].astype(np.float64)
    values -= values.mean()
    variance = np.mean(values**2)
    return float(np.mean(values[..., 1:] * values[..., :-1]) / variance) if variance else 0.0


def is_one_hot(y: Array) -> bool:
    """Return whether each row of y (n, k) has exactly one 1, and zeros elsewhere."""
    return y.ndim == 2 and y.shape[1] > 1 and bool(((y == 1).sum(axis=1) == 1).all() and ((y == 0) | (y == 1)).all())


def warn_of_one_hot(y: Array) -> None:
    """Warn if labels (n, k) are one-hot."""
    if len(y) >= ROWS and is_one_hot(y):
        warn_user(
            f"Each of the {len(y)} rows of y has exactly one 1 in its {y.shape[1]} columns, like one-hot coded classes."
            f" They are learnt as {y.shape[1]} labels that do not exclude each other. For classes, pass"
            " np.asarray(y).argmax(axis=1).",
            TargetFormatWarning,
        )


def warn_of_own_output(network: Network, widths: Iterable[int]) -> None:
    """Warn if the hidden layers end with an output layer.

    An output layer is a dense layer or a sigmoid with one of the ``widths``, which are the numbers of
    outputs and of classes. A softmax after a dense layer or a global pooling is one too. Other sigmoids are hidden
    units.
    """
    *before, last = network.hidden or (None,)
    (width,) = network.shapes[-2]
    own = [layer for layer in [*before[-1:], last] if layer is last or isinstance(layer, Dense)]
    ends = isinstance(last, Softmax) and isinstance(before[-1] if before else None, POOLED)
    if ends or (isinstance(last, ENDS) and width in widths):
        given = ", ".join(map(repr, own))
        warn_user(
            f"layers ends with an output layer of its own: {given}, with {width} outputs. The estimator adds the output"
            f" layer, Dense({network.outputs}), and its loss applies a softmax or sigmoid if one is needed. Remove"
            f" {given}.",
            OutputLayerWarning,
        )
