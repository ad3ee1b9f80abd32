"""How well the engine chooses between the algorithms of a convolution: random ones, with every way to compute them.

Each is computed directly and by Winograd's algorithm with many tilings, on as many threads as processors, and what
`choose_tiling` would take is compared with the fastest. Its estimate (the constants at the top of
`skcnn/_tape/winograd.py` and `convolution.py`) was fitted to such times.

    python benchmarks/tilings.py --convolutions 200
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from statistics import mean, median
from types import SimpleNamespace

import numpy as np

from skcnn._arrays.elementwise import ufunc_settings
from skcnn._engine.parallel import one_blas_thread
from skcnn._tape import convolution, phases
from skcnn._tape.tape import Batch, Tape
from skcnn._tape.winograd import TILES, Tiling, cut
from skcnn.layers import Conv2D

WINDOWS = (2, 3, 4, 5, 7, (1, 3), (3, 1), (1, 5))
SIDES = (4, 7, 8, 12, 14, 16, 20, 28, 32)
CHANNELS = ((16, 16), (16, 32), (32, 32), (24, 48), (64, 64), (64, 128), (256, 256))
MOST = 1 << 21  # numbers of a batch
SECONDS = 0.003  # of a measurement


@dataclass(frozen=True)
class Case:
    """A convolution of square images; with its backward pass, if it is a training step."""

    layer: Conv2D
    side: int
    channels: int
    rows: int
    training: bool

    def chosen(self) -> Tiling | None:
        """What the engine would take."""
        geometry = self.layer.geometry((self.side, self.side, self.channels))
        sizes = self.rows, self.channels, self.layer.filters, 1
        return convolution.choose_tiling(np.float32, geometry, *sizes, backward=self.training)

    def tilings(self) -> Iterator[Tiling]:
        """Those of one size of tiles in each direction, and when predicting, of the rows alone."""
        inside = phases.plain(self.layer.geometry((self.side, self.side, self.channels)))
        (height, width), (kh, kw) = inside.out, inside.kernel
        sizes = TILES[kw] if self.training else {*TILES[kw], 1}
        for down, right in product(TILES[kh], sizes):
            if down < 2 * height and right < 2 * width:
                yield Tiling(cut(height, kh, down), cut(width, kw, right))


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """Convolutions of moderate size."""
    rng = np.random.default_rng(seed)
    while count:
        c, f = CHANNELS[rng.integers(len(CHANNELS))]
        window, stride = WINDOWS[rng.integers(len(WINDOWS))], int(rng.choice([1, 1, 1, 2]))
        side, training = int(rng.choice(SIDES)), bool(rng.integers(2))
        rows = int(rng.choice([8, 16, 32, 32] if training else [1, 2, 4, 8, 16, 64]))
        if side * side * rows * max(c, f) <= MOST:
            count -= 1
            yield Case(Conv2D(f, window, strides=stride, use_bias=False), side, c, rows, training)


def recorded(case: Case, tiling: Tiling | None) -> Tape:
    """The convolution by a tiling, or directly."""
    original = convolution.choose_tiling
    convolution.choose_tiling = lambda *sizes, **options: tiling
    try:
        shape = case.side, case.side, case.channels
        kernel = np.random.default_rng(0).random(case.layer.parameters(shape)["kernel"].shape, np.float32)
        tape = Tape(np.float32, Batch(case.rows), training=case.training)
        with tape.step("input"):
            x = tape.output((case.side, case.side, case.rows, case.channels))
        with tape.step("conv"):
            p, g = SimpleNamespace(kernel=kernel), SimpleNamespace(kernel=np.empty_like(kernel))
            y, backward = case.layer.record(tape, x, p, g)
            if backward is not None and case.training:
                dy = tape.output(y.shape)
                backward(dy)
                dy[...] = 1
        x[...] = 1
        return tape
    finally:
        convolution.choose_tiling = original


def milliseconds(case: Case, tiling: Tiling | None, pool: ThreadPoolExecutor, threads: int) -> float:
    """Of a pass on each of so many threads at once."""
    tapes = [recorded(case, tiling) for _ in range(threads)]

    def replay(tape: Tape, times: int, start: threading.Barrier) -> float:
        with ufunc_settings():
            start.wait()
            before = time.perf_counter()
            for _ in range(times):
                tape.replay(0)
            return (time.perf_counter() - before) / times

    with one_blas_thread:
        once = max(replay(tapes[0], 1, threading.Barrier(1)) for _ in range(2))
        times, found = max(2, int(SECONDS / once)), []
        for _ in range(3):
            start = threading.Barrier(threads)
            found.append(mean(pool.map(lambda tape, start=start: replay(tape, times, start), tapes)))
    return 1e3 * median(found)


def main() -> None:
    """Measure, and print how much longer the choice takes than the best."""
    parser = argparse.ArgumentParser(description="Compare the chosen algorithm of random convolutions with all others.")
    parser.add_argument("--convolutions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    longer: dict[str, list[float]] = {"the choice": [], "directly": [], "8 x 8 or the largest": []}
    with ThreadPoolExecutor(arguments.threads) as pool:
        for case in random_cases(arguments.convolutions, arguments.seed):
            chosen, tilings = case.chosen(), list(case.tilings())
            ways = dict.fromkeys((None, chosen, *tilings))
            took = {way: milliseconds(case, way, pool, arguments.threads) for way in ways}
            best = min(took.values())
            largest = max(tilings, key=lambda tiling: tiling.rows[0].m * tiling.columns[0].m)
            for name, way in zip(longer, (chosen, None, largest), strict=True):
                longer[name].append(took[way] / best)
    print(f"{arguments.convolutions} random convolutions, {arguments.threads} threads; relative to the fastest way")
    print("| computed | mean | 90 % of them | worst |")
    print("|---|---|---|---|")
    for name, ratios in longer.items():
        print(f"| {name} | {mean(ratios):.2f} | {np.quantile(ratios, 0.9):.2f} | {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
