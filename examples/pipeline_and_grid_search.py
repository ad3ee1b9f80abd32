"""Pipelines and grid search
=========================

`CNNClassifier` works in ``Pipeline`` and ``GridSearchCV`` like every estimator. This example searches over parameters,
lists of layers, optimizers, and parameters of optimizers. It also shows how a validation set passes through the
transformers of a pipeline.
"""

# %%
# Transformers need rows, so the digits are rows of 64 pixels. Because 64 is a square number, the classifier uses
# them as images of 8 x 8 pixels. For other images, set ``input_shape``.
import sklearn
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from skcnn import CNNClassifier
from skcnn.layers import BatchNorm, Conv2D, Dense, Flatten, GlobalAvgPool2D, MaxPool2D, ReLU
from skcnn.optimizers import SGD

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)


searched = {}


def show(title, search):
    """Print a line for each combination that was tried, the best first, and keep the results for the picture."""
    results = searched[title] = search.cv_results_
    print(title)
    for i in results["mean_test_score"].argsort()[::-1]:
        values = ", ".join(f"{name} = {value}" for name, value in results["params"][i].items())
        print(f"  {results['mean_test_score'][i]:.3f}  {values}")


# %%
# Search over parameters of the network. Each of the two processes trains its own network, and uses only its share of
# the processors.
cnn = CNNClassifier(conv_filters=16, hidden_layer_sizes=32, batch_size=32, max_iter=10, random_state=0)
pipeline = Pipeline([("scale", MinMaxScaler()), ("cnn", cnn)])

search = GridSearchCV(pipeline, {"cnn__kernel_size": [3, 5], "cnn__learning_rate": [1e-3, 4e-3]}, cv=3, n_jobs=2)
search.fit(X_train, y_train)
show("parameters", search)
print(f"  on the test set: {search.score(X_test, y_test):.3f}")

# %%
# Search over lists of layers. They replace the parameters of the network.
dense = [Conv2D(16), ReLU(), MaxPool2D(), Flatten(), Dense(32), ReLU()]
pooled = [Conv2D(16), BatchNorm(), ReLU(), Conv2D(32, strides=2), BatchNorm(), ReLU(), GlobalAvgPool2D()]
pipeline.set_params(cnn__learning_rate=4e-3)
search = GridSearchCV(pipeline, {"cnn__layers": [dense, pooled]}, cv=3, n_jobs=2)
search.fit(X_train, y_train)
show("layers", search)

# %%
# Search over optimizers, which are names or objects. With a list of grids, each optimizer has its own learning rates.
grids = [
    {"cnn__optimizer": ["adam"], "cnn__learning_rate": [1e-3, 4e-3]},
    {"cnn__optimizer": [SGD(momentum=0.8)], "cnn__learning_rate": [0.01, 0.03]},
]
search = GridSearchCV(pipeline, grids, cv=3, n_jobs=2)
search.fit(X_train, y_train)
show("optimizers", search)

# %%
# Search over a parameter of the optimizer, with a nested name. The string "sgd" is first converted to an object.
pipeline.set_params(cnn__optimizer="sgd", cnn__learning_rate=0.03)
search = GridSearchCV(pipeline, {"cnn__optimizer__momentum": [0.5, 0.8, 0.9]}, cv=3, n_jobs=2)
search.fit(X_train, y_train)
show("inside the optimizer", search)

# %%
# The picture shows all combinations. A dot is the mean of three folds. Its line goes from the worst to the best fold.
figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
ticks = []
for color, (title, results) in zip(("tab:blue", "tab:orange", "tab:green", "tab:red"), searched.items(), strict=True):
    for k in results["mean_test_score"].argsort()[::-1]:
        folds = [results[f"split{i}_test_score"][k] for i in range(3)]
        axes.plot([min(folds), max(folds)], [len(ticks)] * 2, color=color)
        (dot,) = axes.plot(results["mean_test_score"][k], len(ticks), "o", color=color)
        values = {name.split("__")[-1]: value for name, value in results["params"][k].items()}
        texts = (f"{len(v)} layers" if name == "layers" else f"{name} {v}" for name, v in values.items())
        ticks.append(", ".join(texts))
    dot.set_label(title)
axes.set(yticks=range(len(ticks)), yticklabels=ticks, xlabel="accuracy of the folds")
axes.invert_yaxis()
figure.legend(loc="outside upper center", ncols=4, frameon=False)

# %%
# A validation set has to pass through the scaler before the classifier uses it. ``transform_input`` makes the pipeline
# transform it, and ``set_fit_request`` makes the pipeline pass it to the classifier.
X_learn, X_val, y_learn, y_val = train_test_split(X_train, y_train, stratify=y_train, random_state=0)
with sklearn.config_context(enable_metadata_routing=True):
    stopping = CNNClassifier(early_stopping=True, n_iter_no_change=5, max_iter=50, random_state=0)
    pipeline = Pipeline(
        [("scale", MinMaxScaler()), ("cnn", stopping.set_fit_request(X_val=True, y_val=True))],
        transform_input=["X_val"],
    )
    pipeline.fit(X_learn, y_learn, X_val=X_val, y_val=y_val)
cnn = pipeline["cnn"]
print(f"stopped after {cnn.n_iter_} of {cnn.max_iter} epochs: validation score {cnn.best_validation_score_:.3f}")
