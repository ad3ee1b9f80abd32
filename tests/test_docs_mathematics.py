"""The mathematics pages show the package's own lines, in a form that renders everywhere, and lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest

import skcnn.layers
from skcnn.description import registered
from skcnn.layers import Activation
from skcnn.losses import Loss
from skcnn.optimizers import Optimizer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FOLDER = DOCS / "mathematics"
IMAGES = DOCS / "images"
PAGES = sorted(FOLDER.glob("*.md"))
LESSONS = [page for page in PAGES if page.stem != "index"]
LIMIT = 200_000  # bytes of a picture, which a web server compresses to a fifth
# All that the formulas use: a renderer without a network, as that to MathML, has to know these and no more.
COMMANDS = """
    alpha approx begin beta bigl bigr cdot cdots delta end epsilon eta frac gamma gt in int lambda
    lceil ldots leftarrow lfloor log lt mathrm max min mu odot partial prod qquad quad rceil rfloor rho
    sigma sqrt sum tanh tau
"""
EXCERPT = re.compile(r"^```python\n# (skcnn/\S+\.py)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def ids(page):
    return page.stem


def squeezed(text):
    """Lines without the whitespace around and inside them, and without empty ones."""
    return [line for line in (re.sub(r"\s+", "", line) for line in text.splitlines()) if line]


def excerpts(page):
    """(file, passages) of each block that quotes the package; a line of three dots leaves something out."""
    for file, body in EXCERPT.findall(page.read_text(encoding="utf-8")):
        yield file, [squeezed(passage) for passage in re.split(r"^\s*\.\.\.\s*$", body, flags=re.MULTILINE)]


def position(passage, lines, start=0):
    """Where the lines of a passage stand one after the other, or None."""
    last = len(lines) - len(passage)
    return next((k for k in range(start, last + 1) if lines[k : k + len(passage)] == passage), None)


def without_code(text):
    """The text of a page without what stands in backticks."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def prose_and_math(page):
    """The text of a page without its code, and its formulas."""
    text = without_code(page.read_text(encoding="utf-8"))
    shown = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    inline = re.findall(r"\$([^$]*)\$", text)
    return re.sub(r"\$[^$]*\$", "", text), shown, inline


def test_excerpt_is_found_only_where_lines_follow_each_other():
    lines = squeezed("a = 1\n\n    b = 2\nc = 3")
    assert position(["b=2", "c=3"], lines) == 1
    assert position(["a=1", "c=3"], lines) is None
    assert position(["a=1"], lines, start=1) is None


@pytest.mark.parametrize("page", LESSONS, ids=ids)
def test_excerpts_are_in_the_source(page):
    found = list(excerpts(page))
    assert found, f"{page.name} shows no line of the package"
    for file, passages in found:
        lines, start = squeezed((ROOT / file).read_text(encoding="utf-8")), 0
        for passage in passages:
            where = position(passage, lines, start)
            assert where is not None, f"{page.name} quotes lines that {file} does not have: {passage}"
            start = where + len(passage)


@pytest.mark.parametrize("page", LESSONS, ids=ids)
def test_lesson_is_complete(page):
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", without_code(text), flags=re.MULTILINE)) == 1
    assert re.search(r"!\[[^\]]{10,}\]\(\.\./images/mathematics_\w+\.svg\)", text), "a picture, with words for it"
    assert "\n>>> " in text
    assert "$$" in text
    sources = text[text.index("\n## Sources\n") :]
    items = re.findall(r"^- (?:.+\n(?:  .+\n)*)", sources, flags=re.MULTILINE)
    assert items
    for item in items:
        assert re.search(r"\b(1[89]\d\d|20\d\d)\b", item), f"no year in {item}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_formulas_are_plain(page):
    prose, shown, inline = prose_and_math(page)
    assert "$" not in prose, "a formula is not closed"
    for formula in inline:
        assert "\n" not in formula
        assert formula == formula.strip(), f"a space next to the dollar sign of {formula!r}"
    for formula in [*shown, *inline]:
        assert set(re.findall(r"\\([A-Za-z]+)", formula)) <= set(COMMANDS.split()), formula
        assert not re.search(r"\\[,;:!{}_]", formula), f"{formula!r}: code hosts take such a backslash away"
        assert formula.count("{") == formula.count("}")
        assert re.findall(r"\\begin\{(\w+)\}", formula) == re.findall(r"\\end\{(\w+)\}", formula)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (FOLDER / link).exists(), link


def test_index_names_every_lesson():
    linked = re.findall(r"^(?:\d+\.|-) \[[^\]]+\]\((\w+)\.md\)", (FOLDER / "index.md").read_text(), flags=re.MULTILINE)
    assert sorted(linked) == sorted(page.stem for page in LESSONS)


def test_every_layer_has_its_page():
    text = "".join(page.read_text(encoding="utf-8") for page in LESSONS)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    layers = {cls.__name__ for cls in vars(skcnn.layers).values() if hasattr(cls, "__dataclass_fields__")}
    layers -= {"Parameter"}
    assert len(layers) > 30
    assert layers <= set(re.findall(r"`(\w+)[`(]", prose))


@pytest.mark.parametrize(
    ("page", "kind"),
    [("activations", Activation), ("losses", Loss), ("optimizers", Optimizer)],
)
def test_every_one_of_a_kind_has_its_equation(page, kind):
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\$.*\|$", text, flags=re.MULTILINE)
    shipped = {cls.__name__ for cls in registered(kind).values() if cls.__module__.startswith("skcnn.")}
    assert len(shipped) > 7
    assert sorted(rows) == sorted(shipped)


def test_pictures_are_drawn_small_and_shown(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    figures = importlib.import_module("figures_mathematics").FIGURES
    drawn = {f"mathematics_{name}.svg" for name in figures}
    files = {path.name: path.stat().st_size for path in IMAGES.glob("mathematics_*.svg")}
    shown = set(re.findall(r"\.\./images/(mathematics_\w+\.svg)", "".join(page.read_text() for page in PAGES)))
    assert drawn == set(files) == shown
    assert max(files.values()) < LIMIT


@pytest.mark.slow
def test_the_same_picture_every_time(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(DOCS))
    draw = importlib.import_module("figures_mathematics").FIGURES["convolution"]
    draw(tmp_path / "one.svg")
    draw(tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
