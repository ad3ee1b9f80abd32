"""Layers: immutable descriptions of the parts of a network.

For your own layers, the module also exports `Parameter` and functions to record. See `Layer`.
"""

from .._arrays.elementwise import copy, fill, maximum, minimum
from .._tape.channels import by_channel, record_channel_products, record_channel_sums
from .._tape.parameters import Parameter
from .._tape.tape import Tape
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
from .scale import Rescaling, Scale
from .whitening import WhiteningConv2D

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
    "Parameter",
    "ReLU",
    "ReLU6",
    "Rescaling",
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
    "Tape",
    "UpSample2D",
    "WhiteningConv2D",
    "ZeroPad2D",
    "by_channel",
    "copy",
    "fill",
    "maximum",
    "minimum",
    "record_channel_products",
    "record_channel_sums",
]
