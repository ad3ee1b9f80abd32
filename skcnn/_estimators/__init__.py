"""The part of the estimators that depends on scikit-learn."""
