"""Probable mistakes in what a fit is given, and the warnings for them. They say what was seen, and what to write."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from .._engine.inputs import as_code, cure, stacked
from .._engine.network import Network
from ..exceptions import ImageLayoutWarning, OutputLayerWarning, TargetFormatWarning, warn_user
from ..layers import Dense, HardSigmoid, Sigmoid, Softmax
from .given import full_shape

SQUARE = 64  # 2-D rows of at least this many features that are a square number are square images
TABLE = 32  # rows of fewer features are hardly images
SIDE = 8  # the least height and width of an image with channels first
LONG = 4  # times the other side: such images are rather signals with many channels
FIRST = 1, 3, 4  # channels that come first: grey, RGB, RGBA
SMOOTH = 0.3  # the least correlation of neighbouring columns of an image
SAMPLE = 64  # images that are looked at, and their pixels along an axis
ENDS = Dense, HardSigmoid, Sigmoid, Softmax  # of output layers
ROWS = 10  # of y, which are one-hot by chance where there are fewer


def choose_input_shape(X: Any, rows: Array, shape: tuple[int, ...] | None, wanted: Any) -> tuple[int, int, int]:
    """(h, w, c) of the images to fit; a warning where it is a guess that may well be wrong.

    ``rows`` are the images of X, ``shape`` is theirs if they came as images, ``wanted`` is the estimator's
    ``input_shape``, which is never questioned.
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
            f"X has {features} features in each row, which is no square image: rows are read as signals,"
            f" 1 x {features} with one channel.{_what_rows_may_be(X, features)} For signals, pass"
            f" input_shape=(1, {features}).",
            ImageLayoutWarning,
        )
    return 1, features, 1


def _explicit(X: Any, features: int, shape: tuple[int, ...] | None, wanted: Any) -> tuple[int, int, int]:
    """(h, w, c) of an ``input_shape``; a ValueError if the images are of another."""
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
    """A sentence on images that have so many numbers, and what to write for them."""
    third, less = math.isqrt(features // 3), features - 1
    if 3 * third * third == features:
        planes = f"{as_code(X, 'X')}.reshape(-1, 3, {third}, {third}).transpose(0, 2, 3, 1)"
        return (
            f" {features} = 3 * {third} * {third}: if they are RGB images flattened pixel by pixel, pass"
            f" input_shape=({third}, {third}, 3); if the planes red, green and blue come one after the other, give"
            f" {planes}."
        )
    for channels in (1, 3):
        side = math.isqrt(less // channels)
        if channels * side * side == less and less >= SQUARE:
            sizes = f"{side} * {side}" + f" * {channels}" * (channels > 1)
            return f" {features} = {sizes} + 1: if one column is the label, give the others alone, with input_shape."
    height = max(h for h in range(1, math.isqrt(features) + 1) if features % h == 0)
    width = features // height
    if width <= LONG * height:
        return f" If they are images, pass input_shape=(h, w), for example ({height}, {width}) or ({width}, {height})."
    return " If an earlier step, such as a feature selector, has dropped pixels of images, leave that step out."


def _warn_of_alpha(rows: Array, side: int) -> None:
    """Warn where square rows look like RGBA: every fourth number is the same in all of them, and the largest."""
    half, odd = divmod(side, 2)
    sample = rows[:: -(-len(rows) // SAMPLE)]
    alpha = sample[:, 3::4]
    if odd or alpha[0, 0] <= 0 or (alpha != alpha[0, 0]).any() or sample.max() > alpha[0, 0]:
        return
    if (sample == alpha[0, 0]).all():
        return
    warn_user(
        f"X has {side * side} features in each row, and every fourth of them is {alpha[0, 0]:g}: these look like RGBA"
        f" images, and are read as grey ones of {side} x {side} pixels. Pass input_shape=({half}, {half}, 4); for grey"
        f" images, input_shape=({side}, {side}).",
        ImageLayoutWarning,
    )


def _warn_of_channels_first(X: Any, images: Array) -> None:
    """Warn where images (n, h, w, c) look like (n, c, h, w).

    Signals and feature maps of one row, of three or of four rows are (1, length, channels) as well: their sides differ
    more, or neighbouring channels have little in common, where neighbouring columns of pixels are alike.
    """
    c, h, w = images.shape[1:]
    if c not in FIRST or min(h, w) < SIDE or max(h, w) > LONG * min(h, w):
        return
    if h != w and _likeness(images) < SMOOTH:
        return
    channels = "1 channel" if w == 1 else f"{w} channels"
    warn_user(
        f"X has images of shape {(c, h, w)}, read as (h, w, c): {c} high, {h} wide, with {channels}. They look like"
        f" channels first. Give {as_code(X, 'X')}.transpose(0, 2, 3, 1); if the channels are last, pass"
        f" input_shape={(c, h, w)}.",
        ImageLayoutWarning,
    )


def _likeness(images: Array) -> float:
    """The correlation of numbers with their neighbours along the last axis, in parts of some images."""
    values = images[:: -(-len(images) // SAMPLE), :, :SAMPLE, :SAMPLE].astype(np.float64)
    values -= values.mean()
    variance = np.mean(values**2)
    return float(np.mean(values[..., 1:] * values[..., :-1]) / variance) if variance else 0.0


def is_one_hot(y: Array) -> bool:
    """Whether each row of y (n, k) has exactly one 1, and zeros."""
    return y.ndim == 2 and y.shape[1] > 1 and bool(((y == 1).sum(axis=1) == 1).all() and ((y == 0) | (y == 1)).all())


def warn_of_one_hot(y: Array) -> None:
    """Warn where labels (n, k) are one-hot."""
    if len(y) >= ROWS and is_one_hot(y):
        warn_user(
            f"Each of the {len(y)} rows of y has exactly one 1 in its {y.shape[1]} columns: this is one-hot coding of"
            f" classes, and is learnt as {y.shape[1]} labels that do not exclude each other. Give"
            " np.asarray(y).argmax(axis=1), the classes.",
            TargetFormatWarning,
        )


def warn_of_own_output(network: Network, widths: Iterable[int]) -> None:
    """Warn where the hidden layers end as an output layer does.

    That is a dense layer, a softmax or a sigmoid of one of the ``widths``, which are the numbers of outputs and of
    classes, and a softmax behind any dense layer. Other sigmoids are hidden units.
    """
    *before, last = network.hidden or (None,)
    (width,) = network.shapes[-2]
    own = [layer for layer in [*before[-1:], last] if layer is last or isinstance(layer, Dense)]
    if isinstance(last, ENDS) and (width in widths or (len(own) > 1 and isinstance(last, Softmax))):
        given = ", ".join(map(repr, own))
        warn_user(
            f"layers ends with an output layer of its own: {given}, which gives {width} numbers. The estimator adds the"
            f" output layer, Dense({network.outputs}), and its loss applies a softmax or sigmoid where one is needed."
            f" Leave out {given}.",
            OutputLayerWarning,
        )
