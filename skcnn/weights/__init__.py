"""Trained weights of other libraries, read from their files."""

from .reading import read_weights

__all__ = ["read_weights"]
