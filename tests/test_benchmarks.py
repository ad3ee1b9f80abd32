"""The scripts that measure, on a scale at which they are quick."""

import argparse
import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import baselines
import colour
import contenders
import cores
import equality
import few_images
import images
import large
import numpy as np
import output_layer
import pretrained
import pytest
import rounding
import scale
import search
import serving
import speed
import tilings
from networks import CLASSES, NETWORKS, PHOTOGRAPHS, ReferenceNetwork, torch_network

from skcnn import CNNClassifier
from skcnn._arrays import elementwise
from skcnn._engine import fusion, parallel
from skcnn._engine.network import Network
from skcnn._tape import convolution, products, tape, winograd
from skcnn.architecture import photos
from skcnn.layers import Conv2D, GlobalAvgPool2D, conv, dense

pytestmark = pytest.mark.slow


def test_photographs_are_learnt_from_a_set_that_is_made():
    X, y = colour.make(400)
    assert X.shape == (400, 32, 32, 3)
    assert X.dtype == np.uint8
    images = colour.split(X, y, test=False)
    _, classifier = colour.run(lambda: colour.small(12), images)
    assert classifier.score(*images[2:]) > 0.8


@pytest.mark.parametrize(
    "build", [colour.residual, *(partial(colour.record, width=8, **part) for part in colour.PARTS.values())]
)
def test_all_recipes_take_them(build):
    images = colour.split(*colour.make(40), test=False)
    _, classifier = colour.run(lambda: build(1), images)
    assert 0 <= classifier.score(*images[2:]) <= 1


def test_a_part_of_the_training_images_or_the_test_images_are_scored():
    X = y = np.arange(60_000)
    for test, rows, learnt in ((False, None, 40_000), (True, None, 50_000), (False, 500, 500)):
        found, _, scored, _ = colour.split(X, y, test=test, rows=rows)
        assert found.tolist() == list(range(learnt))
        assert scored.tolist() == list(range(50_000, 60_000) if test else range(40_000, 50_000))


def test_without_the_photographs_the_script_says_how_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SKCNN_DATA", str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", no_network)
    with pytest.raises(SystemExit):
        colour.load()
    assert "cifar10.npz" in capsys.readouterr().err


def test_networks_for_photographs_are_the_same_in_pytorch():
    torch = pytest.importorskip("torch")
    for network in PHOTOGRAPHS.values():
        module = torch_network(network).eval()
        bound = Network(network.layers, network.input_shape, CLASSES)
        assert sum(weights.numel() for weights in module.parameters()) == bound.weights.size
        with torch.inference_mode():
            assert module(torch.zeros(1, 3, 224, 224)).shape == (1, CLASSES)


def test_predictions_of_networks_for_photographs_are_compared():
    assert set(pretrained.NETS) == set(PHOTOGRAPHS)
    assert pretrained.parse(["--quick"]).rounds == 1
    assert pretrained.contenders("folder", 2)[0].name == "skcnn"
    network = ReferenceNetwork((16, 16, 3), (Conv2D(4), GlobalAvgPool2D()))
    assert len(contenders.skcnn_prediction_memory(network, 2)(1)) == 1


def test_baselines_are_measured_once_and_after_the_last_epoch(tmp_path, capsys, monkeypatch):
    file = tmp_path / "results.json"
    command = ["--synthetic", "--contenders", "LogisticRegression", "default", "--seeds", "2", "--epochs", "3"]
    baselines.main([*command, "--save", str(file)])
    first = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines()[2:]]
    assert [(name, rows, epochs, fits) for _, name, rows, epochs, _, fits, *_ in cells] == [
        ("LogisticRegression", "300", "", "1"),
        ("default", "300", "3", "2"),
    ]
    y_test = baselines.split("synthetic")[3]
    for fit in baselines.read(file):
        assert np.trace(fit.confusion) / 100 == fit.accuracy
        np.testing.assert_array_equal(np.sum(fit.confusion, axis=1), np.bincount(y_test))
        if fit.contender == "default":
            assert len(fit.loss) == len(fit.curve) == 3
            assert fit.curve[-1] == fit.accuracy
            for row, predicted, certainty in fit.errors:
                assert predicted != y_test[row]
                assert 0.25 < certainty <= 1
    monkeypatch.setattr(baselines, "fitted", None)
    baselines.main([*command, "--save", str(file)])
    assert capsys.readouterr().out == first
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "docs"))
    results = importlib.import_module("figures_results")
    results.draw(file, tmp_path)
    assert all((tmp_path / f"results_synthetic{end}.svg").stat().st_size > 5000 for end in ("", "_confusion"))
    fits = [replace(fit, data="mnist") for fit in baselines.read(file)]
    page = "# Page\n\n## MNIST\n\nText.\n\n| old |\n|---|\n\nMore text.\n\n| kept |\n"
    written = results.write_tables(fits, page)
    assert written.startswith("# Page\n\n## MNIST\n\nText.\n\n| classifier | training images |")
    assert written.endswith("|\n\nMore text.\n\n| kept |\n")
    best, other = written.splitlines()[8:10]
    assert best.startswith("| **default network** | 300 | 3 | ")
    assert " ± " in best
    assert other.startswith("| `LogisticRegression` | 300 |  | ")
    assert " ± " not in other


def test_each_set_of_images_has_other_rows_for_the_test():
    X, y, X_test, y_test = baselines.split("digits")
    assert (len(X), len(y), len(X_test), len(y_test)) == (1347, 1347, 450, 450)
    assert not {image.tobytes() for image in X} & {image.tobytes() for image in X_test}
    pixels = baselines.rows_of_pixels(X)
    assert pixels.shape == (1347, 64)
    assert (pixels.min(), pixels.max()) == (0, 1)


@pytest.mark.parametrize("name", equality.OPTIMIZERS)
def test_training_equals_that_of_pytorch_step_by_step(name):
    pytest.importorskip("torch")
    ours, theirs, difference = equality.compare(name, epochs=3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    assert ours[-1] < 0.8 * ours[0]
    assert difference < 1e-14


def test_few_images_are_measured_in_a_table(monkeypatch, capsys):
    names = [name for name in few_images.installed() if name != "PyTorch"]  # a second to import it
    monkeypatch.setattr("sys.argv", ["few_images.py", "--synthetic", "--seeds", "2", "--contenders", *names])
    few_images.main()
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert {line.count("|") for line in (head, rule, *rows)} == {3}
    assert [row.split("|")[1].strip() for row in rows] == names
    for row in rows:
        mean, _, half_range, *_ = row.split("|")[2].split()
        assert 0 <= float(mean) - float(half_range) <= float(mean) + float(half_range) <= 1


def test_the_twin_of_the_recipe_has_its_parameters_and_learns():
    pytest.importorskip("torch")
    X, y = colour.make(60)
    layers = photos(32, width=8)
    twin = few_images.TorchClassifier(layers, few_images.augmentation(X), epochs=12, seed=0).fit(X, y)
    ours = CNNClassifier(layers=layers, max_iter=1).fit(X, y)
    assert sum(p.numel() for p in twin.model.parameters()) == sum(  # running averages are buffers there
        p.size for name, p in ours.parameters_.items() if "running" not in name
    )
    assert twin.score(*colour.make(100, seed=1)) > 0.8


def test_photos_are_read_from_a_folder_and_divided(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, colour_of_all in (("a", (250, 0, 0)), ("b", (0, 0, 250))):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".hidden").write_text("no image")
        for number in range(3):
            image.new("RGB", (80, 40), colour_of_all).save(tmp_path / name / f"{number}.png")
    X, y = few_images.read_photos(tmp_path)
    np.testing.assert_array_equal(y, [0, 0, 0, 1, 1, 1])
    assert X.shape == (6, 64, 64, 3)
    np.testing.assert_array_equal(X[[0, 3], 32, 32], [(250, 0, 0), (0, 0, 250)])
    assert not X[:, :15].any()  # padded
    X_fit, y_fit, X_aside, y_aside = few_images.split("folder", 0, tmp_path)
    assert sorted([*y_fit, *y_aside]) == list(y)
    for part, classes in ((X_fit, y_fit), (X_aside, y_aside)):
        np.testing.assert_array_equal(part[:, 32, 32, 2] > 0, classes)


def test_as_many_images_of_each_class_are_drawn():
    y = np.random.default_rng(0).integers(3, size=90)
    X, drawn = few_images.of_each_class(np.arange(90), y, 5, seed=1)
    np.testing.assert_array_equal(np.bincount(drawn), [5, 5, 5])
    np.testing.assert_array_equal(y[X], drawn)
    assert len(set(X)) == 15


def test_gradients_of_an_edge_have_one_direction():
    edge = np.zeros((1, 16, 16))
    edge[:, :, 8:] = 1
    features = few_images.gradients(edge).reshape(-1, 9)
    assert features[:, 0].any()
    assert not features[:, 1:].any()
    np.testing.assert_array_equal(few_images.gradients(np.repeat(edge[..., None], 3, axis=3)).reshape(-1, 9), features)


def test_ways_to_bring_images_to_one_size_are_compared(tmp_path, capsys):
    pytest.importorskip("PIL")
    folder = images.draw_folder(tmp_path / "shapes", 4)
    assert [path.name for path in sorted(folder.iterdir())] == sorted(images.SHAPES)
    images.resize_table({"shapes": folder}, seeds=1, epochs=1)
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [name.strip() for name, _ in rows] == list(images.WAYS)
    assert all(0 <= float(cell.split()[0]) <= 1 for _, cell in rows)


def test_readers_of_files_are_timed(monkeypatch, tmp_path):
    pytest.importorskip("PIL")
    monkeypatch.delitem(images.READERS, "`torchvision.datasets.ImageFolder`")
    folder = images.write_files(tmp_path, "PNG, 64 x 64", 6)
    found = [read(folder) for read in images.READERS.values()]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])  # of that size, they all read the same pixels
    monkeypatch.setitem(images.READERS, "nothing", lambda folder: __import__("no_such_library"))
    *rows, missing = images.time_table({"PNG": folder}, rounds=1).splitlines()[2:]
    assert len(rows) == 3
    assert all(float(row.split("|")[2].replace(",", "")) > 0 for row in rows)
    assert missing == "| nothing | - |"


def test_speed_ups_are_counted_from_the_fewest_workers():
    times = {
        ("N1", 64, 8): {"processes": 2.0, "threads": 5.0, "PyTorch": 4.0},
        ("N1", 64, 1): {"processes": 8.0, "threads": 6.0, "PyTorch": 12.0},
    }
    one, eight = cores.table(times).splitlines()[2:]
    assert one == "| N1 | 64 | 1 | 8 | 6 | 12 | **0.50** | 1.0 | 1.0 |"
    assert eight == "| N1 | 64 | 8 | 2 | 5 | 4 | **0.50** | 3.0 | 3.0 |"


def test_searches_are_measured_in_tables():
    ways = {name: way for name, way in search.WAYS.items() if name.startswith("one worker")}
    head, rule, *rows = search.workers_table(1, images=60, ways=ways, grid={"alpha": [0.0]}).splitlines()
    assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert [row.split("|")[1].strip() for row in rows] == list(ways)
    speed_ups = [float(row.split("|")[3]) for row in rows]
    assert max(speed_ups) == 1  # they are counted from the faster of the two
    assert min(speed_ups) > 0


def test_halving_is_measured_against_the_grid():
    grid = {"learning_rate": [0.0, 1e-3, 1e-2]}
    full, halving = search.halving_table(1, images=60, epochs=9, workers=1, grid=grid).splitlines()[2:]
    assert "| 27 in each of 3 folds |" in full
    assert "| 6 in each of 3 folds |" in halving  # three candidates with one epoch, one with three


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


def test_initializers_of_the_output_layer_are_compared(monkeypatch, capsys):
    monkeypatch.setattr(output_layer, "RATES", (("adam", 1e-2),))
    monkeypatch.setattr(output_layer, "INITIALIZERS", ("zeros", "he"))
    monkeypatch.setattr(output_layer, "EPOCHS", (1, 4))
    monkeypatch.setenv("SKCNN_DATA", "nowhere")
    monkeypatch.setattr("sys.argv", ["output_layer.py", "--seeds", "1", "digits", "mnist"])
    output_layer.main()
    head, _, *rows, left_out = [line for line in capsys.readouterr().out.splitlines() if line]
    assert head == "| digits | epochs | zeros | he |"
    scores = [[float(cell) for cell in row.split("|")[3:-1]] for row in rows]
    assert all(10 < first < last <= 100 for first, last in zip(*scores, strict=True))
    assert left_out.startswith("mnist is left out: ")
    assert np.isnan(output_layer.scores("angles", "sgd", 1e9, "he", 0, (1,))).all()


def test_large_images_are_learnt_from(monkeypatch, capsys):
    monkeypatch.setattr(large, "SHAPES", 60)
    monkeypatch.setattr(large, "EPOCHS", 1)
    monkeypatch.setattr("sys.argv", ["large.py", "--sides", "32", "--seeds", "1"])
    large.main()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == list(large.NETWORKS)
    weights = {row[1]: int(row[2].replace(",", "")) for row in rows}
    assert min(weights, key=weights.get) == "(32, 64), global pooling"
    assert large.blocks(224, (32, 64)) == (32, 64, 64, 64, 64)
    X, y = large.shapes(24, 0, 90)
    areas = [np.abs(X[y == kind].astype(float) - 120).mean() for kind in range(3)]
    assert X.shape == (90, 24, 24, 3)
    assert max(areas) < 1.6 * min(areas)  # the brightness alone does not tell the shape


def test_requirements_are_followed_without_extras():
    found = serving.requirements("scikit-learn")
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"} <= found
    assert not found & {"pytest", "matplotlib", "pandas"}
    assert serving.requirements("a-distribution-that-is-not-there") == set()


def test_the_choice_is_compared_with_all_other_ways(monkeypatch, capsys):
    for name, value in {"SIDES": (4, 6), "CHANNELS": ((16, 16),), "WINDOWS": (3, (1, 3)), "SECONDS": 0.0}.items():
        monkeypatch.setattr(tilings, name, value)
    monkeypatch.setattr("sys.argv", ["tilings.py", "--convolutions", "3"])
    choose = convolution.choose_tiling
    tilings.main()
    assert convolution.choose_tiling is choose
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[3:]]
    assert [name.strip() for name, *_ in rows] == ["the choice", "directly", "8 x 8 or the largest"]
    assert all(1 <= float(ratios[0]) <= float(ratios[2]) for _, *ratios in rows)


def test_rounding_errors_are_measured_with_the_tiles_that_are_chosen(capsys):
    rounding.main(cases=((3, 24), ((1, 5), 16)), predicted=((3, 24),), images=8, channels=16)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["8", "3 x 3"], ["8", "1 x 5"], ["1", "3 x 3"]]
    tiles = [tuple(map(int, row[2].split(" x "))) for row in rows]
    assert min(tiles[0]) > 1
    assert tiles[1][0] == tiles[2][1] == 1 < min(tiles[1][1], tiles[2][0])  # along one axis only
    for row in rows:
        assert 1e-8 < float(row[6]) < float(row[3]) < 1e-4  # the direct convolution has the smaller error


def test_the_cost_of_an_image_is_measured_and_drawn(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    families = {"filters": ["filters 8"], "side": ["side 8"], "depth": ["depth 1"]}
    arguments = argparse.Namespace(threads=1, rounds=1, turn=0.001)
    record = scale.measure(arguments, families, images=(100,), others=(), product=64)  # a second to import PyTorch
    for (row,) in record["families"].values():
        assert 0 < row["flops"] / row["seconds"]["skcnn"] < 1e13  # no processor computes so many a second
    assert [images["images"] for images in record["images"]] == [100]
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context():
        scale.plot(record, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 1000


@pytest.mark.parametrize("technique", speed.TECHNIQUES)
def test_a_network_learns_the_same_without_a_technique(technique, monkeypatch):
    network = NETWORKS["N4"]
    X, y = contenders.random_images(network, 80)

    def learned():
        model = contenders._skcnn_classifier(network, max_iter=2).fit(X, y)
        return model.predict_proba(X[:1]), model.loss_curve_

    whole = learned()
    for holder, name in (
        *(
            (elementwise, "BUFFER"),
            (convolution, "choose_tiling"),
            (convolution, "row_tilings"),
            (convolution, "joined_group_count"),
            (winograd, "TILES"),
        ),
        *(
            (products, "RELEASED"),
            (fusion, "RULES"),
            (tape, "NARROW"),
            (conv.Convolution, "margin"),
            (dense, "record_rows"),
        ),
        (parallel.thread_count, "__code__"),
    ):
        monkeypatch.setattr(holder, name, getattr(holder, name))  # to have it back
    contenders.leave_out(technique)
    without = learned()
    for mine, expected in zip(without, whole, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4)


def test_a_technique_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no technique 'magic'"):
        contenders.leave_out("magic")
