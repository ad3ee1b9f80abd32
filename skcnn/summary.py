"""What a fitted network consists of, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from .network import Network
from .table import Table


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a network."""

    name: str
    layer: str
    output_shape: tuple[int, ...]  # of one image
    parameters: int
    multiply_adds: int  # for one image


@dataclass(frozen=True, repr=False)
class Summary:
    """The layers of a network: ``str`` is a table, and so is the HTML form that notebooks show.

    Attributes
    ----------
    layers : tuple of LayerSummary
        The input, the hidden layers and the output: name, layer, shape of its output, parameters, multiply-adds.
    """

    layers: tuple[LayerSummary, ...]

    def table(self) -> Table:
        """The layers as a table."""
        rows = tuple(
            (s.name, s.layer, " x ".join(map(str, s.output_shape)), f"{s.parameters:,}", f"{s.multiply_adds:,}")
            for s in self.layers
        )
        totals = [sum(getattr(s, field) for s in self.layers) for field in ("parameters", "multiply_adds")]
        header = ("name", "layer", "output shape", "parameters", "multiply-adds")
        return Table(header, rows, ("total", "", "", *(f"{total:,}" for total in totals)), numeric=2)

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def summarize(network: Network) -> Summary:
    """The summary of a network."""
    parameters = dict.fromkeys(network.names, 0)
    for name, parameter in network.weights.parameters.items():
        parameters[name.rsplit(".", 1)[0]] += parameter.size
    layers = [LayerSummary("input", "", network.input_shape, 0, 0)]
    for name, layer, before, after in zip(
        network.names, network.layers, network.shapes, network.shapes[1:], strict=False
    ):
        shown = f"Dense({network.outputs})" if name == "output" else repr(layer)
        layers.append(LayerSummary(name, shown, after, parameters[name], layer.multiply_adds(before)))
    return Summary(tuple(layers))
