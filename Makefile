# Each target sets up all that it needs: a virtual environment from requirements.lock, and Kafka.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
MINUTES ?= 1
SECONDS ?= 60
# Most of a test of real processes is waiting for them.
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit lint docs fuzz chaos variants bench bench-quick hostile backlog soak lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv from requirements.lock (a few minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Baton needs Python 3.11 or newer: make PYTHON=python3.11")'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY) ## Make the virtual environment

demo: $(READY) ## Replace a live model under load, on a real Kafka (KEEP=1 leaves it running)
	@$(BIN)/python -m demo

test: $(READY) ## Run the unit and integration tests (JOBS=3 files side by side)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

unit: $(READY) ## Run the tests that need no broker
	@$(BIN)/python -m pytest tests/unit

lint: $(READY) ## Check style, types and the arrows between packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(READY) ## Build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

fuzz: $(READY) ## Fuzz every decoder, guided by coverage (SECONDS=60 each)
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

chaos: $(READY) ## Faults under load, then the history checker (SEED=7 repeats a run; MINUTES=1; DELIVERY=at_least_once; BROKERS=3)
	@$(BIN)/python -m pytest tests/chaos/test_faults.py -s $(if $(SEED),--seed $(SEED)) $(if $(DELIVERY),--delivery $(DELIVERY)) $(if $(BROKERS),--brokers $(BROKERS)) --minutes $(MINUTES)

variants: $(READY) ## Show that the history checker catches what is broken on purpose
	@$(BIN)/python -m pytest --numprocesses 2 tests/chaos/test_variants.py

bench: $(READY) ## Measure all that docs/performance.md tells, against others, and write it (ONLY=1,2)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

bench-quick: $(READY) ## Compare the working tree's speed with its parent commit (REF=...), in 3 minutes
	@$(BIN)/python -m bench --quick $(if $(REF),--ref $(REF))

backlog: $(READY) ## Work off 2 million waiting requests and 1.2 million commands, and watch the memory
	@$(BIN)/python -m bench.backlog

soak: MINUTES = 20
soak: $(READY) ## Replace models under load and look for leaks (MINUTES=20)
	@$(BIN)/python -m bench.soak --minutes $(MINUTES)

hostile: $(READY) ## Measure what bad input costs everybody else (20 minutes)
	@$(BIN)/python -m bench.hostile

lock: ## Resolve requirements.lock anew (needs uv)
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra embedded --extra dev --extra build --extra fuzz --extra bench --extra telemetry --extra imports --extra docs -o requirements.lock pyproject.toml

clean: ## Remove what the other targets made
	@rm -rf .venv .baton .bench site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
