"""Summary of a network as a table."""

from __future__ import annotations

from dataclasses import dataclass

from .._arrays.table import Table
from .._engine.network import Network
from ..layers import Layer

HEADER = "name", "layer", "output shape", "parameters", "multiply-adds"


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a network."""

    name: str
    layer: str
    output_shape: tuple[int, ...]  # of one image
    parameters: int
    multiply_adds: int  # for one image

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the layer's row in the table."""
        shape = " x ".join(map(str, self.output_shape))
        return self.name, self.layer, shape, f"{self.parameters:,}", f"{self.multiply_adds:,}"


@dataclass(frozen=True, repr=False)
class Summary:
    """Table of the layers of a network, which prints as text and is shown as HTML in notebooks.

    Attributes
    ----------
    layers : tuple of LayerSummary
        The input, the hidden layers and the output layer. A layer that contains others comes after them, and its
        numbers exclude their parameters and multiply-adds.
    """

    layers: tuple[LayerSummary, ...]

    def table(self) -> Table:
        """Return the layers as a table."""
        rows = tuple(layer.cells() for layer in self.layers)
        totals = [sum(getattr(s, field) for s in self.layers) for field in ("parameters", "multiply_adds")]
        return Table(HEADER, rows, ("total", "", "", *(f"{total:,}" for total in totals)), numeric=2)

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def summarize(network: Network) -> Summary:
    """Return the summary of a network."""
    parameters = {name: 0 for name, _, _ in network.parts}
    for name, parameter in network.weights.parameters.items():
        parameters[name.rsplit(".", 1)[0]] += parameter.size
    layers = [LayerSummary("input", "", network.input_shape, 0, 0)]
    for name, layer, before in network.parts:
        # Layers inside another layer have rows of their own, so the outer layer counts none of their numbers, and the
        # columns add up to the totals.
        products = 0 if layer.inside(before) else layer.multiply_adds(before)
        layers.append(LayerSummary(name, _shown(name, layer), layer.output_shape(before), parameters[name], products))
    return Summary(tuple(layers))


def _shown(name: str, layer: Layer) -> str:
    if name == "output":
        return f"Dense({layer.get_params()['units']})"
    return type(layer).__name__ if layer.inner() else repr(layer)
