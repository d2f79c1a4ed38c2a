# Every target sets up .venv when it is missing. PYTHON names the interpreter to build it with (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all faults lint types format bench clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(READY) ## Create .venv with everything installed

demo: $(READY) ## Search the digits space, show the front, write a report, export the knee (under results/digits)
	$(BIN)/moosearch search digits || test $$? -eq 3  # 3: done, but some candidates failed
	$(BIN)/moosearch report results/digits
	$(BIN)/moosearch export results/digits --pick knee
	@echo "Look first at results/digits/report.html; the exported model lies in results/digits/exports."

test: $(READY) ## Run the tests in two processes, without the slow ones (under 5 minutes)
	$(BIN)/pytest -q -n 2 --dist worksteal -m 'not slow' --hypothesis-profile=quick

test-all: $(READY) ## Run all tests (under 15 minutes)
	$(BIN)/pytest -q -n 2 --dist worksteal

faults: $(READY) ## Break campaigns in every way that is known here, and write results/benchmarks/faults.csv (long)
	MOOSEARCH_FAULTS=all $(BIN)/pytest -q tests/faults

lint: $(READY) ## Check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## Check types
	$(BIN)/mypy

format: $(READY) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Compare NSGA-II with random search (long: about 25 minutes on two cores)
	$(BIN)/python tests/benchmarks/search_quality.py

clean: ## Remove .venv and caches; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "moosearch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "setting up $(VENV): torch is large, this takes a few minutes ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
