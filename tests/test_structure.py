"""The project's own rules: which module may import which, that every row is there, that nothing prints."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import cases
import pytest

import skcnn
import skcnn._engine.fusion
import skcnn.augmentation
import skcnn.initializers
import skcnn.layers
import skcnn.losses
import skcnn.optimizers
import skcnn.schedules
from skcnn.description import Description

PACKAGE = Path(skcnn.__file__).parent
RANKS = [
    ["_version"],
    ["versions", "_arrays", "description"],
    ["_tape"],
    ["layers", "losses", "optimizers", "schedules", "initializers", "augmentation"],
    ["architecture", "_engine"],
    ["_estimators", "runtime", "testing"],
    ["classifier", "regressor"],
    ["features", "saliency", "profiling"],
    ["display", "persistence", "onnx"],
    ["callbacks"],
    ["__init__"],
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
LATE = set()  # functions of an estimator, imported when they are called
KINDS = {
    "layers": (skcnn.layers.Layer, [case.layer for case in cases.LAYERS]),
    "losses": (skcnn.losses.Loss, cases.LOSSES),
    "optimizers": (skcnn.optimizers.Optimizer, cases.OPTIMIZERS),
    "schedules": (skcnn.schedules.Schedule, cases.SCHEDULES),
    "initializers": (skcnn.initializers.Initializer, cases.INITIALIZERS),
    "augmentation": (skcnn.augmentation.Augmentation, cases.AUGMENTATIONS),
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def owner(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def relative_imports(path):
    """(module of the package, whether at import time) for each import of the package's own."""
    tree = ast.parse(path.read_text())
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            inside = node.level < depth  # of the same subpackage
            names = [owner(path)] if inside else [(node.module or alias.name).split(".")[0] for alias in node.names]
            for name in names:
                yield name, node in tree.body


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_strictly_upwards(path):
    mine = owner(path)
    assert mine in RANK, f"give {mine} a rank"
    for name, at_import in relative_imports(path):
        if name == mine:
            continue
        if name in LATE and mine == "estimators":
            assert not at_import, f"{mine} imports {name} at import time"
        else:
            assert RANK[name] < RANK[mine], f"{mine} imports {name}"


def test_the_design_tells_the_ranks():
    text = (Path(__file__).parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    block = text.split("## Who may import whom")[1].split("```")[1]
    assert [line.split(", ") for line in block.strip().splitlines()] == RANKS[:-1]  # "__init__" imports what it likes


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_reads_in_one_sitting(path):
    code = [line for line in path.read_text().splitlines() if line.strip()]
    docstrings = sum(
        len((ast.get_docstring(node) or "").splitlines())
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
    )
    assert len(code) - docstrings <= 400


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_of_scikit_learn_stay_in_one_module(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sklearn") and path.stem != "validation":
            private = [n for n in [*node.module.split("."), *(a.name for a in node.names)] if n.startswith("_")]
            assert not private, f"{path.name} imports {private}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_public_class_has_a_row(kind):
    base, rows = KINDS[kind]
    module = getattr(skcnn, kind)
    public = {
        c
        for name, c in inspect.getmembers(module, inspect.isclass)
        if issubclass(c, base) and not name.startswith("_") and not inspect.isabstract(c) and _is_concrete(c)
    }
    missing = public - {type(row) for row in rows}
    assert not missing, f"tests/cases.py has no row for {missing}"
    assert len(public) > 0


def _is_concrete(cls):
    return "__dataclass_fields__" in cls.__dict__


@pytest.mark.parametrize("kind", KINDS)
def test_public_classes_are_documented_with_an_example(kind):
    _, rows = KINDS[kind]
    for cls in {type(row) for row in rows}:
        for section in ("Notes\n", "Examples\n", ">>> "):
            assert section in cls.__doc__, f"{cls.__name__} has no {section.strip()}"
        for field in cls.__dataclass_fields__:
            assert f"{field} : " in cls.__doc__, f"{cls.__name__} does not document {field}"


@pytest.mark.parametrize("estimator", [skcnn.CNNClassifier, skcnn.CNNRegressor, skcnn.CNNFeatures])
def test_parameters_of_the_estimators_are_documented(estimator):
    for name in inspect.signature(estimator).parameters:
        assert f"\n    {name} : " in estimator.__doc__, f"{name} is not documented"


def test_import_is_quiet_and_brings_no_optional_package():
    # scikit-learn's callbacks import rich themselves where it is installed.
    code = (
        "import sys, sklearn.callback; before = set(sys.modules); from skcnn import *;"
        "print(sorted({'matplotlib', 'torch', 'onnx', 'rich', 'skops'} & (set(sys.modules) - before)), end='')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]"
    assert answer.stderr == ""


def test_the_runtime_serves_without_scikit_learn(digits, tmp_path):
    skcnn.save(skcnn.CNNClassifier((4,), max_iter=1).fit(*digits), tmp_path / "model.skcnn")
    code = (
        "import sys, numpy as np, skcnn.runtime; model = skcnn.runtime.load('model.skcnn');"
        "model.predict_proba(np.ones((3, 8, 8)));"
        "names = {name.split('.')[0] for name in sys.modules} | set(sys.modules);"
        "heavy = {'sklearn', 'joblib', 'pandas', 'scipy'};"
        "names_of_training = 'training', 'progress', 'optimizers', 'schedules', 'augmentation', 'update';"
        "training = {f'skcnn.{name}' for name in names_of_training};"
        "print(sorted((heavy | training) & names), end='')"
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "[]"


def test_everything_public_can_be_asked_for():
    for name in skcnn.__all__:
        assert getattr(skcnn, name) is not None
    assert set(skcnn.__all__) <= set(dir(skcnn))
    assert skcnn.display.__name__ == "skcnn.display"
    with pytest.raises(AttributeError, match="'skcnn' has no attribute 'nothing'"):
        _ = skcnn.nothing


def test_only_training_prints():
    for path in modules():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not prints or path.stem == "training", path.name


def test_descriptions_are_registered_by_unique_names():
    names = {}
    for kind, (_, rows) in KINDS.items():
        for row in rows:
            assert isinstance(row, Description)
            if type(row).name:
                assert names.setdefault((kind, type(row).name), type(row)) is type(row)
