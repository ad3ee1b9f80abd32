"""Image regression: the position of a spot
========================================

`CNNRegressor` predicts numbers from images. Targets are arrays (n,) or (n, k). This example predicts both coordinates
of a blurred spot in noise.
"""

# %%
# Each image contains a spot at a random position and with a random brightness, and noise.
import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import train_test_split

from skcnn import CNNRegressor

rng = np.random.default_rng(0)
places = rng.uniform(3, 13, size=(1_200, 2))
rows, columns = np.mgrid[:16, :16]
distances = (rows - places[:, :1, None]) ** 2 + (columns - places[:, 1:, None]) ** 2
images = rng.uniform(0.5, 2, size=(len(places), 1, 1)) * np.exp(-distances / 4)
images = (images + rng.normal(scale=0.1, size=images.shape)).astype(np.float32)

# %%
# A quarter of the images is the test set.
X_train, X_test, y_train, y_test = train_test_split(images, places, random_state=0)
print(f"{len(X_train)} images with two targets each")

# %%
# The network learns standardized targets, so the unit of the positions does not matter.
regressor = CNNRegressor((16, 32), hidden_layer_sizes=(64,), max_iter=15, random_state=0)
regressor.fit(X_train, y_train)
found = regressor.predict(X_test)
errors = np.linalg.norm(found - y_test, axis=1)
print(f"R squared {regressor.score(X_test, y_test):.3f}, error {np.median(errors):.2f} pixels (median)")

# %%
# The picture shows the first five test images, the image with the largest error, and the errors of all test images.
figure, grid = plt.subplot_mosaic("abch;defh", figsize=(9, 4), width_ratios=(1, 1, 1, 2.2), layout="constrained")
for name, i in zip("abcdef", [*range(5), errors.argmax()], strict=True):
    axes = grid[name]
    axes.imshow(X_test[i], cmap="gray_r", vmin=0, vmax=2)
    (truth,) = axes.plot(
        *y_test[i, ::-1], "o", color="tab:cyan", markersize=10, markeredgewidth=2, fillstyle="none", label="true"
    )
    (guess,) = axes.plot(*found[i, ::-1], "x", color="tab:red", label="predicted")
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"error {errors[i]:.2f}", fontsize=9)
figure.legend(handles=[truth, guess], loc="outside lower left", ncols=2, frameon=False)
grid["h"].hist(errors, bins=30, color="tab:blue")
grid["h"].set(xlabel="distance from the true position, in pixels", ylabel="test images")

# %%
# Other losses predict other numbers. The absolute error is minimized by the median, which is robust to outliers.
robust = CNNRegressor((16,), hidden_layer_sizes=(32,), loss="absolute_error", max_iter=10, random_state=0)
robust.fit(X_train, y_train[:, 0])
print(f"rows alone, by absolute error: R squared {robust.score(X_test, y_test[:, 0]):.3f}")
