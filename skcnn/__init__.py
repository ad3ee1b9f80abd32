"""A convolutional neural network that is a scikit-learn estimator, in plain NumPy."""

from .estimators import CNNClassifier
from .profiling import profile

__all__ = ["CNNClassifier", "__version__", "profile"]
__version__ = "0.1.0"
