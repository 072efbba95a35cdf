# demo | test | check | bench | audit | docs | env. Needs python3 (3.11 or later) and nothing else; the environment is made in
# .venv when it is missing or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# What a second pytest call needs: torch.compile and torch.export do not work under jaxtyping's import hook.
PLAIN := -o addopts="--strict-config --strict-markers -ra"

.PHONY: demo test check lint bench audit docs env help
.DEFAULT_GOAL := help

help: ## says what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 8

env: $(STAMP) ## makes or refreshes the environment in .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"mge needs Python 3.11 or later; this is {sys.version.split()[0]}: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (the first time this downloads PyTorch, which takes some minutes) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) -e '.[dev]'
	@touch $@

demo: $(STAMP) ## trains on the drawn beetles and shows what each expert saw
	$(BIN)/mge train --config recipes/demo.yaml

test: $(STAMP) ## the quick tests
	$(BIN)/python -m pytest -q -m "not slow and not compiled"
	$(BIN)/python -m pytest -q $(PLAIN) -m "compiled and not slow" || test $$? -eq 5

check: lint ## everything that has to hold: lint, types, layers, all tests
	$(BIN)/python -m pytest -q -m "not compiled"
	$(BIN)/python -m pytest -q $(PLAIN) -m compiled || test $$? -eq 5

lint: $(STAMP) ## lint, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(STAMP) ## measures what docs/results.md quotes
	@for script in benchmarks/*.py; do test -e "$$script" || { echo "no benchmarks yet"; break; }; $(BIN)/python "$$script" || exit 1; done

audit: $(STAMP) ## looks up known holes in what requirements.lock pins (needs the network)
	$(BIN)/python .ci/audit.py

docs: $(STAMP) ## checks that links between the pages lead somewhere
	$(BIN)/python -m pytest -q tests/test_docs.py
