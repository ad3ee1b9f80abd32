"""The reference page of layers names all of them, as they are."""

import inspect
import re
from pathlib import Path

import pytest

import skcnn.layers
from skcnn.layers import Activation, Layer

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "layers.md").read_text(encoding="utf-8")
BLOCKS = " ".join(re.findall(r"^```text\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE))
LAYERS = [
    cls
    for _, cls in inspect.getmembers(skcnn.layers, inspect.isclass)
    if issubclass(cls, Layer) and not issubclass(cls, Activation) and cls is not Layer
]


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_layer_has_a_row_and_its_signature(cls):
    assert f"\n| `{cls.__name__}` |" in PAGE
    parameters = inspect.signature(cls).parameters.values()
    shown = ", ".join(str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters)
    assert f"{cls.__name__}({shown})" in " ".join(BLOCKS.split())


def test_no_row_without_a_layer():
    table = PAGE[PAGE.index("| layer |") : PAGE.index("Here m is")]
    names = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert sorted(names) == sorted(cls.__name__ for cls in LAYERS)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (DOCS / link).exists(), link
