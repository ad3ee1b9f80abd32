"""Notebooks of the pages to learn from: they hold the text and the code of the page, and they run."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for folder in ("learn", "mathematics") for path in (DOCS / folder).glob("*.md"))
PAGES = [path for path in PAGES if path.stem != "index"]


def extension():
    """The module of the build, which needs no sphinx."""
    spec = importlib.util.spec_from_file_location("docs_notebooks", DOCS / "_ext" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks = extension()
PAGE = """# Title

Words, [a link](there.md) and [another](https://arxiv.org/).

```python
>>> import numpy as np
>>> x = np.arange(3)
>>> x.sum()  # doctest: +ELLIPSIS
np.int64(3)
>>> for i in x:
...     y = i
>>> skipped()  # doctest: +SKIP

```

```python
# no doctest
```

```{raw} html
:file: no.html
```

<details><summary>Answer</summary>

It is hidden.

```python
>>> y + 1
np.int64(3)

```

</details>

The end.
"""


def source(cell):
    return "".join(cell["source"])


def test_page_becomes_cells():
    made = notebooks.notebook(PAGE, DOCS)["cells"]
    assert [(cell["cell_type"], source(cell)) for cell in made] == [
        ("markdown", "# Title\n\nWords, a link and [another](https://arxiv.org/)."),
        ("code", "import numpy as np\nx = np.arange(3)\nx.sum()"),
        ("code", "for i in x:\n    y = i"),
        ("markdown", "```python\n# no doctest\n```"),
        ("markdown", "<details><summary>Answer</summary>\n\nIt is hidden.\n\n</details>"),
        ("code", "y + 1"),
        ("markdown", "The end."),
    ]
    assert [cell["metadata"] for cell in made] == [{}] * 5 + [{"jupyter": {"source_hidden": True}}, {}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_is_a_whole_notebook(page):
    text = page.read_text(encoding="utf-8")
    made = json.loads(json.dumps(notebooks.notebook(text, page.parent)))["cells"]
    code = [source(cell) for cell in made if cell["cell_type"] == "code"]
    words = "\n".join(source(cell) for cell in made if cell["cell_type"] == "markdown")
    assert words.startswith("# ")
    assert words.count("<details>") == words.count("</details>") >= text.count("<details>")
    assert words.count("<img ") == len(notebooks.IMAGE.findall(text))
    assert "](../" not in words
    assert ">>> " not in words + "".join(code)
    for cell in code:
        compile(cell, page.name, "exec")
    assert [heading in words for heading in re.findall(r"^##+ .*$", text, flags=re.MULTILINE)].count(False) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learn/cnn_in_numpy", "learn/by_hand", "mathematics/convolution"])
def test_notebook_runs_from_top_to_bottom(name, tmp_path):
    page = DOCS / f"{name}.md"
    made = notebooks.notebook(page.read_text(encoding="utf-8"), page.parent)
    program = tmp_path / "cells.py"  # where no file of the repository lies beside it
    program.write_text("\n".join(source(cell) for cell in made["cells"] if cell["cell_type"] == "code"))
    subprocess.run([sys.executable, program], check=True, cwd=tmp_path, timeout=120)


def test_notebooks_are_written_and_linked(tmp_path):
    (tmp_path / "learn").mkdir()
    (tmp_path / "learn" / "page.md").write_text(PAGE, encoding="utf-8")
    (tmp_path / "learn" / "index.md").write_text("# Index\n", encoding="utf-8")
    app = SimpleNamespace(srcdir=tmp_path)
    notebooks.write(app)
    files = sorted(tmp_path.rglob("*.ipynb"))
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["_build/notebooks/learn/page.ipynb"]
    assert json.loads(files[0].read_text(encoding="utf-8"))["nbformat"] == 4
    for page, linked in (("learn/page", True), ("learn/index", False), ("start", False)):
        text = [PAGE]
        notebooks.on_read(app, page, text)
        assert (f"</_build/notebooks/{page}.ipynb>" in text[0]) is linked
        assert text[0].startswith("# Title\n\n")
