"""A convolutional neural network that is a scikit-learn estimator, in plain NumPy."""

from .estimators import CNNClassifier
from .features import CNNFeatures
from .profiling import profile
from .regressor import CNNRegressor

__all__ = ["CNNClassifier", "CNNFeatures", "CNNRegressor", "__version__", "profile"]
__version__ = "0.1.0"
