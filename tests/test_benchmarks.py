"""The scripts that need data which is not here, on a small set that they make."""

from pathlib import Path

import colour
import numpy as np
import pytest
import serving


def test_photographs_are_learnt_from_a_set_that_is_made():
    X, y = colour.make(400)
    assert X.shape == (400, 32, 32, 3)
    assert X.dtype == np.uint8
    _, accuracy = colour.run("small", X, y, epochs=12)
    assert accuracy > 0.8


def test_the_residual_network_takes_them():
    X, y = colour.make(40)
    _, accuracy = colour.run("residual", X, y, epochs=1)
    assert 0 <= accuracy <= 1


def test_without_the_photographs_the_script_says_how_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SKCNN_DATA", str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", no_network)
    with pytest.raises(SystemExit):
        colour.load()
    assert "cifar10.npz" in capsys.readouterr().err


def test_what_serving_takes_is_measured_in_fresh_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    serving.prepare(tmp_path)
    names = [serving.US, "NumPy alone"]
    samples = serving.measure(names, 1, tmp_path)
    for name in names:
        assert 10 < samples[name]["start-up"][0] < 60_000
        assert 10 < samples[name]["memory"][0] < 500
    for line in serving.formats(tmp_path, 1).splitlines()[2:]:
        assert 0.8 < float(line.split("|")[-2]) < 1.1
    sizes = serving.installations([*names, "skcnn.load"])
    assert sizes["NumPy alone"] < sizes[serving.US] < sizes["skcnn.load"]
    assert serving.table(samples, sizes).count("\n") == 3


def test_requirements_are_followed_without_extras():
    found = serving.requirements("scikit-learn")
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"} <= found
    assert not found & {"pytest", "matplotlib", "pandas"}
    assert serving.requirements("a-distribution-that-is-not-there") == set()
