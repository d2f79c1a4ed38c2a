# Every target sets up .venv when it is missing. PYTHON names the interpreter to build it with (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Exact versions that are installed; `make lock` writes it.
LOCK := requirements.lock

.DEFAULT_GOAL := help
.PHONY: help setup lock demo test test-all test-latest faults lint types format bench clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(READY) ## Create .venv with everything installed, in the versions of requirements.lock

# One list for every system and Python. uv has an environment of its own, since .venv is built from the list; what
# pip's own constraints forbid on this machine, uv leaves out too.
lock: ## Write requirements.lock anew, with the newest releases that pyproject.toml allows
	@test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && \
	  .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'; }
	UV_CONSTRAINT="$$(.venv-lock/bin/python -m pip config list | \
	  sed -nE "s/^(global|install|:env:)\.constraint='(.*)'/\2/p" | tr '\n' ' ')" \
	  UV_CUSTOM_COMPILE_COMMAND='make lock' .venv-lock/bin/uv pip compile --quiet --upgrade --universal \
	  --fork-strategy fewest --python-version 3.11 --extra dev --no-annotate pyproject.toml -o $(LOCK)

demo: $(READY) ## Search the digits space, show the front, write a report, export the knee (under results/digits)
	$(BIN)/moosearch search digits || test $$? -eq 3  # 3: done, but some candidates failed
	$(BIN)/moosearch report results/digits
	$(BIN)/moosearch export results/digits --pick knee
	@echo "Look first at results/digits/report.html; the exported model lies in results/digits/exports."

test: $(READY) ## Run the tests in two processes, without the slow ones (6 minutes on two cores)
	$(BIN)/pytest -q -n 2 --dist worksteal -m 'not slow' --hypothesis-profile=quick

test-all: $(READY) ## Run all tests (15 minutes on two cores)
	$(BIN)/pytest -q -n 2 --dist worksteal

test-latest: ## Run the tests with the newest release of everything, in .venv-latest (before a release note)
	@$(PYTHON) -m venv .venv-latest
	@.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	  --upgrade-strategy eager --editable '.[dev]'
	@touch .venv-latest/.ready
	$(MAKE) test VENV=.venv-latest

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

clean: ## Remove environments and caches; results stay
	rm -rf $(VENV) .venv-latest .venv-lock .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "moosearch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "setting up $(VENV): torch is large, this takes a few minutes ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(LOCK) --editable '.[dev]'
	@touch $@
