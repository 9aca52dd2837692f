# Two commands for a fresh machine with Python 3.11: `make demo` and `make test`. Both set up .venv first, once.
# `make demo-large` is the demo with more people, for a good hour.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
DEMO := demo

# Numeric libraries take one thread a job; Snakemake runs the jobs side by side.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo demo-large gallery test lint format schemas lock clean-demo

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name it with make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo-large: DEMO := demo_large
demo demo-large: setup
	@# Synthetic actors are filmed first.
	$(BIN)/snakemake --snakefile workflow/actors.smk --cores $(CORES) --configfile config/actors/$(DEMO).yaml
	@# The liveness services that it asks are simulated, on this machine, by local detectors. Detectors this small take
	@# longer to start than to train: one thread each, side by side.
	$(BIN)/deepfakemnist liveness simulate --port 8731 -- \
		$(BIN)/snakemake --cores $(CORES) --resources gpu=1 --set-threads train=1 predict=1 \
		--configfile config/presets/$(DEMO).yaml
	@# The report is made again only when something it shows is newer.
	@if [ -z "$$(find results/$(DEMO)/report -newer results/$(DEMO)/report.html 2>/dev/null | head -1)" ] \
		&& [ -f results/$(DEMO)/report.html ]; then echo "The report is up to date."; \
	else $(BIN)/snakemake --configfile config/presets/$(DEMO).yaml --report results/$(DEMO)/report.html; fi
	@echo "Open $(CURDIR)/results/$(DEMO)/report.html"

gallery: demo
	$(BIN)/python docs/demo_gallery.py results/demo docs/demo_gallery.jpg

# By file: a file's tests share a run of the workflow (loadgroup of xdist 3.8 no longer groups under pytest 9.2). A
# crashed worker ends the run, because xdist 3.8 may wait for ever when it replaces one.
test: setup
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --max-worker-restart 0 $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules workflow/actors.smk
	$(BIN)/mypy
	@# Snakemake lints a workflow it can parse, and ours parses its sheets.
	$(BIN)/snakemake --snakefile workflow/actors.smk --configfile config/actors/demo.yaml --cores 1 --quiet all \
		-- resources/demo/sources.tsv resources/demo/drivers.tsv
	$(BIN)/snakemake --snakefile workflow/actors.smk --configfile config/actors/demo.yaml --lint
	$(BIN)/snakemake --lint --configfile config/presets/demo.yaml

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules workflow/actors.smk

schemas: setup
	$(BIN)/python -m deepfakemnist.schemas workflow/schemas

lock: setup
	$(BIN)/pip-compile --extra dev --allow-unsafe --generate-hashes --strip-extras --quiet --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean-demo:
	rm -rf resources/demo resources/demo_large results/demo results/demo_large
