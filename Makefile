# Two commands for a fresh machine with Python 3.11: `make demo` and `make test`. Both set up .venv first, once.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
DEMO_CONFIG := config/presets/demo.yaml
DEMO_RESULTS := results/demo

# Numeric libraries take one thread a job; Snakemake runs the jobs side by side.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test lint format schemas lock clean-demo

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name it with make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/python -m deepfakemnist.demo.build resources/demo
	$(BIN)/snakemake --cores $(CORES) --resources gpu=1 --configfile $(DEMO_CONFIG)
	@# The report is made again only when something it shows is newer.
	@if [ -z "$$(find $(DEMO_RESULTS)/report $(DEMO_RESULTS)/animator/training.json -newer $(DEMO_RESULTS)/report.html 2>/dev/null | head -1)" ] \
		&& [ -f $(DEMO_RESULTS)/report.html ]; then echo "The report is up to date."; \
	else $(BIN)/snakemake --configfile $(DEMO_CONFIG) --report $(DEMO_RESULTS)/report.html; fi
	@echo "Open $(CURDIR)/$(DEMO_RESULTS)/report.html"

test: setup
	$(BIN)/python -m pytest -n $(CORES) --dist loadgroup $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	@# Snakemake lints a workflow it can parse, and ours parses its sheets.
	$(BIN)/python -m deepfakemnist.demo.build resources/demo
	$(BIN)/snakemake --lint --configfile $(DEMO_CONFIG)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

schemas: setup
	$(BIN)/python -m deepfakemnist.schemas workflow/schemas

lock: setup
	$(BIN)/pip-compile --extra dev --allow-unsafe --generate-hashes --strip-extras --quiet --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean-demo:
	rm -rf resources/demo $(DEMO_RESULTS)
