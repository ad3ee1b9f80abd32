"""scikit-learn's side of the estimators."""
