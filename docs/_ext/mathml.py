"""Equations as MathML, which browsers draw by themselves: no script, no font and no network is needed.

The LaTeX is translated by docutils. What it does not know is a warning, and with ``-W`` an error, of the build.
"""

import html
import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

RELATION = re.compile(r"\\(lt|gt)(?![A-Za-z])")  # what markdown, but not docutils, has in place of < and >
logger = logging.getLogger(__name__)


def translated(node, latex, as_block):
    """The MathML of an equation; its source as code, and a warning, if it cannot be translated."""
    latex = RELATION.sub(lambda match: "<>"[match[1] == "gt"], latex)
    if as_block and r"\\" in latex and r"\begin{" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        return tex2mathml(latex, as_block=as_block)
    except MathError as error:
        logger.warning("cannot be written as MathML: %s (%s)", latex, error, location=node)
        return f"<code>{html.escape(latex)}</code>"


def visit_math(self, node):
    """Write an equation within a line."""
    self.body.append(translated(node, node.astext(), False))
    raise nodes.SkipNode


def visit_displayed(self, node):
    """Write an equation on lines of its own."""
    number = f'<span class="eqno">({node["number"]})</span>' if node.get("number") else ""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(f"{translated(node, node.astext(), True)}{number}</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Offer the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displayed, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
