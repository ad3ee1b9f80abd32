"""One step of training against PyTorch, in float64."""

from copy import deepcopy

import numpy as np
import pytest

from skcnn import CNNClassifier
from skcnn.layers import (
    ELU,
    GELU,
    SELU,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    HardSwish,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Mish,
    PReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    UpSample2D,
    ZeroPad2D,
)
from skcnn.optimizers import SGD

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

_BLOCK = [Conv2D(18, use_bias=False), BatchNorm(), ReLU(), Conv2D(18, use_bias=False), BatchNorm()]

torch = pytest.importorskip("torch")
nn = torch.nn

ARCHITECTURES = {
    "plain": [Conv2D(4), ReLU(), MaxPool2D(), Conv2D(18), ReLU(), MaxPool2D(), Flatten(), Dense(7), ReLU()],
    "strides": [Conv2D(5, padding=1, strides=2), LeakyReLU(), Conv2D(3, padding=2, kernel_size=5, strides=(1, 2)),
                Tanh(), Flatten()],
    "dilation": [Conv2D(6, dilation=2), ReLU(), Conv2D(3, dilation=(2, 1), padding="valid"), Tanh(), Flatten()],
    "groups": [Conv2D(6, groups=3), ReLU(), Conv2D(6, groups=6), Sigmoid(), Conv2D(4, groups=2), Flatten()],
    "valid": [Conv2D(4, padding="valid"), ReLU(), Conv2D(17, kernel_size=(2, 3), padding="valid"), ReLU(), Flatten()],
    "overlapping": [Conv2D(4), MaxPool2D(3, strides=2), ReLU(), AvgPool2D(3, strides=1), Tanh(), Flatten()],
    "batch norm": [Conv2D(4, use_bias=False), BatchNorm(), ReLU(), MaxPool2D(), Conv2D(17), BatchNorm(), ReLU(),
                   Flatten(), Dense(6), BatchNorm(), Tanh()],
    "gates": [Conv2D(4), SiLU(), Conv2D(17), GELU(), Conv2D(3), Mish(), MaxPool2D(), Conv2D(5), HardSwish(), Flatten()],
    "activations": [Conv2D(4), PReLU(), Conv2D(17), Softplus(), Conv2D(18), PReLU(0.1), Conv2D(3), ELU(), Conv2D(17),
                    SELU(), Conv2D(16), Softmax(), Conv2D(4), Flatten(), Dense(6), PReLU(), Dense(5)],
    "wide": [Conv2D(20), BatchNorm(), ReLU(), Conv2D(16, kernel_size=1), ReLU(), GlobalAvgPool2D()],
    "residual": [Conv2D(18, use_bias=False), BatchNorm(), ReLU(), Residual(_BLOCK), ReLU(),
                 Residual([Conv2D(5, padding=1, strides=2), Tanh(), Residual([Conv2D(5), Tanh()])]), ReLU(),
                 Residual([Conv2D(7), Tanh()], shortcut=[Conv2D(7, kernel_size=1)]), GlobalAvgPool2D(),
                 Residual([Dense(6), Tanh()])],
    "branches": [Conv2D(4), ReLU(), Concatenate([[Conv2D(3), ReLU()], [], [LeakyReLU(), Conv2D(17)]]),
                 Tanh(), Concatenate([[GlobalAvgPool2D()], [Conv2D(2), Tanh(), Flatten()]])],
    "depthwise": [DepthwiseConv2D(depth_multiplier=2), BatchNorm(), ReLU(), Conv2D(18, kernel_size=1), GroupNorm(6),
                  ReLU(), DepthwiseConv2D(5), LayerNorm(), ReLU(), GlobalAvgPool2D()],
    "larger": [Conv2D(4), ZeroPad2D(((0, 1), (2, 0))), Conv2D(17), UpSample2D((1, 2)), Conv2D(3), Tanh(),
               MaxPool2D(), UpSample2D(2, interpolation="bilinear"), ZeroPad2D(), MaxPool2D(), Flatten(), LayerNorm()],
}  # fmt: skip
SHAPE, ROWS, CLASSES = (9, 8, 3), 10, 4


class ChannelsLast(nn.Module):
    """Flatten in the order h, w, c."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


class Parts(nn.Module):
    """What becomes of the outputs of several modules on one input, which are added or put side by side."""

    def __init__(self, branches, added):
        super().__init__()
        self.branches, self.added = nn.ModuleList(nn.Sequential(*modules) for modules in branches), added

    def forward(self, x):
        parts = [branch(x) for branch in self.branches]
        return sum(parts) if self.added else torch.cat(parts, dim=1)


class OfPixels(nn.Module):
    """A normalization of the last axis, over the channels of (n, c, h, w)."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.weight, self.bias = norm, norm.weight, norm.bias

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _pair(value):
    return tuple(value) if isinstance(value, tuple) else (value, value)


def twin(layer, shape, name, named):
    """The module that means the same; ``named`` collects the modules by our names."""
    inside = {part: twin(inner, before, f"{name}.{part}", named) for part, inner, before in layer.inside(shape)}
    named[name] = Parts(_branches(layer, inside), isinstance(layer, Residual)) if inside else _own(layer, shape)
    return named[name]


def _branches(layer, inside):
    """The modules inside, by branch: those of a concatenation that has an empty one, too."""
    if isinstance(layer, Residual):
        around = [module for part, module in inside.items() if part.startswith("shortcut")]
        return [module for module in inside.values() if module not in around], around
    starts = [f"branch{i}." for i in range(1, len(layer.branches) + 1)]
    return [[module for part, module in inside.items() if part.startswith(start)] for start in starts]


def _own(layer, shape):
    match layer:
        case Conv2D():
            pads = [(a.before, a.after) for a in (layer.geometry(shape).rows, layer.geometry(shape).columns)]
            assert all(before == after for before, after in pads)
            return nn.Conv2d(shape[2], layer.filters, layer.kernel_size, layer.strides, tuple(p for p, _ in pads),
                             layer.dilation, layer.groups, layer.use_bias)  # fmt: skip
        case Dense():
            return nn.Linear(shape[0], layer.units, layer.use_bias)
        case BatchNorm():
            norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return norm(shape[-1], eps=layer.epsilon, momentum=1 - layer.momentum)
        case DepthwiseConv2D():
            padding, multiplier = tuple(k // 2 for k in _pair(layer.kernel_size)), layer.depth_multiplier
            return nn.Conv2d(shape[2], shape[2] * multiplier, layer.kernel_size, padding=padding, groups=shape[2])
        case GroupNorm():
            return nn.GroupNorm(layer.groups, shape[-1], eps=layer.epsilon)
        case LayerNorm():
            norm = nn.LayerNorm(shape[-1], eps=layer.epsilon)
            return OfPixels(norm) if len(shape) == 3 else norm
        case ZeroPad2D():
            (top, bottom), (left, right) = layer.borders
            return nn.ZeroPad2d((left, right, top, bottom))
        case UpSample2D():
            return nn.Upsample(scale_factor=_pair(layer.size), mode=layer.interpolation)
        case MaxPool2D():
            return nn.MaxPool2d(_pair(layer.pool_size), layer.strides)
        case AvgPool2D():
            return nn.AvgPool2d(_pair(layer.pool_size), layer.strides)
        case GlobalAvgPool2D():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case Flatten():
            return ChannelsLast()
        case PReLU():
            return nn.PReLU(shape[-1])
        case Softplus():
            return nn.Softplus(threshold=1000)
        case Softmax():
            return nn.Softmax(dim=1)
        case LeakyReLU():
            return nn.LeakyReLU(layer.negative_slope)
        case _:
            twins = {ReLU: nn.ReLU, Tanh: nn.Tanh, Sigmoid: nn.Sigmoid, SiLU: nn.SiLU, GELU: nn.GELU, Mish: nn.Mish,
                     HardSwish: nn.Hardswish, SELU: nn.SELU, ELU: nn.ELU}  # fmt: skip
            return twins[type(layer)]()


def build(model):
    """The fitted model as a torch module with the same weights, and its parameters by our names."""
    network, found, named = model._model.network, {}, {}
    modules = [twin(*bound, found) for bound in zip(network.layers, network.shapes, network.names, strict=False)]
    for name, module in found.items():
        ours = {"kernel": "weight", "scale": "weight", "bias": "bias", "offset": "bias", "slope": "weight"}
        for key, theirs in ours.items():
            if f"{name}.{key}" in model.parameters_:
                named[f"{name}.{key}"] = getattr(module, theirs)
    assert set(named) == set(model.parameters_)
    whole = nn.Sequential(*modules).double()
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.data = to_torch(model.parameters_[name])
        for name, array in model.state_.items():
            owner, _, key = name.rpartition(".")
            getattr(found[owner], key.replace("variance", "var")).copy_(torch.tensor(np.array(array)))
    return whole, named


def to_torch(array):
    """(kh, kw, c, f) -> (f, c, kh, kw), (in, out) -> (out, in)."""
    order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
    return torch.tensor(np.array(array.transpose(order)))


def relative_difference(ours, theirs):
    return np.abs(to_torch(ours).numpy() - theirs.detach().numpy()).max() / np.abs(theirs.detach().numpy()).max()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_step_of_sgd_equals_that_of_pytorch(name, weight_decay):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(ROWS, *SHAPE)), np.arange(ROWS) % CLASSES
    options = {
        "layers": ARCHITECTURES[name],
        "optimizer": SGD(momentum=0.0, nesterov=False),
        "standardize": False,
        "batch_size": ROWS,
        "max_iter": 1,
        "shuffle": False,
        "random_state": 0,
        "alpha": weight_decay,
        "dtype": "float64",
    }
    # From where some steps have led: the output layer starts at zero, and no gradient passes through it.
    start = CNNClassifier(learning_rate=0.3, warm_start=True, **options).fit(X, y).fit(X, y)
    ours = deepcopy(start).set_params(learning_rate=0.5).fit(X, y)

    module, named = build(start)
    decayed = [p for key, p in named.items() if key.endswith("kernel")]
    others = [p for key, p in named.items() if not key.endswith("kernel")]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    theirs = torch.optim.SGD(groups, lr=0.5)
    raw = module(torch.tensor(X.transpose(0, 3, 1, 2)))
    loss = nn.functional.cross_entropy(raw, torch.tensor(y))
    loss.backward()
    theirs.step()

    penalty = weight_decay / 2 * sum(float((p**2).sum()) for p in map(to_torch, _kernels(start)))
    assert ours.loss_ == pytest.approx(loss.item() + penalty, rel=1e-10)
    for key, parameter in named.items():
        if not _has_no_effect(key, ours):
            assert relative_difference(ours.parameters_[key], parameter) < 1e-9, key
    module.eval()
    raw = module(torch.tensor(X.transpose(0, 3, 1, 2))).softmax(dim=1).detach().numpy()
    if not ours.state_:  # PyTorch's running variance is unbiased
        np.testing.assert_allclose(ours.predict_proba(X), raw, rtol=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["one frozen", "half", "all but the output"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_step_with_frozen_layers_equals_that_of_pytorch(name, share):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(ROWS, *SHAPE)), np.arange(ROWS) % CLASSES
    options = {"layers": ARCHITECTURES[name], "batch_size": ROWS, "max_iter": 1, "shuffle": False, "random_state": 0}
    sgd = SGD(momentum=0.0, nesterov=False)
    start = CNNClassifier(
        learning_rate=0.3, warm_start=True, optimizer=sgd, alpha=0.1, dtype="float64", **options
    ).fit(X, y).fit(X, y)  # fmt: skip
    names = start._model.network.names
    last = round(share * (len(names) - 2))
    ours = deepcopy(start).set_params(learning_rate=0.5, freeze=names[last]).fit(X, y)

    module, named = build(start)
    module[: last + 1].eval().requires_grad_(False)
    trained = {key: p for key, p in named.items() if names.index(key.split(".")[0]) > last}
    kernels = [p for key, p in trained.items() if key.endswith("kernel")]
    others = [p for key, p in trained.items() if not key.endswith("kernel")]
    groups = [{"params": kernels, "weight_decay": 0.1}, {"params": others}]
    theirs = torch.optim.SGD([group for group in groups if group["params"]], lr=0.5)
    X = (X - start.input_mean_) / start.input_scale_
    loss = nn.functional.cross_entropy(module(torch.tensor(X.transpose(0, 3, 1, 2))), torch.tensor(y))
    penalty = 0.05 * sum(float((p.detach() ** 2).sum()) for p in kernels)
    loss.backward()
    theirs.step()

    assert ours.loss_ == pytest.approx(loss.item() + penalty, rel=1e-10)
    for key, parameter in named.items():
        if key not in trained:
            np.testing.assert_array_equal(ours.parameters_[key], start.parameters_[key])
        elif not _has_no_effect(key, ours):
            assert relative_difference(ours.parameters_[key], parameter) < 1e-9, key
    for key, array in start.state_.items():
        assert np.array_equal(ours.state_[key], array) == (names.index(key.split(".")[0]) <= last)


def _kernels(model):
    return [value for key, value in model.parameters_.items() if key.endswith("kernel")]


def _has_no_effect(key, model):
    """A bias right before batch norm: its gradient is zero, and what is left is rounding."""
    layers = dict(zip(model._model.network.names, model._model.network.layers, strict=True))
    names = list(layers)
    owner = key.split(".")[0]
    following = layers[names[names.index(owner) + 1]] if owner != names[-1] else None
    return key.endswith("bias") and isinstance(following, BatchNorm)
