# demo | test | check | bench | audit | docs | env. Needs python3 (3.11 or later) and nothing else; the environment is made in
# .venv when it is missing or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# What a second pytest call needs: torch.compile and torch.export do not work under jaxtyping's import hook.
PLAIN := -o addopts="--strict-config --strict-markers -ra"
# One process a core; the tests of one file stay together. One thread each: more of them than cores only wait.
# Bytecode is kept, or each process compiles everything anew.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q
AT_ONCE := -n logical --maxprocesses 4 --dist loadfile

.PHONY: demo test check lint bench audit docs env help
.DEFAULT_GOAL := help

help: ## lists the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 8

env: $(STAMP) ## creates or updates the environment in .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"mge needs Python 3.11 or later; this is {sys.version.split()[0]}: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (the first time this downloads PyTorch, which takes some minutes) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]'
	@touch $@

demo: $(STAMP) ## trains on synthetic beetles and draws the view of each expert
	$(BIN)/mge train --config recipes/demo.yaml

test: $(STAMP) ## the quick tests
	$(PYTEST) $(AT_ONCE) -m "not slow and not compiled and not alone"
	$(PYTEST) -m "alone and not slow and not compiled"
	$(PYTEST) $(PLAIN) $(AT_ONCE) -m "compiled and not slow"

check: lint ## all checks: lint, types, layers, all tests
	$(PYTEST) $(AT_ONCE) -m "not compiled and not alone"
	$(PYTEST) -m "alone and not compiled"
	$(PYTEST) $(PLAIN) $(AT_ONCE) -m compiled

lint: $(STAMP) ## lint, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(STAMP) ## runs the benchmarks of docs/results.md
	@for script in benchmarks/*.py; do test -e "$$script" || { echo "no benchmarks yet"; break; }; $(BIN)/python "$$script" || exit 1; done

audit: $(STAMP) ## checks requirements.lock for known vulnerabilities (needs the network)
	$(BIN)/python .ci/audit.py

docs: $(STAMP) ## checks the links between the pages
	$(BIN)/python -m pytest -q tests/test_docs.py
