"""Test-time augmentation: raw predictions averaged over mirrored and shifted views of each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays.elementwise import Array, ufunc_settings
from .predictor import Predictor

# Name of a test-time augmentation -> shifts of the image in pixels, down and to the right, and their weights. Each
# shift is seen as it is and mirrored.
SHIFTS: dict[str, dict[int, float]] = {"flip": {0: 1.0}, "flip_shift": {0: 0.5, 1: 0.25, -1: 0.25}}


@dataclass(frozen=True)
class View:
    """A view of all images: the row and column of the image that each row and column of the view shows."""

    rows: Array  # (h,)
    columns: Array  # (w,)
    weight: float  # in the average


def views_of(name: str | None, shape: tuple[int, ...]) -> list[View]:
    """Return the views of images (h, w, c) in a test-time augmentation, whose weights add up to 1. None has no views.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name is None:
        return []
    if name not in list(SHIFTS):
        names = ", ".join(map(repr, SHIFTS))
        raise ValueError(f"test_time_augmentation must be None or one of {names}, got {name!r}.")
    views = []
    for shift, weight in SHIFTS[name].items():
        rows, columns = (_shifted(length, shift) for length in shape[:2])
        views += [View(rows, columns, weight / 2), View(rows, columns[::-1], weight / 2)]
    return views


def _shifted(length: int, shift: int) -> Array:
    """Return the positions (length,) that a shifted axis shows, reflected without repeating its first and last one."""
    start = abs(shift) - shift
    return np.pad(np.arange(length), abs(shift), "reflect")[start : start + length]


class _Seen:
    """Images as a view shows them, computed for the rows that are read, so that a prediction copies only a chunk."""

    def __init__(self, images: Array, view: View) -> None:
        self._images, self._rows, self._columns = images, view.rows[:, None], view.columns

    def __getitem__(self, numbers: Any) -> Array:
        return self._images[numbers][:, self._rows, self._columns]


def averaged_raw(
    predictor: Predictor, images: Array, name: str | None, n_jobs: int | None, rows: Array | None = None
) -> Array:
    """Return raw predictions (n, outputs) for images (n, h, w, c), averaged over the views of a test-time augmentation.

    With ``rows``, only the images of these numbers are predicted. Averages are in float64.
    """
    views = views_of(name, images.shape[1:])
    if not views:
        return predictor.raw(images, n_jobs, rows)
    rows = np.arange(len(images)) if rows is None else rows
    total = np.zeros((len(rows), *predictor.shape))
    for view in views:
        seen: Any = _Seen(images, view)
        raw = predictor.raw(seen, n_jobs, rows)
        with ufunc_settings():  # NumPy should not warn of infinite predictions
            total += view.weight * raw
    return total
