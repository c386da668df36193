# Needs a C++ compiler, make and the Python that pyproject.toml requires. Everything is installed
# into $(VENV), once.
#   make quickstart   tune, verify, benchmark and export a small network
#   make test         ruff, mypy and pytest
# Another interpreter: make PYTHON=python3.12 quickstart

PYTHON ?= python3
VENV ?= .venv
# Processes that share the tests: each takes 2 GB and more.
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RESULTS := artifacts/quickstart
REPORT := $(RESULTS)/bench.json

# Before a venv is made with a Python that pip would then refuse.
CHECK_PYTHON := import re, sys; \
	need = re.search("requires-python = .>=([0-9.]+)", open("pyproject.toml").read())[1]; \
	fits = sys.version_info >= tuple(map(int, need.split("."))); \
	sys.exit(not fits and f"tunekit needs Python {need} or newer: make PYTHON=python{need}")

.DEFAULT_GOAL := help
.PHONY: help install peers quickstart test test-slow lint format schema docs examples wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## create .venv and install the pinned versions (once)

# pip is the last that a new environment gets: one that was not finished is made again.
$(BIN)/pip:
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	$(PYTHON) -m venv $(VENV)

# The stamp is newer than what it was installed from: a second call installs nothing.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install -e '.[dev]' -c constraints.txt
	touch $@

peers: $(STAMP) ## install the runtimes of others that bench can race (2 GB)
	$(BIN)/python -m pip install -e '.[peers]' -c constraints.txt
	$(BIN)/python -m pip install -c constraints.txt \
		jax scipy torchao backports.strenum absl-py immutabledict
	$(BIN)/python -m pip install -c constraints.txt --no-deps \
		litert-torch litert-converter ai-edge-litert ai-edge-quantizer

quickstart: $(STAMP) ## tune, verify, benchmark and export a small network (a few minutes)
	$(BIN)/tunekit doctor --quick
	$(BIN)/tunekit tune recipes/quickstart.yaml
	$(BIN)/tunekit bench recipes/quickstart.yaml -o $(REPORT)
	$(BIN)/tunekit export recipes/quickstart.yaml -o $(RESULTS)/bundle
	$(BIN)/tunekit report recipes/quickstart.yaml -o $(RESULTS)/report.html
	@printf '\nThe libraries and their manifest: in $(RESULTS)\n'
	@printf 'For C and C++, with examples: $(RESULTS)/bundle (make -C $(RESULTS)/bundle check)\n'
	@printf 'The comparison with raw samples: $(REPORT); as a page: $(RESULTS)/report.html\n'
	@printf 'Every measurement: tuning_logs/catalogue.db\n'

test: lint ## ruff, mypy and pytest
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## the tests that take minutes or gigabytes
	$(BIN)/python -m pytest -m slow

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## put the sources into the project's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(STAMP) ## write the recipes' JSON Schema anew
	$(BIN)/tunekit recipe schema > recipes/recipe.schema.json

docs: $(STAMP) ## write the reference anew and build the site into site/, with every link checked
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

examples: $(STAMP) ## run the examples, one after the other
	@for example in examples/[0-9]*.py; do \
		echo "$$example"; $(BIN)/python "$$example" || exit 1; \
	done

wheel: $(STAMP) ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove caches and builds; .venv, catalogue and artifacts stay
	rm -rf build dist site *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find tunekit tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
