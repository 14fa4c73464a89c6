# Everything starts here: `make help` lists the targets.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
# Modules are compiled once, and not by each of the hundreds of processes that demo and tests start.
export PYTHONDONTWRITEBYTECODE :=
# Every package is what its hash says, and none runs code of its own to be installed.
PIP := -m pip install -q --disable-pip-version-check --require-hashes
UV := $(BIN)/uv pip install -q --python $(BIN)/python --no-deps
STAMP := .venv/.installed
TESTS := .venv/.installed-tests
IMPORTS := import flows.bulk_review, flows.shards.fork_server as parts; parts.import_flow_parts(); \
	import prefect.server.api.server

# uv knows nothing of pip.conf: who is behind an index of their own has UV_DEFAULT_INDEX, or pip.
define installed
@echo "installing $(1)"; $(UV) --require-hashes -r requirements-bare.txt -r $(1) || { \
	echo "uv could not install, pip tries: it reads your pip.conf"; \
	$(BIN)/python $(PIP) --no-deps -r requirements-bare.txt && $(BIN)/python $(PIP) -r $(1); }
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test tests chaos attack check licences sbom lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## virtual environment with the pinned packages and the local model

$(STAMP): requirements.txt requirements-uv.txt requirements-bare.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) -r requirements-uv.txt
	$(call installed,requirements.txt)
	$(UV) --no-build-isolation -e .
	@# uv compiles no module: those of a run are, here, for whoever may not write into .venv later.
	@$(BIN)/python -c "$(IMPORTS)"
	@touch $@

$(TESTS): $(STAMP) requirements-dev.txt
	$(call installed,requirements-dev.txt)
	@touch $@

demo: setup ## review data/samples with the embedded local model: no key, no server
	$(BIN)/python -m deployments.demo

up: setup ## local Prefect server, worker and deployments; doing it twice changes nothing
	$(BIN)/nightly-review up

down: setup ## stop what `make up` started; all data stay
	$(BIN)/nightly-review down

check: $(TESTS) ## lint, types, import direction, licences
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m deployments.licences >/dev/null

test: $(TESTS) ## check, and all tests, or some: make test ARGS="-k quota"
	@# Beside each other: most tests wait for real processes.
	+@$(MAKE) --no-print-directory -j2 check tests

tests: $(TESTS)
	@# Several at a time, see tests/conftest.py.
	$(BIN)/python -m pytest -n 4 --no-loadscope-reorder $(ARGS)

chaos: $(TESTS) ## 20 kills over one run of 3,000 calls, and 1,000 calls under faults: minutes
	$(BIN)/python -m pytest -m chaos -o timeout=1800 -o faulthandler_timeout=1790
	$(BIN)/python -m tests.benchmarks.chaos

attack: $(TESTS) ## everything that may not come through, tried: one table, minutes
	$(BIN)/python -m tests.attacks

licences: $(TESTS) ## the licence of every package, against the list in pyproject.toml
	@$(BIN)/python -m deployments.licences

sbom: ## what a run is made of, in sbom.json (CycloneDX)
	$(PYTHON) -m venv .sbom/run
	.sbom/run/bin/python $(PIP) --no-deps -r requirements-bare.txt
	.sbom/run/bin/python $(PIP) -r requirements.txt
	.sbom/run/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(PYTHON) -m venv .sbom/tool
	.sbom/tool/bin/python -m pip install -q --disable-pip-version-check 'cyclonedx-bom==7.5.0'
	.sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file sbom.json .sbom/run/bin/python
	rm -rf .sbom

# Whatever Python it runs on, the pins are for 3.11 and later, with the hashes of every platform.
COMPILE := .lock/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	--fork-strategy fewest --no-annotate --only-binary :all: --emit-build-options \
	--custom-compile-command "make lock"
lock: ## pin anew what pyproject.toml allows
	$(PYTHON) -m venv .lock
	.lock/bin/python $(PIP) -r requirements-uv.txt
	$(COMPILE) --all-extras --group build -o requirements-dev.txt pyproject.toml
	$(COMPILE) --extra local --extra postgres --extra s3 --extra sandbox --group build \
		-c requirements-dev.txt -o requirements.txt pyproject.toml
	$(COMPILE) --no-deps --group bare -o requirements-bare.txt
	$(COMPILE) --no-deps --group uv -o requirements-uv.txt
	rm -rf .lock

clean: ## remove the virtual environment and caches; runs and state stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
