"""Speed and memory of skcnn compared with PyTorch, on the reference networks.

The contenders are processes (see contenders.py) that take turns. In each round, each contender makes some repetitions
while the others sleep, so that a disturbance of the machine affects all of them. The script prints the medians over all
rounds, and their ratios. Ratios below 1 mean that skcnn is faster, or needs less memory.

PyTorch is measured as installed, and tuned. In the tuned form, environment variables make glibc's allocator keep its
memory, which saves the page faults of large arrays. Without PyTorch, the script prints the figures of skcnn only.

    python benchmarks/speed.py --measure step inference --nets N1 N2
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Self

# The networks are not imported, nor anything large: on Linux a new process starts with the peak memory of its parent.
NETS = ("N1", "N2", "N3", "N4")
MEASURES = ("step", "inference", "epoch", "memory", "convolution")
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "10000000000", "MALLOC_MMAP_THRESHOLD_": "10000000000"}
CONVOLUTIONS = (
    *("3x3", "3x3 odd size", "3x3 valid", "pointwise", "strided 3x3", "strided 5x5", "strided pointwise"),
    *("dilated 3x3", "5x5", "7x7", "2x2", "1x3", "1x5", "depthwise", "groups=4", "groups=8", "groups=32"),
    *("few channels", "first, 1 channel", "first, 3 channels", "first, 7x7 / 2"),
)
CONVOLUTION_BATCH = 64
MEMORY_BATCH = 64
MEMORY_ROUNDS = 3
EPOCH_ROWS = {"N3": 1280}  # its steps are long
MOST_EPOCH_ROWS = 6400
BLOB_ROWS = 50
MOST_REPETITIONS = 300
BUSY = 0.5  # load average, in processors
PAUSE = 0.05  # seconds between turns, in which the last contender's threads stop spinning


@dataclass(frozen=True)
class Contender:
    """A library in an environment, and what it takes part in."""

    name: str
    library: str
    measures: tuple[str, ...]
    without: str = ""
    environment: dict[str, str] = field(default_factory=dict)


SKCNN = Contender("skcnn", "skcnn", (*MEASURES, "one image", "small fit"))
PYTORCH = (
    Contender("PyTorch tuned", "torch", MEASURES, environment=KEEP_MEMORY),
    Contender("PyTorch as installed", "torch", MEASURES),
)
TECHNIQUES = (
    *("Winograd's algorithm", "its largest tiles", "the rewrite table", "few channels outermost"),
    *("short ufunc buffers", "small gradients in parts", "transforms of rows alone", "products of few rows"),
    *("groups joined", "strided and dilated windows as plain ones"),
    *("outputs within their border", "the second thread"),
)
SKORCH = Contender("skorch", "skorch", ("one image",))
SKLEARN = Contender("MLPClassifier", "sklearn", ("small fit",))


@dataclass(frozen=True)
class Case:
    """What is measured: of a network (if it is about one) with a number of rows."""

    measure: str
    net: str | None
    size: int

    @property
    def unit(self) -> str:
        """Of the figures that are shown."""
        return "MB" if self.measure.endswith("memory") else "ms"

    @property
    def is_long(self) -> bool:
        """Whether a single repetition makes a turn."""
        return self.measure in ("epoch", "training", "small fit")


class Worker:
    """The process of a contender."""

    def __init__(self, contender: Contender, threads: int) -> None:
        # Also "as installed" means without the variables, whatever is set around this script.
        inherited = {key: value for key, value in os.environ.items() if key not in KEEP_MEMORY}
        self._name = contender.name
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("contenders.py")), contender.library, str(threads)]
            + ([contender.without] if contender.without else []),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=inherited | contender.environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def ask(self, measure: str, net: str | None = None, size: int = 0, repetitions: int = 1) -> Any:
        """Send a request and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"measure": measure, "net": net, "size": size, "repetitions": repetitions}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self._name} has failed to measure {request}; see its message above.")
        return json.loads(answer)


Samples = dict[str, list[float]]  # contender's name -> milliseconds or megabytes


class Comparison:
    """The workers of all contenders, and how they take turns.

    Parameters
    ----------
    contenders : sequence of Contender
        Who there is.
    threads, rounds : int
        Threads of each contender, and turns.
    turn : float
        About how many seconds a turn is to take.
    """

    def __init__(self, contenders: Sequence[Contender], threads: int, rounds: int, turn: float) -> None:
        self._contenders = {contender.name: contender for contender in contenders}
        self._threads, self._rounds, self._turn = threads, rounds, turn
        self._stack = ExitStack()
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        for name, contender in self._contenders.items():
            self._workers[name] = self._stack.enter_context(Worker(contender, self._threads))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def versions(self) -> dict[str, str]:
        """Of what is compared."""
        versions: dict[str, str] = {}
        for worker in self._workers.values():
            versions |= worker.ask("versions")
        return versions

    def measure(self, case: Case) -> Samples:
        """Figures of every contender that takes part in a case."""
        names = [name for name, contender in self._contenders.items() if case.measure in contender.measures]
        if case.measure.endswith("memory"):
            return {name: self._memory(name, case) for name in names}
        request = case.measure, case.net, case.size
        # The first request of each prepares; the slowest decides how many repetitions make a turn.
        trial = max(median(self._workers[name].ask(*request, 1 if case.is_long else 5)) for name in names)
        repetitions = 1 if case.is_long else min(max(3, round(self._turn / trial)), MOST_REPETITIONS)
        samples: Samples = {name: [] for name in names}
        for number in range(self._rounds):
            first = number % len(names)  # nobody always comes after the same one
            for name in names[first:] + names[:first]:
                time.sleep(PAUSE)
                samples[name] += [1000 * t for t in self._workers[name].ask(*request, repetitions)]
        return samples

    def flops(self, net: str) -> float:
        """Floating-point operations of a training step of a network, per image."""
        return float(self._workers[SKCNN.name].ask("flops", net)[0])

    def _memory(self, name: str, case: Case) -> list[float]:
        """Peaks of fresh processes: what a process has once had, it may keep."""
        peaks = []
        for _ in range(min(self._rounds, MEMORY_ROUNDS)):
            with Worker(self._contenders[name], self._threads) as worker:
                peaks += worker.ask(case.measure, case.net, case.size)
        return peaks


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """What the arguments ask for."""
    if "convolution" in arguments.measure:
        for name in CONVOLUTIONS:
            yield Case("convolution", name, CONVOLUTION_BATCH)
    for net in arguments.nets:
        sizes = {
            "step": arguments.batches,
            "inference": arguments.rows,
            "epoch": [EPOCH_ROWS.get(net, MOST_EPOCH_ROWS)],
            "memory": [MEMORY_BATCH],
        }
        for measure in arguments.measure:
            for size in sizes.get(measure, []):
                yield Case(measure, net, size)
    if arguments.estimator:
        for net in arguments.nets:
            yield Case("one image", net, 1)
        yield Case("small fit", None, BLOB_ROWS)


def table(measure: str, results: Sequence[tuple[Case, Samples]]) -> str:
    """The medians of a measure and skcnn's ratios to the others, in markdown."""
    names = list(results[0][1])
    others = [name for name in names if name != SKCNN.name]
    heads = ["net", "rows", *names, *(f"skcnn / {other}" for other in others)]
    lines = [
        f"### {measure} ({results[0][0].unit})",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + " --- |" * len(heads),
    ]
    for case, samples in results:
        middle = {name: median(values) for name, values in samples.items()}
        figures = [f"{middle[name]:.3g}" if middle[name] < 100 else f"{middle[name]:.0f}" for name in names]
        ratios = [f"**{middle[SKCNN.name] / middle[other]:.2f}**" for other in others]
        lines.append("| " + " | ".join([case.net or "", str(case.size), *figures, *ratios]) + " |")
    return "\n".join(lines)


def save(path: Path, versions: dict[str, str], arguments: argparse.Namespace, results: Any) -> None:
    """Write figures, versions and the machine's kind as JSON."""
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "versions": versions,
        "results": [
            asdict(case)
            | {
                "unit": case.unit,
                "medians": {name: median(values) for name, values in samples.items()},
                "samples": {name: [round(value, 5) for value in values] for name, values in samples.items()},
            }
            for case, samples in results
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def warn_if_busy() -> None:
    """Say if others are at work here: threads that wait for each other then wait for the scheduler."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY:
        print(f"The load average is {load:.1f}: on a machine that is not idle, figures mean little.", file=sys.stderr)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare the speed of skcnn with PyTorch's.")
    parser.add_argument("--measure", nargs="+", choices=MEASURES, help="default: all, or none with --estimator")
    parser.add_argument("--estimator", action="store_true", help="compare with skorch and MLPClassifier")
    parser.add_argument(
        "--techniques", action="store_true", help="with one technique left out at a time; steps, if nothing else"
    )
    parser.add_argument("--coretype", help="kernels of OpenBLAS for one more contender")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--batches", nargs="+", type=int, default=[64], help="rows of the training steps")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 64, 1024], help="rows of the inference")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of each contender")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender")
    parser.add_argument("--quick", action="store_true", help="two short rounds: only to see that it works")
    parser.add_argument("--save", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args(argv)
    if arguments.measure is None:
        arguments.measure = ["step"] if arguments.techniques else [] if arguments.estimator else list(MEASURES)
    if arguments.quick:
        arguments.rounds = 2
    return arguments


def opponents(arguments: argparse.Namespace) -> list[Contender]:
    """Those that are needed, as far as they are installed."""
    has_torch = find_spec("torch") is not None
    has_skorch = has_torch and find_spec("skorch") is not None
    found: list[Contender] = []
    if arguments.techniques:
        return [Contender(f"without {name}", "skcnn", MEASURES, without=name) for name in TECHNIQUES]
    if arguments.coretype:
        kernels = {"OPENBLAS_CORETYPE": arguments.coretype}
        found.append(Contender(f"skcnn, {arguments.coretype}", "skcnn", MEASURES, environment=kernels))
    if arguments.measure and has_torch:
        found += PYTORCH
    elif arguments.measure:
        print("PyTorch is not installed: the figures are those of skcnn alone.\n")
    if arguments.estimator:
        found += [SKORCH, SKLEARN] if has_skorch else [SKLEARN]
        if not has_skorch:
            print("skorch is not installed: the figure for one image is that of skcnn alone.\n")
    return found


def main() -> None:
    """Measure, print, and save if asked to."""
    arguments = parse()
    warn_if_busy()
    results: list[tuple[Case, Samples]] = []
    contenders = [SKCNN, *opponents(arguments)]
    with Comparison(contenders, arguments.threads, arguments.rounds, 0.02 if arguments.quick else 0.3) as comparison:
        versions = comparison.versions()
        print(f"{cpu_model()}, threads of each contender: {arguments.threads}")
        print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n", flush=True)
        for case in cases(arguments):
            results.append((case, comparison.measure(case)))
            print(f"measured {case.measure} {case.net or ''} {case.size}", file=sys.stderr, flush=True)
    for measure in dict.fromkeys(case.measure for case, _ in results):
        print(table(measure, [result for result in results if result[0].measure == measure]), end="\n\n")
    if arguments.save:
        save(arguments.save, versions, arguments, results)


if __name__ == "__main__":
    main()
