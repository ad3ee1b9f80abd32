"""
Data that does not fit in memory
================================

There are two ways to train on a file of images that is larger than the memory. ``fit`` on a memory-mapped array reads
each batch when it is needed. ``partial_fit`` trains on one chunk at a time, from anything that can be sliced: a zarr
array, an HDF5 dataset, a database. This example measures over eight seeds that both learn equally well.
"""

# %%
# Write a file of 20,000 images, 20 MB, in parts. ``open_memmap`` returns an array whose numbers are in the file. The
# images are enlarged digits with noise. They are in random order, which ``partial_fit`` needs.
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from numpy.lib.format import open_memmap
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, Flatten, MaxPool2D, ReLU

digits = load_digits()
folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
path = Path(folder.name) / "images.npy"
rng = np.random.default_rng(0)
chosen = rng.integers(len(digits.images), size=20_000)
labels = digits.target[chosen]

file = open_memmap(path, mode="w+", dtype=np.uint8, shape=(20_000, 32, 32))
for start in range(0, len(file), 1000):
    part = digits.images[chosen[start : start + 1000]].repeat(4, axis=1).repeat(4, axis=2)
    file[start : start + 1000] = np.clip(12 * part + rng.normal(scale=30, size=part.shape), 0, 255)
file.flush()

# %%
# Pass the memory map to ``fit``. The images stay in the file, in 8 bits. Only the current batch is in memory, as
# float32. The numbers below are the memory that the program allocates. The operating system also caches parts of the
# file, and releases them when memory is needed.
images = np.load(path, mmap_mode="r")
layers = [Conv2D(8, kernel_size=5, strides=2), ReLU(), MaxPool2D(4), Flatten()]
classifier = CNNClassifier(layers=layers, max_iter=1, random_state=0)


def megabytes(call):
    """Return the maximum memory that a call allocates."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 1e6


print(f"images in the file: {images.nbytes / 1e6:.1f} MB, as float32: {4 * images.nbytes / 1e6:.1f} MB")
print(f"fit on the memory map: {megabytes(lambda: classifier.fit(images, labels)):.1f} MB")
print(f"predict on the memory map: {megabytes(lambda: classifier.predict(images)):.1f} MB")


# %%
# ``fit`` would read other kinds of data completely. ``partial_fit`` trains one epoch on a chunk. The loop below
# needs only a shape and slices, so ``zarr.open("images.zarr")`` or ``h5py.File("images.h5")["images"]`` can replace
# ``images``. The order of the chunks is random, and ``partial_fit`` shuffles the rows of each chunk.
def chunks(X, y, rows, order):
    """Yield slices of the data, in random order."""
    for start in order.permutation(range(0, X.shape[0], rows)):
        yield X[start : start + rows], y[start : start + rows]


def in_chunks():
    classifier = CNNClassifier(layers=layers, random_state=0)
    for X, y in chunks(images, labels, 2_000, rng):
        classifier.partial_fit(X, y, classes=np.arange(10))
    found = [classifier.predict(images[start : start + 2_000]) for start in range(0, len(images), 2_000)]
    print(f"accuracy after {classifier.n_iter_} chunks: {accuracy_score(labels, np.concatenate(found)):.3f}")


print(f"one pass in chunks: {megabytes(in_chunks):.1f} MB")

# %%
# Compare chunks with the whole data, with eight seeds each, on scikit-learn's digits. A call of ``partial_fit`` on all
# images equals an epoch of ``fit``, bit for bit. Twelve such epochs are compared with twelve passes over chunks of 256
# images.
X, X_test, y, y_test = train_test_split(digits.images, digits.target, test_size=0.3, random_state=0)
PASSES, SEEDS = 12, 8
curves = {"all images at once": [], "chunks of 256 images": []}
for name, rows in zip(curves, (len(X), 256), strict=True):
    for seed in range(SEEDS):
        classifier = CNNClassifier((8, 16), hidden_layer_sizes=(32,), random_state=seed)
        order = np.random.default_rng(seed)
        losses = []
        for _ in range(PASSES):
            for chunk in chunks(X, y, rows, order):
                classifier.partial_fit(*chunk, classes=np.arange(10))
            losses.append(log_loss(y_test, classifier.predict_proba(X_test)))
        curves[name].append(losses)

print(f"{'log loss on the test images':28s}" + "".join(f"{'pass ' + str(k):>18s}" for k in (1, 2, 4, 8, 12)))
for name, losses in curves.items():
    mean, spread = np.mean(losses, axis=0), np.std(losses, axis=0, ddof=1)
    print(f"{name:28s}" + "".join(f"{mean[k - 1]:10.3f} ± {spread[k - 1]:.3f}" for k in (1, 2, 4, 8, 12)))

# %%
# The curves agree. The bands are one standard deviation of the seeds wide on each side.
figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
for color, (name, losses) in zip(("tab:blue", "tab:orange"), curves.items(), strict=True):
    mean, spread = np.mean(losses, axis=0), np.std(losses, axis=0, ddof=1)
    passes = np.arange(1, PASSES + 1)
    axes.fill_between(passes, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
    axes.plot(passes, mean, color=color, label=name)
axes.set(
    xlabel="passes over the data", ylabel="log loss on the test images", yscale="log", title="All at once and in chunks"
)
axes.set_yticks([0.25, 0.5, 1, 2], ["0.25", "0.5", "1", "2"])
axes.minorticks_off()
axes.legend(frameon=False)

# %%
# For schedules, a call of ``partial_fit`` is an epoch. For a schedule with an end, set ``max_iter`` to the number of
# calls. The learning rate then decreases over all passes, as in ``fit``.
calls = PASSES * -(-len(X) // 256)
classifier = CNNClassifier((8, 16), hidden_layer_sizes=(32,), schedule="cosine", max_iter=calls, random_state=0)
for _ in range(PASSES):
    for chunk in chunks(X, y, 256, rng):
        classifier.partial_fit(*chunk, classes=np.arange(10))
rates = classifier.history_["learning_rate"]
print(f"learning rate in the first of {calls} calls: {rates[0]:.6f}, in the last: {rates[-1]:.6f}")

folder.cleanup()
