"""Quickstart: digits in three lines
=================================

A `CNNClassifier` takes images as they are, an array (images, height, width), and is used as every scikit-learn
classifier is. Here it learns the 8 x 8 digits that come with scikit-learn.
"""

# %%
# The data: 1,797 images, a quarter of them kept for the test.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skcnn import CNNClassifier
from skcnn.display import HistoryDisplay, MisclassifiedDisplay

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.images, digits.target, stratify=digits.target, random_state=0
)
print(f"{len(X_train):,} images to learn from, each {X_train.shape[1]} x {X_train.shape[2]}")

# %%
# The defaults are two blocks of convolution and pooling, and one dense layer. No scaling is needed before: ``fit``
# measures the mean and the standard deviation of the pixels and keeps them.
classifier = CNNClassifier(random_state=0)
classifier.fit(X_train, y_train)

# %%
# The accuracy on the images that it has not seen:
print(f"accuracy on the test images: {classifier.score(X_test, y_test):.4f}")

# %%
# The network that was built. The output layer, one unit for each class, is added by the classifier.
print(classifier.summary())

# %%
# Probabilities have one column for each of ``classes_``.
probabilities = classifier.predict_proba(X_test[:3])
for truth, row in zip(y_test, probabilities, strict=False):
    best = row.argmax()
    print(f"a {truth} is taken for a {classifier.classes_[best]} with probability {row[best]:.3f}")

# %%
# The loss of each epoch is noted; ``history_`` holds more, and a display draws it. The curve is nearly flat at
# its end, so that more than 30 epochs would change little.
print("loss:", " ".join(f"{loss:.3f}" for loss in classifier.loss_curve_[::5]), "... every fifth epoch")
history = HistoryDisplay.from_estimator(classifier)
history.ax_.set_yscale("log")

# %%
# What it gets wrong is worth a look. These are the test images whose class is not the most probable one; the most
# certain error comes first.
errors = MisclassifiedDisplay.from_estimator(classifier, X_test, y_test)
# sphinx_gallery_thumbnail_number = 2
