"""Losses: the functions of raw predictions and targets that training minimizes."""

from .._arrays.elementwise import copy, row_sum
from .base import Loss, MixedTargets, mean_loss, record_loss, resolve_loss
from .classification import Focal, Hinge, LogLoss, SquaredHinge
from .regression import AbsoluteError, Huber, Poisson, Quantile, SquaredError

__all__ = [
    "AbsoluteError",
    "Focal",
    "Hinge",
    "Huber",
    "LogLoss",
    "Loss",
    "MixedTargets",
    "Poisson",
    "Quantile",
    "SquaredError",
    "SquaredHinge",
    "copy",
    "mean_loss",
    "record_loss",
    "resolve_loss",
    "row_sum",
]
