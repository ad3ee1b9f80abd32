"""A convolutional network with its backward pass in plain NumPy: `python docs/learn/cnn_in_numpy.py` trains it.

Images x are (n, height, width, channels), kernels W (height, width, channels, filters). The derivative of the loss with
respect to an array v is dv, an array of the same shape.
"""

import numpy as np


def convolve_loops(x, W, b, stride=1, padding=0):
    """Lay the kernel on every place of every image, and take the weighted sum."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    (n, h, w, _), (kh, kw, _, f) = x.shape, W.shape
    y = np.zeros((n, (h - kh) // stride + 1, (w - kw) // stride + 1, f))
    for m, i, j, k in np.ndindex(y.shape):  # image, row, column, filter
        rows, columns = i * stride, j * stride
        window = x[m, rows : rows + kh, columns : columns + kw]
        y[m, i, j, k] = np.sum(window * W[..., k]) + b[k]
    return y


def convolve_loops_backward(x, W, dy, stride=1, padding=0):
    """Return dx, dW and db: each output gives back to the pixels and weights that made it."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    dx, dW, (kh, kw) = np.zeros(x.shape), np.zeros(W.shape), W.shape[:2]
    for m, i, j, k in np.ndindex(dy.shape):
        rows = slice(i * stride, i * stride + kh)
        columns = slice(j * stride, j * stride + kw)
        dW[..., k] += dy[m, i, j, k] * x[m, rows, columns]
        dx[m, rows, columns] += dy[m, i, j, k] * W[..., k]
    h, w = x.shape[1:3]
    dx = dx[:, padding : h - padding, padding : w - padding]
    return dx, dW, dy.sum(axis=(0, 1, 2))


def im2col(x, kh, kw, stride, padding):
    """Copy each window into a row: (n, h, w, c) -> (n, h', w', kh * kw * c)."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    h, w = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    taps = []
    for i, j in np.ndindex(kh, kw):  # a place in the kernel, and all pixels that it meets
        taps.append(x[:, i : i + h * stride : stride, j : j + w * stride : stride])
    return np.concatenate(taps, axis=-1)


def col2im(columns, shape, kh, kw, stride, padding):
    """Add each number of the columns to the pixel that it was copied from."""
    n, h, w, c = shape
    dx = np.zeros((n, h + 2 * padding, w + 2 * padding, c))
    rows, cols = columns.shape[1] * stride, columns.shape[2] * stride
    taps = np.split(columns, kh * kw, axis=-1)
    for (i, j), tap in zip(np.ndindex(kh, kw), taps, strict=True):
        dx[:, i : i + rows : stride, j : j + cols : stride] += tap
    return dx[:, padding : padding + h, padding : padding + w]


def convolve(x, W, b, stride=1, padding=0):
    """Return the same as `convolve_loops`, as one matrix product."""
    return im2col(x, *W.shape[:2], stride, padding) @ W.reshape(-1, W.shape[3]) + b


def convolve_backward(x, W, dy, stride=1, padding=0):
    """Return the same as `convolve_loops_backward`, as two matrix products."""
    (kh, kw, _, f), columns = W.shape, im2col(x, *W.shape[:2], stride, padding)
    dW = columns.reshape(-1, columns.shape[-1]).T @ dy.reshape(-1, f)
    dx = col2im(dy @ W.reshape(-1, f).T, x.shape, kh, kw, stride, padding)
    return dx, dW.reshape(W.shape), dy.sum(axis=(0, 1, 2))


def pool(x):
    """Return the maxima of windows of 2 x 2 pixels, and where in its window each maximum is."""
    n, h, w, c = x.shape
    windows = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    windows = windows.reshape(n, h // 2, w // 2, c, 4)
    return windows.max(axis=-1), windows.argmax(axis=-1)


def pool_backward(winners, dy):
    """Return dx: the derivative of a maximum goes to the pixel that was the largest."""
    n, h, w, c = dy.shape
    dx = np.where(winners[..., None] == np.arange(4), dy[..., None], 0.0)
    dx = dx.reshape(n, h, w, c, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return dx.reshape(n, 2 * h, 2 * w, c)


def initial_weights(rng, channels=1, filters=(8, 16), pixels=4, classes=10):
    """Draw kernels with variance 2 / fan-in (He et al. 2015); biases and the output are 0."""
    p = {}
    for number, f in enumerate(filters, 1):
        deviation = np.sqrt(2 / (9 * channels))
        p[f"W{number}"] = rng.normal(0, deviation, size=(3, 3, channels, f))
        p[f"b{number}"], channels = np.zeros(f), f
    return p | {"W": np.zeros((pixels * channels, classes)), "b": np.zeros(classes)}


def forward(p, x):
    """Return the scores (n, classes), and the arrays that the backward pass reads."""
    a1 = convolve(x, p["W1"], p["b1"], padding=1)
    h1, winners1 = pool(np.maximum(a1, 0))
    a2 = convolve(h1, p["W2"], p["b2"], padding=1)
    h2, winners2 = pool(np.maximum(a2, 0))
    return h2.reshape(len(x), -1) @ p["W"] + p["b"], (x, a1, winners1, h1, a2, winners2, h2)


def log_loss(scores, y):
    """Return the mean log loss of the classes y (n,), and its gradient by the scores."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = e / e.sum(axis=1, keepdims=True)
    truth = np.eye(scores.shape[1])[y]
    loss = -np.mean(np.log((probabilities * truth).sum(axis=1)))
    return loss, (probabilities - truth) / len(y)


def backward(p, kept, ds):
    """Return the gradient of the loss with respect to each weight: forward, in reverse."""
    x, a1, winners1, h1, a2, winners2, h2 = kept
    flat = h2.reshape(len(x), -1)
    g = {"W": flat.T @ ds, "b": ds.sum(axis=0)}
    da2 = pool_backward(winners2, (ds @ p["W"].T).reshape(h2.shape)) * (a2 > 0)
    dh1, g["W2"], g["b2"] = convolve_backward(h1, p["W2"], da2, padding=1)
    da1 = pool_backward(winners1, dh1) * (a1 > 0)
    _, g["W1"], g["b1"] = convolve_backward(x, p["W1"], da1, padding=1)
    return g


def train(p, x, y, rng, epochs=10, rate=0.03, momentum=0.9, batch=32):
    """Change the weights against their gradient; return the mean loss of each epoch."""
    velocity, losses = {name: np.zeros_like(w) for name, w in p.items()}, []
    for _ in range(epochs):
        found = []
        for rows in np.array_split(rng.permutation(len(x)), len(x) // batch):
            scores, kept = forward(p, x[rows])
            loss, ds = log_loss(scores, y[rows])
            for name, gradient in backward(p, kept, ds).items():
                velocity[name] = momentum * velocity[name] - rate * gradient
                p[name] += velocity[name]
            found.append(loss)
        losses.append(float(np.mean(found)))
    return losses


def main():
    """Train on 1,347 of scikit-learn's digits, and count how many of the 450 others are recognized."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.images[..., None] - 4.9) / 6.0  # about mean 0 and standard deviation 1
    x_train, x_test, y_train, y_test = train_test_split(x, digits.target, random_state=0)
    rng = np.random.default_rng(0)
    p = initial_weights(rng)
    for epoch, loss in enumerate(train(p, x_train, y_train, rng), 1):
        print(f"epoch {epoch:2}: loss {loss:.3f}")
    print(f"accuracy {np.mean(forward(p, x_test)[0].argmax(axis=1) == y_test):.3f}")


if __name__ == "__main__":
    main()
