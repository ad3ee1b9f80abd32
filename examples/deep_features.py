"""
A support vector machine on deep features
=========================================

What a network has learnt of some classes may help with others. Here it sees the digits 0 to 4 only. Its layers then
turn images of 5 to 9, of which just ten each have a label, into features for an SVM. Which layer is the best?
"""

# %%
# The network learns from the images of 0 to 4.
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
# ``CNNFeatures`` is a transformer: it goes into pipelines, and its layer into a search. ``FrozenEstimator`` keeps the
# network as it is; without it each pipeline would fit a network of its own to its few images.
few = StratifiedShuffleSplit(n_splits=10, train_size=50, random_state=0)
features = CNNFeatures(FrozenEstimator(network))
machine = make_pipeline(features, StandardScaler(), SVC())
layers = ["conv1", "maxpool1", "conv2", "maxpool2", "dense1"]
search = GridSearchCV(machine, {"cnnfeatures__layer": layers}, cv=few).fit(X[new], y[new])
pixels = cross_val_score(make_pipeline(StandardScaler(), SVC()), X[new], y[new], cv=few)

# %%
# Ten labels of each digit, and ten draws of them:
best = search.best_params_["cnnfeatures__layer"]
print(f"SVM on pixels: {pixels.mean():.3f}; on what {best} gives: {search.best_score_:.3f}")

# %%
# The middle of the network is the best. In front of it are edges, hardly more than pixels; the last layers have learnt
# to see what tells 0 to 4 apart, and nothing else.
results = search.cv_results_
names = ["pixels", *layers]
means = [pixels.mean(), *results["mean_test_score"]]
spreads = [pixels.std(), *results["std_test_score"]]
figure, axes = plt.subplots(figsize=(7, 4))
axes.errorbar(names, means, yerr=spreads, fmt="o-", capsize=4)
axes.set(
    ylabel="accuracy on 5 to 9", title="An SVM on the layers of a network that knows 0 to 4\n(10 images of each digit)"
)
axes.grid(axis="y", alpha=0.3)
figure.tight_layout()
