"""`skcnn.save` and `skcnn.load`: the same predictions from a file that cannot run code, and clear errors for others."""

import copy
import gzip
import io
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.utils.metadata_routing import get_routing_for_object

import skcnn
import skcnn.runtime
from skcnn import CNNClassifier, CNNRegressor
from skcnn._engine import files
from skcnn.callbacks import Checkpoint
from skcnn.description import description
from skcnn.layers import AvgPool2D, Conv2D, Flatten, GlobalAvgPool2D, MaxPool2D, ReLU, Residual
from skcnn.optimizers import SGD

pytestmark = pytest.mark.slow  # a long battery: `make test` runs it

SMALL = {"conv_filters": (4,), "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


@description
class Doubled(ReLU):
    """A layer of somebody's own."""


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 8, 8)), rng.integers(0, 3, 60)


@pytest.fixture(scope="module")
def file(images, tmp_path_factory):
    """A fitted classifier, and the bytes of its file."""
    model = CNNClassifier(**SMALL, batch_norm=True).fit(*images)
    path = tmp_path_factory.mktemp("file") / "model.skcnn"
    skcnn.save(model, path)
    return model, path.read_bytes()


def header_of(content):
    start = len(files.MAGIC) + 8
    end = start + int.from_bytes(content[start - 8 : start], "little")
    return json.loads(content[start:end]), content[end:]


def with_header(header, body, *, seal=True):
    """A file of another header, whose checksum is right."""
    if seal:
        header = header | {"crc32": zlib.crc32(body)}
    text = json.dumps(header).encode()
    text += b" " * (-(len(files.MAGIC) + 8 + len(text)) % files.ALIGNMENT)
    return files.MAGIC + len(text).to_bytes(8, "little") + text + body


VARIANTS = {
    "classes": lambda X, y: CNNClassifier(**SMALL).fit(X, y),
    "float32": lambda X, y: CNNClassifier(**SMALL, dtype="float32").fit(X, y),
    "two words": lambda X, y: CNNClassifier(**SMALL).fit(X, np.where(y > 0, "yes", "no")),
    "objects": lambda X, y: CNNClassifier(**SMALL).fit(X, np.where(y > 0, "yes", "no").astype(object)),
    "labels": lambda X, y: CNNClassifier(**SMALL).fit(X, np.stack([y > 0, y > 1], 1).astype(int)),
    "weights": lambda X, y: CNNClassifier(**SMALL, class_weight={0: 1.0, 1: 2.5, 2: np.float64(3)}).fit(X, y),
    "numbers of NumPy": lambda X, y: CNNClassifier(**SMALL | {"max_iter": np.int64(2)}, alpha=np.float32(0.1)).fit(
        X, y
    ),
    "random state": lambda X, y: CNNClassifier(**SMALL | {"random_state": np.random.RandomState(3)}).fit(X, y),
    "descriptions": lambda X, y: CNNClassifier(**SMALL, optimizer=SGD(momentum=0.8), activation=ReLU()).fit(X, y),
    "list of layers": lambda X, y: CNNClassifier(layers=CNNClassifier(**SMALL).fit(X, y).layers_, max_iter=1).fit(X, y),
    "validation": lambda X, y: CNNClassifier(**SMALL, early_stopping=True).fit(X, y),
    "regression": lambda X, y: CNNRegressor(**SMALL).fit(X, y),
    "two outputs": lambda X, y: CNNRegressor(**SMALL).fit(X, np.stack([y, -y], 1)),
    "rows": lambda X, y: CNNClassifier(**SMALL, input_shape=(8, 8)).fit(X.reshape(60, 64), y),
}


@pytest.mark.parametrize("build", VARIANTS.values(), ids=VARIANTS)
def test_what_is_loaded_is_what_was_saved(build, images, tmp_path):
    X, y = images
    model = build(X, y)
    skcnn.save(model, tmp_path / "model.skcnn")
    loaded = skcnn.load(tmp_path / "model.skcnn")
    assert type(loaded) is type(model)
    told = [{k: v for k, v in m.get_params().items() if k != "random_state"} for m in (model, loaded)]
    assert repr(told[0]) == repr(told[1])
    X = X.reshape(len(X), -1) if len(X.shape) == 3 and model.input_shape else X
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.predict(X).dtype == model.predict(X).dtype
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(loaded.classes_, model.classes_)
    assert str(loaded.history_) == str(model.history_)  # NaN is not equal to itself
    assert loaded.layers_ == model.layers_
    assert not next(iter(loaded.parameters_.values())).flags.writeable


def test_training_goes_on_where_it_was(images, tmp_path):
    whole = CNNClassifier(**SMALL).fit(*images)
    parts = CNNClassifier(**SMALL)
    for _ in range(2):
        parts.partial_fit(*images, classes=[0, 1, 2])
        skcnn.save(parts, tmp_path / "parts.skcnn")
        parts = skcnn.load(tmp_path / "parts.skcnn")
    np.testing.assert_array_equal(parts.predict_proba(images[0]), whole.predict_proba(images[0]))


def test_names_of_columns_and_models_that_are_not_fitted(images, tmp_path):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(images[0].reshape(60, 64), columns=[f"pixel {i}" for i in range(64)])
    skcnn.save(CNNClassifier(**SMALL).fit(X, images[1]), tmp_path / "named.skcnn")
    assert list(skcnn.load(tmp_path / "named.skcnn").feature_names_in_) == list(X.columns)


def test_a_model_that_is_not_fitted(tmp_path):
    skcnn.save(CNNClassifier(**SMALL), tmp_path / "new.skcnn")
    assert repr(skcnn.load(tmp_path / "new.skcnn")) == repr(CNNClassifier(**SMALL))


def test_a_file_is_little_more_than_its_weights(file):
    model, content = file
    assert len(content) < 4_600 + 8 * (model.n_parameters_ + sum(array.size for array in model.state_.values()))


def test_classes_of_your_own_have_to_be_named(images, tmp_path):
    path = tmp_path / "own.skcnn"
    skcnn.save(CNNClassifier(**SMALL, activation=Doubled()).fit(*images), path)
    with pytest.raises(ValueError, match=r"names a class 'Doubled'.*classes="):
        skcnn.load(path)
    assert skcnn.load(path, classes=[Doubled]).activation == Doubled()


def namesakes():
    """Classes of somebody's own that are called like those of the package."""
    return [description(type(cls.__name__, (cls,), {"__module__": __name__})) for cls in (ReLU, Conv2D)]


@pytest.mark.parametrize("load", [skcnn.load, skcnn.runtime.load])
def test_a_class_of_your_own_is_never_taken_for_its_namesake(load, images, tmp_path):
    path = tmp_path / "namesakes.skcnn"
    own = OwnReLU, OwnConv2D = namesakes()
    layers = [OwnConv2D(2), OwnReLU(), Conv2D(2), ReLU(), GlobalAvgPool2D()]
    skcnn.save(CNNClassifier(layers=layers, max_iter=1).fit(*images), path)
    for classes in ([], [OwnReLU], [OwnConv2D], [OwnReLU, Conv2D], [ReLU, Conv2D]):
        with pytest.raises(ValueError, match=r"names a class '(ReLU|Conv2D)'.*classes="):
            load(path, classes=classes)
    found = load(path, classes=own)
    network = found._predictor.network
    assert [type(layer) for layer in network.hidden] == [type(layer) for layer in layers]


def test_a_file_that_does_not_mark_whose_classes_it_names_can_be_read(images, tmp_path):
    path = tmp_path / "own.skcnn"
    skcnn.save(CNNClassifier(**SMALL, activation=Doubled()).fit(*images), path)
    header, body = header_of(path.read_bytes())
    text = json.dumps(header)
    assert ', "own": true' in text
    path.write_bytes(with_header(json.loads(text.replace(', "own": true', "")), body))
    assert skcnn.load(path, classes=[Doubled]).activation == Doubled()


def test_what_cannot_be_saved_leaves_the_old_file(file, tmp_path):
    path = tmp_path / "model.skcnn"
    skcnn.save(file[0], path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"class_weight is a type.*joblib"):
        skcnn.save(CNNClassifier(class_weight=int), path)
    with pytest.raises(TypeError, match="save takes a CNNClassifier or CNNRegressor, got dict"):
        skcnn.save({}, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.skcnn"]


def test_random_numbers_that_cannot_be_saved_are_an_error_before_anything_is_written(images, tmp_path):
    model = CNNClassifier(**SMALL | {"random_state": np.random.RandomState(np.random.PCG64(0))}).fit(*images)
    with pytest.raises(TypeError, match=r"random_state is a RandomState of PCG64, .* MT19937 only.*joblib"):
        skcnn.save(model, tmp_path / "model.skcnn")
    assert not list(tmp_path.iterdir())


def test_the_longest_names_and_what_a_killed_process_leaves(file, monkeypatch, tmp_path):
    path = tmp_path / ("x" * 249 + ".skcnn")
    skcnn.save(file[0], path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    with monkeypatch.context() as killed:
        killed.setattr("skcnn._engine.files.os.fsync", lambda number: 1 / 0)
        killed.setattr("skcnn._engine.files.Path.unlink", lambda path, missing_ok: None)
        with pytest.raises(ZeroDivisionError):
            skcnn.save(file[0], path)
    left = [entry.name for entry in tmp_path.iterdir() if entry != path]
    assert len(left) == 1
    assert re.fullmatch(r"\.skcnn-[0-9a-f]{16}\.part", left[0])
    assert path.read_bytes() == file[1]


WRITER = """
import os, sys, time
from skcnn._engine import files

def halt(number):
    print("writing", flush=True)
    time.sleep(60)

os.fsync = halt
with files.whole_file(files.Path(sys.argv[1])) as file:
    file.write(b"x" * 100_000)
"""


@pytest.mark.skipif(files.fcntl is None, reason="Windows removes no file that is open")
def test_what_a_killed_process_has_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(file, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", WRITER, str(tmp_path / "other")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "writing\n"
            (left,) = tmp_path.iterdir()
            assert re.fullmatch(r"\.skcnn-[0-9a-f]{16}\.part", left.name)
            skcnn.save(file[0], tmp_path / "model")
            assert sorted(tmp_path.iterdir()) == [left, tmp_path / "model"]
        finally:
            process.kill()
    (tmp_path / ".skcnn-of-somebody-else").write_bytes(b"")
    skcnn.save(file[0], tmp_path / "model")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".skcnn-of-somebody-else", "model"]
    assert (tmp_path / "model").read_bytes() == file[1]


def test_a_checkpoint_removes_what_killed_fits_have_left(images, tmp_path):
    for number in range(3):
        (tmp_path / f".skcnn-{number}.part").write_bytes(b"half of a file"[:number])
    CNNClassifier(**SMALL).set_callbacks(Checkpoint(tmp_path / "model")).fit(*images)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


# -- file objects


class Unseekable:
    """As a socket or a pipe: it can be written or read once."""

    def __init__(self, content=b""):
        self.buffer = io.BytesIO(content)

    def write(self, data):
        return self.buffer.write(data)

    def read(self, size=-1):
        return self.buffer.read(size)


def test_models_are_written_to_file_objects_and_read_from_them(file, images, tmp_path):
    model, content = file
    for target in (io.BytesIO(), Unseekable()):
        skcnn.save(model, target)
        written = target.getvalue() if isinstance(target, io.BytesIO) else target.buffer.getvalue()
        assert written == content  # the same as in a file, and the object is left open
    for load in (skcnn.load, skcnn.runtime.load):
        for source in (io.BytesIO(content), Unseekable(content)):
            np.testing.assert_array_equal(load(source).predict_proba(images[0]), model.predict_proba(images[0]))
    with gzip.open(tmp_path / "model.gz", "wb") as packed:
        skcnn.save(model, packed)
    with gzip.open(tmp_path / "model.gz") as packed:
        assert skcnn.load(packed).n_iter_ == 2
    with (tmp_path / "raw").open("wb", buffering=0) as raw:
        skcnn.save(CNNRegressor(**SMALL).fit(*images), raw)
    assert skcnn.load(tmp_path / "raw").n_iter_ == 2
    with (tmp_path / "raw").open("rb", buffering=0) as raw:
        assert skcnn.runtime.load(raw).name == "CNNRegressor"


def test_a_pipe_takes_a_model_piece_by_piece(file):
    reading, writing = os.pipe()
    parts = []

    def receive():
        with os.fdopen(reading, "rb") as source:
            parts.append(source.read())

    thread = threading.Thread(target=receive)
    thread.start()
    with os.fdopen(writing, "wb", buffering=0) as target:
        skcnn.save(file[0], target)
    thread.join()
    assert parts == [file[1]]


def test_a_file_object_is_read_from_where_it_stands(file, images):
    stream = io.BytesIO()
    stream.write(b"something else")
    skcnn.save(file[0], stream)
    for load in (skcnn.load, skcnn.runtime.load):
        with pytest.raises(ValueError, match=r"BytesIO.* cannot be loaded: it is empty.*seek\(0\)"):
            load(stream)
        stream.seek(len(b"something else"))
        np.testing.assert_array_equal(load(stream).predict(images[0]), file[0].predict(images[0]))


@pytest.mark.parametrize("load", [skcnn.load, skcnn.runtime.load])
def test_what_is_neither_a_path_nor_a_binary_file_is_told_so(load, file, tmp_path):
    for wrong in (None, 3, b"model"):
        with pytest.raises(TypeError, match="Expected a path, or a file object with a read method, got"):
            load(wrong)
        with pytest.raises(TypeError, match="Expected a path, or a file object with a write method, got"):
            skcnn.save(file[0], wrong)
    with pytest.raises(TypeError, match=r"is a text file: open it in binary mode, open\(path, 'rb'\)"):
        load(io.StringIO("model"))
    with (tmp_path / "text").open("w") as text, pytest.raises(TypeError, match=r"binary mode, open\(path, 'wb'\)"):
        skcnn.save(file[0], text)


def test_a_file_has_the_rights_of_any_new_file(file, tmp_path):
    skcnn.save(file[0], tmp_path / "model.skcnn")
    (tmp_path / "other").write_bytes(b"")
    assert (tmp_path / "model.skcnn").stat().st_mode == (tmp_path / "other").stat().st_mode


def changed(content, **changes):
    header, body = header_of(content)
    return with_header(header | changes, body)


def in_state(content, key, value):
    header, body = header_of(content)
    return with_header(header | {"state": header["state"] | {key: value}}, body)


def described(name, kind="Loss", **fields):
    return {"description": name, "kind": kind, "fields": fields}


def strings(*words):
    return {"strings": list(words), "object": False, "shape": [len(words)]}


def in_history(content, key, value):
    pairs = header_of(content)[0]["state"]["history_"]["dict"]
    return in_state(content, "history_", {"dict": [*(pair for pair in pairs if pair[0] != key), [key, value]]})


def in_record(content, record, key, value):
    held = header_of(content)[0]["state"][record]
    return in_state(content, record, held | {"fields": held["fields"] | {key: value}})


def in_trend(content, key, value):
    trend = header_of(content)[0]["state"]["_progress"]["fields"]["trend"]
    return in_record(content, "_progress", "trend", trend | {"fields": trend["fields"] | {key: value}})


BROKEN = {
    "nothing": (lambda c: b"", "it is empty"),
    "pickle": (lambda c: b"\x80\x04K\x01.", "not a file that skcnn.save has written"),
    "cut in the header": (lambda c: c[:100], "cut off"),
    "cut in the arrays": (lambda c: c[:-200], "damaged or cut off"),
    "a flipped bit": (lambda c: c[:-70] + bytes([c[-70] ^ 4]) + c[-69:], "damaged"),
    "no JSON": (lambda c: c[:20] + b"}" + c[21:], "header is damaged"),
    "newer": (lambda c: changed(c, format=99, skcnn="7.0"), "skcnn 7.0.*upgrade"),
    "another estimator": (lambda c: changed(c, estimator="os.system"), "os.system"),
    "other arrays": (lambda c: changed(c, arrays=[{"dtype": "object", "shape": [1]}]), "dtype 'object'"),
    "huge array": (lambda c: changed(c, arrays=[{"dtype": "int8", "shape": [10**12]}]), "larger than the file"),
    "negative array": (lambda c: changed(c, arrays=[{"dtype": "int8", "shape": [-1]}]), "shape"),
    "a method": (lambda c: in_state(c, "predict", 1), "sets 'predict'"),
    "what a checkpoint has found": (lambda c: in_state(c, "_earlier", 1), "sets '_earlier'"),
    "callbacks": (lambda c: in_state(c, "_skl_callbacks", [1]), "sets '_skl_callbacks'"),
    "a meta-estimator": (lambda c: in_state(c, "_parent_callback_ctx", None), "sets '_parent_callback_ctx'"),
    "what is asked for": (lambda c: in_state(c, "_metadata_request", 1), "sets '_metadata_request'"),
    "an unfinished fit": (lambda c: in_state(c, "_unfinished", 1), "sets '_unfinished'"),
    "a parameter": (lambda c: in_state(c, "max_iter", -3), "max_iter"),
    "an unknown class": (lambda c: in_state(c, "loss", described("eval")), "names a class 'eval'"),
    "a wrong field": (lambda c: in_state(c, "loss", described("LogLoss", x=1)), "fit together"),
    "a wrong value": (lambda c: in_state(c, "loss", {"code": "1"}), "does not write"),
    "other classes": (
        lambda c: in_state(c, "classes_", {"strings": ["a"], "object": True, "shape": [1]}),
        "its classes",
    ),
    "a shape that is a list": (lambda c: in_state(c, "input_shape_", [8, 8, 1]), "images"),
    "other images": (lambda c: in_state(c, "input_shape_", {"tuple": [8, 8, 2]}), "images"),
    "a channel that is no count": (lambda c: in_state(c, "input_shape_", {"tuple": [8, 8, 1.0]}), "images"),
    "an optimizer of arrays": (
        lambda c: in_record(c, "_progress", "optimizer", {"tuple": ["Adam", {"array": 0}]}),
        "training state is not valid",
    ),
    "no model": (lambda c: in_state(c, "_model", 3), "model is not a model"),
    "a loss of another task": (lambda c: in_state(c, "loss", "poisson"), "loss for regression"),
    "a fit with a loss of another task": (lambda c: in_record(c, "_model", "loss", "huber"), "loss for regression"),
    "an unknown loss": (lambda c: in_state(c, "loss", "relu"), "not a known name"),
    "classes not in order": (lambda c: in_state(c, "classes_", strings("b", "a", "c")), "classes are not sorted"),
    "words as wide as one": (lambda c: in_state(c, "classes_", strings("a" * 40_000, *[""] * 20_000)), "too large"),
    "names as wide as one": (
        lambda c: in_state(c, "feature_names_in_", strings("a" * 40_000, *[""] * 20_000)),
        "too large",
    ),
    "classes twice": (lambda c: in_state(c, "classes_", strings("a", "a", "c")), "classes are not sorted"),
    "layers of another network": (lambda c: in_state(c, "layers_", []), "layers_"),
    "a history of words": (lambda c: in_history(c, "loss", ["low"]), "history"),
    "a history of nothing": (lambda c: in_history(c, "loss", None), "history"),
    "a history of something else": (lambda c: in_history(c, "relu", []), "fit together"),
    "no answer": (lambda c: in_state(c, "_goes_on", {"array": 0}), "training state is not valid"),
    "no progress": (lambda c: in_state(c, "_progress", None), "training state is not valid"),
    "half an epoch": (lambda c: in_record(c, "_progress", "epochs", 0.5), "has no valid epochs"),
    "a schedule of words": (lambda c: in_record(c, "_progress", "schedule", "cosine"), "has no valid schedule"),
    "a negative seed": (lambda c: in_record(c, "_progress", "seed", -1), "training state is not valid"),
    "a trend of words": (lambda c: in_trend(c, "factor", "up"), "has no valid factor"),
    "slots of other layers": (lambda c: in_record(c, "_progress", "slots", {"array": 0}), "does not fit its layers"),
    "deep": (lambda c: in_state(c, "layers", json.loads("[" * 900 + "]" * 900)), "more than 128 levels deep"),
    "deep and not in the state": (lambda c: changed(c, more=json.loads("[" * 900 + "]" * 900)), "levels deep"),
    "many": (lambda c: in_state(c, "layers", [described("ReLU")] * 70_000), r"describes 70,\d+ layers .* 65,536"),
    "words as wide as one in many arrays": (
        lambda c: in_state(c, "layers", [strings("a" * 10_000, *[""] * 10_000)] * 3),
        "too large",
    ),
}


@pytest.mark.parametrize(("breaks", "message"), BROKEN.values(), ids=BROKEN)
def test_other_bytes_are_refused(breaks, message, file, tmp_path):
    path = tmp_path / "broken.skcnn"
    path.write_bytes(breaks(file[1]))
    with pytest.raises(ValueError, match=message):
        skcnn.load(path)


@pytest.mark.parametrize("deep", [200, 5000])
def test_depth_is_bound_whatever_python_allows(deep, file, tmp_path):
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        text = with_header(
            {**header_of(file[1])[0], "more": json.loads("[" * deep + "]" * deep)}, header_of(file[1])[1]
        )
        (tmp_path / "deep.skcnn").write_bytes(text)
        for load in (skcnn.load, skcnn.runtime.load):
            with pytest.raises(ValueError, match=r"deep\.skcnn.*more than 128 levels deep"):
                load(tmp_path / "deep.skcnn")
    finally:
        sys.setrecursionlimit(before)


def nested(levels):
    """A layer within a layer, and so on."""
    layer = ReLU()
    for _ in range(levels):
        layer = Residual([layer])
    return [layer, Flatten()]


def test_layers_may_be_nested_deeply_and_no_deeper_than_they_can_be_read(images, tmp_path):
    path = tmp_path / "deep.skcnn"
    model = CNNClassifier(layers=nested(35), max_iter=1).fit(*images)
    skcnn.save(model, path)
    np.testing.assert_array_equal(skcnn.load(path).predict_proba(images[0]), model.predict_proba(images[0]))
    with pytest.raises(ValueError, match=r"CNNClassifier cannot be saved: .* more than 128 levels deep\. joblib\.dump"):
        skcnn.save(CNNClassifier(layers=nested(50)), path)
    assert skcnn.load(path).layers == nested(35), "the file that was there is meant to stay"


def test_more_layers_than_a_file_may_describe_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match=r"CNNClassifier cannot be saved: it describes 70,\d+ layers"):
        skcnn.save(CNNClassifier(layers=[ReLU()] * 70_000), tmp_path / "many.skcnn")
    assert not list(tmp_path.iterdir())


def test_any_change_of_any_byte_is_a_clear_error_or_none_at_all(file, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "fuzzed.skcnn"
    header, body = header_of(file[1])
    text = json.dumps(header).encode()
    refused = 0
    for _ in range(300):
        damaged = bytearray(text)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(32, 127)
        content = files.MAGIC + len(damaged).to_bytes(8, "little") + bytes(damaged) + body
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", skcnn.VersionWarning)  # a digit of the version may change
                skcnn.load(path)
        except ValueError as error:  # and nothing else
            refused += "fuzzed.skcnn" in str(error)
    assert refused > 100


def test_a_network_whose_arrays_could_not_be_made_is_refused(images, tmp_path):
    model = CNNClassifier(layers=[Conv2D(2), GlobalAvgPool2D()], max_iter=1).fit(*images)
    skcnn.save(model, tmp_path / "model.skcnn")
    content = (tmp_path / "model.skcnn").read_bytes()
    for padding in (10**6, 10**12):  # the weights are the same
        header, body = header_of(content)
        text = json.dumps(header).replace('"padding": "same"', f'"padding": {padding}')
        (tmp_path / "large.skcnn").write_bytes(with_header(json.loads(text), body))
        with pytest.raises(ValueError, match=r"large\.skcnn.*too large"):
            skcnn.load(tmp_path / "large.skcnn")


@pytest.mark.parametrize("load", [skcnn.load, skcnn.runtime.load])
@pytest.mark.parametrize("pool", [MaxPool2D, AvgPool2D])
@pytest.mark.parametrize("nested", [False, True])
def test_windows_that_would_take_forever_are_refused(load, pool, nested, images, tmp_path):
    path = tmp_path / "model.skcnn"
    layer = pool(7, strides=1, padding="same")
    layers = [Residual([layer, layer])] if nested else [layer, layer]
    skcnn.save(CNNClassifier(layers=[*layers, GlobalAvgPool2D()], max_iter=1).fit(*images), path)
    content = path.read_bytes()
    for size, far in ((12, False), (100, False), (400, True), (1000, True), (10**5, True), (10**12, True)):
        header, body = header_of(content)
        text = json.dumps(header).replace('"pool_size": 7', f'"pool_size": {size}')
        path.write_bytes(with_header(json.loads(text), body))
        if far:
            with pytest.raises(ValueError, match=r"model\.skcnn.*windows of its layer .* too large"):
                load(path)
        else:
            assert len(load(path).predict(images[0][:2])) == 2


def test_windows_as_large_as_a_large_image_are_loaded(tmp_path):
    rng, y = np.random.default_rng(0), [0, 1, 0, 1]
    cases = (
        ((100, 100, 1), AvgPool2D(100)),
        ((1, 20_000, 1), MaxPool2D((1, 20_000))),
        ((600, 600, 1), Conv2D(1, kernel_size=600, padding="valid")),
    )
    for shape, layer in cases:
        X = rng.normal(size=(4, *shape)).astype(np.float32)
        model = CNNClassifier(layers=[layer, Flatten()], max_iter=1, batch_size=4).fit(X, y)
        skcnn.save(model, tmp_path / "model.skcnn")
        np.testing.assert_array_equal(skcnn.load(tmp_path / "model.skcnn").predict(X), model.predict(X))


def test_a_border_that_would_not_fit_in_memory_is_refused(images, tmp_path):
    model = CNNClassifier(layers=[Conv2D(2, kernel_size=1, strides=9, padding=1), GlobalAvgPool2D()], max_iter=1)
    skcnn.save(model.fit(*images), tmp_path / "model.skcnn")
    header, body = header_of((tmp_path / "model.skcnn").read_bytes())
    text = json.dumps(header).replace('"strides": 9', '"strides": 20000').replace('"padding": 1', '"padding": 20000')
    (tmp_path / "model.skcnn").write_bytes(with_header(json.loads(text), body))
    with pytest.raises(ValueError, match=r"windows of its layer 'conv1' are too large"):
        skcnn.load(tmp_path / "model.skcnn")


def places(value, path=()):
    """The paths to all values in JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


VALUES = [None, True, 0, -1, 2, 3.5, 2**70, "", "relu", "hinge", [], [1]]
VALUES += [{"tuple": [8, 8, 1]}, {"array": 1}, {"float": "nan"}]


def test_what_is_loaded_predicts_whatever_was_changed_in_the_header(file, images, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "fuzzed.skcnn"
    loaded, messages = 0, []
    for _ in range(200):
        header, body = header_of(file[1])
        found = [place for place in places(header) if place and place[0] in ("state", "arrays")]
        place, other = (found[i] for i in rng.integers(len(found), size=2))
        value = VALUES[rng.integers(len(VALUES))] if rng.random() < 0.7 else copy.deepcopy(at(header, other))
        at(header, place[:-1])[place[-1]] = value
        path.write_bytes(with_header(json.loads(json.dumps(header)), body))
        try:
            model = skcnn.load(path)
        except ValueError as error:
            messages.append(str(error))
            continue
        loaded += 1
        if hasattr(model, "classes_"):
            assert len(model.predict(images[0])) == len(images[0])
            assert model.decision_function(images[0]).shape == (60, 3)
    assert 5 < loaded < 150, "some changes are meant to be harmless, and most are not"
    assert all("fuzzed.skcnn" in message for message in messages)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        skcnn.load(tmp_path / "nowhere.skcnn")


def test_the_runtime_refuses_what_is_no_number_of_threads(file, images, tmp_path):
    path = tmp_path / "model.skcnn"
    for n_jobs in ("x", 0, True, 1.5, [2]):
        path.write_bytes(in_state(file[1], "n_jobs", n_jobs))
        with pytest.raises(ValueError, match=r"model\.skcnn.*n_jobs is '.*', which is not a number of threads"):
            skcnn.runtime.load(path)
    expected = file[0].predict(images[0])
    for n_jobs in (None, 2, -1, np.int64(2)):
        skcnn.save(copy.deepcopy(file[0]).set_params(n_jobs=n_jobs), path)
        np.testing.assert_array_equal(skcnn.runtime.load(path).predict(images[0]), expected)


def test_what_metadata_is_asked_for_is_kept(images, file, tmp_path):
    path = tmp_path / "model"
    with config_context(enable_metadata_routing=True):
        model = CNNRegressor(**SMALL).set_fit_request(X_val=True, sample_weight="weights").fit(*images)
        model.set_score_request(sample_weight=False)
        skcnn.save(model, path)
    asked = {"fit": {"X_val": True, "sample_weight": "weights"}, "score": {"sample_weight": False}}
    told = get_routing_for_object(skcnn.load(path))
    for method, wanted in asked.items():
        assert wanted.items() <= getattr(told, method).requests.items()
    assert not hasattr(file[0], "_metadata_request")
    np.testing.assert_array_equal(skcnn.runtime.load(path).predict(images[0]), model.predict(images[0]))


REQUESTS = [
    {"dict": [["fit", {"dict": [["foo", True]]}]]},
    {"dict": [["fit", {"dict": [["X_val", "not a name"]]}]]},
    {"dict": [["fit", {"dict": [["X_val", 3]]}]]},
    {"dict": [["fit", {"dict": [["X_val", [1]]]}]]},
    {"dict": [["__init__", {"dict": []}]]},
    {"dict": [["fit", True]]},
    [1],
    "fit",
]


@pytest.mark.parametrize("requests", REQUESTS, ids=str)
def test_metadata_that_nothing_takes_is_refused(requests, file, tmp_path):
    header, body = header_of(file[1])
    (tmp_path / "model").write_bytes(with_header(header | {"requests": requests}, body))
    with pytest.raises(ValueError, match=r"cannot be loaded|fit together"):
        skcnn.load(tmp_path / "model")


@pytest.mark.parametrize("load", [skcnn.load, skcnn.runtime.load])
def test_classes_that_are_none_do_not_blame_the_file(load, file, tmp_path):
    (tmp_path / "model").write_bytes(file[1])
    for classes in (Doubled, "Doubled", ["Doubled"], [Doubled()], [int], 3):
        with pytest.raises(TypeError, match=r"classes must be a list of classes .* got "):
            load(tmp_path / "model", classes=classes)
    assert load(tmp_path / "model", classes=(cls for cls in [Doubled])).input_shape_ == (8, 8, 1)


def test_weights_stay_read_only(file, tmp_path):
    model = file[0]
    (tmp_path / "model").write_bytes(file[1])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), skcnn.load(tmp_path / "model")):
        for array in (*other.parameters_.values(), *other.state_.values()):
            assert not array.flags.writeable
        assert other.partial_fit(np.zeros((2, 8, 8)), [0, 1]).n_iter_ == 3
