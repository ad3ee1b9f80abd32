"""Lines: vertical, horizontal or diagonal
=======================================

This is a very small problem that needs a convolution, because a line has the same class at every position. There are
three classes, with 600 training images and 150 test images of 14 x 14 pixels. Two epochs are enough.
"""

# %%
# Each image contains one line at a random position, and noise.
import numpy as np
from matplotlib import pyplot as plt

from skcnn import CNNClassifier
from skcnn.display import ActivationDisplay, FilterDisplay

# %%
# A line is a column, a row, or one step to the right per row.
NAMES = np.array(["vertical", "horizontal", "diagonal"])
SIZE = 14


def draw_lines(n, rng):
    """Return images (n, 14, 14) in float32 and the names of their lines."""
    images = rng.normal(scale=0.1, size=(n, SIZE, SIZE)).astype(np.float32)
    kinds = np.arange(n) % 3
    steps = np.arange(SIZE)
    for image, kind in zip(images, kinds, strict=True):
        place = rng.integers(2, SIZE - 2)
        if kind == 0:
            image[:, place] += 1
        elif kind == 1:
            image[place] += 1
        else:
            columns = steps + place - SIZE // 2
            inside = (columns >= 0) & (columns < SIZE)
            image[steps[inside], columns[inside]] += 1
    return images, NAMES[kinds]


# %%
# Draw the training set and the test set.
rng = np.random.default_rng(0)
X_train, y_train = draw_lines(600, rng)
X_test, y_test = draw_lines(150, rng)

figure, grid = plt.subplots(3, 6, figsize=(6, 3.4), layout="constrained")
for row, name in zip(grid, NAMES, strict=True):
    row[0].set_ylabel(name)
    for axes, image in zip(row, X_train[y_train == name], strict=False):
        axes.imshow(image, cmap="gray_r")
        axes.set(xticks=[], yticks=[])
figure.suptitle("Six lines of each class")

# %%
# One convolution is enough. Its 3 x 3 windows detect the direction, and pooling discards the position.
classifier = CNNClassifier(
    conv_filters=(8,), hidden_layer_sizes=(32,), learning_rate=0.01, batch_size=20, random_state=0
)
for epoch in (1, 2):
    classifier.partial_fit(X_train, y_train, classes=NAMES)
    print(f"accuracy after epoch {epoch}: {classifier.score(X_test, y_test):.1%}")

# %%
# The picture shows the eight learned filters. Red is positive and blue is negative. A filter with a red bar responds to
# lines in the direction of the bar.
filters = FilterDisplay.from_estimator(classifier)

# %%
# These are the feature maps of a diagonal line. The line is bright in the maps whose filters fit its direction, and dim
# in the others. The class depends on which maps are bright, and not on the position of the line.
diagonal = X_test[y_test == "diagonal"][0]
maps = ActivationDisplay.from_estimator(classifier, diagonal, "relu1")
