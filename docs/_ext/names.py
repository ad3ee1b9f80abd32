"""Links from the markdown pages to the reference: public names that are written as code."""

from pathlib import Path

from docutils import nodes
from reference import reference
from sphinx import addnodes


def link_names(app, doctree):
    """Make links of the public names that the markdown pages write as code, where a name means one thing only."""
    if Path(app.env.doc2path(app.env.docname)).suffix != ".md":
        return
    full = [f"{module.__name__}.{name}" for module, names in reference().items() for name in names]
    short = [name.rpartition(".")[2] for name in full]
    target = {name: name for name in full} | {s: f for s, f in zip(short, full, strict=True) if short.count(s) == 1}
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext()
        if name in target and not isinstance(literal.parent, (nodes.title, nodes.reference, addnodes.pending_xref)):
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target[name], refdoc=app.env.docname, refexplicit=True
            )
            literal.replace_self(link)
            link += literal


def setup(app):
    """Change each page when it has been read."""
    app.connect("doctree-read", link_names)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
