"""Losses for classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arrays import special
from .._arrays.elementwise import Array, copy, maximum, row_max, row_sum
from .._tape.tape import Tape
from ..description import description, is_real
from .base import TINY, Loss, scratch


class _Logistic(Loss):
    """Base of the losses with probabilities: softmax over classes, a logistic function for each label."""

    has_probabilities = True

    def record(self, tape: Tape, raw: Array, target: Array) -> tuple[Array, Array]:
        z = tape(copy, raw, scratch(tape, raw.shape))
        if target.ndim == 1:
            return self._classes(tape, z, target)
        return self._labels(tape, z, target)

    def _classes(self, tape: Tape, z: Array, target: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def _labels(self, tape: Tape, z: Array, target: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def probabilities(self, raw: Array, exclusive: bool) -> Array:
        z = raw.astype(np.float64)
        if not exclusive:
            return special.expit(z)
        p = np.exp(z - z.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)


@description
class LogLoss(_Logistic):
    """Negative logarithm of the predicted probability of the true class, also called cross-entropy.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of the target that is distributed evenly over all classes, 0 or more and less than 1. The default does
        not smooth.

    Notes
    -----
    With raw predictions z, the loss for classes is -log softmax(z)[y] = log(sum over k of exp(z[k])) - z[y], with
    gradient softmax(z) - onehot(y). For labels it is the sum over the labels of log(1 + exp(z)) - y z, with gradient
    sigmoid(z) - y. C. Bishop, *Pattern Recognition and Machine Learning*, Springer 2006, sections 4.3.2 and 4.3.4.

    Smoothing s replaces onehot(y) by (1 - s) onehot(y) + s / k for k classes, and a label y by (1 - s) y + s / 2. The
    best raw predictions are then finite. C. Szegedy et al., "Rethinking the Inception architecture for computer
    vision", arXiv:1512.00567, section 7.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import LogLoss
    >>> LogLoss().probabilities(np.array([[0.0, 0.0]]), exclusive=True)
    array([[0.5, 0.5]])
    """

    label_smoothing: float = 0.0

    name = "log_loss"

    def check(self) -> None:
        valid = is_real(self.label_smoothing, 0, 1, open_high=True)
        self._require("label_smoothing", valid, "a number of 0 or more and less than 1")

    def _smooth(self, tape: Tape, truth: Array, classes: int) -> Array:
        if not self.label_smoothing:
            return truth
        smooth = tape(np.multiply, truth, 1 - float(self.label_smoothing), scratch(tape, truth.shape))
        return tape(np.add, smooth, float(self.label_smoothing) / classes, smooth)

    def _classes(self, tape: Tape, z: Array, target: Array) -> tuple[Array, Array]:
        n, k = z.shape
        truth = self._smooth(tape, record_truth(tape, target, k), k)
        column = scratch(tape, (n, 1))
        tape(row_max, z, column)
        tape(np.subtract, z, column, z)  # now exp cannot overflow
        values, gradient = scratch(tape, (n,)), scratch(tape, (n, k))
        tape(np.multiply, z, truth, gradient)
        tape(row_sum, gradient, values)  # z[y]
        tape(np.exp, z, gradient)
        tape(row_sum, gradient, column[:, 0])
        tape(np.divide, gradient, column, gradient)
        tape(np.subtract, gradient, truth, gradient)
        tape(np.log, column, column)
        tape(np.subtract, column[:, 0], values, values)
        return values, gradient

    def _labels(self, tape: Tape, z: Array, target: Array) -> tuple[Array, Array]:
        values, gradient = scratch(tape, (len(z),)), scratch(tape, z.shape)
        truth = self._smooth(tape, target, 2)
        tape(np.logaddexp, 0, z, gradient)
        product = tape(np.multiply, z, truth, scratch(tape, z.shape))
        tape(np.subtract, gradient, product, gradient)
        tape(row_sum, gradient, values)
        tape(special.expit, z, gradient)
        tape(np.subtract, gradient, truth, gradient)
        return values, gradient


@description
class Focal(_Logistic):
    """Log loss with smaller weights for confident correct predictions, for imbalanced classes.

    Parameters
    ----------
    gamma : float, default=2.0
        Exponent of the weight, 0 or more. The larger it is, the less confident correct predictions contribute. With 0,
        the loss is the log loss.
    alpha : float or sequence of float, default=None
        Weights of the classes. With two classes or with labels, a number from 0 to 1 is the weight of the second class
        or of a present label, and 1 - alpha is the weight of the other. A sequence contains one weight of 0 or more per
        class, in the order of `classes_`. If None, all weights are 1.

    Notes
    -----
    The loss is -alpha (1 - p) ** gamma log(p), where p is the predicted probability of the true class. For labels, it
    is summed. T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, "Focal loss for dense object detection",
    arXiv:1708.02002, equations 4 and 5, found gamma = 2 and alpha = 0.25 best.

    It is not a proper scoring rule. Predicted probabilities are less extreme than the true frequencies, but have the
    same order.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import Focal, mean_loss
    >>> sure, unsure = np.array([[4.0, 0.0]]), np.array([[0.0, 0.0]])
    >>> [round(mean_loss(Focal(), raw, np.array([0]), np.ones(1)), 6) for raw in (sure, unsure)]
    [6e-06, 0.173287]
    """

    gamma: float = 2.0
    alpha: Any = None

    name = "focal"

    def check(self) -> None:
        self._require("gamma", is_real(self.gamma, 0), "a number of 0 or more")
        if isinstance(self.alpha, (list, tuple)):
            valid = len(self.alpha) > 1 and all(is_real(weight, 0) for weight in self.alpha)
        else:
            valid = self.alpha is None or is_real(self.alpha, 0, 1)
        self._require("alpha", valid, "None, a number from 0 to 1, or a list of a weight of 0 or more for each class")

    def _classes(self, tape: Tape, z: Array, target: Array) -> tuple[Array, Array]:
        n, k = z.shape
        truth = record_truth(tape, target, k)
        column, log_p = scratch(tape, (n, 1)), scratch(tape, (n, 1))
        gradient, product = scratch(tape, (n, k)), scratch(tape, (n, k))
        tape(row_max, z, column)
        tape(np.subtract, z, column, z)  # now exp cannot overflow
        tape(np.exp, z, gradient)
        tape(row_sum, gradient, column[:, 0])
        tape(np.divide, gradient, column, gradient)
        tape(np.subtract, gradient, truth, gradient)  # softmax(z) - onehot(y)
        tape(np.multiply, z, truth, product)
        tape(row_sum, product, log_p[:, 0])
        tape(np.log, column, column)
        tape(np.subtract, log_p, column, log_p)
        q = tape(np.expm1, log_p, column)
        tape(np.negative, q, q)  # 1 - p
        weight = tape(np.power, q, float(self.gamma), scratch(tape, (n, 1)))
        if self.alpha is not None:
            tape(np.multiply, truth, self._class_weights(k), product)
            of_truth = scratch(tape, (n, 1))
            tape(row_sum, product, of_truth[:, 0])
            tape(np.multiply, weight, of_truth, weight)
        values = tape(np.multiply, weight, log_p, scratch(tape, (n, 1)))
        tape(np.negative, values, values)
        # d/dz = weight (1 - gamma p log(p) / (1 - p)) (softmax(z) - onehot(y))
        p = tape(np.exp, log_p, scratch(tape, (n, 1)))
        tape(maximum, q, TINY, q)  # avoid division by 0, where the weight is 0 too
        tape(np.divide, log_p, q, q)
        tape(np.multiply, q, p, q)
        tape(np.multiply, q, -float(self.gamma), q)
        tape(np.add, q, 1.0, q)
        tape(np.multiply, q, weight, q)
        tape(np.multiply, gradient, q, gradient)
        return values[:, 0], gradient

    def _labels(self, tape: Tape, z: Array, target: Array) -> tuple[Array, Array]:
        signs = record_signs(tape, target, z.shape[1])
        tape(np.multiply, z, signs, z)  # log odds of the true value
        values = scratch(tape, (len(z),))
        p, q, log_p, weight = (scratch(tape, z.shape) for _ in range(4))
        tape(special.expit, z, p)
        tape(np.negative, z, z)
        tape(special.expit, z, q)
        tape(np.logaddexp, 0, z, log_p)
        tape(np.negative, log_p, log_p)
        tape(np.power, q, float(self.gamma), weight)
        if self.alpha is not None:
            absent, present = self._label_weights(z.shape[1])
            of_truth = tape(np.multiply, target, present - absent, scratch(tape, z.shape))
            tape(np.add, of_truth, absent, of_truth)
            tape(np.multiply, weight, of_truth, weight)
        each = tape(np.multiply, weight, log_p, z)
        tape(row_sum, each, values)
        tape(np.negative, values, values)
        # d/dz = sign weight (gamma p log(p) - q)
        gradient = tape(np.multiply, p, log_p, p)
        tape(np.multiply, gradient, float(self.gamma), gradient)
        tape(np.subtract, gradient, q, gradient)
        tape(np.multiply, gradient, weight, gradient)
        return values, tape(np.multiply, gradient, signs, gradient)

    def _class_weights(self, k: int) -> Array:
        if not isinstance(self.alpha, (list, tuple)) or len(self.alpha) != k:
            raise ValueError(
                f"{self!r}: there are {k} classes, so alpha must be None or a list of {k} weights, one per class, got"
                f" {self.alpha!r}."
            )
        return np.array(self.alpha, np.float64)

    def _label_weights(self, k: int) -> tuple[float, float]:
        """Return the weights of absent and present labels, or of the first and second class."""
        if not isinstance(self.alpha, (list, tuple)):
            return 1 - float(self.alpha), float(self.alpha)
        if k > 1 or len(self.alpha) != 2:
            what = "there are two classes" if k == 1 else f"y contains {k} labels"
            expected = "None, a number or a list of two weights" if k == 1 else "None or a number"
            raise ValueError(f"{self!r}: {what}, so alpha must be {expected}, got {self.alpha!r}.")
        return float(self.alpha[0]), float(self.alpha[1])


class _Margin(Loss):
    """Base of the losses of margins, which are summed over classes or labels.

    A margin is the raw prediction, multiplied by -1 for all classes except the true class.
    """

    def record(self, tape: Tape, raw: Array, target: Array) -> tuple[Array, Array]:
        signs = record_signs(tape, target, raw.shape[1])
        missing = tape(copy, raw, scratch(tape, raw.shape))
        tape(np.multiply, missing, signs, missing)
        tape(np.subtract, 1.0, missing, missing)
        tape(maximum, missing, 0.0, missing)  # shortfall to a margin of 1
        return self._from_missing(tape, missing, signs)

    def _from_missing(self, tape: Tape, missing: Array, signs: Array) -> tuple[Array, Array]:
        raise NotImplementedError


@description
class Hinge(_Margin):
    """Hinge loss, as in support vector machines. It provides no ``predict_proba``.

    Notes
    -----
    The loss is the sum over classes or labels of max(0, 1 - t z), where t is 1 for the true class and -1 for all
    others. The sum runs over one-vs-rest problems, as R. Rifkin and A. Klautau, "In defense of one-vs-all
    classification", JMLR 5, 2004, recommend. The loss itself: C. Cortes and V. Vapnik, "Support-vector networks",
    Machine Learning 20, 1995. Two classes have one margin. The slope at the corner is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import Hinge, mean_loss
    >>> mean_loss(Hinge(), np.array([[2.0, -3.0, 0.5]]), np.array([0]), np.ones(1))
    1.5
    """

    name = "hinge"

    def _from_missing(self, tape: Tape, missing: Array, signs: Array) -> tuple[Array, Array]:
        values = scratch(tape, (len(missing),))
        tape(row_sum, missing, values)
        below = tape(np.greater, missing, 0, scratch(tape, missing.shape, bool))
        gradient = tape(np.multiply, below, signs, signs)
        return values, tape(np.negative, gradient, gradient)


@description
class SquaredHinge(_Margin):
    """Squared hinge loss. It provides no ``predict_proba``.

    Notes
    -----
    The loss is the sum over classes or labels of max(0, 1 - t z) ** 2, where t is 1 for the true class and -1 for all
    others. Unlike `Hinge`, it has a continuous derivative. Y. Tang, "Deep learning using linear support vector
    machines", arXiv:1306.0239, equation 10, found it better than softmax on top of convolutional networks.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.losses import SquaredHinge, mean_loss
    >>> mean_loss(SquaredHinge(), np.array([[2.0, -3.0, 0.5]]), np.array([0]), np.ones(1))
    2.25
    """

    name = "squared_hinge"

    def _from_missing(self, tape: Tape, missing: Array, signs: Array) -> tuple[Array, Array]:
        values = scratch(tape, (len(missing),))
        gradient = tape(np.multiply, missing, signs, signs)
        tape(np.multiply, missing, missing, missing)
        tape(row_sum, missing, values)
        return values, tape(np.multiply, gradient, -2.0, gradient)


def record_truth(tape: Tape, target: Array, k: int) -> Array:
    """Record the target as a matrix (n, k) of zeros and ones."""
    if target.ndim == 2:
        return target
    return tape(np.equal, target[:, None], np.arange(k), scratch(tape, (len(target), k), bool))


def record_signs(tape: Tape, target: Array, k: int) -> Array:
    """Record the target as a matrix (n, k) of -1 and 1."""
    signs = tape(np.multiply, record_truth(tape, target, k), 2.0, scratch(tape, (len(target), k)))
    return tape(np.subtract, signs, 1.0, signs)
