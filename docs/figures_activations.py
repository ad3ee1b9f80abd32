"""Draw the figures of activations.md, losses.md and initializers.md: `python docs/figures_activations.py`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from figures_style import BLUE, GREEN, IMAGES, INK, MUTED, ORANGE, PURPLE, figure, title

from skcnn._tape.tape import Batch, Tape
from skcnn.initializers import He, LeCun, TruncatedNormal
from skcnn.layers import (
    ELU,
    GELU,
    SELU,
    Activation,
    Clip,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from skcnn.losses import (
    AbsoluteError,
    Focal,
    Hinge,
    Huber,
    LogLoss,
    Loss,
    Poisson,
    Quantile,
    SquaredError,
    SquaredHinge,
)

ACTIVATIONS: list[Activation] = [
    ReLU(), ReLU6(), LeakyReLU(0.1), PReLU(), ELU(), SELU(),
    SiLU(), GELU(), HardSwish(), Mish(), Softplus(),
    Sigmoid(), HardSigmoid(), Tanh(), Clip(), Softmax(),
]  # fmt: skip


def activation_curve(layer: Activation, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value and derivative of each of the numbers x (n,), from a recorded pass; of softmax, for the classes x and 0."""
    row = np.stack([x, np.zeros_like(x)], axis=1)  # (n, 2)
    p = SimpleNamespace(**{name: np.full(q.shape, q.initial) for name, q in layer.parameters((2,)).items()})
    tape = Tape(np.float64, Batch(len(row)), training=True)
    source, dy = tape.input(row.shape), tape.input(row.shape)
    source[...], dy[:, 0] = row, 1.0
    with tape.step("activation"):
        y, backward = layer.record(tape, source, p, SimpleNamespace(slope=np.empty(2)))
    assert backward is not None
    with tape.step("backward"):
        dx = backward(dy)
    tape.replay(0)
    return y[:, 0].copy(), dx[:, 0].copy()


def loss_curve(loss: Loss, raw: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The losses of raw predictions (n, 1)."""
    tape = Tape(np.float64, Batch(len(raw)))
    with tape.step("loss"):
        values, _ = loss.record(tape, raw, target)
    tape.replay(0)
    return values.copy()


def draw_activations(path: Path) -> None:
    """Every activation and its derivative."""
    with figure(path, 3, 6, (12, 6)) as axes:
        for panel, layer in zip(axes.flat, ACTIVATIONS, strict=False):
            x = np.linspace(-5, 8 if layer == ReLU6() else 5, 1001)
            value, slope = activation_curve(layer, x)
            panel.axhline(0, color=MUTED, linewidth=0.6)
            panel.axvline(0, color=MUTED, linewidth=0.6)
            panel.plot(x, slope, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 1.5)))
            panel.plot(x, value, color=BLUE, linewidth=1.9)
            title(panel, "Softmax of (x, 0)" if layer == Softmax() else repr(layer))
            bounded = value.max() - value.min() < 2.5
            panel.set_ylim((-1.2, 1.2) if bounded else (-2.2, 6.5) if layer == ReLU6() else (-2.2, 4.2))
            panel.set_xticks([-4, -2, 0, 2, 4] + [6] * (layer == ReLU6()))
        axes[2, 4].axis("off")
        legend = axes[2, 5]
        legend.axis("off")
        legend.plot([], [], color=BLUE, linewidth=1.9, label="y = f(x)")
        legend.plot([], [], color=ORANGE, linewidth=1.4, linestyle=(0, (4, 1.5)), label="dy/dx")
        legend.legend(loc="center", frameon=False, fontsize=11, labelcolor=INK)


def draw_losses(path: Path) -> None:
    """Losses of two classes by the margin, of numbers by the error."""
    z = np.linspace(-3.5, 3.5, 701)[:, None]
    classes = [(LogLoss(), BLUE), (Focal(), GREEN), (Hinge(), ORANGE), (SquaredHinge(), PURPLE)]
    numbers = [(SquaredError(), BLUE), (AbsoluteError(), ORANGE), (Huber(), GREEN), (Quantile(0.9), PURPLE)]
    with figure(path, 1, 3, (10, 3.4)) as axes:
        for panel, group, target in ((axes[0, 0], classes, 1.0), (axes[0, 1], numbers, 0.0)):
            for loss, colour in group:
                panel.plot(
                    z, loss_curve(loss, z, np.full_like(z, target)), color=colour, linewidth=1.8, label=repr(loss)
                )
            panel.set_ylim(-0.1, 4.5)
        for count, colour in ((0, BLUE), (1, GREEN), (3, ORANGE), (6, PURPLE)):
            values = loss_curve(Poisson(), z, np.full_like(z, count))
            axes[0, 2].plot(z, values - values.min(), color=colour, linewidth=1.8, label=f"y = {count}")
        axes[0, 2].set_ylim(-0.1, 4.5)
        axes[0, 2].set_xlim(-2.5, 2.8)
        names = (
            ("Classification", "raw prediction, where the truth is 1"),
            ("Regression", "prediction minus truth"),
            ("Poisson(), less its minimum", "raw prediction, log of the mean"),
        )
        for panel, (name, label) in zip(axes.flat, names, strict=True):
            title(panel, name)
            panel.set_xlabel(label, fontsize=8.5, color=MUTED)
            panel.legend(frameon=False, fontsize=8, labelcolor=INK)


def draw_initializers(path: Path) -> None:
    """The size of the numbers behind each of 40 dense layers of 256 units."""
    initializers = [(He(), BLUE), (LeCun(), GREEN), (TruncatedNormal(), ORANGE)]
    with figure(path, 1, 3, (10, 3.3)) as axes:
        for panel, layer in zip(axes.flat, (ReLU(), SELU(), Tanh()), strict=True):
            for initializer, colour in initializers:
                rng = np.random.default_rng(0)
                x = rng.normal(size=(200, 256))
                sizes = [np.sqrt(np.mean(x**2))]
                for _ in range(40):
                    z = x @ initializer.sample(rng, (256, 256), 256, 256)
                    x = activation_curve(layer, z.ravel())[0].reshape(z.shape)
                    sizes.append(np.sqrt(np.mean(x**2)))
                label = repr(initializer) + (" = Glorot() here" if initializer == LeCun() else "")
                panel.semilogy(sizes, color=colour, linewidth=1.8, label=label)
            title(panel, repr(layer))
            panel.set_ylim(1e-14, 1e2)
            panel.set_xlabel("layer", fontsize=8.5, color=MUTED)
        axes[0, 0].set_ylabel("root mean square of its output", fontsize=8.5, color=MUTED)
        axes[0, 0].legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower left")


if __name__ == "__main__":
    draw_activations(IMAGES / "activations.svg")
    draw_losses(IMAGES / "losses.svg")
    draw_initializers(IMAGES / "initializers.svg")
