# What people run here. `make demo` and `make test` do everything on a fresh machine.
.PHONY: help setup demo up test test-beside test-alone chaos contract audit lint format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
ALONE := tests/chaos tests/acceptance

help:  ## Say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## Make .venv with everything pinned

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (about two minutes and 2 GB the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[worker,embedded,dev]'
	@touch $(STAMP)

demo: setup  ## Run the main job on real input, then serve until Ctrl-C (EXIT=1: end after it)
	@$(BIN)/atelier demo $(if $(EXIT),--exit)

up: setup  ## Run the whole installation until Ctrl-C; data stay in ATELIER_HOME
	@$(BIN)/atelier up

test: setup lint  ## Run every test that this machine can run (WORKERS=4: so many at a time)
	@$(MAKE) --no-print-directory --keep-going --jobs=1 test-beside test-alone

# Each worker has engines of its own. Models this small run fastest on one thread.
test-beside:
	@echo "tests that may run beside others"
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal --durations=15 $(ALONE:%=--ignore=%)

# These kill whole installations, and hold them to seconds.
test-alone:
	@echo "tests that have the machine for themselves"
	@$(BIN)/pytest --durations=15 $(ALONE)

chaos: setup  ## Hurt an installation at random (SECONDS=600 SEED=7) and see that nothing is lost
	@CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) $(BIN)/pytest -q tests/chaos/test_nemesis.py

audit: setup  ## Ask pypi.org for known faults of the pinned libraries; not part of `make test`
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'; }
	@$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

contract: setup  ## Try every operation of the API against its description (EXAMPLES=100 of each)
	@CONTRACT_EXAMPLES=$(or $(EXAMPLES),100) $(BIN)/pytest -q --timeout 14400 tests/api/test_schemathesis.py

lint: setup  ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## Put the sources into the house's form
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

clean:  ## Remove what was built here; data in ATELIER_HOME stay
	@rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
