"""PyTorch's torchvision, and networks of it with random weights that say something."""

import pytest


def torchvision():
    """The package; a skipped test where it is not installed."""
    torch = pytest.importorskip("torch")
    try:
        return __import__("torchvision")
    except ImportError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        # Its compiled part does not fit this PyTorch. Networks for classification need none of its operators.
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return __import__("torchvision")


def randomized(model):
    """The model with random statistics and factors in its batch norm, where all would be the same."""
    import torch

    random = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            size = module.num_features
            module.running_mean = 0.1 * torch.randn(size, generator=random)
            module.running_var = 0.5 + torch.rand(size, generator=random)
            module.weight.data = 0.5 + torch.rand(size, generator=random)
            module.bias.data = 0.1 * torch.randn(size, generator=random)
    return model.eval()
