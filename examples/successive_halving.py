"""
Searching many candidates: successive halving
=============================================

A grid search trains every candidate to the end, even the worst ones. Successive halving trains all candidates for a few
epochs. The best third of them gets three times as many epochs, and so on, up to the maximum. The resource is
``max_iter``, the number of epochs, so all candidates are trained on all images.
"""

# %%
# The search has 27 candidates, on scikit-learn's digits. Halving searches need the import of
# ``enable_halving_search_cv``.
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
# Print the number of candidates and epochs in each round. A grid search would train all 27 candidates for 18 epochs.
# ``max_iter`` is one of the parameters of the best candidate. The final model is trained with them on all training
# images.
for count, epochs in zip(search.n_candidates_, search.n_resources_, strict=True):
    print(f"{count:2d} candidates with {epochs:2d} epochs")
trained = np.dot(search.n_candidates_, search.n_resources_)
print(f"epochs of each fold: {trained}, of the full grid: {27 * 18}")
print(f"best: {search.best_params_}")
print(f"accuracy on the test images: {search.score(X_test, y_test):.3f}")

# %%
# Candidates are compared by their mean accuracy over three folds. A candidate that is slow at the beginning is
# dropped, even if it would be good later: no candidate with the lowest learning rate survives the first round. So
# choose ``min_resources``, the smallest number of epochs, large enough to distinguish the candidates. A schedule
# that ends with ``max_iter`` helps, because it is completed in each round.
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
axes.set_title("The best third continues, with three times the epochs")
axes.legend(frameon=False, loc="upper right")

# %%
# Random learning rates are better than a grid. ``HalvingRandomSearchCV`` draws candidates at random. With
# ``n_candidates="exhaust"``, it draws as many as needed for a last round with ``max_resources``.
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
print(f"accuracy on the test images with random candidates: {drawn.score(X_test, y_test):.3f}")
