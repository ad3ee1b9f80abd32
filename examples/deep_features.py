"""
A support vector machine on deep features
=========================================

This example shows transfer learning: features that a network has learned from some classes help with other classes. A
network is trained on the digits 0 to 4 only. Its layers then compute features of the digits 5 to 9 for an SVM, with ten
labels for each digit. A search finds the best layer.
"""

# %%
# Train the network on the images of 0 to 4.
import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skcnn import CNNClassifier, CNNFeatures

X, y = load_digits(return_X_y=True)
known, new = y < 5, y >= 5
network = CNNClassifier((32, 64), hidden_layer_sizes=(64,), max_iter=10, random_state=0).fit(X[known], y[known])
print(network.summary())

# %%
# ``CNNFeatures`` is a transformer for pipelines, and its ``layer`` can be searched. ``FrozenEstimator`` keeps the
# network unchanged. Without it, each pipeline would train a new network on its few images.
few = StratifiedShuffleSplit(n_splits=10, train_size=50, random_state=0)
features = CNNFeatures(FrozenEstimator(network))
machine = make_pipeline(features, StandardScaler(), SVC())
layers = ["conv1", "maxpool1", "conv2", "maxpool2", "dense1"]
search = GridSearchCV(machine, {"cnnfeatures__layer": layers}, cv=few).fit(X[new], y[new])
pixels = cross_val_score(make_pipeline(StandardScaler(), SVC()), X[new], y[new], cv=few)

# %%
# The accuracies are means over ten draws of ten labels for each digit:
best = search.best_params_["cnnfeatures__layer"]
print(f"SVM on pixels: {pixels.mean():.3f}; on the output of {best}: {search.best_score_:.3f}")

# %%
# The best layer is in the middle of the network. Earlier layers detect edges, which are hardly better than pixels. The
# last layers distinguish 0 to 4 only.
results = search.cv_results_
names = ["pixels", *layers]
means = [pixels.mean(), *results["mean_test_score"]]
spreads = [pixels.std(), *results["std_test_score"]]
figure, axes = plt.subplots(figsize=(7, 4))
axes.errorbar(names, means, yerr=spreads, fmt="o-", capsize=4)
axes.set(
    ylabel="accuracy on 5 to 9", title="An SVM on the layers of a network trained on 0 to 4\n(10 images of each digit)"
)
axes.grid(axis="y", alpha=0.3)
figure.tight_layout()
