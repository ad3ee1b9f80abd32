"""Standardization of images: the mean and the standard deviation of each channel, and images that are far from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import Array
from ..exceptions import ImageScaleWarning, warn_user

CHUNK = 1 << 18  # numbers that are brought to float64 at a time: 2 MB
ROUNDED = 1e-3  # of a standard deviation that a number may be rounded by
# Images are on another scale if their pixels are so many times larger or smaller, or their mean is so many standard
# deviations away. Night and fog, and images of ink that are inverted, are within 10; 0..16 as 0..1 is a factor of 16.
FAR = 12
SEVERAL = 3  # images that say something about their scale: one may well be dark
IMAGES, GRID = 8, 16  # the sample that is looked at: images, and pixels along an axis
EXTREME = 50  # standard deviations of a pixel that decides what all others are divided by
CHEAP = 160_000  # multiply-adds per image; scikit-learn's checks need double precision with up to 154,000
RANGE = 1e-30  # the smallest standard deviation for single precision, and the inverse of the largest


@dataclass(frozen=True)
class Scaling:
    """Standardization of images: (x - mean) / scale, per channel, in float64."""

    mean: Array
    scale: Array


def no_scaling(channels: int) -> Scaling:
    """Images as they are."""
    return Scaling(np.zeros(channels), np.ones(channels))


def measure_scaling(images: Array, rows: Array, weights: Array) -> Scaling:
    """Weighted mean and standard deviation per channel of images (n, h, w, c), of which ``rows`` are used.

    In one pass over the data, a chunk at a time: the moments of chunks are merged by T. Chan, G. Golub and R. LeVeque,
    "Updating formulae and a pairwise algorithm for computing sample variances", 1979. A channel that varies by
    no more than its numbers are rounded by is left at its scale.
    """
    h, w, c = images.shape[1:]
    step = max(1, CHUNK // (h * w * c))
    origin = images[rows[0], 0, 0].astype(np.float64)  # what does not vary is then exactly 0
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
        chunk_mean = np.einsum("n,npc->c", weight, chunk) / size
        chunk -= chunk_mean
        chunk_squares = np.einsum("n,npc,npc->c", weight, chunk, chunk)
        delta = chunk_mean - mean
        squares += chunk_squares + delta**2 * total * size / (total + size)
        mean += delta * size / (total + size)
        total += size
    mean, scale = origin + mean, np.sqrt(squares / total)
    _warn_of_extremes(rows, lowest, highest, mean, scale)
    kind = images.dtype if images.dtype.kind == "f" and images.itemsize < 8 else np.float64
    rounded = np.finfo(kind).eps / 2 * np.abs(mean)  # the most that two neighbouring numbers deviate by
    return Scaling(mean, np.where(scale > rounded, scale, 1.0))


def measure_targets(targets: Array, weights: Array) -> Scaling:
    """Return the weighted mean and standard deviation of each column of targets (n, k).

    A column that varies by no more than its numbers are rounded by is left at its scale.
    """
    mean = np.average(targets, axis=0, weights=weights)
    scale = np.sqrt(np.average((targets - mean) ** 2, axis=0, weights=weights))
    return Scaling(mean, np.where(scale > np.finfo(np.float64).eps * np.abs(mean), scale, 1.0))


def _warn_of_extremes(rows: Array, lowest: Array, highest: Array, mean: Array, scale: Array) -> None:
    """Warn where one image in a hundred, or fewer, has pixels that decide the standardization of all.

    ``lowest`` and ``highest`` (n,) are of the pixels of each image, over all channels. Distances are counted in the
    largest standard deviation of a channel, which such a pixel makes.
    """
    distance = np.maximum(highest - mean.min(), mean.max() - lowest) / (scale.max() or 1.0)
    usual = np.sort(distance)[-1 - max(1, len(rows) // 100)] if len(rows) > 1 else np.inf
    far = distance > max(EXTREME, FAR * usual)
    if not far.any() or (lowest == highest)[~far].all():  # rare dots on nothing are what the images are about
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
    """Warn where a batch of several images (n, h, w, c) is on another scale than the images of the fit.

    A sample of their pixels is compared with the statistics of the training, in the median of the channels. Images
    that do not vary at all say nothing, nor does a network that does not standardize.
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
    bring = "* 255" if 1 / 1024 < ratio < 1 / 64 else "/ 255" if 64 < ratio < 1024 else ""
    guess = f" Perhaps that is {name} {bring}." if bring else ""
    warn_user(
        f"{name} is on another scale than the images of the fit: a sample of its pixels has mean {mean.mean():.3g} and"
        f" standard deviation {sample.std():.3g}, and the pixels of the fit had mean {scaling.mean.mean():.3g} and"
        f" standard deviation {scaling.scale.mean():.3g}. Pass {name} in the units of the training images.{guess}",
        ImageScaleWarning,
    )


def _median(values: Array) -> float:
    """The upper median of a few numbers, faster than NumPy's."""
    return float(sorted(values)[len(values) // 2])


def needed_dtype(kind: np.dtype[Any], scaling: Scaling, multiply_adds: int) -> Any:
    """Return the precision for images of a dtype and a network of so many multiply-adds per image.

    Images in double precision keep it in small networks, where it costs nothing. Elsewhere single precision is enough
    unless it would lose digits that matter: of numbers that vary by little around a large mean, and of numbers near
    the ends of its range. Integers lose no digits below 2 ** 24.
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
