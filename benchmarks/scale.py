"""Time per image as a function of filters, side of the image, depth, and number of images.

For each family of networks, the script measures the training step of skcnn and PyTorch (tuned, see speed.py) in turns.
It draws the time per image against the floating-point operations per image, with a line for the matrix products of the
machine. The last family is one network and growing numbers of images: whole fits, whose time per image should be
constant.

    python benchmarks/scale.py --save benchmarks/results/scale.json --plot docs/images/scale.png
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from speed import PYTORCH, SKCNN, Case, Comparison, cpu_model, warn_if_busy

# Names only: networks.py has the networks, and is not imported here, see speed.py.
FAMILIES = {
    "filters": [f"filters {n}" for n in (8, 16, 32, 64, 128)],
    "side": [f"side {n}" for n in (8, 16, 32, 64, 128, 224)],
    "depth": [f"depth {n}" for n in (1, 2, 4, 8)],
}
IMAGES = (1_000, 4_000, 16_000, 60_000)
IMAGES_NET = "N1"
BATCHES = {"side 128": 32, "side 224": 16}
LABELS = {"filters": "8 to 128 filters", "side": "images of 8 to 224 pixels", "depth": "1 to 8 convolutions"}
GEMM = 1024  # side of the square matrices whose product is the limit


def matrix_product_limit(size: int = GEMM, repetitions: int = 15) -> float:
    """Floating-point operations per second of a matrix product in float32, on all threads."""
    import numpy as np

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / median(seconds)


def measure(
    arguments: argparse.Namespace,
    families: Mapping[str, Sequence[str]] = FAMILIES,
    images: Sequence[int] = IMAGES,
    others: Sequence[str] = PYTORCH[:1],
    product: int = GEMM,
) -> dict[str, Any]:
    """Seconds per image of each network, and of each number of images."""
    contenders = [SKCNN, *(others if find_spec("torch") else [])]
    record: dict[str, Any] = {"cpu": cpu_model(), "threads": arguments.threads, "families": {}, "images": []}
    with Comparison(contenders, arguments.threads, arguments.rounds, arguments.turn) as comparison:
        record["versions"] = comparison.versions()
        for family, names in families.items():
            rows = record["families"][family] = []
            for name in names:
                size = BATCHES.get(name, 64)
                samples = comparison.measure(Case("step", name, size))
                times = {who: median(values) / 1000 / size for who, values in samples.items()}
                rows.append({"net": name, "batch": size, "seconds": times, "flops": comparison.flops(name)})
                print(name, {who: f"{1e6 * value:.1f} us" for who, value in times.items()}, flush=True)
        for size in images:
            samples = comparison.measure(Case("epoch", IMAGES_NET, size))
            times = {who: median(values) / 1000 / size for who, values in samples.items()}
            record["images"].append({"images": size, "seconds": times})
            print(f"{size} images", {who: f"{1e6 * value:.1f} us" for who, value in times.items()}, flush=True)
    record["limit"] = matrix_product_limit(product)
    return record


def in_microseconds(rows: list[dict[str, Any]], key: str, who: str) -> list[tuple[float, float]]:
    """What a contender takes for an image, beside another number of each row; empty if it was not measured."""
    return [(row[key], 1e6 * row["seconds"][who]) for row in rows if who in row["seconds"]]


def plot(record: dict[str, Any], path: Path) -> None:
    """Time per image against operations per image, and against the number of images."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    colors = dict(zip(record["families"], ("tab:blue", "tab:orange", "tab:green"), strict=True))
    styles = {"skcnn": ("o-", 1.0), "PyTorch tuned": ("s--", 0.45)}
    every = [row["flops"] for rows in record["families"].values() for row in rows]
    ends = [min(every) / 1.5, max(every) * 1.5]
    for family, rows in record["families"].items():
        for who, (style, alpha) in styles.items():
            points = in_microseconds(rows, "flops", who)
            if points:
                label = f"{LABELS[family]}, {'PyTorch' if who != 'skcnn' else who}"
                left.loglog(*zip(*points, strict=True), style, color=colors[family], alpha=alpha, ms=4, label=label)
    alone = [1e6 * value / record["limit"] for value in ends]
    left.loglog(ends, alone, color="0.5", lw=1, label="matrix products alone")
    left.set(xlabel="floating-point operations of a training step, per image", ylabel="microseconds per image")
    left.legend(fontsize=7.5, frameon=False)
    left.set_title("A training step")
    for who, (style, alpha) in styles.items():
        points = in_microseconds(record["images"], "images", who)
        if points:
            label = "PyTorch" if who != "skcnn" else who
            right.semilogx(*zip(*points, strict=True), style, color="tab:blue", alpha=alpha, ms=4, label=label)
    right.set(xlabel="images", ylabel="microseconds per image", ylim=(0, None))
    right.set_title(f"An epoch of {IMAGES_NET}")
    right.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, or read what was measured, and draw."""
    parser = argparse.ArgumentParser(description="How the cost of an image grows.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.3, help="seconds of a turn, about")
    parser.add_argument("--save", type=Path, help="a JSON file for the figures")
    parser.add_argument("--load", type=Path, help="figures that were saved, in place of measuring")
    parser.add_argument("--plot", type=Path, help="a picture of them")
    arguments = parser.parse_args()
    if arguments.load:
        record = json.loads(arguments.load.read_text())
    else:
        warn_if_busy()
        record = measure(arguments)
    if arguments.save:
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        arguments.save.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.plot:
        plot(record, arguments.plot)


if __name__ == "__main__":
    main()
