"""The documentation is whole: every page is reached, every example is a page, every public name is in the reference."""

import ast
import importlib
import importlib.util
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import skcnn
import skcnn.architecture
import skcnn.augmentation
import skcnn.initializers
import skcnn.layers
import skcnn.losses
import skcnn.optimizers
import skcnn.schedules
from skcnn.description import subclasses

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = ("_build", "gallery", "project", "reference")  # by the build
PAGES = sorted(
    path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] not in GENERATED
)
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def extension(name):
    """A module of the build, none of which needs sphinx here."""
    if str(DOCS / "_ext") not in sys.path:
        sys.path.append(str(DOCS / "_ext"))
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


order, pages, reference = extension("order"), extension("pages"), extension("reference")


def reached(page="index"):
    """Names of the pages in the table of contents of a page, and of theirs; a generated page has none."""
    path = DOCS / f"{page}.md"
    if page.startswith(tuple(f"{folder}/" for folder in GENERATED)):
        return
    assert path.exists(), f"{page} is in a table of contents, but there is no such page"
    yield page
    folder = f"{page.rpartition('/')[0]}/".lstrip("/")
    text = path.read_text(encoding="utf-8")
    if folder and path.stem == "index":
        text = pages.with_toctree(text, path.parent)
    known = [name.removesuffix(".md") for name in PAGES]
    for block in TOCTREE.findall(text):
        for entry in re.findall(r"^(?:[^:].*<)?([\w/*]+)>?$", block, flags=re.MULTILINE):
            for name in [name for name in known if fnmatch(name, folder + entry)] if "*" in entry else [folder + entry]:
                yield from reached(name)


def test_every_page_is_in_one_table_of_contents():
    assert sorted(reached()) == sorted(page.removesuffix(".md") for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link, _ in pages.LINK.findall((DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_pages_with_a_title_and_a_picture(name):
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    title, line, empty, *story = ast.get_docstring(ast.parse(text), clean=False).strip().splitlines()
    assert line == "=" * len(title)
    assert not empty
    assert len(story) >= 2
    assert re.search(r"plt\.(subplots|figure|subplot_mosaic)\(|Display\.from_", text), "draws nothing"
    assert "plt.show" not in text


def defined(module):
    """The public classes and functions in a module's source, or what it lists in ``__all__``."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = [n.name for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and not n.name.startswith("_")]
    return [name for name in getattr(module, "__all__", names) if not name.startswith("__")]


@pytest.mark.parametrize("module", reference.public_modules(), ids=lambda module: module.__name__)
def test_every_public_name_has_a_page(module):
    written = reference.pages()
    assert f"\n   {module.__name__}\n" in written["index"]
    assert defined(module)
    for name in defined(module):
        places = [page for page in written if page.rpartition(".")[2] == name]
        assert places, f"the reference has no page for {name}"
        for place in places:
            assert re.search(rf"^\.\. auto\w+:: {name}$", written[place], flags=re.MULTILINE)
            assert f"   {name} <{place}>\n" in written[place.rpartition(".")[0]]


@pytest.mark.parametrize(
    "kind",
    [
        skcnn.layers.Layer,
        skcnn.losses.Loss,
        skcnn.optimizers.Optimizer,
        skcnn.schedules.Schedule,
        skcnn.initializers.Initializer,
        skcnn.augmentation.Augmentation,
    ],
)
def test_every_registered_name_has_a_page(kind):
    written = {page.rpartition(".")[2] for page in reference.pages()}
    named = {
        cls.__name__ for cls in subclasses(kind) if cls.__dict__.get("name") and cls.__module__.startswith("skcnn.")
    }
    assert named
    assert named <= written


def test_methods_are_told_from_those_of_scikit_learn():
    own, inherited = reference.methods(skcnn.CNNClassifier)
    assert {"fit", "partial_fit", "predict", "predict_proba", "summary"} <= set(own)
    assert "set_fit_request" in inherited


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("docs/layers.md", "../examples/lines.py", "/gallery/first_steps/lines.rst"),
        ("docs/layers.md", "../examples", "/gallery/index.rst"),
        ("docs/layers.md", "../CHANGELOG.md#added", "/project/changelog.md#added"),
        ("docs/layers.md", "design.md", "/design.md"),
        ("docs/layers.md", "../README.md", "/index.md"),
        ("docs/layers.md", "../skcnn/_tape/tape.py", "../skcnn/_tape/tape.py"),
        ("CONTRIBUTING.md", "docs/design.md", "/design.md"),
        ("CONTRIBUTING.md", "Makefile", "../../Makefile"),
        ("docs/layers.md", "https://arxiv.org/", "https://arxiv.org/"),
        ("docs/layers.md", "no_such_page.md", "no_such_page.md"),
    ],
)
def test_links_become_those_of_the_site(source, link, expected):
    page = source if source.startswith("docs/") else "docs/project/x.md"
    assert pages.with_links_of_the_site(f"a [b]({link}) c", source, page, ROOT) == f"a [b]({expected}) c"


def test_first_page_of_a_folder_gets_a_table_of_contents_in_the_order_of_its_links(tmp_path):
    for name in ("index", "a", "b", "c"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n", encoding="utf-8")
    text = pages.with_toctree("# Title\n\n[c](c.md), [a](a.md#there), [else](../else.md)\n", tmp_path)
    assert TOCTREE.findall(text) == [":hidden:\n\nc\na\nb\n"]
    assert pages.with_toctree(text, tmp_path) == text


def test_groups_of_the_gallery_name_examples_that_exist():
    named = [name for _, _, names in order.GROUPS.values() for name in names]
    assert len(named) == len(set(named))
    assert {f"{name}.py" for name in named} <= set(EXAMPLES)
    assert order.group_of("quickstart") == "first_steps"
    assert order.group_of("no_such_example") == "more"


def test_examples_are_copied_into_their_groups_with_what_they_import(tmp_path):
    pages.copy_examples(ROOT / "examples", tmp_path / "copied")
    copied = sorted(path.name for path in (tmp_path / "copied").glob("*/*.py"))
    assert copied == EXAMPLES
    assert (tmp_path / "copied" / "deployment" / "serving" / "app.py").exists()
    for folder in (path for path in (tmp_path / "copied").iterdir() if path.is_dir()):
        assert (folder / "README.rst").read_text(encoding="utf-8").splitlines()[1].strip("-") == ""


def test_pages_of_examples_that_moved_are_removed(tmp_path):
    gallery, examples = tmp_path / "gallery", tmp_path / "examples"
    for path in (
        gallery / "old.rst",
        gallery / "a" / "kept.rst",
        gallery / "a" / "index.rst",
        examples / "a" / "kept.py",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    pages.remove_old_pages(gallery, examples)
    assert sorted(path.name for path in gallery.rglob("*.rst")) == ["index.rst", "kept.rst"]


def test_answers_of_the_performance_page_are_the_figures_of_its_table(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(DOCS))
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    found = importlib.import_module("figures_performance").ratios(page)
    assert [len(row) for row in found.values()] == [4] * 6
    answers = page[: page.index("![")]
    for name in ("training step, 64 images", "prediction, 64 images", "prediction, 1 image", "memory of training"):
        assert f"{min(found[name]):.2f} to {max(found[name]):.2f}" in answers, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [("A short one.", "A short one."), ("many  words\n" * 40, "many words many words, and no more")],
)
def test_descriptions_are_short(text, expected):
    pytest.importorskip("docutils")
    shortened = extension("heads").shortened(text)
    assert len(shortened) <= 160
    assert shortened.startswith(expected[:10])
    assert ("..." in shortened) == (len(text) > 160)


def test_guide_lists_every_parameter_with_its_default():
    text = (DOCS / "guide.md").read_text(encoding="utf-8")
    listed = {}
    for names, defaults in re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+\|$", text, flags=re.MULTILINE):
        values = [ast.literal_eval(value) for value in re.findall(r"`([^`]+)`", defaults)]
        found = re.findall(r"`(\w+)`", names)
        listed |= dict(zip(found, values, strict=True)) if found else {}
    assert listed == skcnn.CNNClassifier().get_params(deep=False)


def test_reference_shows_the_arguments_of_descriptions():
    assert reference.signature(skcnn.optimizers.SGD) == "(momentum=0.9, nesterov=True)"
    assert reference.signature(skcnn.layers.ReLU) == "()"
    assert reference.signature(skcnn.layers.Layer) == ""
    assert reference.signature(skcnn.CNNClassifier) is None  # sphinx finds these
