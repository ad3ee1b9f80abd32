"""Warnings about probable mistakes. Each kind has its own class, so that you can filter it alone.

The page "Common mistakes" of the user guide lists the warnings with their remedies.

Examples
--------
Turn one warning into an error, and disable another one:

>>> import warnings
>>> import skcnn
>>> with warnings.catch_warnings():
...     warnings.simplefilter("error", skcnn.ImageScaleWarning)
...     warnings.simplefilter("ignore", skcnn.ImageLayoutWarning)
"""

from __future__ import annotations

import sys
import warnings

# Packages that may lie between the user's code and a warning, such as scikit-learn's meta-estimators.
INSIDE = "skcnn", "sklearn", "joblib"


class ImageLayoutWarning(UserWarning):
    """The axes or columns of X are probably not in the order that the estimator assumes.

    ``fit`` issues this warning for images that look like channels first, for rows of 32 or more features that are not
    square images, and for square rows that look like RGBA images. If you pass `input_shape`, it is not issued.
    """


class ImageScaleWarning(UserWarning):
    """The pixels of X are on another scale than the pixels of the training images.

    It is issued for three or more images whose pixels are 12 times larger or smaller, or 12 standard deviations away,
    in the median of the channels. An example is images in 0..1 after a fit to 0..255. ``fit`` also issues it if a few
    extreme pixels determine the standardization of all images. With ``standardize=False``, images are not compared.
    """


class MemoryUseWarning(UserWarning):
    """Training takes a large share of the machine's memory.

    The message contains the memory of the weights and of the layers' outputs, and ways to reduce both.
    """


class OutputLayerWarning(UserWarning):
    """The list in `layers` ends with an output layer, although the estimator adds one.

    ``fit`` issues this warning for a dense layer, a softmax or a sigmoid with as many units as there are classes or
    outputs, and for a softmax after a dense layer or a global pooling.
    """


class TargetFormatWarning(UserWarning):
    """The rows of y look one-hot, but are learnt as labels that do not exclude each other.

    `CNNClassifier` issues this warning if y has ten or more rows and each has exactly one 1.
    """


class ValidationSetWarning(UserWarning):
    """The score on the validation set is below the score of a constant prediction, but the training images are learnt.

    ``fit`` issues this warning if the best validation score is more than four standard errors below the score of a
    constant prediction, and the training score is more than halfway from that score to 1. ``y_val`` probably has
    another coding or unit than ``y``.
    """


class VersionWarning(UserWarning):
    """A model was written by a different version of skcnn.

    Its predictions are usually the same. If they matter, compare them with stored predictions, or train the model again
    with the new version.
    """


def warn_user(message: str, category: type[Warning]) -> None:
    """Issue a warning that points to the line of the user's code, and not to this package or scikit-learn."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
