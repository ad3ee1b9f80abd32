"""The documentation is whole: every page is reached, every example is a page, every public name is in the reference."""

import ast
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


pages, reference = extension("pages"), extension("reference")


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
