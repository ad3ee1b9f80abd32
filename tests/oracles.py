"""The layers and losses once more, as slow loops and in PyTorch's words: the engine is compared with them."""

import math
from types import SimpleNamespace

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


def whitening_conv2d(layer, x, p):
    return conv2d(SimpleNamespace(**layer.get_params(), filters=p["kernel"].shape[3], groups=1), x, p)


def depthwise_conv2d(layer, x, p):
    return _depthwise(layer, x, p["kernel"]) + p.get("bias", 0.0)


def _depthwise(layer, x, windows):
    kernel, strides, dilation = map(_pair, (layer.kernel_size, layer.strides, layer.dilation))
    geometry = _geometry(x, kernel, strides, layer.padding, dilation)
    y = np.zeros((len(x), geometry[0][2], geometry[1][2], x.shape[3] * layer.depth_multiplier))
    for row in range(y.shape[1]):
        for column in range(y.shape[2]):
            for (i, j), values in _window(x, row, column, kernel, strides, geometry, dilation):
                for k in range(y.shape[3]):
                    y[:, row, column, k] += values[:, k // layer.depth_multiplier] * windows[i, j, 0, k]
    return y


def separable_conv2d(layer, x, p):
    between = _depthwise(layer, x, p["depthwise_kernel"])
    y = np.zeros((*between.shape[:3], layer.filters))
    for k in range(layer.filters):
        for c in range(between.shape[3]):
            y[..., k] += between[..., c] * p["pointwise_kernel"][0, 0, c, k]
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


def zero_pad(layer, x, p):
    rows, columns = (_pair(axis) for axis in _pair(layer.padding))
    n, h, w, c = x.shape
    y = np.zeros((n, h + sum(rows), w + sum(columns), c))
    for a in range(h):
        for b in range(w):
            y[:, a + rows[0], b + columns[0]] = x[:, a, b]
    return y


def up_sample(layer, x, p):
    rows, columns = _pair(layer.size)
    n, h, w, c = x.shape
    y = np.zeros((n, h * rows, w * columns, c))
    for a in range(h * rows):
        for b in range(w * columns):
            y[:, a, b] = x[:, a // rows, b // columns]
    return y


def up_sample_bilinear(layer, x, p):
    """Pixel by pixel from its four neighbours; outside, the image goes on as it ends."""
    rows, columns = _pair(layer.size)
    n, h, w, c = x.shape
    y = np.zeros((n, h * rows, w * columns, c))
    for a in range(h * rows):
        for b in range(w * columns):
            u, v = (a + 0.5) / rows - 0.5, (b + 0.5) / columns - 0.5
            for i, share_i in ((math.floor(u), 1 - u % 1), (math.floor(u) + 1, u % 1)):
                for j, share_j in ((math.floor(v), 1 - v % 1), (math.floor(v) + 1, v % 1)):
                    pixel = x[:, min(max(i, 0), h - 1), min(max(j, 0), w - 1)]
                    y[:, a, b] += share_i * share_j * pixel
    return y


def batch_norm(layer, x, p):
    """With the running statistics, as when predicting."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        deviation = math.sqrt(p["running_variance"][c] + layer.epsilon)
        scale, offset = (p[name][c] if name in p else number for name, number in (("scale", 1), ("offset", 0)))
        y[..., c] = scale * (x[..., c] - p["running_mean"][c]) / deviation + offset
    return y


def batch_norm_training(layer, x, p):
    """With the statistics of the batch."""
    axes = tuple(range(x.ndim - 1))
    return batch_norm(layer, x, p | {"running_mean": x.mean(axes), "running_variance": x.var(axes)})


def layer_norm(layer, x, p):
    y = np.empty_like(x)
    for place in np.ndindex(x.shape[:-1]):
        y[place] = (x[place] - x[place].mean()) / math.sqrt(x[place].var() + layer.epsilon)
    return y * p["scale"] + p["offset"]


def group_norm(layer, x, p):
    y, size = np.empty_like(x), x.shape[-1] // layer.groups
    for image in range(len(x)):
        for first in range(0, x.shape[-1], size):
            values = x[image, ..., first : first + size]
            y[image, ..., first : first + size] = (values - values.mean()) / math.sqrt(values.var() + layer.epsilon)
    return y * p["scale"] + p["offset"]


def scale(layer, x, p):
    y = np.array(x)
    for c in range(x.shape[-1]):
        y[..., c] = x[..., c] * p["scale"][c] + (p["bias"][c] if "bias" in p else 0)
    return y


def elementwise(f):
    """An oracle that applies a function of one number to each."""

    def oracle(layer, x, p):
        return np.vectorize(lambda value: f(layer, value), otypes=[float])(x)

    return oracle


def identity(layer, x, p):
    return x


def selu(layer, v):
    """With the constants as they are printed in the paper."""
    return 1.0507009873554804934 * (v if v > 0 else 1.6732632423543772848 * (math.exp(v) - 1))


def gelu_tanh(layer, v):
    return v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def prelu(layer, x, p):
    y = np.array(x)
    for c in range(x.shape[-1]):
        slope = p["slope"][c]
        y[..., c] = np.vectorize(lambda v, slope=slope: v if v > 0 else slope * v, otypes=[float])(x[..., c])
    return y


def softmax(layer, x, p):
    y = np.empty_like(x)
    for index in np.ndindex(x.shape[:-1]):
        powers = [math.exp(v) for v in x[index]]
        y[index] = [power / sum(powers) for power in powers]
    return y


def sequence(layers, x, p, prefix=""):
    """Layers one after the other; ``layers`` are (name, layer, oracle), ``p`` has their parameters by ``prefix``."""
    for name, layer, oracle in layers:
        start = f"{prefix}{name}."
        x = oracle(layer, x, {key.removeprefix(start): v for key, v in p.items() if key.startswith(start)})
    return x


def residual(inside, around=()):
    """An oracle that adds what two sequences make of the same input."""
    return lambda layer, x, p: sequence(inside, x, p) + sequence(around, x, p)


def gate(inside, around=()):
    """An oracle that multiplies what two sequences make of the same input, pixel by pixel."""

    def oracle(layer, x, p):
        factors, gated = sequence(inside, x, p), sequence(around, x, p)
        if factors.ndim == gated.ndim:
            return gated * factors
        return np.stack([np.stack([image * f for image in row], 0) for row, f in zip(gated, factors, strict=True)])

    return oracle


def concatenate(*branches):
    """An oracle that puts what sequences make of the same input side by side."""

    def oracle(layer, x, p):
        parts = [sequence(inside, x, p, f"branch{i}.") for i, inside in enumerate(branches, 1)]
        return np.concatenate(parts, axis=-1)

    return oracle


# -- losses: formulas of one raw prediction and the truth


def log_softmax(z, y):
    return z[y] - math.log(sum(math.exp(v) for v in z))


def log_loss(loss, z, y):
    k, s = len(z), loss.label_smoothing
    return -sum(((1 - s) * (j == y) + s / k) * log_softmax(z, j) for j in range(k))


def log_loss_of_label(loss, z, y):
    p, y = 1 / (1 + math.exp(-z)), (1 - loss.label_smoothing) * y + loss.label_smoothing / 2
    return -y * math.log(p) - (1 - y) * math.log(1 - p)


def focal(loss, z, y):
    p = math.exp(log_softmax(z, y))
    return -(loss.alpha[y] if loss.alpha else 1) * (1 - p) ** loss.gamma * math.log(p)


def focal_of_label(loss, z, y):
    weight = 1 if loss.alpha is None else loss.alpha if y else 1 - loss.alpha
    p = 1 / (1 + math.exp(-z if y else z))
    return -weight * (1 - p) ** loss.gamma * math.log(p)


def hinge(loss, z, y):
    return max(0, 1 - (2 * y - 1) * z)


def squared_hinge(loss, z, y):
    return hinge(loss, z, y) ** 2


def one_against_rest(of_label):
    """The formula for a class among several: the sum over the classes, of which each is a label."""
    return lambda loss, z, y: sum(of_label(loss, v, int(j == y)) for j, v in enumerate(z))


def huber(loss, z, y):
    r = abs(z - y)
    return r**2 / 2 if r <= loss.delta else loss.delta * (r - loss.delta / 2)


def quantile(loss, z, y):
    return loss.quantile * (y - z) if y >= z else (1 - loss.quantile) * (z - y)


# -- losses in PyTorch: of batches of raw predictions and targets, the loss of each row


def torch_log_loss(torch, loss, z, target):
    F, smoothing = torch.nn.functional, loss.label_smoothing
    if target.ndim == 1:
        return F.cross_entropy(z, target, reduction="none", label_smoothing=smoothing)
    smooth = target * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(z, smooth, reduction="none").sum(1)


def torch_focal(torch, loss, z, target):
    if target.ndim == 1:
        log_p = z.log_softmax(1).gather(1, target[:, None])[:, 0]
        weight = 1.0 if loss.alpha is None else torch.tensor(loss.alpha, dtype=torch.float64)[target]
        return -weight * (1 - log_p.exp()) ** loss.gamma * log_p
    log_p = torch.nn.functional.logsigmoid(z * (2 * target - 1))
    weight = 1.0 if loss.alpha is None else loss.alpha * target + (1 - loss.alpha) * (1 - target)
    return (-weight * (1 - log_p.exp()) ** loss.gamma * log_p).sum(1)


def _torch_margins(torch, z, target):
    signs = 2 * (torch.nn.functional.one_hot(target, z.shape[1]) if target.ndim == 1 else target) - 1
    return (1 - signs * z).clamp(min=0)


def torch_hinge(torch, loss, z, target):
    return _torch_margins(torch, z, target).sum(1)


def torch_squared_hinge(torch, loss, z, target):
    return (_torch_margins(torch, z, target) ** 2).sum(1)


def torch_squared_error(torch, loss, z, target):
    return torch.nn.functional.mse_loss(z, target, reduction="none").mean(1) / 2


def torch_absolute_error(torch, loss, z, target):
    return torch.nn.functional.l1_loss(z, target, reduction="none").mean(1)


def torch_huber(torch, loss, z, target):
    return torch.nn.functional.huber_loss(z, target, reduction="none", delta=loss.delta).mean(1)


def torch_quantile(torch, loss, z, target):
    return torch.maximum(loss.quantile * (target - z), (loss.quantile - 1) * (target - z)).mean(1)


def torch_poisson(torch, loss, z, target):
    return torch.nn.functional.poisson_nll_loss(z, target, log_input=True, reduction="none").mean(1)
