"""The layers: immutable descriptions that record their arithmetic on a tape."""

from .activation import LeakyReLU, ReLU, Sigmoid, Tanh
from .base import Activation, Layer, ShapeError
from .conv import Conv2D
from .dense import Dense
from .dropout import Dropout
from .normalization import BatchNorm
from .pooling import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D
from .reshape import Flatten
from .residual import Concatenate, Residual

__all__ = [
    "Activation",
    "AvgPool2D",
    "BatchNorm",
    "Concatenate",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "ReLU",
    "Residual",
    "ShapeError",
    "Sigmoid",
    "Tanh",
]
