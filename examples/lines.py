"""Lines: vertical, horizontal or diagonal
=======================================

The smallest problem that needs a convolution: the same line means the same class wherever it is. Three classes of 14 x
14 images with noise, 600 to learn from and 150 to test, and two epochs are enough.
"""

# %%
# The images: one line in each, somewhere, in noise.
import numpy as np
from matplotlib import pyplot as plt

from skcnn import CNNClassifier
from skcnn.display import ActivationDisplay, FilterDisplay

# %%
# A line is a row, a column, or one step to the right per row.
NAMES = np.array(["vertical", "horizontal", "diagonal"])
SIZE = 14


def draw_lines(n, rng):
    """Images (n, 14, 14) in float32 and the names of their lines."""
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
# 600 images to learn from, and 150 to test.
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
# One convolution suffices. Its 3 x 3 windows see the direction, pooling forgets the place.
classifier = CNNClassifier(
    conv_filters=(8,), hidden_layer_sizes=(32,), learning_rate=0.01, batch_size=20, random_state=0
)
for epoch in (1, 2):
    classifier.partial_fit(X_train, y_train, classes=NAMES)
    print(f"accuracy after epoch {epoch}: {classifier.score(X_test, y_test):.1%}")

# %%
# The eight filters that were learnt. Red is positive, blue is negative: a filter with a red bar answers to lines along
# the bar.
filters = FilterDisplay.from_estimator(classifier)

# %%
# What they make of a diagonal line. It is bright in some of the maps and dim in others, as the filters fit its
# direction. The classifier needs to know in which it is bright; pooling forgets where.
diagonal = X_test[y_test == "diagonal"][0]
maps = ActivationDisplay.from_estimator(classifier, diagonal, "relu1")
