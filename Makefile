# make demo, make test, make docs: each makes its environment in .venv where it is missing or older than pyproject.toml.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CODE   := skcnn tests examples benchmarks docs

.PHONY: help demo test docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train a network on scikit-learn's digits; writes demo.png and demo.joblib"
	@echo "make test   check style and types, run the tests, the examples and the code of the documentation"
	@echo "make docs   build the documentation: docs/_build/html/index.html"
	@echo "make clean  remove the environment and what the others wrote"

demo: $(VENV)/.plot
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "Not formatted: run $(BIN)/ruff format $(CODE)"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m pytest

docs: $(VENV)/.docs
	@$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html
	@echo "Written to docs/_build/html/index.html"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist demo.png demo.joblib
	rm -rf docs/_build docs/gallery docs/project docs/reference
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/.plot, .venv/.test and .venv/.docs are stamps: the package was installed with the extra of that name.
$(VENV)/.%: pyproject.toml | $(BIN)/pip
	@echo "Installing skcnn with the extra '$*' in $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
