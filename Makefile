# Everything a newcomer needs: `make demo` shows the twin at work, `make test` runs every test.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
XDIST ?= 2
SEED ?= 1

.PHONY: help setup demo up test chaos check format lint types docs docs-generate lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "error: $(PYTHON) not found. Install Python 3.11, or run 'make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)'."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $(STAMP)

setup: $(STAMP) ## Create .venv and install the project with its pinned dependencies

demo: $(STAMP) ## Run the main job on a generated week with the embedded broker
	$(BIN)/opendt demo

up: $(STAMP) ## Start the Prefect server, the broker and the deployments on this machine
	$(BIN)/opendt up

test: $(STAMP) ## Run every test
	$(BIN)/python -m pytest -n $(XDIST) --dist loadgroup

chaos: $(STAMP) ## Kill producer, twin and broker 30 times and compare the lake (Java 17, Maven, about 10 minutes)
	$(BIN)/python tests/stream/chaos.py --moments 30 --seed $(SEED) --out benchmarks/results/chaos.json

check: $(STAMP) lint types ## Formatting, lint and types

lint: $(STAMP) ## Formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## Types
	$(BIN)/mypy

format: $(STAMP) ## Rewrite formatting and fixable lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs-generate: $(STAMP) ## Write docs/cli.md, docs/configuration.md and config/default.yaml from the code
	$(BIN)/python docs/generate.py

docs: $(STAMP) ## Build the documentation into site/
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lock: ## Resolve dependencies again into requirements.lock (plain pins with hashes)
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --all-extras --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header --no-annotate -o requirements.lock pyproject.toml

clean: ## Remove the environment and caches
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
