"""
Watch, stop and resume a fit
============================

Callbacks of scikit-learn are called in every epoch of a fit. ``ScoringMonitor`` is part of scikit-learn. A callback of
your own is a class with four methods. ``Checkpoint`` saves the fit to disk, so that it can continue after a crash.
"""

# %%
# Load the data, and create a temporary folder for the checkpoint.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skcnn
from skcnn import CNNClassifier
from skcnn.callbacks import Checkpoint

digits = load_digits()
X, X_test, y, y_test = train_test_split(digits.images, digits.target, test_size=0.3, random_state=0)
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "digits.skcnn"
classifier = CNNClassifier((16, 32), hidden_layer_sizes=(32,), max_iter=12, schedule="cosine", random_state=0)


# %%
# Your own callback
# -----------------
# This callback simulates a power failure in the sixth epoch. To stop training normally, return a true value from
# ``on_fit_task_end`` instead.
class PowerCut:
    """Raise an error when an epoch begins."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.begun = 0

    def setup(self, estimator, context):
        self.begun = 0

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.begun += context.task_name == "epoch"
        if self.begun == self.epoch:
            raise RuntimeError("power failure")

    def on_fit_task_end(self, estimator, context):
        pass


classifier.set_callbacks(Checkpoint(path), PowerCut(epoch=6))
try:
    classifier.fit(X, y)
except RuntimeError as error:
    print(f"Stopped by a {error}. The model on disk has {skcnn.load(path).n_iter_} epochs.")

# %%
# Resumed training
# ----------------
# The same call with the same file continues with the sixth epoch. ``ScoringMonitor`` records the score of each epoch.
monitor = ScoringMonitor(scoring="accuracy")
classifier.set_callbacks(Checkpoint(path), monitor).fit(X, y)
unbroken = CNNClassifier(**classifier.get_params()).fit(X, y)
same = np.array_equal(classifier.predict_proba(X_test), unbroken.predict_proba(X_test))
print(f"{classifier.n_iter_} epochs; the same bits as a fit that never stopped: {same}")

# %%
# The losses of the interrupted fit equal the losses of the uninterrupted fit. ``ScoringMonitor`` recorded the
# accuracies.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
epochs = np.arange(1, 13)
left.plot(epochs, unbroken.loss_curve_, color="C0", linewidth=6, alpha=0.3, label="uninterrupted")
left.plot(epochs[:5], classifier.loss_curve_[:5], "o-", color="C3", label="until the power failure")
left.plot(epochs[5:], classifier.loss_curve_[5:], "o-", color="C0", label="resumed")
left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None), title="A fit in two pieces")
left.legend(frameon=False)
scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
right.plot(epochs[5:], scores, "o-", color="C0")
right.set(xlabel="epoch", ylabel="accuracy on the training images", title="Scores of ScoringMonitor")
figure.tight_layout()
folder.cleanup()
