"""
Searching many candidates: successive halving
=============================================

A grid search trains every candidate to the end, also those that lose from the beginning. Successive halving trains all
of them for a few epochs, and gives three times as many epochs to the best third, until these are all the epochs that
there are. What is rationed is ``max_iter``, the number of epochs, so that all candidates see all images.
"""

# %%
# Twenty-seven candidates on scikit-learn's digits. To enable the halving searches of scikit-learn takes an import.
import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV, train_test_split

from skcnn import CNNClassifier

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(digits.images, digits.target, test_size=0.3, random_state=0)

grid = {
    "learning_rate": [1e-4, 1e-3, 1e-2],
    "conv_filters": [(8,), (16,), (8, 16)],
    "hidden_layer_sizes": [(), (32,), (64,)],
}
model = CNNClassifier(batch_size=32, random_state=0)
search = HalvingGridSearchCV(
    model, grid, resource="max_iter", min_resources=2, max_resources=18, factor=3, cv=3, random_state=0, n_jobs=2
)
search.fit(X_train, y_train)

# %%
# How many candidates there were in each round, and with how many epochs. A grid would have trained all 27 for 18
# epochs. ``max_iter`` is among the parameters of the best candidate, and the final model was trained on all training
# images with them.
for count, epochs in zip(search.n_candidates_, search.n_resources_, strict=True):
    print(f"{count:2d} candidates with {epochs:2d} epochs")
trained = np.dot(search.n_candidates_, search.n_resources_)
print(f"epochs of each fold: {trained}, of the full grid: {27 * 18}")
print(f"best: {search.best_params_}")
print(f"accuracy on the test images: {search.score(X_test, y_test):.3f}")

# %%
# The candidates that go on are those of the best mean accuracy over three folds. A candidate that is slow at the
# beginning is out before it could show what it can: of the lowest learning rate none is left after the first round. The
# fewest epochs, ``min_resources``, should be enough to tell the candidates apart. A schedule that ends with
# ``max_iter`` helps here: in each round it comes to its end.
results = search.cv_results_
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
colors = dict(zip(grid["learning_rate"], ("tab:grey", "tab:blue", "tab:orange"), strict=True))
curves = {}
for params, epochs, score in zip(results["params"], results["n_resources"], results["mean_test_score"], strict=True):
    key = tuple(value for name, value in params.items() if name != "max_iter")
    curves.setdefault((params["learning_rate"], key), []).append((epochs, 1 - score))
for (rate, _), points in curves.items():
    axes.plot(*np.transpose(points), "o-", color=colors[rate], markersize=4, linewidth=1, alpha=0.8)
for rate, color in colors.items():
    axes.plot([], [], "o-", color=color, label=f"learning rate {rate:g}")
axes.set(xscale="log", yscale="log", xlabel="epochs (max_iter)", ylabel="errors, mean of three folds")
rounds = zip(search.n_resources_, search.n_candidates_, strict=True)
axes.set_xticks(search.n_resources_, [f"{epochs}\n{count} candidates" for epochs, count in rounds])
axes.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["2 %", "5 %", "10 %", "20 %", "50 %"])
axes.minorticks_off()
axes.set_title("A third goes on, with three times the epochs")
axes.legend(frameon=False, loc="upper right")

# %%
# Learning rates are better drawn at random than taken from a grid. ``HalvingRandomSearchCV`` draws as many candidates
# as the epochs allow: with ``n_candidates="exhaust"``, so many that the last round has ``max_resources``.
drawn = HalvingRandomSearchCV(
    model.set_params(conv_filters=(8, 16), hidden_layer_sizes=(32,)),
    {"learning_rate": loguniform(1e-4, 1e-1), "alpha": loguniform(1e-6, 1e-1), "schedule": ["constant", "cosine"]},
    n_candidates="exhaust",
    resource="max_iter",
    min_resources=2,
    max_resources=18,
    cv=3,
    random_state=0,
    n_jobs=2,
).fit(X_train, y_train)
print(f"drawn at random: {drawn.n_candidates_} candidates with {drawn.n_resources_} epochs")
print(f"learning rate {drawn.best_params_['learning_rate']:.4f}, schedule {drawn.best_params_['schedule']!r}")
print(f"accuracy on the test images with what was drawn: {drawn.score(X_test, y_test):.3f}")
