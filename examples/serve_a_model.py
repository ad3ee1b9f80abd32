"""
Serve a model
=============

This example deploys a network: it saves the network, loads it without scikit-learn, and serves it over HTTP. The server
is ``examples/serving/app.py``, a short program around the HTTP server of Python. This script starts it in a thread and
sends arrays. ``examples/photos.py`` serves a model for image files.
"""

# %%
# Train a network for 8-bit pixels and save it. The file contains arrays and JSON, and cannot run code.
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import matplotlib.pyplot as plt
import numpy as np
from serving import app, client  # the folder beside this file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skcnn
import skcnn.runtime

digits = load_digits()
images = (digits.images * (255 / 16)).astype(np.uint8)
X, X_test, y, y_test = train_test_split(images, digits.target, stratify=digits.target, random_state=0)
classifier = skcnn.CNNClassifier((16, 32), hidden_layer_sizes=(32,), max_iter=10, random_state=0).fit(X, y)
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "digits.skcnn"
skcnn.save(classifier, path)
print(f"{path.name}: {path.stat().st_size:,} bytes, accuracy on the test images {classifier.score(X_test, y_test):.3f}")

# %%
# Load the model as the server does. Its predictions are the same, bit for bit. A server imports only ``skcnn.runtime``:
# ``python examples/serving/app.py digits.skcnn 8000`` starts in about 140 milliseconds.
model = skcnn.runtime.load(path)
print(model, "predicts the same:", np.array_equal(model.predict_proba(X_test), classifier.predict_proba(X_test)))

# %%
# Start the server at a free port.
server = app.serve(model, port=0)
Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"

# %%
# Four clients send 30 digits each at the same time.
parts = np.array_split(X_test[:120], 4)
with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(lambda part: client.ask(url, client.as_bytes(part)), parts))
predicted = [int(said["class"]) for _, answer in answers for said in answer["predictions"]]
print("same answers as the estimator:", np.array_equal(predicted, classifier.predict(X_test[:120])))
status, answer = client.ask(url, b"not an image")
print(status, json.dumps(answer))

# %%
# Show the answers for five digits.
status, answer = client.ask(url, client.as_bytes(X_test[:5]))
server.shutdown()
server.server_close()
folder.cleanup()
figure, axes = plt.subplots(2, 5, figsize=(10, 4), height_ratios=(1, 1.2), layout="constrained")
for image, said, (top, bottom) in zip(X_test, answer["predictions"], axes.T, strict=False):
    top.imshow(image, cmap="gray_r")
    top.set(xticks=[], yticks=[], title=f"predicted {said['class']}")
    bottom.bar(list(said["probabilities"]), list(said["probabilities"].values()))
    bottom.set(ylim=(0, 1), xlabel="class", ylabel="probability" if bottom is axes[1, 0] else "")
