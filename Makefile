# SPDX-License-Identifier: Apache-2.0
# Every command of the project. `make help` lists them; each target sets up what it needs, once.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV   := .venv
PY     := $(VENV)/bin/python
STAMPS := build/stamps
PYTEST := $(PY) -m pytest
TESTS  ?=
KERNELS ?= 6.1
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help deps deps-test venv vendor build debug demo test test-long test-root test-vm bench lint docs annotate clean distclean sdist wheel

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

# --- set-up: each step once, again only when its description changes (stamps lie in what they describe) ---

$(STAMPS)/deps: scripts/deps.sh
	@PYTHON="$(PYTHON)" bash scripts/deps.sh
	@mkdir -p $(@D) && touch $@

$(VENV)/.installed: pyproject.toml scripts/venv.sh $(STAMPS)/deps
	@PYTHON="$(PYTHON)" bash scripts/venv.sh $(VENV)
	@mkdir -p $(@D) && touch $@

$(STAMPS)/vendor: scripts/vendor.py $(wildcard vendor/*/manifest.toml) $(VENV)/.installed
	@$(PY) scripts/vendor.py
	@mkdir -p $(@D) && touch $@

# The entry of this tree in the venv, and the tapio-fast command; made again when their description changes.
$(VENV)/.editable: pyproject.toml setup.py $(STAMPS)/vendor
	@TAPIO_FAST_REGISTER_ONLY=1 $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p $(@D) && touch $@

deps: $(STAMPS)/deps ## Install the Debian packages needed to build (as root; else names them)
# No stamp: what one run may skip, another (TAPIO_FAST_REQUIRE) must have; asking takes a moment only.
deps-test: $(STAMPS)/deps ## Install those that only tests need: qemu, bpftrace, runc
	@PYTHON="$(PYTHON)" bash scripts/deps.sh test
venv: $(VENV)/.installed ## Make .venv with everything to build and test
vendor: $(STAMPS)/vendor ## Fetch and verify the third-party sources

# --- building ---

build: $(VENV)/.editable ## Build in place (seconds when little has changed)
	@$(PY) scripts/native.py inplace

debug: $(VENV)/.editable ## Build in place with asserts, symbols and all Cython checks
	@TAPIO_FAST_DEBUG=1 $(PY) scripts/native.py inplace

sdist: $(VENV)/.installed ## Make the source archive (carries the vendored sources) in dist/
	@$(PY) -m build --sdist

wheel: $(VENV)/.installed ## Make the abi3 wheel in dist/
	@$(PY) -m build --wheel

clean: ## Remove what was built (keeps .venv and the vendored sources)
	@rm -rf build dist *.egg-info tapio_fast/_core/*.so .pytest_cache .mypy_cache .benchmarks
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## Remove .venv and the vendored sources too
	@rm -rf $(VENV) vendor/*/src .hypothesis

# --- using and testing ---

demo: build ## From nothing to a first look: set up, build, run the demo
	@$(PY) -m tapio_fast.demo $(ARGS)

test: deps-test build ## Run the tests (tier 1, half an hour, ten minutes of it 6.1 in qemu); TESTS= and ARGS= narrow it
	@TAPIO_FAST_TIER=1 $(PYTEST) -m "not slow" $(ARGS) $(TESTS)

test-long: deps-test build ## Run the tests with big inputs, and the slow ones
	@TAPIO_FAST_TIER=2 $(PYTEST) $(ARGS) $(TESTS)

test-root: deps-test build ## Run only the tests that need root or a live kernel
	@$(PYTEST) -m "root or live" $(ARGS) $(TESTS)

test-vm: deps-test build ## Run all live tests on other kernels in qemu; KERNELS="5.10 6.12 backport" chooses (6.1)
	@TAPIO_FAST_VM_KERNELS="$(KERNELS)" TAPIO_FAST_VM_SELECTION=all $(PYTEST) -m vm $(ARGS) tests/vm

bench: build ## Run the benchmarks
	@$(PY) -m tapio_fast.bench $(ARGS)

lint: build ## Check style and types
	@$(PY) -m ruff check .
	@$(PY) -m mypy

docs: build ## Write docs/events.md from the sources
	@$(PY) scripts/events_page.py

annotate: $(STAMPS)/vendor ## Write Cython's annotated HTML to build/annotate
	@$(PY) scripts/native.py annotate
