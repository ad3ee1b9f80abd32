"""Standardization of images: the mean and the standard deviation of each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import Array

CHUNK = 1 << 18  # numbers that are brought to float64 at a time: 2 MB
ROUNDED = 1e-3  # of a standard deviation that a number may be rounded by
CHEAP = 160_000  # multiply-adds per image; scikit-learn's checks need double precision with up to 154,000
RANGE = 1e-30  # the smallest standard deviation for single precision, and the inverse of the largest


@dataclass(frozen=True)
class Scaling:
    """What images are standardized with: (x - mean) / scale, per channel, in float64."""

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
    for start in range(0, len(rows), step):
        chunk = images[rows[start : start + step]].reshape(-1, h * w, c).astype(np.float64)
        chunk -= origin
        weight = weights[start : start + step]
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
    kind = images.dtype if images.dtype.kind == "f" and images.itemsize < 8 else np.float64
    rounded = np.finfo(kind).eps / 2 * np.abs(mean)  # the most that two neighbouring numbers deviate by
    return Scaling(mean, np.where(scale > rounded, scale, 1.0))


def needed_dtype(kind: np.dtype[Any], scaling: Scaling, multiply_adds: int) -> Any:
    """The dtype to compute in, for images of a dtype and a network of so many multiply-adds per image.

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
