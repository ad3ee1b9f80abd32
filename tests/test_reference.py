"""The reference pages: every registered name is on its page with its defaults, and pictures are there and small."""

import inspect
import re
from pathlib import Path

import pytest

from skcnn.description import registered
from skcnn.initializers import Initializer
from skcnn.layers import Activation
from skcnn.losses import Loss

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"activations.md": Activation, "losses.md": Loss, "initializers.md": Initializer}
pages = pytest.mark.parametrize("page", PAGES)


def shipped(kind):
    """Those of the package: other tests register their own."""
    return {name: cls for name, cls in registered(kind).items() if cls.__module__.startswith("skcnn.")}


@pages
def test_every_name_is_in_the_table_with_its_defaults(page):
    rows = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith('| `"')]
    for name, cls in shipped(PAGES[page]).items():
        fields = inspect.signature(cls).parameters.values()
        call = f"{cls.__name__}({', '.join(f'{f.name}={f.default!r}'.replace(chr(39), chr(34)) for f in fields)})"
        assert any(f'`"{name}"`' in row and f"`{call}`" in row for row in rows), f"{page} has no row for {name}: {call}"


def test_the_kernels_in_front_are_those_of_the_table():
    text = (DOCS / "activations.md").read_text(encoding="utf-8")
    for name, cls in shipped(Activation).items():
        row = next(line for line in text.splitlines() if line.startswith("| ") and f'`"{name}"`' in line)
        assert row.lower().endswith(f"| {cls.kernel_initializer} |")


@pages
def test_pictures_are_there_and_small(page):
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (DOCS / page).read_text(encoding="utf-8"))
    assert pictures
    for picture in pictures:
        assert (DOCS / picture).stat().st_size < 200_000
