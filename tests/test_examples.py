"""Each example runs as a script, without warnings, and shows what it promises."""

import json
import os
import re
import runpy
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits

import skcnn
import skcnn.runtime

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.stem for path in (ROOT / "examples").glob("*.py")}


ENVIRONMENT = os.environ | {
    "MPLBACKEND": "Agg",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    "PYTHONWARNINGS": "error",
}


def run(name, directory):
    """What an example prints."""
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


def number(pattern, text):
    """The number in a line."""
    found = re.search(pattern, text)
    assert found, text
    return float(found[1].replace(",", ""))


def test_every_example_is_tested():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert tests >= EXAMPLES


def test_demo(tmp_path):
    printed = run("demo", tmp_path)
    assert number(r"Accuracy on 450 test digits: ([\d.]+)", printed) >= 0.985
    assert len(re.findall(r"^epoch .* val score", printed, flags=re.MULTILINE)) == 20
    assert "predicts the same" in printed
    picture = (tmp_path / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n")
    assert len(picture) > 20_000
    assert joblib.load(tmp_path / "demo.joblib").input_shape_ == (8, 8, 1)


def test_quickstart(tmp_path):
    printed = run("quickstart", tmp_path)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.97
    assert re.search(r"conv1 +Conv2D\(32\) +8 x 8 x 32 +320", printed)
    assert len(re.findall(r"is taken for a", printed)) == 3


def test_pipeline_and_grid_search(tmp_path):
    printed = run("pipeline_and_grid_search", tmp_path)
    assert number(r"on the test set: ([\d.]+)", printed) > 0.93
    for searched in ("cnn__kernel_size = 5", "cnn__layers = [Conv2D(16), ", "SGD(", "cnn__optimizer__momentum = 0.8"):
        assert searched in printed
    assert number(r"stopped after (\d+) of 50", printed) < 50


def test_own_architecture(tmp_path):
    printed = run("own_architecture", tmp_path)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.95
    assert "predicted alike: True" in printed
    assert "'layers__conv1__filters': " in printed
    assert "ValueError: layers must end with a flat output" in printed


def test_save_and_load(tmp_path):
    printed = run("save_and_load", tmp_path)
    weights = number(r"weights: ([\d,]+) bytes", printed)
    assert weights <= number(r"file: ([\d,]+) bytes", printed) < 1.1 * weights
    for promise in ("same probabilities", "weights in the file", "same accuracy", "as trained in one run"):
        assert f"{promise}: True" in printed
    assert "epochs: 5 before, 8 after" in printed
    assert list(tmp_path.glob("*.joblib")) == []


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_say_what_they_teach(name):
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert text.count("\n# %%\n") >= 4


def test_lines(tmp_path):
    printed = run("lines", tmp_path)
    assert number(r"after epoch 2: ([\d.]+)%", printed) == 100


def test_imbalanced(tmp_path):
    printed = run("imbalanced", tmp_path)
    plain, balanced, focal = (float(line.split()[-2]) for line in printed.splitlines()[-3:])
    assert plain < focal
    assert plain < balanced
    assert balanced > 0.8


def test_regression(tmp_path):
    printed = run("regression", tmp_path)
    assert number(r"\nR squared ([\d.]+)", printed) > 0.95
    assert number(r"by absolute error: R squared ([\d.]+)", printed) > 0.9


def test_folder_of_images(tmp_path):
    pytest.importorskip("PIL")
    printed = run("folder_of_images", tmp_path)
    rows = re.findall(r"is_a_(\d).png (\d): ", printed)
    assert len(rows) == 12
    assert sum(truth == first for truth, first in rows) >= 10


def test_files_of_other_kinds_in_a_folder_of_images(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    read = runpy.run_path(str(ROOT / "examples" / "folder_of_images.py"))["read"]
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    plain = image.fromarray(pixels)
    plain.save(tmp_path / "plain.png")
    np.testing.assert_array_equal(read(tmp_path / "plain.png", (6, 8, 1))[:, :, 0], pixels)
    turned = image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    plain.save(tmp_path / "turned.png", exif=turned)
    np.testing.assert_array_equal(read(tmp_path / "turned.png", (8, 6, 1))[:, :, 0], np.rot90(pixels, -1))
    for mode in ("LA", "RGBA"):
        image.new(mode, (8, 6), 0).save(tmp_path / f"{mode}.png")
    palette = image.new("P", (8, 6), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "P.png", transparency=1)
    for mode in ("LA", "RGBA", "P"):
        assert (read(tmp_path / f"{mode}.png", (6, 8, 3)) == 255).all()
    image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    image.fromarray(pixels.astype(np.float32) / 48).save(tmp_path / "decimals.tiff")
    for name in ("deep.png", "decimals.tiff"):
        with pytest.raises(ValueError, match=f"{name} does not have 8 bits"):
            read(tmp_path / name, (6, 8, 1))


def test_watching_a_fit(tmp_path):
    printed = run("watching_a_fit", tmp_path)
    assert "On disk is a model of 5 epochs." in printed
    assert "12 epochs; the same bits as a fit that never stopped: True" in printed


def test_looking_inside(tmp_path):
    printed = run("looking_inside", tmp_path)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.94
    assert "maps of residual1.relu1: (1, 8, 8, 32)" in printed
    most, least = (number(rf"without the 8 {which} salient pixels: (.*)", printed) for which in ("most", "least"))
    assert most < 3 * least < 0


def test_deep_features(tmp_path):
    printed = run("deep_features", tmp_path)
    pixels, features = number(r"SVM on pixels: ([\d.]+)", printed), number(r"on what conv2 gives: ([\d.]+)", printed)
    assert features > pixels + 0.02


def test_export_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    printed = run("export_onnx", tmp_path)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.97
    assert printed.count("same labels: True") == 2
    assert number(r"difference of a probability: (\S+)", printed) < 1e-5
    assert number(r"pipeline, largest difference: (\S+)", printed) < 1e-5
    assert re.search(r"^conv1/Conv +Conv$", printed, flags=re.MULTILINE)


def test_larger_than_memory(tmp_path):
    printed = run("larger_than_memory", tmp_path)
    converted = number(r"as float32: ([\d.]+) MB", printed)
    for what in ("fit on the memory map", "predict on the memory map", "one pass in chunks"):
        assert number(rf"{what}: ([\d.]+) MB", printed) < converted / 4
    assert number(r"after 10 chunks: ([\d.]+)", printed) > 0.85
    whole, chunked = (
        [(float(mean), float(spread)) for mean, spread in re.findall(r"([\d.]+) ± ([\d.]+)", line)]
        for line in re.findall(r"^(?:all images at once|chunks of 256 images).*±.*$", printed, flags=re.MULTILINE)
    )
    assert len(whole) == len(chunked) == 5
    for (mean, spread), (other, _) in zip(whole, chunked, strict=True):
        assert abs(mean - other) < spread
    assert whole[-1][0] < whole[0][0] / 5
    assert number(r"in the last: ([\d.]+)", printed) < 1e-5


def test_successive_halving(tmp_path):
    printed = run("successive_halving", tmp_path)
    assert re.findall(r"^ *(\d+) candidates with +(\d+) epochs$", printed, flags=re.MULTILINE) == [
        ("27", "2"),
        ("9", "6"),
        ("3", "18"),
    ]
    assert number(r"epochs of each fold: (\d+)", printed) * 3 == number(r"of the full grid: (\d+)", printed)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.96
    assert number(r"with what was drawn: ([\d.]+)", printed) > 0.95


def module(name):
    """A script of the served example, imported."""
    spec = util.spec_from_file_location(name, ROOT / "examples" / "serving" / f"{name}.py")
    found = util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server that runs, and the estimator whose file it has loaded."""
    directory = tmp_path_factory.mktemp("serving")
    assert number(r"accuracy on the test images ([\d.]+)", run("serving/train", directory)) > 0.97
    command = [sys.executable, str(ROOT / "examples" / "serving" / "app.py"), "digits.skcnn", "0"]
    with subprocess.Popen(command, cwd=directory, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://[\d.]+:\d+", server.stdout.readline())[0]
            yield url, skcnn.load(directory / "digits.skcnn")
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def images():
    return (load_digits().images[:40] * (255 / 16)).astype(np.uint8)


def probabilities(answer):
    return [list(prediction["probabilities"].values()) for prediction in answer["predictions"]]


def test_served_predictions_are_those_of_the_estimator(served, images):
    url, estimator = served
    client = module("client")
    status, answer = client.ask(url, client.as_bytes(images))
    assert status == 200
    np.testing.assert_array_equal(probabilities(answer), estimator.predict_proba(images))
    assert [prediction["class"] for prediction in answer["predictions"]] == [*map(str, estimator.predict(images))]
    status, answer = client.ask(url, client.as_bytes(images[3]))
    np.testing.assert_array_equal(probabilities(answer), estimator.predict_proba(images[3:4]))


def test_served_predictions_of_a_picture(served, images):
    image = pytest.importorskip("PIL.Image")
    url, estimator = served
    file = BytesIO()
    image.fromarray(images[7]).save(file, "PNG")
    status, answer = module("client").ask(url, file.getvalue())
    assert status == 200
    np.testing.assert_array_equal(probabilities(answer), estimator.predict_proba(images[7:8]))
    file = BytesIO()
    image.new("L", (3000, 3000)).save(file, "PNG")
    status, answer = module("client").ask(url, file.getvalue())
    assert status == 400
    assert "3000 x 3000 pixels" in answer["error"]


def test_eight_clients_at_once_get_the_answers_of_one(served, images):
    url, estimator = served
    client = module("client")
    expected = {n: estimator.predict_proba(images[:n]) for n in (1, 7, 40)}
    with ThreadPoolExecutor(8) as pool:
        sizes = [1, 7, 40, 1] * 12
        answers = pool.map(lambda n: client.ask(url, client.as_bytes(images[:n])), sizes)
        for n, (status, answer) in zip(sizes, answers, strict=True):
            assert status == 200
            np.testing.assert_array_equal(probabilities(answer), expected[n])


def test_bytes_that_are_no_image_are_answered_in_json(served, images):
    url, _ = served
    client = module("client")
    whole = client.as_bytes(images)
    pickled = BytesIO()
    np.save(pickled, np.array([{}]), allow_pickle=True)
    wrong = client.as_bytes(images[:, :5]), client.as_bytes(images / np.nan)
    for content in (b"", b"no image", whole[:-9], whole[:30], pickled.getvalue(), *wrong):
        status, answer = client.ask(url, content)
        assert status == 400
        assert set(answer) == {"error"}
        assert "<" not in answer["error"]
    status, answer = client.ask(url, bytes(2_000_000))
    assert status == 413
    assert client.ask(f"{url}/elsewhere", b"")[0] == 404


def array_file(header):
    """An array file with a header of one's own, and no data."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def chunk(kind, content):
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def damaged():
    """Files that make decoders raise other errors than those of values."""
    yield array_file("{'descr': '<f8', 'fortran_order': False, 'shape': (8, 8")
    yield array_file(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**70},)}}")
    yield array_file("-" * 5_000 + "1")
    start = b"\x89PNG\r\n\x1a\n"
    yield start + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)) + chunk(b"IDAT", b"")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    yield start + header + chunk(b"IDAT", zlib.compress(bytes(8 * 9))[:6]) + b"\0\0\0\5" + b"\xff" * 24


def test_files_that_break_decoders_are_answered_with_a_reason(served):
    pytest.importorskip("PIL")
    url, _ = served
    client = module("client")
    for content in damaged():
        status, answer = client.ask(url, content)
        assert status == 400
        assert answer["error"].startswith("Expected a PNG file of 8 x 8 pixels")


def test_a_picture_of_16_bits_is_refused_by_the_server(served):
    image = pytest.importorskip("PIL.Image")
    url, _ = served
    file = BytesIO()
    image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(file, "PNG")
    status, answer = module("client").ask(url, file.getvalue())
    assert status == 400
    assert "more than 8 bits" in answer["error"]


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (skcnn.CNNClassifier((2,), loss="hinge", max_iter=1), "gives no probabilities"),
        (skcnn.CNNRegressor((2,), max_iter=1), "A CNNRegressor has no predict_proba"),
    ],
)
def test_a_model_without_probabilities_is_not_served(tmp_path, images, estimator, reason):
    skcnn.save(estimator.fit(images, np.arange(40) % 3), tmp_path / "model.skcnn")
    with pytest.raises(ValueError, match=f"The server answers with probabilities.*{reason}"):
        module("app").application(skcnn.runtime.load(tmp_path / "model.skcnn"))


def test_a_served_answer_has_no_nan(images):
    class Overflowing:
        input_shape_ = (8, 8, 1)
        classes_ = np.arange(3)

        def predict_proba(self, X):
            return np.full((len(X), 3), np.nan)

    content = module("client").as_bytes(images)
    environ = {"PATH_INFO": "/predict", "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(content))}
    statuses = []
    respond = module("app").application(Overflowing())
    body = respond(environ | {"wsgi.input": BytesIO(content)}, lambda status, headers: statuses.append(status))
    assert statuses == ["400 Bad Request"]
    assert json.loads(b"".join(body)) == {"error": "The numbers of the image are too large."}


def test_a_server_starts_without_scikit_learn():
    code = "import sys, app; print({'sklearn', 'joblib', 'pandas', 'scipy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    directory = ROOT / "examples" / "serving"
    done = subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_serve_a_model(tmp_path):
    printed = run("serve_a_model", tmp_path)
    assert number(r"accuracy on the test images ([\d.]+)", printed) > 0.94
    assert "predicts the same: True" in printed
    assert "answers as the estimator's: True" in printed
    assert '400 {"error": "Expected a PNG file of 8 x 8 pixels' in printed


def test_search_on_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    printed = run("search_on_a_cluster", tmp_path)
    assert "workers: 2" in printed
    assert re.search(r"best of 9 on the cluster: {'conv_filters': \(16,\), 'learning_rate': 0.0\d+}", printed)
    assert "the same scores as in this process: True" in printed
