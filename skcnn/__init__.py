"""A convolutional neural network that is a scikit-learn estimator, in plain NumPy."""

from ._version import __version__
from .classifier import CNNClassifier
from .features import CNNFeatures
from .persistence import load, save
from .profiling import profile
from .regressor import CNNRegressor

__all__ = ["CNNClassifier", "CNNFeatures", "CNNRegressor", "__version__", "load", "profile", "save"]
