"""The code of docs/with_other_libraries.md, section by section, where the library of the section is installed."""

import asyncio
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

import skcnn

PAGE = Path(__file__).parents[1] / "docs" / "with_other_libraries.md"
START, *SECTIONS = PAGE.read_text(encoding="utf-8").split("\n## ")


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def run(section, *libraries):
    """What the code of a section leaves behind, block after block."""
    for library in libraries:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports
            pytest.importorskip(library)
    (text,) = [text for text in SECTIONS if text.startswith(section)]
    found = {"__name__": "page"}
    left = []
    for block in [*blocks(START), *blocks(text)]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(?!skcnn)")  # what other libraries say to each other
            exec(compile(block, str(PAGE), "exec"), found)
        left.append(dict(found))
    return left[1:]


def test_every_section_is_run():
    here = Path(__file__).read_text(encoding="utf-8")
    with_code = [text.partition("\n")[0] for text in SECTIONS if blocks(text)]
    assert len(with_code) > 8
    for title in with_code:
        assert f'run("{title.partition(":")[0]}"' in here, title


def test_imbalanced_learn():
    rows, numbers = run("imbalanced-learn", "imblearn")
    assert rows["accuracy"] > 0.8
    counts = np.bincount(numbers["y_train"][numbers["chosen"][:, 0]])
    assert (counts == counts.max()).all()
    assert numbers["rare"].sum() < 400
    assert numbers["model"].score(numbers["X_test"], numbers["y_test"]) > 0.8


def test_optuna():
    for found in run("Optuna", "optuna"):
        states = [trial.state.name for trial in found["study"].trials]
        assert set(states) == {"COMPLETE", "PRUNED"}
        assert found["study"].best_value > 0.9
        pruned = found["study"].trials[states.index("PRUNED")]
        assert len(pruned.intermediate_values) < 10


def test_cleanlab():
    (found,) = run("cleanlab", "cleanlab")
    assert len(set(found["suspects"][:20]) & set(range(10))) >= 8


def test_cleanlabs_own_learner_takes_images():
    classification = pytest.importorskip("cleanlab.classification")
    (found,) = run("cleanlab", "cleanlab")
    learner = classification.CleanLearning(found["cnn"], seed=0).fit(found["X_train"], found["labels"])
    assert learner.score(found["X_test"], found["y_test"]) > 0.85
    assert learner.get_label_issues()["is_label_issue"][:10].sum() >= 8


def test_mapie_and_crepes():
    mapie, _ = run("MAPIE and crepes", "mapie", "crepes")
    assert 0.8 < mapie["covered"] < 1
    assert 0.8 < mapie["inside"] < 1


def test_crepes():
    _, found = run("MAPIE and crepes", "mapie", "crepes")
    sets = found["prediction_sets"]
    assert len(sets) == 200
    assert 0.8 < np.mean([truth in chosen for chosen, truth in zip(sets, found["y_test"], strict=True)]) < 1


def test_lime_and_shap():
    lime, found = run("lime and shap", "lime", "shap")
    assert lime["mask"].shape == (8, 8)
    assert lime["explanation"].top_labels[0] == lime["fitted"].predict(lime["X_test"][:1])[0]
    fitted, images = found["fitted"], found["X_test"][:2]
    total = found["values"].sum(axis=(1, 2, 3))  # shares of the difference to an empty image
    expected = fitted.predict_proba(images) - fitted.predict_proba(np.zeros((1, 8, 8)))
    np.testing.assert_allclose(total, expected, atol=1e-6)


def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = run("mlflow", "mlflow", "skops")
    history = mlflow.MlflowClient().get_metric_history(found["run"].info.run_id, "val_score")
    assert [metric.value for metric in history] == found["logged"].history_["val_score"]
    assert type(found["loaded"]) is skcnn.CNNClassifier
    assert_array_equal(found["loaded"].predict_proba(found["X_test"]), found["logged"].predict_proba(found["X_test"]))


def test_columns_beside_pixels():
    both, _ = run("ColumnTransformer and skrub", "skrub", "pandas")
    truth = both["y"][400:]
    alone = clone(both["cnn"]).fit(both["images"][:400], both["y"][:400]).predict(both["images"][400:])
    found = both["both"].predict(both["table"][400:])
    # The other column says whether a digit is less than 5.
    assert ((found < 5) == (truth < 5)).mean() > ((alone < 5) == (truth < 5)).mean()
    assert both["accuracy"] > (alone == truth).mean()
    assert both["both"][0].transform(both["table"][:1]).shape == (1, 32 + 2)


def test_skrub():
    _, alone = run("ColumnTransformer and skrub", "skrub", "pandas")
    assert alone["accuracy"] == _alone(alone) > 0.8


def _alone(found):
    """The accuracy of the network without the library."""
    images, y = found["images"], found["y"]
    return clone(found["cnn"]).fit(images[:400], y[:400]).score(images[400:], y[400:])


def test_polars():
    (found,) = run("polars", "polars")
    assert found["accuracy"] == _alone(found) > 0.8
    assert_array_equal(found["model"].feature_names_in_, [f"pixel{i}" for i in range(64)])
    with pytest.raises(ValueError, match="feature names"):
        found["model"].predict(found["table"].rename({"pixel0": "other"}))


def test_fastapi():
    (found,) = run("FastAPI", "fastapi")
    status, answer = post(found["app"], "/predict", found["X_test"][:3].tolist())
    assert status == 200
    assert answer["digit"] == found["cnn"].predict(found["X_test"][:3]).tolist()
    np.testing.assert_allclose(answer["probability"], found["cnn"].predict_proba(found["X_test"][:3]).max(axis=1))
    status, refused = post(found["app"], "/predict", [[[0.0, 1.0]]])
    assert status == 422
    assert "X has shape (1, 1, 2)" in refused["detail"]


def post(app, path, content):
    """Status and answer of an ASGI application, without a server."""
    body, sent = json.dumps(content).encode(), []
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"http_version": "1.1", "scheme": "http", "headers": [(b"content-type", b"application/json")]}

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
