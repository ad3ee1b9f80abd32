"""Train the model for the server: a classifier of digits of 8 x 8 pixels.

``python train.py digits.skcnn`` writes the model to this file. The reader before the network converts every upload to
the size and the colours of the training images. For training, it accepts arrays, as in this script, or a list of paths.
"""

import sys

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import skcnn
from skcnn.images import ImageReader

digits = load_digits()
images = (digits.images * (255 / 16)).astype("uint8")
X_train, X_test, y_train, y_test = train_test_split(images, digits.target, stratify=digits.target, random_state=0)
reader = ImageReader((8, 8), color="grey", background="black")
model = make_pipeline(reader, skcnn.CNNClassifier(max_iter=10, random_state=0)).fit(X_train, y_train)
path = sys.argv[1] if len(sys.argv) > 1 else "digits.skcnn"
skcnn.save(model, path)
print(f"{path}: accuracy on the test images {model.score(X_test, y_test):.3f}")
