# Everything a developer does with reprokit. `make` alone lists the targets.
# Needs only make, git and a python3 (3.10 or later): the rest goes into .venv, from requirements-dev.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK := requirements-dev.txt
# More arguments for the tool behind a target: make test ARGS="-k journal -x"
ARGS ?=
# Hundreds of kernels and commands are started here; where each would compile all its modules anew, that takes half
# of the time. Some machines ask for it, to keep their images small.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup check format test test-frameworks test-orchestrators lock-orchestrators soak demo bench lock build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv: the locked requirements (hashes checked), then reprokit itself, editable

# uv comes first, alone, by pip and by its hash in the lock: it installs the rest ten times faster than pip.
$(READY): $(LOCK) pyproject.toml hatch_build.py $(wildcard reprokit/native/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "reprokit needs Python 3.10 or later: make setup PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^uv==/ { uv = 1 } uv { print } uv && !/\\$$/ { exit }' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

check: $(READY) ## what reads the code: ruff (lint and format) and mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff format the code and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A worker takes a module of tests at a time, because those share what is expensive: a kernel, a lock, a server.
# More than four would wait for the disk and for each other's kernels. WORKERS=0 runs all in one process (--pdb).
WORKERS ?= logical
test: $(READY) ## all tests but the long ones (ARGS="-k journal -x", WORKERS=0 for one process)
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --maxprocesses=4 --dist=loadscope --no-loadscope-reorder $(ARGS)

# torch and JAX are large, and their versions change what is locked: an environment of their own.
FRAMEWORKS := build/frameworks
test-frameworks: $(FRAMEWORKS)/.libraries ## the tests of torch and JAX, in an environment that has them
	$(FRAMEWORKS)/bin/python -m pytest tests/capture/test_random_libraries.py tests/capture/test_checkpoint.py $(ARGS)

$(FRAMEWORKS)/.libraries: $(LOCK) pyproject.toml
	$(MAKE) setup VENV=$(FRAMEWORKS) PYTHON=$(PYTHON)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		"torch==2.13.0" jax jaxlib
	@touch $@

# Snakemake, Airflow, Kubeflow and Prefect want libraries that do not go together: an environment for each, locked.
ORCHESTRATORS := build/orchestrators
ORCHESTRATOR_LOCKS := $(wildcard tests/orchestrators/*.txt)
test-orchestrators: $(READY) $(ORCHESTRATORS)/.ready ## the exports, checked and executed by the tools that they are for
	$(BIN)/python -m pytest -m orchestrators $(ARGS)

$(ORCHESTRATORS)/.ready: $(ORCHESTRATOR_LOCKS) | $(READY)
	set -e; for lock in $(ORCHESTRATOR_LOCKS); do \
		place=$(ORCHESTRATORS)/$$(basename $$lock .txt); \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python $$place; \
		$(BIN)/uv pip sync --quiet --python $$place/bin/python $$lock; \
	done
	@touch $@

lock-orchestrators: $(READY) ## lock what test-orchestrators installs again (ARGS=--upgrade takes the newest)
	set -e; for wanted in tests/orchestrators/*.in; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
			--no-emit-index-url --no-emit-find-links --output-file $${wanted%.in}.txt $(ARGS) $$wanted; \
	done

soak: $(READY) ## the long tests, and new examples for the laws
	$(BIN)/python -m pytest -m soak $(ARGS)
	$(BIN)/python -m pytest --hypothesis-profile=new tests/property

demo: $(READY) ## the main job, shown: capture a session, replay it, prove that it is the same
	$(BIN)/python demo/run.py $(ARGS)

bench: $(READY) ## measure what the design promises
	$(BIN)/python benchmarks/run.py $(ARGS)

# A lock made by the oldest Python holds for the later ones too; the other way round it does not.
lock: $(READY) ## lock the requirements again (minutes; ARGS=--upgrade takes the newest)
	@$(BIN)/python -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 10) else "lock with Python 3.10: make lock VENV=build/lock PYTHON=python3.10")'
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
		--extra dev --extra examples --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file $(LOCK) $(ARGS) pyproject.toml

build: $(READY) ## build the sdist and the wheel into dist/
	$(BIN)/uv build --python $(BIN)/python --no-build-isolation --out-dir dist

clean: ## remove what the other targets made (never .reprokit: those are your runs)
	rm -rf $(VENV) dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis notebooks/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
