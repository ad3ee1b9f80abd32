"""The layers of a network in the HTML representation of an estimator, drawn like the steps of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._engine.network import Network
from ..layers.residual import Branches
from ..layers.sequence import Step
from .summary import HEADER, LayerSummary, summarize
from .validation import visual_block

LARGE = 50  # number of layers up to which layers inside others are drawn


def network_block(network: Network) -> Any:
    """Return a block with the layers of a network one below the other, and branches side by side."""
    rows = {row.name: row for row in summarize(network).layers}
    return _column([_box(rows["input"])], network.lowered, "", rows, opened=len(network.parts) <= LARGE)


def _column(
    above: list[Any], steps: Sequence[Step], prefix: str, rows: Mapping[str, LayerSummary], opened: bool
) -> Any:
    """Return a block with the layers of steps below the boxes ``above``.

    A layer that contains other layers is a label above their boxes.
    """
    drawn = [(box, "", "") for box in above]
    branches = {owner: layer.branches for owner, layer in steps if isinstance(layer, Branches)}
    for owner in dict.fromkeys(owner for owner, _ in steps):
        row = rows.get(prefix + owner)
        if row is None:  # a projection that is the identity
            continue
        if opened and owner in branches:
            sides = [_column([], branch, f"{row.name}.", rows, opened) for branch in branches[owner]]
            drawn.append((visual_block("parallel", sides), f"{row.layer} ({_what(row)})", _details(row)))
        else:
            drawn.append((_box(row), "", ""))
    boxes, labels, details = zip(*(drawn or [(_identity(), "", "")]), strict=True)
    return visual_block("serial", boxes, names=labels, name_details=details)


def _box(row: LayerSummary) -> Any:
    return visual_block(
        "single", None, names=row.layer or row.name, name_details=_details(row), name_caption=_what(row)
    )


def _identity() -> Any:
    return visual_block("single", None, names="identity", name_details="the input as it is")


def _what(row: LayerSummary) -> str:
    """Return a line with the name, the output shape and the number of parameters of a layer."""
    name, layer, shape, parameters, _ = row.cells()
    parts = [name if layer else "", shape, f"{parameters} parameters" if row.parameters else ""]
    return ", ".join(filter(None, parts))


def _details(row: LayerSummary) -> str:
    """Return the lines of the summary for a layer."""
    return "\n".join(f"{label:13}  {cell}" for label, cell in zip(HEADER, row.cells(), strict=True) if cell)
