# Each of these makes its environment where it is missing or older than pyproject.toml: .venv, .venv-oldest.

PYTHON ?= python3
VENV   := .venv
OLDEST := .venv-oldest
BIN    := $(VENV)/bin
CODE   := skcnn tests examples benchmarks docs

.PHONY: help demo test test-oldest docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train a network on scikit-learn's digits; writes demo.png and demo.joblib"
	@echo "make test   check style and types, run the tests, the examples and the code of the documentation"
	@echo "make test-oldest   run the tests of the source distribution, with the oldest versions that are supported"
	@echo "make docs   build the documentation: docs/_build/html/index.html"
	@echo "make clean  remove the environments and what the others wrote"

demo: $(VENV)/.plot
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "Not formatted: run $(BIN)/ruff format $(CODE)"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python -m pytest

test-oldest: $(VENV)/.test $(OLDEST)/.test
	@rm -rf build/sdist && mkdir -p build/sdist
	@$(BIN)/python -m hatchling build --target sdist --directory build > /dev/null
	@tar -xzf build/skcnn-*.tar.gz -C build/sdist --strip-components=1
	@cd build/sdist && $(abspath $(OLDEST))/bin/python -m pytest

docs: $(VENV)/.docs
	@$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html
	@echo "Written to docs/_build/html/index.html"

clean:
	rm -rf $(VENV) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache build dist demo.png demo.joblib
	rm -rf docs/_build docs/gallery docs/project docs/reference
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# .venv/.plot, .venv/.test and .venv/.docs are stamps: the package was installed with the extra of that name.
$(VENV)/.%: pyproject.toml | $(BIN)/pip
	@echo "Installing skcnn with the extra '$*' in $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(OLDEST)/.test: pyproject.toml tests/oldest.py
	@echo "Installing the oldest versions that are supported in $(OLDEST) ..."
	@rm -rf $(OLDEST) && $(PYTHON) -m venv $(OLDEST)
	@$(PYTHON) tests/oldest.py > $(OLDEST)/constraints.txt
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt --editable '.[test]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
