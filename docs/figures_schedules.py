"""Draw docs/images/schedules.svg: the factor of the learning rate over 30 epochs, for every schedule."""

from __future__ import annotations

from pathlib import Path

from figures_style import BLUE, GRID, IMAGES, INK, save

from skcnn.description import registered, resolve
from skcnn.schedules import Adaptive, CosineRestarts, Schedule, Trend, Warmup

EPOCHS, STEPS = 30, 40  # and steps per epoch
PALE = "#b9bec6"
VARIANTS = [Warmup("cosine", fraction=0.2), CosineRestarts(period=2, growth=2.0)]


def factors(schedule: Schedule) -> list[float]:
    """The factor at each step."""
    return [schedule.factor(step / STEPS, EPOCHS) for step in range(EPOCHS * STEPS)]


def plateaus(schedule: Adaptive) -> tuple[list[float], list[float]]:
    """The factor of each epoch, and a loss that falls quickly to a floor, which is as high as the steps are large."""
    found, losses, trend, loss = [], [], Trend(), 1.0
    for _ in range(EPOCHS):
        found.append(trend.factor)
        floor = 0.08 + 0.4 * trend.factor
        loss = floor + 0.2 * (loss - floor)
        losses.append(loss)
        trend = schedule.follow(trend, "loss", loss)
    return found, losses


def draw(path: Path) -> None:
    """Draw all of them as small multiples with the same axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [resolve(Schedule, name, "schedule") for name in registered(Schedule)] + VARIANTS
    named = {type(schedule): f'"{name}"' for name, schedule in zip(registered(Schedule), shown, strict=False)}
    figure, panels = plt.subplots(3, 4, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
    for panel, schedule in zip(panels.flat, shown, strict=True):
        if isinstance(schedule, Adaptive):
            found, losses = plateaus(schedule)
            panel.plot(range(EPOCHS), losses, color=PALE, linewidth=1.5)
            panel.text(5, losses[5] + 0.03, "loss", color=INK, fontsize=8)
            panel.step(range(EPOCHS + 1), [*found, found[-1]], where="post", color=BLUE, linewidth=1.8)
        else:
            panel.plot([step / STEPS for step in range(EPOCHS * STEPS)], factors(schedule), color=BLUE, linewidth=1.8)
        title = repr(schedule) if schedule in VARIANTS else named[type(schedule)]
        panel.set_title(title, fontsize=9, color=INK, loc="left")
        panel.set_xlim(0, EPOCHS)
        panel.set_ylim(0, 1.08)
        panel.set_xticks([0, 10, 20, 30])
        panel.set_yticks([0, 0.5, 1])
        panel.tick_params(colors=INK, labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color=GRID, linewidth=0.6)
    figure.supxlabel("epoch of max_iter=30", fontsize=9, color=INK)
    figure.supylabel("factor of the learning rate", fontsize=9, color=INK)
    save(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    draw(IMAGES / "schedules.svg")
