"""The scripts that need data which is not here, on a small set that they make."""

import colour
import numpy as np
import pytest


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
