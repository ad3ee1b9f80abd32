"""Start-up time, memory and installation size of a served model, compared with PyTorch and ONNX Runtime.

Each contender is a new process that imports its library, loads the weights of the same network (N2 of networks.py) from
a file, and predicts one image. The contenders take turns. The script prints medians over all rounds, and in parentheses
their ratios to `skcnn.runtime`. Ratios above 1 mean that the other contender takes longer, or needs more.

- *start-up*: milliseconds from the start of the process to the first prediction, including the start of Python.
- *memory*: resident memory of the process after the prediction, in MB.
- *installation*: files of the library and of all its requirements, in MB, as the package manager lists them, without
  Python's caches. For `skcnn.runtime` these are skcnn and its imports, NumPy and threadpoolctl.

    python benchmarks/serving.py --rounds 15 --save benchmarks/results/serving.json

With ``--formats``, the script compares the formats of a model instead: the time to write and to read a file, and the
size of the file compared with the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHAPE = 32, 32, 3
CLASSES = 10
AGREE = 1e-4  # probabilities of all contenders, in float32
US = "skcnn.runtime"


# -- what runs in a process of its own. Nothing is imported above that a contender does not need.


def image() -> Any:
    """One image of random numbers, the same for all."""
    import numpy as np

    return np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)


def serve_runtime(directory: Path) -> Any:
    import skcnn.runtime

    return skcnn.runtime.load(directory / "model.skcnn").predict_proba(image())


def serve_estimator(directory: Path) -> Any:
    import skcnn

    return skcnn.load(directory / "model.skcnn").predict_proba(image())


def serve_torch(directory: Path) -> Any:
    import torch

    network = torch_network()
    network.load_state_dict(torch.load(directory / "model.pt", weights_only=True))
    network.eval()
    with torch.inference_mode():
        raw = network(torch.from_numpy(image()).permute(0, 3, 1, 2))
        return torch.softmax(raw, 1).numpy()


def serve_onnx(directory: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image().reshape(1, -1)})[1]


def serve_nothing(directory: Path) -> Any:
    return image()


def torch_network() -> Any:
    """N2, as one writes it with PyTorch."""
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), nn.Linear(128, CLASSES)),
    )


def prepare(directory: Path) -> None:
    """Write the files that the contenders load: the same weights, as far as the libraries are there."""
    import networks
    import numpy as np

    import skcnn

    rng = np.random.default_rng(1)
    X, y = rng.random((40, *SHAPE), dtype=np.float32), np.arange(40) % CLASSES
    layers = list(networks.NETWORKS["N2"].layers)
    model = skcnn.CNNClassifier(layers=layers, max_iter=1, standardize=False, random_state=0).fit(X, y)
    skcnn.save(model, directory / "model.skcnn")
    if find_spec("torch"):
        import torch

        network = torch_network()
        parameters = {name: torch.from_numpy(np.array(array)) for name, array in model.parameters_.items()}
        parameters["dense1.kernel"] = (  # flattened here in the order c, h, w
            parameters["dense1.kernel"].reshape(8, 8, 64, 128).permute(2, 0, 1, 3).reshape(-1, 128)
        )
        with torch.no_grad():
            for number, name in ((0, "conv1"), (3, "conv2"), (7, "dense1"), (9, "output")):
                kernel = parameters[f"{name}.kernel"]
                network[number].weight.copy_(kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T)
                network[number].bias.copy_(parameters[f"{name}.bias"])
        torch.save(network.state_dict(), directory / "model.pt")
    if has_onnx():
        from skcnn.onnx import to_onnx

        (directory / "model.onnx").write_bytes(to_onnx(model).SerializeToString())


def resident() -> float:
    """Memory of this process, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


SERVE: dict[str, Callable[[Path], Any]] = {
    US: serve_runtime,
    "skcnn.load": serve_estimator,
    "PyTorch": serve_torch,
    "ONNX Runtime": serve_onnx,
    "NumPy alone": serve_nothing,
}


def work(name: str, directory: Path) -> None:
    """The life of a contender's process."""
    probabilities = SERVE[name](directory)
    print("ready", flush=True)  # before anything is imported for the report
    print(json.dumps({"memory": resident(), "probabilities": probabilities.ravel().tolist()}))


# -- what compares them


def has_onnx() -> bool:
    """Whether the export and what runs it are there."""
    return all(map(find_spec, ("skcnn.onnx", "onnx", "onnxruntime")))


def contenders() -> list[str]:
    """Those that can take part here."""
    there = {"PyTorch": find_spec("torch") is not None, "ONNX Runtime": has_onnx()}
    return [name for name in SERVE if there.get(name, True)]


def start(name: str, directory: Path) -> tuple[float, dict[str, Any]]:
    """Milliseconds until a fresh process has predicted, and what it reports."""
    command = [sys.executable, __file__, "--work", name, str(directory)]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        elapsed = 1000 * (time.perf_counter() - begin)
        report = process.stdout.read()
    if first != "ready\n" or process.returncode:
        raise SystemExit(f"{name} has failed; see its message above.")
    return elapsed, json.loads(report)


def requirements(name: str, found: set[str] | None = None) -> set[str]:
    """The distributions that one needs, with itself, as far as they are installed; extras are left out."""
    found = set() if found is None else found
    key = re.sub(r"[-_.]+", "-", name).lower()
    try:
        needed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # not for this system
        return found
    if key not in found:
        found.add(key)
        for requirement in needed:
            if "extra ==" not in requirement:
                requirements(re.match(r"[\w.-]+", requirement)[0], found)  # type: ignore[index]
    return found


def megabytes(distributions: set[str]) -> float:
    """Size of the files of installed distributions."""
    files = (Path(str(file.locate())) for name in distributions for file in metadata.files(name) or [])
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.is_file()) / 1e6


def installations(names: Sequence[str]) -> dict[str, float]:
    """Megabytes on the disk for each contender."""
    ours = sum(file.stat().st_size for file in (ROOT / "skcnn").rglob("*.py")) / 1e6
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    required = set().union(*(requirements(re.match(r"[\w.-]+", line)[0]) for line in project))  # type: ignore[index]
    sizes = {
        US: lambda: ours + megabytes(requirements("numpy") | requirements("threadpoolctl")),
        "skcnn.load": lambda: ours + megabytes(required),
        "PyTorch": lambda: megabytes(requirements("torch") | requirements("numpy")),
        "ONNX Runtime": lambda: megabytes(requirements("onnxruntime")),
        "NumPy alone": lambda: megabytes(requirements("numpy")),
    }
    return {name: sizes[name]() for name in names}


def measure(names: Sequence[str], rounds: int, directory: Path) -> dict[str, dict[str, list[float]]]:
    """Contender -> start-up and memory of each round; an error if they do not predict the same."""
    samples: dict[str, dict[str, list[float]]] = {name: {"start-up": [], "memory": []} for name in names}
    answers = {name: start(name, directory)[1]["probabilities"] for name in names}  # which also fills the disk's cache
    for name in set(names) - {"NumPy alone"}:
        if max(abs(a - b) for a, b in zip(answers[name], answers[US], strict=True)) > AGREE:
            raise SystemExit(f"{name} does not predict what {US} does.")
    for number in range(rounds):
        first = number % len(names)  # nobody always comes after the same one
        for name in [*names[first:], *names[:first]]:
            elapsed, report = start(name, directory)
            samples[name]["start-up"].append(elapsed)
            samples[name]["memory"].append(report["memory"])
    return samples


def table(samples: dict[str, dict[str, list[float]]], sizes: dict[str, float]) -> str:
    """Medians, and their ratios to ours, in markdown."""
    lines = ["| | start-up, ms | memory, MB | installation, MB |", "|---|---|---|---|"]
    ours = figures_of(US, samples, sizes)
    for name in samples:
        figures = zip(figures_of(name, samples, sizes), ours, strict=True)
        shown = [f"{own:.0f}" if name == US else f"{own:.0f} ({own / other:.2f})" for own, other in figures]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def figures_of(name: str, samples: dict[str, dict[str, list[float]]], sizes: dict[str, float]) -> tuple[float, ...]:
    """Start-up, memory and installation of a contender."""
    return median(samples[name]["start-up"]), median(samples[name]["memory"]), sizes[name]


def formats(directory: Path, rounds: int) -> str:
    """How long each format takes to write and to read, and how large it is, in markdown: medians of turns."""
    import pickle

    import joblib

    import skcnn.runtime

    model = skcnn.load(directory / "model.skcnn")
    weights = sum(array.nbytes for array in model.parameters_.values())
    path = directory / "model"
    kinds: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "`pickle`": (
            lambda: path.write_bytes(pickle.dumps(model)),
            lambda: pickle.loads(path.read_bytes()),
        ),
        "`joblib`": (lambda: joblib.dump(model, path), lambda: joblib.load(path)),
        '`joblib`, `mmap_mode="r"`': (lambda: joblib.dump(model, path), lambda: joblib.load(path, mmap_mode="r")),
        "`joblib`, `compress=3`": (lambda: joblib.dump(model, path, compress=3), lambda: joblib.load(path)),
        "`skcnn.save`, `skcnn.load`": (lambda: skcnn.save(model, path), lambda: skcnn.load(path)),
        "`skcnn.save`, `skcnn.runtime.load`": (lambda: skcnn.save(model, path), lambda: skcnn.runtime.load(path)),
    }
    if find_spec("skops"):
        from skops import io

        kinds["`skops`"] = (lambda: io.dump(model, path), lambda: io.load(path, trusted=skcnn.SKOPS_TRUSTED))
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in kinds}
    sizes = {}
    for _ in range(rounds + 1):
        for name, (write, read) in kinds.items():
            moments = [time.perf_counter()]
            for do in (write, read):
                do()
                moments.append(time.perf_counter())
            sizes[name] = path.stat().st_size / weights
            times[name].append((moments[1] - moments[0], moments[2] - moments[1]))
    lines = ["| format | written, ms | read, ms | times its weights |", "|---|---|---|---|"]
    for name, turns in times.items():
        written, read_ = (1000 * median(values) for values in zip(*turns[1:], strict=True))  # the first fills caches
        lines.append(f"| {name} | {written:.1f} | {read_:.1f} | {sizes[name]:.2f} |")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of what is compared."""
    found = {"python": platform.python_version()}
    for name in ("numpy", "scikit-learn", "torch", "onnxruntime", "pandas"):
        if find_spec({"scikit-learn": "sklearn"}.get(name, name)):
            found[name] = metadata.version(name)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and save if asked to."""
    parser = argparse.ArgumentParser(description="What it takes to serve a model.")
    parser.add_argument("--rounds", type=int, default=15, help="fresh processes of each contender")
    parser.add_argument("--save", type=Path, help="a JSON file for the figures")
    parser.add_argument("--formats", action="store_true", help="compare the formats of a model instead")
    parser.add_argument("--work", nargs=2, metavar=("NAME", "DIRECTORY"), help="not for running by hand")
    arguments = parser.parse_args(argv)
    if arguments.work:
        name, directory = arguments.work
        prepare(Path(directory)) if name == "prepare" else work(name, Path(directory))
        return
    from speed import warn_if_busy  # not where the start of a process is measured

    warn_if_busy()
    names = contenders()
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, __file__, "--work", "prepare", directory], check=True)
        if arguments.formats:
            print(formats(Path(directory), arguments.rounds))
            return
        samples = measure(names, arguments.rounds, Path(directory))
    sizes = installations(names)
    print(", ".join(f"{name} {version}" for name, version in versions().items()), end="\n\n")
    print(table(samples, sizes))
    if arguments.save:
        record = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "versions": versions(),
            "rounds": arguments.rounds,
            "samples": samples,
            "installation": sizes,
        }
        arguments.save.parent.mkdir(parents=True, exist_ok=True)
        arguments.save.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
