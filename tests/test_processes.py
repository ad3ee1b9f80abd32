"""Training on several processes: the same bits as threads, whatever happens to a worker or to this process."""

import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from through import assert_same_model

from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine import processes
from skcnn._engine.data import Data
from skcnn._engine.passes import LEAST, PAIR, SHARD, Work
from skcnn._engine.processes import Member, _File, _Located
from skcnn.augmentation import Augmentation, MixUp, RandomCrop, RandomFlip
from skcnn.callbacks import Checkpoint
from skcnn.description import description
from skcnn.layers import BatchNorm, Conv2D, Dropout, Flatten, MaxPool2D, ReLU
from skcnn.optimizers import SGD
from skcnn.schedules import Schedule

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look at /proc")
ROOT = Path(__file__).parents[1]
LAYERS = [Conv2D(8), BatchNorm(), ReLU(), MaxPool2D(), Conv2D(8), ReLU(), Dropout(0.3), Flatten()]
WORTH = processes.WORTH
SETTINGS = {"layers": LAYERS, "batch_size": 64, "max_iter": 3, "random_state": 0, "n_jobs": 2}


@pytest.fixture(autouse=True)
def eight_shards(monkeypatch):
    """Fits have up to eight shards, as on a machine with eight processors, and are worth processes."""
    monkeypatch.setattr(processes, "WORTH", (0, 0))
    monkeypatch.setattr("skcnn._engine.passes.processors", lambda: 8)
    monkeypatch.setattr("skcnn._engine.passes.LEAST", (4, 1))


@pytest.fixture(autouse=True, scope="module")
def no_worker_left():
    yield
    processes.workers.end()
    assert not children()


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch, tmp_path):
    """No test leaves files or shared memory behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # which no other process uses
    before = opened()
    yield
    gc.collect()
    assert opened() == before


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (300, 12, 12), dtype=np.uint8)  # the last batch has fewer rows, and fewer shards
    return X, rng.integers(0, 3, 300)


def opened():
    """Nameless files and memory that are open or mapped, and files with names."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line.split(maxsplit=5)[5] for line in lines if line.endswith("(deleted)")]
    names = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()]
    nameless = sorted(name for name in [*mapped, *names] if "memfd:skcnn" in name or "/#" in name)
    return nameless, {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("skcnn-")}


def children():
    """Process numbers of the workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if int(status[1]) == os.getpid() and status[0] != "Z" and "LokyProcess" in command:
                found.append(int(entry.name))
    return found


def on_threads(model, *data, **given):
    """Fit a copy of a model on threads."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "WORTH", (np.inf, np.inf))
        return clone(model).fit(*data, **given)


class Counted:
    """The number of processes of each training."""

    def __init__(self, monkeypatch):
        self.sizes = []
        start = processes.Processes._start
        monkeypatch.setattr(processes.Processes, "_start", lambda team: (self.sizes.append(team._size), start(team))[1])


@pytest.fixture
def counted(monkeypatch):
    return Counted(monkeypatch).sizes


@pytest.mark.parametrize("n_jobs", [2, 3, 4, 8, 16])
def test_processes_give_the_bits_of_threads(data, n_jobs, counted):
    model = CNNClassifier(**SETTINGS)
    fitted = clone(model).set_params(n_jobs=n_jobs).fit(*data)
    assert counted == [min(n_jobs, 8)]
    expected = on_threads(model.set_params(n_jobs=1), *data)
    assert_same_model(fitted, expected)
    assert fitted.history_["loss"] == expected.history_["loss"]
    assert fitted.history_["score"] == expected.history_["score"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"augmentation": [RandomFlip(alternate=True), RandomCrop(2)], "early_stopping": True},
        {"augmentation": [MixUp()], "average": 0.9},
        {"clip_norm": 0.1, "optimizer": SGD(), "learning_rate": 0.01, "schedule": "adaptive"},
        {"dtype": "float64", "shuffle": False, "class_weight": "balanced"},
    ],
    ids=["augmentation", "mixed images and averaged weights", "clipped gradients", "float64"],
)
def test_all_ways_of_training_give_the_bits_of_threads(data, parameters, counted):
    model = CNNClassifier(**SETTINGS).set_params(**parameters)
    fitted = clone(model).fit(*data)
    assert counted == [2]
    assert_same_model(fitted, on_threads(model, *data))


def test_regression_and_continued_training_give_the_bits_of_threads(data, counted):
    X, y = data
    model = CNNRegressor(**SETTINGS, warm_start=True)
    fitted, expected = clone(model), clone(model)
    for _ in range(2):
        fitted.fit(X, y)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(processes, "WORTH", (np.inf, np.inf))
            expected.fit(X, y)
    for _ in range(2):
        fitted.partial_fit(X, y)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "WORTH", (np.inf, np.inf))
        for _ in range(2):
            expected.partial_fit(X, y)
    assert counted == [2] * 4
    assert_same_model(fitted, expected)


def test_a_fitted_model_owns_its_arrays(data):
    """Or a pickle, a fork or the end of the fit would take them away."""
    fitted = CNNClassifier(**SETTINGS, average=0.5).fit(*data)
    for array in (fitted._model.weights, fitted._model.state, fitted._progress.slots, fitted._progress.trained):
        assert array.base is None
        assert array.flags.owndata
    assert_same_model(pickle.loads(pickle.dumps(fitted)), fitted)


@pytest.mark.parametrize("how", ["mapped", "a part of a mapped one", "copied on write", "channels first", "in memory"])
def test_images_reach_the_workers(data, how, tmp_path, counted):
    X, y = data
    np.save(tmp_path / "X.npy", np.repeat(X, 2, axis=0))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    given = {"mapped": mapped[:300], "a part of a mapped one": mapped[7:307, 1:, ::-1]}.get(how, X)
    if how == "copied on write":
        given = np.load(tmp_path / "X.npy", mmap_mode="c")[:300]
        given[:] = X  # not in the file
    if how == "channels first":
        given = np.ascontiguousarray(X.reshape(300, 1, 12, 12)).transpose(0, 2, 3, 1)
    model = CNNClassifier(**SETTINGS)
    assert (_Located.of(given) is None) == (how in ("copied on write", "channels first", "in memory"))
    assert_same_model(clone(model).fit(given, y), on_threads(model, np.array(given), y))
    assert counted == [2]


def test_images_of_a_file_that_was_replaced_are_not_used(data, tmp_path):
    X, y = data
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    path.unlink()
    np.save(path, 255 - X)
    with pytest.warns(UserWarning, match=r"on 2 processes is not possible: OSError: .*X.npy is no longer the file"):
        fitted = CNNClassifier(**SETTINGS).fit(mapped, y)
    assert_same_model(fitted, on_threads(CNNClassifier(**SETTINGS), X, y))


def test_threads_are_used_where_the_disk_has_no_room_for_the_images(data, monkeypatch):
    X, y = data
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(100, 100, 2 * X.nbytes - 1))
    with pytest.warns(UserWarning, match=r"has no room for a copy of the images, 0\.0 GB\. Threads are used instead"):
        fitted = CNNClassifier(**SETTINGS).fit(X, y)
    assert_same_model(fitted, on_threads(CNNClassifier(**SETTINGS), X, y))


def test_the_second_fit_finds_the_workers(data):
    CNNClassifier(**SETTINGS).fit(*data)
    before = children()
    CNNClassifier(**SETTINGS).fit(*data)
    assert children() == before


CALLS = []


@description
class Failing(Augmentation):
    """Fails in a worker, in its third epoch."""

    how: str

    def augment(self, images, rng):
        CALLS.append(1)
        if multiprocessing.current_process().name != "MainProcess" and len(CALLS) > 45:
            CALLS.clear()
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"no memory": MemoryError, "error": RuntimeError}[self.how]("broken augmentation")
        return images


@pytest.mark.parametrize(("how", "said"), [("kill", "a worker was killed"), ("no memory", "a worker has no memory")])
def test_threads_repeat_the_epoch_of_a_lost_worker(data, how, said):
    model = CNNClassifier(**SETTINGS, augmentation=[Failing(how)], average=0.9)
    with pytest.warns(UserWarning, match=rf"on 2 processes is not possible: {said}.* Epoch 3 is repeated with threads"):
        fitted = model.fit(*data)
    expected = on_threads(CNNClassifier(**SETTINGS, augmentation=[Failing("kill")], average=0.9), *data)
    assert_same_model(fitted, expected)
    assert fitted.history_["loss"] == expected.history_["loss"]
    CNNClassifier(**SETTINGS).fit(*data)  # with new workers


def test_an_error_in_a_worker_is_raised(data):
    with pytest.raises(RuntimeError, match="broken augmentation"):
        CNNClassifier(**SETTINGS, augmentation=[Failing("error")]).fit(*data)
    CNNClassifier(**SETTINGS).fit(*data)


def test_images_beyond_single_precision_are_refused_without_a_warning_of_numpy(data):
    X, y = data
    with pytest.raises(ValueError, match="float32"):
        CNNClassifier(**SETTINGS).set_params(dtype="float32").fit(X * 1e37, y)


def test_a_worker_that_is_killed_while_it_waits_is_replaced(data, recwarn):
    model = CNNClassifier(**SETTINGS)
    fitted = clone(model).fit(*data)
    for worker in children():
        os.kill(worker, signal.SIGKILL)
    time.sleep(0.2)
    assert_same_model(model.fit(*data), fitted)
    assert not recwarn


@description
class Unpicklable(Augmentation):
    def augment(self, images, rng):
        return images

    def __reduce__(self):
        raise TypeError("this object cannot be pickled")


def test_threads_train_where_workers_cannot_start(data):
    with pytest.warns(UserWarning, match=r"is not possible: .*pickle.* Threads are used instead\."):
        fitted = CNNClassifier(**SETTINGS, augmentation=[Unpicklable()]).fit(*data)
    assert_same_model(fitted, on_threads(CNNClassifier(**SETTINGS, augmentation=[Failing("kill")]), *data))


@description
class PressedAfter(Schedule):
    """Presses Ctrl-C some seconds after the second epoch has begun."""

    seconds: float

    def factor(self, epoch, max_iter):
        if 1 < epoch < 1.25:  # once, in the second of five batches
            threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
        return 1.0


@pytest.fixture
def interruptible():
    """Ctrl-C interrupts, although pytest-xdist ignores it in its processes."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("seconds", [0.0, 0.013, 0.08, 0.2])
def test_an_interruption_ends_the_fit_and_frees_the_workers(data, seconds):
    CNNClassifier(**SETTINGS).fit(*data)
    workers = children()
    model = CNNClassifier(**SETTINGS).set_params(
        max_iter=10_000, tol=0, n_iter_no_change=10_000, schedule=PressedAfter(seconds)
    )
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*data)
    assert 0 < model.n_iter_ < 10_000
    assert children() == workers
    assert_same_model(CNNClassifier(**SETTINGS).fit(*data), on_threads(CNNClassifier(**SETTINGS), *data))


def test_an_interruption_of_the_wait_for_the_workers_ends_them(data, monkeypatch):
    def interrupted(team):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes.Processes, "_wait_for_all", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        CNNClassifier(**SETTINGS).fit(*data)
    assert not children()
    assert not processes.workers.lock.locked()


def test_a_fit_that_has_failed_is_resumed_from_its_checkpoint(data, tmp_path, monkeypatch):
    model, run, calls = CNNClassifier(**SETTINGS), Member.run, []

    def failing(member, jobs):
        calls.append(run(member, jobs))
        if len(calls) == 35:  # in the second epoch of five batches
            raise RuntimeError("broken off")

    monkeypatch.setattr(Member, "run", failing)
    with pytest.raises(RuntimeError, match="broken off"):
        clone(model).set_callbacks(Checkpoint(tmp_path / "model")).fit(*data)
    resumed = clone(model).set_callbacks(Checkpoint(tmp_path / "model")).fit(*data)
    assert 35 < len(calls) < 80
    assert_same_model(resumed, on_threads(model, *data))


def fitted_in_a_worker(data):
    """Fit as `eight_shards` wants it; return the model and the sizes of its teams of processes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "WORTH", (0, 0))
        patched.setattr("skcnn._engine.passes.processors", lambda: 8)
        patched.setattr("skcnn._engine.passes.LEAST", (4, 1))
        sizes = Counted(patched).sizes
        return CNNClassifier(**SETTINGS).fit(*data), sizes


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_fits_inside_of_workers_use_threads(data, backend):
    expected = on_threads(CNNClassifier(**SETTINGS), *data)
    for fitted, sizes in Parallel(2, backend)(delayed(fitted_in_a_worker)(data) for _ in range(2)):
        assert sizes == []
        assert_same_model(fitted, expected)
    get_reusable_executor().shutdown()


def test_a_search_scores_the_same_on_processes(data, counted):
    search = GridSearchCV(CNNClassifier(**SETTINGS).set_params(max_iter=1), {"alpha": [1e-4, 1e-1]}, cv=2)
    one = clone(search).fit(*data)
    assert counted == [2] * 5
    two = clone(search).set_params(n_jobs=2)
    with parallel_config("threading"):
        two.fit(*data)
    assert counted == [2] * 5
    assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])


def test_threads_are_used_where_the_user_wants_them_or_is_not_in_the_main_thread(data, counted):
    with parallel_config("threading"):
        CNNClassifier(**SETTINGS).fit(*data)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(CNNClassifier(**SETTINGS).fit, *data).result()
    assert not counted


@pytest.mark.parametrize(
    ("epochs", "is_waiting", "expected"), [(1, False, 1), (4, False, 2), (1, True, 2), (0, True, 1)]
)
def test_only_long_fits_use_processes(epochs, is_waiting, expected, monkeypatch):
    """Shorter ones where the workers are waiting."""
    monkeypatch.setattr(processes, "WORTH", WORTH)
    monkeypatch.setattr(processes.workers, "are_waiting", lambda count: is_waiting)
    rows = np.arange(60_000)
    work = Work(Data(rows, rows, rows, rows, rows), 2_300_000, 64, False, None, 2, (SHARD, PAIR, LEAST))
    recipe = CNNClassifier(**SETTINGS)._recipe()
    assert processes.processes_worth(work, recipe, epochs) == expected


def test_a_second_training_at_the_same_time_uses_threads(data, monkeypatch):
    """The workers have one training at a time."""
    monkeypatch.setattr(threading, "current_thread", threading.main_thread)
    model, expected = CNNClassifier(**SETTINGS), on_threads(CNNClassifier(**SETTINGS), *data)
    with processes.workers.lock, pytest.warns(UserWarning, match="another training uses the workers"):
        assert_same_model(model.fit(*data), expected)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_fits_in_a_pool_of_multiprocessing_use_threads(data, method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        fitted, sizes = pool.apply(fitted_in_a_worker, (data,))
    assert sizes == []
    assert_same_model(fitted, on_threads(CNNClassifier(**SETTINGS), *data))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_workers_of_its_own(data, tmp_path):
    """As servers do before they train."""
    expected = CNNClassifier(**SETTINGS).fit(*data)
    child = os.fork()
    if not child:
        try:
            fitted, sizes = fitted_in_a_worker(data)
            (tmp_path / "done").write_bytes(pickle.dumps((fitted, sizes, children())))
            processes.workers.end()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    fitted, sizes, workers = pickle.loads((tmp_path / "done").read_bytes())
    assert sizes == [2]
    assert len(workers) == 1
    assert not set(workers) & set(children())
    assert_same_model(fitted, expected)


def test_members_that_wait_long_see_that_the_others_have_ended():
    checked = []

    def check():
        checked.append(time.monotonic())
        if len(checked) == 3:
            raise ConnectionError

    file = _File(1 << 16, in_memory=True)
    member = Member(file.path, 0, 2, check)
    with pytest.raises(ConnectionError):
        member.meet()
    file.close()


def test_files_have_names_where_the_system_needs_them(data, monkeypatch, counted):
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) != "/proc/self/fd" and is_dir(path))
    assert_same_model(CNNClassifier(**SETTINGS).fit(*data), on_threads(CNNClassifier(**SETTINGS), *data))
    assert counted == [2]


SCRIPT = """
import numpy as np
from skcnn import CNNClassifier
from skcnn._engine import passes, processes
from skcnn.augmentation import Augmentation
from skcnn.description import description

processes.WORTH, passes.PAIR = (0, 0), (1, 1)

@description
class Own(Augmentation):
    def augment(self, images, rng):
        return images[::-1]

rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 12, 12)).astype(np.float32), rng.integers(0, 3, 400)
model = CNNClassifier((16,), max_iter={max_iter}, tol=0, n_iter_no_change=100_000, random_state=0, n_jobs=2, verbose=1,
    augmentation=[Own()])
model.fit(X, y)
print(model.n_iter_, processes.workers.are_waiting(1))
"""


def test_a_script_needs_no_main_guard_and_ends_its_workers(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(max_iter=2))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "2 True"


def test_nothing_is_left_behind_by_a_process_that_was_killed(tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(max_iter=100_000)]

    def left():
        """Semaphores of loky have the number of their process in their names."""
        return [name for name in os.listdir("/dev/shm") if f"-{process.pid}-" in name] + os.listdir(tmp_path)

    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("epoch")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "getpid", lambda: process.pid)
            workers = children()
        assert workers
        assert left()
        process.kill()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < until:
        time.sleep(0.01)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    while left() and time.monotonic() < until:
        time.sleep(0.01)
    assert not left()
