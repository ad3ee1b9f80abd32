"""Links from the guide and the gallery to the reference: public names that are written as code."""

from pathlib import Path

from docutils import nodes
from reference import reference
from sphinx import addnodes


def targets():
    """What may be written -> full name: full names, and short ones that mean one thing only."""
    full = [f"{module.__name__}.{name}" for module, names in reference().items() for name in names]
    short = [name.rpartition(".")[2] for name in full]
    return {name: name for name in full} | {s: f for s, f in zip(short, full, strict=True) if short.count(s) == 1}


def link_names(app, doctree):
    """Make links of the public names in a page: of code in markdown, and of words in single backticks in examples."""
    target, page = targets(), app.env.docname
    if page.startswith("gallery/"):
        for link in doctree.findall(addnodes.pending_xref):
            if link["reftype"] == "obj":
                link["reftarget"] = target.get(link["reftarget"], link["reftarget"])
    if Path(app.env.doc2path(page)).suffix != ".md":
        return
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext()
        if name in target and not isinstance(literal.parent, (nodes.title, nodes.reference, addnodes.pending_xref)):
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target[name], refdoc=page, refexplicit=True
            )
            literal.replace_self(link)
            link += literal


def setup(app):
    """Change each page when it has been read."""
    app.connect("doctree-read", link_names)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
