# The two commands are `make repro` and `make test`; both set up their own environment.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
STUDY ?= .
BIN := $(abspath $(VENV))/bin
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= true
export DVC_NO_ANALYTICS ?= 1
export PATH := $(BIN):$(PATH)

.PHONY: setup setup-dev repro test check ui image lock help
.DEFAULT_GOAL := help

help: ## say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/'

define install
	@stamp=$(VENV)/.installed-$(1)-$$(cat $(2) setup.py nasbench/spaces/kernels/*.[ch] | cksum | cut -d' ' -f1); \
	if [ ! -f $$stamp ]; then \
	  set -e; \
	  $(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed; this is {v.major}.{v.minor}. Set PYTHON=...")'; \
	  test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	  echo "Installing the pinned packages of $(2) into $(VENV)"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r $(2); \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	  touch $$stamp; \
	fi
endef

setup: ## make .venv with the pinned packages
	$(call install,run,requirements.lock)

setup-dev: ## the same with ruff, mypy and pytest
	$(call install,dev,requirements-dev.lock)

repro: setup ## run the pipeline (JOBS=2 items side by side, STUDY=studies/... for a study)
	@$(BIN)/python -m pipelines.repro --jobs $(JOBS) --study $(STUDY)

check: setup-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check ## ruff, mypy and pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

ui: setup ## start the MLflow UI on port 5000
	$(BIN)/mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(CURDIR)/mlruns/mlflow.db}"

image: ## build the container (BASE=... for a CUDA base)
	docker build $(if $(BASE),--build-arg BASE=$(BASE)) -t proxy-nasbench .

lock: ## renew the lock files (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
	uv pip compile pyproject.toml --extra dev -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements-dev.lock
