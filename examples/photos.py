"""
From a folder of photos to a served model
=========================================

This example has all steps from a folder of photos to deployment: load the files, look at them, train, evaluate, look at
the errors, save, and serve uploads. It first draws 300 photos of shapes in different sizes, in colour and grey, as JPEG
and PNG. For your own photos, begin at *Load*. Image files need Pillow: ``pip install 'skcnn[images]'``.
"""

# %%
# Files
# -----
# Each class has its own folder. Two of the files are not images, as often happens with copied folders.
import math
import tempfile
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image, ImageDraw
from serving import app, client  # the folder beside this file
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, top_k_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import skcnn
import skcnn.runtime
from skcnn import CNNClassifier
from skcnn.augmentation import RandomAffine, RandomFlip
from skcnn.display import HistoryDisplay, ImagesDisplay, MisclassifiedDisplay
from skcnn.images import ImageReader, load_folder
from skcnn.layers import BatchNorm, Conv2D, GlobalMaxPool2D, MaxPool2D, ReLU

CORNERS = {"circle": 60, "square": 4, "triangle": 3, "star": 10, "cross": 12}


def draw(name, rng):
    """Draw a photo of a shape with random size, proportions, position, colours and rotation."""
    width, height = rng.integers(60, 400, 2)
    radius = rng.uniform(0.25, 0.45) * min(width, height)
    x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
    start, corners = rng.uniform(-0.4, 0.4), CORNERS[name]
    radii = {"star": (1, 0.45), "cross": (1, 0.4, 1)}.get(name, (1,))
    points = []
    for k in range(corners):
        angle = start + 2 * math.pi * k / corners
        r = radius * radii[k % len(radii)]
        points.append((x + r * math.sin(angle), y - r * math.cos(angle)))
    photo = Image.new("RGB", (int(width), int(height)), tuple(rng.integers(140, 256, 3).tolist()))
    ImageDraw.Draw(photo).polygon(points, fill=tuple(rng.integers(0, 110, 3).tolist()))
    return photo.convert(rng.choice(["RGB", "RGB", "RGBA", "L"]))


directory = tempfile.TemporaryDirectory()
root = Path(directory.name) / "shapes"
rng = np.random.default_rng(0)
for name in CORNERS:
    (root / name).mkdir(parents=True)
    for number in range(60):
        photo = draw(name, rng)
        ending = "png" if photo.mode == "RGBA" or rng.random() < 0.5 else "jpg"
        photo.save(root / name / f"{name}{number:02d}.{ending}")
for name, content in (("corrupt.jpg", b"\xff\xd8\xff but no more"), (".DS_Store", b"from another system")):
    (root / "circle" / name).write_bytes(content)

# %%
# Load
# ----
# ``load_folder`` scales all images to one size, and pads them with white. The corrupt file would raise an error. With
# ``on_error="skip"``, it is left out and listed.
data = load_folder(root, (64, 64), on_error="skip")
labels = data.target_names[data.target]
print(f"{len(data.images)} images of {data.images.shape[1:]}, classes {', '.join(data.target_names)}")
for file, reason in data.skipped:
    print(f"left out: {Path(file).name}, {reason}")

# %%
# Look
# ----
# Before training, check that these are the right images with the right labels.
grid = ImagesDisplay.from_images(data.images, labels, filenames=data.filenames, random_state=0)

# %%
# Train
# -----
# The model is a pipeline with ``ImageReader``, so it accepts paths and prepares new files in the same way. The network
# has four blocks that each halve the image. It ends with the maximum of each channel.
paths, test_paths, y, y_test = train_test_split(data.filenames, labels, stratify=labels, random_state=0)
blocks = [[Conv2D(filters, use_bias=False), BatchNorm(), ReLU(), MaxPool2D()] for filters in (16, 32, 64, 64)]
network = CNNClassifier(
    layers=[*(layer for block in blocks for layer in block), GlobalMaxPool2D()],
    augmentation=[RandomFlip(), RandomAffine(degrees=10, shift=0.05)],
    learning_rate=0.003,
    schedule="one_cycle",
    batch_size=32,
    max_iter=80,
    random_state=0,
)
model = make_pipeline(ImageReader((64, 64)), network).fit(paths, y)
history = HistoryDisplay.from_estimator(model[-1])

# %%
# Evaluate
# --------
# On the test files, compute the accuracy, the fraction of images whose class is among the two most probable, and
# scikit-learn's report for each class.
probabilities = model.predict_proba(test_paths)
predicted = model.classes_[probabilities.argmax(axis=1)]
print(f"accuracy on the test images: {(predicted == y_test).mean():.3f}")
print(f"among the two most probable: {top_k_accuracy_score(y_test, probabilities, k=2, labels=model.classes_):.3f}")
print(classification_report(y_test, predicted))

# %%
# In the confusion matrix, each row is a class and each column is a prediction.
matrix = ConfusionMatrixDisplay.from_predictions(y_test, predicted, cmap="Blues", colorbar=False)

# %%
# Errors
# ------
# The display shows the misclassified files, the most certain errors first. In practice, some of them have a wrong
# label.
if (predicted != y_test).any():
    errors = MisclassifiedDisplay.from_estimator(model, test_paths, y_test)
    print("look at", Path(errors.filenames[0]).name)

# %%
# Average
# -------
# A mirrored shape keeps its class, so predictions can be averaged over each image and its mirror image. This needs no
# new fit, and the file below keeps the setting.
network.set_params(test_time_augmentation="flip")
probabilities = model.predict_proba(test_paths)
print(f"averaged over mirror images: {(model.classes_[probabilities.argmax(axis=1)] == y_test).mean():.3f}")

# %%
# Save
# ----
# One file contains the network and the parameters of the reader, as arrays and JSON. ``skcnn.runtime`` reads it without
# scikit-learn, and gives the same predictions.
path = Path(directory.name) / "shapes.skcnn"
skcnn.save(model, path)
served = skcnn.runtime.load(path)
print(f"{path.name}: {path.stat().st_size:,} bytes, {served}")
print("predicts the same:", np.array_equal(served.predict_proba(test_paths), probabilities))

# %%
# Serve
# -----
# The server ``examples/serving/app.py`` accepts uploads in every format that Pillow reads, and has a page for browsers.
# Here it runs in a thread. On a server, start it with ``python examples/serving/app.py shapes.skcnn 8000``.
server = app.serve(served, port=0)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
upload = Path(test_paths[0])
status, answer = client.ask(url, upload.read_bytes())
print(status, f"{upload.name} is a", ", ".join(f"{name} ({p:.2f})" for name, p in client.best(answer)))
status, answer = client.ask(url, (root / "circle" / "corrupt.jpg").read_bytes())
print(status, answer["error"])
server.shutdown()
server.server_close()
directory.cleanup()
