# Everything runs in .venv, which the first target that needs it makes. `make` alone lists what there is.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The newest of these that is 3.11 or later; name another with: make test PYTHON=/path/to/python3
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)

.PHONY: help
help: ## list the targets
	@echo "Morphogen. Start with: make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(STAMP) ## watch the network at work (under 3 minutes, nothing to set up)
	@$(BIN)/morphogen demo

.PHONY: serve
serve: $(STAMP) ## start the daemon on http://127.0.0.1:5116
	@exec $(BIN)/morphogen serve

.PHONY: test
test: $(STAMP) ## run every test
	$(BIN)/pytest

.PHONY: lint
lint: $(STAMP) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: check
check: lint ## lint, architecture and unit tests
	$(BIN)/pytest -q tests/test_architecture.py tests/unit

.PHONY: bench
bench: $(STAMP) ## measure the overhead of the daemon against a bare proxy
	$(BIN)/python -m ops.bench.overhead

.PHONY: install
install: $(STAMP) ## make .venv and install into it

.PHONY: clean
clean: ## remove .venv, caches and builds (the data folder stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted installation is taken up again by the next make. torch goes first and alone:
# with the constraint it is the build that was tested, and nothing else can pull another one in.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(BIN)/python" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV) \
		|| { echo "$(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)" >&2; exit 1; }
	$(BIN)/pip install --disable-pip-version-check -q torch==2.13.0 -c constraints.txt
	$(BIN)/pip install --disable-pip-version-check -q -e '.[dev,local]' -c constraints.txt
	@touch $@
