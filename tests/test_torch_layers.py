"""Single layers against PyTorch's, forward and backward, in float64."""

import numpy as np
import pytest

from skcnn.layers import BatchNorm, DepthwiseConv2D, GroupNorm, LayerNorm, SeparableConv2D, UpSample2D, ZeroPad2D
from skcnn.testing import draw_parameters, run

torch = pytest.importorskip("torch")
F = torch.nn.functional


def kernel(array):
    """(kh, kw, c, f) -> (f, c, kh, kw)."""
    return array.permute(3, 2, 0, 1)


def images_last(f):
    """A function of (n, c, h, w), for (n, h, w, c)."""
    return lambda x, p: f(x.permute(0, 3, 1, 2), p).permute(0, 2, 3, 1)


def depthwise(x, p, **options):
    return F.conv2d(x, kernel(p["kernel"]), p["bias"], groups=x.shape[1], **options)


def separable(x, p):
    between = F.conv2d(x, kernel(p["depthwise_kernel"]), groups=x.shape[1], padding=1, stride=2)
    return F.conv2d(between, kernel(p["pointwise_kernel"]), p["bias"])


def normal(groups):
    return lambda x, p: F.group_norm(x, groups, p["scale"], p["offset"], 1e-5)


def batch_normal(x, p):
    return F.batch_norm(x, None, None, p.get("scale"), p.get("offset"), training=True, eps=1e-5)


TWINS = [
    (BatchNorm(), (3, 4, 5), images_last(batch_normal)),
    (BatchNorm(scale=False), (3, 4, 5), images_last(batch_normal)),
    (BatchNorm(offset=False), (3, 4, 18), images_last(batch_normal)),
    (BatchNorm(scale=False, offset=False), (9,), batch_normal),
    (DepthwiseConv2D(), (6, 5, 3), images_last(lambda x, p: depthwise(x, p, padding=1))),
    (DepthwiseConv2D(), (6, 5, 20), images_last(lambda x, p: depthwise(x, p, padding=1))),
    (DepthwiseConv2D((1, 3), dilation=2, padding="valid"), (6, 7, 18),
     images_last(lambda x, p: depthwise(x, p, dilation=2))),
    (DepthwiseConv2D(strides=2, padding=1, depth_multiplier=3), (6, 5, 4),
     images_last(lambda x, p: depthwise(x, p, stride=2, padding=1))),
    (SeparableConv2D(7, strides=2, padding=1, depth_multiplier=2), (6, 5, 3), images_last(separable)),
    (SeparableConv2D(18, strides=2, padding=1), (6, 5, 17), images_last(separable)),
    (ZeroPad2D(((1, 2), (3, 4))), (3, 4, 2), images_last(lambda x, p: F.pad(x, (3, 4, 1, 2)))),
    (UpSample2D((2, 3)), (3, 4, 2), images_last(lambda x, p: F.interpolate(x, scale_factor=(2, 3)))),
    (UpSample2D((2, 3), interpolation="bilinear"), (3, 4, 2),
     images_last(lambda x, p: F.interpolate(x, scale_factor=(2, 3), mode="bilinear"))),
    (UpSample2D(4, interpolation="bilinear"), (5, 3, 18),
     images_last(lambda x, p: F.interpolate(x, scale_factor=4, mode="bilinear"))),
    (LayerNorm(), (3, 4, 5), lambda x, p: F.layer_norm(x, (5,), p["scale"], p["offset"], 1e-5)),
    (LayerNorm(), (3, 4, 18), lambda x, p: F.layer_norm(x, (18,), p["scale"], p["offset"], 1e-5)),
    (LayerNorm(1e-5), (9,), lambda x, p: F.layer_norm(x, (9,), p["scale"], p["offset"], 1e-5)),
    (GroupNorm(3), (3, 4, 6), images_last(normal(3))),
    (GroupNorm(1), (3, 4, 6), images_last(normal(1))),
    (GroupNorm(), (3, 4, 64), images_last(normal(32))),
    (GroupNorm(2), (8,), normal(2)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape", "twin"), TWINS, ids=[f"{layer!r} on {shape}" for layer, shape, _ in TWINS])
def test_layer_equals_that_of_pytorch(layer, shape, twin):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, *shape))
    dy = rng.normal(size=(5, *layer.output_shape(shape)))
    p = draw_parameters(layer, shape)
    y, dx, g = run(layer, x, p, dy)

    inputs = torch.tensor(x, requires_grad=True)
    parameters = {name: torch.tensor(value, requires_grad=True) for name, value in p.items()}
    theirs = twin(inputs, parameters)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(dx, inputs.grad.numpy(), rtol=1e-9, atol=1e-11)
    for name in (name for name, parameter in layer.parameters(shape).items() if parameter.trainable):
        value = parameters[name]
        np.testing.assert_allclose(g[name], value.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
