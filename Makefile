# Each of these makes its environment where it is missing or older than pyproject.toml: .venv, .venv-oldest.

# The first of some commands that runs, and Python as pyenv has it: its shims are there for what is switched off, too.
runs  = $(shell for python in $(1); do $$python -c '' && echo $$python && break; done 2>/dev/null)
pyenv = $(addsuffix /bin/python,$(shell pyenv prefix $(1) 2>/dev/null))

# The newest versions are tested with the newest Python, and the oldest ones with the oldest: of those of SciPy, pandas,
# Matplotlib, Pillow and ONNX there are no wheels for 3.13. PyTorch has its small one, without CUDA, rather for 3.11.
PYTHON        ?= $(call runs,python3.13 $(call pyenv,3.13) python3)
OLDEST_PYTHON ?= $(call runs,python3.11 $(call pyenv,3.11) python3)
TORCH         ?= torch==2.13.0
WORKERS       ?= auto
VENV   := .venv
OLDEST := .venv-oldest
BIN    := $(VENV)/bin
CODE   := skcnn tests examples benchmarks docs
PYTEST := python -m pytest --numprocesses $(WORKERS) --maxprocesses 8

.PHONY: help demo check style test test-oldest docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train a network on scikit-learn's digits; writes demo.png and demo.joblib"
	@echo "make check  check style and types and run the quick tests, in less than a minute"
	@echo "make test   check style and types, run the tests, the examples and the code of the documentation"
	@echo "make test-oldest   run the tests of the source distribution, with the oldest versions that are supported,"
	@echo "            and those that compare with PyTorch; TORCH= leaves PyTorch out"
	@echo "make docs   build the documentation: docs/_build/html/index.html"
	@echo "make clean  remove the environments and what the others wrote"

demo: $(VENV)/.plot
	@$(BIN)/python examples/demo.py

style: $(VENV)/.test
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "Not formatted: run $(BIN)/ruff format $(CODE)"; exit 1; }
	@$(BIN)/mypy --no-error-summary

check: style
	@$(BIN)/$(PYTEST) -m "not slow" tests skcnn

test: style
	@$(BIN)/$(PYTEST)

test-oldest: $(VENV)/.test $(OLDEST)/.torch
	@rm -rf build/sdist && mkdir -p build/sdist
	@$(BIN)/python -m hatchling build --target sdist --directory build > /dev/null
	@tar -xzf build/skcnn-*.tar.gz -C build/sdist --strip-components=1
	@cd build/sdist && $(abspath $(OLDEST))/bin/$(PYTEST)

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
	@$(call made,$(OLDEST),$(OLDEST_PYTHON),3.11)
	@$(OLDEST)/bin/python tests/oldest.py > $(OLDEST)/constraints.txt
	@$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt --editable '.[test]'
	@touch $@

$(OLDEST)/.torch: $(OLDEST)/.test
	@[ -z "$(TORCH)" ] || echo "Installing PyTorch, with which the tests compare, in $(OLDEST) ..."
	@[ -z "$(TORCH)" ] || $(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	    -c $(OLDEST)/constraints.txt $(TORCH) || echo "$(TORCH) cannot be had: the tests that compare with it are skipped."
	@touch $@

$(BIN)/pip:
	@$(call made,$(VENV),$(PYTHON),3.13)

# An environment of a Python: what it is made with is told where it is not the wanted version.
define made
$(2) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
rm -rf $(1)
$(2) -m venv $(1) || { rm -rf $(1); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
$(1)/bin/python -c 'import sys; v = "%d.%d" % sys.version_info[:2]; v == "$(3)" or print("No Python $(3): $(1) has", v)'
endef
