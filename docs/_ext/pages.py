"""Pages that live elsewhere in the repository, and links that lead to them on a code host and on the site alike.

The changelog and its like are copied in, the examples too, so that what they write is not left among their sources.
In every page, a link to a file outside of ``docs`` becomes one to its page, if it has one.
"""

import os
import re
import shutil
from pathlib import Path, PurePosixPath

from order import group_of, heading

COPIED = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
LINK = re.compile(r"\]\((?!\w+:|[#/])([^)\s#]+)(#[^)\s]*)?\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(")  # its description may be on several lines, which MyST joins without a space
PATTERN = re.compile(r"^([\w/]+\*)\n", flags=re.MULTILINE)
BEFORE_A_FENCE = re.compile(
    r"\n\n```$", flags=re.MULTILINE
)  # doctests end with an empty line, which is not to be shown


def page_of(target):
    """The page of the site that stands for a file of the repository, or None."""
    if target in COPIED:
        return COPIED[target]
    if target == "README.md":
        return "index.md"
    if target == "examples":
        return "gallery/index.rst"
    if target.startswith("examples/") and target.endswith(".py"):
        name = PurePosixPath(target).stem
        return f"gallery/{group_of(name)}/{name}.rst"
    return target.removeprefix("docs/") if target.startswith("docs/") else None


def with_links_of_the_site(text, source, page, root):
    """Markdown whose relative links lead to pages.

    ``source`` is the file that the links were written for and ``page`` the one that they will be in, both from the
    repository's root.
    """

    def replaced(match):
        target = os.path.normpath(os.path.join(os.path.dirname(source), match[1])).replace(os.sep, "/")
        if not (root / target).exists():
            return match[0]
        if found := page_of(target):
            return f"](/{found}{match[2] or ''})"
        return f"]({os.path.relpath(target, os.path.dirname(page))})"

    return LINK.sub(replaced, text)


def with_toctree(text, folder):
    """The first page of a folder, with its other pages in the order in which it links to them."""
    if "toctree}" in text:
        return text
    linked = [link.removesuffix(".md") for link, _ in LINK.findall(text) if link.endswith(".md")]
    others = sorted(path.stem for path in folder.glob("*.md") if path.stem != "index")
    ordered = [name for name in dict.fromkeys(linked) if name in others]
    ordered += [name for name in others if name not in ordered]
    return "\n".join([text, "", "```{toctree}", ":hidden:", "", *ordered, "```", ""])


def without_empty_patterns(text, folder):
    """A page whose tables of contents hold no pattern that matches nothing, which sphinx would warn of."""
    return PATTERN.sub(lambda match: match[0] if any(folder.glob(f"{match[1]}.md")) else "", text)


def copy_sources(app):
    """Bring the pages and the examples from outside into the folder of the documentation."""
    docs, root = Path(app.srcdir), Path(app.srcdir).parent
    for source, page in COPIED.items():
        (docs / page).parent.mkdir(exist_ok=True)
        text = (root / source).read_text(encoding="utf-8")
        (docs / page).write_text(with_links_of_the_site(text, source, f"docs/{page}", root), encoding="utf-8")
    copy_examples(root / "examples", docs / "_build" / "examples")
    remove_old_pages(docs / "gallery", docs / "_build" / "examples")


def copy_examples(source, target):
    """Bring the examples into a folder for each group of the gallery, with the server beside those that import it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(source / "README.rst", target)
    for path in sorted(source.glob("*.py")):
        folder = target / group_of(path.stem)
        if not folder.exists():
            shutil.copytree(source / "serving", folder / "serving", ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "README.rst").write_text(heading(folder.name), encoding="utf-8")
        shutil.copy(path, folder)


def remove_old_pages(gallery, examples):
    """Remove the gallery's pages of examples that are no more, or that are in another group now."""
    for page in gallery.rglob("*.rst"):
        if page.stem != "index" and not (examples / page.relative_to(gallery)).with_suffix(".py").exists():
            page.unlink()


def on_read(app, name, source):
    """Change the links of a page, and add what a folder's first page does not need on a code host."""
    path = Path(app.env.doc2path(name))
    if path.suffix != ".md":
        return
    source[0] = BEFORE_A_FENCE.sub("\n```", source[0])
    source[0] = PICTURE.sub(lambda match: match[0].replace("\n", " "), source[0])
    source[0] = without_empty_patterns(source[0], path.parent)
    if "/" in name and path.stem == "index":
        source[0] = with_toctree(source[0], path.parent)
    root = Path(app.srcdir).parent
    here = path.relative_to(root).as_posix()
    if not name.startswith("project/"):
        source[0] = with_links_of_the_site(source[0], here, here, root)


def setup(app):
    """Copy before the gallery and sphinx look for sources; change links as pages are read."""
    app.connect("builder-inited", copy_sources, priority=100)
    app.connect("source-read", on_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
