"""One table per kind: the row of a layer, loss, optimizer, schedule or initializer buys it the whole battery."""

import math
from dataclasses import dataclass
from typing import Any

import oracles

from skcnn.augmentation import (
    ColorJitter,
    CutMix,
    Cutout,
    GaussianNoise,
    MixUp,
    RandomAffine,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomShift,
    RandomZoom,
)
from skcnn.description import description
from skcnn.initializers import Constant as ConstantKernel
from skcnn.initializers import Dirac, Glorot, He, LeCun, Orthogonal, TruncatedNormal, VarianceScaling, Zeros
from skcnn.layers import (
    ELU,
    GELU,
    SELU,
    AvgPool2D,
    BatchNorm,
    Clip,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    Gate,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    HardSigmoid,
    HardSwish,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Rescaling,
    Residual,
    Scale,
    SeparableConv2D,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SpatialDropout2D,
    Tanh,
    UpSample2D,
    WhiteningConv2D,
    ZeroPad2D,
)
from skcnn.layers.bias import Bias
from skcnn.losses import (
    AbsoluteError,
    Focal,
    Hinge,
    Huber,
    LogLoss,
    Poisson,
    Quantile,
    SquaredError,
    SquaredHinge,
)
from skcnn.optimizers import SGD, AdaDelta, AdaGrad, Adam, AdamW, Lion, Muon, Nadam, RMSprop
from skcnn.schedules import (
    Adaptive,
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseScaling,
    OneCycle,
    Polynomial,
    Schedule,
    Step,
    Warmup,
)


@description
class Untrained(Schedule):
    """For what has to be refused before the first step of a training."""

    def factor(self, epoch, max_iter):
        raise AssertionError("the training has begun")


@dataclass(frozen=True)
class LayerCase:
    """A layer, the shape of an image in front of it, and its slow twin."""

    layer: Any
    shape: tuple[int, ...]
    oracle: Any
    training_oracle: Any = None  # where training computes something else; "random" where it has no twin

    @property
    def id(self):
        return f"{self.layer!r} on {'x'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class LossCase:
    """A loss, and its formula for each kind of target that it takes.

    A formula gets the loss, a raw prediction and the truth, and gives a number. Among ``classes``, of which there are
    four, a raw prediction is a row with a number for each; a row of ``labels`` (0 or 1) is the sum over its labels, and
    one of ``numbers`` the mean over its outputs. ``pytorch`` gets torch, the loss, and raw predictions and targets of a
    batch, and gives the loss of each row.
    """

    loss: Any
    classes: Any = None
    labels: Any = None
    numbers: Any = None
    pytorch: Any = None
    slack: float = 1e-5  # share by which the risk at `base_score` may exceed the least one
    largest: float = 1e4  # raw prediction at which the loss is still finite

    @property
    def kinds(self):
        """The kinds of targets that the loss takes."""
        return [kind for kind in ("classes", "labels", "numbers") if getattr(self, kind) is not None]

    def values(self, raw, target):
        """The loss of each row of a batch, by the formula."""
        pairs = list(zip(raw, target, strict=True))
        if target.ndim == 1:
            return [self.classes(self.loss, z, y) for z, y in pairs]
        if self.numbers is None:
            return [sum(self.labels(self.loss, *number) for number in zip(z, y, strict=True)) for z, y in pairs]
        return [sum(self.numbers(self.loss, *number) for number in zip(z, y, strict=True)) / len(z) for z, y in pairs]


def _sigmoid(value):
    return 1 / (1 + math.exp(-value))


def _case(layer, shape, oracle, training_oracle=None):
    return LayerCase(layer, shape, oracle, training_oracle)


# Shapes with fewer than 16 channels are stored channels outermost, the others channels innermost: both appear.
LAYERS = [
    _case(Conv2D(4), (6, 5, 3), oracles.conv2d),
    _case(Conv2D(18), (5, 4, 17), oracles.conv2d),
    _case(Conv2D(17), (4, 4, 2), oracles.conv2d),
    _case(Conv2D(2), (4, 5, 16), oracles.conv2d),
    _case(Conv2D(3, kernel_size=2), (5, 4, 2), oracles.conv2d),
    _case(Conv2D(3, kernel_size=(1, 5), use_bias=False), (1, 9, 2), oracles.conv2d),
    _case(Conv2D(3, kernel_size=(5, 3), strides=(2, 3)), (7, 8, 2), oracles.conv2d),
    _case(Conv2D(3, strides=2), (6, 6, 1), oracles.conv2d),
    _case(Conv2D(3, padding="valid"), (6, 5, 2), oracles.conv2d),
    _case(Conv2D(3, padding=2), (4, 5, 2), oracles.conv2d),
    _case(Conv2D(3, padding=(0, 2), kernel_size=(2, 3)), (4, 5, 2), oracles.conv2d),
    _case(Conv2D(3, dilation=2), (6, 7, 2), oracles.conv2d),
    _case(Conv2D(3, dilation=(2, 1), strides=(1, 2), padding="valid"), (7, 6, 2), oracles.conv2d),
    _case(Conv2D(6, groups=3), (5, 4, 3), oracles.conv2d),
    _case(Conv2D(32, groups=2, kernel_size=(3, 1)), (4, 3, 16), oracles.conv2d),
    _case(Conv2D(4, groups=4, padding="valid"), (4, 4, 4), oracles.conv2d),
    _case(Conv2D(3, groups=3, strides=(2, 1), dilation=(1, 2)), (6, 5, 3), oracles.conv2d),
    _case(Conv2D(18, groups=18, kernel_size=(2, 3)), (5, 4, 18), oracles.conv2d),
    _case(Conv2D(5, kernel_size=1), (3, 4, 4), oracles.conv2d),
    _case(Conv2D(20, kernel_size=1), (3, 4, 18), oracles.conv2d),
    _case(Conv2D(4, kernel_size=1, strides=2), (5, 5, 3), oracles.conv2d),
    _case(Conv2D(1, kernel_initializer="lecun"), (1, 1, 1), oracles.conv2d),
    _case(WhiteningConv2D(), (6, 5, 3), oracles.whitening_conv2d),
    _case(WhiteningConv2D(2, padding="valid", use_bias=False), (5, 4, 2), oracles.whitening_conv2d),
    _case(WhiteningConv2D((1, 2), strides=2, dilation=(1, 2)), (5, 6, 18), oracles.whitening_conv2d),
    _case(MaxPool2D(), (6, 4, 3), oracles.max_pool),
    _case(MaxPool2D(), (5, 7, 17), oracles.max_pool),
    _case(MaxPool2D(3, strides=2), (7, 7, 2), oracles.max_pool),
    _case(MaxPool2D(3, strides=1, padding="same"), (4, 5, 2), oracles.max_pool),
    _case(MaxPool2D((2, 3), strides=(1, 4), padding=(1, 0)), (5, 8, 2), oracles.max_pool),
    _case(MaxPool2D(2, padding="same"), (5, 3, 18), oracles.max_pool),
    _case(MaxPool2D(1), (3, 3, 2), oracles.max_pool),
    _case(MaxPool2D(2, strides=3), (6, 7, 2), oracles.max_pool),
    _case(MaxPool2D(3, padding=1), (3, 6, 2), oracles.max_pool),  # the last pixels are in no window
    _case(MaxPool2D((1, 3), padding=(0, 1)), (4, 9, 18), oracles.max_pool),
    _case(AvgPool2D(), (6, 4, 3), oracles.avg_pool),
    _case(AvgPool2D(3, strides=2), (7, 7, 17), oracles.avg_pool),
    _case(AvgPool2D(2, padding="same"), (5, 3, 2), oracles.avg_pool),
    _case(AvgPool2D(3, strides=1, padding=1), (4, 5, 2), oracles.avg_pool),
    _case(AvgPool2D((1, 2)), (1, 7, 2), oracles.avg_pool),
    _case(AvgPool2D(3, padding=1), (6, 3, 18), oracles.avg_pool),
    _case(GlobalAvgPool2D(), (3, 4, 5), oracles.global_avg_pool),
    _case(GlobalAvgPool2D(), (3, 2, 18), oracles.global_avg_pool),
    _case(GlobalMaxPool2D(), (3, 4, 5), oracles.global_max_pool),
    _case(GlobalMaxPool2D(), (3, 2, 18), oracles.global_max_pool),
    _case(Flatten(), (3, 4, 5), oracles.flatten),
    _case(Flatten(), (2, 3, 18), oracles.flatten),
    _case(Dense(7), (5,), oracles.dense),
    _case(Dense(1, use_bias=False, kernel_initializer="glorot"), (20,), oracles.dense),
    _case(Bias(), (3, 4, 5), lambda layer, x, p: x + p["bias"]),
    _case(Bias(), (3, 4, 18), lambda layer, x, p: x + p["bias"]),
    _case(Bias(), (9,), lambda layer, x, p: x + p["bias"]),
    _case(Dropout(0.4), (4, 5, 3), oracles.identity, "random"),
    _case(Dropout(0.4), (4, 5, 18), oracles.identity, "random"),
    _case(Dropout(0.0), (6,), oracles.identity),
    _case(BatchNorm(), (4, 3, 5), oracles.batch_norm, oracles.batch_norm_training),
    _case(BatchNorm(momentum=0.5, epsilon=1e-2), (2, 3, 18), oracles.batch_norm, oracles.batch_norm_training),
    _case(BatchNorm(), (7,), oracles.batch_norm, oracles.batch_norm_training),
    _case(BatchNorm(scale=False), (4, 3, 5), oracles.batch_norm, oracles.batch_norm_training),
    _case(BatchNorm(offset=False), (2, 3, 18), oracles.batch_norm, oracles.batch_norm_training),
    _case(BatchNorm(scale=False, offset=False), (7,), oracles.batch_norm, oracles.batch_norm_training),
    _case(ReLU(), (4, 5, 3), oracles.elementwise(lambda layer, v: max(v, 0.0))),
    _case(ReLU(), (3, 2, 18), oracles.elementwise(lambda layer, v: max(v, 0.0))),
    _case(ReLU(), (9,), oracles.elementwise(lambda layer, v: max(v, 0.0))),
    _case(LeakyReLU(), (9,), oracles.elementwise(lambda layer, v: v if v > 0 else 0.01 * v)),
    _case(LeakyReLU(0.3), (3, 4, 2), oracles.elementwise(lambda layer, v: v if v > 0 else 0.3 * v)),
    _case(Tanh(), (3, 4, 2), oracles.elementwise(lambda layer, v: math.tanh(v))),
    _case(Sigmoid(), (3, 4, 18), oracles.elementwise(lambda layer, v: _sigmoid(v))),
    _case(DepthwiseConv2D(), (5, 4, 3), oracles.depthwise_conv2d),
    _case(DepthwiseConv2D((1, 3), strides=2, padding="valid"), (5, 6, 18), oracles.depthwise_conv2d),
    _case(DepthwiseConv2D(2, depth_multiplier=2, dilation=2, use_bias=False), (5, 4, 3), oracles.depthwise_conv2d),
    _case(DepthwiseConv2D(3, padding=(0, 1), depth_multiplier=3), (4, 4, 17), oracles.depthwise_conv2d),
    _case(DepthwiseConv2D(depth_multiplier=4), (4, 5, 1), oracles.depthwise_conv2d),
    _case(SeparableConv2D(4), (5, 4, 3), oracles.separable_conv2d),
    _case(SeparableConv2D(18, strides=2, padding=1, use_bias=False), (5, 4, 17), oracles.separable_conv2d),
    _case(SeparableConv2D(3, kernel_size=(1, 5), depth_multiplier=6), (1, 7, 3), oracles.separable_conv2d),
    _case(ZeroPad2D(), (3, 4, 2), oracles.zero_pad),
    _case(ZeroPad2D((2, 0)), (3, 2, 18), oracles.zero_pad),
    _case(ZeroPad2D(((0, 1), (3, 2))), (3, 4, 17), oracles.zero_pad),
    _case(ZeroPad2D(0), (3, 4, 2), oracles.identity),
    _case(UpSample2D(), (3, 4, 2), oracles.up_sample),
    _case(UpSample2D((3, 1)), (2, 3, 18), oracles.up_sample),
    _case(UpSample2D((1, 2)), (1, 5, 3), oracles.up_sample),
    _case(UpSample2D(interpolation="bilinear"), (3, 4, 2), oracles.up_sample_bilinear),
    _case(UpSample2D((2, 3), interpolation="bilinear"), (3, 2, 18), oracles.up_sample_bilinear),
    _case(UpSample2D((4, 1), interpolation="bilinear"), (1, 3, 1), oracles.up_sample_bilinear),
    _case(SpatialDropout2D(0.4), (4, 5, 3), oracles.identity, "random"),
    _case(SpatialDropout2D(0.4), (2, 5, 18), oracles.identity, "random"),
    _case(SpatialDropout2D(0.0), (4, 5, 3), oracles.identity),
    _case(LayerNorm(), (4, 3, 5), oracles.layer_norm),
    _case(LayerNorm(epsilon=1e-2), (3, 4, 18), oracles.layer_norm),
    _case(LayerNorm(), (7,), oracles.layer_norm),
    _case(GroupNorm(3), (4, 3, 6), oracles.group_norm),
    _case(GroupNorm(), (3, 2, 32), oracles.group_norm),
    _case(GroupNorm(2, epsilon=1e-2), (3, 2, 18), oracles.group_norm),
    _case(GroupNorm(1), (3, 4, 2), oracles.group_norm),
    _case(GroupNorm(4), (12,), oracles.group_norm),
    _case(Scale(), (4, 3, 5), oracles.scale),
    _case(Scale(0.1, use_bias=False), (3, 2, 18), oracles.scale),
    _case(Scale(-2.0), (7,), oracles.scale),
    _case(Rescaling(1 / 9), (4, 3, 5), oracles.elementwise(lambda layer, v: v / 9)),
    _case(Rescaling(-2), (3, 2, 18), oracles.elementwise(lambda layer, v: -2 * v)),
    _case(Rescaling(0.5), (7,), oracles.elementwise(lambda layer, v: v / 2)),
]

LAYERS += [
    _case(ELU(), (3, 4, 2), oracles.elementwise(lambda layer, v: v if v > 0 else math.exp(v) - 1)),
    _case(ELU(1.7), (3, 2, 18), oracles.elementwise(lambda layer, v: v if v > 0 else 1.7 * (math.exp(v) - 1))),
    _case(SELU(), (9,), oracles.elementwise(oracles.selu)),
    _case(GELU(), (3, 4, 2), oracles.elementwise(lambda layer, v: v / 2 * (1 + math.erf(v / math.sqrt(2))))),
    _case(GELU(), (9,), oracles.elementwise(lambda layer, v: v / 2 * (1 + math.erf(v / math.sqrt(2))))),
    _case(GELU(True), (3, 2, 18), oracles.elementwise(oracles.gelu_tanh)),
    _case(SiLU(), (3, 4, 2), oracles.elementwise(lambda layer, v: v * _sigmoid(v))),
    _case(SiLU(), (3, 2, 18), oracles.elementwise(lambda layer, v: v * _sigmoid(v))),
    _case(HardSigmoid(), (9,), oracles.elementwise(lambda layer, v: min(max(v / 6 + 0.5, 0.0), 1.0))),
    _case(HardSwish(), (3, 4, 2), oracles.elementwise(lambda layer, v: v * min(max(v / 6 + 0.5, 0.0), 1.0))),
    _case(Softplus(), (3, 2, 18), oracles.elementwise(lambda layer, v: math.log(1 + math.exp(v)))),
    _case(Mish(), (3, 4, 2), oracles.elementwise(lambda layer, v: v * math.tanh(math.log(1 + math.exp(v))))),
    _case(Clip(), (9,), oracles.elementwise(lambda layer, v: min(max(v, -1.0), 1.0))),
    _case(Clip(-0.3, None), (3, 4, 2), oracles.elementwise(lambda layer, v: max(v, -0.3))),
    _case(Clip(None, 0.7), (3, 2, 18), oracles.elementwise(lambda layer, v: min(v, 0.7))),
    _case(ReLU6(), (3, 4, 2), oracles.elementwise(lambda layer, v: min(max(v, 0.0), 6.0))),
    _case(ReLU6(), (3, 2, 18), oracles.elementwise(lambda layer, v: min(max(v, 0.0), 6.0))),
    _case(Mish(), (9,), oracles.elementwise(lambda layer, v: v * math.tanh(math.log(1 + math.exp(v))))),
    _case(PReLU(), (3, 4, 2), oracles.prelu),
    _case(PReLU(), (3, 2, 18), oracles.prelu),
    _case(PReLU(0.1), (9,), oracles.prelu),
    _case(Softmax(), (3, 4, 5), oracles.softmax),
    _case(Softmax(), (3, 2, 18), oracles.softmax),
    _case(Softmax(), (9,), oracles.softmax),
]

_relu = oracles.elementwise(lambda layer, v: max(v, 0.0))
_tanh = oracles.elementwise(lambda layer, v: math.tanh(v))
_logistic = oracles.elementwise(lambda layer, v: _sigmoid(v))


def _part(name, layer, oracle):
    """A layer inside of another one: the name that its parameters have there, itself and its slow twin."""
    return name, layer, oracle


def _conv(name, *args, **fields):
    return _part(name, Conv2D(*args, **fields), oracles.conv2d)


def _block(norm):
    """The block of a residual network of 18 channels."""
    return [
        _conv("conv1", 18, use_bias=False),
        _part("batchnorm1", BatchNorm(), norm),
        _part("relu1", ReLU(), _relu),
        _conv("conv2", 18, use_bias=False),
        _part("batchnorm2", BatchNorm(), norm),
    ]


def _pre_activated(norm):
    """A block that begins with batch norm, with strides that differ."""
    inside = [_part("batchnorm1", BatchNorm(), norm), _part("relu1", ReLU(), _relu), _conv("conv1", 5, strides=(2, 1))]
    around = [_part("shortcut.avgpool1", AvgPool2D((2, 1)), oracles.avg_pool), _conv("shortcut.conv1", 5, 1)]
    return inside, around


def _layers(parts):
    return [layer for _, layer, _ in parts]


_INNER = Residual([Conv2D(18)], shortcut=Conv2D(18, kernel_size=5))
_POOL = MaxPool2D(3, strides=1, padding="same")

# Layers that hold others: their twins know names and shortcuts by hand.
LAYERS += [
    _case(Residual([Conv2D(3)]), (4, 5, 3), oracles.residual([_conv("conv1", 3)])),
    _case(Residual([]), (4, 5, 18), oracles.residual([])),
    _case(
        Residual([Conv2D(4, strides=2), ReLU()]),
        (5, 6, 3),
        oracles.residual(
            [_conv("conv1", 4, strides=2), _part("relu1", ReLU(), _relu)],
            [_conv("shortcut", 4, kernel_size=1, strides=2, use_bias=False)],
        ),
    ),
    _case(
        Residual(_layers(_block(None))),
        (4, 3, 18),
        oracles.residual(_block(oracles.batch_norm)),
        oracles.residual(_block(oracles.batch_norm_training)),
    ),
    _case(
        Residual(_layers(_pre_activated(None)[0]), shortcut=_layers(_pre_activated(None)[1])),
        (4, 3, 17),
        oracles.residual(*_pre_activated(oracles.batch_norm)),
        oracles.residual(*_pre_activated(oracles.batch_norm_training)),
    ),
    _case(
        Residual([_INNER, Tanh()], shortcut=[]),
        (4, 4, 18),
        oracles.residual(
            [
                _part("residual1", _INNER, oracles.residual([_conv("conv1", 18)], [_conv("shortcut", 18, 5)])),
                _part("tanh1", Tanh(), _tanh),
            ]
        ),
    ),
    _case(
        Residual([Dense(5), Tanh()]),
        (7,),
        oracles.residual(
            [_part("dense1", Dense(5), oracles.dense), _part("tanh1", Tanh(), _tanh)],
            [_part("shortcut", Dense(5, use_bias=False), oracles.dense)],
        ),
    ),
    _case(
        Residual([Conv2D(3), Dropout(0.3)]),
        (4, 4, 2),
        oracles.residual([_conv("conv1", 3)], [_conv("shortcut", 3, kernel_size=1, use_bias=False)]),
        "random",
    ),
    _case(
        Concatenate([[Conv2D(3), ReLU()], [], [_POOL]]),
        (4, 5, 2),
        oracles.concatenate(
            [_conv("conv1", 3), _part("relu1", ReLU(), _relu)], [], [_part("maxpool1", _POOL, oracles.max_pool)]
        ),
    ),
    _case(
        Concatenate([[Conv2D(17)], [Conv2D(4), Conv2D(2, kernel_size=5)]]),
        (4, 4, 18),
        oracles.concatenate([_conv("conv1", 17)], [_conv("conv1", 4), _conv("conv2", 2, kernel_size=5)]),
    ),
    _case(
        Concatenate([[Residual([Conv2D(3)])], [Concatenate([[], [Conv2D(3)]])]]),
        (3, 4, 3),
        oracles.concatenate(
            [_part("residual1", None, oracles.residual([_conv("conv1", 3)]))],
            [_part("concatenate1", None, oracles.concatenate([], [_conv("conv1", 3)]))],
        ),
    ),
    _case(
        Concatenate([[GlobalAvgPool2D()], [GlobalMaxPool2D()]]),
        (3, 4, 5),
        oracles.concatenate(
            [_part("globalavgpool1", None, oracles.global_avg_pool)],
            [_part("globalmaxpool1", None, oracles.global_max_pool)],
        ),
    ),
    _case(
        Gate([GlobalAvgPool2D(), Dense(2), ReLU(), Dense(5), Sigmoid()]),
        (4, 3, 5),
        oracles.gate(
            [
                _part("globalavgpool1", None, oracles.global_avg_pool),
                _part("dense1", Dense(2), oracles.dense),
                _part("relu1", ReLU(), _relu),
                _part("dense2", Dense(5), oracles.dense),
                _part("sigmoid1", Sigmoid(), _logistic),
            ]
        ),
    ),
    _case(
        Gate([GlobalMaxPool2D(), Dense(18)], around=[Conv2D(18), Tanh()]),
        (3, 4, 17),
        oracles.gate(
            [_part("globalmaxpool1", None, oracles.global_max_pool), _part("dense1", Dense(18), oracles.dense)],
            [_conv("around.conv1", 18), _part("around.tanh1", Tanh(), _tanh)],
        ),
    ),
    _case(
        Gate([Conv2D(3, kernel_size=5), Sigmoid()]),
        (4, 5, 3),
        oracles.gate([_conv("conv1", 3, kernel_size=5), _part("sigmoid1", Sigmoid(), _logistic)]),
    ),
    _case(
        Gate([Gate([Dense(6), Tanh()]), Dense(6)]),
        (6,),
        oracles.gate(
            [
                _part(
                    "gate1",
                    None,
                    oracles.gate([_part("dense1", Dense(6), oracles.dense), _part("tanh1", Tanh(), _tanh)]),
                ),
                _part("dense1", Dense(6), oracles.dense),
            ]
        ),
    ),
    _case(Concatenate([[Dense(4)], []]), (6,), oracles.concatenate([_part("dense1", Dense(4), oracles.dense)], [])),
]

LOSSES = [
    LossCase(LogLoss(), oracles.log_loss, oracles.log_loss_of_label, pytorch=oracles.torch_log_loss),
    LossCase(LogLoss(0.1), oracles.log_loss, oracles.log_loss_of_label, pytorch=oracles.torch_log_loss),
    LossCase(Focal(), oracles.focal, oracles.focal_of_label, pytorch=oracles.torch_focal),
    LossCase(Focal(gamma=0.5, alpha=0.25), labels=oracles.focal_of_label, pytorch=oracles.torch_focal),
    LossCase(Focal(alpha=[0.5, 1.0, 2.0, 0.1]), oracles.focal, pytorch=oracles.torch_focal),
    LossCase(Hinge(), oracles.one_against_rest(oracles.hinge), oracles.hinge, pytorch=oracles.torch_hinge),
    LossCase(
        SquaredHinge(),
        oracles.one_against_rest(oracles.squared_hinge),
        oracles.squared_hinge,
        pytorch=oracles.torch_squared_hinge,
    ),
    LossCase(SquaredError(), numbers=lambda loss, z, y: (z - y) ** 2 / 2, pytorch=oracles.torch_squared_error),
    LossCase(AbsoluteError(), numbers=lambda loss, z, y: abs(z - y), pytorch=oracles.torch_absolute_error),
    # The base score is one step of an iteration, and not its end.
    LossCase(Huber(), numbers=oracles.huber, pytorch=oracles.torch_huber, slack=0.02),
    LossCase(Huber(delta=0.3), numbers=oracles.huber, pytorch=oracles.torch_huber, slack=0.02),
    LossCase(Quantile(), numbers=oracles.quantile, pytorch=oracles.torch_quantile),
    LossCase(Quantile(0.9), numbers=oracles.quantile, pytorch=oracles.torch_quantile),
    # exp(1e4), a mean of the distribution, is not a number of double precision.
    LossCase(Poisson(), numbers=lambda loss, z, y: math.exp(z) - y * z, pytorch=oracles.torch_poisson, largest=700.0),
]

OPTIMIZERS = [
    SGD(),
    SGD(momentum=0.0, nesterov=False),
    SGD(momentum=0.8, nesterov=False),
    Adam(),
    Adam(beta_1=0.7, beta_2=0.95, epsilon=1e-3),
    Adam(beta_2=0.5, amsgrad=True),
    AdamW(),
    AdamW(weight_decay=3.0, amsgrad=True, beta_2=0.5),
    Nadam(),
    Nadam(beta_1=0.7, beta_2=0.95, epsilon=1e-3, momentum_decay=1.0),
    RMSprop(),
    RMSprop(decay=0.8, epsilon=1e-3, momentum=0.7),
    RMSprop(centered=True),
    RMSprop(centered=True, momentum=0.5),
    AdaGrad(),
    AdaGrad(epsilon=0.1),
    AdaDelta(),
    AdaDelta(rho=0.5, epsilon=1e-3),
    Lion(),
    Lion(beta_1=0.5, beta_2=0.8, weight_decay=2.0),
    Muon(),
    Muon(momentum=0.6, nesterov=False, steps=3, weight_decay=2.0, normalize=True, optimizer=SGD(0.8), factor=0.2),
]

SCHEDULES = [
    Constant(),
    Step(),
    Step(step_size=2, gamma=0.5),
    Exponential(),
    Exponential(gamma=0.5),
    Polynomial(),
    Polynomial(power=2.5, minimum=0.1),
    InverseScaling(),
    InverseScaling(power=1),
    Cosine(),
    Cosine(minimum=0.1),
    CosineRestarts(),
    CosineRestarts(period=3, growth=1.5, minimum=0.1),
    OneCycle(),
    OneCycle(fraction=0.5, start=0.0, minimum=0.1),
    Warmup(),
    Warmup("cosine", fraction=0.25),
    Warmup(Step(step_size=3), fraction=0.0),
    Warmup(OneCycle(), start=0.5),
    Adaptive(),
    Adaptive(gamma=0.5, patience=0, tol=0.1, minimum=0.01),
]

INITIALIZERS = [Zeros(), He(), He("uniform"), Glorot(), Glorot("uniform"), LeCun(), LeCun("uniform")]
INITIALIZERS += [
    ConstantKernel(),
    ConstantKernel(0.5),
    TruncatedNormal(),
    TruncatedNormal(0.2),
    Orthogonal(),
    Orthogonal(2.0),
    VarianceScaling(),
    VarianceScaling(1 / 3, "fan_avg", distribution="uniform"),
    Dirac(),
    Dirac(LeCun("uniform")),
]

AUGMENTATIONS = [
    RandomFlip(),
    RandomFlip(horizontal=False, vertical=True),
    RandomFlip(vertical=True),
    RandomFlip(alternate=True),
    RandomCrop(),
    RandomCrop((1, 2), fill="reflect"),
    RandomCrop(2, fill="mirror"),
    RandomShift(),
    RandomShift((0.0, 0.5), fill="nearest"),
    RandomAffine(),
    RandomAffine(30.0, shift=(0.2, 0.1), zoom=0.3, shear=20.0, fill="reflect"),
    RandomRotation(),
    RandomRotation(180.0, fill="nearest"),
    RandomRotation(90.0, fill="mirror"),
    RandomZoom(),
    RandomZoom(0.5, fill=3),
    GaussianNoise(),
    ColorJitter(),
    ColorJitter(0.0, contrast=0.5, saturation=1.5, hue=0.3),
    Cutout(),
    Cutout((0.5, 0.25), fill=0),
    MixUp(),
    CutMix(),
]
