"""Schedules that disturb a training: a learning rate that is too high, and Ctrl-C."""

from skcnn.description import description
from skcnn.schedules import Schedule


@description
class JumpsAt(Schedule):
    """Multiplies the learning rate from an epoch on, so that the training diverges."""

    epoch: float
    height: float = 1e200

    def factor(self, epoch, max_iter):
        return self.height if epoch >= self.epoch else 1.0


@description
class InterruptedAt(Schedule):
    """Interrupts the training at an epoch, as Ctrl-C does."""

    epoch: float

    def factor(self, epoch, max_iter):
        if epoch >= self.epoch:
            raise KeyboardInterrupt
        return 1.0
