"""Saving, loading and further training
====================================

Save a fitted `CNNClassifier` with joblib or pickle, like every estimator. The file contains the weights once. It
contains the state of the optimizer only if training can continue.
"""

# %%
# Train a classifier, and create a temporary directory for its file.
import tempfile
from pathlib import Path

import joblib
import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier

directory = tempfile.TemporaryDirectory()
file = Path(directory.name) / "digits.joblib"
digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, stratify=digits.target, random_state=0
)
classifier = CNNClassifier(max_iter=5, random_state=0).fit(X_train, y_train)

# %%
# The weights are read-only arrays with names. The file is hardly larger than the weights.
for name, array in classifier.parameters_.items():
    print(f"{name:14} {array.shape!s:15} {array.dtype}")
joblib.dump(classifier, file)
weights = sum(array.nbytes for array in classifier.parameters_.values())
print(f"weights: {weights:,} bytes, file: {file.stat().st_size:,} bytes")

# %%
# The loaded classifier gives the same predictions, bit for bit.
loaded = joblib.load(file)
print("same probabilities:", np.array_equal(loaded.predict_proba(X_test), classifier.predict_proba(X_test)))

# %%
# With ``mmap_mode="r"``, the weights stay in the file, and are read when they are needed. Several processes then share
# one copy in memory.
mapped = joblib.load(file, mmap_mode="r")
print("weights in the file:", isinstance(mapped.parameters_["conv1.kernel"], np.memmap))
print("same accuracy:", mapped.score(X_test, y_test) == classifier.score(X_test, y_test))

# %%
# ``partial_fit`` trains one epoch. It keeps the state of the optimizer, in the file too. So training that was stopped,
# saved and loaded gives the same bits as training in one run.
parts = CNNClassifier(max_iter=5, random_state=0)
for _ in range(2):
    parts.partial_fit(X_train, y_train, classes=np.arange(10))
joblib.dump(parts, file)
print(f"file in the middle of the training: {file.stat().st_size / weights:.1f} times the weights")
parts = joblib.load(file)
for _ in range(3):
    parts.partial_fit(X_train, y_train)
print(
    "as trained in one run:",
    np.array_equal(parts.parameters_["output.kernel"], classifier.parameters_["output.kernel"]),
)

# %%
# With ``warm_start``, ``fit`` continues for another ``max_iter`` epochs.
loaded.set_params(warm_start=True, max_iter=3)
loaded.fit(X_train, y_train)
print(f"epochs: {classifier.n_iter_} before, {loaded.n_iter_} after")
print("loss:", " ".join(f"{loss:.3f}" for loss in loaded.loss_curve_))

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
epochs = np.arange(1, loaded.n_iter_ + 1)
before = classifier.n_iter_
axes.plot(epochs[before - 1 :], loaded.loss_curve_[before - 1 :], "o-", color="tab:orange", label="after loading")
axes.plot(epochs[:before], classifier.loss_curve_, "o-", color="tab:blue", label="before saving")
axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
axes.set_title("Training continues after loading")
axes.legend(frameon=False)

# %%
# Load pickles only from sources that you trust, because they can run any code. Files of ``skcnn.save`` cannot.
directory.cleanup()
