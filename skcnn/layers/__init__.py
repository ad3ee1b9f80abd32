"""The layers: immutable descriptions that record their arithmetic on a tape."""

from .activation import ELU, SELU, HardSigmoid, LeakyReLU, PReLU, ReLU, Sigmoid, Softmax, Softplus, Tanh
from .base import Activation, Layer, ShapeError
from .conv import Conv2D
from .dense import Dense
from .dropout import Dropout
from .gated import GELU, HardSwish, Mish, SiLU
from .normalization import BatchNorm
from .pooling import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D
from .reshape import Flatten

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "HardSigmoid",
    "HardSwish",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "Mish",
    "PReLU",
    "ReLU",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
