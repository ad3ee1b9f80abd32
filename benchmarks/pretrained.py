"""Prediction time of networks for photos compared with ONNX Runtime and PyTorch: 224 x 224 pixels, random weights.

The contenders are processes that take turns, like in speed.py. In each round, each contender makes some repetitions
while the others sleep. The script prints the medians over all rounds, and skcnn's medians divided by the others'.
Ratios below 1 mean that skcnn is faster, or needs less memory. ONNX Runtime computes the graph that ``to_onnx`` writes.

    python benchmarks/pretrained.py --threads 1 2 --rows 1 8
    python benchmarks/pretrained.py --quick            # only to test the script

The machine must be otherwise idle. The weights are random, because the time does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from speed import KEEP_MEMORY, Case, Comparison, Contender, cpu_model, table, warn_if_busy

NETS = ("EfficientNet-lite0", "MobileNetV2", "ResNet-18", "SqueezeNet 1.1")  # in networks.py, which is not imported
MEASURES = ("inference", "prediction memory")
# Another process writes the graphs: on Linux, a new process starts with the peak memory of its parent.
WRITE = """
import sys
from pathlib import Path
from contenders import _skcnn_model
from networks import PHOTOGRAPHS
from skcnn import CNNRegressor
from skcnn.onnx import to_onnx
for name in sys.argv[2:]:
    network = PHOTOGRAPHS[name]
    model = _skcnn_model(network)
    arrays = model.network.weights.views(model.weights) | model.network.state.views(model.state)
    estimator = CNNRegressor(layers=list(network.layers))
    estimator.set_weights(arrays, input_shape=network.input_shape, mean=0, scale=1)
    graph = to_onnx(estimator)
    (Path(sys.argv[1]) / f"{name}.onnx").write_bytes(graph.SerializeToString())
"""


def contenders(graphs: str, threads: int) -> list[Contender]:
    """Those that are installed."""
    found = [Contender("skcnn", "skcnn", MEASURES)]
    if all(map(find_spec, ("onnx", "skl2onnx", "onnxruntime"))):
        told = {"SKCNN_GRAPHS": graphs, "SKCNN_THREADS": str(threads)}
        found.append(Contender("ONNX Runtime", "onnx", MEASURES, environment=told))
    if find_spec("torch") is not None:
        found.append(Contender("PyTorch tuned", "torch", MEASURES, environment=KEEP_MEMORY))
    return found


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare predictions of networks for photographs.")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS, metavar="NET", help=", ".join(NETS))
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8], help="images of a prediction")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, min(2, os.cpu_count() or 1)}))
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender")
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--quick", action="store_true", help="one short round of one network")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.nets, arguments.rows, arguments.threads, arguments.rounds = NETS[3:], [1], [1], 1
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = parse()
    warn_if_busy()
    with tempfile.TemporaryDirectory() as graphs:
        if len(contenders(graphs, 1)) > 1:
            command = [sys.executable, "-c", WRITE, graphs, *arguments.nets]
            subprocess.run(command, cwd=Path(__file__).parent, check=True)
        for threads in arguments.threads:
            print(f"## {cpu_model()}, threads of each contender: {threads}\n", flush=True)
            with Comparison(
                contenders(graphs, threads), threads, arguments.rounds, 0.02 if arguments.quick else 0.5
            ) as comparison:
                print(", ".join(f"{name} {version}" for name, version in comparison.versions().items()), end="\n\n")
                for measure in arguments.measure:
                    cases = [Case(measure, net, rows) for net in arguments.nets for rows in arguments.rows]
                    print(table(measure, [(case, comparison.measure(case)) for case in cases]), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
