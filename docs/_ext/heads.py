"""The parts of a page around its text: descriptions of pages and pictures, and links to the previous and next page."""

import html
from pathlib import PurePosixPath

from docutils import nodes

LENGTH = 160  # characters of a description that search engines show
WITHOUT_NEIGHBOURS = ("reference/", "project/", "gallery/", "_modules/")  # pages that nobody reads in order


def shortened(text, length=LENGTH):
    """A text of at most so many characters, cut between two words."""
    words = " ".join(text.split())
    return words if len(words) <= length else words[: length - 3].rpartition(" ")[0].rstrip(",;:.") + " ..."


def description_of(doctree):
    """The first paragraph of a page that is neither in a table nor in a list."""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, (nodes.section, nodes.document)) and paragraph.astext().strip():
            return shortened(paragraph.astext())
    return ""


def describe_pictures(app, doctree):
    """Give the gallery's pictures a description where they have none, or only the name of a file."""
    page = PurePosixPath(app.env.docname)
    title = next(doctree.findall(nodes.title), None)
    for picture in doctree.findall(lambda node: "uri" in getattr(node, "attributes", {})):
        path = PurePosixPath(picture["uri"])
        if path.name.startswith("sphx_glr_") and path.stem.endswith("_thumb"):
            example = path.stem.removeprefix("sphx_glr_").removesuffix("_thumb").replace("_", " ")
            picture["alt"] = f"Picture of the example {example}"
        elif path.name.startswith("sphx_glr_") and title and picture.get("alt") in ("", page.stem, None):
            picture["alt"] = f"Picture of the example: {title.astext()}"


def complete(app, page, template, context, doctree):
    """Add the description of a page, and remove the neighbours of a page that stands alone."""
    described = description_of(doctree) if doctree else ""
    if page == app.config.root_doc:
        described = app.config.site_description
    if described:
        content, title = html.escape(described, quote=True), html.escape(context.get("title", ""), quote=True)
        context["metatags"] = (
            f'{context.get("metatags", "")}\n<meta name="description" content="{content}">\n'
            f'<meta property="og:title" content="{title}">\n<meta property="og:description" content="{content}">\n'
        )
    if page.startswith(WITHOUT_NEIGHBOURS):
        context["prev"] = context["next"] = None


def setup(app):
    """Change the context of each page before it is written."""
    app.add_config_value("site_description", "", "html")
    app.connect("doctree-read", describe_pictures)
    app.connect("html-page-context", complete)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
