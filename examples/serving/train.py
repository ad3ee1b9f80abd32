"""Train the model that is served: a classifier of digits, whose images are of 8 x 8 pixels from 0 to 255.

``python train.py digits.skcnn`` writes it to that file.
"""

import sys

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import skcnn

digits = load_digits()
images = (digits.images * (255 / 16)).astype("uint8")
X_train, X_test, y_train, y_test = train_test_split(images, digits.target, stratify=digits.target, random_state=0)
classifier = skcnn.CNNClassifier(max_iter=10, random_state=0).fit(X_train, y_train)
path = sys.argv[1] if len(sys.argv) > 1 else "digits.skcnn"
skcnn.save(classifier, path)
print(f"{path}: accuracy on the test images {classifier.score(X_test, y_test):.3f}")
