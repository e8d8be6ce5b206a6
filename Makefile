# Everything a user or CI runs. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Small products only: BLAS threads would get in each other's way.
export OPENBLAS_NUM_THREADS ?= 1
# Processes of the tests.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup ring loopback test fuzz sanitize lint format firmware bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: $(STAMP) ## .venv with everything from the Python package index

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "setting up $(VENV) (once); about 600 MB, of which 400 MB are the compiler (ziglang)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

ring: $(STAMP) ## boot four simulated boards, tell a story, prove every activation
	@$(BIN)/hil generate --rig sim
	@$(BIN)/python -m pytest -q -m ring hil/suite

loopback: $(STAMP) ## the checks for one board
	@$(BIN)/python -m pytest -q -m loopback hil/suite

test: $(STAMP) ## the whole test suite
	@$(BIN)/python -m pytest -m 'not slow' -n $(JOBS) --dist worksteal

FOR ?= 1m
fuzz: $(STAMP) ## search every parser for inputs that break it, FOR=1h or as long as you like
	@$(BIN)/python -m tests.fuzz.run --for $(FOR)

sanitize: $(STAMP) ## the simulator's and the ring's tests on a core under ASan and UBSan (needs clang)
	@$(BIN)/python -m tests.fuzz.sanitized

lint: $(STAMP) ## ruff, mypy, clang-format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h')

format: $(STAMP) ## rewrite Python and C in the project's format
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format -q .
	@$(BIN)/clang-format -i $$(git ls-files '*.c' '*.h')

firmware: $(STAMP) ## both images with both compilers (GCC where installed)
	@$(BIN)/hil firmware

bench: $(STAMP) ## the figures of docs/performance.md
	@$(BIN)/hil bench sim --json

clean: ## remove what was built (the virtual environment stays)
	@rm -rf build .hil .pytest_cache .mypy_cache .ruff_cache
