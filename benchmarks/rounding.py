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

SHAPE, ROWS, FILTERS = (16, 16, 64), 16, 64


def errors(layer: Conv2D, seed: int = 0) -> list[float]:
    """Of the output, the gradient of the input and that of the kernel."""
    rng = np.random.default_rng(seed)
    p = draw_parameters(layer, SHAPE)
    x, dy = (rng.standard_normal((ROWS, *SHAPE[:2], k), dtype=np.float32) for k in (SHAPE[2], FILTERS))
    single, double = (run(layer, x.astype(dtype), p, dy.astype(dtype), dtype=dtype) for dtype in (np.float32, float))
    pairs = zip((*single[:2], single[2]["kernel"]), (*double[:2], double[2]["kernel"]), strict=True)
    return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]


def main() -> None:
    """Print a table."""
    print("| window | tile | output | input gradient | kernel gradient | direct: output |\n|---|---|---|---|---|---|")
    for size in (3, 5, 7, (1, 5)):
        layer = Conv2D(FILTERS, size, use_bias=False)
        tiling = choose_tiling(np.float32, layer.geometry(SHAPE), ROWS, SHAPE[2], FILTERS, 1)
        assert tiling is not None
        direct = errors(layer.replaced(algorithm="direct"))
        kh, kw = layer.geometry(SHAPE).kernel
        found = " | ".join(f"{error:.0e}" for error in errors(layer))
        print(f"| {kh} x {kw} | {tiling.rows.m} x {tiling.columns.m} | {found} | {direct[0]:.0e} |")


if __name__ == "__main__":
    main()
