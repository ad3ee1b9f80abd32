"""Types of the README's lines, as mypy and pyright see them."""

import json
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

LINES = """
import numpy as np
import skcnn
from skcnn import CNNClassifier, CNNRegressor
from skcnn.layers import Conv2D, Flatten, ReLU

images, y = np.ones((10, 8, 8)), np.arange(10)
classifier = CNNClassifier((16, 32), hidden_layer_sizes=(64,), max_iter=10, random_state=0).fit(images, y)
reveal_type(classifier)
reveal_type(classifier.partial_fit(images, y))
reveal_type(classifier.predict(images))
reveal_type(classifier.predict_proba(images))
reveal_type(CNNRegressor(layers=[Conv2D(8), ReLU(), Flatten()]).fit(images, y))
reveal_type(skcnn.load("digits.skcnn").predict(images))
reveal_type(Conv2D(8).filters)
"""
WRONG = """
from skcnn import CNNClassifier

CNNClassifier(dtype="float16")
CNNClassifier(batch_size="many")
CNNClassifier(conv_filter=3)
"""
EXPECTED = ["CNNClassifier", "CNNClassifier", "ndarray", "ndarray", "CNNRegressor", "ndarray", "int"]


def mypy(text, tmp_path):
    api = pytest.importorskip("mypy.api")
    path = tmp_path / "lines.py"
    path.write_text(text)
    answer, _, _ = api.run([str(path), "--no-error-summary", "--cache-dir", str(tmp_path / "cache")])
    return answer.splitlines()


def test_mypy_sees_the_types(tmp_path):
    found = [line.split('"')[1] for line in mypy(LINES, tmp_path)]
    assert len(found) == len(EXPECTED)
    for text, expected in zip(found, EXPECTED, strict=True):
        assert text.partition("[")[0].rsplit(".", 1)[-1].removeprefix("builtins.") == expected, text


def test_mypy_sees_mistakes(tmp_path):
    assert len([line for line in mypy(WRONG, tmp_path) if ": error: " in line]) == 3


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_sees_the_types(tmp_path):
    (tmp_path / "lines.py").write_text(LINES)
    command = ["pyright", "--pythonpath", sys.executable, "--outputjson", str(tmp_path / "lines.py")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [entry["message"].split(' is "')[1] for entry in json.loads(answer.stdout)["generalDiagnostics"]]
    assert len(found) == len(EXPECTED)
    for text, expected in zip(found, EXPECTED, strict=True):
        assert text.startswith(expected), text
