# One rule per thing a person types.  `make demo` and `make test` each work first thing in a fresh
# clone: they make .venv, build the native kernels and run.

PYTHON ?= python3
CXX ?= c++
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --quiet --disable-pip-version-check
# A new package must be installed again to be found; a new file in an old one need not.
NATIVE := CMakeLists.txt pyproject.toml $(wildcard native/*) $(wildcard src/headlong/*/__init__.py)

.PHONY: demo test lint types unit oracle slow bench train clean help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/'

demo: $(VENV)/.installed ## answer with and without multi-token prediction, side by side
	$(BIN)/headlong demo

test: lint types unit ## everything that a change must pass

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/pytest

slow: $(VENV)/.dev ## the long tests too
	$(BIN)/pytest -m "slow or not slow"

bench: $(VENV)/.dev ## kernels, sequences, replayed passes and the bundled model, short form
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/sequence.py
	$(BIN)/python benchmarks/sampler.py
	$(BIN)/python benchmarks/replay.py
	$(BIN)/python -m benchmarks.models --short

train: $(VENV)/.training ## train the bundled model again (needs PyTorch; hours)
	$(BIN)/python -m training.prepare
	$(BIN)/python -m training.train --minutes 200
	$(BIN)/python -m training.evaluate
	$(BIN)/python -m training.export

clean: ## remove everything that was built
	rm -rf build dist $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Headlong needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.compiler:
	@mkdir -p $(VENV)
	@printf '#include <concepts>\nstatic_assert(std::integral<int>);int main(){}\n' > $(VENV)/probe.cpp
	@$(CXX) -std=c++20 $(VENV)/probe.cpp -o $(VENV)/probe 2>/dev/null || { \
	  echo "Headlong needs a C++20 compiler (for example g++ 11 or clang++ 14); name one with: make CXX=/path/to/compiler"; exit 1; }
	@rm -f $(VENV)/probe $(VENV)/probe.cpp && touch $@

$(VENV)/.installed: $(VENV)/bin/python $(VENV)/.compiler $(NATIVE)
	@echo "building Headlong (a minute or two on two cores)"
	@CXX=$(CXX) $(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "installing what the tests need"
	@CXX=$(CXX) $(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.training: $(VENV)/.installed
	@echo "installing PyTorch"
	@CXX=$(CXX) $(PIP) --editable '.[training]'
	@touch $@
