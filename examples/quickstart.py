"""Quickstart: digits in three lines
=================================

`CNNClassifier` accepts images as an array (images, height, width). Use it like every scikit-learn classifier. This
example trains it on scikit-learn's digits of 8 x 8 pixels.
"""

# %%
# There are 1,797 images. A quarter of them is the test set.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.display import HistoryDisplay, MisclassifiedDisplay

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, stratify=digits.target, random_state=0
)
print(f"{len(X_train):,} training images of {X_train.shape[1]} x {X_train.shape[2]} pixels")

# %%
# The default network has two blocks of convolution and pooling, and one dense layer. The images need no scaling:
# ``fit`` measures the mean and the standard deviation of the pixels.
classifier = CNNClassifier(random_state=0)
classifier.fit(X_train, y_train)

# %%
# Evaluate it on the test set:
print(f"accuracy on the test images: {classifier.score(X_test, y_test):.4f}")

# %%
# ``summary()`` shows the network. The classifier adds the output layer, with one unit for each class.
print(classifier.summary())

# %%
# ``predict_proba`` returns one column for each of ``classes_``.
probabilities = classifier.predict_proba(X_test[:3])
for truth, row in zip(y_test, probabilities, strict=False):
    best = row.argmax()
    print(f"true class {truth}, predicted class {classifier.classes_[best]} with probability {row[best]:.3f}")

# %%
# ``loss_curve_`` contains the loss of each epoch, ``history_`` contains more, and a display draws it. The curve is
# nearly flat at its end, so more than 30 epochs would change little.
print("loss:", " ".join(f"{loss:.3f}" for loss in classifier.loss_curve_[::5]), "... every fifth epoch")
history = HistoryDisplay.from_estimator(classifier)
history.ax_.set_yscale("log")

# %%
# Look at the misclassified test images. The most certain error comes first.
errors = MisclassifiedDisplay.from_estimator(classifier, X_test, y_test)
# sphinx_gallery_thumbnail_number = 2
