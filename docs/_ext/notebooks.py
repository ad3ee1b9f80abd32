"""Notebooks of the pages to learn from: text and code cells, and a link to them below each title.

A page is the source. Its doctests become code cells, without their output; what it includes of a file becomes a code
cell, too, so that a notebook runs without the files beside the page. Answers are folded, as on the page.
"""

import ast
import base64
import doctest
import html
import json
import re
from pathlib import Path

FOLDERS = ("learn", "mathematics")  # of docs, whose pages have notebooks
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)^```\n?", flags=re.MULTILINE)
OPTION = re.compile(r"^:([\w-]+):[ ]?(.*)$", flags=re.MULTILINE)
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)[^)]*\)")
DIRECTIVE = re.compile(r"[ \t]*# doctest:.*$", flags=re.MULTILINE)
DETAILS = re.compile(r"<details><summary>(.*?)</summary>|</details>")
KINDS = {".svg": "svg+xml", ".png": "png"}


def included(folder, name, options):
    """The lines of a file that a page includes: an object, or what is between two texts."""
    text = (folder / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    if wanted := options.get("pyobject"):
        node = next(n for n in ast.parse(text).body if getattr(n, "name", None) == wanted)
        return "\n".join(lines[node.lineno - 1 : node.end_lineno])
    first = next(k for k, line in enumerate(lines) if options.get("start-at", "") in line)
    last = next(k for k, line in enumerate(lines[first:], first) if options.get("end-at", "") in line)
    return "\n".join(lines[first : last + 1])


def examples(body, folder):
    """The sources of a block of doctests: what follows an output is a cell of its own."""
    found, lines = [], []
    for example in doctest.DocTestParser().get_examples(body):
        source = DIRECTIVE.sub("", example.source.rstrip("\n"))
        beside = re.match(r"from (\w+) import", source)
        if doctest.SKIP in example.options or (beside and (folder / f"{beside[1]}.py").exists()):
            continue  # what is imported from a file beside the page is a cell of the notebook
        lines.append(source)
        if example.want:
            found.append("\n".join(lines))
            lines = []
    return [*found, "\n".join(lines)] if lines else found


def picture(match, folder):
    """An image as HTML that holds the file; notebooks refuse vector files in any other form."""
    file = folder / match[2]
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    alt = html.escape(" ".join(match[1].split()), quote=True)
    return f'<img alt="{alt}" src="data:image/{KINDS[file.suffix]};base64,{data}">'


def markdown(text, folder):
    """Text as a notebook shows it: images are inside, and links to other pages are words."""
    return LINK.sub(r"\1", IMAGE.sub(lambda match: picture(match, folder), text)).strip()


def cells(text, folder):
    """(kind, source, summary) of each cell of a page; the summary names the folded part that it is in, or is None."""
    found, summary = [], None

    def add_text(part):
        nonlocal summary
        position = 0
        for tag in [*DETAILS.finditer(part), None]:
            if source := markdown(part[position : tag.start() if tag else len(part)], folder):
                found.append(("markdown", source, summary))
            if tag:
                summary, position = tag[1], tag.end()

    position = 0
    for fence in FENCE.finditer(text):
        info, body = fence[1].strip(), fence[2]
        before, position = text[position : fence.start()], fence.end()
        if info.startswith("{literalinclude}"):
            code = [included(folder, info.split()[-1], dict(OPTION.findall(body)))]
        elif info == "python" and ">>> " in body:
            code = examples(body, folder)
        elif info.startswith("{"):  # what only a site shows
            code = []
        else:
            before, code = before + fence[0], []
        add_text(before)
        found += [("code", source, summary) for source in code]
    add_text(text[position:])
    return found


def notebook(text, folder):
    """A page as a notebook, in the format 4.4."""
    made = []
    for kind, source, summary in cells(text, folder):
        if kind == "code":
            metadata = {"jupyter": {"source_hidden": True}} if summary else {}
            cell = {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": []}
        else:
            cell = {"cell_type": "markdown", "metadata": {}}
            if summary:
                source = f"<details><summary>{summary}</summary>\n\n{source}\n\n</details>"
        made.append(cell | {"source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }


def has_notebook(page):
    """Whether a page has one: those of the folders that have code."""
    return page.partition("/")[0] in FOLDERS and not page.endswith("/index")


def write(app):
    """Write the notebooks before sphinx reads the pages that link to them."""
    docs = Path(app.srcdir)
    for path in sorted(path for folder in FOLDERS for path in (docs / folder).glob("*.md")):
        page = path.relative_to(docs).with_suffix("").as_posix()
        if has_notebook(page):
            file = docs / "_build" / "notebooks" / f"{page}.ipynb"
            file.parent.mkdir(parents=True, exist_ok=True)
            content = notebook(path.read_text(encoding="utf-8"), path.parent)
            file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def with_link(text, page):
    """A page with a link to its notebook below the title."""
    title, _, rest = text.partition("\n")
    return f"{title}\n\n{{download}}`Download this page as a notebook </_build/notebooks/{page}.ipynb>`\n{rest}"


def on_read(app, page, source):
    """Add the link."""
    if has_notebook(page):
        source[0] = with_link(source[0], page)


def setup(app):
    """Write before pages are read, and link as they are."""
    app.connect("builder-inited", write)
    app.connect("source-read", on_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
