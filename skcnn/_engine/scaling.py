"""Standardization of images by the mean and standard deviation of each channel, and warnings for extreme images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from ..exceptions import ImageScaleWarning, warn_user

CHUNK = 1 << 18  # numbers that are converted to float64 at a time: 2 MB
ROUNDED = 1e-3  # largest rounding error of a pixel, in standard deviations
# Images are on another scale if their pixels are this many times larger or smaller, or if their mean is this many
# standard deviations away. Photos at night, in fog, or with inverted ink are within 10. Pixels in 0..1 instead of
# 0..16 differ by a factor of 16.
FAR = 12
SEVERAL = 3  # smallest number of images to judge a scale by, because a single image may be dark
IMAGES, GRID = 8, 16  # sample that is compared: number of images, and of pixels along an axis
EXTREME = 50  # distance of an extreme pixel, in standard deviations
CHEAP = 160_000  # multiply-adds per image below which double precision is cheap; scikit-learn's checks reach 154,000
RANGE = 1e-30  # smallest standard deviation for single precision, and the inverse of the largest


@dataclass(frozen=True)
class Scaling:
    """Standardization of images: (x - mean) / scale, per channel, in float64."""

    mean: Array
    scale: Array


def no_scaling(channels: int) -> Scaling:
    """Return the scaling that leaves images as they are."""
    return Scaling(np.zeros(channels), np.ones(channels))


def measure_scaling(images: Array, rows: Array, weights: Array) -> Scaling:
    """Return the weighted mean and standard deviation of each channel of the images (n, h, w, c) in ``rows``.

    The data are read once, in chunks, whose moments are merged as in T. Chan, G. Golub and R. LeVeque, "Updating
    formulae and a pairwise algorithm for computing sample variances", 1979. A channel that varies by no more than
    rounding errors gets a scale of 1.
    """
    h, w, c = images.shape[1:]
    step = max(1, CHUNK // (h * w * c))
    origin = images[rows[0], 0, 0].astype(np.float64)  # subtracted, so that a constant channel is exactly 0
    total, mean, squares = 0.0, np.zeros(c), np.zeros(c)
    lowest, highest = np.empty(len(rows)), np.empty(len(rows))  # pixel of each image
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        raw = images[rows[part]].reshape(-1, h * w * c)
        lowest[part], highest[part] = raw.min(axis=1), raw.max(axis=1)
        chunk = raw.reshape(-1, h * w, c).astype(np.float64)
        chunk -= origin
        weight = weights[part]
        size = weight.sum() * h * w
        if not size:
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # checked below
            chunk_mean = np.einsum("n,npc->c", weight, chunk) / size
            chunk -= chunk_mean
            chunk_squares = np.einsum("n,npc,npc->c", weight, chunk, chunk)
            delta = chunk_mean - mean
            squares += chunk_squares + delta**2 * total * size / (total + size)
        mean += delta * size / (total + size)
        total += size
    mean, scale = origin + mean, np.sqrt(squares / total)
    if not np.isfinite(scale).all():
        largest = max(abs(lowest.min()), abs(highest.max()))
        raise ValueError(f"X contains {largest:.3g}, whose square is infinite, so X cannot be standardized. Divide X.")
    _warn_of_extremes(rows, lowest, highest, mean, scale)
    kind = images.dtype if images.dtype.kind == "f" and images.itemsize < 8 else np.float64
    rounded = np.finfo(kind).eps / 2 * np.abs(mean)  # largest rounding error of a number
    return Scaling(mean, np.where(scale > rounded, scale, 1.0))


def measure_targets(targets: Array, weights: Array) -> Scaling:
    """Return the weighted mean and standard deviation of each column of targets (n, k).

    A column that varies by no more than rounding errors gets a scale of 1.
    """
    mean = np.average(targets, axis=0, weights=weights)
    largest = np.abs(targets - mean).max(axis=0)  # its square may be infinite
    share = (targets - mean) / np.where(largest > 0, largest, 1)
    scale = largest * np.sqrt(np.average(share**2, axis=0, weights=weights))
    return Scaling(mean, np.where(scale > np.finfo(np.float64).eps * np.abs(mean), scale, 1.0))


def _warn_of_extremes(rows: Array, lowest: Array, highest: Array, mean: Array, scale: Array) -> None:
    """Warn if extreme pixels of at most one image in a hundred determine the standardization of all images.

    ``lowest`` and ``highest`` (n,) are the extremes of each image, over all channels. Distances are measured in the
    largest standard deviation of a channel, which is large because of such pixels.
    """
    distance = np.maximum(highest - mean.min(), mean.max() - lowest) / (scale.max() or 1.0)
    usual = np.sort(distance)[-1 - max(1, len(rows) // 100)] if len(rows) > 1 else np.inf
    far = distance > max(EXTREME, FAR * usual)
    if not far.any() or (lowest == highest)[~far].all():  # rare dots on constant images are the content of the images
        return
    low, high = lowest[~far].min(), highest[~far].max()
    warn_user(
        f"Row {rows[distance.argmax()]} of X contains a pixel that is {distance.max():.0f} standard deviations away"
        f" from the mean of all pixels. The pixels of {far.sum()} of {len(rows)} images reach from"
        f" {lowest[far].min():.4g} to {highest[far].max():.4g}, and the pixels of the other images from {low:.4g} to"
        f" {high:.4g}. A few extreme pixels determine how all images are standardized. Correct them, or pass"
        f" np.clip(X, {low:.4g}, {high:.4g}).",
        ImageScaleWarning,
    )


def warn_of_scale(images: Array, scaling: Scaling, name: str = "X") -> None:
    """Warn if a batch of several images (n, h, w, c) is on another scale than the images of the fit.

    A sample of their pixels is compared with the statistics of the training, by the median over the channels. Constant
    images, and networks that do not standardize, are not compared.
    """
    n, h, w, c = images.shape
    if n < SEVERAL or not (scaling.mean.any() or (scaling.scale != 1).any()):
        return
    steps = (-(-length // most) for length, most in ((n, IMAGES), (h, GRID), (w, GRID)))
    chosen = images[tuple(slice(None, None, step) for step in steps)]
    sample = np.array(chosen.reshape(-1, c).T, np.float64, order="C")
    mean = sample.sum(axis=1) / sample.shape[1]
    with np.errstate(over="ignore"):
        squares = np.einsum("cp,cp->c", sample, sample) / sample.shape[1]
    ratio = _median(np.sqrt(squares) / np.hypot(scaling.mean, scaling.scale))
    shift = _median(np.abs(mean - scaling.mean) / scaling.scale)
    is_near = 1 / FAR <= ratio <= FAR and shift <= FAR
    if is_near or ratio == math.inf or (sample == sample[:, :1]).all():
        return
    factor = "* 255" if 1 / 1024 < ratio < 1 / 64 else "/ 255" if 64 < ratio < 1024 else ""
    guess = f" You may need {name} {factor}." if factor else ""
    warn_user(
        f"{name} is on another scale than the images of the fit: a sample of its pixels has mean {mean.mean():.3g} and"
        f" standard deviation {sample.std():.3g}, and the pixels of the fit had mean {scaling.mean.mean():.3g} and"
        f" standard deviation {scaling.scale.mean():.3g}. Pass {name} in the units of the training images.{guess}",
        ImageScaleWarning,
    )


def _median(values: Array) -> float:
    """Return the upper median of a few numbers, faster than NumPy."""
    return float(sorted(values)[len(values) // 2])


def needed_dtype(kind: np.dtype[Any], scaling: Scaling, multiply_adds: int) -> Any:
    """Return the precision for images of a dtype ``kind`` and a network of ``multiply_adds`` per image.

    Images in double precision keep it in small networks, where it is cheap. Otherwise the precision is single, unless
    that would lose digits. Numbers lose digits if they vary little around a large mean, or are near the ends of the
    range. Integers below 2 ** 24 lose none.
    """
    wide = kind.kind == "f" and kind.itemsize >= 8
    if wide and multiply_adds < CHEAP:
        return np.float64
    mean, scale, eps = np.abs(scaling.mean), scaling.scale, np.finfo(np.float32).eps
    rounded = eps * mean > ROUNDED * scale
    if wide:
        loses = rounded | (mean + scale > 1 / RANGE) | (scale < RANGE)
    else:
        loses = rounded & (mean > 2 / eps) & (kind.kind in "iu")
    return np.float64 if loses.any() else np.float32
