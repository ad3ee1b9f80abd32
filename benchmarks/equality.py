"""Training beside PyTorch, step by step in float64: the same initial weights, the same batches, the same losses.

    python benchmarks/equality.py

The table shows the training loss of each epoch in both, and the largest difference of a probability afterwards.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from networks import ReferenceNetwork, torch_network
from sklearn.datasets import load_digits

from skcnn import CNNClassifier
from skcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from skcnn.optimizers import SGD, Adam, Optimizer

ROWS, BATCH, PENALTY = 1_024, 64, 1e-3
LAYERS = (
    *(Conv2D(16), ReLU(), MaxPool2D()),
    *(Conv2D(32), ReLU(), MaxPool2D()),
    *(Flatten(), Dense(64), ReLU()),
)
OPTIMIZERS: dict[str, tuple[Optimizer, float]] = {
    "SGD with Nesterov momentum": (SGD(momentum=0.9), 0.02),
    "Adam": (Adam(), 1e-3),
}


def torch_twin(start: CNNClassifier) -> tuple[Any, Any, Any]:
    """The network in PyTorch with the weights of ``start``, and its parameters with and without weight decay."""
    import torch

    module = torch_network(ReferenceNetwork(start.input_shape_, LAYERS)).double()
    decayed, others = [], []
    for (name, array), parameter in zip(start.parameters_.items(), module.parameters(), strict=True):
        if array.ndim == 2 and name == "dense1.kernel":  # PyTorch flattens images of shape (c, h, w)
            array = array.reshape(2, 2, 32, -1).transpose(2, 0, 1, 3).reshape(len(array), -1)
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
        parameter.data = torch.tensor(array.transpose(order).copy())
        (decayed if name.endswith("kernel") else others).append(parameter)
    return module, decayed, others


def torch_losses(start: CNNClassifier, optimizer: Optimizer, rate: float, epochs: int, X: Any, y: Any) -> Any:
    """Losses of the epochs and probabilities, of a plain training loop in PyTorch."""
    import torch

    module, decayed, others = torch_twin(start)
    groups = [{"params": decayed, "weight_decay": PENALTY}, {"params": others}]
    if isinstance(optimizer, SGD):
        updates: Any = torch.optim.SGD(groups, lr=rate, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    else:
        updates = torch.optim.Adam(groups, lr=rate)
    images, classes, losses = torch.tensor(X)[:, None], torch.tensor(y), []
    for _ in range(epochs):
        total = 0.0
        for batch, target in zip(images.split(BATCH), classes.split(BATCH), strict=True):
            penalty = PENALTY / 2 * sum((weights**2).sum() for weights in decayed).item()
            loss = torch.nn.functional.cross_entropy(module(batch), target)
            updates.zero_grad()
            loss.backward()
            updates.step()
            total += (loss.item() + penalty) * len(batch)
        losses.append(total / len(images))
    with torch.inference_mode():
        return losses, module(images).softmax(dim=1).numpy()


def compare(name: str, epochs: int) -> tuple[list[float], list[float], float]:
    """Losses of skcnn and of PyTorch, and the largest difference of a probability."""
    optimizer, rate = OPTIMIZERS[name]
    digits = load_digits()
    X, y = digits.images[:ROWS] / 16, digits.target[:ROWS]
    options: dict[str, Any] = {"layers": list(LAYERS), "optimizer": optimizer, "alpha": PENALTY, "batch_size": BATCH}
    options |= {"shuffle": False, "standardize": False, "dtype": "float64", "random_state": 0}
    start = CNNClassifier(**options, learning_rate=0.0, max_iter=1).fit(X, y)
    ours = CNNClassifier(**options, learning_rate=rate, max_iter=epochs).fit(X, y)
    losses, probabilities = torch_losses(start, optimizer, rate, epochs, X, y)
    return ours.loss_curve_, losses, float(np.abs(ours.predict_proba(X) - probabilities).max())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs
    print("| optimizer | epoch | loss of skcnn | loss of PyTorch | difference |\n|---|---|---|---|---|")
    for name in OPTIMIZERS:
        ours, theirs, difference = compare(name, epochs)
        for epoch, (mine, other) in enumerate(zip(ours, theirs, strict=True), start=1):
            print(f"| {name} | {epoch} | {mine:.15f} | {other:.15f} | {abs(mine - other):.0e} |")
        print(f"| | probabilities | | | {difference:.0e} |")


if __name__ == "__main__":
    main()
