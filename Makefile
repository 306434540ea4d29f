# Each target builds what it needs first: `make demo` or `make test` in a fresh clone is enough.
# .venv is built once and again when pyproject.toml or constraints.txt change. Every path is relative, so the folder
# may have spaces in its name.

PYTHON ?= python3
BUDGET ?= 2m
ARGS ?=

bin := .venv/bin
built := .venv/.built
run := $(bin)/python -m

.PHONY: help demo test check format clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   two models from real data (BUDGET=$(BUDGET) of training each): digits by flow, a manual by gpt"
	@echo "make test   the tests (ARGS='-k media' picks some)"
	@echo "make check  lint, format, types, the direction of imports"
	@echo "make format rewrite the sources as 'make check' wants them"
	@echo "make clean  remove the environment, caches and what the demo made"

demo: $(built)
	@$(bin)/python examples/demo.py --budget "$(BUDGET)"

test: $(built)
	@echo "running the tests (a few minutes)"
	@$(run) pytest -n auto $(ARGS)

check: $(built)
	@echo "lint"
	@$(run) ruff check .
	@echo "format"
	@$(run) ruff format --check .
	@echo "types"
	@$(run) mypy
	@echo "imports"
	@$(bin)/lint-imports

format: $(built)
	@$(run) ruff check --fix .
	@$(run) ruff format .

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests examples proofs benchmarks -name __pycache__ -type d -exec rm -rf {} +

# torch first: it is the largest, and nothing else may then choose another version of it.
$(built): pyproject.toml constraints.txt
	@echo "building .venv: torch first, then the rest (once; some minutes and 2 GB)"
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  f"genus needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv
	@$(run) pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(run) pip install -q --disable-pip-version-check -c constraints.txt hatchling editables
	@$(run) pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(built)
