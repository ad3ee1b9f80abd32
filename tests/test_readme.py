"""The code of the README runs, its links lead somewhere, and what it lists exists."""

import importlib
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
LINKS = re.findall(r"\]\((?!https?:)([^)#]+)", README)
LISTED = {
    "layers": "layers",
    "activations": "layers",
    "optimizers": "optimizers",
    "schedules": "schedules",
    "initializers": "initializers",
    "losses": "losses",
    "augmentation": "augmentation",
    "architectures": "architecture",
}


def test_code_runs_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 5
    names = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert float(printed.split()[0]) > 0.97
    assert names["search"].best_score_ > 0.85
    assert str(names["own"].summary()) in printed


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_link_leads_somewhere(link):
    assert (ROOT / link).exists()


def test_picture_is_small():
    pictures = [ROOT / link for link in LINKS if link.endswith(".png")]
    assert pictures
    assert sum(picture.stat().st_size for picture in pictures) < 150_000


@pytest.mark.parametrize("kind", LISTED)
def test_what_is_listed_exists(kind):
    row = next(line for line in README.splitlines() if line.startswith(f"| [{kind}]("))
    module = importlib.import_module(f"skcnn.{LISTED[kind]}")
    names = re.findall(r"`(\w+)`", row)
    assert names
    assert [name for name in names if not hasattr(module, name)] == []
