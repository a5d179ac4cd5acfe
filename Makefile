PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# pip would compile every module that it installs, which takes longer than the rest of it; left alone, Python compiles
# and keeps those that are imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

.PHONY: reproduce test lint types tests format pictures clean

## Set up .venv and run the quick reproduction of Table 1.
reproduce: $(VENV)/.installed
	$(BIN)/fastweights reproduce table-1 --preset quick

## Set up .venv and run everything that continuous integration runs: ruff, mypy and the tests, side by side.
test: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory -j 2 lint types tests

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# One process more than two cores: many tests wait for processes of their own.
tests: $(VENV)/.installed-dev
	$(BIN)/pytest -n 3

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## Draw the pictures of docs/tour.md with the page's own code.
pictures: $(VENV)/.installed
	sed -n '/^```python/,/^```/{/^```/!p;}' docs/tour.md | MPLBACKEND=agg $(BIN)/python -

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fastweights needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What the package is built from; the sources of the compiled core among it.
BUILT_FROM := pyproject.toml constraints.txt setup.py $(wildcard src/fastweights/kernels/native/*.[ch]pp) \
	src/fastweights/kernels/native/abi.h

$(VENV)/.installed: $(BIN)/python $(BUILT_FROM)
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python $(BUILT_FROM)
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
