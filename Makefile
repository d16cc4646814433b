# Two commands: `make demo` shows Snellen on real data, `make test` proves it. Both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test workers share the cores; one thread each keeps them from fighting.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: env demo sick test lint types docs constraints chart clean

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Snellen needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: env
	$(BIN)/snellen demo

sick: env
	$(BIN)/snellen demo --sick

test: lint types
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist worksteal

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: env
	$(BIN)/mypy

docs: env
	$(BIN)/python docs/generate.py

# The benchmark of faulty and healthy trainings, all cases and three seeds; goes on where it was interrupted. Other tools:
# make chart CHART='--tools torchmortem guardtower --peer-python /tmp/peers/bin/python'
chart: env
	$(TEST_ENV) $(BIN)/python -m benchmarks.chart.run --page $(CHART)

# Pins every package at what is installed now; run it after changing a dependency.
constraints: env
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
