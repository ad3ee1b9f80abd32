"""A folder of image files
=======================

A classifier predicts every file of a folder, and gives its five most probable classes. Files are read by Pillow, which
skcnn does not need itself (``pip install pillow``). The folder here is made first, from scikit-learn's digits; with one
of your own, begin at ``read``.
"""

# %%
# What is needed: a classifier, and Pillow.
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier

try:
    from PIL import Image, ImageOps
except ImportError:
    sys.exit("This example reads image files with Pillow: pip install pillow")

# %%
# The model, and twelve of the images that it has not seen as files.
digits = load_digits()
images = (digits.images * 15).astype(np.uint8)
X_train, X_test, y_train, y_test = train_test_split(images, digits.target, random_state=0)
classifier = CNNClassifier(max_iter=10, random_state=0).fit(X_train, y_train)
directory = tempfile.TemporaryDirectory()
folder = Path(directory.name)
for number, (image, digit) in enumerate(zip(X_test[:12], y_test[:12], strict=True)):
    Image.fromarray(image).resize((32, 32)).save(folder / f"{number:02d}_is_a_{digit}.png")


# %%
# Every file in the size and the colours that the classifier was fitted to.
def read(path, shape):
    """The image of a file, (h, w, c) in 8 bits: as its camera was held, and on white where it is transparent."""
    height, width, channels = shape
    with Image.open(path) as file:
        if file.mode[0] in "IF":  # Pillow would clip these numbers, not scale them
            raise ValueError(f"{path} does not have 8 bits: scale its numbers to 0 ... 255 first.")
        image = ImageOps.exif_transpose(file).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("L" if channels == 1 else "RGB").resize((width, height))).reshape(shape)


paths = sorted(folder.glob("*.png"))
batch = np.stack([read(path, classifier.input_shape_) for path in paths])

# %%
# All at once: a few thousand images are one call. Sorting the probabilities gives the top five.
probabilities = classifier.predict_proba(batch)
top = np.argsort(probabilities, axis=1)[:, :-6:-1]
for path, row, best in zip(paths, probabilities, top, strict=True):
    print(path.name, "  ".join(f"{classifier.classes_[k]}: {row[k]:.3f}" for k in best))

# %%
# The files as the classifier sees them, and how sure it is of each.
figure, grid = plt.subplots(3, 8, figsize=(9, 3.9), layout="constrained", width_ratios=(1, 1.5) * 4)
for left, right, image, row, best in zip(grid[:, ::2].flat, grid[:, 1::2].flat, batch, probabilities, top, strict=True):
    left.imshow(image, cmap="gray")
    left.set_axis_off()
    right.barh(range(5), row[best], color=["tab:blue"] + ["tab:grey"] * 4)
    right.set(xlim=(0, 1), xticks=[], yticks=range(5), yticklabels=classifier.classes_[best])
    right.invert_yaxis()
    right.spines[["top", "right", "bottom"]].set_visible(False)
    right.tick_params(labelsize=8, length=0)
figure.suptitle("The five most probable classes of each file")
directory.cleanup()
