# Two commands: `make demo` trains a ranker, replays the days after, serves it and leaves a report; `make test` checks everything. Both need only
# Python >= 3.11 with headers and venv, and a C++20 compiler.
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
ARGS   ?=

BIN     := $(VENV)/bin
SOURCES := $(shell find native src -type f -not -name '*.so' -not -path '*/__pycache__/*')

BENCHMARKS := features train_step table quality_kuairand online_kuairand online diversity compile serve_engine serve

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench sanitize clean check-machine

help:
	@echo "make demo      train a ranker on a real (or synthetic) feed, replay the days after live, serve it        [ARGS='--serve --data DIR']"
	@echo "make test      lint, types, import contract, tests"
	@echo "make bench     every benchmark, quickly, as JSON lines                                       [ARGS='--peers']"
	@echo "make sanitize  the C++ core under ASan+UBSan and TSan"
	@echo "make clean     remove the virtual environment and build folders"

check-machine:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (3.11 or newer); on Debian: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; name another: make PYTHON=python3.11 demo"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: the venv module of $(PYTHON); on Debian: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || { echo "missing: the C headers of $(PYTHON); on Debian: apt-get install python3-dev"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || { echo "missing: a C++20 compiler; on Debian: apt-get install g++"; exit 1; }

$(BIN)/python: | check-machine
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.torch: | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	@touch $@

$(VENV)/.larix: pyproject.toml $(SOURCES) | $(VENV)/.torch
	$(BIN)/pip install --quiet --disable-pip-version-check '.[serve,grpc]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.larix
	$(BIN)/pip install --quiet --disable-pip-version-check '.[test]'
	@touch $@

demo: $(VENV)/.larix
	$(BIN)/larix demo $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n auto -m 'not slow and not gpu' $(ARGS)

bench: $(VENV)/.test
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --quick $(ARGS) || exit 1; done

sanitize: | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check cmake ninja
	@for kind in address,undefined thread; do \
	  $(BIN)/cmake -S native -B build/sanitize-$${kind%%,*} -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	    -DLARIX_SANITIZE=$$kind >/dev/null && $(BIN)/ninja -C build/sanitize-$${kind%%,*} \
	    && for program in stress stress_room stress_versions stress_replica stress_cold stress_feed fuzz_json fuzz_segment; do \
	      build/sanitize-$${kind%%,*}/$$program || exit 1; \
	    done || exit 1; \
	done

clean:
	rm -rf $(VENV) build
