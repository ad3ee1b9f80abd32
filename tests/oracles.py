"""The layers once more, as slow loops over (n, h, w, c) arrays: what the engine is compared with."""

import math

import numpy as np


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def padded_sizes(size, kernel, stride, dilation, padding):
    """(zeros before, zeros after, outputs) along one axis."""
    span = dilation * (kernel - 1) + 1
    if padding == "same":
        out = math.ceil(size / stride)
        missing = max(0, (out - 1) * stride + span - size)
        before = missing // 2
        return before, missing - before, out
    before = 0 if padding == "valid" else padding
    return before, before, (size + 2 * before - span) // stride + 1


def _geometry(x, kernel, strides, padding, dilation=(1, 1)):
    pads = padding if isinstance(padding, tuple) else (padding, padding)
    return [padded_sizes(x.shape[1 + a], kernel[a], strides[a], dilation[a], pads[a]) for a in range(2)]


def _window(x, row, column, kernel, strides, geometry, dilation=(1, 1)):
    """What one window reads that lies inside the image: a list of ((i, j), values (n, c))."""
    found = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            a = row * strides[0] + i * dilation[0] - geometry[0][0]
            b = column * strides[1] + j * dilation[1] - geometry[1][0]
            if 0 <= a < x.shape[1] and 0 <= b < x.shape[2]:
                found.append(((i, j), x[:, a, b]))
    return found


def conv2d(layer, x, p):
    kernel, strides, dilation = map(_pair, (layer.kernel_size, layer.strides, layer.dilation))
    geometry = _geometry(x, kernel, strides, layer.padding, dilation)
    y = np.zeros((len(x), geometry[0][2], geometry[1][2], layer.filters))
    per_group, filters = x.shape[3] // layer.groups, layer.filters // layer.groups
    for row in range(y.shape[1]):
        for column in range(y.shape[2]):
            for (i, j), values in _window(x, row, column, kernel, strides, geometry, dilation):
                for k in range(layer.filters):
                    first = k // filters * per_group
                    for c in range(per_group):
                        y[:, row, column, k] += values[:, first + c] * p["kernel"][i, j, c, k]
    return y + p.get("bias", 0.0)


def _pool(layer, x, reduce):
    kernel = _pair(layer.pool_size)
    strides = kernel if layer.strides is None else _pair(layer.strides)
    geometry = _geometry(x, kernel, strides, layer.padding)
    y = np.zeros((len(x), geometry[0][2], geometry[1][2], x.shape[3]))
    for row in range(y.shape[1]):
        for column in range(y.shape[2]):
            values = [v for _, v in _window(x, row, column, kernel, strides, geometry)]
            y[:, row, column] = reduce(np.stack(values), axis=0)
    return y


def max_pool(layer, x, p):
    return _pool(layer, x, np.max)


def avg_pool(layer, x, p):
    return _pool(layer, x, np.mean)


def dense(layer, x, p):
    y = np.zeros((len(x), layer.units))
    for row in range(len(x)):
        for unit in range(layer.units):
            y[row, unit] = sum(x[row, i] * p["kernel"][i, unit] for i in range(x.shape[1]))
    return y + p.get("bias", 0.0)


def flatten(layer, x, p):
    return np.stack([[v for row in image for pixel in row for v in pixel] for image in x])


def global_avg_pool(layer, x, p):
    return np.stack([[image[:, :, c].mean() for c in range(x.shape[3])] for image in x])


def global_max_pool(layer, x, p):
    return np.stack([[image[:, :, c].max() for c in range(x.shape[3])] for image in x])


def batch_norm(layer, x, p):
    """With the running statistics, as when predicting."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        deviation = math.sqrt(p["running_variance"][c] + layer.epsilon)
        y[..., c] = p["scale"][c] * (x[..., c] - p["running_mean"][c]) / deviation + p["offset"][c]
    return y


def batch_norm_training(layer, x, p):
    """With the statistics of the batch."""
    axes = tuple(range(x.ndim - 1))
    return batch_norm(layer, x, p | {"running_mean": x.mean(axes), "running_variance": x.var(axes)})


def elementwise(f):
    """An oracle that applies a function of one number to each."""

    def oracle(layer, x, p):
        return np.vectorize(lambda value: f(layer, value), otypes=[float])(x)

    return oracle


def identity(layer, x, p):
    return x


def sequence(layers, x, p, prefix=""):
    """Layers one after the other; ``layers`` are (name, layer, oracle), ``p`` has their parameters by ``prefix``."""
    for name, layer, oracle in layers:
        start = f"{prefix}{name}."
        x = oracle(layer, x, {key.removeprefix(start): v for key, v in p.items() if key.startswith(start)})
    return x


def residual(inside, around=()):
    """An oracle that adds what two sequences make of the same input."""
    return lambda layer, x, p: sequence(inside, x, p) + sequence(around, x, p)


def concatenate(*branches):
    """An oracle that puts what sequences make of the same input side by side."""

    def oracle(layer, x, p):
        parts = [sequence(inside, x, p, f"branch{i}.") for i, inside in enumerate(branches, 1)]
        return np.concatenate(parts, axis=-1)

    return oracle
