"""The layers: immutable descriptions that record their arithmetic on a tape."""

from .activation import ELU, SELU, Clip, HardSigmoid, LeakyReLU, PReLU, ReLU, ReLU6, Sigmoid, Softmax, Softplus, Tanh
from .base import Activation, Layer, ShapeError
from .conv import Conv2D
from .dense import Dense
from .depthwise import DepthwiseConv2D, SeparableConv2D
from .dropout import Dropout, SpatialDropout2D
from .gated import GELU, HardSwish, Mish, SiLU
from .layer_norm import GroupNorm, LayerNorm
from .normalization import BatchNorm
from .pooling import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D
from .reshape import Flatten
from .residual import Concatenate, Gate, Residual
from .resize import UpSample2D, ZeroPad2D
from .scale import Scale

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "AvgPool2D",
    "BatchNorm",
    "Clip",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "Gate",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "Residual",
    "Scale",
    "SeparableConv2D",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SpatialDropout2D",
    "Tanh",
    "UpSample2D",
    "ZeroPad2D",
]
