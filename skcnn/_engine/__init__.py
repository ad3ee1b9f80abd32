"""Networks, predictions and training. All names here are private, and independent of scikit-learn."""
