"""
A search on a cluster
=====================

joblib's Dask backend runs the fits of a search in other processes, on one machine or on many. The cluster in this
example is a scheduler and two workers on this machine. They are started as on a real cluster, with the commands ``dask
scheduler`` and ``dask worker``.
"""

# %%
# The scheduler writes its address into a file. With many machines, put this file on a shared disk. A worker with one
# thread runs one fit at a time, and the network uses one thread.
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skcnn import CNNClassifier

folder = tempfile.TemporaryDirectory()
address = Path(folder.name) / "scheduler.json"
scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
worker = ["worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--local-directory", folder.name]
cluster = [
    subprocess.Popen(
        [sys.executable, "-m", "dask", *command, "--scheduler-file", str(address)], stderr=subprocess.DEVNULL
    )
    for command in (scheduler, worker)
]
while not address.exists():
    time.sleep(0.05)
client = Client(scheduler_file=str(address))
client.wait_for_workers(2)
print(f"workers: {len(client.scheduler_info()['workers'])}")

# %%
# The search needs no changes. Inside the block, all parallel work of joblib runs on the cluster.
X, y = load_digits(return_X_y=True)
grid = {"learning_rate": [1e-3, 3e-3, 1e-2], "conv_filters": [(4,), (8,), (16,)]}
search = GridSearchCV(CNNClassifier(max_iter=3, random_state=0), grid, cv=3)
with joblib.parallel_config("dask"):
    search.fit(X, y)
print(f"best of {len(search.cv_results_['params'])} on the cluster: {search.best_params_}")

# %%
# The same search in this process gives the same scores, bit for bit.
here = GridSearchCV(CNNClassifier(max_iter=3, random_state=0), grid, cv=3).fit(X, y)
same = np.array_equal(here.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])
print(f"the same scores as in this process: {same}")
client.close()
for process in reversed(cluster):
    process.terminate()
    process.wait()
folder.cleanup()

# %%
# The picture shows the scores of all combinations.
scores = search.cv_results_["mean_test_score"].reshape(len(grid["conv_filters"]), -1)
figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
picture = axes.imshow(scores, cmap="viridis")
for (row, column), score in np.ndenumerate(scores):
    color = "white" if score < (scores.min() + scores.max()) / 2 else "black"
    axes.text(column, row, f"{score:.3f}", ha="center", va="center", color=color)
axes.set_xticks(range(scores.shape[1]), [f"{rate:g}" for rate in grid["learning_rate"]])
axes.set_yticks(range(scores.shape[0]), [str(filters[0]) for filters in grid["conv_filters"]])
axes.set(xlabel="learning_rate", ylabel="filters", title="Accuracy on digits, mean of three folds")
figure.colorbar(picture, label="accuracy")
