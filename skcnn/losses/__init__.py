"""Losses: what training minimizes, from raw predictions and targets."""

from .base import Loss, mean_loss, resolve_loss
from .classification import Focal, Hinge, LogLoss, SquaredHinge
from .regression import AbsoluteError, Huber, Poisson, Quantile, SquaredError

__all__ = [
    "AbsoluteError",
    "Focal",
    "Hinge",
    "Huber",
    "LogLoss",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "SquaredHinge",
    "mean_loss",
    "resolve_loss",
]
