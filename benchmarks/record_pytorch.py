"""The recipe of ``colour.py record`` in PyTorch: the same network, optimizers, augmentation and views.

    SKCNN_DATA=folder python benchmarks/record_pytorch.py --epochs 8
    SKCNN_DATA=folder python benchmarks/record_pytorch.py --test

The options have the names of colour.py; batches of 2,000 and eight epochs are the published numbers. Convolutions are
those of oneDNN, in the channels-last format. Two details are of the published code, unlike `record`: the kernel of the
output layer is drawn instead of zero, and the biases and the offsets of batch norm have a weight decay.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np
import torch
from colour import load, split
from speed import cpu_model
from torch import nn
from torch.nn import functional

WIDTH, SHIFT, MUON, BIASES, OUTPUT, DECAY = 64, 2, 0.24, 0.053, 0.67, 2e-6


class Recipe:
    """Network and optimizers. The losses of a batch are added, and learning rates are those of the published code."""

    def __init__(self, images: Any, width: int, batch_size: int) -> None:
        self.batch_size = batch_size
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.data = whitening(images)
        self.whitening.weight.requires_grad = False
        blocks: list[nn.Module] = []
        inputs = 24
        for filters in (width, 4 * width, 4 * width):
            for pooling in ([nn.MaxPool2d(2)], []):
                convolution = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
                nn.init.dirac_(convolution.weight.data[: min(inputs, filters)])
                normalization = nn.BatchNorm2d(filters, eps=1e-12, momentum=0.4)
                normalization.weight.requires_grad = False
                blocks += [convolution, *pooling, normalization, nn.GELU()]
                inputs = filters
        self.output = nn.Linear(inputs, 10, bias=False)
        self.output.weight.data /= self.output.weight.data.std()
        self.network = nn.Sequential(self.whitening, nn.GELU(), *blocks, nn.MaxPool2d(3), nn.Flatten(), self.output)
        self.network.to(memory_format=torch.channels_last)
        self.kernels = [block.weight for block in blocks if isinstance(block, nn.Conv2d)]
        offsets = [block.bias for block in blocks if isinstance(block, nn.BatchNorm2d)]
        decay = DECAY * batch_size
        groups = [
            {"params": [self.whitening.bias, *offsets], "lr": BIASES, "weight_decay": decay / BIASES},
            {"params": [self.output.weight], "lr": OUTPUT, "weight_decay": decay / OUTPUT},
        ]
        self.descent = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
        self.rates = [group["lr"] for group in groups]
        self.velocities = [torch.zeros_like(kernel) for kernel in self.kernels]

    def logits(self, x: Any) -> Any:
        return self.network(x) / self.output.in_features

    def step(self, x: Any, y: Any, left: float) -> float:
        """One step, when the share ``left`` of the training is left."""
        loss = functional.cross_entropy(self.logits(x), y, label_smoothing=0.2, reduction="sum")
        self.network.zero_grad()
        loss.backward()
        for group, rate in zip(self.descent.param_groups, self.rates, strict=True):
            group["lr"] = rate * left
        self.descent.step()
        with torch.no_grad():
            for kernel, velocity in zip(self.kernels, self.velocities, strict=True):
                velocity.mul_(0.6).add_(kernel.grad)
                direction = orthogonal((kernel.grad + 0.6 * velocity).flatten(1)).view(kernel.shape)
                kernel.mul_(math.sqrt(len(kernel)) / kernel.norm()).sub_(MUON * left * direction)
        return loss.item() / len(x)


def whitening(images: Any) -> Any:
    """Kernels whose outputs for patches of the images have unit variance and no correlation, and their negatives."""
    patches = functional.unfold(images[:5000], 2).transpose(1, 2).reshape(-1, 12).double()
    squares, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (vectors / torch.sqrt(squares + 5e-4)).T.reshape(12, 3, 2, 2).float()
    return torch.cat([kernels, -kernels])


def orthogonal(x: Any, steps: int = 3) -> Any:
    """The direction of Muon: Newton-Schulz steps on a wide matrix."""
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def epochs_of(images: Any, classes: Any, recipe: Recipe, epochs: int) -> None:
    """Train, with flips that alternate and shifts by up to two pixels, mirrored at the border."""
    flipped = torch.rand(len(images)) < 0.5
    padded = functional.pad(images, (SHIFT,) * 4, "reflect")
    side, steps = images.shape[-1], len(images) // recipe.batch_size
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images))
        for number in range(steps):
            rows = order[number * recipe.batch_size : (number + 1) * recipe.batch_size]
            down, right = torch.randint(2 * SHIFT + 1, (2, len(rows), 1)) + torch.arange(side)
            reverse = flipped[rows] ^ (epoch % 2 == 1)
            right[reverse] = right[reverse].flip(1)
            x = padded[rows[:, None, None], :, down[:, :, None], right[:, None]].permute(0, 3, 1, 2)
            total += recipe.step(x, classes[rows], 1 - (epoch + number / steps) / epochs)
        print(f"epoch {epoch + 1}/{epochs}  loss {total / steps:.4f}  {time.perf_counter() - start:.2f} s", flush=True)


def accuracies(recipe: Recipe, images: Any, classes: Any) -> tuple[float, float]:
    """Accuracy of one view, and of six: shifted up and left, not, or down and right, each also mirrored."""
    side = images.shape[-1]
    recipe.network.eval()
    found = []
    with torch.inference_mode():
        for x in images.split(1000):
            padded = functional.pad(x, (1,) * 4, "reflect")
            views = [padded[..., i : i + side, i : i + side] for i in (1, 0, 2)]
            plain, *shifted = ((recipe.logits(v) + recipe.logits(v.flip(-1))) / 2 for v in views)
            found.append(torch.stack([recipe.logits(x), plain / 2 + sum(shifted) / 4]))
    return tuple((torch.cat(found, 1).argmax(2) == classes).float().mean(1).tolist())


def main() -> None:
    """Train once for each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--batch-size", type=int, default=2000)
    parser.add_argument("--test", action="store_true", help="learn from all training images, score the test images")
    parser.add_argument("--device", default="cpu", help="cuda for a GPU")
    arguments = parser.parse_args()
    torch.set_default_device(arguments.device)
    X, y, X_scored, y_scored = split(*load(), test=arguments.test, rows=arguments.rows)
    mean, deviation = X.mean(axis=(0, 1, 2)), X.std(axis=(0, 1, 2))
    images, scored = (
        torch.tensor((part - mean) / deviation, dtype=torch.float32).permute(0, 3, 1, 2) for part in (X, X_scored)
    )
    classes, true = torch.tensor(y.astype(np.int64)), torch.tensor(y_scored.astype(np.int64))
    where = f"{cpu_model()}, {torch.get_num_threads()} threads" if arguments.device == "cpu" else arguments.device
    print(f"{where}; PyTorch {torch.__version__}; {len(images):,} images\n")
    for seed in range(arguments.seeds):
        torch.manual_seed(seed)
        start = time.perf_counter()
        recipe = Recipe(images, arguments.width, arguments.batch_size)
        epochs_of(images, classes, recipe, arguments.epochs)
        seconds = time.perf_counter() - start
        one, six = accuracies(recipe, scored, true)
        print(f"seed {seed}: {seconds:.0f} s, accuracy {six:.4f} ({one:.4f} of one view)", flush=True)


if __name__ == "__main__":
    main()
