"""
Colour photos: training on CIFAR-10
===================================

This example trains a network on small colour photos, and looks at its learning curves, at its accuracy for each class
and at the photos that it misclassifies. It uses a part of CIFAR-10, with ten classes of 32 x 32 pixels, if the data set
is on your computer: in the folder of the environment variable ``SKCNN_DATA``, or in scikit-learn's cache of OpenML.
Otherwise it draws ten shapes whose textures come from two photos. Nothing is downloaded.
"""

# %%
# Load
# ----
# ``cifar10.npz`` contains the images ``X`` (60000, 32, 32, 3) and the classes ``y``. Rows of OpenML contain the red
# pixels, then the green and the blue pixels. To download the data set once, run
# ``fetch_openml("CIFAR_10", version=1)``.
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import fetch_openml, get_data_home, load_sample_images
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, recall_score
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.augmentation import RandomCrop, RandomFlip
from skcnn.display import HistoryDisplay, ImagesDisplay, MisclassifiedDisplay

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPES = ["disc", "ring", "square", "frame", "triangle", "cross", "star", "half disc", "bar", "two bars"]


def draw(n, side=32):
    """Draw shapes of random size, position and rotation. Shape and background are cut out of photos."""
    rng = np.random.default_rng(0)
    photos = [photo[::2, ::2] for photo in load_sample_images().images]
    rows, columns = np.mgrid[:side, :side]
    X, y = np.empty((n, side, side, 3), np.uint8), rng.integers(len(SHAPES), size=n)
    for image, kind in zip(X, y, strict=True):
        size, angle = rng.uniform(0.25, 0.45) * side, rng.uniform(0, 2 * np.pi)
        row, column = rng.uniform(size, side - size, 2)
        u = ((columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)) / size
        v = ((rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)) / size
        radius, larger, smaller = np.hypot(u, v), np.maximum(abs(u), abs(v)), np.minimum(abs(u), abs(v))
        shape = [
            radius < 1,
            (radius < 1) & (radius > 0.6),
            larger < 0.8,
            (larger < 0.8) & (larger > 0.5),
            (v > -0.5) & (1.7 * abs(u) + v < 1),
            (smaller < 0.28) & (larger < 1),
            radius < 0.65 + 0.35 * np.cos(5 * np.arctan2(u, v)),
            (radius < 1) & (v > 0),
            (abs(u) < 0.3) & (abs(v) < 1),
            (abs(abs(u) - 0.5) < 0.25) & (abs(v) < 1),
        ][kind]
        for photo, where in zip(rng.permutation(2), (slice(None), shape), strict=True):
            top, left = (rng.integers(length - side) for length in photos[photo].shape[:2])
            image[where] = photos[photo][top : top + side, left : left + side][where]
    return X, y


file = Path(os.environ.get("SKCNN_DATA", "")) / "cifar10.npz"
if file.is_file():
    with np.load(file) as arrays:
        X, y, names = arrays["X"], arrays["y"], CIFAR10
elif any(Path(get_data_home(), "openml").rglob("CIFAR_10.*")):
    X, y = fetch_openml("CIFAR_10", version=1, as_frame=False, return_X_y=True)
    X, names = X.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.uint8), CIFAR10
else:
    (X, y), names = draw(9_000), SHAPES
labels = np.array(names)[y.astype(int)]
X_train, X_test, y_train, y_test = train_test_split(
    X, labels, train_size=7_000, test_size=2_000, stratify=labels, random_state=0
)
grid = ImagesDisplay.from_images(X_train, y_train, random_state=0)

# %%
# Train
# -----
# The network has three blocks. ``RandomFlip`` and ``RandomCrop`` change the training images in each epoch. The
# validation images, a part of the training images, select the epoch. So the test images play no part in training.
X_fit, X_val, y_fit, y_val = train_test_split(X_train, y_train, test_size=1_000, stratify=y_train, random_state=0)
classifier = CNNClassifier(
    conv_filters=(32, 64, 128),
    batch_norm=True,
    dropout=(0.0, 0.0, 0.0, 0.3),
    augmentation=[RandomFlip(), RandomCrop(2)],
    schedule="one_cycle",
    learning_rate=0.003,
    max_iter=10,
    random_state=0,
)
classifier.fit(X_fit, y_fit, X_val=X_val, y_val=y_val)
print(classifier.summary())

# %%
# Learning curves
# ---------------
# The training accuracy is measured during each epoch, on changed images. With augmentation, it is often lower than the
# validation accuracy. If the validation loss still falls at the end, train for more epochs.
history = HistoryDisplay.from_estimator(classifier)

# %%
# Evaluate
# --------
# Compute the accuracy on the test images, and scikit-learn's report for each class.
predicted = classifier.predict(X_test)
print(f"accuracy on the test images: {(predicted == y_test).mean():.3f}")
print(classification_report(y_test, predicted))

# %%
# The recall of a class is its accuracy: the fraction of its images that are classified correctly.
accuracies = recall_score(y_test, predicted, labels=names, average=None)
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
order = np.argsort(accuracies)
bars = axes.barh(np.array(names)[order], accuracies[order], color="tab:blue")
axes.bar_label(bars, fmt="%.2f", padding=3)
axes.set(xlabel="accuracy on the test images", xlim=(0, 1.1))
axes.spines[["top", "right"]].set_visible(False)

# %%
# The confusion matrix shows which classes are confused. Each row is a class and each column is a prediction, in percent
# of the row.
matrix = ConfusionMatrixDisplay.from_predictions(
    y_test, predicted, labels=names, normalize="true", values_format=".0%", cmap="Blues", colorbar=False
)
matrix.ax_.set_xticks(range(len(names)), names, rotation=45, ha="right")
matrix.figure_.set_size_inches(7, 6.4)
matrix.figure_.tight_layout()

# %%
# Errors
# ------
# These are the misclassified images with the highest confidence. Look for a pattern: parts that are cut off, unusual
# colours, or wrong labels.
errors = MisclassifiedDisplay.from_estimator(classifier, X_test, y_test)
