# Two commands for a fresh machine with Python 3.11, 3.12 or 3.13: `make demo` and `make test`. Both set up .venv first,
# once. README names the platforms.
# `make demo-large` is the demo with more people, for a good hour.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# macOS has no nproc.
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
DEMO := demo

# Numeric libraries take one thread a job; Snakemake runs the jobs side by side.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo demo-large gallery test test-fast test-extended test-processors lint format schemas lock check-lock audit clean-demo

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "CPython 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) envs/supported.py
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
	$(BIN)/snakemake --cores $(CORES) --configfile config/presets/demo.yaml config/presets/demo_mesh.yaml -- dataset
	$(BIN)/python docs/demo_gallery.py results/demo results/demo_mesh docs/demo_gallery.jpg

# By file: a file's tests share a run of the workflow (loadgroup of xdist 3.8 no longer groups under pytest 9.2). A
# crashed worker ends the run, because xdist 3.8 may wait for ever when it replaces one.
test: setup
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --max-worker-restart 0 -m "not extended" $(TESTS)

# Properties of plans over many runs of Snakemake.
test-extended: setup
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --max-worker-restart 0 -m extended $(TESTS)

# While you work: neither rendering nor training, nor Snakemake itself.
test-fast: setup
	$(BIN)/python -m pytest -q -n $(CORES) --dist loadfile --max-worker-restart 0 -m "not slow and not workflow" $(TESTS)

# What computes in floating point, as on each older processor that this machine can simulate: none but on x86-64.
# PROCESSORS names some of them.
test-processors: setup
	@for processor in $${PROCESSORS:-$$($(BIN)/python tests/helpers/processors.py --older)}; do \
		echo "Tests marked numeric on the simulated processor $$processor:"; \
		$(BIN)/python tests/helpers/processors.py $$processor $(BIN)/python -m pytest -q -m "numeric and not real" \
			-n $(CORES) --dist loadfile --max-worker-restart 0 $(TESTS) || exit 1; \
	done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules workflow/actors.smk
	$(BIN)/mypy
	@# Snakemake lints a workflow it can parse, and ours parses its sheets.
	$(BIN)/snakemake --snakefile workflow/actors.smk --configfile config/actors/demo.yaml --cores 1 --quiet all \
		-- resources/demo/sources.tsv resources/demo/drivers.tsv
	$(BIN)/snakemake --snakefile workflow/actors.smk --configfile config/actors/demo.yaml --lint
	$(BIN)/snakemake --lint --configfile config/presets/demo.yaml

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules workflow/actors.smk

schemas: setup
	$(BIN)/python -m deepfakemnist.config.schemas workflow/schemas config/animators.md

# One lock for every platform: a package that some lack stands behind a marker. Versions already in it are kept.
lock: setup
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --generate-hashes --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	$(MAKE) check-lock

# That every supported platform and Python finds a wheel of everything: resolved from the registry, nothing installed.
# The two packages that are published as sources only hold no compiled code.
check-lock:
	@for python in 3.11 3.12 3.13; do for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do \
		echo "Python $$python, $$platform"; \
		MACOSX_DEPLOYMENT_TARGET=14.0 $(BIN)/uv pip install --quiet --dry-run --target $(VENV)/nowhere --require-hashes \
			--python-version $$python --python-platform $$platform --only-binary :all: \
			--no-binary connection-pool --no-binary jsonpath-rw -r requirements.lock || exit 1; \
	done; done

# Known vulnerabilities of the locked packages: needs the network, for pip-audit, in an environment of its own, and for
# the advisories of PyPI. Nothing is installed into .venv. A package without an entry there is an error (--strict).
audit: setup
	$(BIN)/uvx --from 'pip-audit>=2.9,<3' pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

clean-demo:
	rm -rf resources/demo resources/demo_large results/demo results/demo_large
