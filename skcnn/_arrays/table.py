"""Small tables, shown as text in a terminal and as HTML in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """Table of text with a header and a total.

    Attributes
    ----------
    header : tuple of str
        Names of the columns.
    rows : tuple of tuple of str
        Cells of each row.
    total : tuple of str
        Cells of the last row.
    numeric : int
        Number of columns with numbers, counted from the right. They are aligned to the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: tuple[str, ...]
    numeric: int

    def __str__(self) -> str:
        table = [self.header, *self.rows, self.total]
        widths = [max(len(row[i]) for row in table) for i in range(len(self.header))]
        text = len(widths) - self.numeric
        head, *body, total = (
            "  ".join(
                [c.ljust(w) for c, w in zip(row[:text], widths[:text], strict=True)]
                + [c.rjust(w) for c, w in zip(row[text:], widths[text:], strict=True)]
            ).rstrip()
            for row in table
        )
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([head, rule, *body, rule, total])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head, foot = self._row_html(self.header, "th"), self._row_html(self.total, "th")
        body = "".join(self._row_html(row, "td") for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody><tfoot>{foot}</tfoot></table>"

    def _row_html(self, cells: tuple[str, ...], tag: str) -> str:
        text = len(cells) - self.numeric
        inner = "".join(
            f'<{tag} style="text-align:{"left" if i < text else "right"}">{escape(cell)}</{tag}>'
            for i, cell in enumerate(cells)
        )
        return f"<tr>{inner}</tr>"
