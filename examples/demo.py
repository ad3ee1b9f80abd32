"""Demo: train, look at the errors, save and load
==============================================

This example trains a network on scikit-learn's digits, finds the most difficult test images, and saves and loads the
network. ``make demo`` runs it. It writes two files to the current directory: ``demo.joblib`` with the trained
classifier and, if matplotlib is installed, ``demo.png`` with a picture of the training and of the most difficult
images.
"""

# %%
# There are 1,797 digits of 8 x 8 pixels. A quarter is the test set. 15 % of the others are the validation set.
import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images.astype(np.float32), digits.target, stratify=digits.target, random_state=0
)
X_learn, X_val, y_learn, y_val = train_test_split(X_train, y_train, test_size=0.15, stratify=y_train, random_state=0)

# %%
# The network has four convolutions with batch norm. Pooling and dropout follow every second one. The learning rate
# decreases to zero along half a cosine.
classifier = CNNClassifier(
    conv_filters=(32, 32, 64, 64),
    pool_size=(1, 2, 1, 2),
    hidden_layer_sizes=(),
    batch_norm=True,
    dropout=(0, 0.2, 0, 0.4),
    learning_rate=2e-3,
    schedule="cosine",
    batch_size=32,
    max_iter=20,
    random_state=0,
    verbose=1,
)
print(f"Training on {len(X_learn):,} digits, validation on {len(X_val)} others")
classifier.fit(X_learn, y_learn, X_val=X_val, y_val=y_val)
history = classifier.history_

# %%
# The validation score no longer changes, so 20 epochs are enough. The final classifier is trained on all training
# images.
print(f"\nTraining again, on all {len(X_train):,}")
classifier.set_params(verbose=0).fit(X_train, y_train)
accuracy = classifier.score(X_test, y_test)
print(f"Accuracy on {len(X_test)} test digits: {accuracy:.4f}, with {classifier.n_parameters_:,} weights")

# %%
# The most difficult test images have the lowest probability for their true class. The table shows four of them, and the
# first four test images:
probabilities = classifier.predict_proba(X_test)
predicted = classifier.predict(X_test)
of_truth = probabilities[np.arange(len(y_test)), y_test]
hardest = np.argsort(of_truth)[:8]
print("\nimage  true  predicted  probability  runner-up")
for i in [*hardest[:4], *range(4)]:
    second, first = np.argsort(probabilities[i])[-2:]
    row = f"{i:5}  {y_test[i]:4}  {first:9}  {probabilities[i, first]:11.3f}"
    mark = "" if first == y_test[i] else "  wrong"
    print(f"{row}  {second} with {probabilities[i, second]:.3f}{mark}")

# %%
# After saving and loading, the classifier gives the same predictions.
joblib.dump(classifier, "demo.joblib")
loaded = joblib.load("demo.joblib")
same = np.array_equal(loaded.predict_proba(X_test), probabilities)
print(f"\nSaved to demo.joblib; loaded again, it predicts {'the same' if same else 'SOMETHING ELSE'}")

# %%
# The picture shows the first of the two trainings, and the test images that are most difficult for the final
# classifier.
try:
    from matplotlib import pyplot as plt
except ImportError:
    print("There is no picture, because matplotlib is not installed: pip install matplotlib")
    raise SystemExit from None

blue, orange, red, grey = "#1f5fa8", "#d9730d", "#c0272d", "#555555"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True})
figure = plt.figure(figsize=(10, 4.3), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.2), wspace=0.05)

left.suptitle(f"Training on {len(X_learn):,} digits", fontweight="bold")
epochs = range(1, len(history["loss"]) + 1)
losses, scores = left.subplots(2, 1, sharex=True)
losses.plot(epochs, history["loss"], color=blue, label="training, with dropout")
losses.plot(epochs, history["val_loss"], color=orange, label="validation")
losses.set(ylabel="loss", yscale="log")
losses.legend(frameon=False)
scores.plot(epochs, history["val_score"], color=orange)
scores.set(ylabel="validation accuracy", ylim=(min(0.9, *history["val_score"]), 1.003))
scores.set(xlabel="epoch", xlim=(0.5, 20.5), xticks=(1, 5, 10, 15, 20))
for axes in (losses, scores):
    axes.grid(color="#e5e5e5", linewidth=0.8)

wrong = (predicted != y_test).sum()
right.suptitle(f"The hardest of {len(y_test)} test digits: {wrong} wrong, in red", fontweight="bold")
for axes, i in zip(right.subplots(2, 4).flat, hardest, strict=True):
    color = grey if predicted[i] == y_test[i] else red
    axes.imshow(X_test[i], cmap="gray_r")
    axes.set(xticks=[], yticks=[])
    axes.set_title(
        f"true {y_test[i]}\npredicted {predicted[i]} ({probabilities[i].max():.0%})", color=color, fontsize=9
    )
    axes.spines[:].set(visible=True, color=color, linewidth=1.2)
figure.savefig("demo.png", dpi=120)
print("Picture written to demo.png")
