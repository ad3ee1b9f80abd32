"""Your own layers, for colour images
==================================

The parameters of `CNNClassifier` describe blocks of convolution and pooling, followed by dense layers. For all other
networks, pass the list of hidden layers as ``layers``. The classifier adds the output layer.
"""

# %%
# Colour images are arrays (images, height, width, channels). These images are scikit-learn's digits in random bright
# colours on random dark colours, as 8-bit pixels.
import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

from skcnn import CNNClassifier
from skcnn.display import FilterDisplay
from skcnn.layers import BatchNorm, Conv2D, Dropout, GlobalAvgPool2D, ReLU

digits = load_digits()
rng = np.random.default_rng(0)
ink = rng.uniform(128, 255, size=(len(digits.images), 1, 1, 3))
paper = rng.uniform(0, 100, size=ink.shape)
strength = digits.images[..., None] / 16
images = (strength * ink + (1 - strength) * paper).astype(np.uint8)
X_train, X_test, y_train, y_test = train_test_split(images, digits.target, stratify=digits.target, random_state=0)
print("training images:", X_train.shape, X_train.dtype)

figure, grid = plt.subplots(2, 8, figsize=(8, 2.4), layout="constrained")
for axes, image, digit in zip(grid.flat, X_train, y_train, strict=False):
    axes.imshow(image)
    axes.set_axis_off()
    axes.set_title(digit, fontsize=9)

# %%
# This small network has no dense layers. Strides replace pooling, and the mean of each channel replaces flattening. A
# convolution before batch norm needs no bias.
layers = [
    Conv2D(16, use_bias=False), BatchNorm(), ReLU(),
    Conv2D(32, strides=2, use_bias=False), BatchNorm(), ReLU(),
    Conv2D(64, use_bias=False), BatchNorm(), ReLU(),
    GlobalAvgPool2D(), Dropout(0.2),
]  # fmt: skip
classifier = CNNClassifier(layers=layers, learning_rate=1e-2, schedule="cosine", max_iter=12, random_state=0)
classifier.fit(X_train, y_train)
print(classifier.summary())
print(f"accuracy on the test images: {classifier.score(X_test, y_test):.3f}")

# %%
# ``parameters_`` contains the weights under the names in the summary.
for name in ("conv1.kernel", "batchnorm1.scale", "output.kernel"):
    print(f"{name:16}  {classifier.parameters_[name].shape}")

# %%
# The kernels of the first convolution are shown in colours. For this task, brightness matters and colour does not.
filters = FilterDisplay.from_estimator(classifier, "conv1")

# %%
# Images can also be rows, for example from a table. ``input_shape`` is the image shape of a row. A fitted classifier
# accepts images and rows.
rows = X_train.reshape(len(X_train), -1)
on_rows = CNNClassifier(layers=layers, input_shape=(8, 8, 3), max_iter=1, random_state=0).fit(rows, y_train)
print("fitted on rows", rows.shape, "as images", on_rows.input_shape_)
same = np.array_equal(on_rows.predict(X_test), on_rows.predict(X_test.reshape(len(X_test), -1)))
print("same predictions for images and rows:", same)

# %%
# Parameters of layers can be searched and set under the same names.
print("names of the second convolution:", [name for name in classifier.get_params() if "conv2" in name][:3], "...")
grid = {"layers__conv1__filters": [8, 16], "layers__dropout1__rate": [0.0, 0.2]}
search = GridSearchCV(classifier.set_params(max_iter=4), grid, cv=2).fit(X_train, y_train)
print("best of the search:", search.best_params_)

# %%
# If layers do not fit together, ``fit`` raises an error that contains the layer and the remedy.
try:
    CNNClassifier(layers=[Conv2D(32), ReLU()]).fit(X_train, y_train)
except ValueError as error:
    print("ValueError:", error)
