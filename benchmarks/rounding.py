"""The rounding errors of convolutions in single precision: Winograd's algorithm and the direct one.

    python benchmarks/rounding.py

Outputs and gradients of a convolution of random images, compared with double precision: the largest error, relative to
the largest number. Weights are as He's initializer draws them.
"""

from __future__ import annotations

import numpy as np

from skcnn.functional.convolution import choose_tiling
from skcnn.layers import Conv2D
from skcnn.testing import draw_parameters, run

ROWS, CHANNELS, FILTERS = 16, 64, 64
CASES = (3, 8), (3, 12), (3, 16), (3, 28), (5, 16), (7, 16), ((1, 5), 16)  # windows, and sides of images


def errors(layer: Conv2D, shape: tuple[int, int, int], seed: int = 0) -> list[float]:
    """Of the output, the gradient of the input and that of the kernel."""
    rng = np.random.default_rng(seed)
    p = draw_parameters(layer, shape)
    x, dy = (rng.standard_normal((ROWS, *shape[:2], k), dtype=np.float32) for k in (CHANNELS, FILTERS))
    single, double = (run(layer, x.astype(dtype), p, dy.astype(dtype), dtype=dtype) for dtype in (np.float32, float))
    pairs = zip((*single[:2], single[2]["kernel"]), (*double[:2], double[2]["kernel"]), strict=True)
    return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]


def main() -> None:
    """Print a table."""
    print("| window | tile | output | input gradient | kernel gradient | direct: output |\n|---|---|---|---|---|---|")
    for size, side in CASES:
        shape = side, side, CHANNELS
        layer = Conv2D(FILTERS, size, use_bias=False)
        tiling = choose_tiling(np.float32, layer.geometry(shape), ROWS, CHANNELS, FILTERS, 1)
        assert tiling is not None
        direct = errors(layer.replaced(algorithm="direct"), shape)
        kh, kw = layer.geometry(shape).kernel
        found = " | ".join(f"{error:.0e}" for error in errors(layer, shape))
        print(f"| {kh} x {kw} | {tiling.rows[0].m} x {tiling.columns[0].m} | {found} | {direct[0]:.0e} |")


if __name__ == "__main__":
    main()
