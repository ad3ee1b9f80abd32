"""The countable rules of style for docstrings, comments, messages and pages.

Each finding names the file, the line, the rule and the text.
"""

import ast
import bisect
import io
import re
import textwrap
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

BEGINNINGS = re.compile(r"(What|Of|That of|Those of|None is)\b(?! course)")
WORDS = re.compile(
    r"\b(alike|anew|borne|but for|by itself|goes on|in place of|inside of|knows no|noted|told"
    r"|(that|those|the ones?) of|(take|takes|taken) for|that (is|are) there)\b",
    flags=re.IGNORECASE,
)
HEADINGS = {"All of them", "Checked", "Going on", "What makes it so", "By task"}
NO_VERBS = re.compile(
    r"(The|A|An|All|As|Both|Each|Every|Everything|For|From|How|Its|Names|No|One|Some|Something|Two|Where|Whether)\b"
    r"|\S+ (<-|->) "
    r"|[a-z]\w* \([^)]*\)( with its border)?(,| ->)"
)
SENTENCE = re.compile(r"(?<=[.!?])[)\"']*\s+(?=[A-Z\"`(*])")
SECTIONS = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "Warnings", "See Also", "Notes"}
SECTIONS |= {"Examples", "References"}
ENTRIES = SECTIONS - {"Notes", "Examples", "References"}


class Unit(NamedTuple):
    """A piece of prose: its kind, and its lines with their numbers."""

    kind: str
    lines: list[tuple[int, str]]


def files():
    """Return the paths of all modules and pages, relative to the root."""
    pages = [path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "project"} & set(path.parts)]
    paths = [*(ROOT / "skcnn").rglob("*.py"), *(ROOT / "examples").glob("*.py"), *pages]
    paths += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def units_of(name, text):
    """Return the units of a module or a page."""
    return list(page_units(text) if name.endswith(".md") else module_units(text))


# -- modules


def module_units(text):
    """Yield the docstrings, comments and longer strings of a module."""
    tree = ast.parse(text)
    documented = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                documented.add(first.value)
                yield from docstring_units(first.value.value, first.value.lineno, is_function(node))
    yield from message_units(tree, documented)
    yield from comment_units(text)


def is_function(node):
    """Return whether a node is a function that is not a property. Properties are described by noun phrases."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
    return not decorators & {"property", "cached_property"}


def docstring_units(docstring, line, of_function):
    """Yield the paragraphs of a docstring, without code and equations."""
    first, _, rest = docstring.partition("\n")
    lines = [first.strip(), *textwrap.dedent(rest).splitlines()]
    section, kind, unit, is_code = "", "function" if of_function else "docstring", [], False
    for number, text in enumerate(lines, line):
        bare, indent = text.strip(), len(text) - len(text.lstrip())
        if bare.startswith(">>> "):
            is_code = True
        underlined = number - line + 1 < len(lines) and set(lines[number - line + 1].strip()) == {"-"}
        is_heading = (bare in SECTIONS and underlined) or (set(bare) == {"-"} and bool(bare))
        is_term = section in ENTRIES and not indent
        is_equation = section not in ENTRIES and indent and not (unit and unit[0][1].startswith("- "))
        if not bare or is_heading or is_term or is_code or is_equation or bare.startswith("- "):
            if unit:
                yield Unit(kind, unit)
                kind = "paragraph"
            unit = []
        if is_heading and bare in SECTIONS:
            section = bare
        elif not bare:
            is_code = False
        elif not (is_heading or is_term or is_code or is_equation):
            if not unit and section in ("Raises", "Warns") and kind != "raises":
                kind = "raises"
            unit.append((number, bare))
        if is_term:
            kind = "paragraph"
    if unit:
        yield Unit(kind, unit)


def message_units(tree, documented):
    """Yield the strings of four words or more that are not docstrings, with a placeholder for inserted values."""
    inner = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if node in inner or node in documented:
            continue
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if text.count(" ") >= 3:
            yield Unit("message", [(node.lineno, " ".join(text.split()))])


def comment_units(text):
    """Yield comments. Neighbouring lines of comments are one unit."""
    unit, last = [], (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        bare = re.sub(r"#\s*(type:|noqa|fmt:|pragma).*", "", token.string).lstrip("#").strip()
        if unit and token.start != (last[0] + 1, last[1]):
            yield Unit("paragraph", unit)
            unit = []
        if bare:
            unit.append((token.start[0], bare))
            last = token.start
    if unit:
        yield Unit("paragraph", unit)


# -- pages


def page_units(text):
    """Yield the headings, paragraphs, list items and table cells of a page, without code and equations."""
    unit, fence = [], ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        starts = bare.startswith(("#", "|", "- ", "* ", "```", "$$", "<!--", "![")) or re.match(r"\d+\. ", bare)
        if fence or not bare or starts or (line.startswith("    ") and not unit):
            if unit:
                yield Unit("paragraph", unit)
            unit = []
        if fence:
            fence = "" if bare.endswith(fence) else fence
        elif bare.startswith(("```", "$$", "<!--")):
            mark = {"`": "```", "$": "$$", "<": "-->"}[bare[0]]
            fence = "" if bare.endswith(mark) and len(bare) > len(mark) and mark != "```" else mark
        elif bare.startswith("#"):
            yield Unit("heading", [(number, bare.lstrip("# "))])
        elif bare.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", bare.strip("|")):
                if cell.strip(" -:"):
                    yield Unit("cell", [(number, cell.strip())])
        elif bare and not (line.startswith("    ") and not unit) and not bare.startswith("!["):
            unit.append((number, re.sub(r"^([-*]|\d+\.) ", "", bare)))
    if unit:
        yield Unit("paragraph", unit)


# -- rules


def without_code(text):
    """Replace code and equations by placeholders, and links by their texts."""
    text = re.sub(r"``.+?``|`[^`]+`", "`code`", text)
    text = re.sub(r"\$[^$]+\$", "`x`", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def findings(name, text):
    """Yield a line of text for each violation of a rule in a file."""
    for kind, lines in units_of(name, text):
        starts, joined = [], ""
        for _, part in lines:
            starts.append(len(joined))
            joined += part + " "
        # Placeholders have other lengths, so positions refer to the shortened lines.
        shortened, starts = without_code(joined), [len(without_code(joined[:start])) for start in starts]
        numbers = [number for number, _ in lines]

        def found(position, rule, excerpt, starts=starts, numbers=numbers):
            number = numbers[max(0, bisect.bisect_right(starts, position) - 1)]
            return f"{name}:{number}: {rule}: {excerpt[:90]!r}"

        for match in re.finditer(rf"(?:^|{SENTENCE.pattern})", shortened):
            sentence = shortened[match.end() :].lstrip('*_["(')
            if BEGINNINGS.match(sentence) and not re.match(r"[^.!?]*\?", sentence):  # a question may begin with What
                yield found(match.end(), "begins with a word that the style forbids", sentence)
        for match in WORDS.finditer(shortened):
            yield found(match.start(), f"contains {match[0].lower()!r}", shortened[max(0, match.start() - 30) :])
        if kind == "heading" and shortened.strip() in HEADINGS:
            yield found(0, "is a heading without a meaning out of context", shortened)
        if kind == "function" and NO_VERBS.match(shortened):
            yield found(0, "does not begin with a verb in the imperative", shortened)
        if kind == "raises" and not shortened.startswith("If "):
            yield found(0, "is an entry of Raises that does not begin with 'If'", shortened)


@pytest.mark.parametrize("name", files())
def test_prose_follows_the_style(name):
    if found := list(findings(name, (ROOT / name).read_text(encoding="utf-8"))):
        pytest.fail("\n".join(found), pytrace=False)


MODULE = '''"""What this is."""
# Of these,
# none is told.
def f():
    """The sum of x.

    Parameters
    ----------
    x : int
        What to add. Those of the user are `told`.

    Raises
    ------
    ValueError
        For a bad number.

    Examples
    --------
    >>> f()  # What is told
    What
    """
    raise ValueError(f"{1} is not known, but for this one")
'''
PAGE = """# All of them

Good text, in `told` code. What is
anew is found.

| Of what | good |
|---|---|
| `told` | that of a cell |

```python
>>> told = "What"
```
"""


def test_rules_find_what_they_forbid():
    lines = {(int(line.split(":")[1]), line.split(": ")[1]) for line in findings("module.py", MODULE)}
    begins, word = "begins with a word that the style forbids", "contains {!r}".format
    assert lines == {
        (1, begins),
        (2, begins),
        (3, word("told")),
        (5, "does not begin with a verb in the imperative"),
        (10, begins),
        (10, word("those of")),
        (15, "is an entry of Raises that does not begin with 'If'"),
        (22, word("but for")),
    }
    lines = {(int(line.split(":")[1]), line.split(": ")[1]) for line in findings("page.md", PAGE)}
    assert lines == {
        (1, "is a heading without a meaning out of context"),
        (3, begins),
        (4, word("anew")),
        (6, begins),
        (8, word("that of")),
    }
