"""Shifts and affine maps of batches of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .elementwise import Array

PIXELS = 1 << 16  # pixels per chunk, each with about 100 bytes of positions and weights
PADDING = {"nearest": "edge", "reflect": "symmetric", "mirror": "reflect"}  # modes of scipy.ndimage -> modes of np.pad


def working_dtype(dtype: Any) -> Any:
    """Return float32 for images of a dtype that it represents exactly, and float64 otherwise."""
    kind = np.dtype(dtype)
    return np.float32 if kind.itemsize <= (4 if kind.kind == "f" else 2) else np.float64


def as_dtype(x: Array, dtype: Any) -> Array:
    """Convert to a dtype. Numbers are rounded and clipped to its range if it is an integer type."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return x.astype(kind, copy=False)
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    x = np.rint(x)
    # Clip to the largest float below high + 1, because high may not be a float. The cast truncates the fraction.
    return np.clip(x, x.dtype.type(low), np.nextafter(x.dtype.type(high) + x.dtype.type(1), 0)).astype(kind)


def pad(images: Array, height: int, width: int, fill: float | str) -> Array:
    """Add a border to images (n, h, w, c). ``fill`` is a number or a mode of `PADDING`."""
    sizes = (0, 0), (height, height), (width, width), (0, 0)
    if isinstance(fill, str):
        return np.pad(images, sizes, mode=PADDING[fill])  # type: ignore[call-overload]
    return np.pad(images, sizes, constant_values=as_dtype(np.array(fill, float), images.dtype))


def translate(images: Array, down: Array, right: Array, fill: float | str) -> Array:
    """Shift each image (n, h, w, c) by whole pixels, ``down`` (n,) and ``right`` (n,)."""
    n, h, w, _ = images.shape
    height, width = int(np.abs(down).max()), int(np.abs(right).max())
    windows = sliding_window_view(pad(images, height, width, fill), (h, w), (1, 2))  # (n, top, left, c, h, w)
    return windows[np.arange(n), height - down, width - right].transpose(0, 2, 3, 1)


def affine(images: Array, maps: Array, fill: float | str) -> Array:
    """Apply an affine map of the plane to each image (n, h, w, c), with bilinear interpolation.

    ``maps`` (n, 2, 3) map positions in the result to positions in the image, maps[i] @ (row, column, 1). Positions are
    relative to the centre. Pixels outside the image are ``fill``, as in `pad`.
    """
    n, h, w, _ = images.shape
    rows = max(1, PIXELS // (h * w))
    if n <= rows:
        return _affine(images, maps, fill)
    parts = [slice(start, start + rows) for start in range(0, n, rows)]
    return np.concatenate([_affine(images[part], maps[part], fill) for part in parts])


def _affine(images: Array, maps: Array, fill: float | str) -> Array:
    n, h, w, c = images.shape
    kind = working_dtype(images.dtype)
    framed = images if isinstance(fill, str) else pad(images, 1, 1, fill)
    height, width = framed.shape[1:3]
    # Channels are outermost. Broadcasting the weights over three inner channels would cost more than the arithmetic.
    planes = np.ascontiguousarray(framed.transpose(3, 0, 1, 2), kind).reshape(c, -1)
    row = np.arange(h, dtype=kind)[:, None] - (h - 1) / 2
    column = np.arange(w, dtype=kind) - (w - 1) / 2
    maps = maps.astype(kind)[..., None, None]
    lower, step = [], []
    for axis, length in enumerate((height, width)):
        at = maps[:, axis, 0] * row + maps[:, axis, 1] * column + (maps[:, axis, 2] + (length - 1) / 2)  # (n, h, w)
        at = _folded(at, length, fill) if fill in ("reflect", "mirror") else at
        np.clip(at, 0, length - 1, out=at)
        whole = np.minimum(at.astype(np.intp), max(length - 2, 0))
        lower.append(whole)
        step.append(at - whole)
    corner = (np.arange(n)[:, None, None] * height + lower[0]) * width + lower[1]
    next_row, next_column = (width if height > 1 else 0), (1 if width > 1 else 0)
    edges = []
    for start in (corner, corner + next_row):
        near, far = planes.take(start, 1), planes.take(start + next_column, 1)  # (c, n, h, w)
        far -= near
        far *= step[1]
        far += near
        edges.append(far)
    top, bottom = edges
    bottom -= top
    bottom *= step[0]
    bottom += top
    return as_dtype(bottom, images.dtype).transpose(1, 2, 3, 0)


def _folded(at: Array, length: int, fill: float | str) -> Array:
    """Reflect positions into an axis: "mirror" at its first and last pixel, "reflect" half a pixel outside them."""
    outside = 0.5 if fill == "reflect" else 0.0
    span = length - 1 + 2 * outside
    at = np.mod(at + outside, 2 * span) if span else np.zeros_like(at)
    return np.minimum(at, 2 * span - at) - outside
