"""Warnings about probable mistakes, each of a class of its own, so that it can be filtered alone.

The page "Common mistakes" of the user guide shows each with its cure.

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

    It is issued by ``fit`` for images that look like channels first, for rows of 32 features or more that are no square
    images, and for square rows that look like RGBA. Pass `input_shape` to say what X is: it is never questioned.
    """


class ImageScaleWarning(UserWarning):
    """The pixels of X are on another scale than the pixels of the training images.

    It is issued for three images or more whose pixels are 12 times larger or smaller, or 12 standard deviations away,
    in the median of the channels. That may be 0..1 after a fit to 0..255. ``fit`` issues it where a few pixels are so
    far outside that they decide the standardization of all. Without `standardize` there is nothing to compare with.
    """


class MemoryUseWarning(UserWarning):
    """Training takes a large share of the machine's memory.

    The message names the weights, the outputs of the layers, and how to need less of both.
    """


class OutputLayerWarning(UserWarning):
    """The list in `layers` ends with an output layer of its own, behind which the estimator puts another one.

    It is issued by ``fit`` for a dense layer, a softmax or a sigmoid with as many units as there are classes or
    outputs, and for a softmax of any width.
    """


class TargetFormatWarning(UserWarning):
    """The rows of y are one-hot, and would be learnt as labels that do not exclude each other.

    It is issued by `CNNClassifier` where each of ten or more rows has exactly one 1.
    """


class ValidationSetWarning(UserWarning):
    """The validation set is predicted worse than by a constant, though the training images are learnt.

    It is issued by ``fit`` with a validation set where the best validation score is more than four standard errors
    below the score of a constant prediction, while the training score is more than halfway from there to 1. Probably
    ``y_val`` has another coding or unit than ``y``.
    """


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
