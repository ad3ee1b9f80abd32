"""Looking inside: feature maps, saliency and class activation
===========================================================

A correct prediction may have a wrong reason. This example shows three things for a small residual network on digits:
the feature maps of its layers, the pixels that a prediction depends on, and the position of the evidence for a class.
"""

# %%
# Train a network with a residual block. It ends in ``GlobalAvgPool2D``, so the output layer weights whole feature maps.
# ``fit`` returns the classifier. A notebook draws its layers as a diagram: click on a box to see more.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.display import ActivationDisplay, ClassActivationDisplay, SaliencyDisplay
from skcnn.features import activations
from skcnn.layers import BatchNorm, Conv2D, GlobalAvgPool2D, ReLU, Residual
from skcnn.saliency import input_gradient

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, stratify=digits.target, random_state=0
)
block = [Conv2D(32, use_bias=False), BatchNorm(), ReLU(), Conv2D(32, use_bias=False), BatchNorm()]
layers = [
    Conv2D(32, use_bias=False),
    BatchNorm(),
    ReLU(),
    Residual(block),
    ReLU(),
    Conv2D(32),
    ReLU(),
    GlobalAvgPool2D(),
]
classifier = CNNClassifier(layers=layers, max_iter=12, learning_rate=0.003, random_state=0, dtype="float32")
classifier.fit(X_train, y_train)

# %%
# ``summary()`` shows the layers as a table. Layers inside the block have names with a dot.
print(f"accuracy on the test images: {classifier.score(X_test, y_test):.3f}")
print(classifier.summary())

# %%
# ``ActivationDisplay`` draws the feature maps of a layer, for any name in the table. ``activations`` returns their
# numbers.
image = X_test[0]
ActivationDisplay.from_estimator(classifier, image, "residual1.relu1")
maps = activations(classifier, X_test[:1], "residual1.relu1")
print("maps of residual1.relu1:", maps.shape)

# %%
# The saliency of a pixel is the absolute value of the gradient of the raw score with respect to the pixel. It shows
# the pixels that the prediction depends on. The gradient of a single image is grainy. SmoothGrad, the mean over
# noisy copies of the image, is smoother.
SaliencyDisplay.from_estimator(classifier, X_test[:8], n_samples=50, random_state=0)

# %%
# To test whether these pixels matter, set the 8 pixels with the largest gradient to the mean of the image. The raw
# score changes much more than with the 8 pixels with the smallest gradient.
gradient = input_gradient(classifier, X_test, n_samples=10, random_state=0)[..., 0]
flat, size = X_test.reshape(len(X_test), -1), np.abs(gradient).reshape(len(X_test), -1)
score = classifier.decision_function(X_test).max(axis=1)
predicted = classifier.decision_function(X_test).argmax(axis=1)
for name, order in {"most": np.argsort(-size, axis=1), "least": np.argsort(size, axis=1)}.items():
    changed = flat.copy()
    np.put_along_axis(changed, order[:, :8], flat.mean(axis=1, keepdims=True), axis=1)
    after = classifier.decision_function(changed.reshape(X_test.shape))[np.arange(len(X_test)), predicted]
    print(f"raw score without the 8 {name} salient pixels: {np.mean(after - score):+.2f}")

# %%
# The class activation map shows the position of the evidence for a class. It is exact: its mean plus the bias of the
# output is the raw score. The second map is for a class that was not predicted. Blue areas are evidence against it.
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
ClassActivationDisplay.from_estimator(classifier, image, ax=left)
second = classifier.classes_[np.argsort(classifier.decision_function(X_test[:1])[0])[-2]]
ClassActivationDisplay.from_estimator(classifier, image, label=second, ax=right)

# %%
# The last picture shows the image, the mean of the feature maps after the block, the saliency, and the class activation
# map of the predicted class, for four digits.
shown = [int(np.flatnonzero(y_test == digit)[0]) for digit in (0, 3, 5, 8)]
kernel = classifier.parameters_["output.kernel"]
columns = {
    "image": (X_test[shown], {"cmap": "gray_r"}),
    "mean of relu2": (activations(classifier, X_test[shown], "relu2").mean(axis=3), {"cmap": "viridis"}),
    "saliency": (np.abs(gradient[shown]), {"cmap": "inferno", "vmin": 0}),
    "class activation": (
        np.einsum("nhwk,kn->nhw", activations(classifier, X_test[shown], "relu3"), kernel[:, predicted[shown]]),
        {"cmap": "RdBu_r"},
    ),
}
figure, grid = plt.subplots(len(shown), len(columns), figsize=(5.6, 5.9), layout="constrained")
for row, number in enumerate(shown):
    for axes, (title, (pictures, style)) in zip(grid[row], columns.items(), strict=True):
        limit = np.abs(pictures[row]).max()
        limits = {"vmin": -limit, "vmax": limit} if title == "class activation" else {}
        axes.imshow(pictures[row], **style, **limits)
        axes.set(xticks=[], yticks=[])
        if row == 0:
            axes.set_title(title, fontsize=10)
    grid[row, 0].set_ylabel(f"predicted {predicted[number]}", fontsize=9)
