"""The rounding errors of convolutions in single precision: Winograd's algorithm and the direct one.

    python benchmarks/rounding.py

Outputs and gradients of a convolution of random images, compared with double precision: the largest error, relative to
the largest number. Weights are as He's initializer draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skcnn._tape.convolution import choose_tiling
from skcnn.layers import Conv2D
from skcnn.testing import draw_parameters, run

Case = tuple[int | tuple[int, int], int]
ROWS, CHANNELS, FILTERS = 16, 64, 64
CASES = (2, 16), (3, 8), (3, 12), (3, 16), (3, 28), (5, 16), (7, 16), ((1, 5), 16)  # windows, and sides of images
PREDICTED = (3, 8), (3, 16), (5, 16)  # one image only


def errors(layer: Conv2D, shape: tuple[int, int, int], images: int = ROWS, seed: int = 0) -> list[float]:
    """Of the output, the gradient of the input and that of the kernel."""
    rng = np.random.default_rng(seed)
    p = draw_parameters(layer, shape)
    x, dy = (rng.standard_normal((images, *shape[:2], k), dtype=np.float32) for k in (shape[2], FILTERS))
    single, double = (run(layer, x.astype(dtype), p, dy.astype(dtype), dtype=dtype) for dtype in (np.float32, float))
    pairs = zip((*single[:2], single[2]["kernel"]), (*double[:2], double[2]["kernel"]), strict=True)
    return [_error(a, b) for a, b in pairs]


def prediction_errors(layer: Conv2D, shape: tuple[int, int, int], images: int = ROWS, seed: int = 0) -> list[float]:
    """Of the output, one image at a time."""
    p = draw_parameters(layer, shape)
    x = np.random.default_rng(seed).standard_normal((images, 1, *shape), dtype=np.float32)
    pairs = ([run(layer, image.astype(dtype), p, dtype=dtype) for image in x] for dtype in (np.float32, float))
    return [_error(*map(np.concatenate, pairs))]


def _error(single: Any, double: Any) -> float:
    return float(np.abs(single - double).max() / np.abs(double).max())


def main(
    cases: Sequence[Case] = CASES, predicted: Sequence[Case] = PREDICTED, images: int = ROWS, channels: int = CHANNELS
) -> None:
    """Print a table."""
    print("| images | window | tile | output | input gradient | kernel gradient | direct: output |")
    print("|---|---|---|---|---|---|---|")
    for rows, measure, measured in ((images, errors, cases), (1, prediction_errors, predicted)):
        for size, side in measured:
            shape = side, side, channels
            layer = Conv2D(FILTERS, size, use_bias=False)
            geometry = layer.geometry(shape)
            tiling = choose_tiling(np.float32, geometry, rows, channels, FILTERS, 1, backward=rows > 1)
            assert tiling is not None
            (down, *_), (across, *_) = tiling.rows, tiling.columns
            found = [f"{error:.0e}" for error in measure(layer, shape, images)] + ["", ""]
            direct = measure(layer.replaced(algorithm="direct"), shape, images)[0]
            cells = rows, f"{down.k} x {across.k}", f"{down.m} x {across.m}", *found[:3], f"{direct:.0e}"
            print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
