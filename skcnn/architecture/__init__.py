"""Architectures: the layers that the estimators build by default, and published networks."""

from .imagenet import efficientnet_lite0, mobilenet_v2, resnet18, resnet50, squeezenet1_1
from .small import all_convolutional, build_layers, lenet5, photos, resnet, vgg

__all__ = [
    "all_convolutional",
    "build_layers",
    "efficientnet_lite0",
    "lenet5",
    "mobilenet_v2",
    "photos",
    "resnet",
    "resnet18",
    "resnet50",
    "squeezenet1_1",
    "vgg",
]
