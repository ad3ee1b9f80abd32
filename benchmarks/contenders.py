"""The contenders of speed.py. Each is a process of its own, which measures when it is asked to and sleeps otherwise.

It reads a request per line from its input and writes the answer to its output, both in JSON. A measurement is prepared
at the first request and kept for the next ones, until another is asked for.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from networks import (
    CLASSES,
    CONVOLUTIONS,
    NETWORKS,
    PHOTOGRAPHS,
    SCALE,
    ReferenceConvolution,
    ReferenceNetwork,
    torch_convolution,
    torch_network,
)

Measurement = Callable[[int], list[float]]  # repetitions -> seconds of each, or megabytes

LEARNING_RATE = 1e-3
WARM_UP = 3  # calls at the start of a turn that do not count: the other contenders have had the caches
CHUNK = 64  # rows that PyTorch predicts at a time, if that is faster than all at once
STEP_IMAGES = 2048  # that the batches of the training step are taken from
MEMORY_STEPS = 30
TRAINING_EPOCHS, TRAINING_STEPS = 3, 6
ESTIMATOR_IMAGES = 640  # that the estimators are fitted to before they predict one
UPDATES = 1000  # of the small fit


def timed(call: Callable[[], Any], repetitions: int, warm_up: int = WARM_UP) -> list[float]:
    """Seconds of each call, after a few that do not count."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def random_images(network: ReferenceNetwork, n: int) -> tuple[Any, Any]:
    """Images (n, h, w, c) in float32 and classes (n,)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, *network.input_shape), dtype=np.float32), rng.integers(CLASSES, size=n)


def batches(batch: int) -> Iterator[Any]:
    """Row numbers of one batch after the other, without end."""
    return cycle(np.random.default_rng(0).integers(STEP_IMAGES, size=(STEP_IMAGES // 64, batch)))


def peak_memory() -> float:
    """The most memory that this process has had, in MB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes on macOS, kilobytes elsewhere


# -- skcnn


def skcnn_step(network: ReferenceNetwork, batch: int) -> Measurement:
    """A training step, with the engine as `skcnn._engine.training.train` drives it."""
    return _skcnn_step(network, batch, *random_images(network, STEP_IMAGES))


def _skcnn_step(network: ReferenceNetwork, batch: int, images: Any, y: Any) -> Measurement:
    from skcnn._arrays.elementwise import ufunc_settings
    from skcnn._engine.data import Data
    from skcnn._engine.parallel import Team, one_blas_thread
    from skcnn._engine.passes import Passes, Work
    from skcnn._engine.progress import Fit, Progress

    model = _skcnn_model(network)
    recipe = _skcnn_classifier(network, batch_size=batch)._recipe()
    data = Data(images, np.arange(len(images)), y, np.ones(len(images)), y)
    work, rows = Work.of(model, data, recipe), batches(batch)
    team = Team(min(recipe.threads, work.shards))
    passes = Passes(Fit(model, Progress.begin(model, recipe, seed=0)), work, recipe, team)

    def step() -> float:
        passes.tick(recipe.learning_rate)
        return passes.step(next(rows))

    def measure(repetitions: int) -> list[float]:
        with one_blas_thread, ufunc_settings(), team:
            return timed(step, repetitions)

    return measure


def skcnn_convolution(convolution: ReferenceConvolution, batch: int) -> Measurement:
    """A convolution forward and backward, on two shards of a batch."""
    from functools import partial
    from types import SimpleNamespace

    from skcnn._arrays.elementwise import ufunc_settings
    from skcnn._engine.parallel import Team, one_blas_thread, thread_count
    from skcnn._tape.tape import Batch, Tape

    layer, shape = convolution.layer, convolution.input_shape
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal(layer.parameters(shape)["kernel"].shape, dtype=np.float32)
    jobs = []
    for shard in range(2):
        rows = batch // 2
        tape = Tape(np.float32, Batch(batch, 2), shard, training=True)
        h, w, c = shape
        with tape.step("input"):
            x = tape.output((h, w, rows, c))
        with tape.step("convolution"):
            p, g = SimpleNamespace(kernel=kernel), SimpleNamespace(kernel=np.empty_like(kernel))
            y, backward = layer.record(tape, x, p, g)
            dy = tape.output(y.shape)
            backward(dy, needs_dx=not convolution.is_first)
        for array in (x, dy):
            array[...] = rng.standard_normal(array.shape, dtype=np.float32)
        jobs.append(partial(tape.replay, 0))

    def measure(repetitions: int) -> list[float]:
        threads = thread_count(None)
        with one_blas_thread, ufunc_settings(), Team(min(threads, 2)) as team:
            return timed(lambda: team.run(jobs), repetitions)

    return measure


def skcnn_inference(network: ReferenceNetwork, rows: int) -> Measurement:
    """Raw predictions."""
    from skcnn._engine.predictor import Predictor

    model = _skcnn_model(network)
    predictor = Predictor(model.network, model.weights, model.state, model.scaling)
    images, _ = random_images(network, rows)
    return lambda repetitions: timed(lambda: predictor.raw(images), repetitions)


def skcnn_epoch(network: ReferenceNetwork, rows: int) -> Measurement:
    """A whole fit of one epoch, from the validation of the input to the fitted attributes."""
    images, y = random_images(network, rows)
    classifier = _skcnn_classifier(network, max_iter=1)
    classifier.fit(images, y)
    return lambda repetitions: timed(lambda: classifier.fit(images, y), repetitions, warm_up=0)


def skcnn_training(network: ReferenceNetwork, batch: int) -> Measurement:
    """Steps within a fit of some epochs, each as the mean of an epoch. The first epoch does not count."""
    images, y = random_images(network, batch * TRAINING_STEPS)
    classifier = _skcnn_classifier(network, batch, TRAINING_EPOCHS + 1)

    def measure(repetitions: int) -> list[float]:
        seconds = [classifier.fit(images, y).history_["seconds"][1:] for _ in range(repetitions)]
        return [second / TRAINING_STEPS for fit in seconds for second in fit]

    return measure


def skcnn_memory(network: ReferenceNetwork, batch: int) -> Measurement:
    """Peak memory of training steps above that of the imports and the data."""
    import skcnn._engine.training  # noqa: F401

    _skcnn_classifier(network)._recipe()  # skcnn imports what is asked for, which is no memory of training
    images, y = random_images(network, STEP_IMAGES)

    def measure(repetitions: int) -> list[float]:
        before = peak_memory()
        _skcnn_step(network, batch, images, y)(MEMORY_STEPS - WARM_UP)
        return [peak_memory() - before]

    return measure


def skcnn_flops(network: ReferenceNetwork, rows: int) -> Measurement:
    """Floating-point operations of a training step, per image: forward, and backward twice as many."""
    return lambda repetitions: [6.0 * _skcnn_model(network).network.multiply_adds]


def skcnn_one_image(network: ReferenceNetwork, rows: int) -> Measurement:
    """The estimator's probabilities."""
    images, y = random_images(network, ESTIMATOR_IMAGES)
    classifier = _skcnn_classifier(network, max_iter=1).fit(images, y)
    return lambda repetitions: timed(lambda: classifier.predict_proba(images[:rows]), repetitions)


def skcnn_small_fit(network: None, rows: int) -> Measurement:
    """Many updates on a little data, as scikit-learn's estimator checks do."""
    from skcnn import CNNClassifier

    return _small_fit(
        CNNClassifier(batch_norm=False, max_iter=UPDATES, tol=0.0, n_iter_no_change=UPDATES, random_state=0), rows
    )


def skcnn_versions() -> dict[str, str]:
    """What skcnn runs on."""
    from threadpoolctl import threadpool_info

    import skcnn

    blas = {
        " ".join(str(library.get(key)) for key in ("internal_api", "version", "architecture"))
        for library in threadpool_info()
        if library["user_api"] == "blas"
    }
    return {
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "BLAS": ", ".join(sorted(blas)),
        "skcnn": skcnn.__version__,
    }


def _skcnn_model(network: ReferenceNetwork) -> Any:
    from skcnn._engine.model import Model
    from skcnn._engine.network import Network
    from skcnn._engine.scaling import no_scaling
    from skcnn.losses import LogLoss

    bound = Network(network.layers, network.input_shape, CLASSES)
    rng = np.random.default_rng(0)
    weights, state = (bound.initial(layout, rng, np.float32) for layout in (bound.weights, bound.state))
    return Model(bound, no_scaling(network.input_shape[2]), weights, state, LogLoss())


def _skcnn_classifier(network: ReferenceNetwork, batch_size: int = 64, max_iter: int = 1) -> Any:
    """As the opponent: neither standardization nor weight decay."""
    from skcnn import CNNClassifier

    return CNNClassifier(
        layers=list(network.layers),
        learning_rate=LEARNING_RATE,
        alpha=0.0,
        batch_size=batch_size,
        max_iter=max_iter,
        standardize=False,
        random_state=0,
    )


def skcnn_prediction_memory(network: ReferenceNetwork, rows: int) -> Measurement:
    """Peak memory of predictions above that of the imports, the weights and the images."""
    from skcnn._engine.predictor import Predictor

    model, (images, _) = _skcnn_model(network), random_images(network, rows)
    return _growth(lambda: Predictor(model.network, model.weights, model.state, model.scaling), images)


def _growth(prepare: Callable[[], Any], images: Any) -> Measurement:
    """Megabytes by which the peak memory grows as a predictor is made and predicts."""

    def measure(repetitions: int) -> list[float]:
        before = peak_memory()
        predictor = prepare()
        for _ in range(WARM_UP):
            predictor.raw(images)
        return [peak_memory() - before]

    return measure


# -- PyTorch


def torch_step(network: ReferenceNetwork, batch: int) -> Measurement:
    """A training step."""
    return _torch_step(network, batch, *random_images(network, STEP_IMAGES))


def _torch_step(network: ReferenceNetwork, batch: int, images: Any, y: Any) -> Measurement:
    import torch

    x, target = torch.from_numpy(images), torch.from_numpy(y)
    update = _torch_update(network)
    rows = (torch.from_numpy(used) for used in batches(batch))

    def step() -> float:
        used = next(rows)
        return update(_channels_last(x[used]), target[used])

    return lambda repetitions: timed(step, repetitions)


def torch_convolution_pass(convolution: ReferenceConvolution, batch: int) -> Measurement:
    """A convolution forward and backward."""
    import torch

    layer = torch_convolution(convolution).to(memory_format=torch.channels_last)
    rng = np.random.default_rng(0)
    h, w, c = convolution.input_shape
    x = _channels_last(torch.from_numpy(rng.standard_normal((batch, h, w, c), dtype=np.float32)))
    x.requires_grad_(not convolution.is_first)
    dy = torch.randn_like(layer(x))

    def step() -> None:
        layer.weight.grad = x.grad = None
        layer(x).backward(dy)

    return lambda repetitions: timed(step, repetitions)


def torch_inference(network: ReferenceNetwork, rows: int) -> Measurement:
    """Raw predictions; of many rows in the way that is faster, all at once or in chunks."""
    import torch

    model = torch_network(network).eval()
    x = _channels_last(torch.from_numpy(random_images(network, rows)[0]))
    ways: list[Callable[[], Any]] = [lambda: model(x)]
    if rows > CHUNK:
        ways.append(lambda: torch.cat([model(chunk) for chunk in x.split(CHUNK)]))

    def measure(repetitions: int) -> list[float]:
        with torch.inference_mode():
            return min((timed(way, repetitions) for way in ways), key=median)

    return measure


def torch_epoch(network: ReferenceNetwork, rows: int) -> Measurement:
    """The plain training loop that everybody writes, from the fresh model to its loss."""
    import torch

    images, y = random_images(network, rows)
    x, target = torch.from_numpy(images), torch.from_numpy(y)

    def fit() -> float:
        update = _torch_update(network)
        total = 0.0
        for used in torch.randperm(rows).split(64):
            total += update(_channels_last(x[used]), target[used]) * len(used)
        return total / rows

    fit()
    return lambda repetitions: timed(fit, repetitions, warm_up=0)


def torch_training(network: ReferenceNetwork, batch: int) -> Measurement:
    """Steps within epochs of the plain training loop, each as the mean of an epoch."""
    import torch

    rows = batch * TRAINING_STEPS
    images, y = random_images(network, rows)
    x, target, update = torch.from_numpy(images), torch.from_numpy(y), _torch_update(network)

    def epoch() -> None:
        for used in torch.randperm(rows).split(batch):
            update(_channels_last(x[used]), target[used])

    def measure(repetitions: int) -> list[float]:
        return [second / TRAINING_STEPS for second in timed(epoch, repetitions * TRAINING_EPOCHS, warm_up=1)]

    return measure


def torch_memory(network: ReferenceNetwork, batch: int) -> Measurement:
    """Peak memory of training steps above that of the imports and the data."""
    import torch

    # The first optimizer imports some 70 MB of modules, which are imports as well.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    images, y = random_images(network, STEP_IMAGES)

    def measure(repetitions: int) -> list[float]:
        before = peak_memory()
        _torch_step(network, batch, images, y)(MEMORY_STEPS - WARM_UP)
        return [peak_memory() - before]

    return measure


def torch_prediction_memory(network: ReferenceNetwork, rows: int) -> Measurement:
    """Peak memory of predictions above that of the imports, the weights and the images."""
    from types import SimpleNamespace

    import torch

    model, x = torch_network(network).eval(), _channels_last(torch.from_numpy(random_images(network, rows)[0]))

    def raw(x: Any) -> Any:
        with torch.inference_mode():
            return model(x)

    return _growth(lambda: SimpleNamespace(raw=raw), x)


def torch_versions() -> dict[str, str]:
    """What the opponent is."""
    import torch

    return {"PyTorch": torch.__version__}


def _torch_update(network: ReferenceNetwork) -> Callable[[Any, Any], float]:
    """A fresh model's training step, as a function of a batch."""
    import torch

    model = torch_network(network).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    criterion = torch.nn.CrossEntropyLoss()

    def update(x: Any, target: Any) -> float:
        optimizer.zero_grad()
        loss = criterion(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return update


def _channels_last(x: Any) -> Any:
    """x (n, h, w, c) -> (n, c, h, w) over the same memory, which is what PyTorch calls channels last."""
    return x.permute(0, 3, 1, 2)


# -- ONNX Runtime


def onnx_inference(network: ReferenceNetwork, rows: int) -> Measurement:
    """Raw predictions of the graph that skcnn exports."""
    session, images = _session(network), random_images(network, rows)[0].reshape(rows, -1)
    return lambda repetitions: timed(lambda: session.run(["variable"], {"X": images}), repetitions)


def onnx_prediction_memory(network: ReferenceNetwork, rows: int) -> Measurement:
    """Peak memory of predictions above that of the imports and the images: its weights are in it."""
    from types import SimpleNamespace

    import onnxruntime  # noqa: F401

    images = random_images(network, rows)[0].reshape(rows, -1)

    def prepare() -> Any:
        session = _session(network)
        return SimpleNamespace(raw=lambda x: session.run(["variable"], {"X": x}))

    return _growth(prepare, images)


def _session(network: ReferenceNetwork) -> Any:
    """A session on the file of the network, which pretrained.py has written."""
    import onnxruntime

    (name,) = (name for name, known in PHOTOGRAPHS.items() if known is network)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ["SKCNN_THREADS"])
    path = Path(os.environ["SKCNN_GRAPHS"]) / f"{name}.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def onnx_versions() -> dict[str, str]:
    """What the opponent is."""
    import onnxruntime

    return {"ONNX Runtime": onnxruntime.__version__}


# -- the neighbours


def skorch_one_image(network: ReferenceNetwork, rows: int) -> Measurement:
    """The probabilities of skorch's estimator."""
    import torch
    from skorch import NeuralNetClassifier

    images, y = random_images(network, ESTIMATOR_IMAGES)
    images = images.transpose(0, 3, 1, 2)
    classifier = NeuralNetClassifier(
        torch_network(network),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LEARNING_RATE,
        batch_size=64,
        max_epochs=1,
        train_split=None,
        verbose=0,
    ).fit(images, y)
    return lambda repetitions: timed(lambda: classifier.predict_proba(images[:rows]), repetitions)


def skorch_versions() -> dict[str, str]:
    """What runs the opponent."""
    import skorch

    return torch_versions() | {"skorch": skorch.__version__}


def sklearn_small_fit(network: None, rows: int) -> Measurement:
    """The small fit, by scikit-learn's own network."""
    from sklearn.neural_network import MLPClassifier

    return _small_fit(
        MLPClassifier(
            hidden_layer_sizes=(128,),
            batch_size=rows,
            max_iter=UPDATES,
            tol=0.0,
            n_iter_no_change=UPDATES,
            random_state=0,
        ),
        rows,
    )


def sklearn_versions() -> dict[str, str]:
    """What the neighbour is."""
    import sklearn

    return {"scikit-learn": sklearn.__version__}


def _small_fit(classifier: Any, rows: int) -> Measurement:
    """Fits to two blobs in the plane, each batch all rows, so that an epoch is an update."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    # scikit-learn's warns when it reaches max_iter, which is what is wanted here.
    warnings.simplefilter("ignore", ConvergenceWarning)
    y = np.arange(rows) % 2
    X = np.random.default_rng(0).normal(size=(rows, 2)) + 2 * y[:, None]
    if classifier.fit(X, y).n_iter_ != UPDATES:
        raise RuntimeError(f"{classifier!r} made {classifier.n_iter_} updates in place of {UPDATES}.")
    return lambda repetitions: timed(lambda: classifier.fit(X, y), repetitions, warm_up=0)


# -- the process

CASES: dict[str, Any] = {**NETWORKS, **SCALE, **CONVOLUTIONS, **PHOTOGRAPHS}

VERSIONS: dict[str, Callable[[], dict[str, str]]] = {
    "skcnn": skcnn_versions,
    "torch": torch_versions,
    "onnx": onnx_versions,
    "skorch": skorch_versions,
    "sklearn": sklearn_versions,
}
MEASUREMENTS: dict[str, dict[str, Callable[[Any, int], Measurement]]] = {
    "skcnn": {
        "step": skcnn_step,
        "inference": skcnn_inference,
        "epoch": skcnn_epoch,
        "training": skcnn_training,
        "convolution": skcnn_convolution,
        "flops": skcnn_flops,
        "memory": skcnn_memory,
        "one image": skcnn_one_image,
        "small fit": skcnn_small_fit,
        "prediction memory": skcnn_prediction_memory,
    },
    "torch": {
        "step": torch_step,
        "inference": torch_inference,
        "epoch": torch_epoch,
        "training": torch_training,
        "convolution": torch_convolution_pass,
        "memory": torch_memory,
        "prediction memory": torch_prediction_memory,
    },
    "onnx": {"inference": onnx_inference, "prediction memory": onnx_prediction_memory},
    "skorch": {"one image": skorch_one_image},
    "sklearn": {"small fit": sklearn_small_fit},
}


def hold_threads(library: str, threads: int) -> None:
    """Give every contender the same number of threads."""
    if library in ("torch", "skorch"):
        import torch

        torch.set_num_threads(threads)
    else:
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)


def leave_out(technique: str) -> None:
    """Take one of the engine's techniques out, to see what it is worth."""
    import skcnn._arrays.elementwise as elementwise
    import skcnn._engine.fusion as fusion
    import skcnn._engine.parallel as parallel
    import skcnn._engine.passes as passes
    import skcnn._engine.processes as processes
    import skcnn._tape.convolution as convolution
    import skcnn._tape.products as products
    import skcnn._tape.tape as tape
    import skcnn._tape.winograd as winograd
    import skcnn.layers.conv as conv
    import skcnn.layers.dense as dense

    if "SKCNN_BENCHMARK_PROCESSORS" in os.environ:
        passes.processors = lambda: int(os.environ["SKCNN_BENCHMARK_PROCESSORS"])
    match technique:
        case "short ufunc buffers":
            elementwise.BUFFER = 8192
        case "Winograd's algorithm":
            convolution.choose_tiling = lambda *arguments, **options: None
        case "groups joined":
            convolution.joined_group_count = lambda groups, *sizes: groups
        case "strided and dilated windows as plain ones":
            choose = convolution.choose_tiling
            convolution.choose_tiling = lambda dtype, geometry, *sizes, **options: (
                choose(dtype, geometry, *sizes, **options) if geometry.is_plain else None
            )
        case "transforms of rows alone":
            convolution.row_tilings = lambda geometry: ()
        case "products of few rows":
            dense.record_rows = lambda tape, x, matrix, out: tape(np.matmul, x, matrix, out)
        case "its largest tiles":
            tiles = winograd.TILES.items()
            winograd.TILES = {k: tuple(m for m in sizes if m + k - 1 <= 8) for k, sizes in tiles}
        case "small gradients in parts":
            products.RELEASED = 1
        case "the rewrite table":
            fusion.RULES = ()
        case "few channels outermost":
            tape.NARROW = 0
        case "outputs within their border":
            conv.Convolution.margin = lambda self, tape, shape, rows: None
        case "processes":
            processes.WORTH = math.inf, math.inf
        case "threads":
            processes.WORTH = 0, 0
        case "the second thread":
            parallel.thread_count.__code__ = (lambda n_jobs: 1).__code__
        case _:
            raise ValueError(f"There is no technique {technique!r}.")


def serve(library: str, threads: int, without: str = "") -> None:
    """Answer requests until the input ends."""
    hold_threads(library, threads)
    if without:
        leave_out(without)
    prepared: tuple[Any, Measurement] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["measure"] == "versions":
            answer: Any = VERSIONS[library]()
        else:
            key = request["measure"], request["net"], request["size"]
            if prepared is None or prepared[0] != key:
                prepared = None  # the old one's memory first
                about = CASES.get(request["net"])
                prepared = key, MEASUREMENTS[library][request["measure"]](about, request["size"])
            answer = prepared[1](request["repetitions"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
