"""Speed of training with more and more processors, on processes, on threads and with PyTorch.

A fit uses processes or threads. Here, each of them is measured for each number of workers, and PyTorch with as many
threads. The times are those of a training step, as mean of an epoch, without the start of the workers and without the
first epoch. The contenders take turns, as in speed.py.

    python benchmarks/cores.py --workers 1 2 4 8 16 --nets N1 N2 N3 --batches 64 256 --rounds 3

On a machine with fewer processors, ``--processors`` cuts batches into as many shards as on a machine that has them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median

from speed import KEEP_MEMORY, NETS, Case, Comparison, Contender, cpu_model, warn_if_busy

MEASURE = ("training",)
CONTENDERS = (
    Contender("processes", "skcnn", MEASURE, without="threads"),
    Contender("threads", "skcnn", MEASURE, without="processes"),
    Contender("PyTorch", "torch", MEASURE, environment=KEEP_MEMORY),
)
HEADS = ("net", "batch", "workers", *(contender.name for contender in CONTENDERS), "ratio", "speed-up", "of PyTorch")

Times = dict[tuple[str, int, int], dict[str, float]]  # (net, batch, workers) -> contender -> milliseconds


def measure(nets: list[str], batches: list[int], workers: list[int], rounds: int, turn: float) -> Times:
    """Median milliseconds a step."""
    times: Times = {}
    for count in workers:
        with Comparison(CONTENDERS, count, rounds, turn) as comparison:
            if count == workers[0]:
                print(f"{cpu_model()}, {os.cpu_count()} processors; {comparison.versions()}\n", flush=True)
            for net in nets:
                for batch in batches:
                    samples = comparison.measure(Case("training", net, batch))
                    times[net, batch, count] = {name: median(values) for name, values in samples.items()}
                    print(f"measured {net} {batch} on {count}", file=sys.stderr, flush=True)
    return times


def table(times: Times) -> str:
    """Milliseconds, the ratio of the faster of processes and threads to PyTorch, and the speed-ups over one worker."""
    lines = [f"| {' | '.join(HEADS)} |", "|" + " --- |" * len(HEADS)]
    for (net, batch, count), found in sorted(times.items()):
        least = min(workers for name, rows, workers in times if (name, rows) == (net, batch))
        ours, theirs = min(found["processes"], found["threads"]), found["PyTorch"]
        alone = times[net, batch, least]
        figures = [f"{found[contender.name]:.3g}" for contender in CONTENDERS]
        faster = min(alone["processes"], alone["threads"]) / ours, alone["PyTorch"] / theirs
        figures += [f"**{ours / theirs:.2f}**", *(f"{factor:.1f}" for factor in faster)]
        lines.append(f"| {net} | {batch} | {count} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and save if asked to."""
    parser = argparse.ArgumentParser(description="Compare the speed of training for several numbers of processors.")
    processors = os.cpu_count() or 1
    powers = [1 << power for power in range(processors.bit_length())]
    parser.add_argument(
        "--workers", nargs="+", type=int, default=powers, help="processes, or threads of each contender"
    )
    parser.add_argument("--processors", type=int, help="of the machine for which batches are cut")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=["N1", "N2", "N3"])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    warn_if_busy()
    if arguments.processors:
        os.environ["SKCNN_BENCHMARK_PROCESSORS"] = str(arguments.processors)  # read by the processes of contenders.py
    times = measure(arguments.nets, arguments.batches, arguments.workers, arguments.rounds, 0.3)
    print(table(times))
    if arguments.save:
        record = [{"net": n, "batch": b, "workers": w} | found for (n, b, w), found in times.items()]
        arguments.save.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
