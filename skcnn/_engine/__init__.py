"""Networks, predictions and training. Nothing here is public, and nothing knows of scikit-learn."""
