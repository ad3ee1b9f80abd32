"""Warnings about probable mistakes, each of a class of its own, so that it can be filtered alone.

`Common mistakes and the warnings for them` in the user guide shows each with its cure.

Examples
--------
Turn one of them into an error, and another one off:

>>> import warnings
>>> import skcnn
>>> with warnings.catch_warnings():
...     warnings.simplefilter("error", skcnn.ImageScaleWarning)
...     warnings.simplefilter("ignore", skcnn.ImageLayoutWarning)
"""

from __future__ import annotations

import sys
import warnings

# Code between the user and a warning: scikit-learn's meta-estimators call the estimators of this package.
INSIDE = "skcnn", "sklearn", "joblib"


class ImageLayoutWarning(UserWarning):
    """The axes or the columns of X were read in a way that was probably not meant.

    Examples are channels first, and rows that are no square image. An explicit `input_shape` is never questioned.
    """


class ImageScaleWarning(UserWarning):
    """The pixels of X are on another scale than the pixels of the training images, or a few of them are far outside."""


class OutputLayerWarning(UserWarning):
    """The list in `layers` ends with an output layer of its own, behind which the estimator puts another one."""


class TargetFormatWarning(UserWarning):
    """The targets have a form that usually means something else, such as one-hot rows instead of classes."""


class VersionWarning(UserWarning):
    """A model was written by another version of skcnn than the one that reads it.

    It usually predicts what it did. Where it matters, compare its predictions with ones that were kept, or train it
    again with the new version.
    """


def warn_user(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's that has led here, whatever of this package and of scikit-learn lies between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
