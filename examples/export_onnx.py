"""Export to ONNX and predict with onnxruntime
===========================================

ONNX is a file format for models. onnxruntime runs such files in services, in browsers and on phones, from many
languages, without scikit-learn and without this package. ``skcnn.onnx.to_onnx`` exports a fitted network or a whole
pipeline. This example exports both, and compares the predictions of onnxruntime with the estimators.
"""

# %%
# Train a network on scikit-learn's digits.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcnn import CNNClassifier, CNNFeatures
from skcnn.onnx import to_onnx

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, stratify=digits.target, random_state=0
)
classifier = CNNClassifier((16, 32), batch_norm=True, hidden_layer_sizes=(32,), max_iter=15, random_state=0)
classifier.fit(X_train, y_train)
print(f"accuracy on the test images: {classifier.score(X_test, y_test):.4f}")

# %%
# ``to_onnx`` creates the model and ``onnx.save`` writes the file. It contains the layers, their weights and the
# standardization of the pixels, all in single precision.
directory = tempfile.TemporaryDirectory()
file = Path(directory.name) / "digits.onnx"
model = to_onnx(classifier)
onnx.save(model, file)
weights = sum(array.nbytes for array in classifier.parameters_.values())
print(f"file: {file.stat().st_size:,} bytes, weights in the classifier: {weights:,} bytes")

# %%
# The nodes have the names of the layers in ``summary()``. Viewers of ONNX files show these names.
for node in model.graph.node:
    print(f"{node.name:32} {node.op_type}")

# %%
# onnxruntime reads the file and predicts. The input is a float32 matrix with a row for each image. Convert 8-bit pixels
# to float32, but do not scale them. The outputs are labels and probabilities.
session = onnxruntime.InferenceSession(file)
rows = X_test.reshape(len(X_test), -1).astype(np.float32)
label, probabilities = session.run(["label", "probabilities"], {"X": rows})
expected = classifier.predict_proba(X_test)
difference = np.abs(probabilities - expected)
print("same labels:", np.array_equal(label, classifier.predict(X_test)))
print(f"largest difference of a probability: {difference.max():.1e}")

# %%
# The picture shows the four images with the least certain predictions, and both predictions for them.
chosen = np.argsort(expected.max(axis=1))[:4]
figure, axes = plt.subplots(2, 4, figsize=(9, 4.2), height_ratios=(1, 1.2), sharey="row", layout="constrained")
for (image_axes, bar_axes), i in zip(axes.T, chosen, strict=True):
    image_axes.imshow(X_test[i], cmap="gray_r")
    image_axes.set_axis_off()
    image_axes.set_title(f"true {y_test[i]}, predicted {label[i]}", fontsize=10)
    bar_axes.bar(np.arange(10) - 0.2, expected[i], 0.4, label="skcnn")
    bar_axes.bar(np.arange(10) + 0.2, probabilities[i], 0.4, label="onnxruntime")
    bar_axes.set_xticks(range(10))
    bar_axes.set_xlabel("class")
axes[1, 0].set_ylabel("probability")
figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)

# %%
# A pipeline is exported as a whole. This one is a logistic regression on the output of the last hidden layer. skl2onnx
# converts its other steps.
features = CNNFeatures(FrozenEstimator(classifier), layer="relu3")
pipeline = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.1)).fit(X_train, y_train)
session = onnxruntime.InferenceSession(to_onnx(pipeline).SerializeToString())
label, probabilities = session.run(["label", "probabilities"], {"X": rows})
print("pipeline, same labels:", np.array_equal(label, pipeline.predict(X_test)))
print(f"pipeline, largest difference: {np.abs(probabilities - pipeline.predict_proba(X_test)).max():.1e}")

# %%
directory.cleanup()
