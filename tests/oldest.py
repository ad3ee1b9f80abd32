"""Prints the oldest versions that pyproject.toml allows, as constraints for pip: what `make test-oldest` installs."""

import tomllib
from pathlib import Path

OTHERS = ["pyparsing<3.3"]  # newer ones warn of what Matplotlib 3.9 calls

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
allowed = {line for name, lines in extras.items() if name != "docs" for line in lines} | set(project["dependencies"])
lines = [line.replace(">=", "==") for line in sorted(allowed) if not line.startswith(project["name"])]
print("\n".join(line.replace("[distributed]", "") for line in lines + OTHERS))
