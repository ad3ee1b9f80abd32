"""Imbalanced classes: class weights and focal loss
================================================

This example finds a rare class, one digit in a hundred, with the plain loss, with balanced class weights and with focal
loss. Accuracy is no useful score for imbalanced data: if 99 of 100 images belong to one class, a classifier that never
finds the other class has an accuracy of 99 %. The balanced accuracy is the mean recall of the classes.
"""

# %%
# The rare class is the digit 8.
import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import PrecisionRecallDisplay, balanced_accuracy_score, recall_score
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.losses import Focal

digits = load_digits()
is_eight = digits.target == 8
X, X_test, y, y_test = train_test_split(digits.images, is_eight, test_size=0.4, stratify=is_eight, random_state=0)

# %%
# Remove eights from the training set until there is one for every hundred other digits. The test set stays unchanged.
rng = np.random.default_rng(0)
rare = rng.choice(np.flatnonzero(y), size=round((~y).sum() / 100), replace=False)
kept = np.concatenate([np.flatnonzero(~y), rare])
X_train, y_train = X[kept], y[kept]
print(f"{y_train.sum()} eights among {len(y_train)} images")

# %%
# Compare three ways of training. With ``"balanced"``, the weight of an eight is about a hundred times the weight of
# another digit. Focal loss reduces the weight of easy images, and ``alpha`` is the weight of the second class.
ways = {
    "plain": {},
    'class_weight="balanced"': {"class_weight": "balanced"},
    "focal loss": {"loss": Focal(gamma=2.0, alpha=0.9)},
}
probabilities = {}
print(f"{'':26s}{'accuracy':>10s}{'balanced':>10s}{'eights found':>14s}")
for name, parameters in ways.items():
    classifier = CNNClassifier((16, 32), hidden_layer_sizes=(32,), max_iter=15, random_state=0, **parameters)
    predicted = classifier.fit(X_train, y_train).predict(X_test)
    probabilities[name] = classifier.predict_proba(X_test)[:, 1]
    accuracy, balanced = (predicted == y_test).mean(), balanced_accuracy_score(y_test, predicted)
    print(f"{name:26s}{accuracy:10.3f}{balanced:10.3f}{recall_score(y_test, predicted):14.3f}")

# %%
# Another way is a different threshold for the probabilities, for example with scikit-learn's
# ``TunedThresholdClassifierCV``. The curves show all thresholds, and the dots show the threshold 0.5. The dot of the
# plain loss is at the left end, where no eight is found. The plain loss ranks the images nearly as well as the others,
# but 0.5 is the wrong threshold for it.
figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
for color, (name, probability) in zip(("tab:grey", "tab:blue", "tab:orange"), probabilities.items(), strict=True):
    PrecisionRecallDisplay.from_predictions(y_test, probability, name=name, ax=axes, curve_kwargs={"color": color})
    found = probability > 0.5
    precision = y_test[found].mean() if found.any() else 1.0
    axes.plot(recall_score(y_test, found), precision, "o", color=color, clip_on=False)
axes.set(xlabel="recall: fraction of the eights that are found", ylabel="precision: fraction of finds that are eights")
axes.set_title("Eights among other digits, 10 of them in the training set")
